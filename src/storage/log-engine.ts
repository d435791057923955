import { type Deferred, deferred } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError, toKeelsonError } from '../core/errors.ts'
import { invariant } from '../core/invariant.ts'
import type { Counter, Histogram } from '../core/metrics.ts'
import type { GroupWrite, LogEntry, LogPosition, LogStore, RecoveredGroup } from '../interfaces/log-store.ts'
import { checkId, type GroupId, type Incarnation } from '../model/ids.ts'
import { BatchBuffer } from './batch-buffer.ts'
import { checkCompaction, checkGroupWrite, checkRead, emptyBounds, type LogBounds } from './log-checks.ts'
import { LogCleaner } from './log-cleaner.ts'
import {
  batchAlignment,
  batchHeaderBytes,
  checksumSeed,
  entriesPerRecord,
  entryOverheadBytes,
  type FoundRecord,
  readRecord,
  recordOverheadBytes,
  recordsFor,
  recordTypes,
  sealBatch,
  writeBytes,
  writeEntries,
  writeHardState,
  writePosition,
} from './log-format.ts'
import { LogIndex } from './log-index.ts'
import type { LogExtent, LogMedium } from './log-medium.ts'
import { LogReader } from './log-reader.ts'

/** What an adapter hands to the engine. */
export interface LogEngineParts {
  readonly env: Environment
  readonly incarnation: Incarnation
  readonly medium: LogMedium
  /** Names the store in messages and metrics. */
  readonly where: string
  readonly adapter: string
  /** Bytes that may wait to be written. */
  readonly maximumQueuedBytes: number
  /** Dead bytes that are not worth cleaning up. */
  readonly cleanFromBytes: number
  /** Called last, when everything is closed. */
  readonly release: () => Promise<void>
}

/** A group commit on its way. */
interface Batch {
  readonly buffer: BatchBuffer
  readonly position: number
  /** What lies before it is not needed any more once this batch is durable. */
  first: number
  readonly done: Deferred<void>
}

/** A batch takes more writes until it is so large, even while it waits. */
const batchTargetBytes = 4 * 1024 * 1024

const initialBufferBytes = 64 * 1024

/** A buffer that once had to be larger is not kept. */
const largestKeptBuffer = 8 * 1024 * 1024

/**
 * A log store on any {@link LogMedium}: group commit, index, reads, compaction, and what to do when something fails.
 *
 * Writes are encoded at once into the batch that is being put together, and the index knows them from then on. While one
 * batch is on its way to the disk the next one takes in all that comes; so one sync covers as many writes as arrived
 * during the last.
 */
export class LogEngine implements LogStore {
  readonly incarnation: Incarnation
  readonly #medium: LogMedium
  readonly #parts: LogEngineParts
  readonly #seed: number
  readonly #index: LogIndex
  readonly #recovered: ReadonlyMap<GroupId, RecoveredGroup>
  readonly #reader: LogReader
  readonly #cleaner: LogCleaner
  readonly #spares: BatchBuffer[] = []
  readonly #metrics: { readonly batches: Counter; readonly bytes: Counter; readonly duration: Histogram }
  /** Oldest first. The last one takes writes, unless it is the one under way. */
  readonly #batches: Batch[] = []
  #underWay: Batch | undefined
  #running = false
  /** Everything before it is durable. */
  #durable: number
  #first: number
  /** The last batch has no other behind it that would prove, on the next opening, that it was durable. */
  #unproven = true
  #failure: KeelsonError | undefined
  #closing: Promise<void> | undefined

  /**
   * Reads what the medium holds and starts.
   *
   * @throws KeelsonError `CORRUPTION`, `IO`
   */
  static async open(parts: LogEngineParts): Promise<LogEngine> {
    const index = new LogIndex()
    const seed = checksumSeed(parts.incarnation)
    const extent = await parts.medium.recover((payload, position) => {
      const records: FoundRecord[] = []
      // All of a batch or nothing: every record is checked before the first one counts.
      for (let at = 0; at < payload.length; at += (records.at(-1) as FoundRecord).bytes) {
        const record = readRecord(payload, at, seed)
        if (record === undefined) break
        records.push(record)
      }
      let at = position
      for (const record of records) {
        replay(index, record, at, parts.where)
        at += record.bytes
      }
    })
    const engine = new LogEngine(parts, index, index.recovered(parts.where), extent)
    // From now on an empty log is a loss.
    if (extent.end === 0) await engine.#mark()
    return engine
  }

  private constructor(
    parts: LogEngineParts,
    index: LogIndex,
    recovered: ReadonlyMap<GroupId, RecoveredGroup>,
    extent: LogExtent,
  ) {
    const { env, adapter, medium } = parts
    this.incarnation = parts.incarnation
    this.#parts = parts
    this.#medium = medium
    this.#seed = checksumSeed(parts.incarnation)
    this.#index = index
    this.#recovered = recovered
    this.#durable = extent.end
    this.#first = extent.first
    this.#reader = new LogReader(medium, this.#seed)
    this.#cleaner = new LogCleaner({
      env,
      index,
      reader: this.#reader,
      medium,
      seed: this.#seed,
      cleanFromBytes: parts.cleanFromBytes,
      open: (bytes) => {
        medium.admit(this.#queuedBytes() + bytes)
        return this.#openBatch(bytes)
      },
      flush: () => this.#flush(),
      release: (position) => this.#release(position),
    })
    const labels = { adapter }
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

  recovered(): ReadonlyMap<GroupId, RecoveredGroup> {
    return this.#recovered
  }

  async write(batch: readonly GroupWrite[]): Promise<void> {
    this.#check()
    const bytes = this.#checkBatch(batch)
    const target = this.#openBatch(bytes)
    for (const write of batch) this.#encode(target, write)
    this.#start()
    return target.done.promise
  }

  async read(groupId: GroupId, from: number, to: number, maximumBytes: number): Promise<LogEntry[]> {
    this.#check()
    const group = this.#index.get(groupId)
    checkRead(groupId, group, from, to, maximumBytes)
    invariant(group !== undefined, 'a group that is read exists')
    const { truncations } = group
    const entries: LogEntry[] = []
    let budget = maximumBytes
    for (let next = from; next <= to && budget >= 0; ) {
      // What has changed since the first part was read ends the answer with what is there.
      if (this.#index.get(groupId) !== group || group.truncations !== truncations) break
      if (next <= group.compacted.index) break
      const blocks = this.#reader.plan(group, next, to, budget)
      const end = blocks.reduce((highest, block) => Math.max(highest, block.position + block.bytes), 0)
      if (end > this.#durable) {
        await this.#flush(end)
        // By now the entries may lie elsewhere.
        continue
      }
      budget = await this.#reader.read(groupId, blocks, next, to, budget, entries)
      next = (entries.at(-1) as LogEntry).index + 1
    }
    // Nothing was read when the log was cut meanwhile: the same answer as to a later call.
    return entries.length > 0 ? entries : this.read(groupId, from, to, maximumBytes)
  }

  async compact(groupId: GroupId, through: LogPosition): Promise<void> {
    this.#check()
    if (!checkCompaction(groupId, this.#index.get(groupId) ?? emptyBounds, through)) return
    // The record waits for the next write: to lose it is harmless.
    const target = this.#openBatch(recordOverheadBytes)
    const at = target.position + target.buffer.length
    writePosition(target.buffer, recordTypes.compacted, groupId, through, this.#seed)
    this.#index.compacted(groupId, through, at)
    this.#cleaner.consider()
  }

  async destroy(groupId: GroupId, tombstone: Uint8Array): Promise<void> {
    this.#check()
    checkId(groupId, 'a group id')
    this.#checkSize(recordOverheadBytes + tombstone.length)
    const target = this.#openBatch(recordOverheadBytes + tombstone.length)
    const at = target.position + target.buffer.length
    const copy = new Uint8Array(tombstone)
    writeBytes(target.buffer, recordTypes.destroyed, groupId, copy, this.#seed)
    this.#index.destroyed(groupId, copy, at)
    this.#start()
    return target.done.promise
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    await this.#cleaner.stop()
    // Who waits for a write is told of its failure there.
    await this.#flush().catch(() => {})
    if (this.#unproven && this.#failure === undefined) await this.#mark().catch(() => {})
    try {
      await this.#medium.close()
    } finally {
      await this.#parts.release()
    }
  }

  #check(): void {
    if (this.#closing !== undefined) {
      throw new KeelsonError('CLOSED', `the log store at ${this.#parts.where} is closed; open it again`)
    }
    if (this.#failure !== undefined) throw this.#poisoned(this.#failure)
  }

  #poisoned(cause: KeelsonError): KeelsonError {
    return new KeelsonError(
      'STORE_POISONED',
      `an earlier write to ${this.#parts.where} failed (${cause.message}), so nobody knows what is on the disk; ` +
        'close the store and open it again',
      { cause },
    )
  }

  /** Checks all of a batch before anything of it is done; returns an upper bound of its size. */
  #checkBatch(batch: readonly GroupWrite[]): number {
    let bytes = 0
    const seen = batch.length > 1 ? new Map<GroupId, LogBounds>() : undefined
    for (const write of batch) {
      const before = seen?.get(write.groupId) ?? this.#index.get(write.groupId) ?? emptyBounds
      const after = checkGroupWrite(write, before)
      seen?.set(write.groupId, after)
      bytes += 4 * recordOverheadBytes + (write.metadata?.length ?? 0)
      let data = 0
      for (const entry of write.entries ?? []) data += entryOverheadBytes + entry.data.length
      bytes += data + recordsFor(data) * recordOverheadBytes
    }
    this.#checkSize(bytes)
    return bytes
  }

  #checkSize(bytes: number): void {
    const limit = this.#medium.maximumBatchBytes - batchHeaderBytes - batchAlignment
    if (bytes > limit) {
      throw new KeelsonError(
        'LIMIT_EXCEEDED',
        `a write of up to ${bytes} bytes exceeds the ${limit} that one batch holds; split it`,
        { details: { bytes, limit } },
      )
    }
    const queued = this.#queuedBytes()
    if (queued + bytes > this.#parts.maximumQueuedBytes) {
      throw new KeelsonError(
        'OVERLOADED',
        `${queued} bytes wait already to be written to ${this.#parts.where}; wait for some of them`,
      )
    }
    this.#medium.admit(queued + bytes)
  }

  /** A few batches at most wait, as each but the last is full. */
  #queuedBytes(): number {
    let bytes = 0
    for (const { buffer } of this.#batches) bytes += buffer.length
    return bytes
  }

  /** The batch that takes so many bytes more. */
  #openBatch(bytes: number): Batch {
    const last = this.#batches.at(-1)
    if (last !== undefined && last !== this.#underWay) {
      const limit = Math.min(batchTargetBytes, this.#medium.maximumBatchBytes) - batchAlignment
      if (last.buffer.length + bytes <= limit) return last
      // Its size is final now, as the position of the next one follows from it.
      this.#seal(last)
    }
    const buffer = this.#spares.pop() ?? new BatchBuffer(initialBufferBytes)
    buffer.restart(batchHeaderBytes)
    const position = last === undefined ? this.#durable : last.position + last.buffer.length
    const batch = { buffer, position, first: this.#first, done: deferred<void>() }
    // Nobody may be waiting for it.
    batch.done.promise.catch(() => {})
    this.#batches.push(batch)
    return batch
  }

  #encode({ buffer, position }: Batch, write: GroupWrite): void {
    const { groupId, entries, reset, hardState, metadata } = write
    const seed = this.#seed
    if (reset !== undefined) {
      const at = position + buffer.length
      writePosition(buffer, recordTypes.reset, groupId, reset, seed)
      this.#index.reset(groupId, reset, at)
    }
    for (let from = 0; from < (entries?.length ?? 0); ) {
      const all = entries as readonly LogEntry[]
      const count = entriesPerRecord(all, from)
      const at = position + buffer.length
      const bytes = writeEntries(buffer, recordTypes.entries, groupId, all, from, count, seed)
      const last = all[from + count - 1] as LogEntry
      this.#index.appended(groupId, (all[from] as LogEntry).index, last.index, last.term, at, bytes)
      from += count
    }
    if (hardState !== undefined) {
      const at = position + buffer.length
      writeHardState(buffer, groupId, hardState, seed)
      this.#index.hardState(groupId, hardState, at)
    }
    if (metadata !== undefined) {
      const at = position + buffer.length
      const copy = new Uint8Array(metadata)
      writeBytes(buffer, recordTypes.metadata, groupId, copy, seed)
      this.#index.metadata(groupId, copy, at)
    }
  }

  #seal({ buffer, position, first }: Batch): void {
    // One batch is under way at a time, so everything before this one is durable when it starts.
    sealBatch(buffer, { position, synced: position, first }, this.#seed)
  }

  /** Starts writing at the next microtask, so that the writes of one turn share a batch. */
  #start(): void {
    if (this.#running || this.#batches.length === 0 || this.#failure !== undefined) return
    this.#running = true
    void Promise.resolve().then(() => this.#run())
  }

  async #run(): Promise<void> {
    try {
      for (let batch = this.#batches[0]; batch !== undefined; batch = this.#batches[0]) {
        await this.#commit(batch)
        batch.done.resolve()
        this.#cleaner.consider()
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
    await this.#medium.append(bytes, batch.position, batch.first)
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
    this.#parts.env.logger.error(
      { store: this.#parts.where, error: error.toJSON() },
      'a write of the log store failed; the store stops',
    )
    const [failed, ...rest] = this.#batches.splice(0)
    failed?.done.reject(error)
    for (const batch of rest) batch.done.reject(this.#poisoned(error))
  }

  /**
   * Writes what waits, and resolves when everything before a position is durable.
   *
   * @throws KeelsonError when it failed
   */
  async #flush(position: number = Number.MAX_SAFE_INTEGER): Promise<void> {
    if (this.#failure !== undefined) throw this.#poisoned(this.#failure)
    this.#start()
    for (const batch of this.#batches.slice()) {
      if (batch.position >= position) break
      await batch.done.promise
    }
  }

  /** Writes an empty batch. */
  async #mark(): Promise<void> {
    this.#openBatch(0)
    await this.#flush()
  }

  /** Gives up what lies before a position, and resolves when that is durable. */
  async #release(position: number): Promise<void> {
    this.#first = position
    const carrier = this.#openBatch(0)
    carrier.first = position
    this.#start()
    await carrier.done.promise
  }
}

/** A record whose checksum holds and that makes no sense was not torn: somebody wrote it so. */
function replay(index: LogIndex, record: FoundRecord, at: number, where: string): void {
  try {
    index.replay(record, at)
  } catch (cause) {
    throw new KeelsonError(
      'CORRUPTION',
      `the log in ${where} holds a record at position ${at} that is whole but makes no sense; open it with the ` +
        'release that wrote it',
      { cause },
    )
  }
}
