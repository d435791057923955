import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { corners } from './swarm/corners.ts'

suite('corners of a cluster in virtual time', () => {
  for (const [name, run] of Object.entries(corners)) {
    test(name, () => {
      for (let seed = 1; seed <= 3; seed++) assert.doesNotThrow(() => run({ seed }), `seed ${seed}`)
    })
  }
})
