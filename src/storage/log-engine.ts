import { checkBytes } from '../core/arguments.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { invariant } from '../core/invariant.ts'
import type {
  GroupWrite,
  LogEntry,
  LogPosition,
  LogStore,
  LogStoreLimits,
  RecoveredGroup,
} from '../interfaces/log-store.ts'
import { checkId, type GroupId, type Incarnation } from '../model/ids.ts'
import { batchAlignment, batchHeaderBytes, checksumSeed } from './batch-format.ts'
import {
  checkBatch,
  checkCompaction,
  checkGroupWrite,
  checkRead,
  checkRepair,
  emptyBounds,
  type LogBounds,
} from './log-checks.ts'
import { LogCleaner } from './log-cleaner.ts'
import {
  entriesPerRecord,
  entryOverheadBytes,
  recordOverheadBytes,
  recordsFor,
  recordTypes,
  writeBytes,
  writeEntries,
  writeHardState,
  writePosition,
} from './log-format.ts'
import type { LogIndex } from './log-index.ts'
import type { LogExtent, LogMedium } from './log-medium.ts'
import { LogReader } from './log-reader.ts'
import { recoverLog } from './log-recovery.ts'
import { type Batch, LogWriter } from './log-writer.ts'

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

/**
 * A log store on any {@link LogMedium}: group commit, index, reads, compaction, and what to do when something fails.
 *
 * Writes are encoded at once into the batch that is being put together, and the index knows them from then on. While one
 * batch is on its way to the disk the next one takes in all that comes; so one sync covers as many writes as arrived
 * during the last.
 */
export class LogEngine implements LogStore {
  readonly incarnation: Incarnation
  readonly limits: LogStoreLimits
  readonly #medium: LogMedium
  readonly #parts: LogEngineParts
  readonly #seed: number
  readonly #index: LogIndex
  readonly #recovered: ReadonlyMap<GroupId, RecoveredGroup>
  readonly #reader: LogReader
  readonly #cleaner: LogCleaner
  readonly #writer: LogWriter
  readonly #stopReading: (() => void) | undefined
  #closing: Promise<void> | undefined

  /**
   * Reads what the medium holds and starts.
   *
   * @throws KeelsonError `CORRUPTION`, `IO`
   */
  static async open(parts: LogEngineParts): Promise<LogEngine> {
    const seed = checksumSeed(parts.incarnation)
    const { index, extent } = await recoverLog(parts.medium, seed, parts.where)
    const engine = new LogEngine(parts, index, index.recovered(parts.where), extent)
    // From now on an empty log is a loss.
    if (extent.end === 0) await engine.#writer.mark()
    engine.#writer.proveLater()
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
    // What a write takes is at most what the port counts: 64 bytes and its data for each of at most three small records,
    // and for each entry 24 bytes, its data, and at most a record of its own.
    this.limits = Object.freeze({
      writeBytes: medium.maximumBatchBytes - batchHeaderBytes - batchAlignment,
      queuedBytes: parts.maximumQueuedBytes,
    })
    this.#parts = parts
    this.#medium = medium
    this.#seed = checksumSeed(parts.incarnation)
    this.#index = index
    this.#recovered = recovered
    this.#reader = new LogReader(medium, this.#seed)
    this.#writer = new LogWriter({
      env,
      medium,
      seed: this.#seed,
      where: parts.where,
      adapter,
      extent,
      committed: () => this.#cleaner.consider(),
    })
    this.#cleaner = new LogCleaner({
      env,
      index,
      reader: this.#reader,
      medium,
      seed: this.#seed,
      cleanFromBytes: parts.cleanFromBytes,
      open: (bytes) => {
        medium.admit(this.#writer.queuedBytes + bytes, 'cleaning')
        return this.#writer.open(bytes)
      },
      flush: () => this.#writer.flush(),
      release: (position) => this.#writer.release(position),
    })
    const stored = env.metrics.gauge(
      'keelson_storage_log_bytes',
      'Bytes that the log takes, dead ones included.',
    )
    const labels = Object.freeze({ adapter })
    this.#stopReading = env.metrics.beforeRead?.(() => stored.set(medium.storedBytes, labels))
  }

  durablePosition(): number {
    return this.#writer.durable
  }

  recovered(): ReadonlyMap<GroupId, RecoveredGroup> {
    return this.#recovered
  }

  async write(batch: readonly GroupWrite[]): Promise<void> {
    this.#check()
    const bytes = this.#checkBatch(batch)
    const target = this.#admit(bytes)
    for (const write of batch) this.#encode(target, write)
    this.#writer.start()
    return target.done.promise
  }

  async read(groupId: GroupId, from: number, to: number, maximumBytes: number): Promise<LogEntry[]> {
    this.#check()
    checkId(groupId, 'a group id')
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
      if (entries.length > 0 && group.isLost(next)) break
      const blocks = this.#reader.plan(group, next, to, budget)
      const end = blocks.reduce((highest, block) => Math.max(highest, block.position + block.bytes), 0)
      if (end > this.#writer.durable) {
        await this.#writer.flush(end)
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
    checkId(groupId, 'a group id')
    if (!checkCompaction(groupId, this.#index.get(groupId) ?? emptyBounds, through)) return
    // The record waits for the next write: to lose it is harmless.
    const target = this.#writer.open(recordOverheadBytes)
    const at = target.position + target.buffer.length
    writePosition(target.buffer, recordTypes.compacted, groupId, through, this.#seed)
    this.#index.compacted(groupId, through, at)
    this.#cleaner.consider()
  }

  async repair(groupId: GroupId, entries: readonly LogEntry[]): Promise<void> {
    this.#check()
    checkId(groupId, 'a group id')
    const group = this.#index.get(groupId)
    checkRepair(groupId, entries, (from, to) => group?.lost(from, to) ?? [])
    let data = 0
    for (const entry of entries) data += entryOverheadBytes + entry.data.length
    const bytes = data + recordsFor(entries.length, data) * recordOverheadBytes
    this.#checkSize(bytes)
    const target = this.#admit(bytes)
    this.#encodeEntries(target, recordTypes.movedEntries, groupId, entries)
    this.#writer.start()
    return target.done.promise
  }

  async destroy(groupId: GroupId, tombstone: Uint8Array): Promise<void> {
    this.#check()
    checkId(groupId, 'a group id')
    checkBytes(tombstone, 'a tombstone')
    this.#checkSize(recordOverheadBytes + tombstone.length)
    const target = this.#admit(recordOverheadBytes + tombstone.length)
    const at = target.position + target.buffer.length
    const copy = new Uint8Array(tombstone)
    writeBytes(target.buffer, recordTypes.destroyed, groupId, copy, this.#seed)
    this.#index.destroyed(groupId, copy, at)
    this.#writer.start()
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
    this.#writer.stop()
    this.#stopReading?.()
    await this.#cleaner.stop()
    // Who waits for a write is told of its failure there.
    await this.#writer.flush().catch(() => {})
    if (this.#writer.unproven) await this.#writer.mark().catch(() => {})
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
    this.#writer.check()
  }

  /** Checks all of a batch before anything of it is done; returns an upper bound of its size. */
  #checkBatch(batch: readonly GroupWrite[]): number {
    let bytes = 0
    const seen = checkBatch(batch).length > 1 ? new Map<GroupId, LogBounds>() : undefined
    for (const write of batch) {
      const before = seen?.get(write.groupId) ?? this.#index.get(write.groupId) ?? emptyBounds
      const after = checkGroupWrite(write, before)
      seen?.set(write.groupId, after)
      bytes += 4 * recordOverheadBytes + (write.metadata?.length ?? 0)
      let data = 0
      for (const entry of write.entries ?? []) data += entryOverheadBytes + entry.data.length
      bytes += data + recordsFor(write.entries?.length ?? 0, data) * recordOverheadBytes
    }
    this.#checkSize(bytes)
    return bytes
  }

  #checkSize(bytes: number): void {
    const limit = this.limits.writeBytes
    if (bytes > limit) {
      throw new KeelsonError(
        'LIMIT_EXCEEDED',
        `a write of up to ${bytes} bytes exceeds the ${limit} that one batch holds; split it`,
        { details: { bytes, limit } },
      )
    }
    const queued = this.#writer.admittedBytes
    if (queued + bytes > this.limits.queuedBytes) {
      throw new KeelsonError(
        'OVERLOADED',
        `${queued} bytes wait already to be written to ${this.#parts.where}; wait for some of them`,
      )
    }
    try {
      this.#medium.admit(this.#writer.queuedBytes + bytes, 'write')
    } catch (error) {
      // Perhaps there is something to give up.
      this.#cleaner.consider()
      throw error
    }
  }

  /** The batch for a write that was checked. */
  #admit(bytes: number): Batch {
    const batch = this.#writer.open(bytes)
    batch.admitted += bytes
    return batch
  }

  #encodeEntries(
    { buffer, position }: Pick<Batch, 'buffer' | 'position'>,
    type: 1 | 2,
    groupId: GroupId,
    entries: readonly LogEntry[],
  ): void {
    for (let from = 0; from < entries.length; ) {
      const count = entriesPerRecord(entries, from)
      const at = position + buffer.length
      const bytes = writeEntries(buffer, type, groupId, entries, from, count, this.#seed)
      const { index: first } = entries[from] as LogEntry
      const { index: last, term } = entries[from + count - 1] as LogEntry
      if (type === recordTypes.entries) this.#index.appended(groupId, first, last, term, at, bytes)
      else this.#index.moved(groupId, first, last, term, at, bytes)
      from += count
    }
  }

  #encode({ buffer, position }: Batch, write: GroupWrite): void {
    const { groupId, entries, reset, hardState, metadata } = write
    const seed = this.#seed
    if (reset !== undefined) {
      const at = position + buffer.length
      writePosition(buffer, recordTypes.reset, groupId, reset, seed)
      this.#index.reset(groupId, reset, at)
    }
    if (entries !== undefined)
      this.#encodeEntries({ buffer, position }, recordTypes.entries, groupId, entries)
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
}
