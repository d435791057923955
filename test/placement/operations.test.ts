import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { MetadataStore } from '../../src/interfaces/index.ts'
import { type Job, JobRunner, Jobs, type JobType } from '../../src/jobs/index.ts'
import { ControllerEpoch, DirectoryCache, memoryStore, RangeDirectory } from '../../src/metadata/index.ts'
import type { ReplicaDescriptor } from '../../src/model/index.ts'
import { underMaintenance, whatForbidsLoss } from '../../src/placement/core/maintenance.ts'
import {
  balance,
  createRanges,
  evacuationJob,
  MaintenanceView,
  maintenanceJob,
  moveJob,
  moveJobType,
  type NodeOperationPorts,
  NodeOperations,
  PlacementController,
  rollingRestartJob,
  spread,
} from '../../src/placement/index.ts'
import { FaultyStore, type StoreFault } from '../support/faulty-store.ts'
import { VirtualTime } from '../support/virtual-time.ts'
import { DataPlane, type PlaneTuning } from './support/data-plane.ts'

const policy = { goals: [spread('zone'), balance('replicas'), balance('leases')] }

class World {
  readonly time = new VirtualTime(11)
  readonly store: MetadataStore = memoryStore({ env: this.time.env })
  readonly jobs = new Jobs({ store: this.store, env: this.time.env })
  readonly operations = new NodeOperations({ store: this.store, env: this.time.env })
  readonly plane: DataPlane

  constructor(nodes = 6, tuning: Partial<PlaneTuning> = {}) {
    this.plane = new DataPlane(this.time, new RangeDirectory(this.store), tuning)
    for (let i = 0; i < nodes; i++) this.plane.addNode(`db${i}`, `z${i % 3}`)
  }

  async create(count: number, replicationFactor = 3): Promise<void> {
    const epoch = await ControllerEpoch.acquire(this.store, 'controllers', 'setup')
    const bound = (i: number): Uint8Array => (i === 0 ? new Uint8Array(0) : Uint8Array.of(i))
    await createRanges({
      directory: new RangeDirectory(this.store),
      epoch,
      nodes: this.plane.views(),
      policy: { ...policy, replicationFactor },
      ranges: Array.from({ length: count }, (_, i) => ({
        rangeId: i + 1,
        start: bound(i),
        end: i + 1 === count ? undefined : bound(i + 1),
      })),
    })
    await this.time.untilTrue('all ranges serve', () => this.plane.ranges.size === count)
  }

  async lead(
    options: {
      store?: MetadataStore
      restart?: NodeOperationPorts['restart']
      clearTimeoutMs?: number
      replicationFactor?: number
    } = {},
  ): Promise<() => Promise<void>> {
    const { env } = this.time
    const { restart, clearTimeoutMs = 60_000, replicationFactor = 3 } = options
    const store = options.store ?? this.store
    const epoch = await ControllerEpoch.acquire(store, 'controllers', 'a leader')
    const directory = new RangeDirectory(store)
    const cache = new DirectoryCache({ env, directory })
    const maintenance = new MaintenanceView({ env, store })
    const observed = (rangeId: number) => this.plane.observed(rangeId)
    const nodes = () => this.plane.operated().map((node) => maintenance.over(node))
    const node = (nodeId: string) => nodes().find((each) => each.descriptor.nodeId === nodeId)
    const move = moveJob({ env, epoch, directory, observed, node, pollIntervalMs: 100 })
    const placement = PlacementController.start({
      env,
      store,
      epoch,
      directory,
      nodes,
      observed,
      move,
      policy: { ...policy, replicationFactor },
      intervalMs: 100,
      deadAfterMs: 2000,
      retryAfterMs: 1000,
      dampingMs: 5000,
    })
    const ports: NodeOperationPorts = {
      env,
      store,
      epoch,
      observed,
      maintenance,
      move,
      nodes: () => this.plane.operated(),
      rangesOn: (nodeIds) => cache.rangesOn(nodeIds),
      drain: async (nodeId) => this.plane.drain(nodeId),
      undrain: async (nodeId) => {
        this.plane.node(nodeId).state = 'active'
      },
      plan: () => placement.plan(),
      pollIntervalMs: 100,
      clearTimeoutMs,
      ...(restart === undefined ? {} : { restart }),
    }
    const types = [
      move,
      maintenanceJob(ports),
      rollingRestartJob(ports),
      evacuationJob(ports),
    ] as JobType<unknown>[]
    await this.time.until(cache.ready())
    const runner = JobRunner.start({ env, store, epoch, types })
    return async () => {
      await placement.close()
      await runner.close()
      await maintenance.close()
      await cache.close()
    }
  }

  async job(jobId: number): Promise<Job> {
    return (await this.jobs.get(jobId)) as Job
  }

  async says(job: Job, pattern: RegExp): Promise<Job> {
    await this.time.untilTrue(
      `it says ${pattern}`,
      async () => pattern.test((await this.job(job.jobId)).progress?.message ?? ''),
      600_000,
    )
    return this.job(job.jobId)
  }

  async ended(job: Job): Promise<Job> {
    return this.time.until(this.jobs.ended(job.jobId))
  }

  leases(nodeId: string): number {
    return [...this.plane.ranges.values()].filter(
      ({ replicas, leader }) => replicas.find(({ replicaId }) => replicaId === leader)?.nodeId === nodeId,
    ).length
  }

  async repairs(): Promise<number> {
    return (await this.jobs.list({ type: moveJobType })).filter(({ reason }) => /is dead/.test(reason)).length
  }
}

/** How a job ended, with its error where it failed. */
function outcomeOf(job: Job): string {
  return job.status === 'failed' ? `failed: ${job.lastError?.message}` : job.status
}

/** `a b! c`: voters on these nodes; `!` is down. */
function range(word: string): { rangeId: number; replicas: ReplicaDescriptor[] } {
  const replicas = word.split(' ').map((each, i) => ({
    replicaId: i + 1,
    nodeId: each[0] as string,
    incarnation: each.includes('!') ? 2 : 1,
    role: each.includes('+')
      ? ('incoming' as const)
      : each.includes('-')
        ? ('outgoing' as const)
        : ('voter' as const),
  }))
  return { rangeId: 7, replicas }
}

suite('a range that a node leaves for a while', () => {
  const isUp = ({ incarnation }: ReplicaDescriptor): boolean => incarnation === 1
  const cases: [what: string, leaving: string, expected: RegExp | undefined][] = [
    ['a b c', 'a', undefined],
    ['a b! c', 'a', /range 7 would have 1 live voters of the 2 that it needs: b cannot vote/],
    ['a b! c', 'b', undefined],
    ['a b! c', 'x', undefined],
    ['a b c', 'a b', /would have 1 live voters of the 2 that it needs: it has no more replicas/],
    ['a', 'a', /would have 0 live voters of the 1/],
    ['a b c d e', 'a b', undefined],
    ['a- b c d+', 'b', undefined],
    ['a- b c! d+', 'd', /would have 1 live voters of the 2/],
    ['a- b c! d+', 'a', /would have 1 live voters of the 2/],
  ]
  for (const [what, leaving, expected] of cases) {
    test(`${what} without ${leaving}`, () => {
      const blocker = whatForbidsLoss(range(what), new Set(leaving.split(' ')), isUp)
      if (expected === undefined) assert.equal(blocker, undefined)
      else assert.match(blocker?.why ?? '', expected)
    })
  }

  test('a node in maintenance is marked as one', () => {
    const node = { liveness: 'live', forMs: 5, state: 'active' } as never
    assert.deepEqual(underMaintenance(node), {
      liveness: 'live',
      forMs: 5,
      state: 'active',
      maintenance: true,
    })
  })
})

suite('maintenance', () => {
  test('leases leave, replicas stay, nothing is repaired, and it ends when the node is back', async () => {
    const world = new World()
    await world.create(9)
    const close = await world.lead()
    const held = world.plane.holds('db0')
    assert.ok(world.leases('db0') > 0)
    const job = await world.operations.maintenance(['db0'], { boundMs: 600_000, reason: 'a new disk' })
    const ready = await world.says(job, /db0 may go down now; expected back within 10 min/)
    assert.deepEqual(ready.waitingFor, ['db0'])
    await world.time.advance(3000)
    assert.equal(world.leases('db0'), 0)
    world.plane.kill('db0')
    await world.says(job, /db0 is away; expected back within/)
    // Much longer than a node may be dead.
    await world.time.advance(60_000)
    assert.equal(await world.repairs(), 0)
    assert.equal(world.plane.holds('db0'), held)
    world.plane.restart('db0', false, 5000)
    const lagging = await world.says(job, /db0 back; \d replicas have to catch up/)
    assert.match(lagging.waitingFor[0] ?? '', /^range \d$/)
    const ended = await world.ended(job)
    assert.deepEqual([ended.status, ended.outcome], ['succeeded', 'db0 is back'])
    await world.time.advance(60_000)
    assert.ok(world.leases('db0') > 0, 'leases come back by balance')
    await close()
    world.plane.stop()
  })

  test('what is not back in time counts as dead, loudly', async () => {
    const world = new World()
    await world.create(6)
    const close = await world.lead()
    const job = await world.operations.maintenance(['db0'], { boundMs: 30_000, reason: 'a new disk' })
    await world.says(job, /may go down/)
    world.plane.kill('db0')
    await world.time.advance(25_000)
    assert.equal(await world.repairs(), 0)
    const ended = await world.ended(job)
    assert.equal(ended.status, 'failed')
    assert.match(
      ended.lastError?.message ?? '',
      /db0 not back in time: what they hold counts as that of any node/,
    )
    await world.time.advance(30_000)
    assert.ok((await world.repairs()) > 0)
    assert.equal(world.plane.holds('db0'), 0)
    await close()
    world.plane.stop()
  })

  test('a change of leaders keeps the bound and repairs nothing meanwhile', async () => {
    const world = new World()
    await world.create(6)
    let close = await world.lead()
    const job = await world.operations.maintenance(['db0'], { boundMs: 120_000, reason: 'a new disk' })
    await world.says(job, /may go down/)
    world.plane.kill('db0')
    for (let i = 0; i < 4; i++) {
      await world.time.advance(20_000)
      const next = await world.lead()
      await world.time.until(close())
      close = next
    }
    assert.equal(await world.repairs(), 0)
    assert.equal((await world.job(job.jobId)).status, 'running')
    const sinceMs = world.time.nowMs
    const ended = await world.ended(job)
    assert.equal(ended.status, 'failed')
    // Four leaders gave back at most a checkpoint each.
    assert.ok(world.time.nowMs - sinceMs <= 40_000 + 4 * 10_000 + 1000)
    await close()
    world.plane.stop()
  })

  test('names what stands in the way: a range, and the node that it waits for', async () => {
    const world = new World(3)
    await world.create(3)
    const close = await world.lead()
    world.plane.kill('db1')
    const job = await world.operations.maintenance(['db0'], { boundMs: 60_000, reason: 'a new disk' })
    const stuck = await world.says(
      job,
      /range 1 would have 1 live voters of the 2 that it needs: db1 cannot vote/,
    )
    assert.ok(stuck.waitingFor.includes('db1'))
    await world.time.advance(5000)
    world.plane.restart('db1')
    await world.says(job, /db0 may go down now/)
    // Ready is not ready for ever.
    world.plane.kill('db2')
    await world.says(job, /db2 cannot vote/)
    world.plane.restart('db2')
    await world.says(job, /db0 may go down now/)
    await world.jobs.cancel(job.jobId, 'another day')
    const ended = await world.ended(job)
    assert.equal(ended.status, 'cancelled')
    assert.match(ended.outcome ?? '', /no maintenance any more/)
    await close()
    world.plane.stop()
  })

  test('gives up with the reasons when it can never be ready, unless it is forced', async () => {
    const world = new World(3)
    await world.create(3, 1)
    const close = await world.lead({ clearTimeoutMs: 10_000, replicationFactor: 1 })
    const job = await world.operations.maintenance(['db0'], { boundMs: 20_000, reason: 'a new disk' })
    const ended = await world.ended(job)
    assert.equal(ended.status, 'failed')
    assert.match(
      ended.lastError?.message ?? '',
      /ready to go down within 10000 ms: range \d would have 0 live/,
    )
    const forced = await world.operations.maintenance(['db0'], {
      boundMs: 20_000,
      force: true,
      reason: 'all the same',
    })
    await world.says(forced, /db0 may go down now/)
    const over = await world.ended(forced)
    assert.deepEqual(
      [over.status, over.outcome],
      ['succeeded', 'the bound has passed; the nodes take leases and replicas again'],
    )
    await close()
    world.plane.stop()
  })

  test('of two at once the younger waits for the older', async () => {
    const world = new World(3)
    await world.create(4)
    const close = await world.lead()
    const first = await world.operations.maintenance(['db0'], { boundMs: 600_000, reason: 'a new disk' })
    const second = await world.operations.maintenance(['db1'], { boundMs: 600_000, reason: 'a new disk' })
    await world.says(first, /db0 may go down now/)
    await world.says(second, /db0 cannot vote/)
    world.plane.kill('db0')
    await world.time.advance(10_000)
    world.plane.restart('db0')
    assert.equal(outcomeOf(await world.ended(first)), 'succeeded')
    await world.says(second, /db1 may go down now/)
    await world.jobs.cancel(second.jobId, 'enough')
    await world.ended(second)
    await close()
    world.plane.stop()
  })
})

suite('a rolling restart', () => {
  test('goes node by node, never below a quorum, and says how far it is', async () => {
    const world = new World()
    await world.create(8)
    const order: string[] = []
    let down = 0
    const close = await world.lead({
      restart: async (nodeId) => {
        assert.equal(down, 0, 'one at a time')
        order.push(nodeId)
        down++
        world.plane.kill(nodeId)
        world.time.env.timers.schedule(3000, () => {
          down--
          world.plane.restart(nodeId, false, 1000)
        })
      },
    })
    const names = ['db3', 'db0', 'db5']
    const job = await world.operations.rollingRestart(names, { boundMs: 60_000, reason: 'a new release' })
    await assert.rejects(world.operations.rollingRestart(['db1'], { boundMs: 1, reason: 'me too' }), {
      code: 'CONFLICT',
    })
    const second = await world.says(job, /^1 of 3 restarted; db0/)
    assert.ok(Math.abs((second.progress?.fraction ?? 0) - 0.4) < 0.2)
    const ended = await world.ended(job)
    assert.deepEqual([ended.status, ended.outcome], ['succeeded', '3 nodes restarted'])
    assert.deepEqual(order, names)
    assert.equal(await world.repairs(), 0)
    await close()
    world.plane.stop()
  })

  test('takes several at once where no range is harmed by it', async () => {
    const world = new World()
    await world.create(2)
    const groups: number[] = []
    let down = 0
    const close = await world.lead({
      restart: async (nodeId) => {
        world.plane.kill(nodeId)
        groups.push(++down)
        world.time.env.timers.schedule(2000, () => {
          down--
          world.plane.restart(nodeId)
        })
      },
    })
    const job = await world.operations.rollingRestart([...world.plane.nodes.keys()], {
      boundMs: 60_000,
      atOnce: 3,
      reason: 'a new release',
    })
    assert.equal(outcomeOf(await world.ended(job)), 'succeeded')
    assert.equal(groups.length, 6)
    assert.ok(Math.max(...groups) > 1)
    await close()
    world.plane.stop()
  })

  test('stops at the first node that does not come back, and says which are left', async () => {
    const world = new World()
    await world.create(4)
    const close = await world.lead({
      restart: async (nodeId) => {
        world.plane.kill(nodeId)
        if (nodeId === 'db0') world.time.env.timers.schedule(2000, () => world.plane.restart(nodeId))
      },
    })
    const job = await world.operations.rollingRestart(['db0', 'db1', 'db2'], {
      boundMs: 20_000,
      reason: 'a new release',
    })
    const ended = await world.ended(job)
    assert.equal(ended.status, 'failed')
    assert.match(ended.lastError?.message ?? '', /db1 not back in time/)
    assert.equal(ended.outcome, '1 restarted; not restarted: db1, db2')
    assert.ok(world.plane.node('db2').up)
    await close()
    world.plane.stop()
  })

  test('without somebody who restarts says whose turn it is', async () => {
    const world = new World()
    await world.create(4)
    const close = await world.lead()
    const job = await world.operations.rollingRestart(['db0'], { boundMs: 60_000, reason: 'a new release' })
    await world.says(job, /^0 of 1 restarted; db0 may go down now/)
    await world.time.advance(3000)
    await world.says(job, /^0 of 1 restarted; db0 may go down now/)
    world.plane.kill('db0')
    world.plane.restart('db0')
    assert.equal(outcomeOf(await world.ended(job)), 'succeeded')
    await close()
    world.plane.stop()
  })

  test('survives a crash of its leader at any call', async () => {
    const run = async (fault: StoreFault | undefined, at: number): Promise<number> => {
      const world = new World(4)
      await world.create(3)
      let restarts = 0
      const restart = async (nodeId: string): Promise<void> => {
        if (!world.plane.node(nodeId).up) return
        restarts++
        world.plane.kill(nodeId)
        world.time.env.timers.schedule(1500, () => world.plane.restart(nodeId, false, 300))
      }
      let armed = false
      const faulty = new FaultyStore(world.store, (call) => (armed && call === at ? fault : undefined))
      const close = await world.lead({ store: faulty, restart })
      faulty.calls = 0
      armed = true
      const job = await world.operations.rollingRestart(['db0', 'db1'], { boundMs: 60_000, reason: 'a test' })
      const ending = world.jobs.ended(job.jobId)
      let over = false
      void ending.then(() => {
        over = true
      })
      await world.time.untilTrue('crashed or ended', () => faulty.crashed || over)
      const next = faulty.crashed ? await world.lead({ restart }) : undefined
      const ended = await world.time.until(ending)
      assert.equal(ended.status, 'succeeded', `${fault} at ${at}: ${ended.lastError?.message}`)
      assert.equal(await world.repairs(), 0, `${fault} at ${at}`)
      assert.ok(restarts >= 2)
      await next?.()
      if (!faulty.crashed) await close()
      world.plane.stop()
      return faulty.calls
    }
    const calls = await run(undefined, 0)
    assert.ok(calls > 20, `only ${calls} calls`)
    for (const fault of ['crash', 'crashAfter'] as const) {
      for (let at = 1; at <= calls; at += 3) await run(fault, at)
    }
  })
})

suite('an evacuation', () => {
  test('empties a zone, says how far it is, and leaves the nodes drained', async () => {
    const world = new World(8, { catchUpMs: 4000 })
    await world.create(9)
    const close = await world.lead()
    const job = await world.operations.evacuate({ tier: 'zone', value: 'z1' }, { reason: 'a power cut' })
    const zone = [...world.plane.nodes.values()].filter((each) => each.zone === 'z1')
    const held = zone.reduce((sum, { nodeId }) => sum + world.plane.holds(nodeId), 0)
    assert.ok(held > 0)
    await world.says(job, new RegExp(`^\\d+ of ${held} replicas left \\(db\\d \\d`))
    const ended = await world.ended(job)
    assert.deepEqual([ended.status, ended.outcome], ['succeeded', 'db1, db4, db7 hold nothing any more'])
    for (const { nodeId, state } of zone) {
      assert.equal(world.plane.holds(nodeId), 0)
      assert.equal(state, 'draining')
    }
    await close()
    world.plane.stop()
  })

  test('that cannot go on says which ranges stand in the way; a cancellation gives back its own nodes', async () => {
    const world = new World(3)
    await world.create(2)
    const close = await world.lead()
    world.plane.drain('db2')
    const job = await world.operations.evacuate({ nodeIds: ['db1', 'db2'] }, { reason: 'a power cut' })
    const stuck = await world.says(job, /range 1: .*but no node can take a replica/)
    assert.ok(stuck.waitingFor.includes('range 1'))
    await world.jobs.cancel(job.jobId, 'power is back')
    const ended = await world.ended(job)
    assert.equal(ended.status, 'cancelled')
    assert.match(ended.outcome ?? '', /^db1 given back; .*; db2 stay as they were$/)
    assert.deepEqual([world.plane.node('db1').state, world.plane.node('db2').state], ['active', 'draining'])
    await close()
    world.plane.stop()
  })

  test('of nobody is refused, and one that somebody takes back ends', async () => {
    const world = new World(6, { catchUpMs: 10_000 })
    await world.create(2)
    const close = await world.lead()
    const nobody = await world.operations.evacuate(
      { tier: 'zone', value: 'z9' },
      { reason: 'a typing mistake' },
    )
    assert.match((await world.ended(nobody)).lastError?.message ?? '', /no node to empty for zone=z9/)
    const holder = world.plane.range(1).replicas[0]?.nodeId as string
    const job = await world.operations.evacuate({ nodeIds: [holder] }, { reason: 'a power cut' })
    await world.says(job, /replicas left/)
    world.plane.node(holder).state = 'active'
    assert.match((await world.ended(job)).lastError?.message ?? '', /was taken back by somebody/)
    await close()
    world.plane.stop()
  })
})
