import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { text, utf8 } from '../../src/core/bytes.ts'
import { SeededRandom, shuffled } from '../../src/core/random.ts'
import type { ObservedReplica } from '../../src/interfaces/range-host.ts'
import type { RangeDescriptor } from '../../src/model/descriptors.ts'
import {
  judgeMerge,
  judgeSplit,
  LoadSampler,
  planSplits,
  type SplitRange,
  splitPolicy,
} from '../../src/placement/index.ts'
import { sizeOf } from '../../src/placement/range-reports.ts'

const policy = splitPolicy({
  maximumBytes: 1000,
  maximumRequestsPerSecond: 100,
  mergeBelowBytes: 300,
  mergeBelowRequestsPerSecond: 20,
  splitMergeBackoffMs: 60_000,
})

function range(
  rangeId: number,
  start: string,
  end: string | undefined,
  more: Partial<SplitRange> = {},
): SplitRange {
  const descriptor: RangeDescriptor = {
    rangeId,
    start: utf8(start),
    end: end === undefined ? undefined : utf8(end),
    generation: 1,
    replicas: [{ replicaId: 1, nodeId: 'n1', incarnation: 1, role: 'voter' }],
  }
  return { descriptor, able: true, bytes: 500, requestsPerSecond: 50, splitForMs: 120_000, ...more }
}

suite('decisions about splits', () => {
  test('neighbours that keep processors busy are not merged, and limits that would take turns are refused', () => {
    const small = { bytes: 100, requestsPerSecond: 5 }
    const merged = (cpuCores: number) =>
      judgeMerge(range(1, 'a', 'm', { ...small, cpuCores }), range(2, 'm', 'z', small), policy)
    assert.equal(merged(0.01).merge, true)
    assert.match(merged(0.2).why, /keep 0.2 processor cores busy/)
    assert.throws(() => splitPolicy({ maximumCpuCores: 1, mergeBelowCpuCores: 0.6 }), {
      code: 'INVALID_OPTION',
      message: /mergeBelowCpuCores/,
    })
  })

  test('processor time is what the lease holder reports of it', () => {
    const replica = { load: { bytes: 7, cpu: 0.75 } } as unknown as ObservedReplica
    assert.deepEqual(sizeOf(replica), { bytes: 7, cpuCores: 0.75 })
  })

  test('by size, by load, by load first, and why not', () => {
    const key = utf8('m')
    const judged = (more: Partial<SplitRange>): string => {
      const verdict = judgeSplit(range(1, 'a', 'z', more), policy)
      return verdict.type === 'split'
        ? `${verdict.kind} ${text(verdict.key)}`
        : `${verdict.type}: ${verdict.why}`
    }
    assert.match(judged({}), /^none: .*within the limits/)
    assert.equal(judged({ bytes: 2000, splitKeys: { bySize: key } }), 'size m')
    assert.equal(judged({ requestsPerSecond: 300, splitKeys: { byLoad: key } }), 'load m')
    assert.equal(judged({ cpuCores: 0.6, splitKeys: { byLoad: key } }), 'load m')
    assert.match(
      judged({ cpuCores: 0.5, splitKeys: { byLoad: key } }),
      /^none: .*0.5 of at most 0.5 processor cores/,
    )
    assert.match(judged({ cpuCores: 0.6 }), /^blocked: .*serves too much/)
    const both = { bytes: 2000, requestsPerSecond: 300 }
    assert.equal(judged({ ...both, splitKeys: { bySize: key, byLoad: utf8('n') } }), 'load n')
    assert.equal(judged({ ...both, splitKeys: { bySize: key } }), 'size m')
    assert.match(judged({ bytes: 2000 }), /^blocked: .*too large, but its lease holder knows of no key/)
    assert.match(judged({ bytes: 2000, splitKeys: { bySize: utf8('a') } }), /^blocked/)
    assert.match(judged({ bytes: 2000, splitKeys: { bySize: utf8('zz') } }), /^blocked/)
    const hot = { requestsPerSecond: 300, splitKeys: { unsplittable: 'one key gets it all' } }
    assert.match(judged(hot), /^blocked: .*serves too much, but one key gets it all/)
    assert.match(judged({ ...hot, able: false }), /nobody who leads it can split it/)
    assert.match(judged({ ...hot, busy: 'it rains' }), /but it rains/)
  })

  test('neighbours are merged when they are small, cold and left alone for long', () => {
    const small = { bytes: 100, requestsPerSecond: 5 }
    const why = (
      left: Partial<SplitRange>,
      right: Partial<SplitRange>,
      end = 'm',
      given = policy,
    ): string => {
      const { merge, why: reason } = judgeMerge(
        range(1, 'a', end, { ...small, ...left }),
        range(2, 'm', undefined, { ...small, ...right }),
        given,
      )
      return merge ? 'yes' : reason
    }
    assert.equal(why({}, {}), 'yes')
    assert.match(why({ bytes: 201 }, {}), /301 bytes/)
    assert.match(why({ requestsPerSecond: 16 }, {}), /21 requests/)
    assert.match(why({ splitForMs: 1000 }, {}), /comes from a split 1 s ago/)
    assert.match(why({}, { busy: 'it rains' }), /it rains/)
    assert.match(why({}, { able: false }), /nobody who leads range 2/)
    assert.match(why({}, {}, 'l'), /no neighbours/)
    assert.match(
      why({}, {}, 'm', splitPolicy({ ...policy, mayMerge: () => false })),
      /keeps ranges 1 and 2 apart/,
    )
    assert.match(why({}, {}, 'm', splitPolicy({ ...policy, mergeBelowBytes: 0 })), /switched off/)
    assert.throws(() => splitPolicy({ ...policy, mergeBelowBytes: 501 }), /at most half/)
  })

  test('a plan does not depend on the order of the ranges, touches each once, and keeps its limits', () => {
    const ranges = fc.array(
      fc.record({
        bytes: fc.nat({ max: 3000 }),
        requestsPerSecond: fc.nat({ max: 300 }),
        splitForMs: fc.nat({ max: 120_000 }),
        keys: fc.boolean(),
      }),
      { minLength: 1, maxLength: 20 },
    )
    fc.assert(
      fc.property(ranges, fc.nat(), fc.nat({ max: 4 }), (given, seed, limit) => {
        const all = given.map(({ keys, ...more }, i) =>
          range(
            i + 1,
            String.fromCharCode(97 + i),
            i + 1 === given.length ? undefined : String.fromCharCode(98 + i),
            {
              ...more,
              ...(keys ? { splitKeys: { bySize: utf8(`${String.fromCharCode(97 + i)}5`) } } : {}),
            },
          ),
        )
        const limited = splitPolicy({ ...policy, splits: limit, merges: limit })
        const plan = planSplits(all, limited)
        assert.deepEqual(planSplits(shuffled(new SeededRandom(seed), all), limited), plan)
        assert.ok(plan.splits.length <= limit && plan.merges.length <= limit)
        const touched = [
          ...plan.splits.map(({ rangeId }) => rangeId),
          ...plan.merges.flatMap(({ leftRangeId, rightRangeId }) => [leftRangeId, rightRangeId]),
        ]
        assert.equal(new Set(touched).size, touched.length)
        for (const { leftRangeId, rightRangeId } of plan.merges) {
          assert.equal(rightRangeId, leftRangeId + 1)
          const [left, right] = [all[leftRangeId - 1] as SplitRange, all[rightRangeId - 1] as SplitRange]
          // What is merged is not split again at once.
          const merged = { ...left, bytes: (left.bytes ?? 0) + (right.bytes ?? 0) }
          assert.equal(judgeSplit(merged, policy).type, 'none')
        }
      }),
      { numRuns: 200 },
    )
  })
})

suite('LoadSampler', () => {
  const sampler = (seed = 1): LoadSampler =>
    new LoadSampler({ random: new SeededRandom(seed), windowMs: 1000 })
  const key = (value: number): Uint8Array => Uint8Array.of(value)

  test('finds a key that halves the load, and counts it', () => {
    for (let seed = 1; seed <= 10; seed++) {
      const random = new SeededRandom(seed)
      const load = sampler(seed)
      for (let i = 0; i < 2000; i++) load.record(i, key(random.integer(200)))
      assert.equal(Math.round(load.requestsPerSecond(2000) / 100), 10)
      const { byLoad } = load.splitKeys(2000)
      assert.ok(byLoad !== undefined && Math.abs((byLoad[0] as number) - 100) < 30, `${byLoad?.[0]}`)
    }
  })

  test('weighs keys by their requests, not by their place', () => {
    const random = new SeededRandom(5)
    const load = sampler()
    for (let i = 0; i < 2000; i++) load.record(i, key(i % 2 === 0 ? random.integer(10) : random.integer(200)))
    const { byLoad } = load.splitKeys(2000)
    assert.ok(byLoad !== undefined && (byLoad[0] as number) < 40, `${byLoad?.[0]}`)
  })

  test('says so when one key is all the load', () => {
    const load = sampler()
    for (let i = 0; i < 2000; i++) load.record(i, key(i % 50 === 0 ? i % 200 : 7))
    assert.match(load.splitKeys(2000).unsplittable ?? '', /no key halves the load/)
    assert.equal(load.splitKeys(2000).byLoad, undefined)
  })

  test('does not cut through scans', () => {
    const random = new SeededRandom(5)
    const load = sampler()
    for (let i = 0; i < 2000; i++) {
      const from = random.integer(60)
      load.record(i, key(from), key(from + 140))
    }
    assert.match(load.splitKeys(2000).unsplittable ?? '', /scans|no key halves/)
    assert.equal(load.splitKeys(2000).byLoad, undefined)
    // Short ones hardly ever lie across the best key.
    const short = sampler(2)
    for (let i = 0; i < 2000; i++) {
      const from = random.integer(200)
      short.record(i, key(from), key(from + 3))
    }
    assert.notEqual(short.splitKeys(2000).byLoad, undefined)
  })

  test('says nothing of little load, of old load, and after a reset', () => {
    const load = sampler()
    for (let i = 0; i < 50; i++) load.record(i, key(i))
    assert.deepEqual(load.splitKeys(1000), {})
    for (let i = 1000; i < 2000; i++) load.record(i, key(i % 200))
    assert.notDeepEqual(load.splitKeys(2000), {})
    assert.deepEqual(load.splitKeys(9000), {})
    assert.equal(load.requestsPerSecond(9000), 0)
    for (let i = 9000; i < 10_000; i++) load.record(i, key(i % 200))
    load.reset()
    assert.deepEqual(load.splitKeys(10_000), {})
    assert.equal(load.requestsPerSecond(10_000), 0)
  })
})
