import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { runComposition } from './simulation/run.ts'

const seeds: readonly (readonly [seed: number, what: string])[] = [
  [7, 'a schema change is cancelled while its last version is being adopted'],
  [20, 'a server loses its disk and joins again'],
  [31, 'a deposed server claims the epoch late'],
]

suite('the whole composition in the simulator', () => {
  for (const [seed, what] of seeds) {
    test(`seed ${seed} breaks no invariant, heals, and is the same again: ${what}`, async () => {
      const run = { seed, size: { servers: 3, agents: 8, ranges: 8 }, faultMs: 15_000 }
      const first = await runComposition(run)
      assert.equal(
        first.failure,
        undefined,
        `${first.failure?.message}\n${first.trace.slice(-60).join('\n')}`,
      )
      const second = await runComposition(run)
      assert.equal(second.hash, first.hash)
    })
  }
})
