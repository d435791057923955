import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { finish } from '../../../src/core/sliced.ts'
import { boundingShedding } from '../../../src/placement/core/bounds/balance-bound.ts'
import { WorkingSet } from '../../../src/placement/core/working-set.ts'
import {
  balanceBound,
  boundingCluster,
  buildSnapshot,
  clusterBounds,
  Fleet,
  type MoveInFlight,
  plan,
  planText,
  RuleBook,
  sheddingBound,
  utilisationBound,
} from '../../../src/placement/index.ts'
import { plainNode, plainRange } from '../support/plain.ts'

const nodes = Array.from({ length: 4 }, (_, i) => {
  const node = plainNode(`n${i}`, `zone=z${i < 2 ? 0 : 1}`)
  return { ...node, descriptor: { ...node.descriptor, capacity: { bytes: 10_000 } } }
})
/** 20 ranges of 100 bytes on two of four nodes. */
const snapshot = buildSnapshot({
  nodes,
  ranges: Array.from({ length: 20 }, (_, i) => plainRange(i + 1, ['n0', 'n1'], { tableId: 1 })),
  deadAfterMs: 1,
})

suite('bounds of a cluster', () => {
  test('come from a snapshot: what has to move, how full it is and has to be', () => {
    const { utilisation, balance } = clusterBounds(snapshot, {}, { tolerance: 0 })
    // 2,000 bytes each on two nodes, 1,000 is the share of each.
    assert.equal(Math.round(balance[0]?.bytes ?? 0), 2000)
    assert.equal(utilisation[0]?.utilisation, 0.1)
    assert.equal(utilisation[0]?.now, 0.2)
    assert.equal(utilisation[0]?.gap, 0.1)
  })

  test('hold while a node is silent or in maintenance: what is on it stays there', () => {
    const four = ['n0', 'n1', 'n2', 'n3']
    const ranges = Array.from({ length: 60 }, (_, i) => {
      const on = [0, 1, 2].map((k) => four[(i + k) % 4] as string)
      return plainRange(i + 1, on, { tableId: 1, load: { bytes: 100 } })
    })
    for (const away of [
      { liveness: 'suspect', forMs: 0 },
      { liveness: 'dead', forMs: 0 },
      { liveness: 'dead', forMs: 1e6, maintenance: true },
    ] as const) {
      for (const count of [1, 2]) {
        const all = nodes.map((node, i) => (i < count ? { ...node, ...away } : node))
        const there = buildSnapshot({ nodes: all, ranges, deadAfterMs: 1_000 })
        const [bound] = clusterBounds(there).utilisation
        assert.equal(bound?.now, 0.45)
        assert.equal(bound?.utilisation, 0.45)
        const ids = ranges.map(({ descriptor }) => descriptor.rangeId)
        const byZone = utilisationBound(new WorkingSet(there, ids, undefined, 0), 'bytes', ['zone'])
        assert.ok(byZone.utilisation <= 0.45, `${byZone.utilisation}: ${byZone.why}`)
      }
    }
  })

  test('say nothing of how full nodes are where none has a limit', () => {
    const free = nodes.map((node) => ({ ...node, descriptor: { ...node.descriptor, capacity: {} } }))
    const { utilisation } = clusterBounds(
      buildSnapshot({ nodes: free, ranges: [plainRange(1, ['n0', 'n1'])], deadAfterMs: 1 }),
    )
    assert.deepEqual(utilisation, [])
  })

  test('count no copy that is under way: it may be there at any moment', () => {
    const bandwidth = { ingressBytesPerSecond: 100, egressBytesPerSecond: 100 }
    const repairMs = (on: readonly string[], ...moves: readonly MoveInFlight[]): number | undefined => {
      const ranges = [plainRange(1, on, { load: { bytes: 1_000 } })]
      const there = buildSnapshot({ nodes, ranges, moves, deadAfterMs: 1 })
      return clusterBounds(there, { replicationFactor: 3 }, { bandwidth }).repair?.ms
    }
    const move: MoveInFlight = { rangeId: 1, kind: 'add', add: 'n1' }
    assert.equal(repairMs(['n0']), 20_000)
    assert.equal(repairMs(['n0'], move), 10_000)
    assert.equal(repairMs(['n0', 'n2']), 2_500)
    assert.equal(repairMs(['n0', 'n2'], move), 0)
    assert.equal(
      repairMs(['n0', 'n1'], move),
      2_500,
      'it stands in the descriptor, and another one is missing',
    )
  })

  test('know what the rules of a policy leave', () => {
    const match = [{ label: 'zone', in: ['z0'] }]
    const rules = new RuleBook({
      rules: [{ id: 'pin', scope: { type: 'table', tableId: 1 }, require: [{ match }] }],
    })
    const { balance } = clusterBounds(snapshot, { rules }, { tolerance: 0 })
    assert.equal(balance[0]?.bytes, 0)
    assert.equal(Math.round(balance[0]?.stuck ?? 0), 2000)
  })

  test('say how long it takes at least to make what is missing', () => {
    const lost = buildSnapshot({
      nodes: nodes.map((node, i) => (i === 1 ? { ...node, liveness: 'dead' as const, forMs: 1 } : node)),
      ranges: Array.from({ length: 20 }, (_, i) => plainRange(i + 1, ['n0', 'n1'])),
      deadAfterMs: 1,
    })
    const bandwidth = { ingressBytesPerSecond: 100, egressBytesPerSecond: 10 }
    const policy = { replicationFactor: 2 }
    const bounds = clusterBounds(lost, policy, { bandwidth })
    // 2,000 bytes that only n0 has, at 10 a second.
    assert.deepEqual(bounds.repair, { ms: 200_000, why: 'what only n0 has' })
    const text = planText(plan(lost, policy), 0, bounds)
    assert.match(text, /it takes at least 200000 ms to make what is missing: what only n0 has/)
    assert.match(text, /bytes: the fullest store is at 20\.0 %; /)
    assert.equal(clusterBounds(snapshot, policy, { bandwidth }).repair?.ms, 0)
    assert.throws(
      () => clusterBounds(lost, {}, { bandwidth: { ...bandwidth, egressBytesPerSecond: Number.NaN } }),
      {
        code: 'INVALID_OPTION',
      },
    )
  })

  test('are worked out in steps, each over a part of the ranges or of the replicas', () => {
    const steps = (count: number): number => {
      const ranges = Array.from({ length: count }, (_, i) => plainRange(i + 1, ['n0', 'n1']))
      const work = boundingCluster(buildSnapshot({ nodes, ranges, deadAfterMs: 1 }), {}, {})
      let taken = 0
      while (work.next().done !== true) taken++
      return taken
    }
    // 2,000 ranges more: three times by range, and at least five times by replica.
    assert.ok(steps(4000) >= steps(2000) + 3 * Math.floor(2000 / 256) + 5 * Math.floor(4000 / 1024))
  })

  test('of a node with many replicas sort them in steps', () => {
    const load = { cpu: 1 }
    const steps = (count: number): number => {
      const crowded = Array.from({ length: count }, (_, i) => plainRange(i + 1, ['n0'], { load }))
      const capacity = { cpu: 1_000_000 }
      const equal = nodes.map((node) => ({ ...node, descriptor: { ...node.descriptor, capacity } }))
      const columns = WorkingSet.building(
        buildSnapshot({ nodes: equal, ranges: crowded, deadAfterMs: 1 }),
        Float64Array.from({ length: count }, (_, i) => i + 1),
        undefined,
        {},
        0,
      )
      const work = boundingShedding(finish(columns), 'cpu', 0)
      let taken = 0
      while (work.next().done !== true) taken++
      return taken
    }
    // Passes over the slots, the sort of all on the one node, and what of it has to go.
    assert.ok(steps(8192) - steps(4096) >= 4 * 4 + 48 + 3)
  })

  test('are the same, in one go or while the cluster goes on changing between the steps', () => {
    const fleet = new Fleet({ deadAfterMs: 1 })
    for (const node of nodes) fleet.setNode(node)
    for (let i = 1; i <= 600; i++) fleet.setRange(plainRange(i, ['n0', i % 3 === 0 ? 'n1' : 'n2']))
    const before = fleet.snapshot()
    const bandwidth = { ingressBytesPerSecond: 100, egressBytesPerSecond: 10 }
    const expected = clusterBounds(before, {}, { bandwidth })
    const work = boundingCluster(before, {}, { bandwidth })
    let changed = 0
    for (let step = work.next(); ; step = work.next()) {
      if (step.done === true) {
        assert.deepEqual(step.value, expected)
        break
      }
      changed++
      const range = plainRange(1 + ((changed * 7) % 600), ['n3'])
      fleet.setRange({ ...range, descriptor: { ...range.descriptor, generation: 1 + changed } })
      if (changed % 5 === 0) fleet.removeRange(1 + ((changed * 11) % 600))
      fleet.snapshot()
    }
    assert.ok(changed > 20)
    assert.notDeepEqual(clusterBounds(fleet.snapshot(), {}, { bandwidth }), expected)
  })

  test('of one kind refuse a snapshot by name, where they take columns', () => {
    for (const bound of [balanceBound, sheddingBound]) {
      assert.throws(() => bound(snapshot as never, 'bytes', 0), {
        code: 'INVALID_ARGUMENT',
        message: /clusterBounds/,
      })
    }
  })
})
