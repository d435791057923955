import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { mutants, runMutant } from './simulation/mutants.ts'

/** The first seed that catches it, by the order of the list. */
const seeds: Readonly<Record<string, number>> = {
  'the duties of a deposed leader go on, and no write compares its epoch': 2,
  'ranges keep no barrier against old schema versions': 42,
  'a session counts from when its renewal was answered': 9,
}

suite('bugs that are planted in the composition', () => {
  for (const mutant of mutants) {
    const seed = seeds[mutant.name] ?? 1
    test(`seed ${seed} catches that ${mutant.name}`, async () => {
      const { failure } = await runMutant(mutant, seed)
      assert.match(failure?.message ?? 'nothing was found', mutant.caughtBy)
      // The same run without the bug is well: it is the bug that was caught.
      const { name, caughtBy, faults } = mutant
      const sound = await runMutant({ name, caughtBy, ...(faults === undefined ? {} : { faults }) }, seed)
      assert.equal(sound.failure, undefined, sound.failure?.message)
    })
  }
})
