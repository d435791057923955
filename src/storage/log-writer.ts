import { type Deferred, deferred } from '../core/async.ts'
import type { TimerHandle } from '../core/clock.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError, toKeelsonError } from '../core/errors.ts'
import type { Counter, Histogram } from '../core/metrics.ts'
import { BatchBuffer } from './batch-buffer.ts'
import { batchAlignment, batchHeaderBytes, sealBatch } from './batch-format.ts'
import type { LogExtent, LogMedium } from './log-medium.ts'

/** What a {@link LogWriter} writes to and reports to. */
export interface LogWriterParts {
  readonly env: Environment
  readonly medium: LogMedium
  readonly seed: number
  /** Names the store in messages and metrics. */
  readonly where: string
  readonly adapter: string
  readonly extent: LogExtent
  /** Called after each batch that has become durable. */
  readonly committed: () => void
}

/** A group commit on its way. */
export interface Batch {
  readonly buffer: BatchBuffer
  readonly position: number
  /** What lies before it is not needed any more once this batch is durable. */
  first: number
  /** Upper bound of what callers wrote into it, without what the store wrote by itself. */
  admitted: number
  readonly done: Deferred<void>
}

/** A batch takes more writes until it is so large, even while it waits. */
const batchTargetBytes = 4 * 1024 * 1024

const initialBufferBytes = 64 * 1024

/** How long a last batch stays without one behind it that says that it was durable. */
const provenAfterMs = 1_000

/** A buffer that once had to be larger is not kept. */
const largestKeptBuffer = 8 * 1024 * 1024

/**
 * Group commit: batches that are put together while the one before is on its way to the disk. The first failure ends it
 * for good.
 */
export class LogWriter {
  readonly #parts: LogWriterParts
  readonly #spares: BatchBuffer[] = []
  readonly #metrics: { readonly batches: Counter; readonly bytes: Counter; readonly duration: Histogram }
  /** Oldest first. The last one takes writes, unless it is the one under way. */
  readonly #batches: Batch[] = []
  #underWay: Batch | undefined
  #running = false
  #stopped = false
  #durable: number
  /** What lies before it is not needed any more. */
  #first: number
  #unproven = true
  #provingTimer: TimerHandle | undefined
  /** Where the log ended when the timer was started. */
  #provingFrom = 0
  #failure: KeelsonError | undefined

  constructor(parts: LogWriterParts) {
    this.#parts = parts
    this.#durable = parts.extent.end
    this.#first = parts.extent.first
    const { env, adapter } = parts
    const labels = Object.freeze({ adapter })
    const batches = env.metrics.counter('keelson_storage_batches_total', 'Group commits of the log store.')
    const bytes = env.metrics.counter('keelson_storage_bytes_total', 'Bytes written by the log store.')
    const duration = env.metrics.histogram(
      'keelson_storage_commit_seconds',
      'Time that a group commit of the log store took.',
      [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5],
    )
    this.#metrics = {
      batches: { add: (amount) => batches.add(amount, labels) },
      bytes: { add: (amount) => bytes.add(amount, labels) },
      duration: { observe: (value) => duration.observe(value, labels) },
    }
  }

  /** Everything before this position is durable. */
  get durable(): number {
    return this.#durable
  }

  /** The last batch has no other behind it that would prove, on the next opening, that it was durable. */
  get unproven(): boolean {
    return this.#unproven && this.#failure === undefined
  }

  /**
   * When nothing more comes, writes an empty batch behind the last one, which says that it was durable: what is damaged of it
   * later cannot pass for a write that a crash cut short. It is there within two seconds, and only where nothing else came.
   */
  proveLater(): void {
    if (!this.unproven || this.#provingTimer !== undefined || this.#stopped) return
    this.#provingFrom = this.#durable
    this.#provingTimer = this.#parts.env.timers.schedule(provenAfterMs, () => {
      this.#provingTimer = undefined
      // What is under way starts it anew.
      if (this.#batches.length > 0) return
      if (this.#durable !== this.#provingFrom) this.proveLater()
      // A failure is found out by whoever writes next.
      else if (this.unproven) this.mark().catch(() => {})
    })
  }

  /** Nothing is written any more by itself. */
  stop(): void {
    this.#stopped = true
    this.#provingTimer?.cancel()
    this.#provingTimer = undefined
  }

  /** A few batches at most wait, as each but the last is full. */
  get queuedBytes(): number {
    let bytes = 0
    for (const { buffer } of this.#batches) bytes += buffer.length
    return bytes
  }

  /** What callers wait for: what the store copies by itself takes nothing from what it promised them. */
  get admittedBytes(): number {
    let bytes = 0
    for (const { admitted } of this.#batches) bytes += admitted
    return bytes
  }

  /** The batch that takes so many bytes more. @throws KeelsonError `STORE_POISONED`: it would never be written */
  open(bytes: number): Batch {
    this.check()
    const last = this.#batches.at(-1)
    if (last !== undefined && last !== this.#underWay) {
      const limit = Math.min(batchTargetBytes, this.#parts.medium.maximumBatchBytes) - batchAlignment
      if (last.buffer.length + bytes <= limit) return last
      // Its size is final now, as the position of the next one follows from it.
      this.#seal(last)
    }
    const buffer = this.#spares.pop() ?? new BatchBuffer(initialBufferBytes)
    buffer.restart(batchHeaderBytes)
    const position = last === undefined ? this.#durable : last.position + last.buffer.length
    const batch = { buffer, position, first: this.#first, admitted: 0, done: deferred<void>() }
    // Nobody may be waiting for it.
    batch.done.promise.catch(() => {})
    this.#batches.push(batch)
    return batch
  }

  /** @throws KeelsonError `STORE_POISONED` after a failure */
  check(): void {
    if (this.#failure !== undefined) throw this.#poisoned(this.#failure)
  }

  #seal({ buffer, position, first }: Batch): void {
    // One batch is under way at a time, so everything before this one is durable when it starts.
    sealBatch(buffer, { position, synced: position, first }, this.#parts.seed)
  }

  /** Starts writing at the next microtask, so that the writes of one turn share a batch. */
  start(): void {
    if (this.#running || this.#batches.length === 0 || this.#failure !== undefined) return
    this.#running = true
    void Promise.resolve().then(() => this.#run())
  }

  async #run(): Promise<void> {
    try {
      for (let batch = this.#batches[0]; batch !== undefined; batch = this.#batches[0]) {
        await this.#commit(batch)
        batch.done.resolve()
        this.#parts.committed()
        this.proveLater()
      }
    } catch (error) {
      this.#fail(toKeelsonError(error))
    } finally {
      this.#underWay = undefined
      this.#running = false
    }
  }

  async #commit(batch: Batch): Promise<void> {
    const { clock } = this.#parts.env
    const startedMs = clock.monotonicMs()
    this.#underWay = batch
    this.#seal(batch)
    const bytes = batch.buffer.content()
    await this.#parts.medium.append(bytes, batch.position, batch.first)
    this.#durable = batch.position + bytes.length
    this.#unproven = bytes.length > batchHeaderBytes
    this.#batches.shift()
    if (batch.buffer.capacity <= largestKeptBuffer && this.#spares.length < 2) {
      this.#spares.push(batch.buffer)
    }
    this.#metrics.duration.observe((clock.monotonicMs() - startedMs) / 1000)
    this.#metrics.batches.add()
    this.#metrics.bytes.add(bytes.length)
  }

  #fail(error: KeelsonError): void {
    this.#failure = error
    this.stop()
    this.#parts.env.logger.error(
      { store: this.#parts.where, error: error.toJSON() },
      'a write of the log store failed; the store stops',
    )
    const [failed, ...rest] = this.#batches.splice(0)
    // Whatever it was, a part of the batch may be on the disk, and all of it may survive.
    failed?.done.reject(
      new KeelsonError(error.code, error.message, {
        details: error.details,
        retryable: false,
        outcome: 'unknown',
        cause: error,
      }),
    )
    for (const batch of rest) batch.done.reject(this.#poisoned(error))
  }

  /**
   * Writes what waits, and resolves when everything before a position is durable.
   *
   * @throws KeelsonError when it failed
   */
  async flush(position: number = Number.MAX_SAFE_INTEGER): Promise<void> {
    this.check()
    this.start()
    for (const batch of this.#batches.slice()) {
      if (batch.position >= position) break
      await batch.done.promise
    }
  }

  /** Writes an empty batch. */
  async mark(): Promise<void> {
    this.open(0)
    await this.flush()
  }

  /** Gives up what lies before a position, and resolves when that is durable. */
  async release(position: number): Promise<void> {
    this.#first = position
    const carrier = this.open(0)
    carrier.first = position
    this.start()
    await carrier.done.promise
  }

  #poisoned(cause: KeelsonError): KeelsonError {
    return new KeelsonError(
      'STORE_POISONED',
      `an earlier write to ${this.#parts.where} failed (${cause.message}), so nobody knows what is on the disk; ` +
        'close the store and open it again',
      { cause },
    )
  }
}
