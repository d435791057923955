import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom } from '../../src/core/random.ts'
import {
  allocate,
  balance,
  buildSnapshot,
  capacity,
  explainNode,
  explainRange,
  Fleet,
  nodeText,
  type PlacementNode,
  type PlacementRange,
  type PlannedMove,
  Planner,
  plan,
  type StoreOverload,
  spread,
  whatIf,
} from '../../src/placement/index.ts'
import { plainRange } from './support/plain.ts'

function node(i: number, change: Partial<PlacementNode> = {}): PlacementNode {
  return {
    descriptor: {
      nodeId: `db${i}`,
      incarnation: 1,
      addresses: [],
      locality: [{ key: 'zone', value: `z${i % 3}` }],
      capacity: { bytes: 10_000, cpu: 100 },
      labels: {},
    },
    state: 'active',
    liveness: 'live',
    forMs: 100_000,
    ...change,
  }
}

function range(rangeId: number, on: readonly number[], change: Partial<PlacementRange> = {}): PlacementRange {
  const load = { load: { bytes: 10 }, leaderLoad: { cpu: 0.1 } }
  return plainRange(
    rangeId,
    on.map((i) => `db${i}`),
    { ...load, ...change },
  )
}

/** Six nodes in three zones; every range has a replica in each, led by db0 for the first ones. */
function cluster(
  levels: Readonly<Record<number, StoreOverload>>,
  ledByFirst = 12,
): {
  nodes: PlacementNode[]
  ranges: PlacementRange[]
} {
  const nodes = Array.from({ length: 6 }, (_, i) =>
    node(i, levels[i] === undefined ? {} : { overload: levels[i] }),
  )
  const ranges = Array.from({ length: 36 }, (_, r) => {
    const on = [3 * (r % 2), 1 + 3 * ((r >> 1) % 2), 2 + 3 * ((r >> 2) % 2)]
    return range(r + 1, r < ledByFirst ? [0, on[1] as number, on[2] as number] : on, {
      leaseHolder: r < ledByFirst ? 1 : 2 + (r % 2),
    })
  })
  return { nodes, ranges }
}

const policy = { goals: [spread('zone')] }
const snapshotOf = (input: { nodes: readonly PlacementNode[]; ranges: readonly PlacementRange[] }) =>
  buildSnapshot({ ...input, deadAfterMs: 1000 })
const wide = {
  moves: 100,
  improvements: 100,
  leaseTransfers: 100,
  incomingPerNode: 100,
  outgoingPerNode: 100,
}
const reasons = (moves: readonly PlannedMove[]): string[] =>
  moves.map(({ kind, reason }) => `${kind}: ${reason}`)

suite('overloaded stores', () => {
  test('get no replica while another one will do, and the plan says so', () => {
    const { nodes, ranges } = cluster({ 3: 'overloaded' })
    nodes[0] = node(0, { liveness: 'dead' })
    nodes.push(node(6), node(9))
    // The emptiest of its zone is overloaded.
    const lost = ranges.map((each) => range(each.descriptor.rangeId, [0, 1, 2], { leaseHolder: 2 }))
    const next = plan(snapshotOf({ nodes, ranges: lost }), policy, { limits: wide })
    assert.equal(next.moves.length, 36)
    for (const { add, rejected } of next.moves) {
      assert.ok(add?.nodeId === 'db6' || add?.nodeId === 'db9', add?.nodeId)
      assert.ok(rejected.some(({ nodeId, why }) => nodeId === 'db3' && why === 'it is overloaded'))
    }
  })

  test('get what no other can take: a repair', () => {
    const { nodes, ranges } = cluster({ 3: 'exhausted' })
    nodes[0] = node(0, { liveness: 'dead' })
    const only = { goals: [], constraints: [{ ...capacity('bytes') }] }
    const four = nodes.slice(0, 4)
    const lost = ranges
      .slice(0, 4)
      .map(({ descriptor: { rangeId } }) => range(rangeId, [0, 1, 2], { leaseHolder: 2 }))
    const next = plan(snapshotOf({ nodes: four, ranges: lost }), only, { limits: wide })
    assert.deepEqual(
      next.moves.map(({ add }) => add?.nodeId),
      ['db3', 'db3', 'db3', 'db3'],
    )
  })

  test('are not chosen for what merely makes something better, nor in an exchange', () => {
    const nodes = [node(0), node(1, { overload: 'recovering' }), node(2)]
    const ranges = Array.from({ length: 30 }, (_, r) => range(r + 1, [0], { load: { bytes: 10 + r } }))
    const by = { replicationFactor: 1, goals: [balance('replicas'), balance({ resource: 'bytes' })] }
    for (let seed = 0; seed < 5; seed++) {
      const { moves } = plan(snapshotOf({ nodes, ranges }), by, { limits: wide, seed })
      assert.ok(moves.length > 0)
      assert.deepEqual([...new Set(moves.map(({ add }) => add?.nodeId))], ['db2'])
    }
  })

  test('get new ranges only where no other can', () => {
    const nodes = [node(0), node(1, { overload: 'overloaded' }), node(2), node(3)]
    for (const { nodes: on } of allocate({ nodes, rangeIds: [1, 2, 3, 4] }))
      assert.deepEqual(on.map(({ nodeId }) => nodeId).sort(), ['db0', 'db2', 'db3'])
    for (const { nodes: on } of allocate({ nodes: nodes.slice(0, 3), rangeIds: [1, 2] }))
      assert.deepEqual(on.map(({ nodeId }) => nodeId).sort(), ['db0', 'db1', 'db2'])
  })

  test('give leases away, some at a time, half of them at most to one other', () => {
    const input = cluster({ 0: 'overloaded' })
    const { moves, deferred } = plan(snapshotOf(input), policy)
    assert.deepEqual([...new Set(reasons(moves))], ['transferLease: db0 is overloaded: leases leave it'])
    assert.equal(moves.length, 4)
    assert.equal(deferred, 1)
    const to = new Map<string, number>()
    for (const { leaseTo } of moves)
      to.set(leaseTo?.nodeId as string, (to.get(leaseTo?.nodeId as string) ?? 0) + 1)
    assert.ok([...to.values()].every((count) => count <= 2) && to.size >= 2, JSON.stringify([...to]))
  })

  test('count what is under way', () => {
    const { nodes, ranges } = cluster({ 0: 'overloaded' })
    const moves = [1, 2, 3].map((rangeId) => ({ rangeId, kind: 'transferLease' as const, leaseTo: 2 }))
    const next = plan(buildSnapshot({ nodes, ranges, moves, deadAfterMs: 1000 }), policy)
    assert.equal(next.moves.length, 1)
  })

  test('give leases only to stores that have nothing to complain of, and never where a goal would have them back', () => {
    const { nodes, ranges } = cluster({ 0: 'overloaded', 1: 'strained', 4: 'strained', 2: 'recovering' })
    const { moves } = plan(snapshotOf({ nodes, ranges }), policy, { limits: wide })
    assert.ok(moves.length > 0)
    assert.ok(moves.every(({ leaseTo }) => leaseTo?.nodeId === 'db5'))
    const strained = cluster({ 0: 'overloaded', 1: 'strained', 2: 'strained', 4: 'strained', 5: 'strained' })
    assert.deepEqual(plan(snapshotOf(strained), policy).moves, [])
  })

  test('do not hand on a range that is too hot for any store', () => {
    const { nodes, ranges } = cluster({ 0: 'overloaded' }, 1)
    const hot = range(1, [0, 1, 2], { leaderLoad: { cpu: 95 } })
    assert.deepEqual(plan(snapshotOf({ nodes, ranges: [hot, ...ranges.slice(1)] }), policy).moves, [])
    const warm = range(1, [0, 1, 2], { leaderLoad: { cpu: 60 } })
    assert.equal(plan(snapshotOf({ nodes, ranges: [warm, ...ranges.slice(1)] }), policy).moves.length, 1)
  })

  test('give replicas away only when exhausted, within their zones, and stop when they are not', () => {
    const input = cluster({ 0: 'exhausted' })
    const { moves } = plan(snapshotOf(input), policy)
    const copies = moves.filter(({ kind }) => kind === 'replace')
    assert.equal(copies.length, 2)
    for (const { add, remove, reason, priority } of copies) {
      assert.deepEqual([add?.nodeId, remove?.nodeId, priority], ['db3', 'db0', 4100])
      assert.equal(reason, 'db0 is exhausted: replicas leave it')
    }
    const recovering = cluster({ 0: 'recovering' })
    assert.deepEqual(plan(snapshotOf(recovering), policy).moves, [])
  })

  test('nothing is done about it where most are (tikv#14214): the plan is that of stores that report nothing', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = new SeededRandom(seed)
      const hot: Record<number, StoreOverload> = {}
      for (const i of [0, 1, 2, 3])
        hot[i] = (['recovering', 'overloaded', 'exhausted'] as const)[random.integer(3)] as 'overloaded'
      const uneven = { goals: [spread('zone'), balance('replicas'), balance('leases')] }
      const [plain, all] = [cluster({}), cluster(hot)]
      const expected = plan(snapshotOf(plain), uneven, { limits: wide, seed })
      const got = plan(snapshotOf(all), uneven, { limits: wide, seed })
      assert.ok(expected.moves.length > 0)
      assert.deepEqual(got.moves, expected.moves)
      assert.match(got.explained.join(), /most stores are overloaded/)
    }
  })

  test('what others hold is compared without them: nothing goes to and fro among the rest', () => {
    // db0 has given all away; the others cannot be even with it, only among themselves.
    const nodes = Array.from({ length: 5 }, (_, i) => node(i, i === 0 ? { overload: 'recovering' } : {}))
    const ranges = Array.from({ length: 40 }, (_, r) =>
      range(r + 1, [1 + (r % 4)], { load: { bytes: 10, cpu: 1 + (r % 7) / 100 }, leaderLoad: {} }),
    )
    const by = { replicationFactor: 1, goals: [balance({ resource: 'cpu' }, { tolerance: 0.1 })] }
    assert.deepEqual(plan(snapshotOf({ nodes, ranges }), by, { limits: wide }).moves, [])
  })

  test('a store of a node with several is judged by itself', () => {
    const stores = [{ storeId: 'd1', overload: 'exhausted' as const }, { storeId: 'd2' }]
    const nodes = [node(0, { stores }), node(1), node(2), node(3)]
    const on = (rangeId: number, storeId: string) =>
      range(rangeId, [0, 1, 2], { stores: new Map([[1, storeId]]) })
    const ranges = [on(1, 'd1'), on(2, 'd2')]
    const { moves } = plan(snapshotOf({ nodes, ranges }), policy)
    assert.deepEqual([...new Set(moves.map(({ rangeId }) => rangeId))], [1])
    const lost = [range(5, [0, 1, 2], { leaseHolder: 2, stores: new Map([[1, 'd2']]) })]
    nodes[1] = node(1, { liveness: 'dead' })
    nodes[3] = node(4, { stores })
    const repaired = plan(
      snapshotOf({ nodes, ranges: [{ ...(lost[0] as PlacementRange), leaseHolder: 3 }] }),
      policy,
    )
    assert.deepEqual(
      repaired.moves.map(({ add }) => [add?.nodeId, add?.storeId]),
      [['db4', 'd2']],
    )
  })

  test('a level that changes costs no look at any range, and the plan is that of a fresh planner', () => {
    const { nodes, ranges } = cluster({})
    const fleet = new Fleet({ deadAfterMs: 1000 })
    for (const each of nodes) fleet.setNode(each)
    for (const each of ranges) fleet.setRange(each)
    const planner = new Planner(policy)
    planner.plan(fleet.snapshot())
    for (const level of ['strained', 'overloaded', 'exhausted', 'recovering', undefined] as const) {
      fleet.setNode(node(0, level === undefined ? {} : { overload: level }))
      const next = planner.plan(fleet.snapshot())
      assert.equal(planner.index.examined, 0)
      assert.deepEqual(next, plan(fleet.snapshot(), policy))
    }
  })

  test('are named where somebody asks', () => {
    const snapshot = snapshotOf(cluster({ 0: 'overloaded', 3: 'recovering', 4: 'strained' }))
    assert.deepEqual(explainNode(snapshot, 'db0', policy).takes, [
      'db0: it takes what no other can, and gives leases away: it is overloaded',
    ])
    assert.match(nodeText(explainNode(snapshot, 'db3', policy)), /it was overloaded lately/)
    assert.match(nodeText(explainNode(snapshot, 'db4', policy)), /it is strained/)
    const told = explainRange(snapshot, 1, policy)
    assert.match(told.replicas[0]?.status as string, /on a store that is overloaded/)
    assert.equal(told.others.find(({ nodeId }) => nodeId === 'db3')?.why, 'it was overloaded lately')
  })

  test('what if one became it: leases leave, and replicas when it is exhausted', () => {
    const snapshot = snapshotOf(cluster({}))
    const leases = whatIf(snapshot, { overloadStores: { db0: 'overloaded' } }, { policy })
    assert.equal(leases.after.stores.find(({ name }) => name === 'db0')?.leases, 0)
    assert.equal(leases.moveCount, leases.leaseTransfers)
    assert.equal(leases.after.stores.find(({ name }) => name === 'db0')?.overload, 'overloaded')
    const all = whatIf(snapshot, { overloadStores: { db0: 'exhausted' } }, { policy })
    assert.equal(all.after.stores.find(({ name }) => name === 'db0')?.replicas, 0)
    assert.ok(all.settled && all.after.underReplicated === 0)
    for (const overloadStores of [{ db9: 'overloaded' }, { 'db0/d1': 'overloaded' }] as const)
      assert.throws(() => whatIf(snapshot, { overloadStores }), { code: 'NOT_FOUND' })
    const nonsense = { db0: 'hot' } as unknown as Record<string, StoreOverload>
    assert.throws(() => whatIf(snapshot, { overloadStores: nonsense }), { code: 'INVALID_ARGUMENT' })
  })
})
