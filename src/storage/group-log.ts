import type { HardState, LogPosition } from '../interfaces/log-store.ts'
import type { GroupId } from '../model/ids.ts'
import { type Block, BlockTable } from './block-table.ts'
import type { LogBounds } from './log-checks.ts'
import { recordOverheadBytes } from './log-format.ts'

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

  /** Forgets entries up to and including a position. Returns the bytes that died. */
  compact(index: number, term: number, at: number): number {
    const dead = this.blocks.dropThrough(index)
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
    this.truncations++
    this.#compactedIndex = index
    this.#compactedTerm = term
    this.#lastIndex = index
    this.#lastTerm = term
    this.compactedAt = at
  }

  /** Entries of which no record was found. */
  missing(): Block[] {
    const { blocks } = this
    const found: Block[] = []
    for (let i = 0; i < blocks.count; i++) if (blocks.bytes(i) === 0) found.push(blocks.at(i))
    return found
  }
}
