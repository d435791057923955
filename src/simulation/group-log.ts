import { copyBytes } from '../core/bytes.ts'
import { KeelsonError } from '../core/errors.ts'
import type { GroupWrite, HardState, LogEntry, LogPosition } from '../interfaces/log-store.ts'
import { checkId } from '../model/ids.ts'

/** One group of a simulated log store. `entries[0]` has index `compacted.index + 1`. */
export interface GroupLog {
  hardState: HardState | undefined
  metadata: Uint8Array | undefined
  compacted: LogPosition
  entries: LogEntry[]
  readonly last: LogPosition
}

/** A group without anything. */
export function emptyGroup(): GroupLog {
  return {
    hardState: undefined,
    metadata: undefined,
    compacted: { index: 0, term: 0 },
    entries: [],
    get last(): LogPosition {
      const entry = this.entries.at(-1)
      return entry === undefined ? this.compacted : { index: entry.index, term: entry.term }
    },
  }
}

/** A copy that changes apart from the original; entries themselves never change. */
export function copyGroup(group: GroupLog): GroupLog {
  const copy = emptyGroup()
  copy.hardState = group.hardState
  copy.metadata = group.metadata
  copy.compacted = group.compacted
  copy.entries = group.entries.slice()
  return copy
}

/** A copy that shares no bytes with its caller. */
export function copyWrite(write: GroupWrite): GroupWrite {
  return {
    groupId: write.groupId,
    ...(write.reset === undefined ? {} : { reset: { ...write.reset } }),
    ...(write.entries === undefined
      ? {}
      : { entries: write.entries.map((entry) => ({ ...entry, data: copyBytes(entry.data) })) }),
    ...(write.hardState === undefined ? {} : { hardState: { ...write.hardState } }),
    ...(write.metadata === undefined ? {} : { metadata: copyBytes(write.metadata) }),
  }
}

/** Where a log begins and ends. */
export interface LogBounds {
  readonly compacted: LogPosition
  readonly last: LogPosition
}

/**
 * Judges a write against the bounds of its group and returns those after it.
 *
 * @throws KeelsonError `INVALID_ARGUMENT` for numbers out of range, and for entries that would leave a gap, begin in what
 *   was compacted, or fall in term
 */
export function checkGroupWrite(bounds: LogBounds, write: GroupWrite): LogBounds {
  checkId(write.groupId, 'a group id')
  if (write.metadata !== undefined) checkBytes(write.metadata)
  if (write.hardState !== undefined) {
    for (const value of [write.hardState.term, write.hardState.votedFor, write.hardState.commit])
      checkCount(value)
  }
  let { compacted, last } = bounds
  if (write.reset !== undefined) {
    checkCount(write.reset.index)
    checkCount(write.reset.term)
    compacted = write.reset
    last = write.reset
  }
  const entries = write.entries ?? []
  const first = entries[0]
  if (first === undefined) return { compacted, last }
  if (first.index <= compacted.index || first.index > last.index + 1) {
    refuse(
      `entries from ${first.index} on do not continue the log of group ${write.groupId}, which holds ${compacted.index + 1} to ${last.index}`,
    )
  }
  let before = { index: first.index - 1, term: 0 }
  for (const entry of entries) {
    checkCount(entry.index)
    checkCount(entry.term)
    checkBytes(entry.data)
    if (![0, 1, 2, 3].includes(entry.kind)) refuse(`there is no kind ${entry.kind} of entries`)
    if (entry.index !== before.index + 1) refuse(`entry ${entry.index} does not follow entry ${before.index}`)
    if (entry.term < before.term) refuse(`the term of entry ${entry.index} is lower than that before it`)
    before = entry
  }
  return { compacted, last: { index: before.index, term: before.term } }
}

function checkCount(value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) refuse(`${value} is no safe integer of at least 0`)
}

function checkBytes(value: Uint8Array): void {
  if (!(value instanceof Uint8Array)) refuse('data and metadata are bytes')
}

function refuse(message: string): never {
  throw new KeelsonError('INVALID_ARGUMENT', message)
}

/** In the order of the contract: reset, entries, hard state, metadata. */
export function applyGroupWrite(group: GroupLog, write: GroupWrite): void {
  if (write.reset !== undefined) {
    group.entries = []
    group.compacted = write.reset
  }
  const first = write.entries?.[0]
  if (first !== undefined) {
    group.entries.length = Math.max(0, first.index - group.compacted.index - 1)
    for (const entry of write.entries ?? []) group.entries.push(entry)
  }
  if (write.hardState !== undefined) group.hardState = write.hardState
  if (write.metadata !== undefined) group.metadata = write.metadata
}

export function compactGroup(group: GroupLog, through: LogPosition): void {
  const count = through.index - group.compacted.index
  if (count <= 0) return
  group.entries = group.entries.slice(count)
  group.compacted = through
}
