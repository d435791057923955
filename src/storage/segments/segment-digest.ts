import { ByteReader, ByteWriter, emptyBytes } from '../../core/bytes.ts'
import { crc32 } from '../../core/checksum.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { LostEntries } from '../../interfaces/log-store.ts'
import type { Incarnation } from '../../model/ids.ts'
import { batchHeaderBytes, checkPayload, checksumSeed, readBatchHeader } from '../batch-format.ts'
import { temporarySuffix } from '../file-system.ts'
import { type LogRecord, recordTypes } from '../log-format.ts'
import { RecordCursor } from '../record-cursor.ts'
import { segmentHeaderBytes } from './segment-file.ts'

// The digest of a segment lies in a file beside it, made once the segment is full: all its records without the data of
// their entries. When the disk damages the segment, the digest tells which entries are gone, by index and term, and holds
// everything else. It is apart from the segment, so that one damage does not hit both (Alagappan et al., Protocol-Aware
// Recovery, FAST '18, keeps the identifiers of entries apart for the same reason).
//
//   digest  magic 8 bytes · version u32 · payload bytes u32 · number u53 · start u53 · end u53 · first u53 ·
//           incarnation u53 · payload checksum u32 · header checksum u32 · payload
//   payload records: gap varint · bytes varint · type u8 · group varint · fields
//
// `start` and `end` are the positions of the segment's first batch and behind its last one; `first` is what that last one
// says. `gap` counts the bytes since the end of the record before, or since `start`. Entries have their first index, their
// number, and runs of (number, growth of the term).

/** Version of the format described above. */
const digestVersion = 1

const digestHeaderBytes = 64

const magic = Uint8Array.from('KEELIDX\n', (character) => character.charCodeAt(0))

const suffix = '.index'

/** The name of a segment's digest. */
export function digestName(number: number): string {
  return `${String(number).padStart(16, '0')}${suffix}`
}

/** The number of the segment that a digest belongs to, or undefined when it is none. */
export function digestNumber(name: string): number | undefined {
  if (!name.endsWith(suffix) || name.length !== 16 + suffix.length) return undefined
  const number = Number(name.slice(0, 16))
  return Number.isSafeInteger(number) && number > 0 ? number : undefined
}

/** True for a digest whose making was cut short. */
export function isUnfinishedDigest(name: string): boolean {
  return name.endsWith(suffix + temporarySuffix)
}

/** What a digest tells. */
export interface SegmentDigest {
  readonly start: number
  readonly end: number
  readonly first: number
  readonly records: readonly DigestRecord[]
}

/** A record, and where it is. */
export interface DigestRecord extends LogRecord {
  readonly position: number
}

/** Records that are looked through before others get a turn. */
const recordsPerTurn = 2_000

/**
 * Makes the digest of a segment, in several turns.
 *
 * @param bytes of the file, up to the end of its last batch
 * @param turn lets others work
 * @returns undefined when a batch does not read
 */
export async function makeDigest(
  bytes: Uint8Array,
  { number, start }: { readonly number: number; readonly start: number },
  incarnation: Incarnation,
  turn: () => Promise<void>,
): Promise<Uint8Array | undefined> {
  const seed = checksumSeed(incarnation)
  const out = new ByteWriter(bytes.length >>> 4)
  const header = new ByteWriter(digestHeaderBytes)
  out.raw(new Uint8Array(digestHeaderBytes))
  const record = new RecordCursor()
  let position = start
  let told = start
  let first = 0
  let records = 0
  for (let offset = segmentHeaderBytes; offset < bytes.length; ) {
    const batch = readBatchHeader(bytes, offset, seed)
    if (batch === undefined || batch.position !== position) return undefined
    const payload = bytes.subarray(offset + batchHeaderBytes, offset + batchHeaderBytes + batch.payloadBytes)
    try {
      const verified = checkPayload(payload, batch, seed)
      for (let at = 0; record.read(payload, at, verified ? undefined : seed); at += record.bytes) {
        const place = position + batchHeaderBytes + at
        out.varint(place - told).varint(record.bytes)
        writeRecord(out, record)
        told = place + record.bytes
        if (++records % recordsPerTurn === 0) await turn()
      }
    } catch (error) {
      if (KeelsonError.hasCode(error, 'MALFORMED')) return undefined
      throw error
    }
    first = batch.first
    offset += batchHeaderBytes + batch.payloadBytes
    position += batchHeaderBytes + batch.payloadBytes
  }
  const digest = out.view()
  const payload = digest.subarray(digestHeaderBytes)
  header.raw(magic).u32(digestVersion).u32(payload.length)
  header.u53(number).u53(start).u53(position).u53(first).u53(incarnation).u32(crc32(payload, seed))
  digest.set(header.view())
  digest.set(header.u32(crc32(header.view())).view())
  return digest
}

function writeRecord(out: ByteWriter, record: RecordCursor): void {
  const { type } = record
  out.u8(type).varint(record.groupId)
  if (type === recordTypes.hardState) {
    out.varint(record.term).varint(record.votedFor).varint(record.commit)
  } else if (type === recordTypes.metadata || type === recordTypes.destroyed) {
    out.bytes(record.content())
  } else if (type === recordTypes.compacted || type === recordTypes.reset) {
    out.varint(record.index).varint(record.term)
  } else {
    const runs = record.runs()
    out.varint(record.first).varint(runs.length)
    let term = 0
    for (const run of runs) {
      out.varint(run.last - run.first + 1).varint(run.term - term)
      term = run.term
    }
  }
}

/**
 * Reads the digest of a segment.
 *
 * @returns undefined when it is damaged, or of another segment or store
 */
export function readDigest(
  bytes: Uint8Array,
  number: number,
  incarnation: Incarnation,
): SegmentDigest | undefined {
  if (bytes.length < digestHeaderBytes || magic.some((byte, i) => bytes[i] !== byte)) return undefined
  const payload = bytes.subarray(digestHeaderBytes)
  const reader = new ByteReader(bytes.subarray(magic.length), 'a digest')
  try {
    const version = reader.u32()
    const payloadBytes = reader.u32()
    const itsNumber = reader.u53()
    const start = reader.u53()
    const end = reader.u53()
    const first = reader.u53()
    const itsIncarnation = reader.u53()
    const checksum = reader.u32()
    if (reader.u32() !== crc32(bytes.subarray(0, digestHeaderBytes - 4))) return undefined
    if (version !== digestVersion || itsNumber !== number || itsIncarnation !== incarnation) return undefined
    if (payloadBytes !== payload.length || checksum !== crc32(payload, checksumSeed(incarnation))) {
      return undefined
    }
    return { start, end, first, records: readRecords(payload, start) }
  } catch (error) {
    if (KeelsonError.hasCode(error, 'MALFORMED')) return undefined
    throw error
  }
}

function readRecords(payload: Uint8Array, start: number): DigestRecord[] {
  const reader = new ByteReader(payload, 'a digest')
  const records: DigestRecord[] = []
  let position = start
  while (reader.remaining > 0) {
    position += reader.varint()
    const bytes = reader.varint()
    records.push(readRecord(reader, position, bytes))
    position += bytes
  }
  return records
}

function readRecord(reader: ByteReader, position: number, bytes: number): DigestRecord {
  const type = reader.u8()
  const groupId = reader.varint()
  const record = { ...nothing, type, groupId, bytes, position }
  if (type === recordTypes.hardState) {
    return { ...record, term: reader.varint(), votedFor: reader.varint(), commit: reader.varint() }
  }
  if (type === recordTypes.metadata || type === recordTypes.destroyed) {
    const content = new Uint8Array(reader.bytes())
    return { ...record, content: () => content }
  }
  if (type === recordTypes.compacted || type === recordTypes.reset) {
    return { ...record, index: reader.varint(), term: reader.varint() }
  }
  const first = reader.varint()
  const runs: LostEntries[] = []
  let next = first
  let term = 0
  for (let left = reader.varint(); left > 0; left--) {
    const count = reader.varint()
    term += reader.varint()
    runs.push({ first: next, last: next + count - 1, term })
    next += count
  }
  return { ...record, first, last: next - 1, lastTerm: term, runs: () => runs }
}

const nothing = {
  first: 0,
  last: 0,
  lastTerm: 0,
  term: 0,
  votedFor: 0,
  commit: 0,
  index: 0,
  content: (): Uint8Array => emptyBytes,
  runs: (): LostEntries[] => [],
}
