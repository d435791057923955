import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type Environment, KeelsonError, MetricsRegistry } from '../../src/core/index.ts'
import { recordLogger } from '../../src/core/logger.ts'
import type { ObservedReplica } from '../../src/interfaces/index.ts'
import { ControllerEpoch, memoryStore, RangeDirectory } from '../../src/metadata/index.ts'
import type { RangeDescriptor } from '../../src/model/index.ts'
import { FleetFeed } from '../../src/placement/fleet-feed.ts'
import {
  balance,
  createRanges,
  moveJob,
  PlacementController,
  type PlacementNode,
  type PlacementSnapshot,
  spread,
  withStores,
} from '../../src/placement/index.ts'
import type { ReportedReplica } from '../../src/placement/range-reports.ts'
import { RefusedViews } from '../../src/placement/refused-views.ts'
import { VirtualTime } from '../support/virtual-time.ts'
import { DataPlane } from './support/data-plane.ts'
import { plainNode, plainRange } from './support/plain.ts'

interface World {
  readonly feed: FleetFeed
  readonly refused: RefusedViews
  readonly warnings: string[]
  readonly metrics: MetricsRegistry
  readonly snapshot: () => PlacementSnapshot
  nodes: PlacementNode[]
  /** What the first replica of each range says otherwise. */
  readonly said: Map<number, Partial<ObservedReplica>>
}

/** Three ranges on three nodes, all of which report. */
function newWorld(): World {
  const time = new VirtualTime(1)
  const warnings: string[] = []
  const metrics = new MetricsRegistry()
  const logger = recordLogger(({ fields }) => warnings.push(JSON.stringify(fields)))
  const refused = new RefusedViews({ ...time.env, logger, metrics })
  const descriptors = [1, 2, 3].map((rangeId) => plainRange(rangeId, ['a', 'b', 'c']).descriptor)
  const said = new Map<number, Partial<ObservedReplica>>()
  const observed = (rangeId: number): readonly ReportedReplica[] =>
    (descriptors[rangeId - 1] as RangeDescriptor).replicas.map(({ replicaId, nodeId }, i) => ({
      nodeId,
      replica: {
        rangeId,
        replicaId,
        generation: 1,
        replicas: (descriptors[rangeId - 1] as RangeDescriptor).replicas,
        leaseHolder: i === 0,
        sequence: 1,
        caughtUp: [1, 2, 3],
        load: { bytes: 100 },
        ...(i === 0 ? said.get(rangeId) : {}),
      },
    }))
  const feed = new FleetFeed({
    nodes: () => world.nodes,
    observed,
    changed: undefined,
    held: () => new Map(),
    replicationFactor: () => undefined,
    deadAfterMs: 1000,
    refused,
  })
  feed.setDirectory(descriptors)
  const world: World = {
    feed,
    refused,
    warnings,
    metrics,
    said,
    nodes: ['a', 'b', 'c'].map((nodeId) => plainNode(nodeId)),
    snapshot: () => feed.snapshot([], new Map()),
  }
  return world
}

function bytesOf(snapshot: PlacementSnapshot, rangeId: number): number | undefined {
  return snapshot.range(rangeId)?.load(snapshot.resources.indexOf('bytes'))
}

function count({ metrics }: World, of: string): string | undefined {
  return new RegExp(`keelson_placement_refused_views\\{of="${of}"\\} (\\d+)`).exec(metrics.text())?.[1]
}

suite('what is reported and cannot be', () => {
  const members = plainRange(2, ['a', 'b', 'c']).descriptor.replicas
  const again = (change: object) => [
    ...members,
    { ...(members[0] as (typeof members)[0]), replicaId: 9, ...change },
  ]
  const bad: readonly (readonly [string, Partial<ObservedReplica>])[] = [
    ['a negative load', { load: { bytes: 7, cpu: -0.001 } }],
    ['a load above the safe integers', { load: { bytes: 2 ** 60 } }],
    ['a load that is no number', { load: { bytes: '7' as unknown as number } }],
    [
      'more resources than there may be',
      { load: Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`r${i}`, 1])) },
    ],
    ['two replicas on one node', { generation: 2, replicas: again({ role: 'learner' }) }],
    ['one replica twice', { generation: 2, replicas: again({ replicaId: 1, nodeId: 'd' }) }],
    ['a replica without an id', { generation: 2, replicas: again({ replicaId: 0, nodeId: 'd' }) }],
  ]

  for (const [what, said] of bad) {
    test(`of a range leaves it as it was known, and all others are looked at: ${what}`, () => {
      const world = newWorld()
      world.snapshot()
      world.said.set(2, said)
      world.said.set(3, { load: { bytes: 300 } })
      const snapshot = world.snapshot()
      assert.equal(snapshot.rangeCount, 3)
      assert.equal(snapshot.range(2)?.generation, 1)
      assert.equal(snapshot.range(2)?.replicas, 3)
      assert.notEqual(bytesOf(snapshot, 3), 100, 'the range behind it is looked at')
      assert.deepEqual([...world.refused.ranges], [2])
      assert.equal(count(world, 'range'), '1')
      assert.deepEqual([...world.feed.ahead()], [], 'what cannot be is not carried into the directory')
      for (let i = 0; i < 5; i++) world.snapshot()
      assert.equal(world.warnings.length, 1, 'it is logged once')
      assert.match(world.warnings[0] as string, /"rangeId":2/)
      world.said.set(2, { load: { bytes: 200 } })
      assert.notEqual(bytesOf(world.snapshot(), 2), 100)
      assert.equal(count(world, 'range'), '0')
    })
  }

  test('of what a range costs does not keep its newer configuration from being seen', () => {
    const world = newWorld()
    world.snapshot()
    world.said.set(2, { generation: 2, replicas: members.slice(0, 2), load: { bytes: -1 } })
    const snapshot = world.snapshot()
    assert.equal(snapshot.range(2)?.generation, 2)
    assert.equal(bytesOf(snapshot, 2), 100)
    assert.deepEqual(
      [...world.feed.ahead()].map(({ rangeId }) => rangeId),
      [2],
    )
  })

  test('from the beginning leaves a range as the directory has it', () => {
    const world = newWorld()
    world.said.set(2, { generation: 2, replicas: again({ role: 'learner' }) })
    assert.equal(world.snapshot().range(2)?.generation, 1)
    const { descriptor } = plainRange(2, ['b', 'c'])
    world.feed.setRange({ ...descriptor, generation: 2, start: Uint8Array.of(1) })
    world.said.set(2, { generation: 3, replicas: again({ role: 'learner' }) })
    const snapshot = world.snapshot()
    assert.equal(snapshot.range(2)?.generation, 2, 'the directory has something newer than was known')
    assert.equal(snapshot.range(2)?.replicas, 2)
    world.feed.removeRange(2)
    assert.equal(count(world, 'range'), '0')
  })

  test('of a node or its stores leaves the amount as it was, and what else is said of the node is taken', () => {
    const world = newWorld()
    const node = (bytes: number, change: Partial<PlacementNode> = {}): PlacementNode => {
      const plain = plainNode('b')
      const descriptor = { ...plain.descriptor, capacity: { bytes, cpu: 8 } }
      const described = { ...descriptor, stores: [{ storeId: 'd1', capacity: { bytes: 50 }, labels: {} }] }
      return withStores({ ...plain, descriptor: described, ...change }, [
        { storeId: 'd1', load: {}, capacity: { bytes } },
      ])
    }
    const [a, , c] = world.nodes as [PlacementNode, PlacementNode, PlacementNode]
    world.nodes = [a, node(40), c]
    world.snapshot()
    world.nodes = [a, node(-1, { state: 'draining' }), { ...c, state: 'draining' }]
    const { nodes } = world.snapshot()
    assert.deepEqual(
      nodes.map(({ state }) => state),
      ['active', 'draining', 'draining'],
    )
    assert.deepEqual({ ...nodes[1]?.descriptor.capacity }, { bytes: 40, cpu: 8 })
    assert.deepEqual({ ...nodes[1]?.stores?.[0]?.capacity }, { bytes: 40 })
    world.snapshot()
    assert.deepEqual([...world.refused.nodes], ['b'])
    assert.equal(world.warnings.length, 1)
    world.nodes = [a, node(41), c]
    assert.deepEqual({ ...world.snapshot().nodes[1]?.stores?.[0]?.capacity }, { bytes: 41 })
    assert.equal(count(world, 'node'), '0')
    world.nodes = [a, c, { ...node(-1), descriptor: { ...node(-1).descriptor, nodeId: 'd' } }]
    assert.deepEqual(
      { ...world.snapshot().nodes[2]?.descriptor.capacity },
      { cpu: 8 },
      'of a new node nothing is known',
    )
    world.nodes = [a]
    assert.equal(world.snapshot().nodes.length, 1)
    assert.equal(count(world, 'node'), '0')
  })

  test('of many ranges is logged for a few of them only', () => {
    const { refused, warnings } = newWorld()
    for (let rangeId = 1; rangeId <= 100; rangeId++) {
      refused.range(rangeId, new KeelsonError('INVALID_ARGUMENT', 'that cannot be'))
    }
    assert.equal(warnings.length, 10)
    assert.equal(refused.ranges.size, 100)
  })
})

test('placement goes on planning while a range and a node are told of what cannot be', async () => {
  const time = new VirtualTime(1)
  const env: Environment = time.env
  const store = memoryStore({ env })
  const directory = new RangeDirectory(store)
  const plane = new DataPlane(time, directory, {})
  for (let i = 0; i < 4; i++) plane.addNode(`db${i}`, `z${i % 3}`)
  const policy = { goals: [spread('zone'), balance('replicas')] }
  const setup = await ControllerEpoch.acquire(store, 'controllers', 'setup')
  const ranges = [1, 2, 3].map((rangeId) => ({
    rangeId,
    start: rangeId === 1 ? new Uint8Array(0) : Uint8Array.of(rangeId),
    end: rangeId === 3 ? undefined : Uint8Array.of(rangeId + 1),
  }))
  await createRanges({ directory, epoch: setup, nodes: plane.views(), policy, ranges })
  const serves = (): boolean =>
    [1, 2, 3].every((rangeId) => plane.observed(rangeId).some(({ replica }) => replica.leaseHolder))
  await time.untilTrue('the ranges serve', serves)
  let spoilt = false
  const observed = (rangeId: number): readonly ReportedReplica[] =>
    plane
      .observed(rangeId)
      .map((report) =>
        spoilt && rangeId === 2
          ? { ...report, replica: { ...report.replica, load: { cpu: -0.001 } } }
          : report,
      )
  const epoch = await ControllerEpoch.acquire(store, 'controllers', 'leader')
  const node = (nodeId: string) => plane.view(nodeId)
  const move = moveJob({ env, epoch, directory, observed, node, pollIntervalMs: 100 })
  const nodes = (): readonly PlacementNode[] =>
    plane
      .views()
      .map((view, i) =>
        spoilt && i === 0 ? { ...view, descriptor: { ...view.descriptor, capacity: { bytes: -1 } } } : view,
      )
  const tuning = { intervalMs: 100, deadAfterMs: 2000, retryAfterMs: 3000, dampingMs: 5000 }
  await using placement = PlacementController.start({
    env,
    store,
    epoch,
    directory,
    nodes,
    observed,
    move,
    policy,
    ...tuning,
  })
  let stopped = false
  void placement.stopped.then(() => {
    stopped = true
  })
  await time.untilTrue('a plan is made', () => placement.plan() !== undefined)
  spoilt = true
  const before = placement.planned()
  await time.advance(1000)
  assert.equal(stopped, false)
  assert.notEqual(placement.planned(), before)
  assert.equal(placement.snapshot().rangeCount, 3)
})
