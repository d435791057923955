import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { Lifetime } from '../core/lifetime.ts'
import type { Counter } from '../core/metrics.ts'
import {
  checkOptions,
  functionOption,
  integerOption,
  objectOption,
  optional,
  signalOption,
} from '../core/options.ts'
import { inSlices, type Sliced } from '../core/sliced.ts'
import type { MetadataStore } from '../interfaces/metadata-store.ts'
import { isFinished, type Job, type JobId } from '../jobs/core/record.ts'
import { keepFollowing } from '../jobs/follow.ts'
import type { JobType } from '../jobs/job-type.ts'
import { Jobs } from '../jobs/jobs.ts'
import type { DirectoryEvent, RangeDirectory } from '../metadata/directory.ts'
import type { ControllerEpoch } from '../metadata/epoch.ts'
import type { RangeDescriptor } from '../model/descriptors.ts'
import type { RangeId } from '../model/ids.ts'
import { BegunJobs } from './begun-jobs.ts'
import type { RangeHold } from './core/snapshot.ts'
import {
  judgeMerge,
  judgeSplit,
  type PlannedMerge,
  type PlannedSplit,
  planSplits,
  type RangeSize,
  type SplitPolicy,
  type SplitRange,
  splitPolicy,
} from './core/splits.ts'
import { decodeMergeState, type MergeState, mergeJobType } from './merge-job.ts'
import { newestConfiguration, type ObserveRange, reportOfHolder, sizeOf } from './range-reports.ts'
import { SplitCandidates, sameEnd } from './split-candidates.ts'
import { decodeSplitState, type SplitState, splitJobType } from './split-job.ts'
import { StrayReplicas } from './stray-replicas.ts'

/** Options of {@link SplitController.start}. */
export interface SplitControllerOptions {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** Where splits and merges are created as jobs. */
  readonly store: MetadataStore
  /** The epoch of this leader: every write compares it. */
  readonly epoch: ControllerEpoch
  /** The ranges as the store has them. */
  readonly directory: RangeDirectory
  /** What the nodes report of a range. */
  readonly observed: ObserveRange
  /** Ranges of which something else is reported than when it was asked last; at first, all that are reported. */
  readonly changed: () => Iterable<RangeId>
  /** Ranges whose replicas are being moved: their bounds stay as they are meanwhile. */
  readonly moving: () => ReadonlySet<RangeId>
  /** The type that `splitJob` made for the runner of the same leader. */
  readonly split: JobType<SplitState>
  /** The type that `mergeJob` made for the runner of the same leader. */
  readonly merge: JobType<MergeState>
  /** Where it differs from `defaultSplitPolicy`. */
  readonly policy?: Partial<SplitPolicy>
  /** How often is decided. Default: 1,000. */
  readonly intervalMs?: number
  /** Stops the controller, as `close` does. */
  readonly signal?: AbortSignal
}

/** Why a range has the bounds that it has. */
export interface BoundsExplanation {
  /** The range that is explained. */
  readonly rangeId: RangeId
  /** Why it is split, or is not. */
  readonly split: string
  /** Why it is merged with the range before it, or is not. */
  readonly mergeLeft: string
  /** Why it is merged with the range behind it, or is not. */
  readonly mergeRight: string
}

interface UnderWay {
  readonly jobId: JobId
  readonly type: string
  readonly rangeIds: readonly RangeId[]
}

/**
 * Splits and merges on the leader: looks at what the ranges report of their size and load, decides by the policy, and makes
 * each decision a job. It also tells nodes that hold what nobody needs any more to drop it.
 */
export class SplitController implements AsyncDisposable {
  readonly #options: Required<Omit<SplitControllerOptions, 'signal' | 'policy'>>
  readonly #policy: SplitPolicy
  readonly #env: Environment
  readonly #jobs: BegunJobs
  readonly #ranges: SplitCandidates
  /** Ranges that were frozen when they were looked at. */
  readonly #frozen = new Set<RangeId>()
  readonly #strays: StrayReplicas
  readonly #underWay = new Map<JobId, UnderWay>()
  readonly #heldUntilMs = new Map<RangeId, number>()
  /** When the bounds of a range were first seen as they are. */
  readonly #boundsSinceMs = new Map<RangeId, number>()
  readonly #startedMs: number
  readonly #life: Lifetime
  readonly #begun: Counter
  #directoryRead = false
  #paused = false
  /** The reason why it stopped by itself; undefined when it was asked to. */
  readonly stopped: Promise<KeelsonError | undefined>

  /** @throws KeelsonError `INVALID_OPTION` */
  static start(options: SplitControllerOptions): SplitController {
    return new SplitController(options)
  }

  private constructor(input: SplitControllerOptions) {
    const { policy, signal, ...options } = checkOptions<
      Required<Omit<SplitControllerOptions, 'signal' | 'policy'>> & {
        policy: SplitPolicy
        signal: AbortSignal | undefined
      }
    >('SplitController.start', input, {
      env: objectOption<Environment>(['clock', 'timers', 'random', 'logger', 'metrics']),
      store: objectOption<MetadataStore>(['txn', 'range', 'watch']),
      epoch: objectOption<ControllerEpoch>(['number', 'txn']),
      directory: objectOption<RangeDirectory>(['watch', 'dismiss']),
      observed: functionOption<ObserveRange>(),
      changed: functionOption<SplitControllerOptions['changed']>(),
      moving: functionOption<SplitControllerOptions['moving']>(),
      split: objectOption<JobType<SplitState>>(['type', 'run']),
      merge: objectOption<JobType<MergeState>>(['type', 'run']),
      policy: (value) => splitPolicy(value as Partial<SplitPolicy> | undefined),
      intervalMs: integerOption({ min: 1, fallback: 1000 }),
      signal: optional(signalOption),
    })
    this.#options = options
    this.#policy = policy
    this.#ranges = new SplitCandidates(policy)
    this.#strays = new StrayReplicas({ ...options, known: (rangeId) => this.#ranges.get(rangeId) })
    this.#env = options.env
    this.#jobs = new BegunJobs(new Jobs({ store: options.store, env: options.env }))
    this.#startedMs = options.env.clock.monotonicMs()
    this.#begun = options.env.metrics.counter(
      'keelson_placement_bounds_changes_total',
      'Splits and merges that were begun.',
    )
    this.#life = new Lifetime(options.env.logger, 'the split controller', signal)
    this.stopped = this.#life.run(
      () => this.#followJobs(),
      () => this.#followDirectory(),
      () => this.#life.rounds(options.env.timers, options.intervalMs, () => this.#round()),
    )
  }

  /** Ranges whose bounds are changing: nothing is moved meanwhile but what needs repair. */
  held(): ReadonlyMap<RangeId, RangeHold> {
    const held = new Map<RangeId, RangeHold>()
    for (const { rangeIds } of this.#underWay.values())
      for (const rangeId of rangeIds) held.set(rangeId, 'improvements')
    return held
  }

  /** Why a range is split or merged, or is not. @throws KeelsonError `NOT_FOUND` */
  explain(rangeId: RangeId): BoundsExplanation {
    const known = this.#ranges.get(rangeId)
    if (known === undefined) {
      throw new KeelsonError('NOT_FOUND', `there is no range ${rangeId}; look for its id in the directory`)
    }
    const range = this.#view(known)
    const merge = (left: RangeDescriptor | undefined, right: RangeDescriptor | undefined): string => {
      if (left === undefined || right === undefined) return 'there is no range'
      const { merge: merges, why } = judgeMerge(this.#view(left), this.#view(right), this.#policy)
      return `${merges ? 'yes' : 'no'}: ${why}`
    }
    const { type, why } = judgeSplit(range, this.#policy)
    const words = { split: 'yes', none: 'no', blocked: 'not yet' } as const
    return {
      rangeId,
      split: `${words[type]}: ${why}`,
      mergeLeft: merge(this.#ranges.leftOf(known), known),
      mergeRight: merge(known, this.#ranges.rightOf(known)),
    }
  }

  /** Begins no more splits and merges until `resume`; those under way go on. */
  pause(): void {
    this.#paused = true
  }

  /** Goes on deciding after a pause. */
  resume(): void {
    this.#paused = false
  }

  /** Stops deciding. Splits and merges under way are jobs and go on. Idempotent. */
  async close(): Promise<void> {
    this.#life.stop()
    await this.stopped
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #round(): Promise<void> {
    // Without knowing what is under way, everything would be begun twice.
    if (!this.#jobs.isCurrent() || !this.#directoryRead) return
    for (const rangeId of this.#options.changed()) this.#ranges.changed(rangeId)
    await inSlices(
      this.#ranges.look((rangeId) => this.#look(rangeId)),
      this.#env,
      { signal: this.#life.signal },
    )
    await this.#strays.dismiss(this.#life.signal)
    await this.#finishMerges()
    if (this.#paused) return
    const count = (type: string): number =>
      [...this.#underWay.values()].filter((each) => each.type === type).length
    const underWay = { splits: count(splitJobType), merges: count(mergeJobType) }
    const ranges = await inSlices(this.#candidates(), this.#env, { signal: this.#life.signal })
    const { splits, merges } = planSplits(ranges, this.#policy, underWay)
    for (const split of splits) await this.#beginSplit(split)
    for (const merge of merges) await this.#beginMerge(merge)
  }

  async #beginSplit({ rangeId, key, kind, reason }: PlannedSplit): Promise<void> {
    const state: SplitState = { rangeId, key, rightRangeId: 0 }
    await this.#begin(this.#options.split, state, reason, `range/${rangeId}`, kind)
  }

  async #beginMerge({ leftRangeId, rightRangeId, reason }: PlannedMerge): Promise<void> {
    const state: MergeState = { leftRangeId, rightRangeId }
    await this.#begin(this.#options.merge, state, reason, `range/${rightRangeId}`, 'merge')
  }

  async #begin<State>(
    type: JobType<State>,
    state: State,
    reason: string,
    key: string,
    kind: string,
  ): Promise<void> {
    const { epoch } = this.#options
    const { signal } = this.#life
    const job = await this.#jobs.begin(type, state, { reason, key, fence: epoch, signal })
    if (job === undefined) return
    this.#begun.add(1, { kind })
    this.#env.logger.info({ jobId: job.jobId, kind, reason }, 'a change of bounds begins')
  }

  /** What changed of a range: notes what is to be done about it, and says how large it is. */
  #look(rangeId: RangeId): RangeSize {
    const reports = this.#options.observed(rangeId)
    if (newestConfiguration(reports)?.frozen === undefined) this.#frozen.delete(rangeId)
    else this.#frozen.add(rangeId)
    this.#strays.look(rangeId, reports)
    return sizeOf(reportOfHolder(reports))
  }

  /** Ranges that may have to be split or merged, as they are now. */
  *#candidates(): Sliced<readonly SplitRange[]> {
    const nowMs = this.#env.clock.monotonicMs()
    const { splitMergeBackoffMs } = this.#policy
    const isOld = (rangeId: RangeId): boolean => this.#splitForMs(rangeId, nowMs) >= splitMergeBackoffMs
    const views: SplitRange[] = []
    for (const range of yield* this.#ranges.candidates(isOld)) {
      views.push(this.#view(range))
      if (views.length % viewedTogether === 0) yield
    }
    return views
  }

  /** A range that is frozen though nobody works on it: its merge is finished, or ruled out, and it thaws. */
  async #finishMerges(): Promise<void> {
    const busy = new Set([...this.#underWay.values()].flatMap(({ rangeIds }) => rangeIds))
    for (const rangeId of this.#frozen) {
      if (busy.has(rangeId) || this.#ranges.get(rangeId) === undefined) continue
      const frozen = newestConfiguration(this.#options.observed(rangeId))?.frozen
      if (frozen === undefined) continue
      const reason = `it is frozen to be merged into range ${frozen.into}, and nobody works on that`
      await this.#beginMerge({ leftRangeId: frozen.into, rightRangeId: rangeId, reason })
    }
  }

  #view(descriptor: RangeDescriptor): SplitRange {
    const { rangeId } = descriptor
    const reports = this.#options.observed(rangeId)
    const holder = reportOfHolder(reports)
    const nowMs = this.#env.clock.monotonicMs()
    const busy = this.#whyBusy(rangeId, holder?.frozen !== undefined, nowMs)
    return {
      descriptor,
      able: holder !== undefined && reports.every(({ replica }) => replica.bounds !== undefined),
      ...sizeOf(holder),
      ...(holder?.splitKeys === undefined ? {} : { splitKeys: holder.splitKeys }),
      ...(busy === undefined ? {} : { busy }),
      splitForMs: this.#splitForMs(rangeId, nowMs),
    }
  }

  #splitForMs(rangeId: RangeId, nowMs: number): number {
    return nowMs - (this.#boundsSinceMs.get(rangeId) ?? this.#startedMs)
  }

  #whyBusy(rangeId: RangeId, frozen: boolean, nowMs: number): string | undefined {
    for (const { type, jobId, rangeIds } of this.#underWay.values())
      if (rangeIds.includes(rangeId)) return `job ${jobId} (${type}) is under way`
    if (this.#options.moving().has(rangeId)) return 'its replicas are being moved'
    if (frozen) return 'it is frozen to be merged'
    const untilMs = this.#heldUntilMs.get(rangeId) ?? 0
    if (untilMs <= nowMs) return undefined
    return `the last attempt failed; the next one comes in ${Math.ceil((untilMs - nowMs) / 1000)} s`
  }

  async #followJobs(): Promise<void> {
    const all = (jobs: readonly Job[]): void => {
      this.#underWay.clear()
      for (const job of jobs) this.#take(job)
    }
    const changed = (job: Job): void => this.#take(job)
    const removed = (jobId: JobId): boolean => this.#underWay.delete(jobId)
    await this.#jobs.follow({ all, changed, removed }, { signal: this.#life.signal })
  }

  #take(job: Job): void {
    const { jobId, type } = job
    if (type !== splitJobType && type !== mergeJobType) return
    if (!isFinished(job)) {
      this.#underWay.set(jobId, { jobId, type, rangeIds: rangesOf(job) })
      return
    }
    const known = this.#underWay.get(jobId)
    if (known === undefined) return
    this.#underWay.delete(jobId)
    if (job.status === 'succeeded') return
    const untilMs = this.#env.clock.monotonicMs() + this.#policy.retryAfterMs
    for (const rangeId of known.rangeIds) this.#heldUntilMs.set(rangeId, untilMs)
  }

  async #followDirectory(): Promise<void> {
    const { signal } = this.#life
    const watch = (): AsyncIterable<DirectoryEvent> => this.#options.directory.watch({ signal })
    for await (const event of keepFollowing(this.#env, watch, { signal })) {
      if (event.type === 'snapshot') {
        const present = new Set(event.ranges.map(({ rangeId }) => rangeId))
        for (const rangeId of this.#ranges.rangeIds()) if (!present.has(rangeId)) this.#forget(rangeId)
        for (const range of event.ranges) this.#learn(range, this.#directoryRead)
        this.#directoryRead = true
      } else {
        for (const range of event.updated) this.#learn(range, true)
        for (const rangeId of event.removed) this.#forget(rangeId)
      }
    }
  }

  /** `news`: it was not there, or otherwise, when this leader looked last. */
  #learn(range: RangeDescriptor, news: boolean): void {
    const { rangeId } = range
    const known = this.#ranges.get(rangeId)
    this.#ranges.set(range)
    if (!news || (known !== undefined && sameEnd(known, range))) return
    this.#boundsSinceMs.set(rangeId, this.#env.clock.monotonicMs())
  }

  #forget(rangeId: RangeId): void {
    this.#ranges.remove(rangeId)
    this.#heldUntilMs.delete(rangeId)
    this.#boundsSinceMs.delete(rangeId)
  }
}

/** Ranges that are read before others may go on. */
const viewedTogether = 64

function rangesOf(job: Job): RangeId[] {
  if (job.type === mergeJobType) {
    const { leftRangeId, rightRangeId } = decodeMergeState(job.state)
    return [leftRangeId, rightRangeId]
  }
  const { rangeId, rightRangeId } = decodeSplitState(job.state)
  return rightRangeId === 0 ? [rangeId] : [rangeId, rightRangeId]
}
