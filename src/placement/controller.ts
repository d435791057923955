import { type CallOptions, joinSignals, throwIfAborted } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { Lifetime } from '../core/lifetime.ts'
import type { Counter, Gauge } from '../core/metrics.ts'
import {
  checkCall,
  checkOptions,
  functionOption,
  integerOption,
  objectOption,
  optional,
  signalOption,
} from '../core/options.ts'
import { inSlices, nextTurn, type Sliced } from '../core/sliced.ts'
import type { MetadataStore } from '../interfaces/metadata-store.ts'
import { isFinished, type Job, type JobId } from '../jobs/core/record.ts'
import { keepFollowing } from '../jobs/follow.ts'
import type { JobType } from '../jobs/job-type.ts'
import { Jobs } from '../jobs/jobs.ts'
import type { DirectoryEvent, RangeDirectory } from '../metadata/directory.ts'
import type { ControllerEpoch } from '../metadata/epoch.ts'
import type { RangeDescriptor } from '../model/descriptors.ts'
import type { NodeId, RangeId, TableId } from '../model/ids.ts'
import { BegunJobs } from './begun-jobs.ts'
import { explainBy, explaining, type RangeExplanation } from './core/explain.ts'
import { explainingNode, explainNodeBy, type NodeExplanation } from './core/explain-node.ts'
import type { Plan, PlannedMove } from './core/plan.ts'
import { Planner } from './core/planner.ts'
import {
  type PlacementLimits,
  type PlacementPolicy,
  placementLimits,
  placementPolicy,
  withRules,
} from './core/policy.ts'
import {
  type MoveInFlight,
  type PlacementNode,
  type PlacementRange,
  type PlacementSnapshot,
  type RangeHold,
  type StoreOverload,
} from './core/snapshot.ts'
import { goalOf } from './core/steps.ts'
import { imagining, type WhatIfChange, type WhatIfOptions, type WhatIfResult } from './core/what-if.ts'
import { FleetFeed } from './fleet-feed.ts'
import { type LostPart, LostSight } from './lost-sight.ts'
import { decodeMoveState, type MoveState } from './move-state.ts'
import { moveJobType } from './mover.ts'
import { RangeHolds } from './range-holds.ts'
import { projectRange } from './range-projection.ts'
import type { ObserveRange } from './range-reports.ts'
import { RefusedViews } from './refused-views.ts'
import type { RulesInForce } from './rules/rules-view.ts'

/** Tuning of a {@link PlacementController}. */
export interface PlacementTuning {
  /** How often is planned. */
  readonly intervalMs: number
  /** A node that is dead for so long has lost its replicas, and they are replaced. */
  readonly deadAfterMs: number
  /** How long a range is left alone after a move of it failed. */
  readonly retryAfterMs: number
  /** How long a range is not improved again after a move: no move is undone within it. */
  readonly dampingMs: number
}

/** Used when nothing else is given. */
export const defaultPlacementTuning: PlacementTuning = Object.freeze({
  intervalMs: 1000,
  deadAfterMs: 300_000,
  retryAfterMs: 30_000,
  dampingMs: 60_000,
})

/** A plan, and when it was made. */
export interface PlannedAt {
  /** What is wanted. */
  readonly plan: Plan
  /** Wall time, for people, in milliseconds since the Unix epoch. */
  readonly atMs: number
}

/** Ranges that are looked at before others may go on, where nothing is written down. */
const projectedTogether = 64

/** Options of {@link PlacementController.start}. */
export interface PlacementControllerOptions extends Partial<PlacementTuning> {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** Where the moves are created as jobs. */
  readonly store: MetadataStore
  /** The epoch of this leader: every write compares it. */
  readonly epoch: ControllerEpoch
  /** The ranges as the store has them, and where reports are projected to. */
  readonly directory: RangeDirectory
  /** All nodes as they are now. */
  readonly nodes: () => readonly PlacementNode[]
  /** What the nodes report of a range. */
  readonly observed: ObserveRange
  /**
   * Ranges of which reports have come since it was asked last, so that a round looks at these alone. Default: every range, in
   * every round.
   */
  readonly changed?: () => Iterable<RangeId>
  /** The type that `moveJob` made for the runner of the same leader. */
  readonly move: JobType<MoveState>
  /** Ranges that are not to be moved for now, and how far: their bounds are changing. */
  readonly held?: () => ReadonlyMap<RangeId, RangeHold>
  /**
   * The rules in force, asked in every round; undefined as long as they are not known, and nothing is planned. They take the place
   * of those of the policy. Default: those of the policy, for good.
   */
  readonly rules?: () => RulesInForce | undefined
  /** Where it differs from `defaultPlacementPolicy`. */
  readonly policy?: Partial<PlacementPolicy>
  /** Where they differ from `defaultPlacementLimits`. */
  readonly limits?: Partial<PlacementLimits>
  /** Stops the controller, as `close` does. */
  readonly signal?: AbortSignal
}

/**
 * Placement on the leader: looks at nodes, ranges and reports, plans, and makes each planned move a job, as many at a time
 * as the limits allow. It also carries what the ranges report into the directory.
 */
export class PlacementController implements AsyncDisposable {
  readonly #options: PlacementTuning
  readonly #env: Environment
  readonly #epoch: ControllerEpoch
  readonly #directory: RangeDirectory
  readonly #observed: ObserveRange
  readonly #feed: FleetFeed
  readonly #policy: PlacementPolicy
  readonly #rules: PlacementControllerOptions['rules']
  #inForce: RulesInForce | undefined
  /** Knows the cluster as of the last plan. */
  #planner: Planner
  /** Another one once the rules have changed, until it has planned for the first time. */
  #next: Planner
  readonly #move: JobType<MoveState>
  readonly #limits: PlacementLimits
  readonly #jobs: BegunJobs
  /** Unfinished moves. */
  readonly #moving = new Map<JobId, Job>()
  readonly #holds = new RangeHolds()
  readonly #lostSight: LostSight
  readonly #life: Lifetime
  readonly #created: Counter
  readonly #blocked: Gauge
  readonly #deferred: Gauge
  readonly #overloaded: Gauge
  #directoryRead = false
  #paused = false
  #imagining = false
  #planned: PlannedAt | undefined
  /** The reason why it stopped by itself; undefined when it was asked to. */
  readonly stopped: Promise<KeelsonError | undefined>

  /** @throws KeelsonError `INVALID_OPTION` */
  static start(options: PlacementControllerOptions): PlacementController {
    return new PlacementController(options)
  }

  private constructor(input: PlacementControllerOptions) {
    const fallback = defaultPlacementTuning
    const options = checkOptions<
      Required<Omit<PlacementControllerOptions, 'signal' | 'policy' | 'limits' | 'changed' | 'rules'>> & {
        changed: PlacementControllerOptions['changed']
        rules: PlacementControllerOptions['rules']
        signal: AbortSignal | undefined
        policy: PlacementPolicy
        limits: PlacementLimits
      }
    >('PlacementController.start', input, {
      env: objectOption<Environment>(['clock', 'timers', 'random', 'logger', 'metrics']),
      store: objectOption<MetadataStore>(['txn', 'range', 'watch']),
      epoch: objectOption<ControllerEpoch>(['number', 'txn']),
      directory: objectOption<RangeDirectory>(['watch', 'project']),
      nodes: functionOption<PlacementControllerOptions['nodes']>(),
      observed: functionOption<ObserveRange>(),
      move: objectOption<JobType<MoveState>>(['type', 'run']),
      changed: optional(functionOption<NonNullable<PlacementControllerOptions['changed']>>()),
      held: functionOption<NonNullable<PlacementControllerOptions['held']>>(() => new Map()),
      rules: optional(functionOption<NonNullable<PlacementControllerOptions['rules']>>()),
      policy: (value) => placementPolicy(value as Partial<PlacementPolicy> | undefined),
      limits: (value) => placementLimits(value as Partial<PlacementLimits> | undefined),
      signal: optional(signalOption),
      intervalMs: integerOption({ min: 1, fallback: fallback.intervalMs }),
      deadAfterMs: integerOption({ min: 0, fallback: fallback.deadAfterMs }),
      retryAfterMs: integerOption({ min: 0, fallback: fallback.retryAfterMs }),
      dampingMs: integerOption({ min: 0, fallback: fallback.dampingMs }),
    })
    this.#options = options
    this.#env = options.env
    this.#epoch = options.epoch
    this.#directory = options.directory
    this.#observed = options.observed
    this.#policy = options.policy
    this.#rules = options.rules
    this.#feed = new FleetFeed({
      ...options,
      refused: new RefusedViews(options.env),
      replicationFactor: (rangeId, tableId) => this.#votersOf(rangeId, tableId),
    })
    const { env, directory, epoch, observed } = options
    this.#lostSight = new LostSight({ env, directory, epoch, observed, feed: this.#feed })
    this.#move = options.move
    this.#planner = new Planner(options.policy)
    this.#next = this.#planner
    this.#limits = options.limits
    this.#jobs = new BegunJobs(new Jobs({ store: options.store, env: options.env }))
    const { metrics } = options.env
    this.#created = metrics.counter('keelson_placement_moves_total', 'Moves that were begun.')
    this.#blocked = metrics.gauge('keelson_placement_blocked_ranges', 'Ranges that need what cannot be done.')
    this.#overloaded = metrics.gauge(
      'keelson_placement_overloaded_stores',
      'Stores that are overloaded, or were lately.',
    )
    this.#deferred = metrics.gauge('keelson_placement_deferred_moves', 'Moves that wait for room.')
    this.#life = new Lifetime(options.env.logger, 'the placement controller', options.signal)
    this.stopped = this.#life.run(
      () => this.#followJobs(),
      () => this.#followDirectory(),
      () => this.#life.rounds(options.env.timers, options.intervalMs, () => this.#round()),
    )
  }

  /** The last plan; undefined before the first. */
  plan(): Plan | undefined {
    return this.#planned?.plan
  }

  /** The same, and when it was made. */
  planned(): PlannedAt | undefined {
    return this.#planned
  }

  /** What the last plan went by, the rules in force included. */
  get policy(): PlacementPolicy {
    return this.#planner.policy
  }

  /** Moves that are under way, oldest first. */
  moves(): readonly Job[] {
    return [...this.#moving.values()].sort((a, b) => a.jobId - b.jobId)
  }

  /** Ranges with a move under way. */
  moving(): ReadonlySet<RangeId> {
    return new Set([...this.#moving.values()].map((job) => decodeMoveState(job.state).goal.rangeId))
  }

  /** Why a range is where it is, why not elsewhere, and what comes next. @throws KeelsonError `NOT_FOUND` */
  explain(rangeId: RangeId): RangeExplanation {
    return explainBy(this.#planner, this.snapshot(), rangeId, { limits: this.#limits })
  }

  /** The same in steps. @internal */
  *explaining(rangeId: RangeId): Sliced<RangeExplanation> {
    yield* this.#feed.look()
    return yield* explaining(this.#planner, this.snapshot(), rangeId, { limits: this.#limits })
  }

  /**
   * Why a node has what it has, what it waits for, and what comes and goes. Costs what changed since the last plan, and a look
   * at 1,000 ranges of the node. @throws KeelsonError `NOT_FOUND`
   */
  explainNode(nodeId: NodeId): NodeExplanation {
    return explainNodeBy(this.#planner, this.snapshot(), nodeId, { limits: this.#limits })
  }

  /** The same in steps. @internal */
  *explainingNode(nodeId: NodeId): Sliced<NodeExplanation> {
    yield* this.#feed.look()
    return yield* explainingNode(this.#planner, this.snapshot(), nodeId, { limits: this.#limits })
  }

  /**
   * What would come of a change, by this controller's policy: see the function of this name. It works on a copy of the
   * cluster, in slices of two milliseconds.
   *
   * @throws KeelsonError `NOT_FOUND` for a node or domain that there is not; `INVALID_ARGUMENT`, `INVALID_OPTION`, `ABORTED`;
   * `OVERLOADED` while another one runs, `CLOSED`
   */
  async whatIf(
    change: WhatIfChange,
    options: Omit<WhatIfOptions, 'policy'> & CallOptions = {},
  ): Promise<WhatIfResult> {
    checkCall('whatIf', options, ['limits', 'seed', 'maximumRounds'])
    const { signal, ...rest } = options
    throwIfAborted(signal)
    throwIfAborted(this.#life.signal)
    if (this.#imagining)
      throw new KeelsonError('OVERLOADED', 'another what-if runs and holds a copy of the cluster; ask again')
    this.#imagining = true
    const limit = joinSignals(signal, this.#life.signal)
    try {
      const work = imagining(this.snapshot(), change, { ...rest, policy: this.#planner.policy })
      return await inSlices(work, this.#env, { signal: limit.signal })
    } finally {
      limit.release()
      this.#imagining = false
    }
  }

  /** The cluster as the planner would see it now: for what-if, and for people. */
  snapshot(): PlacementSnapshot {
    const holds = this.#holds.at(this.#env.clock.monotonicMs())
    return this.#feed.snapshot(this.moves().map(inFlight), holds)
  }

  /** Parts of the key space where the directory does not follow what the ranges report, and why. */
  lostSight(): readonly LostPart[] {
    return this.#lostSight.lost()
  }

  /** A range as the planner sees it: with what its nodes report. */
  view(range: RangeDescriptor): PlacementRange {
    return this.#feed.view(range)
  }

  /** Begins no more moves until `resume`; those under way go on. */
  pause(): void {
    this.#paused = true
  }

  /** Goes on planning after a pause. */
  resume(): void {
    this.#paused = false
  }

  /** Stops planning. Moves under way are jobs and go on. Idempotent. */
  async close(): Promise<void> {
    this.#life.stop()
    await this.stopped
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #round(): Promise<void> {
    const { signal } = this.#life
    this.#takeRules()
    await inSlices(this.#feed.look(), this.#env, { signal })
    await this.#project()
    // Without knowing what is under way, everything would be planned twice.
    if (!this.#jobs.isCurrent() || !this.#directoryRead) return
    // And without the rules, what they forbid.
    if (this.#rules !== undefined && this.#inForce === undefined) return
    // What changes while it plans is refused by generation, or met by the next round.
    const planner = this.#next
    const snapshot = this.snapshot()
    this.#overloaded.set(snapshot.stores.filter(({ overload }) => isOverloaded(overload)).length)
    const work = planner.planning(snapshot, { limits: this.#limits })
    const next = await inSlices(work, this.#env, { signal })
    this.#planner = planner
    this.#planned = { plan: next, atMs: this.#env.clock.wallMs() }
    this.#blocked.set(next.blockedCount)
    this.#deferred.set(next.deferred)
    if (this.#paused) return
    for (const move of next.moves) await this.#begin(move)
  }

  /** Goes by the rules as they are by now. Who plans by others than before has to look at every range once. */
  #takeRules(): void {
    const before = this.#inForce
    const now = this.#rules?.()
    if (now === undefined || now === before) return
    this.#inForce = now
    const tables = new Set([...now.voters.keys(), ...(before?.voters.keys() ?? [])])
    for (const tableId of tables)
      if (now.voters.get(tableId) === before?.voters.get(tableId)) tables.delete(tableId)
    this.#feed.renumber(tables)
    if (now.planning !== before?.planning) this.#next = new Planner(withRules(this.#policy, now.planning))
  }

  #votersOf(rangeId: RangeId, tableId: TableId | undefined): number | undefined {
    // Not those of the last round: a range is in the directory only after what was said of its table is known.
    const now = this.#rules?.()
    if (now === undefined || tableId === undefined) return undefined
    return now.ranges.has(rangeId) ? undefined : now.voters.get(tableId)
  }

  async #begin(move: PlannedMove): Promise<void> {
    const job = await this.#jobs.begin(
      this.#move,
      { goal: goalOf(move) },
      {
        reason: move.reason,
        key: `range/${move.rangeId}`,
        fence: this.#epoch,
        signal: this.#life.signal,
      },
    )
    if (job === undefined) return
    this.#created.add(1, { kind: move.kind })
    this.#env.logger.info(
      { jobId: job.jobId, rangeId: move.rangeId, kind: move.kind, reason: move.reason },
      'a move begins',
    )
  }

  /** Carries what the ranges report as committed into the directory. */
  async #project(): Promise<void> {
    const { signal } = this.#life
    const ports = {
      directory: this.#directory,
      epoch: this.#epoch,
      observed: this.#observed,
      behind: async ({ end }: RangeDescriptor) => {
        const directory = await inSlices(this.#feed.directory(), this.#env, { signal })
        return end === undefined ? undefined : directory.get(end)?.rangeId
      },
    }
    let behind = false
    let looked = 0
    for (const range of this.#feed.ahead()) {
      const now = await projectRange(ports, range, { signal })
      behind ||= now === range
      if (++looked % projectedTogether === 0) await nextTurn(this.#env.timers)
    }
    if (!behind) behind = this.#feed.hasUnknown()
    const rangeIds = await this.#lostSight.round(behind, { signal })
    if (rangeIds.length > 0)
      this.#env.logger.warn(
        { rangeIds: rangeIds.slice(0, 100), count: rangeIds.length },
        'the directory had lost sight of where these ranges lie, and has it now',
      )
  }

  async #followJobs(): Promise<void> {
    const all = (jobs: readonly Job[]): void => {
      // What ended while nobody looked is held by what it was, not by what this leader has seen of the range.
      const before = new Set(this.#moving.keys())
      this.#moving.clear()
      for (const job of jobs) {
        if (job.type !== moveJobType) continue
        if (!isFinished(job)) this.#moving.set(job.jobId, job)
        else if (before.has(job.jobId)) this.#hold(job, 0)
        else this.#recall(job)
      }
    }
    const changed = (job: Job): void => this.#take(job)
    const removed = (jobId: JobId): boolean => this.#moving.delete(jobId)
    await this.#jobs.follow({ all, changed, removed }, { signal: this.#life.signal })
  }

  async #followDirectory(): Promise<void> {
    const { signal } = this.#life
    const watch = (): AsyncIterable<DirectoryEvent> => this.#directory.watch({ signal })
    for await (const event of keepFollowing(this.#env, watch, { signal })) {
      if (event.type === 'snapshot') {
        this.#feed.setDirectory(event.ranges)
        this.#directoryRead = true
      } else {
        for (const range of event.updated) this.#feed.setRange(range)
        for (const rangeId of event.removed) this.#feed.removeRange(rangeId)
      }
    }
  }

  #take(job: Job): void {
    if (job.type !== moveJobType) return
    if (!isFinished(job)) this.#moving.set(job.jobId, job)
    else if (this.#moving.delete(job.jobId)) this.#hold(job, 0)
  }

  /**
   * A move that ended before this leader began. When a move succeeded is told by another server's clock, so it counts
   * from now: improvements can wait. Where one failed a repair may wait, and the clocks have to do.
   */
  #recall(job: Job): void {
    const { rangeId } = decodeMoveState(job.state).goal
    if (this.#holds.knows(rangeId, holdAfter(job), job.jobId)) return
    const ageMs = Math.max(0, this.#env.clock.wallMs() - job.changedAtMs)
    this.#hold(job, job.status === 'succeeded' ? 0 : ageMs)
  }

  /** Leaves a range alone after a move of it that ended `ageMs` ago. */
  #hold(job: Job, ageMs: number): void {
    const { rangeId } = decodeMoveState(job.state).goal
    const { retryAfterMs, dampingMs } = this.#options
    const hold = holdAfter(job)
    const leftMs = (hold === 'improvements' ? dampingMs : retryAfterMs) - ageMs
    if (leftMs <= 0) return
    const untilMs = this.#env.clock.monotonicMs() + leftMs
    this.#holds.add(rangeId, hold, { untilMs, jobId: job.jobId })
  }
}

function isOverloaded(level: StoreOverload | undefined): boolean {
  return level !== undefined && level !== 'strained'
}

/** What waits after a move that ended this way. */
function holdAfter({ status }: Job): RangeHold {
  return status === 'succeeded' ? 'improvements' : 'all'
}

/** A job as the planner counts it. One that is being undone brings nothing. */
function inFlight(job: Job): MoveInFlight {
  const { goal } = decodeMoveState(job.state)
  if (job.status === 'reverting') return { rangeId: goal.rangeId, kind: 'remove' }
  return {
    rangeId: goal.rangeId,
    kind: goal.kind,
    ...(goal.add === undefined ? {} : { add: goal.add.nodeId }),
    ...(goal.add?.storeId === undefined ? {} : { storeId: goal.add.storeId }),
    ...(goal.remove === undefined ? {} : { remove: goal.remove.replicaId }),
    ...(goal.leaseTo === undefined ? {} : { leaseTo: goal.leaseTo.replicaId }),
  }
}
