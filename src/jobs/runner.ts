import { sleep } from '../core/async.ts'
import type { TimerHandle } from '../core/clock.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError, toKeelsonError } from '../core/errors.ts'
import { Lifetime } from '../core/lifetime.ts'
import type { Counter, Gauge } from '../core/metrics.ts'
import {
  arrayOption,
  checkOptions,
  integerOption,
  objectOption,
  optional,
  signalOption,
} from '../core/options.ts'
import { between } from '../core/random.ts'
import type { MetadataStore } from '../interfaces/metadata-store.ts'
import { allJobs, jobKey } from './core/keys.ts'
import { decodeJob, isFinished, type Job, type JobId } from './core/record.ts'
import { Execution, type ExecutionPorts } from './execution.ts'
import { follow } from './follow.ts'
import type { Fence, JobType } from './job-type.ts'
import { checkType, defaultJobsLimits, jobIdOf } from './jobs.ts'

/** Tuning of a {@link JobRunner}. */
export interface JobRunnerTuning {
  /** Jobs that run at once. One that waits for its next attempt does not count. */
  readonly concurrency: number
  /** Failures in a row, without a checkpoint between them, after which a job fails for good. */
  readonly maximumFailures: number
  /** Wait after the first failure; it doubles with each further one. */
  readonly minimumBackoffMs: number
  /** Longest wait between two attempts. */
  readonly maximumBackoffMs: number
  /** Finished jobs that are remembered; the oldest go first. */
  readonly historyLimit: number
  /** Largest checkpoint of a job, encoded. */
  readonly maximumStateBytes: number
  /** How often progress is written at most. */
  readonly progressIntervalMs: number
}

/** Used when nothing else is given. */
export const defaultJobRunnerTuning: JobRunnerTuning = Object.freeze({
  concurrency: 64,
  maximumFailures: 20,
  minimumBackoffMs: 100,
  maximumBackoffMs: 30_000,
  historyLimit: 1000,
  maximumStateBytes: defaultJobsLimits.maximumStateBytes,
  progressIntervalMs: 1000,
})

/** Options of {@link JobRunner.start}. */
export interface JobRunnerOptions extends Partial<JobRunnerTuning> {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** Where the jobs are kept. */
  readonly store: MetadataStore
  /** The epoch of this leader: every write compares it. */
  readonly epoch: Fence
  /** What this release can run. Jobs of other types wait for one that knows them. */
  readonly types: readonly JobType<unknown>[]
  /** Stops the runner, as `close` does. */
  readonly signal?: AbortSignal
}

interface Entry {
  readonly job: Job
  readonly modRevision: number
}

const trimBatch = 32

/**
 * Runs the jobs of the cluster on its leader: takes up whatever is unfinished from its last checkpoint, and stops when it
 * is deposed, closed or its signal is aborted. No job runs twice at once, since each has one execution here and each
 * write of another owner is refused by the epoch.
 */
export class JobRunner implements AsyncDisposable {
  readonly #options: JobRunnerTuning
  readonly #env: Environment
  readonly #store: MetadataStore
  readonly #epoch: Fence
  readonly #types = new Map<string, JobType<unknown>>()
  /** Unfinished jobs, oldest first. */
  readonly #jobs = new Map<JobId, Entry>()
  /** Finished jobs, with their mod revision. */
  readonly #history = new Map<JobId, number>()
  readonly #running = new Map<JobId, { readonly execution: Execution; readonly done: Promise<void> }>()
  readonly #cooling = new Map<JobId, TimerHandle>()
  readonly #life: Lifetime
  readonly #finishedCount: Counter
  readonly #runningCount: Gauge
  #trimming: Promise<void> | undefined
  /** The reason why the runner stopped by itself; undefined when it was asked to. */
  readonly stopped: Promise<KeelsonError | undefined>

  /** Begins at once, without waiting for the store. @throws KeelsonError `INVALID_OPTION`, `INVALID_ARGUMENT` */
  static start(options: JobRunnerOptions): JobRunner {
    return new JobRunner(options)
  }

  private constructor(input: JobRunnerOptions) {
    const fallback = defaultJobRunnerTuning
    const options = checkOptions<
      Required<Omit<JobRunnerOptions, 'signal'>> & { signal: AbortSignal | undefined }
    >(
      'JobRunner.start',
      input,
      {
        env: objectOption<Environment>(['clock', 'timers', 'random', 'logger', 'metrics']),
        store: objectOption<MetadataStore>(['txn', 'range', 'watch']),
        epoch: objectOption<Fence>(['number', 'txn']),
        types: arrayOption(objectOption<JobType<unknown>>(['type', 'run', 'encode', 'decode']), {
          max: 1000,
        }),
        signal: optional(signalOption),
        concurrency: integerOption({ min: 1, fallback: fallback.concurrency }),
        maximumFailures: integerOption({ min: 1, fallback: fallback.maximumFailures }),
        minimumBackoffMs: integerOption({ min: 1, fallback: fallback.minimumBackoffMs }),
        maximumBackoffMs: integerOption({ min: 1, fallback: fallback.maximumBackoffMs }),
        historyLimit: integerOption({ min: 0, fallback: fallback.historyLimit }),
        maximumStateBytes: integerOption({ min: 16, fallback: fallback.maximumStateBytes }),
        progressIntervalMs: integerOption({ min: 1, fallback: fallback.progressIntervalMs }),
      },
      (checked, refuse) => {
        if (checked.minimumBackoffMs > checked.maximumBackoffMs) {
          refuse(
            `minimumBackoffMs (${checked.minimumBackoffMs}) must be at most maximumBackoffMs (${checked.maximumBackoffMs})`,
          )
        }
      },
    )
    this.#options = options
    this.#env = options.env
    this.#store = options.store
    this.#epoch = options.epoch
    for (const type of options.types) {
      checkType(type.type)
      if (this.#types.has(type.type)) {
        throw new KeelsonError(
          'INVALID_ARGUMENT',
          `two job types have the name ${type.type}; give each one of its own`,
        )
      }
      this.#types.set(type.type, type)
    }
    this.#finishedCount = this.#env.metrics.counter('keelson_jobs_finished_total', 'Jobs that have ended.')
    this.#runningCount = this.#env.metrics.gauge('keelson_jobs_running', 'Jobs that are being worked on.')
    this.#life = new Lifetime(options.env.logger, 'the job runner', options.signal)
    this.stopped = this.#run()
  }

  /** Jobs that are being worked on, by id. */
  running(): readonly Job[] {
    return [...this.#running.keys()]
      .sort((a, b) => a - b)
      .flatMap((jobId) => this.#jobs.get(jobId)?.job ?? [])
  }

  /** Stops, and waits until no job of this runner does anything any more. */
  async close(): Promise<void> {
    this.#life.stop()
    await this.stopped
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #run(): Promise<KeelsonError | undefined> {
    const error = await this.#life.run(() => this.#follow())
    await Promise.all([...this.#running.values()].map(({ done }) => done))
    await this.#trimming
    // Last: what ends with a failure cools.
    for (const timer of this.#cooling.values()) timer.cancel()
    this.#cooling.clear()
    this.#runningCount.set(0)
    return error
  }

  async #follow(): Promise<void> {
    const { signal } = this.#life
    for await (const change of follow(this.#store, this.#env, allJobs, { signal })) {
      if (signal.aborted) return
      if (change.type === 'snapshot') {
        const known = new Set(change.entries.map((entry) => jobIdOf(entry)))
        for (const jobId of [...this.#jobs.keys(), ...this.#history.keys()]) {
          if (!known.has(jobId)) this.#forget(jobId)
        }
        for (const entry of change.entries) this.#take(entry.value, entry.modRevision)
      } else {
        for (const event of change.events) {
          if (event.type === 'put') this.#take(event.entry.value, event.entry.modRevision)
          else this.#forget(jobIdOf(event.entry))
        }
      }
      this.#schedule()
    }
  }

  #take(value: Uint8Array, modRevision: number): void {
    let job: Job
    try {
      job = decodeJob(value)
    } catch (error) {
      // A newer release wrote it: it is left for one that understands it.
      this.#env.logger.error({ error }, 'a job cannot be read')
      return
    }
    const known = this.#jobs.get(job.jobId)
    if (!this.#know(job, modRevision)) return
    this.#running.get(job.jobId)?.execution.observe(job, modRevision)
    // A wish is followed at once, not after the backoff.
    if (known !== undefined && known.job.wish !== job.wish) this.#endCooling(job.jobId)
  }

  /** False when something as new is known already. */
  #know(job: Job, modRevision: number): boolean {
    const known = this.#history.get(job.jobId) ?? this.#jobs.get(job.jobId)?.modRevision ?? 0
    if (known >= modRevision) return false
    if (isFinished(job)) {
      this.#jobs.delete(job.jobId)
      this.#history.set(job.jobId, modRevision)
    } else {
      this.#jobs.set(job.jobId, { job, modRevision })
    }
    return true
  }

  #forget(jobId: JobId): void {
    this.#jobs.delete(jobId)
    this.#history.delete(jobId)
    this.#endCooling(jobId)
  }

  #endCooling(jobId: JobId): void {
    this.#cooling.get(jobId)?.cancel()
    this.#cooling.delete(jobId)
  }

  /** Starts what may start, oldest first. */
  #schedule(): void {
    if (this.#life.signal.aborted) return
    const perType = new Map<string, number>()
    for (const jobId of this.#running.keys()) {
      const type = this.#jobs.get(jobId)?.job.type
      if (type !== undefined) perType.set(type, (perType.get(type) ?? 0) + 1)
    }
    for (const [jobId, entry] of this.#jobs) {
      if (this.#running.size >= this.#options.concurrency) break
      const type = this.#types.get(entry.job.type)
      if (type === undefined || !this.#runnable(entry.job)) continue
      const used = perType.get(type.type) ?? 0
      if (used >= (type.concurrency ?? Number.POSITIVE_INFINITY)) continue
      perType.set(type.type, used + 1)
      this.#start(jobId, type, entry)
    }
    this.#runningCount.set(this.#running.size)
    this.#trim()
  }

  #runnable(job: Job): boolean {
    if (this.#running.has(job.jobId) || this.#cooling.has(job.jobId)) return false
    return !(job.status === 'paused' && job.wish === 'pause')
  }

  #start(jobId: JobId, type: JobType<unknown>, entry: Entry): void {
    const ports: ExecutionPorts = {
      env: this.#env,
      epoch: this.#epoch,
      signal: this.#life.signal,
      maximumStateBytes: this.#options.maximumStateBytes,
      maximumFailures: this.#options.maximumFailures,
      progressIntervalMs: this.#options.progressIntervalMs,
      onFatal: (error) => this.#life.stop(error),
    }
    const execution = new Execution(ports, type, entry.job, entry.modRevision)
    this.#running.set(jobId, { execution, done: this.#execute(execution, entry) })
  }

  async #execute(execution: Execution, begun: Entry): Promise<void> {
    const { jobId } = begun.job
    try {
      const result = await execution.run()
      if (result.type === 'gone') {
        // Unless the watch has shown something newer, what we knew is wrong, and the watch will say what is right.
        if ((this.#jobs.get(jobId)?.modRevision ?? 0) <= begun.modRevision) this.#jobs.delete(jobId)
      } else {
        this.#know(result.job, result.modRevision)
        if (result.type === 'retry') this.#cool(result.job)
        if (isFinished(result.job)) this.#report(result.job)
      }
    } catch (thrown) {
      if (!this.#life.signal.aborted) {
        const error = toKeelsonError(thrown)
        this.#env.logger.error({ jobId, error: error.toJSON() }, 'a job could not be written')
        this.#cool({ ...begun.job, failures: this.#options.maximumFailures })
      }
    } finally {
      this.#running.delete(jobId)
      this.#schedule()
    }
  }

  #report(job: Job): void {
    this.#finishedCount.add(1, { type: job.type, status: job.status })
    this.#env.logger.info(
      { jobId: job.jobId, type: job.type, status: job.status, outcome: job.outcome },
      'a job has ended',
    )
  }

  #cool(job: Job): void {
    const { minimumBackoffMs, maximumBackoffMs } = this.#options
    const backoff = Math.min(maximumBackoffMs, minimumBackoffMs * 2 ** Math.min(30, job.failures - 1))
    const timer = this.#env.timers.schedule(between(this.#env.random, backoff / 2, backoff), () => {
      this.#cooling.delete(job.jobId)
      this.#schedule()
    })
    this.#cooling.set(job.jobId, timer)
  }

  /** Forgets the oldest finished jobs beyond the limit, one batch at a time. */
  #trim(): void {
    if (this.#trimming !== undefined || this.#life.signal.aborted) return
    const excess = this.#history.size - this.#options.historyLimit
    if (excess <= 0) return
    const oldest = [...this.#history]
      .sort(([, a], [, b]) => a - b)
      .slice(0, Math.min(excess, trimBatch))
      .map(([jobId]) => jobId)
    this.#trimming = this.#remove(oldest).finally(() => {
      this.#trimming = undefined
      this.#trim()
    })
  }

  async #remove(jobIds: readonly JobId[]): Promise<void> {
    try {
      await this.#epoch.txn(
        { then: jobIds.map((jobId) => ({ type: 'delete', select: { key: jobKey(jobId) } })) },
        { signal: this.#life.signal },
      )
      for (const jobId of jobIds) this.#forget(jobId)
    } catch (thrown) {
      const error = toKeelsonError(thrown)
      if (error.code === 'STALE_EPOCH') this.#life.stop(error)
      if (this.#life.signal.aborted) return
      this.#env.logger.warn({ error: error.toJSON() }, 'finished jobs could not be forgotten; later again')
      await sleep(this.#env.timers, this.#options.maximumBackoffMs, this.#life.signal).catch(() => {})
    }
  }
}
