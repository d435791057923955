import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { runSets } from './support/run-sets.ts'

suite('replica sets in virtual time', () => {
  test('no acknowledged write is lost, and no two epochs go on beside each other', async () => {
    const sums = {
      acknowledged: 0,
      planned: 0,
      emergencies: 0,
      members: 0,
      undone: 0,
      passedOver: 0,
      refused: 0,
      leaderCrashes: 0,
      wiped: 0,
    }
    for (let seed = 1; seed <= 8; seed++) {
      const run = await runSets(seed, 25)
      for (const key of Object.keys(sums) as (keyof typeof sums)[]) sums[key] += run[key]
    }
    for (const [what, sum] of Object.entries(sums)) assert.ok(sum > 0, `no ${what} in all runs`)
  })

  test('a seed repeats', async () => {
    assert.deepEqual(await runSets(3, 6), await runSets(3, 6))
  })
})
