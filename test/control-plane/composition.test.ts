import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { runComposition } from './simulation/run.ts'

const seeds: readonly (readonly [seed: number, what: string])[] = [
  [7, 'a schema change is cancelled while its last version is being adopted'],
  [20, 'a server loses its disk and joins again'],
  [31, 'a deposed server claims the epoch late'],
]

const size = { servers: 3, agents: 8, ranges: 8 }
const faultMs = 15_000

suite('the whole composition in the simulator', () => {
  for (const [seed, what] of seeds) {
    test(`seed ${seed} breaks no invariant, and heals: ${what}`, async () => {
      const first = await runComposition({ seed, size, faultMs })
      assert.equal(
        first.failure,
        undefined,
        `${first.failure?.message}\n${first.trace.slice(-60).join('\n')}`,
      )
    })
  }

  test('a quorum of servers is lost again and again, and nothing is given out twice', async () => {
    const run = { seed: 19, size, faultMs, corner: { losesQuorum: true } }
    const result = await runComposition(run)
    assert.equal(
      result.failure,
      undefined,
      `${result.failure?.message}\n${result.trace.slice(-60).join('\n')}`,
    )
    const lost = result.counts.find(([what]) => what.startsWith('entries that were lost'))?.[1] ?? 0
    assert.ok(lost > 100, `${lost} entries were lost`)
  })

  test('one seed is one run', async () => {
    const run = { seed: 3, size: { servers: 3, agents: 4, ranges: 4 }, faultMs: 5000 }
    const [first, second] = [await runComposition(run), await runComposition(run)]
    assert.equal(first.failure, undefined, first.failure?.message)
    assert.equal(second.hash, first.hash)
  })
})
