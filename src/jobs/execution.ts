import { checkArray, checkMembers, checkText } from '../core/arguments.ts'
import { type Deferred, deferred, onAbort, SerialExecutor, sleep } from '../core/async.ts'
import type { TimerHandle } from '../core/clock.ts'
import type { Plain } from '../core/codec.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError, toKeelsonError } from '../core/errors.ts'
import { showValue } from '../core/options.ts'
import type { KeyValue, Transaction } from '../interfaces/metadata-store.ts'
import { jobKey, uniqueKey } from './core/keys.ts'
import { decodeJob, encodeJob, isFinished, type Job, type JobProgress } from './core/record.ts'
import {
  checkpointed,
  finished,
  noted,
  type OwnerStamp,
  obeyed,
  retrying,
  reverting,
  started,
} from './core/transitions.ts'
import type { Fence, JobContext, JobType } from './job-type.ts'
import { checkState } from './jobs.ts'

/** What the runner gives to each execution. */
export interface ExecutionPorts {
  readonly env: Environment
  readonly epoch: Fence
  /** Aborted when the runner stops. */
  readonly signal: AbortSignal
  readonly maximumStateBytes: number
  readonly maximumFailures: number
  readonly progressIntervalMs: number
  /** Called as soon as it is known that this owner can do nothing more. */
  readonly onFatal: (error: KeelsonError) => void
}

/** How an execution ended: the job as it was written last, whether it wants to be tried again, or that it is gone. */
export type ExecutionResult =
  | { readonly type: 'rest'; readonly job: Job; readonly modRevision: number }
  | { readonly type: 'retry'; readonly job: Job; readonly modRevision: number }
  | { readonly type: 'gone' }

/** Thrown through the job's own code when the record vanished or belongs to somebody else. */
class JobLost extends Error {}

const minimumRetryMs = 50
const maximumRetryMs = 2000
const maximumProgressLength = 4096

/**
 * One job in the hands of one owner, from taking it up to its end, its pause or a failure.
 *
 * Every write compares the owner's epoch and the record's mod revision, so of two owners that believe in the same job
 * only one changes anything. What a person wishes changes the mod revision too; such a conflict is looked at and the
 * write is made again or given up.
 */
export class Execution {
  readonly #ports: ExecutionPorts
  readonly #type: JobType<unknown>
  readonly #writes = new SerialExecutor()
  readonly #key: Uint8Array
  #job: Job
  #modRevision: number
  #interrupt: AbortController | undefined
  /** The watch has shown a wish that this execution has not read yet. */
  #wishSeen = false
  /** Set when the fence refused us, or the store is beyond hope: the runner must stop. */
  #fatal: KeelsonError | undefined

  constructor(ports: ExecutionPorts, type: JobType<unknown>, job: Job, modRevision: number) {
    this.#ports = ports
    this.#type = type
    this.#job = job
    this.#modRevision = modRevision
    this.#key = jobKey(job.jobId)
  }

  /** What the watch says about the job: a wish interrupts the work at its next await. */
  observe(job: Job, modRevision: number): void {
    if (modRevision <= this.#modRevision || job.wish === this.#job.wish) return
    this.#wishSeen = true
    this.#interruptFor(job)
  }

  /**
   * @throws KeelsonError `STALE_EPOCH` when the owner was deposed, `ABORTED` when the runner stops, or whatever makes the
   * store useless
   */
  async run(): Promise<ExecutionResult> {
    try {
      await this.#commit(started)
      return await this.#work()
    } catch (error) {
      if (error instanceof JobLost) return { type: 'gone' }
      throw this.#fatal ?? error
    }
  }

  async #work(): Promise<ExecutionResult> {
    for (;;) {
      if (this.#wishSeen || this.#job.wish !== 'run') {
        this.#wishSeen = false
        await this.#commit(obeyed)
        if (this.#job.status === 'paused') return this.#result('rest')
      }
      const attempt = await this.#attempt()
      if (attempt.type === 'done') return this.#result('rest')
      if (attempt.type === 'interrupted') continue
      const { error } = attempt
      if (error.retryable && this.#job.failures + 1 < this.#ports.maximumFailures) {
        await this.#commit((job, owner) => retrying(job, owner, error))
        return this.#result('retry')
      }
      if (this.#job.status !== 'reverting') {
        await this.#commit((job, owner) => reverting(job, owner, 'failed', error))
        continue
      }
      const outcome = `could not be undone: ${error.message}`
      await this.#finish((job, owner) => finished(retrying(job, owner, error), owner, 'failed', outcome))
      return this.#result('rest')
    }
  }

  async #attempt(): Promise<
    { type: 'done' } | { type: 'interrupted' } | { type: 'failed'; error: KeelsonError }
  > {
    const { signal } = this.#ports
    const interrupt = new AbortController()
    this.#interrupt = interrupt
    const stop = (): void => interrupt.abort(signal.reason)
    const release = onAbort(signal, stop)
    if (signal.aborted) stop()
    const undoing = this.#job.status === 'reverting'
    let context: Context | undefined
    try {
      context = new Context(this, this.#ports, this.#type, this.#job, interrupt.signal)
      if (undoing) {
        const outcome = inOneLine((await this.#type.revert?.(context)) ?? 'nothing had to be undone')
        await context.end()
        await this.#finish((job, owner) => finished(job, owner, job.ending ?? 'failed', outcome))
      } else {
        const outcome = inOneLine(await this.#type.run(context))
        await context.end()
        await this.#finish((job, owner) => finished(job, owner, 'succeeded', outcome))
      }
      return { type: 'done' }
    } catch (thrown) {
      await context?.end()
      if (thrown instanceof JobLost || this.#fatal !== undefined) throw thrown
      if (signal.aborted) throw toKeelsonError(signal.reason, 'ABORTED')
      if (interrupt.signal.aborted) return { type: 'interrupted' }
      return { type: 'failed', error: toKeelsonError(thrown) }
    } finally {
      release()
      this.#interrupt = undefined
    }
  }

  #interruptFor(seen: Job): void {
    // What is being undone is undone to the end.
    if (this.#job.status === 'reverting' || seen.wish === 'run') return
    this.#interrupt?.abort(
      new KeelsonError(
        'ABORTED',
        `job ${seen.jobId} is to ${seen.wish}: ${seen.wishReason ?? 'no reason given'}`,
      ),
    )
  }

  #result(type: 'rest' | 'retry'): ExecutionResult {
    return { type, job: this.#job, modRevision: this.#modRevision }
  }

  /** Ends the job and sets its key free in the same transaction. */
  async #finish(change: (job: Job, owner: OwnerStamp) => Job): Promise<void> {
    const { key, type } = this.#job
    const then: Transaction['then'] =
      key === undefined ? [] : [{ type: 'delete', select: { key: uniqueKey(type, key) } }]
    await this.#commit(change, { then })
  }

  /** A checkpoint from the job's code. @internal */
  async checkpoint(
    state: Plain,
    progress: JobProgress | undefined,
    waitingFor: readonly string[],
    transaction: Transaction,
    signal: AbortSignal,
  ): Promise<boolean> {
    checkState(this.#type, state, this.#ports.maximumStateBytes)
    return this.#commit(
      (job, owner) => checkpointed(job, owner, state, progress, waitingFor),
      transaction,
      signal,
    )
  }

  /** Writes what people see. @internal */
  async note(
    progress: JobProgress | undefined,
    waitingFor: readonly string[],
    signal: AbortSignal,
  ): Promise<void> {
    await this.#commit((job, owner) => noted(job, owner, progress, waitingFor), {}, signal)
  }

  /**
   * Writes the record, together with `extra`, in the order of the calls. `interrupt` is the signal of the work on whose
   * behalf it is done: once that is aborted nothing more is written for it.
   *
   * @returns false when a compare of `extra` failed
   */
  async #commit(
    change: (job: Job, owner: OwnerStamp) => Job,
    extra: Transaction = {},
    interrupt: AbortSignal = this.#ports.signal,
  ): Promise<boolean> {
    return this.#writes.run(async () => {
      const { env, epoch, signal } = this.#ports
      const mark = env.random.integer(Number.MAX_SAFE_INTEGER)
      let delayMs = minimumRetryMs
      for (;;) {
        if (this.#fatal !== undefined) throw this.#fatal
        if (interrupt.aborted) throw toKeelsonError(interrupt.reason, 'ABORTED')
        const next = change(this.#job, { epoch: epoch.number, wallMs: env.clock.wallMs(), mark })
        try {
          const written = await this.#write(next, extra)
          if (written !== 'again') return written
        } catch (thrown) {
          if (thrown instanceof JobLost) throw thrown
          const error = toKeelsonError(thrown)
          if (signal.aborted) throw toKeelsonError(signal.reason, 'ABORTED')
          if (KeelsonError.hasCode(error, 'STALE_EPOCH', 'EPOCH_ENDED', 'CLOSED')) {
            this.#fatal = error
            this.#ports.onFatal(error)
          }
          if (!error.retryable) throw error
          // The same write again: its compare keeps it from taking effect twice.
          await sleep(env.timers, delayMs, signal)
          delayMs = Math.min(delayMs * 2, maximumRetryMs)
        }
      }
    })
  }

  async #write(next: Job, extra: Transaction): Promise<boolean | 'again'> {
    const { epoch, signal } = this.#ports
    const result = await epoch.txn(
      {
        if: [
          { key: this.#key, target: 'modRevision', is: '=', operand: this.#modRevision },
          ...(extra.if ?? []),
        ],
        then: [{ type: 'put', key: this.#key, value: encodeJob(next) }, ...(extra.then ?? [])],
        else: [{ type: 'range', select: { key: this.#key } }],
      },
      { signal },
    )
    if (result.succeeded) {
      this.#job = next
      this.#modRevision = result.revision
      return true
    }
    const answer = result.results[0]
    const entry: KeyValue | undefined = answer?.type === 'range' ? answer.entries[0] : undefined
    if (entry === undefined) throw new JobLost()
    if (entry.modRevision === this.#modRevision) return false
    return this.#reconcile(decodeJob(entry.value), entry.modRevision, next)
  }

  /**
   * The record is not what we knew: our own write of unknown outcome, a wish, or what the owner before us wrote last. The
   * fence held in the same transaction, so no other owner writes it any more.
   */
  #reconcile(found: Job, modRevision: number, intended: Job): boolean | 'again' {
    const arrived = found.mark === intended.mark
    if (isFinished(found) && !arrived) throw new JobLost()
    this.#job = found
    this.#modRevision = modRevision
    if (found.wish !== 'run') this.#interruptFor(found)
    return arrived ? true : 'again'
  }
}

/** What a job says at its end: of any length, and of any type where no compiler looked. */
function inOneLine(outcome: unknown): string {
  return (typeof outcome === 'string' ? outcome : showValue(outcome)).slice(0, maximumProgressLength)
}

function checkProgress(progress: JobProgress): JobProgress {
  checkMembers(progress, 'the progress of a job', ['message', 'fraction'])
  const { message, fraction } = progress
  if (typeof message !== 'string' || message.length > maximumProgressLength) {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `the progress of a job is a message of at most ${maximumProgressLength} characters, not ${showValue(message)}`,
    )
  }
  if (fraction !== undefined && !Number.isFinite(fraction)) {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `the fraction of a job is from 0 to 1, not ${showValue(fraction)}`,
    )
  }
  return progress
}

/** The one context of one attempt. */
class Context implements JobContext<unknown> {
  readonly jobId: number
  readonly reason: string
  readonly epoch: number
  readonly ending: 'failed' | 'cancelled' | undefined
  readonly signal: AbortSignal
  readonly #execution: Execution
  readonly #ports: ExecutionPorts
  readonly #type: JobType<unknown>
  #state: unknown
  #progress: JobProgress | undefined
  #waitingFor: readonly string[]
  #noteTimer: TimerHandle | undefined
  #writing: Deferred<void> | undefined
  #ended = false

  constructor(
    execution: Execution,
    ports: ExecutionPorts,
    type: JobType<unknown>,
    job: Job,
    signal: AbortSignal,
  ) {
    this.#execution = execution
    this.#ports = ports
    this.#type = type
    this.jobId = job.jobId
    this.reason = job.reason
    this.epoch = ports.epoch.number
    this.ending = job.ending
    this.signal = signal
    this.#state = type.decode(job.state)
    this.#progress = job.progress
    this.#waitingFor = job.status === 'reverting' ? [] : job.waitingFor
  }

  get state(): unknown {
    return this.#state
  }

  async checkpoint(state: unknown, progress?: JobProgress): Promise<void> {
    await this.txn({}, state, progress)
  }

  async txn(transaction: Transaction, state: unknown, progress?: JobProgress): Promise<boolean> {
    this.#checkAlive()
    if (progress !== undefined) this.#progress = checkProgress(progress)
    const encoded = this.#type.encode(state)
    const done = await this.#execution.checkpoint(
      encoded,
      this.#progress,
      this.#waitingFor,
      transaction,
      this.signal,
    )
    if (done) {
      this.#state = state
      this.#noteTimer?.cancel()
      this.#noteTimer = undefined
    }
    return done
  }

  progress(message: string, fraction?: number): void {
    this.#checkAlive()
    const next = checkProgress(fraction === undefined ? { message } : { message, fraction })
    if (this.#progress?.message === next.message && this.#progress.fraction === next.fraction) return
    this.#progress = next
    this.#noteSoon()
  }

  waitFor(names: readonly string[]): void {
    this.#checkAlive()
    for (const name of checkArray(names, 'whom a job waits for', 10_000))
      checkText(name, 'whom a job waits for')
    if (names.length === this.#waitingFor.length && names.every((name, i) => name === this.#waitingFor[i])) {
      return
    }
    this.#waitingFor = [...names]
    this.#noteSoon()
  }

  async sleep(delayMs: number): Promise<void> {
    this.#checkAlive()
    await sleep(this.#ports.env.timers, delayMs, this.signal)
  }

  /** After it nothing is written for this attempt any more. */
  async end(): Promise<void> {
    this.#ended = true
    this.#noteTimer?.cancel()
    this.#noteTimer = undefined
    await this.#writing?.promise
  }

  #noteSoon(): void {
    if (this.#noteTimer !== undefined || this.#writing !== undefined) return
    this.#noteTimer = this.#ports.env.timers.schedule(this.#ports.progressIntervalMs, () => {
      this.#noteTimer = undefined
      void this.#note()
    })
  }

  async #note(): Promise<void> {
    const writing = deferred<void>()
    this.#writing = writing
    const [progress, waitingFor] = [this.#progress, this.#waitingFor]
    try {
      await this.#execution.note(progress, waitingFor, this.signal)
    } catch (error) {
      // What ends the execution is found again by its next write; progress alone is no reason to fail.
      this.#ports.env.logger.debug({ jobId: this.jobId, error }, 'the progress of a job was not written')
    } finally {
      this.#writing = undefined
      writing.resolve()
    }
    if (!this.#ended && (progress !== this.#progress || waitingFor !== this.#waitingFor)) this.#noteSoon()
  }

  #checkAlive(): void {
    if (this.signal.aborted) throw toKeelsonError(this.signal.reason, 'ABORTED')
    if (this.#ended) {
      throw new KeelsonError('CLOSED', `this attempt of job ${this.jobId} has ended; nothing may act for it`)
    }
  }
}
