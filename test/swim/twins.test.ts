import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { breachIn } from './swarm/hunt.ts'
import { runTwins } from './swarm/scenario.ts'

suite('two processes of one name in random clusters', () => {
  test('the one that most knew first goes on, the other one falls silent, and both say so', () => {
    for (let seed = 1; seed <= 12; seed++)
      assert.equal(breachIn(runTwins, seed)?.message, undefined, `seed ${seed}`)
  })
})
