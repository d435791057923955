import { KeelsonError } from '../core/errors.ts'
import type { HardState, LogPosition, LostEntries, RecoveredGroup } from '../interfaces/log-store.ts'
import type { GroupId } from '../model/ids.ts'
import { GroupLog } from './group-log.ts'
import { type LogRecord, recordOverheadBytes, recordTypes } from './log-format.ts'

const maximumShared = 256
/** Ids that may be missing between two of those that are found by their places. */
const farApart = 1_024
const maximumSharedBytes = 64

/** What the store knows of all groups: built by replaying records, kept up to date by writes. */
export class LogIndex {
  readonly #groups = new Map<GroupId, GroupLog>()
  /** Those of them whose ids are not far apart, by their ids: opening a log looks for millions. */
  readonly #near: (GroupLog | undefined)[] = []
  readonly #metadata = new Map<string, Uint8Array>()
  #liveBytes = 0
  /** The group that was changed last: the next record is often its own, too. */
  #latest: GroupLog | undefined

  /** Bytes of records that are still needed, roughly. */
  get liveBytes(): number {
    return this.#liveBytes
  }

  get(groupId: GroupId): GroupLog | undefined {
    return groupId < this.#near.length ? this.#near[groupId] : this.#groups.get(groupId)
  }

  groups(): IterableIterator<GroupLog> {
    return this.#groups.values()
  }

  appended(groupId: GroupId, first: number, last: number, lastTerm: number, at: number, bytes: number): void {
    this.#liveBytes += bytes - this.#make(groupId).append(first, last, lastTerm, at, bytes)
  }

  moved(groupId: GroupId, first: number, last: number, lastTerm: number, at: number, bytes: number): void {
    this.#liveBytes += this.#make(groupId).move(first, last, lastTerm, at, bytes)
  }

  hardState(groupId: GroupId, { term, votedFor, commit }: HardState, at: number): void {
    const group = this.#make(groupId)
    if (group.hardStateAt < 0) this.#liveBytes += recordOverheadBytes
    group.setHardState(term, votedFor, commit, at)
  }

  /** `metadata` is kept as it is, or what is equal to it. */
  metadata(groupId: GroupId, metadata: Uint8Array, at: number): void {
    const group = this.#make(groupId)
    this.#liveBytes -= group.stateBytes
    group.metadata = this.#shared(metadata)
    group.metadataAt = at
    this.#liveBytes += group.stateBytes
  }

  compacted(groupId: GroupId, { index, term }: LogPosition, at: number): void {
    const group = this.#make(groupId)
    this.#liveBytes -= group.stateBytes
    this.#liveBytes -= group.compact(index, term, at)
    this.#liveBytes += group.stateBytes
  }

  reset(groupId: GroupId, { index, term }: LogPosition, at: number): void {
    const group = this.#make(groupId)
    this.#liveBytes -= group.liveBytes
    group.reset(index, term, at)
    this.#liveBytes += group.stateBytes
  }

  destroyed(groupId: GroupId, tombstone: Uint8Array, at: number): void {
    const group = this.#groups.get(groupId)
    if (group !== undefined) this.#liveBytes -= group.liveBytes
    this.#groups.delete(groupId)
    if (groupId < this.#near.length) this.#near[groupId] = undefined
    this.#latest = undefined
    if (tombstone.length > 0) this.metadata(groupId, tombstone, at)
  }

  /** Takes in that entries are gone, and that a record at a position says so. */
  lost(groupId: GroupId, runs: readonly LostEntries[], at: number): void {
    this.#make(groupId).moveLost(runs, at)
  }

  /** Takes in a record that was found at a position. */
  replay(record: LogRecord, at: number): void {
    const { groupId } = record
    switch (record.type) {
      case recordTypes.entries:
        this.appended(groupId, record.first, record.last, record.lastTerm, at, record.bytes)
        return
      case recordTypes.movedEntries:
        this.moved(groupId, record.first, record.last, record.lastTerm, at, record.bytes)
        return
      case recordTypes.hardState:
        this.hardState(groupId, record, at)
        return
      case recordTypes.metadata:
        this.metadata(groupId, record.content(), at)
        return
      case recordTypes.compacted:
        this.compacted(groupId, record, at)
        return
      case recordTypes.reset:
        this.reset(groupId, record, at)
        return
      case recordTypes.destroyed:
        this.destroyed(groupId, record.content(), at)
        return
      case recordTypes.lost:
        this.lost(groupId, record.runs(), at)
    }
  }

  /** Takes in a record that the disk has damaged: all of it but the data of entries. */
  replayDamaged(record: LogRecord, at: number): void {
    const group = this.#make(record.groupId)
    if (record.type === recordTypes.entries) this.#liveBytes -= group.appendLost(record.runs(), at)
    else if (record.type === recordTypes.movedEntries) group.moveLost(record.runs(), at)
    else this.replay(record, at)
  }

  /** The groups as they are now. @throws KeelsonError `CORRUPTION` when entries are missing */
  recovered(where: string): ReadonlyMap<GroupId, RecoveredGroup> {
    const found = new Map<GroupId, RecoveredGroup>()
    for (const group of this.#groups.values()) {
      const { groupId, hardState, compacted, last } = group
      const lost = lostEntries(group, where)
      const metadata = group.metadata === undefined ? undefined : new Uint8Array(group.metadata)
      found.set(
        groupId,
        Object.freeze({
          groupId,
          hardState: hardState === undefined ? undefined : Object.freeze(hardState),
          metadata,
          compacted: Object.freeze(compacted),
          last: Object.freeze(last),
          ...(lost.length === 0 ? {} : { lost: Object.freeze(lost) }),
        }),
      )
    }
    return found
  }

  /** Most groups of a node have the same few bytes. */
  #shared(metadata: Uint8Array): Uint8Array {
    const key = metadata.length > maximumSharedBytes ? undefined : String.fromCharCode(...metadata)
    if (key === undefined) return metadata
    const known = this.#metadata.get(key)
    if (known !== undefined) return known
    if (this.#metadata.size >= maximumShared) this.#metadata.clear()
    this.#metadata.set(key, metadata)
    return metadata
  }

  #make(groupId: GroupId): GroupLog {
    if (this.#latest?.groupId === groupId) return this.#latest
    const group = this.get(groupId) ?? this.#add(groupId)
    this.#latest = group
    return group
  }

  #add(groupId: GroupId): GroupLog {
    const group = new GroupLog(groupId)
    this.#groups.set(groupId, group)
    const near = this.#near
    if (groupId < near.length) near[groupId] = group
    else if (groupId <= near.length + farApart) {
      // Those that were too far off until now may be near.
      while (near.length < groupId) near.push(this.#groups.get(near.length))
      near.push(group)
    }
    return group
  }
}

/** @throws KeelsonError `CORRUPTION` for entries that are missing without a trace of why */
function lostEntries(group: GroupLog, where: string): LostEntries[] {
  const lost: LostEntries[] = []
  for (const { first, last } of group.missing()) {
    const runs = group.lost(first, last)
    const known = runs.reduce((sum, run) => sum + run.last - run.first + 1, 0)
    if (known !== last - first + 1) {
      throw new KeelsonError(
        'CORRUPTION',
        `${where} lacks entries ${first} to ${last} of group ${group.groupId}. Nothing was changed: restore the ` +
          'directory or replace this node',
        { details: { groupId: group.groupId, first, last } },
      )
    }
    for (const run of runs) lost.push(Object.freeze(run))
  }
  return lost
}
