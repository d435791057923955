import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import {
  checkReplicas,
  RangeCreationJob,
  type RangeCreationState,
} from '../../src/control-plane/range-creation.ts'
import { utf8 } from '../../src/core/bytes.ts'
import type { JobContext } from '../../src/jobs/index.ts'
import type { RangeDescriptor } from '../../src/model/descriptors.ts'
import { RangeMap } from '../../src/model/range-map.ts'
import { maximumVoters, RuleBook } from '../../src/placement/index.ts'

const state: RangeCreationState = {
  creation: { start: utf8('a'), end: utf8('z'), splitKeys: [utf8('g'), utf8('p')], replicas: 3 },
  firstRangeId: 5,
}

function range(rangeId: number, start: string, end: string, generation = 1): RangeDescriptor {
  return { rangeId, start: utf8(start), end: utf8(end), generation, replicas: [] }
}

/** Runs the job over a directory that changes with every look at it. */
async function run(
  steps: readonly (readonly RangeDescriptor[])[],
  served: readonly number[],
  revision = 100,
): Promise<number[]> {
  let step = 0
  const made: number[] = []
  const job = new RangeCreationJob({
    store: { range: async () => ({ revision, entries: [] }) } as never,
    create: async (ranges) => {
      made.push(...ranges.map(({ rangeId }) => rangeId))
      step++
    },
    list: async () => steps[step] ?? [],
    lookup: (key) => new RangeMap(steps[step]).lookup(key),
    serves: (rangeId) => served.includes(rangeId),
  })
  const context = {
    state,
    txn: async (_: unknown, next: RangeCreationState) => {
      context.state = next
    },
    signal: new AbortController().signal,
    progress: () => {},
    sleep: async () => {
      assert.ok(step < steps.length, 'it waits for what never comes')
      step++
    },
  }
  const outcome = await job.run(context as unknown as JobContext<RangeCreationState>)
  assert.equal(outcome, `3 ranges from ${context.state.firstRangeId} on`)
  return made
}

suite('new ranges that are split and merged before somebody has looked', () => {
  const three = [range(5, 'a', 'g'), range(6, 'g', 'p'), range(7, 'p', 'z')]

  test('are served when whatever lies there is', async () => {
    const merged = [range(5, 'a', 'p', 3), range(7, 'p', 'z')]
    const split = [range(5, 'a', 'c', 4), range(9, 'c', 'p', 4), range(7, 'p', 'z')]
    assert.deepEqual(await run([[], three, merged], [5, 7]), [5, 6, 7])
    assert.deepEqual(await run([[], three, merged, split], [5, 7, 9]), [5, 6, 7])
  })

  test('get other ids than were reserved before a loss: those may have been given out again since', async () => {
    const block = 2 ** 44
    const first = 2 ** 40 + 1
    const anew = three.map((each, i) => ({ ...each, rangeId: first + i }))
    const served = anew.map(({ rangeId }) => rangeId)
    assert.deepEqual(await run([[], anew], served, block + 7), served)
    // Where one of them is there, the others are its neighbours of then.
    const half = [range(5, 'a', 'p', 3)]
    assert.deepEqual(await run([half, [...half, range(7, 'p', 'z')]], [5, 7], block + 7), [7])
  })

  test('are not made again by the next leader', async () => {
    assert.deepEqual(await run([[range(5, 'a', 'z', 5)]], [5]), [])
    // The last of several calls was not made.
    assert.deepEqual(
      await run([[range(5, 'a', 'p', 3)], [range(5, 'a', 'p', 3), range(7, 'p', 'z')]], [5, 7]),
      [7],
    )
  })

  test('have as many replicas as rules may ask for, and no more', () => {
    checkReplicas(maximumVoters)
    new RuleBook({ rules: [{ id: 'all', scope: { type: 'cluster' }, voters: maximumVoters }] })
    for (const replicas of [0, 1.5, maximumVoters + 1, Number.NaN, '3'])
      assert.throws(() => checkReplicas(replicas), { code: 'INVALID_ARGUMENT', message: /1 to 15 replicas/ })
  })
})
