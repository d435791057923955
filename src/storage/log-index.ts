import { KeelsonError } from '../core/errors.ts'
import type { HardState, LogPosition, RecoveredGroup } from '../interfaces/log-store.ts'
import type { GroupId } from '../model/ids.ts'
import type { LogBounds } from './log-checks.ts'
import { type FoundRecord, readEntriesHeader, recordOverheadBytes, recordTypes } from './log-format.ts'

/** A part of a group's log: live entries of one record. */
export interface Block {
  /** First and last live entry. The record may hold more on both sides, which are dead. */
  readonly first: number
  readonly last: number
  /** Where the record starts, and its size. */
  readonly position: number
  readonly bytes: number
}

/** Numbers that make up a block in {@link GroupLog}. */
const stride = 4

/**
 * Where the entries of one group are, and its small state. Blocks lie in one array of numbers, four a block, sorted and
 * disjoint; after recovery they leave no gap between `compacted` and `last`.
 */
export class GroupLog implements LogBounds {
  readonly groupId: GroupId
  compacted: LogPosition = { index: 0, term: 0 }
  last: LogPosition = { index: 0, term: 0 }
  hardState: HardState | undefined = undefined
  metadata: Uint8Array | undefined = undefined
  /** Positions of the records that say so; -1 for none. */
  compactedAt = -1
  hardStateAt = -1
  metadataAt = -1
  /** Grows when entries are replaced: what was read before and after does not belong together. */
  truncations = 0
  readonly #blocks: number[] = []

  constructor(groupId: GroupId) {
    this.groupId = groupId
  }

  /** Bytes of records that are still needed. */
  get liveBytes(): number {
    let bytes = this.stateBytes
    for (let i = 3; i < this.#blocks.length; i += stride) bytes += this.#blocks[i] as number
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

  get blockCount(): number {
    return this.#blocks.length / stride
  }

  block(i: number): Block {
    const at = i * stride
    return {
      first: this.#blocks[at] as number,
      last: this.#blocks[at + 1] as number,
      position: this.#blocks[at + 2] as number,
      bytes: this.#blocks[at + 3] as number,
    }
  }

  /** Number of the block that holds an entry; the number of blocks when all are before it. */
  find(index: number): number {
    let low = 0
    let high = this.#blocks.length / stride
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#blocks[middle * stride + 1] as number) < index) low = middle + 1
      else high = middle
    }
    return low
  }

  /** Number of the next block, from `i` on, whose record lies before `position`, or -1. */
  nextBefore(position: number, i: number): number {
    for (let at = i * stride; at < this.#blocks.length; at += stride) {
      if ((this.#blocks[at + 2] as number) < position) return at / stride
    }
    return -1
  }

  /** The block whose record lies at `position`, if it still has live entries. */
  blockAt(position: number): Block | undefined {
    for (let at = 0; at < this.#blocks.length; at += stride) {
      if (this.#blocks[at + 2] === position) return this.block(at / stride)
    }
    return undefined
  }

  /** Takes in a record of entries; what the log held from the first of them on is gone. Returns the bytes that died. */
  append(first: number, last: number, lastTerm: number, position: number, bytes: number): number {
    const blocks = this.#blocks
    let dead = 0
    if (first <= this.last.index) this.truncations++
    while (blocks.length > 0 && (blocks.at(-stride) as number) >= first) {
      dead += blocks.at(-1) as number
      blocks.length -= stride
    }
    if (blocks.length > 0 && (blocks.at(1 - stride) as number) >= first) blocks[blocks.length - 3] = first - 1
    blocks.push(first, last, position, bytes)
    this.last = { index: last, term: lastTerm }
    return dead
  }

  /** Takes in a record of entries that were copied from elsewhere. Returns the bytes that died. */
  move(first: number, last: number, lastTerm: number, position: number, bytes: number): number {
    const blocks = this.#blocks
    let dead = 0
    const at = this.find(first) * stride
    let end = at
    const kept: number[] = []
    for (; end < blocks.length && (blocks[end] as number) <= last; end += stride) {
      const [otherFirst, otherLast, otherPosition, otherBytes] = blocks.slice(end, end + stride) as [
        number,
        number,
        number,
        number,
      ]
      // What is left of a block on either side still needs its record.
      if (otherFirst < first) kept.push(otherFirst, first - 1, otherPosition, otherBytes)
      if (otherLast > last) kept.push(last + 1, otherLast, otherPosition, otherBytes)
      if (otherFirst >= first && otherLast <= last) dead += otherBytes
      else if (otherFirst < first && otherLast > last) dead -= otherBytes // counts twice from now on
    }
    const before = kept.length > 0 && (kept[0] as number) < first ? stride : 0
    kept.splice(before, 0, first, last, position, bytes)
    blocks.splice(at, end - at, ...kept)
    if (last > this.last.index) this.last = { index: last, term: lastTerm }
    return dead
  }

  /** Forgets entries up to and including a position. Returns the bytes that died. */
  compact(through: LogPosition, at: number): number {
    const blocks = this.#blocks
    let end = 0
    let dead = 0
    while (end < blocks.length && (blocks[end + 1] as number) <= through.index) {
      dead += blocks[end + 3] as number
      end += stride
    }
    if (end > 0) blocks.splice(0, end)
    if (blocks.length > 0 && (blocks[0] as number) <= through.index) blocks[0] = through.index + 1
    this.compacted = through
    this.compactedAt = at
    if (this.last.index <= through.index) this.last = through
    return dead
  }

  /** Drops the whole log. */
  reset(to: LogPosition, at: number): void {
    this.#blocks.length = 0
    this.truncations++
    this.compacted = to
    this.last = to
    this.compactedAt = at
  }

  /** The first gap in the log as text, or undefined when there is none. */
  gap(): string | undefined {
    let expected = this.compacted.index + 1
    for (let at = 0; at < this.#blocks.length; at += stride) {
      if (this.#blocks[at] !== expected) return `entries ${expected} to ${(this.#blocks[at] as number) - 1}`
      expected = (this.#blocks[at + 1] as number) + 1
    }
    return expected > this.last.index ? undefined : `entries ${expected} to ${this.last.index}`
  }
}

/** What the store knows of all groups: built by replaying records, kept up to date by writes. */
export class LogIndex {
  readonly #groups = new Map<GroupId, GroupLog>()
  #liveBytes = 0

  /** Bytes of records that are still needed, roughly. */
  get liveBytes(): number {
    return this.#liveBytes
  }

  get(groupId: GroupId): GroupLog | undefined {
    return this.#groups.get(groupId)
  }

  groups(): IterableIterator<GroupLog> {
    return this.#groups.values()
  }

  appended(groupId: GroupId, first: number, last: number, lastTerm: number, at: number, bytes: number): void {
    const group = this.#make(groupId)
    this.#liveBytes += bytes - group.append(first, last, lastTerm, at, bytes)
  }

  moved(groupId: GroupId, first: number, last: number, lastTerm: number, at: number, bytes: number): void {
    const group = this.#make(groupId)
    this.#liveBytes += bytes - group.move(first, last, lastTerm, at, bytes)
  }

  hardState(groupId: GroupId, hardState: HardState, at: number): void {
    const group = this.#make(groupId)
    this.#changeState(group, () => {
      group.hardState = Object.freeze({ ...hardState })
      group.hardStateAt = at
    })
  }

  /** `metadata` is kept as it is. */
  metadata(groupId: GroupId, metadata: Uint8Array, at: number): void {
    const group = this.#make(groupId)
    this.#changeState(group, () => {
      group.metadata = metadata
      group.metadataAt = at
    })
  }

  compacted(groupId: GroupId, through: LogPosition, at: number): void {
    const group = this.#make(groupId)
    this.#changeState(group, () => {
      this.#liveBytes -= group.compact(Object.freeze({ index: through.index, term: through.term }), at)
    })
  }

  reset(groupId: GroupId, to: LogPosition, at: number): void {
    const group = this.#make(groupId)
    this.#liveBytes -= group.liveBytes
    group.reset(Object.freeze({ index: to.index, term: to.term }), at)
    this.#liveBytes += group.liveBytes
  }

  destroyed(groupId: GroupId, tombstone: Uint8Array, at: number): void {
    const group = this.#groups.get(groupId)
    if (group !== undefined) this.#liveBytes -= group.liveBytes
    this.#groups.delete(groupId)
    if (tombstone.length > 0) this.metadata(groupId, tombstone, at)
  }

  /**
   * Takes in a record that was found at a position.
   *
   * @throws KeelsonError `MALFORMED`
   */
  replay(record: FoundRecord, at: number): void {
    const { groupId, fields } = record
    if (record.type === recordTypes.entries || record.type === recordTypes.movedEntries) {
      const { first, last, lastTerm } = readEntriesHeader(record)
      if (record.type === recordTypes.entries) this.appended(groupId, first, last, lastTerm, at, record.bytes)
      else this.moved(groupId, first, last, lastTerm, at, record.bytes)
      return
    }
    if (record.type === recordTypes.metadata || record.type === recordTypes.destroyed) {
      const bytes = new Uint8Array(fields.raw(fields.remaining))
      if (record.type === recordTypes.metadata) this.metadata(groupId, bytes, at)
      else this.destroyed(groupId, bytes, at)
      return
    }
    if (record.type === recordTypes.hardState) {
      this.hardState(
        groupId,
        { term: fields.varint(), votedFor: fields.varint(), commit: fields.varint() },
        at,
      )
    } else if (record.type === recordTypes.compacted) {
      this.compacted(groupId, { index: fields.varint(), term: fields.varint() }, at)
    } else if (record.type === recordTypes.reset) {
      this.reset(groupId, { index: fields.varint(), term: fields.varint() }, at)
    } else {
      throw new KeelsonError('MALFORMED', `a record of the log is of an unknown type (${record.type})`)
    }
    fields.end()
  }

  /** The groups as they are now. @throws KeelsonError `CORRUPTION` when entries are missing */
  recovered(where: string): ReadonlyMap<GroupId, RecoveredGroup> {
    const found = new Map<GroupId, RecoveredGroup>()
    for (const group of this.#groups.values()) {
      const gap = group.gap()
      if (gap !== undefined) {
        throw new KeelsonError(
          'CORRUPTION',
          `${where} lacks ${gap} of group ${group.groupId}. Nothing was changed: restore the directory or replace this node`,
          { details: { groupId: group.groupId } },
        )
      }
      const { groupId, hardState, compacted, last } = group
      const metadata = group.metadata === undefined ? undefined : new Uint8Array(group.metadata)
      found.set(groupId, Object.freeze({ groupId, hardState, metadata, compacted, last }))
    }
    return found
  }

  #make(groupId: GroupId): GroupLog {
    let group = this.#groups.get(groupId)
    if (group === undefined) {
      group = new GroupLog(groupId)
      this.#groups.set(groupId, group)
    }
    return group
  }

  #changeState(group: GroupLog, change: () => void): void {
    const before = group.stateBytes
    change()
    this.#liveBytes += group.stateBytes - before
  }
}
