import { invariant } from '../../core/invariant.ts'
import type { HardState, LogEntry, LogPosition } from '../../interfaces/log-store.ts'
import { added, noneOf, without } from './none.ts'

/** What an entry takes in memory beyond its data, about: many empty ones are not free. */
export const entryOverheadBytes = 64

/** What entries take in memory, about. */
export function memoryOf(entries: readonly LogEntry[], from = 0, to: number = entries.length): number {
  let bytes = (to - from) * entryOverheadBytes
  for (let i = from; i < to; i++) bytes += (entries[i] as LogEntry).data.length
  return bytes
}

/** The entries of a log that has none in memory. */
const nothing: LogEntry[] = Object.freeze([]) as never

/** Where every log begins. */
const origin: LogPosition = Object.freeze({ index: 0, term: 0 })

/** A write that the host is making durable. */
interface WriteInFlight {
  readonly writeId: number
  /**
   * Once this write is durable, the log up to here is. Only ever lowered: a truncation that comes while the write is
   * under way takes away its claim on what was cut, however often the same indexes are filled again later.
   */
  durableThrough: number
  readonly hardState: HardState | undefined
}

/**
 * The log of one replica: the end of it in memory, the rest known by its terms alone.
 *
 * From the left: what was compacted (`compacted`), what only the store has (up to `memoryFirst - 1`), what is in memory
 * (up to `lastIndex`). Across: `durableIndex`, up to which the disk is known to hold this very log, and `writeFrom`, the
 * first entry that no write has been issued for.
 *
 * It knows nothing of leaders, commits or quorums.
 */
export class RaftLog {
  /** The last position that is gone for good, or (0, 0). Its term is still known, so it can precede an append. */
  compacted: LogPosition
  /** The entries in memory, contiguous. `entries[0]` has index `memoryFirst`. */
  entries: LogEntry[]
  /** Index of the first entry in memory; `lastIndex + 1` when there is none. Above `compacted.index`. */
  memoryFirst: number
  /** What `entries` take, about. */
  memoryBytes = 0
  /** The first position of each term above `compacted`, ascending in both. Covers entries that left memory, too. */
  runs: LogPosition[]
  /** Up to here this log is on the disk, or within a snapshot that is. Goes back by truncation only. */
  durableIndex: number
  /** The first index that is in no write yet. */
  writeFrom: number
  /** The next write begins with dropping the whole log up to here. */
  pendingReset: LogPosition | undefined = undefined
  /** How often entries were cut off or the log was reset. Grows only; guards reads that are under way. */
  truncations = 0
  /** Writes that were issued and are not durable yet, by ascending id. */
  inFlight: readonly WriteInFlight[] = noneOf()
  /** Id of the last write that was issued. */
  lastWriteId = 0
  /** Everything up to this write is durable. */
  persistedWriteId = 0

  /** Entries must be contiguous up to the end of the log, `earlierTerms` as in `RestoredState`. All of it is durable. */
  constructor(
    compacted: LogPosition,
    entries: readonly LogEntry[],
    earlierTerms: readonly LogPosition[] = [],
  ) {
    this.compacted = compacted.index === 0 ? origin : { index: compacted.index, term: compacted.term }
    this.runs = earlierTerms.slice()
    this.entries = nothing
    this.memoryFirst = entries[0]?.index ?? compacted.index + 1
    this.append(entries)
    this.durableIndex = this.lastIndex
    this.writeFrom = this.lastIndex + 1
  }

  get lastIndex(): number {
    return this.memoryFirst + this.entries.length - 1
  }

  get lastTerm(): number {
    return this.runs.at(-1)?.term ?? this.compacted.term
  }

  /** The term of the entry at `index`; undefined when that was compacted away or does not exist yet. */
  termAt(index: number): number | undefined {
    if (index === this.compacted.index) return this.compacted.term
    if (index < this.compacted.index || index > this.lastIndex) return undefined
    const runs = this.runs
    // Nearly all questions are about the last term.
    for (let i = runs.length - 1; i >= 0 && i >= runs.length - 2; i--) {
      const run = runs[i] as LogPosition
      if (run.index <= index) return run.term
    }
    let low = 0
    let high = runs.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if ((runs[middle] as LogPosition).index <= index) low = middle
      else high = middle - 1
    }
    return runs[low]?.term
  }

  /** The compacted position, and where each term begins after it. */
  terms(): LogPosition[] {
    return [this.compacted, ...this.runs]
  }

  /** True when the log has an entry (or the compacted position) at `index` with `term`. */
  matches(index: number, term: number): boolean {
    return this.termAt(index) === term
  }

  /**
   * The highest index up to `index` whose term is at most `term`: where two logs can still agree, if one of them has
   * `term` at `index`. Stops at the compacted position, or at `index` when that is below.
   */
  lastIndexWithTermAtMost(index: number, term: number): number {
    let at = Math.min(index, this.lastIndex)
    if (at <= this.compacted.index) return at
    for (let i = this.runs.length - 1; i >= 0; i--) {
      const run = this.runs[i] as LogPosition
      if (run.index > at) continue
      if (run.term <= term) return at
      at = run.index - 1
    }
    return at
  }

  /** Adds entries right after the last one. */
  append(entries: readonly LogEntry[]): void {
    if (this.entries.length === 0) this.entries = []
    for (const entry of entries) {
      invariant(entry.index === this.lastIndex + 1, 'appended entries follow the last one')
      const lastTerm = this.lastTerm
      invariant(entry.term >= lastTerm, 'terms never fall within a log')
      if (entry.term > lastTerm || this.runs.length === 0) {
        this.runs.push({ index: entry.index, term: entry.term })
      }
      this.entries.push(entry)
      this.memoryBytes += entry.data.length + entryOverheadBytes
    }
  }

  /** Cuts off everything from `index` on. */
  truncateFrom(index: number): void {
    invariant(index > this.compacted.index && index >= this.memoryFirst, 'only what is in memory is cut off')
    this.memoryBytes -= memoryOf(this.entries, index - this.memoryFirst)
    this.entries = this.entries.slice(0, index - this.memoryFirst)
    while ((this.runs.at(-1)?.index ?? 0) >= index) this.runs.pop()
    this.truncations++
    this.durableIndex = Math.min(this.durableIndex, index - 1)
    this.writeFrom = Math.min(this.writeFrom, index)
    this.revokeDurability(index)
  }

  /** Writes under way no longer make anything from `index` on durable: it was cut off while they ran. */
  revokeDurability(index: number): void {
    for (const write of this.inFlight) {
      write.durableThrough = Math.min(write.durableThrough, index - 1)
    }
  }

  /** A durable snapshot has everything up to `index`, which this log has as well. */
  coverBySnapshot(index: number): void {
    this.durableIndex = Math.max(this.durableIndex, index)
  }

  /** Replaces the whole log by nothing after `position`, up to which a durable snapshot has everything. */
  reset(position: LogPosition): void {
    this.compacted = { index: position.index, term: position.term }
    this.entries = nothing
    this.memoryFirst = position.index + 1
    this.memoryBytes = 0
    this.runs = []
    this.truncations++
    for (const write of this.inFlight) write.durableThrough = 0
    this.durableIndex = position.index
    this.writeFrom = position.index + 1
    this.pendingReset = this.compacted
  }

  /**
   * Entries from `from` to `to`, both included and in memory, as many as fit into the limits, but at least one where
   * there is one.
   */
  slice(from: number, to: number, maximumBytes: number, maximumEntries: number = Infinity): LogEntry[] {
    invariant(from >= this.memoryFirst, 'a slice lies in memory')
    const first = from - this.memoryFirst
    const end = Math.min(to, this.lastIndex) - this.memoryFirst + 1
    let bytes = 0
    let at = first
    while (at < end && at - first < maximumEntries) {
      bytes += (this.entries[at] as LogEntry).data.length
      if (bytes > maximumBytes && at > first) break
      at++
    }
    return this.entries.slice(first, at)
  }

  /** Forgets everything up to `index`, of which the caller knows that it is durable and applied. */
  compactTo(index: number): void {
    if (index <= this.compacted.index) return
    const term = this.termAt(index)
    invariant(term !== undefined, 'what is compacted exists')
    this.compacted = { index, term }
    this.#dropFromMemory(index)
    while (this.runs.length > 1 && (this.runs[1] as LogPosition).index <= index + 1) this.runs.shift()
    const first = this.runs[0] as LogPosition
    if (index >= this.lastIndex) this.runs = []
    else if (first.index <= index) this.runs[0] = { index: index + 1, term: first.term }
  }

  /**
   * Lets the oldest entries up to `index` leave memory when it holds an eighth more than `maximumBytes`, until it holds
   * no more than that. Moving the rest of an array costs its length, so nothing is done for a little.
   */
  evict(index: number, maximumBytes: number): void {
    if (this.memoryBytes <= maximumBytes * 1.125) return
    const limit = Math.min(index, this.durableIndex)
    if ((limit - this.memoryFirst + 1) * 8 < this.entries.length) return
    let bytes = this.memoryBytes
    let through = this.memoryFirst - 1
    while (through < limit && bytes > maximumBytes) {
      through++
      bytes -= (this.entries[through - this.memoryFirst] as LogEntry).data.length + entryOverheadBytes
    }
    this.#dropFromMemory(through)
  }

  /** All of it is on the disk and applied, and nobody needs it: it takes no more memory than it must. */
  settle(): void {
    if (this.entries.length === 0) return
    this.#dropFromMemory(this.durableIndex)
    this.runs = this.runs.slice()
  }

  #dropFromMemory(index: number): void {
    if (index < this.memoryFirst) return
    const count = Math.min(index - this.memoryFirst + 1, this.entries.length)
    this.memoryBytes -= memoryOf(this.entries, 0, count)
    if (count < this.entries.length) this.entries.splice(0, count)
    else this.entries = nothing
    this.memoryFirst += count
  }

  /** True when there is something that no write was issued for. */
  get hasUnwritten(): boolean {
    return this.writeFrom <= this.lastIndex || this.pendingReset !== undefined
  }

  /**
   * Registers the next write: all entries not written before, and `hardState` if given. `cut` may be a slice of the log
   * made since the last change of it; if it is just what is to be written, it is used, so that one array, and one
   * encoding, serves disk and wire.
   */
  beginWrite(
    hardState: HardState | undefined,
    cut?: LogEntry[],
  ): {
    writeId: number
    entries: LogEntry[]
    reset: LogPosition | undefined
  } {
    const length = this.lastIndex + 1 - this.writeFrom
    const fits = cut !== undefined && cut.length === length && cut[0]?.index === this.writeFrom
    const entries = fits ? cut : this.slice(this.writeFrom, this.lastIndex, Infinity)
    const reset = this.pendingReset
    this.pendingReset = undefined
    this.writeFrom = this.lastIndex + 1
    const writeId = ++this.lastWriteId
    this.inFlight = added(this.inFlight, { writeId, durableThrough: this.lastIndex, hardState })
    return { writeId, entries, reset }
  }

  /** Takes in that everything up to `writeId` is durable. Returns the newest hard state among it. */
  persisted(writeId: number): HardState | undefined {
    invariant(writeId <= this.lastWriteId, 'only issued writes become durable')
    let hardState: HardState | undefined
    let done = 0
    for (const write of this.inFlight) {
      if (write.writeId > writeId) break
      this.durableIndex = Math.max(this.durableIndex, write.durableThrough)
      hardState = write.hardState ?? hardState
      done++
    }
    this.inFlight = without(this.inFlight, done)
    this.persistedWriteId = Math.max(this.persistedWriteId, writeId)
    return hardState
  }

  clone(): RaftLog {
    const copy = new RaftLog(this.compacted, [])
    copy.entries = this.entries.slice()
    copy.memoryFirst = this.memoryFirst
    copy.memoryBytes = this.memoryBytes
    copy.runs = this.runs.slice()
    copy.durableIndex = this.durableIndex
    copy.writeFrom = this.writeFrom
    copy.pendingReset = this.pendingReset
    copy.truncations = this.truncations
    copy.inFlight = this.inFlight.map((write) => ({ ...write }))
    copy.lastWriteId = this.lastWriteId
    copy.persistedWriteId = this.persistedWriteId
    return copy
  }
}
