import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { KeelsonError } from '../../src/core/errors.ts'
import { mutants } from './support/mutants.ts'
import { runScenario } from './support/scenario.ts'

const seedsEach = 12

suite('planted mistakes are caught by the simulation', () => {
  for (const [name, mutant] of Object.entries(mutants)) {
    test(name, (context) => {
      for (let seed = 1; seed <= seedsEach; seed++) {
        try {
          runScenario({ seed, mutant })
        } catch (error) {
          assert.ok(KeelsonError.hasCode(error, 'INVARIANT_VIOLATED'), String(error))
          assert.ok(error.details['invariant'] !== undefined, error.message)
          context.diagnostic(`seed ${seed}: ${error.message}`)
          return
        }
      }
      assert.fail(`${seedsEach} seeds did not notice`)
    })
  }
})
