import { crc32 } from '../../core/checksum.ts'
import type { FileSystem, OpenFile } from '../../interfaces/file-system.ts'
import type { Incarnation } from '../../model/ids.ts'
import { logFormatVersion } from '../batch-format.ts'

// A segment is a file of a fixed size, written with zeros before its first use, so that a sync moves data alone and no
// file length. Its header:
//
//   magic 8 bytes · version u32 · used u32 · number u53 · start u53 · incarnation u53 · checksum u32 · zeros up to 64
//
// `start` is the position of the first batch in the log. Batches follow without a gap. Behind the last one there are zeros,
// or, where `used` is 1, what the file held when it was another segment: batches of lower positions, which prove nothing.

/** Size of a segment's header. */
export const segmentHeaderBytes = 64

const magic = Uint8Array.from('KEELSEG\n', (character) => character.charCodeAt(0))

const namePattern = /^(\d{16})\.segment$/

const zeros = new Uint8Array(1024 * 1024)

/** The name of a segment's file. */
export function segmentName(number: number): string {
  return `${String(number).padStart(16, '0')}.segment`
}

/** The name of a segment that was given up and waits to be used again. */
export function freeName(number: number): string {
  return `${String(number).padStart(16, '0')}${freeSuffix}`
}

const freeSuffix = '.free'

export function isFree(name: string): boolean {
  return name.endsWith(freeSuffix)
}

/** The number in a file's name, or undefined when it is no segment. */
export function segmentNumber(name: string): number | undefined {
  const digits = namePattern.exec(name)?.[1]
  const number = Number(digits)
  return digits !== undefined && Number.isSafeInteger(number) && number > 0 ? number : undefined
}

/** What the header of a segment says. */
export interface SegmentHeader {
  readonly version: number
  readonly number: number
  /** Position of the first batch. */
  readonly start: number
  readonly incarnation: Incarnation
  /** The file was another segment before. */
  readonly used: boolean
}

export function encodeSegmentHeader({
  number,
  start,
  incarnation,
  used,
}: Omit<SegmentHeader, 'version'>): Uint8Array {
  const bytes = new Uint8Array(segmentHeaderBytes)
  const view = new DataView(bytes.buffer)
  bytes.set(magic)
  view.setUint32(8, logFormatVersion, true)
  view.setUint32(12, used ? 1 : 0, true)
  setU53(view, 16, number)
  setU53(view, 24, start)
  setU53(view, 32, incarnation)
  view.setUint32(40, crc32(bytes.subarray(0, 40)), true)
  return bytes
}

/** The header at the start of a file, or undefined when there is none: zeros, or damage. */
export function decodeSegmentHeader(bytes: Uint8Array): SegmentHeader | undefined {
  if (bytes.length < segmentHeaderBytes) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, segmentHeaderBytes)
  if (magic.some((byte, i) => bytes[i] !== byte)) return undefined
  if (view.getUint32(40, true) !== crc32(bytes.subarray(0, 40))) return undefined
  return {
    version: view.getUint32(8, true),
    number: getU53(view, 16),
    start: getU53(view, 24),
    incarnation: getU53(view, 32),
    used: view.getUint32(12, true) === 1,
  }
}

function setU53(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 0x1_0000_0000, true)
  view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true)
}

function getU53(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 0x1_0000_0000
}

/** True when there are only zeros from an offset on. */
export function isZeroFrom(bytes: Uint8Array, offset: number): boolean {
  for (let from = offset; from < bytes.length; from += zeros.length) {
    const part = bytes.subarray(from, from + zeros.length)
    if (Buffer.compare(part, zeros.subarray(0, part.length)) !== 0) return false
  }
  return true
}

/** Writes zeros over a part of a file. */
export async function writeZeros(file: OpenFile, from: number, to: number): Promise<void> {
  for (let at = from; at < to; at += zeros.length) {
    await file.write(zeros.subarray(0, Math.min(zeros.length, to - at)), at)
  }
}

/** Makes an empty segment of full size, durably; a part of one is removed again. */
export async function makeSegment(
  fs: FileSystem,
  directory: string,
  number: number,
  bytes: number,
): Promise<OpenFile> {
  const path = `${directory}/${segmentName(number)}`
  const file = await fs.open(path, 'new')
  try {
    await writeZeros(file, 0, bytes)
    await file.sync()
    await fs.syncDirectory(directory)
    return file
  } catch (error) {
    await file.close()
    await fs.remove(path).catch(() => {})
    throw error
  }
}
