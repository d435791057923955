import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { functionOption, integerOption, type OptionCheck, objectOption } from '../core/options.ts'
import type { BoundsChange, ObservedReplica } from '../interfaces/range-host.ts'
import type { JobContext } from '../jobs/job-type.ts'
import type { RangeDirectory } from '../metadata/directory.ts'
import type { ControllerEpoch } from '../metadata/epoch.ts'
import type { RangeDescriptor } from '../model/descriptors.ts'
import type { NodeId, RangeId } from '../model/ids.ts'
import { projectRange } from './range-projection.ts'
import { newestConfiguration, type ObserveRange, reportOfHolder } from './range-reports.ts'

/** Tuning of splits and merges as jobs. */
export interface BoundsJobTuning {
  /** How often the reports are looked at. */
  readonly pollIntervalMs: number
  /** How long one step may take until it shows in the reports. */
  readonly stepTimeoutMs: number
  /** How long one that is taken back waits for what it asked for to show up. */
  readonly settleMs: number
  /** How long what is left of a merged range may take to vanish before its nodes are left to themselves. */
  readonly tidyTimeoutMs: number
}

/** Used when nothing else is given. */
export const defaultBoundsJobTuning: BoundsJobTuning = Object.freeze({
  pollIntervalMs: 250,
  stepTimeoutMs: 60_000,
  settleMs: 3000,
  tidyTimeoutMs: 10_000,
})

/** What splits and merges need. */
export interface BoundsJobPorts extends Partial<BoundsJobTuning> {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** The epoch of this leader: every write compares it. */
  readonly epoch: ControllerEpoch
  /** Where changes are asked for. */
  readonly directory: RangeDirectory
  /** What the nodes report of a range. */
  readonly observed: ObserveRange
  /** Whether a node holds its session: the others cannot be waited for. */
  readonly isLive: (nodeId: NodeId) => boolean
}

/** How {@link BoundsJobPorts} are checked. */
export const boundsJobOptions: {
  readonly [K in keyof Required<BoundsJobPorts>]: OptionCheck<Required<BoundsJobPorts>[K]>
} = {
  env: objectOption<Environment>(['clock', 'timers']),
  epoch: objectOption<ControllerEpoch>(['number', 'txn']),
  directory: objectOption<RangeDirectory>(['get', 'want', 'project', 'split', 'merge', 'reserveIds']),
  observed: functionOption<ObserveRange>(),
  isLive: functionOption<BoundsJobPorts['isLive']>(),
  pollIntervalMs: integerOption({ min: 1, fallback: defaultBoundsJobTuning.pollIntervalMs }),
  stepTimeoutMs: integerOption({ min: 1, fallback: defaultBoundsJobTuning.stepTimeoutMs }),
  settleMs: integerOption({ min: 0, fallback: defaultBoundsJobTuning.settleMs }),
  tidyTimeoutMs: integerOption({ min: 0, fallback: defaultBoundsJobTuning.tidyTimeoutMs }),
}

/** A range as its nodes report it, with the directory brought up to it. */
export interface BoundsView {
  /** As the directory has it. */
  readonly descriptor: RangeDescriptor
  /** The newest report of a replica; undefined when it is behind the directory. */
  readonly newest: ObservedReplica | undefined
  /** What the lease holder reports. */
  readonly holder: ObservedReplica | undefined
}

/** What the attempts at splits and merges have in common: to look, to ask, and to give up in time. */
export class BoundsAttempt {
  readonly ports: Required<BoundsJobPorts>
  readonly #context: Pick<JobContext<unknown>, 'signal' | 'progress' | 'waitFor' | 'sleep'>
  readonly #what: string
  #standing = ''
  #sinceMs = 0

  constructor(
    ports: Required<BoundsJobPorts>,
    context: Pick<JobContext<unknown>, 'signal' | 'progress' | 'waitFor' | 'sleep'>,
    what: string,
  ) {
    this.ports = ports
    this.#context = context
    this.#what = what
    this.#sinceMs = ports.env.clock.monotonicMs()
  }

  /** The range as it is by now; undefined when the directory has none of this id. */
  async look(rangeId: RangeId): Promise<BoundsView | undefined> {
    const { directory, epoch, observed } = this.ports
    const { signal } = this.#context
    const known = await directory.get(rangeId, { signal })
    if (known === undefined) return undefined
    const descriptor = await projectRange({ directory, epoch, observed }, known, { signal })
    const reports = observed(rangeId)
    const newest = newestConfiguration(reports)
    const current = newest !== undefined && newest.generation >= descriptor.generation ? newest : undefined
    return { descriptor, newest: current, holder: reportOfHolder(reports) }
  }

  /** Asks for a change at the generation that it was decided on. What has moved on is looked at again. */
  async want(descriptor: RangeDescriptor, change: BoundsChange | undefined, why: string): Promise<void> {
    const { directory, epoch } = this.ports
    const { rangeId, generation } = descriptor
    const { signal } = this.#context
    try {
      await directory.want(epoch, rangeId, change, { expectedGeneration: generation, signal })
    } catch (error) {
      if (!KeelsonError.hasCode(error, 'STALE_GENERATION', 'NOT_FOUND')) throw error
    }
    await this.wait(`${rangeId}/${generation} ${change?.type ?? 'nothing'}`, why)
  }

  /**
   * Waits for the reports to show something else than `standing`.
   *
   * @throws KeelsonError `TIMEOUT` when the same has stood for too long
   */
  async wait(standing: string, why: string, waitingFor: readonly string[] = []): Promise<void> {
    const { env, stepTimeoutMs, pollIntervalMs } = this.ports
    const nowMs = env.clock.monotonicMs()
    if (standing !== this.#standing) {
      this.#standing = standing
      this.#sinceMs = nowMs
    } else if (nowMs - this.#sinceMs >= stepTimeoutMs) {
      throw new KeelsonError('TIMEOUT', `${this.#what}: no progress for ${stepTimeoutMs} ms: ${why}`, {
        retryable: false,
      })
    }
    this.#context.progress(why)
    this.#context.waitFor(waitingFor)
    await this.#context.sleep(pollIntervalMs)
  }

  /** Whatever it was for makes no sense any more. */
  abandon(why: string): never {
    throw new KeelsonError('CONFLICT', `${this.#what} is given up: ${why}`, { retryable: false })
  }

  /** Takes back what is wanted of a range. */
  async withdraw(rangeId: RangeId): Promise<void> {
    const { directory, epoch } = this.ports
    try {
      await directory.want(epoch, rangeId, undefined, { signal: this.#context.signal })
    } catch (error) {
      if (!KeelsonError.hasCode(error, 'NOT_FOUND')) throw error
    }
  }
}
