import type { HardState, LogEntry, LogPosition, LostEntries } from '../interfaces/log-store.ts'
import type { GroupId } from '../model/ids.ts'
import type { BatchBuffer } from './batch-buffer.ts'

// The records in a batch, see batch-format.ts for what is around them:
//
//   record  checksum u32 · body bytes u32 · body
//   body    type u8 · group varint · fields of the type

/** Bytes of a record before its body. */
export const recordHeaderBytes = 8

/** What a record says. The numbers are the format on disk: never reuse one. */
export const recordTypes: {
  readonly entries: 1
  readonly movedEntries: 2
  readonly hardState: 3
  readonly metadata: 4
  readonly compacted: 5
  readonly reset: 6
  readonly destroyed: 7
  readonly lost: 8
} = Object.freeze({
  /** Entries that replace the log from the first of them on. */
  entries: 1,
  /** Live entries, copied from a part of the store that is to be given up. They replace only themselves. */
  movedEntries: 2,
  hardState: 3,
  metadata: 4,
  compacted: 5,
  reset: 6,
  destroyed: 7,
  /** Entries that the disk has damaged, noted so that the place where they were can be given up. */
  lost: 8,
})

/** A record as it was found, or as its segment's digest tells of it. Fields that a type does not have mean nothing. */
export interface LogRecord {
  readonly type: number
  readonly groupId: GroupId
  /** Size with its header. */
  readonly bytes: number
  /** Of entries: the first and last index, and the term of the last. */
  readonly first: number
  readonly last: number
  readonly lastTerm: number
  /** Of a hard state; the term also of a position. */
  readonly term: number
  readonly votedFor: number
  readonly commit: number
  /** Of a position. */
  readonly index: number
  /** A copy of the bytes of a metadata record or a tombstone. */
  content(): Uint8Array
  /** Of entries: which of them have which term. */
  runs(): LostEntries[]
}

/** Upper bound of what the records of one write take beyond their data. */
export const recordOverheadBytes = 64

/** Upper bound of what one entry takes beyond its data. */
export const entryOverheadBytes = 24

/** Entries of one record together hold about so much data, or it is one entry: what a read of one entry may cost. */
const dataPerRecord = 64 * 1024

function begin(buffer: BatchBuffer, type: number, groupId: GroupId, bodyBytes: number): number {
  buffer.reserve(recordOverheadBytes + bodyBytes)
  const at = buffer.skip(recordHeaderBytes)
  buffer.u8(type)
  buffer.varint(groupId)
  return at
}

/** Returns the size of the record. */
function end(buffer: BatchBuffer, at: number, seed: number): number {
  buffer.setU32(at + 4, buffer.length - at - recordHeaderBytes)
  buffer.setU32(at, buffer.checksum(at + 4, buffer.length, seed))
  return buffer.length - at
}

/** How many records so many entries take at most: any two neighbours hold more data than the limit of one. */
export function recordsFor(entries: number, dataBytes: number): number {
  return Math.min(entries, 1 + 2 * Math.ceil(dataBytes / dataPerRecord))
}

/** How many of `entries`, from `from` on, go into one record. */
export function entriesPerRecord(entries: readonly LogEntry[], from: number): number {
  let count = 0
  for (let bytes = 0; from + count < entries.length; count++) {
    bytes += (entries[from + count] as LogEntry).data.length
    if (count > 0 && bytes > dataPerRecord) break
  }
  return count
}

/** Writes `count` contiguous entries, from `from` on, as one record; returns its size. */
export function writeEntries(
  buffer: BatchBuffer,
  type: 1 | 2,
  groupId: GroupId,
  entries: readonly LogEntry[],
  from: number,
  count: number,
  seed: number,
): number {
  const at = begin(buffer, type, groupId, 0)
  buffer.varint((entries[from] as LogEntry).index)
  buffer.varint(count)
  buffer.varint((entries[from + count - 1] as LogEntry).term)
  for (let i = from; i < from + count; i++) {
    const entry = entries[i] as LogEntry
    buffer.reserve(entryOverheadBytes + entry.data.length)
    buffer.varint(entry.term)
    buffer.u8(entry.kind)
    buffer.varint(entry.data.length)
    buffer.raw(entry.data)
  }
  return end(buffer, at, seed)
}

export function writeHardState(
  buffer: BatchBuffer,
  groupId: GroupId,
  { term, votedFor, commit }: HardState,
  seed: number,
): number {
  const at = begin(buffer, recordTypes.hardState, groupId, 0)
  buffer.varint(term)
  buffer.varint(votedFor)
  buffer.varint(commit)
  return end(buffer, at, seed)
}

/** A record of entries that are gone: contiguous runs. */
export function writeLost(
  buffer: BatchBuffer,
  groupId: GroupId,
  runs: readonly LostEntries[],
  seed: number,
): number {
  const at = begin(buffer, recordTypes.lost, groupId, runs.length * 16)
  const { first } = runs[0] as LostEntries
  const { last, term } = runs.at(-1) as LostEntries
  buffer.varint(first)
  buffer.varint(last - first + 1)
  buffer.varint(term)
  buffer.varint(runs.length)
  let before = 0
  for (const run of runs) {
    buffer.varint(run.last - run.first + 1)
    buffer.varint(run.term - before)
    before = run.term
  }
  return end(buffer, at, seed)
}

/** A record whose body is bytes: metadata or a tombstone. */
export function writeBytes(
  buffer: BatchBuffer,
  type: 4 | 7,
  groupId: GroupId,
  bytes: Uint8Array,
  seed: number,
): number {
  const at = begin(buffer, type, groupId, bytes.length)
  buffer.raw(bytes)
  return end(buffer, at, seed)
}

/** A record whose body is a position: a compaction or a reset. */
export function writePosition(
  buffer: BatchBuffer,
  type: 5 | 6,
  groupId: GroupId,
  { index, term }: LogPosition,
  seed: number,
): number {
  const at = begin(buffer, type, groupId, 0)
  buffer.varint(index)
  buffer.varint(term)
  return end(buffer, at, seed)
}
