import type { Environment } from '../core/environment.ts'
import { toKeelsonError } from '../core/errors.ts'
import type { LogEntry } from '../interfaces/log-store.ts'
import type { BatchBuffer } from './batch-buffer.ts'
import type { Block } from './block-table.ts'
import type { GroupLog } from './group-log.ts'
import {
  entriesPerRecord,
  entryOverheadBytes,
  recordOverheadBytes,
  recordTypes,
  writeBytes,
  writeEntries,
  writeHardState,
  writeLost,
  writePosition,
} from './log-format.ts'
import type { LogIndex } from './log-index.ts'
import type { LogMedium } from './log-medium.ts'
import type { LogReader } from './log-reader.ts'

/** What the cleaner works on and with. */
export interface LogCleanerParts {
  readonly env: Environment
  readonly index: LogIndex
  readonly reader: LogReader
  readonly medium: LogMedium
  readonly seed: number
  readonly cleanFromBytes: number
  /** The batch that takes so many bytes more, and where it begins. @throws KeelsonError `DISK_FULL` */
  readonly open: (bytes: number) => { readonly buffer: BatchBuffer; readonly position: number }
  /** Writes what is open and resolves when it is durable. */
  readonly flush: () => Promise<void>
  /** Gives up what lies before a position and resolves when that is durable. */
  readonly release: (position: number) => Promise<void>
}

/** Groups that are looked at in one go, so that no more than a millisecond or two pass. */
const groupsPerTurn = 2_000

/** Blocks of a group that are looked at in one go. */
const blocksPerTurn = 100_000

/** What is moved before it is waited for. */
const bytesPerFlush = 1024 * 1024

/**
 * Gives the oldest part of the log back to the disk, once more than half of all is dead: what is still alive there is
 * copied to the end first. Always the oldest part, never one in the middle: a record that truncates or destroys must not
 * go before what it ended. As at least as much dies as is copied, a byte is copied once on average.
 */
export class LogCleaner {
  readonly #parts: LogCleanerParts
  #work: Promise<void> | undefined
  #stopped = false
  #moved = 0

  constructor(parts: LogCleanerParts) {
    this.#parts = parts
  }

  /** Starts to clean when it pays. */
  consider(): void {
    if (this.#work !== undefined || this.#stopped || !this.#pays()) return
    this.#work = this.#clean()
      .catch((error: unknown) => {
        const reason = toKeelsonError(error)
        if (reason.code === 'STORE_POISONED' || this.#stopped) return
        // With the next commit it is tried again.
        if (reason.code === 'DISK_FULL') return
        // Not tried again: what cannot be read now is not read later. The log goes on, and grows.
        this.#stopped = true
        this.#parts.env.logger.error({ error: reason.toJSON() }, 'the log cannot be cleaned up and will grow')
      })
      .finally(() => {
        this.#work = undefined
      })
  }

  /** Starts nothing more and waits for what is under way. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#work
  }

  #pays(): boolean {
    const { medium, index, cleanFromBytes } = this.#parts
    if (medium.boundary() === undefined) return false
    // Where there is no room for more, every part that can be given up counts.
    if (medium.short) return medium.storedBytes > index.liveBytes + medium.maximumBatchBytes
    return medium.storedBytes > cleanFromBytes + 2 * index.liveBytes
  }

  async #clean(): Promise<void> {
    while (!this.#stopped && this.#pays()) {
      const boundary = this.#parts.medium.boundary() as number
      let seen = 0
      for (const group of this.#parts.index.groups()) {
        this.#moveState(group, boundary)
        await this.moveEntries(group, boundary)
        if (++seen % groupsPerTurn === 0) await this.#turn()
        if (this.#stopped) return
      }
      await this.#parts.release(boundary)
    }
  }

  /** Writes the small state anew where its records lie before the boundary. */
  #moveState(group: GroupLog, boundary: number): void {
    const { index, seed } = this.#parts
    const { groupId, hardState, metadata } = group
    if (hardState !== undefined && group.hardStateAt < boundary) {
      const { buffer, position } = this.#parts.open(recordOverheadBytes)
      const at = position + buffer.length
      this.#moved += writeHardState(buffer, groupId, hardState, seed)
      index.hardState(groupId, hardState, at)
    }
    if (metadata !== undefined && group.metadataAt < boundary) {
      const { buffer, position } = this.#parts.open(recordOverheadBytes + metadata.length)
      const at = position + buffer.length
      this.#moved += writeBytes(buffer, recordTypes.metadata, groupId, metadata, seed)
      index.metadata(groupId, metadata, at)
    }
    if (group.compactedAt >= 0 && group.compactedAt < boundary) {
      const { buffer, position } = this.#parts.open(recordOverheadBytes)
      const at = position + buffer.length
      this.#moved += writePosition(buffer, recordTypes.compacted, groupId, group.compacted, seed)
      index.compacted(groupId, group.compacted, at)
    }
  }

  /** @internal */
  async moveEntries(group: GroupLog, boundary: number): Promise<void> {
    const { index, reader } = this.#parts
    const { blocks } = group
    let from = 0
    for (;;) {
      const end = Math.min(blocks.count, blocks.find(from) + blocksPerTurn)
      const block = nextBefore(group, boundary, from, end)
      if (block === undefined) {
        if (end === blocks.count) return
        from = blocks.first(end)
        await this.#turn()
        if (this.#stopped || index.get(group.groupId) !== group) return
        continue
      }
      from = block.last + 1
      if (block.bytes === 0) {
        this.noteLost(group, block)
        continue
      }
      const entries: LogEntry[] = []
      await reader.read(group.groupId, [block], block.first, block.last, Number.POSITIVE_INFINITY, entries)
      if (this.#stopped || index.get(group.groupId) !== group) return
      // While it was read the log may have been cut at either end, or replaced: what is left of the block is moved.
      const left = this.whatIsLeft(group, block)
      if (left !== undefined) {
        this.#write(
          group,
          entries.filter((entry) => entry.index >= left.first && entry.index <= left.last),
        )
      }
      if (this.#moved > bytesPerFlush) {
        this.#moved = 0
        await this.#parts.flush()
      }
    }
  }

  /**
   * What is known of damaged entries must not go with the place where they were.
   *
   * @internal
   */
  noteLost(group: GroupLog, { first, last }: Block): void {
    const { index, seed } = this.#parts
    const runs = group.lost(first, last)
    const { buffer, position } = this.#parts.open(recordOverheadBytes + runs.length * 16)
    const at = position + buffer.length
    this.#moved += writeLost(buffer, group.groupId, runs, seed)
    index.lost(group.groupId, runs, at)
  }

  #write(group: GroupLog, entries: readonly LogEntry[]): void {
    const { index, seed } = this.#parts
    for (let from = 0; from < entries.length; ) {
      const count = entriesPerRecord(entries, from)
      let bytes = recordOverheadBytes
      for (const { data } of entries.slice(from, from + count)) bytes += entryOverheadBytes + data.length
      const { buffer, position } = this.#parts.open(bytes)
      const at = position + buffer.length
      const type = recordTypes.movedEntries
      const size = writeEntries(buffer, type, group.groupId, entries, from, count, seed)
      const first = (entries[from] as LogEntry).index
      const last = entries[from + count - 1] as LogEntry
      index.moved(group.groupId, first, last.index, last.term, at, size)
      this.#moved += size
      from += count
    }
  }

  /**
   * What is still alive of a block that was there before.
   *
   * @internal
   */
  whatIsLeft({ blocks }: GroupLog, before: Block): Block | undefined {
    const i = blocks.find(before.first)
    return i < blocks.count && blocks.position(i) === before.position ? blocks.at(i) : undefined
  }

  #turn(): Promise<void> {
    return new Promise((resolve) => this.#parts.env.timers.defer(resolve))
  }
}

/** The next block, from that of an entry on up to a number, whose record lies before the boundary. */
function nextBefore({ blocks }: GroupLog, boundary: number, from: number, end: number): Block | undefined {
  for (let i = blocks.find(from); i < end; i++) {
    if (blocks.position(i) < boundary) return blocks.at(i)
  }
  return undefined
}
