import type { HardState, LogPosition, LostEntries } from '../interfaces/log-store.ts'
import type { GroupId } from '../model/ids.ts'
import { type Block, BlockTable } from './block-table.ts'
import type { LogBounds } from './log-checks.ts'
import { recordOverheadBytes } from './log-format.ts'

const noneLost: readonly LostEntries[] = Object.freeze([])

/**
 * Where the entries of one group are, and its small state. All of it plain numbers, as opening a store changes them
 * millions of times.
 */
export class GroupLog implements LogBounds {
  readonly groupId: GroupId
  readonly blocks: BlockTable = new BlockTable()
  metadata: Uint8Array | undefined = undefined
  /** Positions of the records that say so; -1 for none. */
  compactedAt = -1
  hardStateAt = -1
  metadataAt = -1
  /** Grows when entries are replaced: what was read before and after does not belong together. */
  truncations = 0
  #compactedIndex = 0
  #compactedTerm = 0
  #lastIndex = 0
  #lastTerm = 0
  #term = 0
  #votedFor = 0
  #commit = 0
  /** What is known of entries that the disk damaged, ascending; may tell of some that are there again. */
  #lost: readonly LostEntries[] = noneLost

  constructor(groupId: GroupId) {
    this.groupId = groupId
  }

  get compacted(): LogPosition {
    return { index: this.#compactedIndex, term: this.#compactedTerm }
  }

  get last(): LogPosition {
    return { index: this.#lastIndex, term: this.#lastTerm }
  }

  get hardState(): HardState | undefined {
    if (this.hardStateAt < 0) return undefined
    return { term: this.#term, votedFor: this.#votedFor, commit: this.#commit }
  }

  /** Bytes of records that are still needed. */
  get liveBytes(): number {
    let bytes = this.stateBytes
    for (let i = 0; i < this.blocks.count; i++) bytes += this.blocks.bytes(i)
    return bytes
  }

  /** Bytes of the records of the small state, roughly. */
  get stateBytes(): number {
    let bytes = 0
    if (this.compactedAt >= 0) bytes += recordOverheadBytes
    if (this.hardStateAt >= 0) bytes += recordOverheadBytes
    if (this.metadata !== undefined) bytes += recordOverheadBytes + this.metadata.length
    return bytes
  }

  setHardState(term: number, votedFor: number, commit: number, at: number): void {
    this.#term = term
    this.#votedFor = votedFor
    this.#commit = commit
    this.hardStateAt = at
  }

  /**
   * Takes in a record of entries; what the log held from the first of them on is gone. Where entries before it are
   * missing, their record is still to come, or lost.
   *
   * @returns the bytes that died
   */
  append(first: number, last: number, lastTerm: number, position: number, bytes: number): number {
    let dead = 0
    if (first <= this.#lastIndex) {
      this.truncations++
      dead = this.blocks.dropFrom(first)
      if (this.#lost.length > 0) this.#lost = clipped(this.#lost, 0, first - 1)
    } else if (first > this.#lastIndex + 1) {
      this.blocks.push(this.#lastIndex + 1, first - 1, 0, 0)
    }
    this.blocks.push(first, last, position, bytes)
    this.#lastIndex = last
    this.#lastTerm = lastTerm
    return dead
  }

  /**
   * Takes in a record of entries that were copied from elsewhere: they replace only themselves.
   *
   * @returns by how much the bytes that are needed have grown
   */
  move(first: number, last: number, lastTerm: number, position: number, bytes: number): number {
    const { blocks } = this
    const start = blocks.count === 0 ? this.#lastIndex + 1 : blocks.first(0)
    if (first < start) blocks.unshift({ first, last: start - 1, position: 0, bytes: 0 })
    if (last > this.#lastIndex) {
      blocks.push(this.#lastIndex + 1, last, 0, 0)
      this.#lastIndex = last
      this.#lastTerm = lastTerm
    }
    return blocks.replace(first, last, position, bytes)
  }

  /**
   * Takes in that entries existed which the disk has damaged: what {@link GroupLog.append} does, but for what can be read.
   *
   * @returns the bytes that died
   */
  appendLost(runs: readonly LostEntries[], position: number): number {
    const { first } = runs[0] as LostEntries
    const { last, term } = runs.at(-1) as LostEntries
    const dead = this.append(first, last, term, position, 0)
    this.#lost = [...this.#lost, ...runs]
    return dead
  }

  /** Takes in that entries existed which the disk has damaged, as {@link GroupLog.move} does: what is there stays. */
  moveLost(runs: readonly LostEntries[], position: number): void {
    const { blocks } = this
    const { first } = runs[0] as LostEntries
    const { last, term } = runs.at(-1) as LostEntries
    const start = blocks.count === 0 ? this.#lastIndex + 1 : blocks.first(0)
    if (first < start) blocks.unshift({ first, last: start - 1, position, bytes: 0 })
    if (last > this.#lastIndex) {
      blocks.push(this.#lastIndex + 1, last, position, 0)
      this.#lastIndex = last
      this.#lastTerm = term
    }
    for (let i = blocks.find(first); i < blocks.count && blocks.first(i) <= last; i++) {
      if (blocks.bytes(i) > 0) continue
      const hole = blocks.at(i)
      blocks.replace(Math.max(first, hole.first), Math.min(last, hole.last), position, 0)
    }
    const others = this.#lost
    this.#lost = [...clipped(others, 0, first - 1), ...runs, ...clipped(others, last + 1, Infinity)]
  }

  /** True for an entry that exists and cannot be read. */
  isLost(index: number): boolean {
    const i = this.blocks.find(index)
    return i < this.blocks.count && this.blocks.bytes(i) === 0
  }

  /** Which of these entries the disk has damaged and are not there again, by their terms. */
  lost(from: number, to: number): LostEntries[] {
    const found: LostEntries[] = []
    if (this.#lost.length === 0) return found
    const { blocks } = this
    for (let i = blocks.find(from); i < blocks.count && blocks.first(i) <= to; i++) {
      if (blocks.bytes(i) > 0) continue
      found.push(...clipped(this.#lost, Math.max(from, blocks.first(i)), Math.min(to, blocks.last(i))))
    }
    return found
  }

  /** Forgets entries up to and including a position. Returns the bytes that died. */
  compact(index: number, term: number, at: number): number {
    const dead = this.blocks.dropThrough(index)
    if (this.#lost.length > 0) this.#lost = clipped(this.#lost, index + 1, Infinity)
    this.#compactedIndex = index
    this.#compactedTerm = term
    this.compactedAt = at
    if (this.#lastIndex <= index) {
      this.#lastIndex = index
      this.#lastTerm = term
    }
    return dead
  }

  /** Drops the whole log. */
  reset(index: number, term: number, at: number): void {
    this.blocks.clear()
    this.#lost = noneLost
    this.truncations++
    this.#compactedIndex = index
    this.#compactedTerm = term
    this.#lastIndex = index
    this.#lastTerm = term
    this.compactedAt = at
  }

  /** Entries that cannot be read: the disk has damaged them, or their record is missing. */
  missing(): Block[] {
    const { blocks } = this
    const found: Block[] = []
    for (let i = 0; i < blocks.count; i++) if (blocks.bytes(i) === 0) found.push(blocks.at(i))
    return found
  }
}

/** The parts of runs that lie from one index to another. */
function clipped(runs: readonly LostEntries[], from: number, to: number): LostEntries[] {
  const found: LostEntries[] = []
  for (const { first, last, term } of runs) {
    if (last < from || first > to) continue
    found.push({ first: Math.max(first, from), last: Math.min(last, to), term })
  }
  return found
}
