import { checkArray, checkBytes } from '../core/arguments.ts'
import { ByteReader, ByteWriter, text, utf8 } from '../core/bytes.ts'
import { KeelsonError } from '../core/errors.ts'

/** A part of a composite key. Numbers are finite; strings and bytes are of any content. */
export type TuplePart = string | number | Uint8Array

const tagBytes = 0x01
const tagString = 0x02
const tagNumber = 0x03
const terminator = 0x00
const escaped = 0xff

/**
 * Encodes parts into a key whose byte order is the order of the tuples, part by part (FoundationDB's tuple layer): bytes
 * before strings before numbers, and a tuple before every longer one that it begins.
 *
 * @throws KeelsonError `INVALID_ARGUMENT` for a part of another type, or a number that is not finite
 */
export function encodeTuple(parts: readonly TuplePart[]): Uint8Array {
  checkArray(parts, 'the parts of a tuple')
  const out = new ByteWriter(64)
  for (const part of parts) {
    if (typeof part === 'number') {
      if (!Number.isFinite(part)) throw new KeelsonError('INVALID_ARGUMENT', `a key part cannot be ${part}`)
      out.u8(tagNumber)
      const eight = new DataView(new ArrayBuffer(8))
      eight.setFloat64(0, part === 0 ? 0 : part)
      // Flipping the sign bit of a positive and all bits of a negative number makes IEEE 754 order the byte order.
      const negative = eight.getUint8(0) >= 0x80
      for (let i = 0; i < 8; i++) {
        const byte = eight.getUint8(i)
        out.u8(negative ? byte ^ 0xff : i === 0 ? byte ^ 0x80 : byte)
      }
      continue
    }
    const bytes =
      typeof part === 'string' ? utf8(part) : checkBytes(part, 'a key part that is no string and no number')
    out.u8(typeof part === 'string' ? tagString : tagBytes)
    for (const byte of bytes) {
      out.u8(byte)
      if (byte === terminator) out.u8(escaped)
    }
    out.u8(terminator)
  }
  return out.finish()
}

/** The inverse of {@link encodeTuple}. @throws KeelsonError `MALFORMED` */
export function decodeTuple(key: Uint8Array): TuplePart[] {
  const reader = new ByteReader(key, 'a tuple key')
  const parts: TuplePart[] = []
  while (reader.remaining > 0) {
    const tag = reader.u8()
    if (tag === tagNumber) {
      const eight = new DataView(new ArrayBuffer(8))
      const first = reader.u8()
      const positive = first >= 0x80
      eight.setUint8(0, positive ? first ^ 0x80 : first ^ 0xff)
      for (let i = 1; i < 8; i++) eight.setUint8(i, positive ? reader.u8() : reader.u8() ^ 0xff)
      parts.push(eight.getFloat64(0))
      continue
    }
    if (tag !== tagString && tag !== tagBytes) reader.fail(`holds an unknown part (tag ${tag})`)
    const bytes = new ByteWriter(32)
    for (;;) {
      const byte = reader.u8()
      if (byte !== terminator) {
        bytes.u8(byte)
        continue
      }
      if (reader.remaining === 0 || key[reader.offset] !== escaped) break
      reader.u8()
      bytes.u8(terminator)
    }
    parts.push(tag === tagString ? text(bytes.view()) : bytes.finish())
  }
  return parts
}
