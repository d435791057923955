import { checkInteger, checkObject, checkText } from '../core/arguments.ts'
import { type CallOptions, sleep, throwIfAborted } from '../core/async.ts'
import { text, utf8 } from '../core/bytes.ts'
import { decodePlain, encodePlain, type Plain } from '../core/codec.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { checkCall, checkOptions, integerOption, objectOption, showValue } from '../core/options.ts'
import type { KeyValue, MetadataStore, Transaction } from '../interfaces/metadata-store.ts'
import { numberAfter } from '../metadata/index.ts'
import { allJobs, jobKey, lastJobKey, uniqueKey } from './core/keys.ts'
import { decodeJob, encodeJob, isFinished, type Job, type JobId, type JobWish } from './core/record.ts'
import { wished } from './core/transitions.ts'
import { follow } from './follow.ts'
import type { Fence, JobForm } from './job-type.ts'

/** Limits of {@link Jobs}. */
export interface JobsLimits {
  /** Largest checkpoint of a job, encoded. */
  readonly maximumStateBytes: number
  /** Most jobs in the store, finished ones included. */
  readonly maximumJobs: number
}

/** Used when nothing else is given. */
export const defaultJobsLimits: JobsLimits = Object.freeze({
  maximumStateBytes: 256 * 1024,
  maximumJobs: 20_000,
})

/** Options of {@link Jobs}. */
export interface JobsOptions extends Partial<JobsLimits> {
  /** Where the jobs are kept. */
  readonly store: MetadataStore
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
}

/** Options of {@link Jobs.create}. */
export interface CreateJobOptions extends CallOptions {
  /** Why the job is there, for people. */
  readonly reason: string
  /** While a job of this type with this key is unfinished, no second one is created. */
  readonly key?: string
  /** A controller gives its epoch, so that it creates nothing after it was deposed. */
  readonly fence?: Fence
}

/** What a watch of jobs yields. */
export type JobChange =
  | {
      /** All jobs at one revision: what a watch begins with, and begins anew with after it was cut off. */
      readonly type: 'snapshot'
      /** In the order of creation. */
      readonly jobs: readonly Job[]
    }
  | {
      /** A job was created or changed. */
      readonly type: 'changed'
      /** The job after the change. */
      readonly job: Job
    }
  | {
      /** A finished job was trimmed from the history. */
      readonly type: 'removed'
      /** The job that is gone. */
      readonly jobId: JobId
    }

const typePattern = /^[a-z0-9][a-z0-9.-]{0,63}$/
const retryDelayMs = 100

/**
 * The jobs of a cluster, for anybody who can reach the store: create, look, pause, resume, cancel. The work is done by
 * the {@link JobRunner} of the leader.
 */
export class Jobs {
  readonly #store: MetadataStore
  readonly #env: Environment
  readonly #limits: JobsLimits

  /** @throws KeelsonError `INVALID_OPTION` */
  constructor(options: JobsOptions) {
    const checked = checkOptions<Required<JobsOptions>>('Jobs', options, {
      store: objectOption<MetadataStore>(['txn', 'range', 'watch']),
      env: objectOption<Environment>(['clock', 'timers', 'random']),
      maximumStateBytes: integerOption({ min: 16, fallback: defaultJobsLimits.maximumStateBytes }),
      maximumJobs: integerOption({ min: 1, fallback: defaultJobsLimits.maximumJobs }),
    })
    this.#store = checked.store
    this.#env = checked.env
    this.#limits = checked
  }

  /**
   * Creates a job that starts from `state`, or finds the unfinished one with the same key. Repeating the call after an
   * unknown outcome is safe when there is a key.
   *
   * @throws KeelsonError `INVALID_ARGUMENT`, `LIMIT_EXCEEDED`, `STALE_EPOCH`
   */
  async create<State>(
    type: JobForm<State>,
    state: State,
    options: CreateJobOptions,
  ): Promise<{
    /** The new job, or the unfinished one that has the key already. */
    readonly job: Job
    /** False when the key was taken, and `job` is the one that has it. */
    readonly created: boolean
  }> {
    checkObject(type, 'the form of a job', ['type', 'encode', 'decode'])
    checkType(type.type)
    checkCall('Jobs.create', options, ['reason', 'key', 'fence'])
    checkReason(options.reason)
    const { key } = options
    if (key !== undefined) checkText(key, 'the key of a job', 512)
    if (options.fence !== undefined) checkObject(options.fence, 'the fence of a job', ['txn'])
    const encoded = type.encode(state)
    checkState(type, encoded, this.#limits.maximumStateBytes)
    const call: CallOptions = options.signal === undefined ? {} : { signal: options.signal }
    const mark = this.#env.random.integer(Number.MAX_SAFE_INTEGER)
    for (;;) {
      const found = key === undefined ? undefined : await this.#byKey(type.type, key, call)
      if (found !== undefined) return { job: found, created: found.mark === mark }
      const counter = await this.#store.get(lastJobKey, call)
      const { count, revision } = await this.#store.range(allJobs, { ...call, limit: 1 })
      if (count >= this.#limits.maximumJobs) {
        throw new KeelsonError(
          'LIMIT_EXCEEDED',
          `the store holds ${count} jobs already; cancel some, or wait until the history is trimmed`,
          { retryable: true },
        )
      }
      const wallMs = this.#env.clock.wallMs()
      const job: Job = {
        jobId: numberAfter(counter === undefined ? 0 : Number(text(counter.value)), revision),
        type: type.type,
        ...(key === undefined ? {} : { key }),
        reason: options.reason,
        status: 'queued',
        wish: 'run',
        state: encoded,
        waitingFor: [],
        attempts: 0,
        failures: 0,
        createdAtMs: wallMs,
        changedAtMs: wallMs,
        epoch: 0,
        mark,
      }
      if (await this.#insert(job, counter, options.fence, call)) return { job, created: true }
    }
  }

  /** One job, or undefined when it was never created or is forgotten. */
  async get(jobId: JobId, options: CallOptions = {}): Promise<Job | undefined> {
    checkJobId(jobId)
    checkCall('Jobs.get', options)
    const entry = await this.#store.get(jobKey(jobId), options)
    return entry === undefined ? undefined : decodeJob(entry.value)
  }

  /** All jobs, or those of one type, or the unfinished ones, oldest first. */
  async list(
    filter: { readonly type?: string; readonly unfinished?: boolean } & CallOptions = {},
  ): Promise<readonly Job[]> {
    checkCall('Jobs.list', filter, ['type', 'unfinished'])
    const options: CallOptions = filter.signal === undefined ? {} : { signal: filter.signal }
    for await (const change of follow(this.#store, this.#env, allJobs, options)) {
      if (change.type !== 'snapshot') continue
      return change.entries
        .map((entry) => decodeJob(entry.value))
        .filter((job) => filter.type === undefined || job.type === filter.type)
        .filter((job) => filter.unfinished !== true || !isFinished(job))
    }
    throwIfAborted(filter.signal)
    return []
  }

  /**
   * All jobs, then every change, until the consumer leaves the loop or the signal is aborted. A further snapshot comes
   * when the watch had to start anew.
   */
  async *watch(options: CallOptions = {}): AsyncGenerator<JobChange, void, undefined> {
    checkCall('Jobs.watch', options)
    for await (const change of follow(this.#store, this.#env, allJobs, options)) {
      if (change.type === 'snapshot') {
        yield { type: 'snapshot', jobs: change.entries.map((entry) => decodeJob(entry.value)) }
        continue
      }
      for (const event of change.events) {
        yield event.type === 'put'
          ? { type: 'changed', job: decodeJob(event.entry.value) }
          : { type: 'removed', jobId: jobIdOf(event.entry) }
      }
    }
  }

  /**
   * Waits until a job has ended, however it did.
   *
   * @throws KeelsonError `NOT_FOUND` when there is no such job (any more), `ABORTED`
   */
  async ended(jobId: JobId, options: CallOptions = {}): Promise<Job> {
    checkJobId(jobId)
    checkCall('Jobs.ended', options)
    const select = { key: jobKey(jobId) }
    for await (const change of follow(this.#store, this.#env, select, options)) {
      const entry =
        change.type === 'snapshot' ? change.entries[0] : change.events[change.events.length - 1]?.entry
      const gone = change.type === 'changes' && change.events[change.events.length - 1]?.type === 'delete'
      if (entry === undefined || gone) throw noSuchJob(jobId)
      const job = decodeJob(entry.value)
      if (isFinished(job)) return job
    }
    throw new KeelsonError('ABORTED', `the wait for job ${jobId} was aborted`)
  }

  /** Stops the work after the step at hand, until it is resumed. @throws KeelsonError `NOT_FOUND`, `CONFLICT` */
  async pause(jobId: JobId, reason: string, options: CallOptions = {}): Promise<Job> {
    return this.#wish(jobId, 'pause', reason, options)
  }

  /** Goes on with a paused job from its checkpoint. @throws KeelsonError `NOT_FOUND`, `CONFLICT` */
  async resume(jobId: JobId, reason: string, options: CallOptions = {}): Promise<Job> {
    return this.#wish(jobId, 'run', reason, options)
  }

  /**
   * Ends a job and has what it did undone. Returns at once; {@link Jobs.ended} waits for it.
   *
   * @throws KeelsonError `NOT_FOUND`, `CONFLICT`
   */
  async cancel(jobId: JobId, reason: string, options: CallOptions = {}): Promise<Job> {
    return this.#wish(jobId, 'cancel', reason, options)
  }

  async #wish(jobId: JobId, wish: JobWish, reason: string, options: CallOptions): Promise<Job> {
    checkJobId(jobId)
    checkReason(reason)
    checkCall('a wish for a job', options)
    for (;;) {
      const entry = await this.#store.get(jobKey(jobId), options)
      if (entry === undefined) throw noSuchJob(jobId)
      const next = wished(decodeJob(entry.value), wish, reason, this.#env.clock.wallMs())
      const result = await this.#decided(options, () =>
        this.#store.txn(
          {
            if: [{ key: entry.key, target: 'modRevision', is: '=', operand: entry.modRevision }],
            then: [{ type: 'put', key: entry.key, value: encodeJob(next) }],
          },
          options,
        ),
      )
      // Of an unknown outcome nothing is believed: the next round reads what is there.
      if (result?.succeeded === true) return next
    }
  }

  async #byKey(type: string, key: string, options: CallOptions): Promise<Job | undefined> {
    const pointer = await this.#store.get(uniqueKey(type, key), options)
    if (pointer === undefined) return undefined
    const entry = await this.#store.get(pointer.value, options)
    const job = entry === undefined ? undefined : decodeJob(entry.value)
    // The pointer goes in the transaction that ends the job, so this only happens between the two reads.
    return job === undefined || isFinished(job) ? undefined : job
  }

  /** False when somebody else was first; then everything is read anew. */
  async #insert(
    job: Job,
    counter: KeyValue | undefined,
    fence: Fence | undefined,
    options: CallOptions,
  ): Promise<boolean> {
    const key = jobKey(job.jobId)
    const transaction: Transaction = {
      if: [
        { key: lastJobKey, target: 'modRevision', is: '=', operand: counter?.modRevision ?? 0 },
        ...(job.key === undefined
          ? []
          : ([{ key: uniqueKey(job.type, job.key), target: 'version', is: '=', operand: 0 }] as const)),
      ],
      then: [
        { type: 'put', key, value: encodeJob(job) },
        { type: 'put', key: lastJobKey, value: utf8(String(job.jobId)) },
        ...(job.key === undefined
          ? []
          : ([{ type: 'put', key: uniqueKey(job.type, job.key), value: key }] as const)),
      ],
    }
    const result = await this.#decided(options, () => (fence ?? this.#store).txn(transaction, options))
    if (result !== undefined) return result.succeeded
    // The number is ours if anything came of it, or may still become ours: the next round decides by its compare.
    const entry = await this.#store.get(key, options)
    return entry !== undefined && decodeJob(entry.value).mark === job.mark
  }

  /** The result, or undefined when the outcome is not known. */
  async #decided<T>(options: CallOptions, write: () => Promise<T>): Promise<T | undefined> {
    try {
      return await write()
    } catch (error) {
      if (!KeelsonError.is(error) || error.outcome !== 'unknown' || !error.retryable) throw error
      await sleep(this.#env.timers, retryDelayMs, options.signal)
      return undefined
    }
  }
}

/** The job of a key whose value is gone. */
export function jobIdOf(entry: KeyValue): JobId {
  const name = text(entry.key)
  return Number(name.slice(name.lastIndexOf('/') + 1))
}

/** @throws KeelsonError `INVALID_ARGUMENT`, `LIMIT_EXCEEDED` */
export function checkState(
  form: Pick<JobForm<unknown>, 'type' | 'decode'>,
  state: Plain,
  maximumBytes: number,
): void {
  const { type } = form
  const encoded = encodePlain(state)
  const { length: bytes } = encoded
  if (bytes > maximumBytes) {
    throw new KeelsonError(
      'LIMIT_EXCEEDED',
      `the state of a ${type} job takes ${bytes} bytes, more than the limit of ${maximumBytes}; keep what is large under keys of its own`,
      { details: { bytes, maximumBytes } },
    )
  }
  // What does not decode again would stand in the way of everybody who reads the jobs.
  try {
    form.decode(decodePlain(encoded, 'the state'))
  } catch (cause) {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `the state of a ${type} job does not decode as it was encoded (${(cause as Error).message}); give it plain values of the right types`,
      { cause },
    )
  }
}

/** @throws KeelsonError `INVALID_ARGUMENT` */
export function checkType(type: string): void {
  if (typeof type === 'string' && typePattern.test(type)) return
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `the type of a job is 1 to 64 characters of a-z, 0-9, '.' and '-', not ${showValue(type)}`,
  )
}

function checkJobId(jobId: JobId): void {
  checkInteger(jobId, 'the id of a job', 1)
}

function checkReason(reason: string): void {
  if (typeof reason === 'string' && reason.length > 0 && reason.length <= 1024) return
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `the reason is a string of 1 to 1024 characters for people to read, not ${showValue(reason)}`,
  )
}

function noSuchJob(jobId: JobId): KeelsonError {
  return new KeelsonError(
    'NOT_FOUND',
    `there is no job ${jobId}; finished jobs are forgotten after a while, so look at its id again`,
  )
}
