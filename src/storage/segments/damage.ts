import { KeelsonError } from '../../core/errors.ts'
import type { GroupId } from '../../model/ids.ts'
import { batchAlignment, batchHeaderBytes, findBatch, readBatchHeader } from '../batch-format.ts'
import { recordTypes } from '../log-format.ts'
import { RecordCursor } from '../record-cursor.ts'
import type { DigestRecord, SegmentDigest } from './segment-digest.ts'
import { segmentHeaderBytes } from './segment-file.ts'

/** A place at which no batch reads. */
export interface Place {
  /** Name of the file. */
  readonly name: string
  readonly offset: number
  /** Position of the batch that belongs there. */
  readonly position: number
}

/**
 * Looks for what shows that a place was durable once, or was written at all: a batch that says in its header that
 * everything up to beyond the place was durable, or the very batch that belongs there, which the disk put elsewhere. What
 * a crash tears leaves neither: it was the last thing that was written.
 *
 * @param own offset at which the batch that belongs to the place may lie
 * @returns what was found, in words
 */
export function findWitness(
  bytes: Uint8Array,
  from: number,
  { position }: Place,
  seed: number,
  own: number,
): string | undefined {
  for (let at = findBatch(bytes, from); at >= 0; at = findBatch(bytes, at + batchAlignment)) {
    const header = readBatchHeader(bytes, at, seed)
    if (header === undefined) continue
    if (header.synced > position) return `the batch at offset ${at} shows that this place had been durable`
    if (header.position === position && at !== own) {
      return `the batch that belongs here lies at offset ${at}, where the disk has put it`
    }
  }
  return undefined
}

/** The highest position of a batch in a part of a segment where none should be; -1 where there is none. */
export function highestStray(bytes: Uint8Array, from: number, seed: number): number {
  let highest = -1
  for (let at = findBatch(bytes, from); at >= 0; at = findBatch(bytes, at + batchAlignment)) {
    highest = Math.max(highest, readBatchHeader(bytes, at, seed)?.position ?? -1)
  }
  return highest
}

/** A record of a damaged segment, and whether it can be read. */
export interface ExaminedRecord {
  readonly record: DigestRecord
  readonly whole: boolean
}

/** Looks at all records of a damaged segment from a position on. */
export function examine(
  bytes: Uint8Array,
  digest: SegmentDigest,
  from: number,
  seed: number,
): ExaminedRecord[] {
  const cursor = new RecordCursor()
  return digest.records
    .filter(({ position }) => position >= from)
    .map((record) => ({ record, whole: isWhole(cursor, bytes, record, digest.start, seed) }))
}

function isWhole(
  cursor: RecordCursor,
  bytes: Uint8Array,
  record: DigestRecord,
  start: number,
  seed: number,
): boolean {
  try {
    const offset = segmentHeaderBytes + record.position - start
    if (!cursor.read(bytes.subarray(offset, offset + record.bytes), 0, seed)) return false
    return cursor.type === record.type && cursor.groupId === record.groupId && cursor.bytes === record.bytes
  } catch (error) {
    if (KeelsonError.hasCode(error, 'MALFORMED')) return false
    throw error
  }
}

/** Entries of a group that are damaged. */
export interface DamagedEntries {
  readonly groupId: GroupId
  readonly first: number
  readonly last: number
}

/** The entries among damaged records, joined where they follow each other. */
export function damagedEntries(examined: readonly ExaminedRecord[]): DamagedEntries[] {
  const byGroup = new Map<GroupId, DamagedEntries[]>()
  for (const { record, whole } of examined) {
    const { type, groupId, first, last } = record
    if (whole || (type !== recordTypes.entries && type !== recordTypes.movedEntries)) continue
    const known = byGroup.get(groupId) ?? []
    const before = known.at(-1)
    if (before?.last === first - 1) known[known.length - 1] = { ...before, last }
    else known.push({ groupId, first, last })
    byGroup.set(groupId, known)
  }
  return [...byGroup.values()].flat()
}

/**
 * What the records of a damaged batch say that they are, where no digest vouches for it. A record whose checksum does not
 * match may lie.
 */
export function claimedEntries(bytes: Uint8Array, offset: number, seed: number): DamagedEntries[] {
  const header = readBatchHeader(bytes, offset, seed)
  const end = offset + batchHeaderBytes + (header?.payloadBytes ?? 0)
  if (header === undefined || end > bytes.length) return []
  const payload = bytes.subarray(offset + batchHeaderBytes, end)
  const found: DamagedEntries[] = []
  const cursor = new RecordCursor()
  try {
    for (let at = 0; cursor.read(payload, at, undefined); at += cursor.bytes) {
      const { type, groupId, first, last, bytes: length } = cursor
      if (type !== recordTypes.entries && type !== recordTypes.movedEntries) continue
      if (!isIntact(payload.subarray(at, at + length), seed)) found.push({ groupId, first, last })
    }
  } catch (error) {
    if (!KeelsonError.hasCode(error, 'MALFORMED')) throw error
  }
  return found
}

function isIntact(record: Uint8Array, seed: number): boolean {
  try {
    return new RecordCursor().read(record, 0, seed)
  } catch {
    return false
  }
}

const namedAtMost = 5

/** Damaged entries in words. */
export function inWords(entries: readonly DamagedEntries[]): string {
  const named = entries
    .slice(0, namedAtMost)
    .map(({ groupId, first, last }) =>
      first === last
        ? `entry ${first} of group ${groupId}`
        : `entries ${first} to ${last} of group ${groupId}`,
    )
  if (entries.length > namedAtMost) named.push(`${entries.length - namedAtMost} other stretches`)
  return named.join(', ')
}
