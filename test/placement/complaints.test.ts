import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import {
  balance,
  buildSnapshot,
  explainRange,
  Fleet,
  type PlacementPolicy,
  Planner,
  plan,
  spread,
} from '../../src/placement/index.ts'
import { deadAfterMs, Model } from './support/cluster.ts'

const zones: Partial<PlacementPolicy> = { goals: [spread('zone'), balance('replicas'), balance('leases')] }
const unlimited = {
  moves: 10_000,
  improvements: 10_000,
  incomingPerNode: 10_000,
  outgoingPerNode: 10_000,
  leaseTransfers: 10_000,
}

function cluster(nodes = 6, ranges = 24): Model {
  const model = new Model()
  for (let i = 0; i < nodes; i++) model.addNode(`db${i}`, `z${i % 3}`)
  for (let r = 1; r <= ranges; r++)
    model.addRange(
      r,
      [0, 1, 2].map((i) => `db${(r + i) % nodes}`),
    )
  return model
}

suite('what users of other planners complain of', () => {
  test('thrashing from a stale view (cockroach#104292, #165798; pd#11133): what is under way counts as done', () => {
    const model = cluster(4, 12).addNode('new', 'z1')
    const snapshot = model.snapshot()
    const first = plan(snapshot, zones, { limits: unlimited })
    assert.ok(first.moves.length > 0)
    // The reports still say what they said before; only the moves are known.
    const fleet = new Fleet({ deadAfterMs })
    for (const node of snapshot.nodes) fleet.setNode(node)
    for (const { rangeId, generation, replicas, leaseHolder, bytes } of model.ranges) {
      fleet.setRange({
        descriptor: { rangeId, generation, replicas, start: new Uint8Array(0), end: undefined },
        ...(leaseHolder === undefined ? {} : { leaseHolder }),
        load: { bytes },
      })
    }
    for (const { rangeId, kind, add, remove, leaseTo } of first.moves) {
      fleet.setMove({
        rangeId,
        kind,
        ...(add === undefined ? {} : { add: add.nodeId }),
        ...(remove === undefined ? {} : { remove: remove.replicaId }),
        ...(leaseTo === undefined ? {} : { leaseTo: leaseTo.replicaId }),
      })
    }
    assert.deepEqual(plan(fleet.snapshot(), zones, { limits: unlimited }).moves, [])
  })

  test('a decommission that is stuck and does not say why (cockroach#74158, #138040)', () => {
    const model = cluster(3, 3)
    const node = model.node('db0')
    if (node !== undefined) node.state = 'draining'
    for (const range of model.ranges) {
      range.leaseHolder = range.replicas.find(({ nodeId }) => nodeId !== 'db0')?.replicaId
    }
    const next = plan(model.snapshot(), zones, { limits: unlimited })
    assert.equal(next.blockedCount, 3)
    for (const { why } of next.blocked)
      assert.match(why, /db0 is to be emptied, but no node can take a replica/)
    const { others, need } = explainRange(model.snapshot(), 1, zones)
    assert.match(need, /emptied/)
    assert.deepEqual(others, [])
  })

  test('a plan from two reads of membership that do not agree (cockroach#155734): one snapshot stays what it is', () => {
    const model = cluster()
    const fleet = new Fleet({ deadAfterMs })
    for (const node of model.snapshot().nodes) fleet.setNode(node)
    const range = (generation: number, nodes: readonly string[]) => ({
      descriptor: {
        rangeId: 1,
        generation,
        start: new Uint8Array(0),
        end: undefined,
        replicas: nodes.map((nodeId, i) => ({
          replicaId: generation * 10 + i,
          nodeId,
          incarnation: 1,
          role: 'voter' as const,
        })),
      },
    })
    fleet.setRange(range(1, ['db0', 'db1', 'db2']))
    const planner = new Planner(zones)
    const snapshot = fleet.snapshot()
    const before = planner.plan(snapshot)
    fleet.setRange(range(2, ['db3', 'db4', 'db5', 'db0']))
    assert.deepEqual(new Planner(zones).plan(snapshot), before, 'what came later is not in it')
    const after = planner.plan(fleet.snapshot()).moves
    assert.deepEqual(
      after.map(({ kind, generation, proof }) => [kind, generation, proof.map(({ step }) => step)]),
      [['remove', 2, ['now', 'remove']]],
    )
  })

  test('no answer to why something was or was not scheduled (pd#1605, #5257)', () => {
    const model = cluster().kill('db0')
    const next = plan(model.snapshot(), zones, { limits: { ...unlimited, incomingPerNode: 1 } })
    for (const { reason, rejected } of next.moves) {
      assert.match(reason, /db0 is dead/)
      assert.ok(rejected.length > 0 && rejected.every(({ why }) => why.length > 0))
    }
    assert.ok(next.deferred > 0)
    assert.ok(next.explained.some((line) => /wait for room/.test(line)))
    const { others } = explainRange(model.snapshot(), 1, zones)
    assert.ok(others.length > 0 && others.every(({ why }) => why.length > 0))
  })

  test('a walk over all regions (pd#7248): a plan looks at what changed', () => {
    const model = cluster(90, 3000)
    const fleet = new Fleet({ deadAfterMs })
    const snapshot = model.snapshot()
    for (const node of snapshot.nodes) fleet.setNode(node)
    const tell = (range: Model['ranges'][number]): void =>
      fleet.setRange({
        descriptor: {
          rangeId: range.rangeId,
          generation: range.generation,
          replicas: range.replicas,
          start: new Uint8Array(0),
          end: undefined,
        },
        ...(range.leaseHolder === undefined ? {} : { leaseHolder: range.leaseHolder }),
        load: { bytes: range.bytes },
      })
    for (const range of model.ranges) tell(range)
    const planner = new Planner(zones)
    const first = planner.plan(fleet.snapshot())
    assert.equal(planner.index.examined, 3000)
    assert.equal(planner.plan(fleet.snapshot()), first, 'nothing changed, and nothing is done')
    const range = model.range(7)
    range.generation++
    tell(range)
    planner.plan(fleet.snapshot())
    assert.equal(planner.index.examined, 1)
    model.kill('db4')
    for (const node of model.snapshot().nodes) fleet.setNode(node)
    planner.plan(fleet.snapshot())
    assert.equal(planner.index.examined, model.counts().get('db4'), 'those that have a replica there')
  })

  test('machines of different sizes (pd#5718): shares are measured by capacity', () => {
    const model = new Model()
    for (let i = 0; i < 4; i++) model.addNode(`db${i}`, '', { capacity: { bytes: i === 0 ? 6000 : 2000 } })
    for (let r = 1; r <= 60; r++) model.addRange(r, ['db1'])
    const policy = { replicationFactor: 1, goals: [balance({ resource: 'bytes' })] }
    for (let round = 0; round < 40; round++) {
      for (const move of plan(model.snapshot(), policy, { limits: unlimited }).moves) model.apply(move)
    }
    assert.deepEqual([...model.counts().values()], [30, 10, 10, 10])
  })

  test('nothing moves when everything is hot (tikv#14214): the hottest still gives to the least hot', () => {
    const model = new Model()
    for (let i = 0; i < 3; i++) model.addNode(`db${i}`, '', { capacity: { bytes: 100 } })
    for (let r = 1; r <= 27; r++) model.addRange(r, [`db${r <= 11 ? 0 : r <= 20 ? 1 : 2}`])
    const policy = { replicationFactor: 1, constraints: [], goals: [balance({ resource: 'bytes' })] }
    const { moves } = plan(model.snapshot(), policy, { limits: unlimited })
    assert.ok(moves.length > 0)
    assert.ok(moves.every(({ add, remove }) => remove?.nodeId === 'db0' && add?.nodeId === 'db2'))
  })

  test('the wrong signal (cockroach#90590): any load that is reported can be balanced, a lease goes before a copy', () => {
    const nodes = cluster(3, 0).snapshot().nodes
    const range = (rangeId: number, qps: number, cpu: number) => ({
      descriptor: {
        rangeId,
        generation: 1,
        start: new Uint8Array(0),
        end: undefined,
        replicas: [0, 1, 2].map((i) => ({
          replicaId: i + 1,
          nodeId: `db${i}`,
          incarnation: 1,
          role: 'voter' as const,
        })),
      },
      leaseHolder: 1 + (rangeId % 3),
      load: { bytes: 1 },
      leaderLoad: { qps, cpu },
    })
    // By queries all is even; db0 does nearly all the work.
    const ranges = Array.from({ length: 30 }, (_, i) => range(i + 1, 10, (i + 1) % 3 === 0 ? 8 : 1))
    const snapshot = buildSnapshot({ nodes, ranges, deadAfterMs })
    const byQueries = plan(snapshot, { goals: [balance({ resource: 'qps' })] }, { limits: unlimited })
    assert.deepEqual(byQueries.moves, [])
    const byWork = plan(snapshot, { goals: [balance({ resource: 'cpu' })] }, { limits: unlimited })
    assert.ok(byWork.moves.length > 0)
    assert.ok(byWork.moves.every(({ kind, bytes }) => kind === 'transferLease' && bytes === 0))
  })
})

suite('operations', () => {
  test('a node in maintenance gives its leases away, keeps its replicas however long it is silent, and gets none', () => {
    const model = cluster(6, 24)
    const nodes = model
      .snapshot()
      .nodes.map((node) => (node.descriptor.nodeId === 'db0' ? { ...node, maintenance: true } : node))
    const snapshotOf = (silent: boolean) =>
      buildSnapshot({
        nodes: nodes.map((node) =>
          silent && node.descriptor.nodeId === 'db0'
            ? { ...node, liveness: 'dead' as const, forMs: deadAfterMs * 100 }
            : node,
        ),
        ranges: model.ranges.map(({ rangeId, generation, replicas, leaseHolder }) => ({
          descriptor: { rangeId, generation, replicas, start: new Uint8Array(0), end: undefined },
          ...(leaseHolder === undefined ? {} : { leaseHolder }),
        })),
        deadAfterMs,
      })
    const led = model.leases().get('db0') as number
    const { moves } = plan(snapshotOf(false), zones, { limits: unlimited })
    assert.equal(moves.filter(({ reason }) => /db0, which is worked on/.test(reason)).length, led)
    assert.ok(moves.every(({ add, leaseTo }) => add?.nodeId !== 'db0' && leaseTo?.nodeId !== 'db0'))
    const silent = plan(snapshotOf(true), zones, { limits: unlimited })
    assert.ok(silent.moves.every(({ priority }) => priority < 10_000))
    assert.equal(silent.bounds.repair.lowerBoundMoves, 0)
  })

  test('a store that is too full gives away the heaviest first, and nothing is brought to a full one', () => {
    const model = new Model()
    for (let i = 0; i < 3; i++) model.addNode(`db${i}`, '', { capacity: { bytes: 100 } })
    for (let r = 1; r <= 7; r++) model.addRange(r, ['db0'], { bytes: r + 10 })
    model.addRange(8, ['db1'], { bytes: 90 })
    const { moves } = plan(model.snapshot(), { replicationFactor: 1, goals: [] })
    assert.deepEqual(
      moves.map(({ rangeId, add, remove }) => [rangeId, remove?.nodeId, add?.nodeId]),
      [[7, 'db0', 'db2']],
    )
    assert.match(moves[0]?.reason ?? '', /db0 is too full/)
  })

  test('where no move helps two replicas change places', () => {
    const model = new Model()
    for (const name of ['a', 'b']) model.addNode(name, '')
    model.addRange(1, ['a'], { bytes: 60 }).addRange(2, ['a'], { bytes: 50 })
    model.addRange(3, ['b'], { bytes: 30 }).addRange(4, ['b'], { bytes: 20 })
    const goals = [balance('replicas'), balance({ resource: 'bytes' })]
    const { moves } = plan(model.snapshot(), { replicationFactor: 1, goals })
    assert.deepEqual(
      moves.map(({ rangeId }) => rangeId).sort((a, b) => a - b),
      [1, 3],
    )
    for (const move of moves) model.apply(move)
    assert.deepEqual(plan(model.snapshot(), { replicationFactor: 1, goals }).moves, [])
  })
})
