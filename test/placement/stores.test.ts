import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { RangeDescriptor, ReplicaDescriptor } from '../../src/model/index.ts'
import { Traffic } from '../../src/placement/core/traffic.ts'
import { FleetFeed } from '../../src/placement/fleet-feed.ts'
import {
  allocate,
  buildSnapshot,
  Fleet,
  type MoveInFlight,
  type PlacementNode,
  type PlacementRange,
  Planner,
  plan,
  type ReportedReplica,
  withStores,
} from '../../src/placement/index.ts'

const stores = [{ storeId: 'd1' }, { storeId: 'd2' }]

/** Node a has two disks, b and c have one each; every range has a replica on b, and one on c that is lost. */
function fleetOf(ranges: number, moves: readonly MoveInFlight[]): Fleet {
  const fleet = new Fleet({ deadAfterMs: 1000 })
  for (const nodeId of ['a', 'b', 'c', 'e']) {
    fleet.setNode({
      descriptor: { nodeId, incarnation: 1, addresses: [], locality: [], capacity: {}, labels: {} },
      state: nodeId === 'e' ? 'draining' : 'active',
      liveness: nodeId === 'c' ? 'dead' : 'live',
      forMs: 1000,
      ...(nodeId === 'a' ? { stores } : {}),
    })
  }
  for (let rangeId = 1; rangeId <= ranges; rangeId++) {
    const replicas = ['b', 'c', 'e'].map(
      (nodeId, i): ReplicaDescriptor => ({ replicaId: i + 1, nodeId, incarnation: 1, role: 'voter' }),
    )
    fleet.setRange({
      descriptor: { rangeId, start: new Uint8Array(0), end: undefined, generation: 1, replicas },
      leaseHolder: 1,
      load: { bytes: 10 },
    })
  }
  for (const move of moves) fleet.setMove(move)
  return fleet
}

const toStore = (rangeId: number, storeId: string): MoveInFlight => ({
  rangeId,
  kind: 'replace',
  add: 'a',
  storeId,
  remove: 2,
})
const limits = { incomingPerNode: 1, outgoingPerNode: 100, moves: 100 }

/** A node with the stores that are named, each of 1,000 bytes. */
function nodeOf(nodeId: string, change: Partial<PlacementNode> = {}): PlacementNode {
  return {
    descriptor: {
      nodeId,
      incarnation: 1,
      addresses: [],
      locality: [],
      capacity: { bytes: 1000 },
      labels: {},
    },
    state: 'active',
    liveness: 'live',
    forMs: 0,
    ...change,
  }
}

function rangeOn(rangeId: number, places: readonly string[], bytes = 10): PlacementRange {
  const replicas = places.map(
    (place, i): ReplicaDescriptor => ({
      replicaId: i + 1,
      nodeId: place.split('/')[0] as string,
      incarnation: 1,
      role: 'voter',
    }),
  )
  const named = places.flatMap((place, i) =>
    place.includes('/') ? [[i + 1, place.split('/')[1] as string] as const] : [],
  )
  return {
    descriptor: { rangeId, start: new Uint8Array(0), end: undefined, generation: 1, replicas },
    leaseHolder: replicas.length,
    load: { bytes },
    stores: new Map(named),
  }
}

suite('one store of a node', () => {
  const failed = nodeOf('a', { stores: [{ storeId: 'd1', state: 'failed' }, { storeId: 'd2' }] })
  const rest = ['b', 'c'].map((nodeId) => nodeOf(nodeId))

  test('that failed is repaired elsewhere, and what the other one holds stays', () => {
    const ranges = [rangeOn(1, ['a/d1', 'b', 'c']), rangeOn(2, ['a/d2', 'b', 'c'])]
    const next = plan(buildSnapshot({ nodes: [failed, ...rest, nodeOf('d')], ranges, deadAfterMs: 1 }))
    assert.deepEqual(
      next.moves.map(({ rangeId, kind, add }) => [rangeId, kind, add?.nodeId]),
      [[1, 'replace', 'd']],
    )
  })

  test('that failed is repaired on its own node where there is no other: the lost replica goes first', () => {
    const lost = [rangeOn(1, ['a/d1', 'b', 'c'])]
    const first = plan(buildSnapshot({ nodes: [failed, ...rest], ranges: lost, deadAfterMs: 1 }))
    assert.deepEqual(
      first.moves.map(({ kind, remove }) => [kind, remove?.replicaId]),
      [['remove', 1]],
    )
    const then = plan(
      buildSnapshot({ nodes: [failed, ...rest], ranges: [rangeOn(1, ['b', 'c'])], deadAfterMs: 1 }),
    )
    assert.deepEqual(
      then.moves.map(({ kind, add }) => [kind, add?.nodeId, add?.storeId]),
      [['add', 'a', 'd2']],
    )
  })

  test('that is full gives to other nodes, never to the other store of its own', () => {
    const full = nodeOf('a', { stores: [{ storeId: 'd1' }, { storeId: 'd2' }] })
    const ranges = Array.from({ length: 10 }, (_, r) => rangeOn(r + 1, ['a/d1', 'b', 'c'], 96))
    const nodes = [
      full,
      ...rest.map((node) => ({ ...node, descriptor: { ...node.descriptor, capacity: {} } })),
      nodeOf('d'),
    ]
    const { moves } = plan(buildSnapshot({ nodes, ranges, deadAfterMs: 1 }), { goals: [] })
    assert.ok(moves.length > 0)
    for (const { add, remove, reason } of moves) {
      assert.deepEqual([add?.nodeId, remove?.nodeId], ['d', 'a'])
      assert.match(reason, /a\/d1 is too full/)
    }
  })

  test('is filled by what it can hold, whatever the other one holds', () => {
    const small = [{ storeId: 'd1', capacity: { bytes: 50 } }, { storeId: 'd2' }]
    const nodes = [nodeOf('a', { stores: small }), ...rest]
    const ranges = Array.from({ length: 10 }, (_, r) => rangeOn(r + 1, ['b', 'c'], 20))
    const wide = { incomingPerNode: 100, moves: 100 }
    const { moves } = plan(buildSnapshot({ nodes, ranges, deadAfterMs: 1 }), {}, { limits: wide })
    const to = moves.map(({ add }) => add?.storeId)
    assert.deepEqual([to.filter((name) => name === 'd1').length, to.length], [2, 10])
  })

  test('is the one that new ranges are directed to', () => {
    const draining = [{ storeId: 'd1', state: 'draining' as const }, { storeId: 'd2' }]
    const [placed] = allocate({ nodes: [nodeOf('a', { stores: draining }), ...rest], rangeIds: [1] })
    assert.deepEqual(placed?.nodes.map(({ nodeId, storeId }) => [nodeId, storeId]).sort(), [
      ['a', 'd2'],
      ['b', undefined],
      ['c', undefined],
    ])
  })

  test('is what a node joined with and reports of it', () => {
    const described = nodeOf('a')
    const descriptor = {
      ...described.descriptor,
      stores: [{ storeId: 'd1', capacity: { bytes: 5 }, labels: { disk: 'nvme' } }],
    }
    assert.equal(withStores(described, undefined), described)
    assert.deepEqual(withStores({ ...described, descriptor }, undefined).stores, descriptor.stores)
    const reports = [
      { storeId: 'd1', load: {}, capacity: { bytes: 4 }, state: 'failed' as const },
      { storeId: 'd2', load: {}, capacity: {} },
    ]
    assert.deepEqual(withStores({ ...described, descriptor }, reports).stores, [
      { storeId: 'd1', capacity: { bytes: 4 }, labels: { disk: 'nvme' }, state: 'failed' },
      { storeId: 'd2', capacity: {} },
    ])
  })
})

suite('stores that nodes report', () => {
  const directory: RangeDescriptor = { ...rangeOn(1, ['a', 'b', 'c']).descriptor, start: new Uint8Array(0) }
  const observed = (nodeId: string, storeId: string | undefined): ReportedReplica => ({
    nodeId,
    replica: {
      rangeId: 1,
      replicaId: 'abc'.indexOf(nodeId) + 1,
      generation: 1,
      replicas: directory.replicas,
      leaseHolder: nodeId === 'b',
      sequence: 1,
      caughtUp: [],
      load: { bytes: 10 },
      ...(storeId === undefined ? {} : { storeId }),
    },
  })

  test('stand in the snapshot, and stay there while their node is silent', () => {
    let reports = [observed('a', 'd2'), observed('b', undefined)]
    const feed = new FleetFeed({
      nodes: () => ['a', 'b', 'c'].map((nodeId) => nodeOf(nodeId, nodeId === 'a' ? { stores } : {})),
      observed: () => reports,
      changed: () => [1],
      held: () => new Map(),
      replicationFactor: () => undefined,
      refused: { range: () => {}, node: () => {} },
      deadAfterMs: 1000,
    })
    feed.setDirectory([directory])
    const where = (): string[] => {
      const snapshot = feed.snapshot([], new Map())
      const range = snapshot.range(1)
      return [0, 1, 2].map((i) => snapshot.table.nameOf(range?.store(i) ?? -1))
    }
    assert.deepEqual(where(), ['a/d2', 'b', 'c'])
    reports = [observed('b', undefined)]
    assert.deepEqual(where(), ['a/d2', 'b', 'c'])
    reports = [observed('a', 'd1')]
    assert.deepEqual(where(), ['a/d1', 'b', 'c'])
  })

  test('are taken from reports by a fleet, too', () => {
    const fleet = new Fleet({ deadAfterMs: 1 })
    fleet.setNode(nodeOf('a', { stores }))
    fleet.setRange(rangeOn(1, ['a']))
    const before = fleet.snapshot()
    assert.equal(fleet.storeOf(1, 1), undefined)
    fleet.applyReport('a', [observed('a', 'd2').replica])
    assert.equal(fleet.storeOf(1, 1), 'd2')
    assert.equal(fleet.storeOf(1, 9), undefined)
    assert.equal(fleet.storeOf(7, 1), undefined)
    assert.equal(before.table.nameOf(before.range(1)?.store(0) as number), 'a/d1')
    const after = fleet.snapshot()
    assert.equal(after.table.nameOf(after.range(1)?.store(0) as number), 'a/d2')
    fleet.applyReport('a', [observed('a', 'd2').replica])
    assert.equal(fleet.snapshot(), after)
  })
})

suite('moves under way count on the store that they go to', () => {
  test('and the next one goes to the other', () => {
    for (const [taken, free] of [
      ['d1', 'd2'],
      ['d2', 'd1'],
    ] as const) {
      const snapshot = fleetOf(2, [toStore(1, taken)]).snapshot()
      const names = snapshot.stores.map((_, i) => snapshot.table.nameOf(i))
      const { incoming } = new Traffic(snapshot)
      assert.deepEqual(
        names.filter((_, i) => incoming[i] === 1),
        [`a/${taken}`],
      )
      const next = plan(snapshot, {}, { limits })
      assert.deepEqual(
        next.moves.map(({ rangeId, add }) => [rangeId, add?.nodeId, add?.storeId]),
        [[2, 'a', free]],
      )
    }
  })

  test('and where all have enough to do the rest waits', () => {
    const next = plan(fleetOf(4, [toStore(1, 'd1'), toStore(2, 'd2')]).snapshot(), {}, { limits })
    assert.deepEqual([next.moves.length, next.deferred], [0, 2])
  })

  test('what they bring is held there, before and after it is reported, until somebody says where it is', () => {
    const planner = new Planner()
    const fleet = fleetOf(1, [toStore(1, 'd2')])
    const held = (): [number, number] => {
      planner.plan(fleet.snapshot())
      return [planner.index.replicas[0] as number, planner.index.replicas[1] as number]
    }
    assert.deepEqual(held(), [0, 1])
    const arrived = ['b', 'c', 'e', 'a'].map(
      (nodeId, i): ReplicaDescriptor => ({
        replicaId: i + 1,
        nodeId,
        incarnation: 1,
        role: i === 3 ? 'learner' : 'voter',
      }),
    )
    const descriptor = {
      rangeId: 1,
      start: new Uint8Array(0),
      end: undefined,
      generation: 2,
      replicas: arrived,
    }
    fleet.setRange({ descriptor, leaseHolder: 1, load: { bytes: 10 } })
    assert.deepEqual(held(), [0, 1], 'nobody says on which store it is')
    fleet.setRange({ descriptor, leaseHolder: 1, load: { bytes: 10 }, stores: new Map([[4, 'd1']]) })
    assert.deepEqual(held(), [1, 0])
    fleet.setMove(toStore(1, 'd1'))
    assert.deepEqual(held(), [1, 0])
  })

  test('a store that is gone by now does not change what is known of the node', () => {
    const snapshot = fleetOf(1, [toStore(1, 'd9')]).snapshot()
    assert.deepEqual([...new Traffic(snapshot).incoming], [1, 0, 0, 0, 0])
  })
})
