import { crc32 } from '../core/checksum.ts'
import { KeelsonError } from '../core/errors.ts'
import type { Incarnation } from '../model/ids.ts'
import type { BatchBuffer } from './batch-buffer.ts'

// The outer format on disk of what the level and the segments adapter share. A log is a sequence of batches, each one
// group commit. Positions count the bytes of all batches since the log began, so that a batch is where the one before
// ends.
//
//   batch 2  magic u32 · payload bytes u32 · position u53 · synced u53 · first u53 · payload checksum u32 ·
//            header checksum u32 · payload
//   batch 1  magic u32 · payload bytes u32 · position u53 · synced u53 · first u53 · header checksum u32 · zero u32 ·
//            payload
//   payload  records, then zeros to a multiple of eight bytes
//
// `synced`: everything before this position was durable when the batch was written. `first`: what lies before this
// position is not needed any more. Checksums are CRC-32 seeded with the incarnation, so that bytes of another store, and
// bytes that a client put into an entry, pass for nothing. Numbers are little endian.
//
// Batches of version 1 are read and never written. Their records have to be checked one by one, since nothing else
// covers them; a batch of version 2 is checked as a whole, at the speed of memory.

/** Version of the formats of log, batches and records that is written. */
export const logFormatVersion = 2

/** The oldest version that is read. */
export const oldestLogFormat = 1

const batchMagic = 0x32424c4b // KLB2
const batchMagic1 = 0x31424c4b // KLB1

/** Size of a batch's header. */
export const batchHeaderBytes = 40

/** Batches begin and end at multiples of this, so that a search for them has few places to look at. */
export const batchAlignment = 8

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
  /** Checksum of the payload; undefined in version 1. */
  readonly checksum: number | undefined
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
  buffer.setU32(32, buffer.checksum(batchHeaderBytes, buffer.length, seed))
  buffer.setU32(36, buffer.checksum(0, 36, seed))
}

/** The header at `offset`, or undefined where there is none: the bytes are zero, cut short or damaged. */
export function readBatchHeader(bytes: Uint8Array, offset: number, seed: number): BatchHeader | undefined {
  if (offset + batchHeaderBytes > bytes.length) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, batchHeaderBytes)
  const magic = view.getUint32(0, true)
  let checksum: number | undefined
  if (magic === batchMagic) {
    if (view.getUint32(36, true) !== crc32(bytes.subarray(offset, offset + 36), seed)) return undefined
    checksum = view.getUint32(32, true)
  } else {
    if (magic !== batchMagic1 || view.getUint32(36, true) !== 0) return undefined
    if (view.getUint32(32, true) !== crc32(bytes.subarray(offset, offset + 32), seed)) return undefined
  }
  return {
    payloadBytes: view.getUint32(4, true),
    position: readU53(view, 8),
    synced: readU53(view, 16),
    first: readU53(view, 24),
    checksum,
  }
}

/**
 * Checks a payload as a whole.
 *
 * @returns false when nothing covers it as a whole, so that its records have to be checked one by one
 * @throws KeelsonError `MALFORMED` when it is damaged
 */
export function checkPayload(payload: Uint8Array, { checksum }: BatchHeader, seed: number): boolean {
  if (checksum === undefined) return false
  if (crc32(payload, seed) === checksum) return true
  throw new KeelsonError('MALFORMED', 'a batch of the log is damaged: its checksum does not match')
}

/** The next place, from an aligned offset on, that looks like the header of a batch; -1 when there is none. */
export function findBatch(bytes: Uint8Array, from: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = from; at + batchHeaderBytes <= bytes.length; at += batchAlignment) {
    const magic = view.getUint32(at, true)
    if (magic === batchMagic || magic === batchMagic1) return at
  }
  return -1
}

function readU53(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 0x1_0000_0000
}
