import { SeededRandom } from '../../../src/core/index.ts'
import type { MetadataStore } from '../../../src/interfaces/index.ts'
import { JobRunner, Jobs, type JobType } from '../../../src/jobs/index.ts'
import { ControllerEpoch, memoryStore, RangeDirectory } from '../../../src/metadata/index.ts'
import type { ReplicaDescriptor } from '../../../src/model/index.ts'
import {
  balance,
  createRanges,
  type MoveGoal,
  type MoveState,
  type MoveStep,
  MoveThrottle,
  type MoveView,
  moveJob,
  moveJobType,
  nextStep,
  PlacementController,
  type PlacementPolicy,
  RuleBook,
  spread,
  undoStep,
} from '../../../src/placement/index.ts'
import { decodeMoveState, encodeMoveState } from '../../../src/placement/move-state.ts'
import { driveMove } from '../../../src/placement/mover.ts'
import { checkMoverPorts } from '../../../src/placement/mover-options.ts'
import { FaultyStore } from '../../support/faulty-store.ts'
import { VirtualTime } from '../../support/virtual-time.ts'
import { DataPlane } from './data-plane.ts'

/** How a move's steps are decided; a planted bug replaces one of them. */
export interface Decisions {
  readonly next: (goal: MoveGoal, view: MoveView) => MoveStep
  readonly undo: (goal: MoveGoal, view: MoveView) => MoveStep
}

export const rightDecisions: Decisions = {
  next: nextStep,
  undo: (goal, view) => undoStep(goal, view, { voters: true }),
}

/** What happened in a run. */
export interface MoveRun {
  readonly moves: number
  readonly cancelled: number
  readonly failed: number
  readonly leaders: number
  readonly crashes: number
}

const goals = [spread('zone'), balance('replicas'), balance('leases')]

/**
 * A cluster whose leaders crash at any call to the store, whose nodes die, come back and lose their disks, whose moves are
 * cancelled: the data plane judges every step, and in the end everything is whole again.
 */
export class MoveWorld {
  readonly time: VirtualTime
  readonly store: MetadataStore
  readonly plane: DataPlane
  readonly jobs: Jobs
  readonly #random: SeededRandom
  readonly #decisions: Decisions
  /** Replicas without a vote that every range is to have. */
  readonly #nonVoters: number
  readonly #policy: Partial<PlacementPolicy>
  #broken: unknown
  #faulty: FaultyStore | undefined
  #throttle = new MoveThrottle()
  #closers: (() => Promise<unknown>)[] = []
  #leaders = 0
  #crashes = 0

  constructor(seed: number, decisions: Decisions = rightDecisions) {
    this.#random = new SeededRandom(seed).child('moves')
    this.#decisions = decisions
    this.time = new VirtualTime(seed)
    this.store = memoryStore({ env: this.time.env })
    this.jobs = new Jobs({ store: this.store, env: this.time.env })
    this.plane = new DataPlane(this.time, new RangeDirectory(this.store), {
      swaps: this.#random.float() < 0.5,
      catchUpMs: 100 + this.#random.integer(4000),
      bytes: 1 + this.#random.integer(1_000_000),
    })
    this.plane.onFailure = (thrown) => {
      this.#broken ??= thrown
    }
    const nodes = 5 + this.#random.integer(4)
    this.#nonVoters = nodes < 7 ? 0 : this.#random.integer(3)
    const rules = new RuleBook({
      rules: [{ id: 'reads', scope: { type: 'cluster' }, nonVoters: this.#nonVoters }],
    })
    this.#policy = this.#nonVoters === 0 ? { goals } : { goals, rules }
    for (let i = 0; i < nodes; i++) this.plane.addNode(`db${i}`, `z${i % 3}`)
  }

  async run(events: number): Promise<MoveRun> {
    const { time, plane, store } = this
    const ranges = 3 + this.#random.integer(4)
    const epoch = await ControllerEpoch.acquire(store, 'controllers', 'setup')
    const directory = new RangeDirectory(store)
    const bound = (i: number): Uint8Array => (i === 0 ? new Uint8Array(0) : Uint8Array.of(i))
    await createRanges({
      directory,
      epoch,
      nodes: plane.views(),
      policy: this.#policy,
      ranges: Array.from({ length: ranges }, (_, i) => ({
        rangeId: i + 1,
        start: bound(i),
        end: i + 1 === ranges ? undefined : bound(i + 1),
      })),
    })
    await time.untilTrue('all ranges serve', () => plane.ranges.size === ranges)
    await this.#lead()
    for (let i = 0; i < events; i++) {
      await this.#event()
      await this.#advance(50 + this.#random.integer(1500))
    }
    await this.#heal()
    for (let quiet = 0; quiet < 8; ) {
      await this.#advance(1000)
      if (this.#faulty?.crashed === true) await this.#lead()
      quiet = (await this.jobs.list({ unfinished: true })).length === 0 ? quiet + 1 : 0
      if (time.nowMs > 7_200_000) throw new Error('never at rest')
    }
    for (const [rangeId, range] of plane.ranges) {
      const voters = range.replicas.filter(({ role }) => role === 'voter')
      const counts = voters.length === 3 && range.replicas.length === 3 + this.#nonVoters
      if (!counts || !range.replicas.every((each) => plane.canVote(each)))
        throw new Error(`range ${rangeId} is not whole: ${JSON.stringify(range.replicas)}`)
    }
    if (this.#throttle.copies !== 0) throw new Error('the throttle counts copies that are over')
    const ended = await this.jobs.list({ type: moveJobType })
    for (const close of this.#closers) await time.until(close())
    plane.stop()
    return {
      moves: ended.length,
      cancelled: ended.filter(({ status }) => status === 'cancelled').length,
      failed: ended.filter(({ status }) => status === 'failed').length,
      leaders: this.#leaders,
      crashes: this.#crashes,
    }
  }

  async #advance(ms: number): Promise<void> {
    await this.time.advance(ms)
    if (this.#broken !== undefined) throw this.#broken
  }

  async #event(): Promise<void> {
    const names = [...this.plane.nodes.keys()]
    const node = this.plane.node(names[this.#random.integer(names.length)] as string)
    const down = names.filter((name) => !this.plane.node(name).up).length
    switch (this.#random.integer(10)) {
      case 0:
        if (down < 2 && node.up) this.plane.kill(node.nodeId)
        return
      case 1:
        if (!node.up) this.plane.restart(node.nodeId, this.#mayWipe(node.nodeId))
        return
      case 2:
        node.state = node.state === 'active' && names.length - down > 4 ? 'draining' : 'active'
        return
      case 3:
      case 4: {
        const open = await this.jobs.list({ unfinished: true })
        const job = open[this.#random.integer(Math.max(1, open.length))]
        if (job !== undefined && job.wish === 'run' && job.status !== 'reverting')
          await this.jobs.cancel(job.jobId, 'a person').catch(() => {})
        return
      }
      case 5:
      case 6:
        return this.#removeSomething()
      default:
        return this.#lead()
    }
  }

  /** A person takes a replica away, whatever the planner thinks of it. */
  async #removeSomething(): Promise<void> {
    const rangeId = 1 + this.#random.integer(this.plane.ranges.size)
    const { replicas } = this.plane.range(rangeId)
    const { replicaId, nodeId } = replicas[this.#random.integer(replicas.length)] as ReplicaDescriptor
    const goal: MoveGoal = { rangeId, kind: 'remove', priority: 1, remove: { replicaId, nodeId } }
    const form = { type: moveJobType, encode: encodeMoveState, decode: decodeMoveState }
    await this.jobs.create(form, { goal }, { reason: 'a person', key: `range/${rangeId}` })
  }

  /** A disk is lost only where every range that had a quorum keeps one: what is lost beyond is nobody's fault. */
  #mayWipe(nodeId: string): boolean {
    if (this.#random.float() < 0.5) return false
    const others = [...this.plane.nodes.values()].filter((each) => !each.up && each.nodeId !== nodeId)
    return others.length === 0
  }

  /** Another leader, often one that dies at a call to the store that nobody foresees. */
  async #lead(): Promise<void> {
    const { env } = this.time
    this.#leaders++
    if (this.#faulty?.crashed === true) this.#crashes++
    const at = this.#random.float() < 0.7 ? 20 + this.#random.integer(300) : 0
    const fault = this.#random.float() < 0.5 ? 'crash' : 'crashAfter'
    const store = new FaultyStore(this.store, (call) => (call === at ? fault : undefined))
    this.#faulty = store
    const epoch = await ControllerEpoch.acquire(this.store, 'controllers', 'a leader')
    const directory = new RangeDirectory(store)
    const throttle = new MoveThrottle({ maximumCopies: 4 })
    this.#throttle = throttle
    const ports = {
      env,
      epoch: new Proxy(epoch, {
        get: (target, key) =>
          key === 'txn'
            ? async (...args: Parameters<typeof epoch.txn>) => {
                // Through the store of the one that may be dead.
                if (store.crashed) return new Promise<never>(() => {})
                return target.txn(...args)
              }
            : (Reflect.get(target, key, target) as unknown),
      }),
      directory,
      throttle,
      observed: (rangeId: number) => this.plane.observed(rangeId),
      node: (nodeId: string) => this.plane.view(nodeId),
      pollIntervalMs: 100,
      stepTimeoutMs: 20_000,
      catchUpTimeoutMs: 20_000,
    }
    const checked = checkMoverPorts(ports)
    const type: JobType<MoveState> = {
      ...moveJob(ports),
      run: (context) => driveMove(checked, context, this.#decisions.next),
      revert: (context) =>
        driveMove(checked, context, (goal, view) =>
          context.ending === 'cancelled' ? this.#decisions.undo(goal, view) : undoStep(goal, view),
        ),
    }
    const runner = JobRunner.start({ env, store, epoch: ports.epoch, types: [type] })
    const placement = PlacementController.start({
      env,
      store,
      epoch: ports.epoch,
      directory,
      nodes: () => this.plane.views(),
      observed: ports.observed,
      move: type,
      policy: this.#policy,
      intervalMs: 200,
      deadAfterMs: 2000,
      retryAfterMs: 2000,
      dampingMs: 3000,
    })
    this.#closers.push(async () => {
      if (store.crashed) return
      await placement.close()
      await runner.close()
    })
  }

  async #heal(): Promise<void> {
    for (const node of this.plane.nodes.values()) {
      if (!node.up) this.plane.restart(node.nodeId)
      node.state = 'active'
    }
    await this.#lead()
  }
}
