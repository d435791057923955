import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { utf8 } from '../../src/core/bytes.ts'
import type { MetadataStore, WantedRange } from '../../src/interfaces/index.ts'
import { type Job, JobRunner, Jobs } from '../../src/jobs/index.ts'
import { ControllerEpoch, memoryStore, RangeDirectory } from '../../src/metadata/index.ts'
import {
  balance,
  createRanges,
  type MoveGoal,
  type MoverTuning,
  MoveThrottle,
  moveJob,
  moveJobType,
  PlacementController,
  type PlacementPolicy,
  type PlacementTuning,
  spread,
  whatIf,
} from '../../src/placement/index.ts'
import { decodeMoveState, encodeMoveState, type MoveState } from '../../src/placement/move-state.ts'
import { FaultyStore, type StoreFault } from '../support/faulty-store.ts'
import { VirtualTime } from '../support/virtual-time.ts'
import { DataPlane, type PlaneTuning } from './support/data-plane.ts'

const policy: Partial<PlacementPolicy> = { goals: [spread('zone'), balance('replicas'), balance('leases')] }

interface Leader {
  readonly epoch: ControllerEpoch
  readonly runner: JobRunner
  readonly placement: PlacementController | undefined
  close(): Promise<void>
}

class World {
  readonly time = new VirtualTime(7)
  readonly store: MetadataStore = memoryStore({ env: this.time.env })
  readonly directory = new RangeDirectory(this.store)
  readonly jobs = new Jobs({ store: this.store, env: this.time.env })
  readonly plane: DataPlane

  constructor(nodes = 6, tuning: Partial<PlaneTuning> = {}) {
    this.plane = new DataPlane(this.time, this.directory, tuning)
    for (let i = 0; i < nodes; i++) this.plane.addNode(`db${i}`, `z${i % 3}`)
  }

  /** Makes ranges 1…count and waits until they serve. */
  async create(count: number): Promise<void> {
    const epoch = await ControllerEpoch.acquire(this.store, 'controllers', 'setup')
    const key = (i: number): Uint8Array => (i === 0 ? new Uint8Array(0) : utf8(String(i).padStart(4, '0')))
    const ranges = Array.from({ length: count }, (_, i) => ({
      rangeId: i + 1,
      start: key(i),
      end: i + 1 === count ? undefined : key(i + 1),
    }))
    await createRanges({ directory: this.directory, epoch, nodes: this.plane.views(), ranges, policy })
    await this.time.untilTrue('all ranges serve', () =>
      ranges.every(({ rangeId }) => this.plane.observed(rangeId).some(({ replica }) => replica.leaseHolder)),
    )
  }

  /** A leader as the composition would start it. */
  async lead(
    options: {
      store?: MetadataStore
      plans?: boolean
      mover?: Partial<MoverTuning> & { throttle?: MoveThrottle }
      tuning?: Partial<PlacementTuning>
    } = {},
  ): Promise<Leader> {
    const { env } = this.time
    const store = options.store ?? this.store
    const epoch = await ControllerEpoch.acquire(store, 'controllers', 'a leader')
    const directory = new RangeDirectory(store)
    const observed = (rangeId: number) => this.plane.observed(rangeId)
    const node = (nodeId: string) => this.plane.view(nodeId)
    const move = moveJob({ env, epoch, directory, observed, node, pollIntervalMs: 100, ...options.mover })
    const runner = JobRunner.start({ env, store, epoch, types: [move] })
    const placement =
      options.plans === false
        ? undefined
        : PlacementController.start({
            env,
            store,
            epoch,
            directory,
            nodes: () => this.plane.views(),
            observed,
            move,
            policy,
            intervalMs: 100,
            deadAfterMs: 2000,
            retryAfterMs: 3000,
            dampingMs: 5000,
            ...options.tuning,
          })
    const close = async (): Promise<void> => {
      await placement?.close()
      await runner.close()
    }
    return { epoch, runner, placement, close }
  }

  /** A move that adds a replica on the first node that has none. */
  addition(rangeId: number): Omit<MoveGoal, 'priority'> & Required<Pick<MoveGoal, 'add'>> {
    const { replicas } = this.plane.range(rangeId)
    const target = [...this.plane.nodes.keys()].find((name) => !replicas.some((r) => r.nodeId === name))
    return { rangeId, kind: 'add', add: { nodeId: target as string, incarnation: 1 } }
  }

  async move(goal: Omit<MoveGoal, 'priority'> & Partial<Pick<MoveGoal, 'priority'>>): Promise<Job> {
    const type = { type: moveJobType, encode: encodeMoveState, decode: decodeMoveState, run: async () => '' }
    const state: MoveState = { goal: { priority: 1, ...goal } }
    return (await this.jobs.create(type, state, { reason: 'a test', key: `range/${goal.rangeId}` })).job
  }

  async atRest(): Promise<void> {
    const unfinished = async (): Promise<number> => (await this.jobs.list({ unfinished: true })).length
    for (let quiet = 0; quiet < 10; ) {
      await this.time.advance(1000)
      quiet = (await unfinished()) === 0 ? quiet + 1 : 0
      assert.ok(this.time.nowMs < 3_600_000, 'never at rest')
    }
  }

  nodesOf(rangeId: number): string[] {
    return this.plane
      .range(rangeId)
      .replicas.map(({ nodeId, role }) => (role === 'voter' ? nodeId : `${nodeId}?`))
      .sort()
  }

  /** A move of range 1 from the node that leads it, or from one that does not, to a node without a replica of it. */
  replacement(leads: boolean): Omit<MoveGoal, 'priority'> & Required<Pick<MoveGoal, 'add' | 'remove'>> {
    const { replicas, leader } = this.plane.range(1)
    const leaving = replicas.find((replica) => (replica.replicaId === leader) === leads)
    const target = [...this.plane.nodes.keys()].find((name) => !replicas.some((r) => r.nodeId === name))
    assert.ok(leaving !== undefined && target !== undefined)
    return {
      rangeId: 1,
      kind: 'replace',
      add: { nodeId: target, incarnation: 1 },
      remove: { replicaId: leaving.replicaId, nodeId: leaving.nodeId },
    }
  }
}

suite('a move', () => {
  test('goes step by step, the lease before the replica, and leaves nothing behind', async () => {
    const world = new World()
    await world.create(1)
    const goal = world.replacement(true)
    const leader = await world.lead({ plans: false })
    const job = await world.move(goal)
    const ended = await world.time.until(world.jobs.ended(job.jobId))
    assert.equal(ended.status, 'succeeded', ended.lastError?.message)
    const { add, remove } = goal
    assert.deepEqual(
      world.plane.history.map((line) => line.replace(/replica \d+/, 'another')),
      [
        `1: learner on ${add.nodeId}`,
        `1: voter on ${add.nodeId}`,
        '1: lease to another',
        `1: removed from ${remove.nodeId}`,
      ],
    )
    assert.deepEqual(await world.directory.wantedFor(remove.nodeId), [])
    const known = await world.directory.get(1)
    assert.equal(known?.generation, world.plane.range(1).generation)
    assert.ok((await world.directory.wantedFor(add.nodeId)).every(({ change }) => change === undefined))
    const { step } = decodeMoveState(ended.state)
    assert.match(step?.what ?? '', /^remove/)
    assert.ok(step?.proof.every((each) => each.liveVoters >= each.quorum))
    await leader.close()
    world.plane.stop()
  })

  test('swaps the two replicas at once where all of a range know how to', async () => {
    const world = new World(6, { swaps: true })
    await world.create(1)
    const goal = world.replacement(true)
    const leader = await world.lead({ plans: false })
    const job = await world.move(goal)
    const ended = await world.time.until(world.jobs.ended(job.jobId))
    assert.equal(ended.status, 'succeeded', ended.lastError?.message)
    const { add, remove } = goal
    assert.deepEqual(
      world.plane.history.map((line) => line.replace(/replica \d+/, 'another')),
      [`1: learner on ${add.nodeId}`, '1: lease to another', `1: swap of ${remove.nodeId} for ${add.nodeId}`],
    )
    assert.ok(!world.nodesOf(1).includes(remove.nodeId))
    assert.deepEqual(await world.directory.wantedFor(remove.nodeId), [])
    const known = await world.directory.get(1)
    assert.equal(known?.generation, world.plane.range(1).generation)
    assert.ok(known?.replicas.every(({ role }) => role === 'voter'))
    const { step } = decodeMoveState(ended.state)
    assert.match(step?.what ?? '', /^swap/)
    assert.ok(step?.proof.every((each) => each.liveVoters >= each.quorum && each.voters === 3))
    await leader.close()
    world.plane.stop()
  })

  test('repairs a dead node by swaps', async () => {
    const world = new World(6, { swaps: true })
    await world.create(6)
    const leader = await world.lead()
    const dead = world.plane.range(1).replicas[0]?.nodeId as string
    world.plane.kill(dead)
    await world.time.advance(3_000)
    await world.atRest()
    for (let rangeId = 1; rangeId <= 6; rangeId++) {
      assert.ok(!world.nodesOf(rangeId).includes(dead))
      assert.equal(world.nodesOf(rangeId).length, 3)
    }
    assert.ok(world.plane.history.some((line) => line.includes(`swap of ${dead} for`)))
    await leader.close()
    world.plane.stop()
  })

  test('whose target dies while it catches up is given up, and the learner is taken back', async () => {
    const world = new World(6, { catchUpMs: 10_000 })
    await world.create(1)
    const before = world.nodesOf(1)
    const goal = world.replacement(false)
    const leader = await world.lead({ plans: false })
    const job = await world.move(goal)
    await world.time.untilTrue('the learner is there', () => world.plane.history.length === 1)
    await world.time.advance(500)
    assert.deepEqual((await world.jobs.get(job.jobId))?.waitingFor, [])
    await world.time.advance(1500)
    assert.deepEqual((await world.jobs.get(job.jobId))?.waitingFor, [goal.add.nodeId])
    world.plane.kill(goal.add.nodeId)
    const ended = await world.time.until(world.jobs.ended(job.jobId))
    assert.equal(ended.status, 'failed')
    assert.match(ended.lastError?.message ?? '', /died while it was catching up/)
    assert.equal(ended.outcome, 'nothing is left of it')
    assert.deepEqual(world.nodesOf(1), before)
    await leader.close()
    world.plane.stop()
  })

  test('of a replica without a vote adds it, and takes the old one away once the new one has caught up', async () => {
    const world = new World(6, { swaps: true })
    await world.create(1)
    const leader = await world.lead({ plans: false })
    const voters = world.nodesOf(1)
    const { add } = world.addition(1)
    const first = await world.move({ rangeId: 1, kind: 'addNonVoter', add })
    assert.equal((await world.time.until(world.jobs.ended(first.jobId))).status, 'succeeded')
    assert.deepEqual(world.nodesOf(1), [...voters, `${add.nodeId}?`].sort())
    const old = world.plane.range(1).replicas.at(-1)
    assert.ok(old !== undefined)
    const remove = { replicaId: old.replicaId, nodeId: old.nodeId }
    const goal = { ...world.addition(1), kind: 'replaceNonVoter' as const, remove }
    const second = await world.move(goal)
    const ended = await world.time.until(world.jobs.ended(second.jobId))
    assert.equal(ended.status, 'succeeded', ended.lastError?.message)
    assert.deepEqual(world.nodesOf(1), [...voters, `${goal.add.nodeId}?`].sort())
    assert.deepEqual(
      world.plane.history,
      [add.nodeId, goal.add.nodeId]
        .map((name) => `1: learner on ${name}`)
        .concat(`1: removed from ${add.nodeId}`),
    )
    const { step, past } = decodeMoveState(ended.state)
    for (const each of [step, ...(past ?? [])]) assert.ok(each?.proof.every((after) => after.voters === 3))
    await leader.close()
    world.plane.stop()
  })

  test('of a replica without a vote that is cancelled leaves the range with those that it had', async () => {
    const world = new World(6, { catchUpMs: 10_000 })
    await world.create(1)
    const leader = await world.lead({ plans: false })
    const before = world.nodesOf(1)
    const job = await world.move({ ...world.addition(1), kind: 'addNonVoter' })
    await world.time.untilTrue('the learner is there', () => world.plane.history.length === 1)
    await world.jobs.cancel(job.jobId, 'a test')
    assert.equal((await world.time.until(world.jobs.ended(job.jobId))).status, 'cancelled')
    assert.deepEqual(world.nodesOf(1), before)
    await leader.close()
    world.plane.stop()
  })

  test('to one of several stores tells the node which', async () => {
    const world = new World(6, { catchUpMs: 10_000 })
    await world.create(1)
    const leader = await world.lead({ plans: false })
    const goal = world.replacement(false)
    const job = await world.move({ ...goal, add: { ...goal.add, storeId: 's2' } })
    const told = async () => (await world.directory.wantedFor(goal.add.nodeId))[0]?.change
    await world.time.untilTrue('it is told', async () => (await told()) !== undefined)
    assert.deepEqual(
      { ...(await told()), generation: 0, epoch: 0 },
      {
        type: 'addLearner',
        ...goal.add,
        storeId: 's2',
        generation: 0,
        epoch: 0,
      },
    )
    const ended = await world.time.until(world.jobs.ended(job.jobId))
    assert.equal(ended.status, 'succeeded')
    const { goal: stored, step, past = [] } = decodeMoveState(ended.state)
    assert.equal(stored.add?.storeId, 's2')
    assert.match([...past, step].map((each) => each?.what).join(), /^addLearner \S+ on s2,/)
    await leader.close()
    world.plane.stop()
  })

  test('that is cancelled takes its learner back', async () => {
    const world = new World(6, { catchUpMs: 10_000 })
    await world.create(1)
    const before = world.nodesOf(1)
    const leader = await world.lead({ plans: false })
    const goal = world.replacement(false)
    const job = await world.move(goal)
    await world.time.untilTrue('the learner is there', () => world.plane.history.length === 1)
    await world.jobs.cancel(job.jobId, 'changed my mind')
    const ended = await world.time.until(world.jobs.ended(job.jobId))
    assert.equal(ended.status, 'cancelled')
    assert.deepEqual(world.nodesOf(1), before)
    assert.deepEqual(await world.directory.wantedFor(goal.add.nodeId), [])
    await leader.close()
    world.plane.stop()
  })

  test('that is cancelled after its learner got its vote takes the voter back, and says so', async () => {
    const world = new World()
    await world.create(1)
    const before = world.nodesOf(1)
    const leader = await world.lead({ plans: false })
    const goal = world.replacement(true)
    const job = await world.move(goal)
    await world.time.untilTrue('the new voter is there', () => world.plane.history.length === 2)
    await world.jobs.cancel(job.jobId, 'changed my mind')
    const ended = await world.time.until(world.jobs.ended(job.jobId))
    assert.equal(ended.status, 'cancelled')
    assert.equal(ended.outcome, 'nothing is left of it')
    assert.deepEqual(world.nodesOf(1), before)
    const { step, past = [] } = decodeMoveState(ended.state)
    assert.deepEqual(
      [...past, step].map((each) => [each?.what.split(' ')[0], each?.outcome]),
      [
        ['addLearner', 'done'],
        ['promote', 'done'],
        // Asked before it was known that the learner had its vote: the range refused it.
        ['remove', 'overtaken'],
        ['remove', 'done'],
      ],
    )
    assert.ok([...past, step].every((each) => (each?.proof.length ?? 0) > 1))
    await leader.close()
    world.plane.stop()
  })

  test('says how far its copy is and how long it still takes', async () => {
    const world = new World(6, { catchUpMs: 60_000, bytes: 64 * 1024 * 1024 })
    await world.create(1)
    const leader = await world.lead({ plans: false })
    const job = await world.move(world.replacement(false))
    await world.time.untilTrue('the learner is there', () => world.plane.history.length === 1)
    await world.time.advance(31_000)
    const { progress } = (await world.jobs.get(job.jobId)) as Job
    assert.match(
      progress?.message ?? '',
      /is catching up: 3\d\.\d MiB of 64\.0 MiB, about (2\d|30|31) s left/,
    )
    assert.ok(Math.abs((progress?.fraction ?? 0) - 0.45) < 0.03, `${progress?.fraction}`)
    assert.equal((await world.time.until(world.jobs.ended(job.jobId))).status, 'succeeded')
    await leader.close()
    world.plane.stop()
  })

  test('that grows does not time out, one that stands still does', async () => {
    for (const [bytes, status] of [
      [1_000_000, 'succeeded'],
      [0, 'failed'],
    ] as const) {
      const world = new World(6, { catchUpMs: 60_000, bytes })
      await world.create(1)
      const leader = await world.lead({ plans: false, mover: { catchUpTimeoutMs: 10_000 } })
      const job = await world.move(world.replacement(false))
      const ended = await world.time.until(world.jobs.ended(job.jobId))
      assert.equal(ended.status, status, ended.lastError?.message)
      if (status === 'failed') {
        assert.match(
          ended.lastError?.message ?? '',
          /no progress for 10000 ms: db\d is catching up \(waited for/,
        )
        assert.equal(ended.outcome, 'nothing is left of it')
      }
      await leader.close()
      world.plane.stop()
    }
  })

  test('waits for room, and says for which; the next leader counts what is under way', async () => {
    const world = new World(6, { catchUpMs: 20_000 })
    await world.create(4)
    const rates = { maximumCopies: 2 }
    const first = await world.lead({ plans: false, mover: { throttle: new MoveThrottle(rates) } })
    const jobs: Job[] = []
    for (let rangeId = 1; rangeId <= 4; rangeId++) jobs.push(await world.move(world.addition(rangeId)))
    await world.time.advance(5000)
    const learners = (): number => world.plane.history.filter((line) => line.includes('learner on')).length
    assert.equal(learners(), 2)
    const waiting = (await world.jobs.get(jobs[3]?.jobId as number)) as Job
    assert.match(
      waiting.progress?.message ?? '',
      /adds a learner on db\d; waits for room: 2 copies are under way/,
    )
    const second = await world.lead({ plans: false, mover: { throttle: new MoveThrottle(rates) } })
    await world.time.until(first.close())
    await world.time.advance(5000)
    assert.equal(learners(), 2)
    for (const { jobId } of jobs)
      assert.equal((await world.time.until(world.jobs.ended(jobId))).status, 'succeeded')
    await second.close()
    world.plane.stop()
  })

  test('that only makes something better gives way to a repair that waits', async () => {
    const world = new World(6, { catchUpMs: 20_000 })
    await world.create(3)
    const throttle = new MoveThrottle({ maximumCopies: 1 })
    const leader = await world.lead({ plans: false, mover: { throttle } })
    const running = await world.move(world.addition(1))
    await world.time.advance(1000)
    const better = await world.move(world.addition(2))
    await world.time.advance(1000)
    assert.equal((await world.jobs.get(better.jobId))?.status, 'running')
    const repair = await world.move({ ...world.addition(3), priority: 12_000 })
    const ended = await world.time.until(world.jobs.ended(better.jobId))
    assert.equal(ended.status, 'failed')
    assert.match(ended.lastError?.message ?? '', /given up before it began: a repair needs the room/)
    assert.equal(ended.outcome, 'nothing is left of it')
    for (const { jobId } of [running, repair])
      assert.equal((await world.time.until(world.jobs.ended(jobId))).status, 'succeeded')
    assert.equal(throttle.copies, 0)
    await leader.close()
    world.plane.stop()
  })

  test('that only makes something better does not wait for room for ever', async () => {
    const world = new World(6, { catchUpMs: 100_000, bytes: 0 })
    await world.create(2)
    const throttle = new MoveThrottle({ maximumCopies: 1 })
    const leader = await world.lead({ plans: false, mover: { throttle, roomTimeoutMs: 5000 } })
    await world.move(world.addition(1))
    await world.time.advance(1000)
    const second = await world.move(world.addition(2))
    const ended = await world.time.until(world.jobs.ended(second.jobId))
    assert.match(ended.lastError?.message ?? '', /no room within 5000 ms \(waits for room: 1 copies/)
    await leader.close()
    world.plane.stop()
  })

  test('a copy that times out makes the limits of its nodes lower', async () => {
    const world = new World(6, { catchUpMs: 600_000, bytes: 0 })
    await world.create(1)
    const throttle = new MoveThrottle({ startFactor: 1, maximumFactor: 1 })
    const leader = await world.lead({ plans: false, mover: { throttle, catchUpTimeoutMs: 5000 } })
    const goal = world.addition(1)
    const job = await world.move(goal)
    assert.equal((await world.time.until(world.jobs.ended(job.jobId))).status, 'failed')
    const factors = new Map(throttle.nodes().map(({ nodeId, factor }) => [nodeId, factor]))
    assert.equal(factors.get(goal.add.nodeId), 0.5)
    assert.deepEqual([...factors.values()], [0.5, 0.5])
    await leader.close()
    world.plane.stop()
  })

  test('waits for a quorum, names whom it waits for, and gives up in the end', async () => {
    const world = new World()
    await world.create(1)
    const goal = world.replacement(false)
    const others = world.plane.range(1).replicas.filter((r) => r.replicaId !== goal.remove.replicaId)
    for (const { nodeId } of others) world.plane.kill(nodeId)
    const leader = await world.lead({ plans: false, mover: { stepTimeoutMs: 10_000 } })
    const job = await world.move(goal)
    await world.time.advance(3000)
    assert.deepEqual(
      (await world.jobs.get(job.jobId))?.waitingFor,
      others.map(({ nodeId }) => nodeId),
    )
    assert.deepEqual(world.plane.history, [])
    const ended = await world.time.until(world.jobs.ended(job.jobId))
    assert.equal(ended.status, 'failed')
    assert.equal(ended.lastError?.code, 'TIMEOUT')
    await leader.close()
    world.plane.stop()
  })

  test('never adds a second copy on a node', async () => {
    const world = new World()
    await world.create(1)
    const taken = world.plane.range(1).replicas[1]?.nodeId as string
    const leader = await world.lead({ plans: false })
    world.plane.kill(taken)
    world.plane.restart(taken, true)
    const job = await world.move({ rangeId: 1, kind: 'add', add: { nodeId: taken, incarnation: 2 } })
    const ended = await world.time.until(world.jobs.ended(job.jobId))
    assert.equal(ended.status, 'failed')
    assert.match(ended.lastError?.message ?? '', /replica of another life/)
    assert.deepEqual(world.plane.history, [])
    await leader.close()
    world.plane.stop()
  })

  for (const swaps of [false, true]) {
    test(`survives a crash of its owner at any call, and does nothing twice, swaps ${swaps}`, () =>
      crashesEverywhere(swaps))
  }

  async function crashesEverywhere(swaps: boolean): Promise<void> {
    const run = async (fault: StoreFault | undefined, at: number): Promise<number> => {
      const world = new World(6, { swaps })
      await world.create(1)
      const goal = world.replacement(true)
      const expected = world
        .nodesOf(1)
        .filter((name) => name !== goal.remove.nodeId)
        .concat(goal.add.nodeId)
        .sort()
      let armed = false
      const faulty = new FaultyStore(world.store, (call) => (armed && call === at ? fault : undefined))
      const first = await world.lead({ store: faulty, plans: false })
      faulty.calls = 0
      armed = true
      const job = await world.move(goal)
      const ending = world.jobs.ended(job.jobId)
      let second: Leader | undefined
      let finished: Job | undefined
      void ending.then((ended) => {
        finished = ended
      })
      await world.time.untilTrue('crashed or ended', () => faulty.crashed || finished !== undefined)
      if (faulty.crashed) second = await world.lead({ plans: false })
      const ended = await world.time.until(ending)
      const what = `${fault} at ${at}`
      assert.equal(ended.status, 'succeeded', `${what}: ${ended.lastError?.message}`)
      assert.deepEqual(world.nodesOf(1), expected, what)
      assert.equal(world.plane.history.filter((line) => line.includes('learner on')).length, 1, what)
      assert.deepEqual(
        world.plane.history.filter((line) => /voter on|removed from|swap of/.test(line)),
        swaps
          ? [`1: swap of ${goal.remove.nodeId} for ${goal.add.nodeId}`]
          : [`1: voter on ${goal.add.nodeId}`, `1: removed from ${goal.remove.nodeId}`],
        what,
      )
      assert.deepEqual(await world.directory.wantedFor(goal.remove.nodeId), [], what)
      await second?.close()
      if (!faulty.crashed) await first.close()
      world.plane.stop()
      return faulty.calls
    }
    const calls = await run(undefined, 0)
    assert.ok(calls > 15, `only ${calls} calls`)
    for (const fault of ['crash', 'crashAfter', 'unknown', 'lost'] as const) {
      for (let at = 1; at <= calls; at++) await run(fault, at)
    }
  }

  test('that is cancelled survives a crash of its owner at any call while it is undone', async () => {
    const run = async (fault: StoreFault | undefined, at: number): Promise<number> => {
      const world = new World(6)
      await world.create(1)
      const before = world.nodesOf(1)
      const goal = world.replacement(true)
      let armed = false
      const faulty = new FaultyStore(world.store, (call) => (armed && call === at ? fault : undefined))
      const first = await world.lead({ store: faulty, plans: false })
      const job = await world.move(goal)
      // Once after the learner, once after the voter.
      await world.time.untilTrue('it has begun', () => world.plane.history.length === 1 + (at % 2))
      faulty.calls = 0
      armed = true
      await world.jobs.cancel(job.jobId, 'changed my mind')
      const ending = world.jobs.ended(job.jobId)
      let finished: Job | undefined
      void ending.then((ended) => {
        finished = ended
      })
      await world.time.untilTrue('crashed or ended', () => faulty.crashed || finished !== undefined)
      const second = faulty.crashed ? await world.lead({ plans: false }) : undefined
      const ended = await world.time.until(ending)
      const what = `${fault} at ${at}`
      assert.equal(ended.status, 'cancelled', `${what}: ${ended.lastError?.message}`)
      assert.equal(ended.outcome, 'nothing is left of it', what)
      assert.deepEqual(world.nodesOf(1), before, what)
      assert.deepEqual(await world.directory.wantedFor(goal.add.nodeId), [], what)
      await second?.close()
      if (!faulty.crashed) await first.close()
      world.plane.stop()
      return faulty.calls
    }
    const calls = Math.max(await run(undefined, 0), await run(undefined, 1))
    assert.ok(calls > 8, `only ${calls} calls`)
    for (const fault of ['crash', 'crashAfter', 'unknown', 'lost'] as const) {
      for (let at = 1; at <= calls; at++) await run(fault, at)
    }
  })

  test('a change that arrives after the range has moved on is refused', async () => {
    const world = new World()
    await world.create(1)
    const goal = world.replacement(false)
    const leader = await world.lead({ plans: false })
    const job = await world.move(goal)
    const late: WantedRange[] = []
    let ended = false
    void world.jobs.ended(job.jobId).then(() => {
      ended = true
    })
    while (!ended) {
      await world.time.advance(10)
      for (const nodeId of world.plane.nodes.keys()) {
        for (const wanted of await world.directory.wantedFor(nodeId)) {
          const same = late.some(({ change }) => change?.generation === wanted.change?.generation)
          if (wanted.change !== undefined && !same) late.push(wanted)
        }
      }
    }
    const [history, nodes] = [world.plane.history.length, world.nodesOf(1)]
    assert.equal(late.length, 3)
    const { refused } = world.plane
    for (const wanted of late) world.plane.change(wanted)
    assert.equal(world.plane.refused, refused + 3)
    assert.equal(world.plane.history.length, history)
    assert.deepEqual(world.nodesOf(1), nodes)
    await leader.close()
    world.plane.stop()
  })
})

suite('a decision', () => {
  test('is never guarded by a generation that it knew nothing of', async () => {
    const world = new World()
    await world.create(1)
    const { time, store, plane, directory } = world
    const goal = world.replacement(false)
    const { add, remove } = goal
    // Between the look at the range and the wish, the range gets there by itself, and somebody projects it.
    const raced = new (class extends RangeDirectory {
      override async want(...args: Parameters<RangeDirectory['want']>): Promise<boolean> {
        const known = await directory.get(1)
        if (known?.generation === 1 && args[2] !== undefined) {
          const range = plane.range(1)
          range.generation++
          range.replicas = range.replicas.map((replica) =>
            replica.replicaId === remove.replicaId
              ? { ...replica, replicaId: 9, nodeId: add.nodeId }
              : replica,
          )
          await directory.project(args[0], { ...known, generation: 2, replicas: range.replicas })
        }
        return super.want(...args)
      }
    })(store)
    const epoch = await ControllerEpoch.acquire(store, 'controllers', 'a leader')
    const observed = (rangeId: number) => plane.observed(rangeId)
    const node = (nodeId: string) => plane.view(nodeId)
    const move = moveJob({ env: time.env, epoch, directory: raced, observed, node })
    const runner = JobRunner.start({ env: time.env, store, epoch, types: [move] })
    const wishes: WantedRange['change'][] = []
    const abort = new AbortController()
    const watching = (async () => {
      for await (const wanted of directory.watchWanted(add.nodeId, { signal: abort.signal })) {
        wishes.push(...wanted.map(({ change }) => change))
      }
    })().catch(() => {})
    const job = await world.move(goal)
    assert.equal((await time.until(world.jobs.ended(job.jobId))).status, 'succeeded')
    abort.abort()
    await watching
    assert.deepEqual(
      wishes.filter((change) => change !== undefined),
      [],
    )
    assert.deepEqual(plane.history, [])
    await runner.close()
    plane.stop()
  })

  test('of a controller that was deposed becomes no job', async () => {
    const world = new World()
    await world.create(3)
    const leader = await world.lead()
    await world.time.advance(1000)
    await ControllerEpoch.acquire(world.store, 'controllers', 'the next leader')
    world.plane.kill('db0')
    const error = await world.time.until(leader.placement?.stopped as Promise<Error | undefined>)
    assert.equal((error as { code?: string } | undefined)?.code, 'STALE_EPOCH')
    assert.deepEqual(await world.jobs.list(), [])
    await leader.close()
    world.plane.stop()
  })
})

suite('the placement controller', () => {
  test('new ranges are spread, and stay where they are', async () => {
    const world = new World()
    await world.create(16)
    const leader = await world.lead()
    await world.time.advance(20_000)
    assert.deepEqual(await world.jobs.list(), [])
    assert.deepEqual(
      [...world.plane.nodes.keys()].map((nodeId) => world.plane.holds(nodeId)),
      [8, 8, 8, 8, 8, 8],
    )
    const explained = leader.placement?.explain(1)
    assert.equal(explained?.need, 'nothing')
    assert.equal(explained?.replicas.length, 3)
    const node = leader.placement?.explainNode('db0')
    assert.deepEqual([node?.replicas, node?.waiting, node?.arriving], [8, [], []])
    assert.throws(() => leader.placement?.explainNode('db9'), { code: 'NOT_FOUND' })
    await leader.close()
    world.plane.stop()
  })

  test('says what would come of a change, and changes nothing', async () => {
    const world = new World()
    await world.create(16)
    const leader = await world.lead()
    await world.time.advance(3000)
    const placement = leader.placement as PlacementController
    const change = { loseNodes: ['db0'] }
    const first = placement.whatIf(change)
    await assert.rejects(placement.whatIf(change), { code: 'OVERLOADED' })
    const result = await world.time.until(first)
    assert.deepEqual(result, whatIf(placement.snapshot(), change, { policy }))
    assert.deepEqual([result.changed.underReplicated, result.after.underReplicated], [8, 0])
    assert.equal(world.plane.holds('db0'), 8)
    await assert.rejects(placement.whatIf({ loseNodes: ['db9'] }), { code: 'NOT_FOUND' })
    await assert.rejects(placement.whatIf(change, { rounds: 1 } as never), { code: 'INVALID_OPTION' })
    await assert.rejects(placement.whatIf({ lose: ['db0'] } as never), { code: 'INVALID_ARGUMENT' })
    const stop = new AbortController()
    stop.abort()
    await assert.rejects(placement.whatIf(change, { signal: stop.signal }), { code: 'ABORTED' })
    await leader.close()
    await assert.rejects(placement.whatIf(change), { code: 'CLOSED' })
    world.plane.stop()
  })

  test('a dead node is repaired after its grace time, not before, and then all is at rest', async () => {
    const world = new World()
    await world.create(12)
    const leader = await world.lead()
    await world.time.advance(3000)
    world.plane.kill('db0')
    await world.time.advance(1500)
    assert.equal(
      (await world.jobs.list({ type: moveJobType })).filter((job) => /db0/.test(job.reason)).length,
      0,
    )
    await world.atRest()
    assert.equal(world.plane.holds('db0'), 0)
    for (const [rangeId, range] of world.plane.ranges) {
      assert.equal(range.replicas.length, 3)
      assert.ok(range.replicas.every((replica) => world.plane.canVote(replica)))
      const known = await world.directory.get(rangeId)
      assert.equal(known?.generation, range.generation)
    }
    const repairs = (await world.jobs.list()).filter((job) => /db0 is dead/.test(job.reason))
    assert.equal(repairs.length, 6)
    assert.ok(repairs.every((job) => job.status === 'succeeded'))
    const count = (await world.jobs.list()).length
    await world.time.advance(60_000)
    assert.equal((await world.jobs.list()).length, count, 'at rest nothing moves')
    await leader.close()
    world.plane.stop()
  })

  test('a node that comes back within its grace time is left as it is', async () => {
    const world = new World()
    await world.create(6)
    const leader = await world.lead({ tuning: { deadAfterMs: 5000 } })
    await world.time.advance(1000)
    const before = world.plane.holds('db0')
    world.plane.kill('db0')
    await world.time.advance(4000)
    world.plane.restart('db0')
    await world.atRest()
    assert.equal(world.plane.holds('db0'), before)
    assert.ok((await world.jobs.list()).every((job) => !/db0 is dead/.test(job.reason)))
    await leader.close()
    world.plane.stop()
  })

  test('a wiped node is repaired at once', async () => {
    const world = new World()
    await world.create(6)
    const leader = await world.lead()
    world.plane.kill('db0')
    world.plane.restart('db0', true)
    await world.atRest()
    for (const range of world.plane.ranges.values()) {
      assert.equal(range.replicas.length, 3)
      assert.ok(range.replicas.every((replica) => world.plane.canVote(replica)))
    }
    await leader.close()
    world.plane.stop()
  })

  test('a draining node ends empty', async () => {
    const world = new World()
    await world.create(12)
    const leader = await world.lead()
    world.plane.drain('db1')
    await world.atRest()
    assert.equal(world.plane.holds('db1'), 0)
    assert.deepEqual(await world.directory.wantedFor('db1'), [])
    await leader.close()
    world.plane.stop()
  })

  test('a change of leaders in the middle of a repair, again and again, ends well', async () => {
    const world = new World()
    await world.create(12)
    let leader = await world.lead()
    await world.time.advance(1000)
    world.plane.kill('db0')
    for (let i = 0; i < 12; i++) {
      await world.time.advance(2100 + i * 37)
      const old = leader
      // The next leader is there before the one before notices.
      leader = await world.lead()
      await world.time.advance(i * 50)
      await world.time.until(old.close())
    }
    await world.atRest()
    assert.equal(world.plane.holds('db0'), 0)
    for (const range of world.plane.ranges.values()) assert.equal(range.replicas.length, 3)
    await leader.close()
    world.plane.stop()
  })

  test('a target that dies in the middle is replaced by another', async () => {
    const world = new World(9, { catchUpMs: 5000 })
    await world.create(6)
    const leader = await world.lead()
    world.plane.kill('db0')
    await world.time.untilTrue('a learner is there', () =>
      world.plane.history.some((line) => line.includes('learner on')),
    )
    const target = (world.plane.history.find((line) => line.includes('learner on')) as string)
      .split(' ')
      .at(-1)
    world.plane.kill(target as string)
    await world.atRest()
    for (const range of world.plane.ranges.values()) {
      assert.equal(range.replicas.length, 3)
      assert.ok(range.replicas.every((replica) => world.plane.canVote(replica)))
    }
    await leader.close()
    world.plane.stop()
  })

  test('a new leader leaves alone what was moved just before it', async () => {
    const world = new World()
    await world.create(2)
    const first = await world.lead({ plans: false })
    const job = await world.move(world.replacement(true))
    await world.time.until(world.jobs.ended(job.jobId))
    await first.close()
    const second = await world.lead({ tuning: { dampingMs: 5000 } })
    second.placement?.pause()
    await world.time.advance(1000)
    const held = (): number[] => [...(second.placement?.snapshot().ranges() ?? [])].map((range) => range.held)
    assert.deepEqual(held(), [1, 0])
    await world.time.advance(5000)
    assert.deepEqual(held(), [0, 0])
    await second.close()
    world.plane.stop()
  })

  test('a move that comes to nothing does not end the damping after the one before it', async () => {
    const world = new World()
    await world.create(2)
    const leader = await world.lead({ tuning: { dampingMs: 20_000, retryAfterMs: 1000 } })
    leader.placement?.pause()
    const held = (): number[] => [...(leader.placement?.snapshot().ranges() ?? [])].map((range) => range.held)
    const first = await world.move(world.replacement(true))
    await world.time.until(world.jobs.ended(first.jobId))
    const second = await world.move(world.replacement(false))
    await world.jobs.cancel(second.jobId, 'changed my mind')
    await world.time.until(world.jobs.ended(second.jobId))
    await world.time.advance(100)
    assert.deepEqual(held(), [2, 0])
    await world.time.advance(1000)
    assert.deepEqual(held(), [1, 0])
    await leader.close()
    world.plane.stop()
  })

  test('paused it begins nothing', async () => {
    const world = new World()
    await world.create(3)
    const leader = await world.lead()
    leader.placement?.pause()
    world.plane.kill('db0')
    await world.time.advance(20_000)
    assert.deepEqual(await world.jobs.list(), [])
    assert.ok((leader.placement?.plan()?.moves.length ?? 0) > 0, 'but it says what it would do')
    leader.placement?.resume()
    await world.atRest()
    assert.equal(world.plane.holds('db0'), 0)
    await leader.close()
    world.plane.stop()
  })

  test('creating ranges again changes nothing, and other bounds are refused', async () => {
    const world = new World()
    await world.create(4)
    const before = await world.directory.list()
    const epoch = await ControllerEpoch.acquire(world.store, 'controllers', 'again')
    const { directory } = world
    const nodes = world.plane.views()
    const ranges = before.map(({ rangeId, start, end }) => ({ rangeId, start, end }))
    assert.deepEqual(await createRanges({ directory, epoch, nodes, ranges, policy }), before)
    const other = [{ rangeId: 1, start: utf8('x'), end: undefined }]
    await assert.rejects(createRanges({ directory, epoch, nodes, ranges: other }), { code: 'CONFLICT' })
    world.plane.stop()
  })
})
