import { ByteReader, concatBytes } from '../../core/bytes.ts'
import { crc32c } from '../../core/checksum.ts'

// The format of LevelDB's log files, which its MANIFEST has, too (doc/log_format.md of LevelDB 1.20). A file is a
// sequence of blocks; a record is one fragment or several, and no fragment crosses the end of a block:
//
//   fragment   checksum u32 (masked CRC-32C of type and data) · length u16 · type u8 · data

const blockBytes = 32_768
const headerBytes = 7
const types = Object.freeze({ full: 1, first: 2, middle: 3, last: 4 })

/** A record as LevelDB would read it. */
export interface LevelLogRecord {
  readonly bytes: Uint8Array
  /** Where it ends in the file. */
  readonly end: number
  /** Whether something that is no record lies between the beginning of the file and here. */
  readonly afterDamage: boolean
}

/** What a log file holds. */
export interface LevelLogContent {
  readonly records: readonly LevelLogRecord[]
  /** Whether anything in it is no record, though not for being cut short by the end of the file. */
  readonly damaged: boolean
}

/** What stands at a place of a log file. */
type Fragment =
  | { readonly type: number; readonly data: Uint8Array; readonly end: number }
  /** Nothing, and the file ends; or something cut short by the end of the file. */
  | 'end'
  /** No fragment. What follows in the block cannot be told apart either. */
  | 'damage'

/**
 * The records of a log file, those behind a damaged place included: LevelDB goes on with the next block. An unfinished
 * record at the end of the file is no damage; its writer died over it.
 */
export function readLevelLog(file: Uint8Array): LevelLogContent {
  const records: LevelLogRecord[] = []
  let damaged = false
  let parts: Uint8Array[] | undefined
  for (let at = 0; ; ) {
    const left = blockBytes - (at % blockBytes)
    if (left < headerBytes) at += left
    const fragment = fragmentAt(file, at)
    if (fragment === 'end') return { records, damaged }
    if (fragment === 'damage') {
      damaged = true
      parts = undefined
      at += blockBytes - (at % blockBytes)
      continue
    }
    const { type, data, end } = fragment
    at = end
    const begins = type === types.full || type === types.first
    // An early writer left empty beginnings at the end of a block.
    const unfinished = parts?.some((part) => part.length > 0) === true
    if (begins ? unfinished : parts === undefined) damaged = true
    if (begins) parts = []
    if (parts === undefined) continue
    parts.push(data)
    if (type !== types.full && type !== types.last) continue
    records.push({ bytes: parts.length === 1 ? data : concatBytes(parts), end, afterDamage: damaged })
    parts = undefined
  }
}

function fragmentAt(file: Uint8Array, at: number): Fragment {
  const blockEnd = at - (at % blockBytes) + blockBytes
  const end = Math.min(blockEnd, file.length)
  if (at + headerBytes > end) return 'end'
  const header = new DataView(file.buffer, file.byteOffset + at, headerBytes)
  const length = header.getUint16(4, true)
  const type = header.getUint8(6)
  if (at + headerBytes + length > end) return blockEnd > file.length ? 'end' : 'damage'
  if (type < types.full || type > types.last) return 'damage'
  const checksum = crc32c(file.subarray(at + 6, at + headerBytes + length))
  if (header.getUint32(0, true) !== masked(checksum)) return 'damage'
  const data = file.subarray(at + headerBytes, at + headerBytes + length)
  return { type, data, end: at + headerBytes + length }
}

/** LevelDB stores no checksum as it is, as data that hold their own checksums would have weak ones. */
function masked(checksum: number): number {
  return (((checksum >>> 15) | (checksum << 17)) + 0xa282ead8) >>> 0
}

/** Which numbers a batch in a log file has: one for each of its operations, from `sequence` on. */
export interface BatchNumbers {
  readonly sequence: number
  readonly count: number
}

/** @throws KeelsonError `MALFORMED` */
export function batchNumbers(record: Uint8Array): BatchNumbers {
  const reader = new ByteReader(record, 'a batch of LevelDB')
  return { sequence: reader.u53(), count: reader.u32() }
}

/**
 * The number of the first log file that is still needed, by the records of a MANIFEST in their order; undefined when they do
 * not say.
 *
 * @throws KeelsonError `MALFORMED` for records that are none of a MANIFEST
 */
export function neededFrom(manifest: readonly LevelLogRecord[]): number | undefined {
  let logNumber: number | undefined
  for (const { bytes } of manifest) {
    const reader = new ByteReader(bytes, 'a record of the MANIFEST')
    while (reader.remaining > 0) {
      const tag = reader.varint()
      switch (tag) {
        case 1: // the comparator
          reader.bytes()
          break
        case 2:
          logNumber = reader.varint()
          break
        case 3: // the next number of a file
        case 4: // the last sequence
        case 9: // the log before the needed one, of old releases
          reader.varint()
          break
        case 5: // where a level is to be compacted next
          reader.varint()
          reader.bytes()
          break
        case 6: // a table that is gone
          reader.varint()
          reader.varint()
          break
        case 7: // a new table: level, number, size, first key, last key
          for (let i = 0; i < 3; i++) reader.varint()
          reader.bytes()
          reader.bytes()
          break
        default:
          reader.fail(`has the unknown tag ${tag}`)
      }
    }
  }
  return logNumber
}
