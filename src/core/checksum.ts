import { crc32 as native } from 'node:zlib'

const ieee = tableOf(0xedb88320)
const castagnoli = tableOf(0x82f63b78)

/** What each byte does to a checksum, for a polynomial with its bits reversed. */
function tableOf(polynomial: number): Int32Array {
  const table = new Int32Array(256)
  for (let n = 0; n < 256; n++) {
    let c = n
    for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ polynomial : c >>> 1
    table[n] = c
  }
  return table
}

/** What a byte does to a checksum when so many zeros, from 0 to 7, follow it: for eight bytes at a time. */
const [ieee1, ieee2, ieee3, ieee4, ieee5, ieee6, ieee7] = tablesBehind(ieee)

function tablesBehind(
  first: Int32Array,
): [a: Int32Array, b: Int32Array, c: Int32Array, d: Int32Array, e: Int32Array, f: Int32Array, g: Int32Array] {
  let last = first
  const next = (): Int32Array => {
    last = last.map((c) => (first[c & 0xff] as number) ^ (c >>> 8))
    return last
  }
  return [next(), next(), next(), next(), next(), next(), next()]
}

/** Below this length the call into native code costs more than the tables. */
const nativeFromBytes = 256

/**
 * CRC-32 (IEEE 802.3, the one of zlib) of `bytes`, an unsigned 32-bit integer. `seed` continues an earlier one, so that
 * `crc32(b, crc32(a))` is the checksum of a followed by b.
 */
export function crc32(bytes: Uint8Array, seed = 0): number {
  if (bytes.length >= nativeFromBytes) return native(bytes, seed)
  return fewBytes(bytes, 0, bytes.length, seed)
}

/** {@link crc32} of the part of `bytes` from `from` up to but without `to`, for which no array of its own is made. */
export function crc32Part(bytes: Uint8Array, from: number, to: number): number {
  return to - from >= nativeFromBytes ? native(bytes.subarray(from, to)) : fewBytes(bytes, from, to, 0)
}

/** Eight bytes at a time (Kounavis and Berry, A Systematic Approach to Building High Performance Software-based CRC Generators). */
function fewBytes(bytes: Uint8Array, from: number, to: number, seed: number): number {
  let c = ~seed
  let at = from
  for (; at + 8 <= to; at += 8) {
    c ^=
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)
    c =
      (ieee7[c & 0xff] as number) ^
      (ieee6[(c >>> 8) & 0xff] as number) ^
      (ieee5[(c >>> 16) & 0xff] as number) ^
      (ieee4[c >>> 24] as number) ^
      (ieee3[bytes[at + 4] as number] as number) ^
      (ieee2[bytes[at + 5] as number] as number) ^
      (ieee1[bytes[at + 6] as number] as number) ^
      (ieee[bytes[at + 7] as number] as number)
  }
  for (; at < to; at++) c = (ieee[(c ^ (bytes[at] as number)) & 0xff] as number) ^ (c >>> 8)
  return ~c >>> 0
}

/** What so many zero bytes behind something do to its checksum: a power of x modulo the polynomial. */
const powers = powersOf(1024)

function powersOf(count: number): Int32Array {
  const out = new Int32Array(count)
  out[0] = 0x80000000
  for (let i = 1; i < count; i++) out[i] = product(out[i - 1] as number, 0x00800000)
  return out
}

/** The product of two polynomials modulo that of the checksum, the highest bit for the lowest power. */
function product(a: number, b: number): number {
  let sum = 0
  let left = b
  for (let rest = a | 0; rest !== 0; rest <<= 1) {
    if (rest < 0) sum ^= left
    left = (left & 1) === 0 ? left >>> 1 : (left >>> 1) ^ 0xedb88320
  }
  return sum
}

/**
 * The checksum of two parts, one behind the other, from theirs: what {@link crc32} says of the whole. Undefined where that
 * is not quicker than to look at the bytes.
 *
 * @param behindBytes length of the second part
 */
export function crc32Joined(first: number, behind: number, behindBytes: number): number | undefined {
  const power = powers[behindBytes]
  return power === undefined ? undefined : (product(first, power) ^ behind) >>> 0
}

/** CRC-32C (Castagnoli, RFC 3720) of `bytes`, an unsigned 32-bit integer: the one that LevelDB uses. */
export function crc32c(bytes: Uint8Array): number {
  let c = -1
  for (let i = 0; i < bytes.length; i++) {
    c = (castagnoli[(c ^ (bytes[i] as number)) & 0xff] as number) ^ (c >>> 8)
  }
  return ~c >>> 0
}
