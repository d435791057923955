import { ByteReader } from '../core/bytes.ts'
import { crc32 } from '../core/checksum.ts'
import { KeelsonError } from '../core/errors.ts'
import type { EntryKind, HardState, LogEntry, LogPosition } from '../interfaces/log-store.ts'
import type { GroupId, Incarnation } from '../model/ids.ts'
import type { BatchBuffer } from './batch-buffer.ts'

// The format on disk of what the level and the segments adapter share. A log is a sequence of batches, each one group
// commit. Positions count the bytes of all batches since the log began, so that a batch is where the one before ends.
//
//   batch   magic u32 · payload bytes u32 · position u53 · synced u53 · first u53 · checksum u32 · zero u32 · payload
//   payload records, then zeros to a multiple of eight bytes
//   record  checksum u32 · body bytes u32 · body
//   body    type u8 · group varint · fields of the type
//
// `synced`: everything before this position was durable when the batch was written. `first`: what lies before this
// position is not needed any more. Checksums are CRC-32 seeded with the incarnation, so that bytes of another store, and
// bytes that a client put into an entry, pass for nothing. Numbers are little endian.

/** Version of the format described above. */
export const logFormatVersion = 1

const batchMagic = 0x31424c4b // KLB1

/** Size of a batch's header. */
export const batchHeaderBytes = 40

/** Batches begin and end at multiples of this, so that a search for them has few places to look at. */
export const batchAlignment = 8

/** Bytes of a record before its body. */
const recordHeaderBytes = 8

/** What a record says. The numbers are the format on disk: never reuse one. */
export const recordTypes: {
  readonly entries: 1
  readonly movedEntries: 2
  readonly hardState: 3
  readonly metadata: 4
  readonly compacted: 5
  readonly reset: 6
  readonly destroyed: 7
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
})

/** Upper bound of what the records of one write take beyond their data. */
export const recordOverheadBytes = 64

/** Upper bound of what one entry takes beyond its data. */
export const entryOverheadBytes = 24

/** Entries of one record together hold about so much data, or it is one entry: what a read of one entry may cost. */
const dataPerRecord = 64 * 1024

/** The seed of a store's checksums. */
export function checksumSeed(incarnation: Incarnation): number {
  return ((incarnation % 0x1_0000_0000) ^ Math.floor(incarnation / 0x1_0000_0000)) >>> 0
}

/** The header of a batch. */
export interface BatchHeader {
  readonly payloadBytes: number
  readonly position: number
  readonly synced: number
  readonly first: number
}

/** Completes a batch: pads its records and fills in the header that was left out at the buffer's start. */
export function sealBatch(
  buffer: BatchBuffer,
  header: { readonly position: number; readonly synced: number; readonly first: number },
  seed: number,
): void {
  buffer.pad(batchAlignment)
  buffer.setU32(0, batchMagic)
  buffer.setU32(4, buffer.length - batchHeaderBytes)
  buffer.setU53(8, header.position)
  buffer.setU53(16, header.synced)
  buffer.setU53(24, header.first)
  buffer.setU32(32, buffer.checksum(0, 32, seed))
  buffer.setU32(36, 0)
}

/** The header at `offset`, or undefined where there is none: the bytes are zero, cut short or damaged. */
export function readBatchHeader(bytes: Uint8Array, offset: number, seed: number): BatchHeader | undefined {
  if (offset + batchHeaderBytes > bytes.length) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, batchHeaderBytes)
  if (view.getUint32(0, true) !== batchMagic || view.getUint32(36, true) !== 0) return undefined
  if (view.getUint32(32, true) !== crc32(bytes.subarray(offset, offset + 32), seed)) return undefined
  return {
    payloadBytes: view.getUint32(4, true),
    position: readU53(view, 8),
    synced: readU53(view, 16),
    first: readU53(view, 24),
  }
}

/** The next place, from an aligned offset on, that looks like the header of a batch; -1 when there is none. */
export function findBatch(bytes: Uint8Array, from: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = from; at + batchHeaderBytes <= bytes.length; at += batchAlignment) {
    if (view.getUint32(at, true) === batchMagic) return at
  }
  return -1
}

function readU53(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 0x1_0000_0000
}

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

/** How many records entries with so much data take at most: any two neighbours hold more than the limit of one. */
export function recordsFor(dataBytes: number): number {
  return 1 + 2 * Math.ceil(dataBytes / dataPerRecord)
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

/** A record as it was found. */
export interface FoundRecord {
  readonly type: number
  readonly groupId: GroupId
  /** Reads the fields behind the group. */
  readonly fields: ByteReader
  /** Size with its header. */
  readonly bytes: number
}

/**
 * The record at `offset` of a payload, or undefined at its end, where only padding is left.
 *
 * @throws KeelsonError `MALFORMED` when it is damaged
 */
export function readRecord(payload: Uint8Array, offset: number, seed: number): FoundRecord | undefined {
  const left = payload.length - offset
  if (left < recordHeaderBytes) {
    for (let i = offset; i < payload.length; i++) {
      if (payload[i] !== 0) throw damaged('its padding is not zero')
    }
    return undefined
  }
  const view = new DataView(payload.buffer, payload.byteOffset + offset, recordHeaderBytes)
  const bodyBytes = view.getUint32(4, true)
  if (bodyBytes > left - recordHeaderBytes) throw damaged('it is longer than its batch')
  const bytes = recordHeaderBytes + bodyBytes
  if (view.getUint32(0, true) !== crc32(payload.subarray(offset + 4, offset + bytes), seed)) {
    throw damaged('its checksum does not match')
  }
  const fields = new ByteReader(
    payload.subarray(offset + recordHeaderBytes, offset + bytes),
    'a record of the log',
  )
  const type = fields.u8()
  const groupId = fields.varint()
  if (groupId === 0) throw damaged('it names no group')
  return { type, groupId, fields, bytes }
}

function damaged(how: string): KeelsonError {
  return new KeelsonError('MALFORMED', `a record of the log is damaged: ${how}`)
}

/** The fields of an entries record before the entries themselves. */
export interface EntriesHeader {
  readonly first: number
  readonly last: number
  readonly lastTerm: number
}

/** @throws KeelsonError `MALFORMED` */
export function readEntriesHeader({ fields }: FoundRecord): EntriesHeader {
  const first = fields.varint()
  const count = fields.varint()
  const lastTerm = fields.varint()
  // Each entry takes at least three bytes.
  if (first === 0 || count === 0 || count * 3 > fields.remaining) throw damaged('its entries do not add up')
  return { first, last: first + count - 1, lastTerm }
}

/**
 * Appends entries `from` to `to` of a record whose header was read, until `budget` bytes of data are used up.
 *
 * @returns the budget that is left, or -1 when an entry did not fit any more; the first one of all always fits
 * @throws KeelsonError `MALFORMED`
 */
export function readEntries(
  { fields }: FoundRecord,
  header: EntriesHeader,
  from: number,
  to: number,
  budget: number,
  into: LogEntry[],
): number {
  let left = budget
  for (let index = header.first; index <= to; index++) {
    const term = fields.varint()
    const kind = fields.u8()
    const data = fields.raw(fields.varint())
    if (index < from) continue
    if (kind > 3) throw damaged(`entry ${index} is of an unknown kind (${kind})`)
    if (into.length > 0 && data.length > left) return -1
    left = Math.max(0, left - data.length)
    into.push({ index, term, kind: kind as EntryKind, data })
  }
  return left
}
