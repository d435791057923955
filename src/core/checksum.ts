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

const fnvPrime = 0x01000193

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

/** A checksum after eight bytes, of which the first four are in `four` together with what came before. */
function eight(four: number, b4: number, b5: number, b6: number, b7: number): number {
  return (
    (ieee7[four & 0xff] as number) ^
    (ieee6[(four >>> 8) & 0xff] as number) ^
    (ieee5[(four >>> 16) & 0xff] as number) ^
    (ieee4[four >>> 24] as number) ^
    (ieee3[b4] as number) ^
    (ieee2[b5] as number) ^
    (ieee1[b6] as number) ^
    (ieee[b7] as number)
  )
}

/** Eight bytes at a time (Kounavis and Berry, A Systematic Approach to Building High Performance Software-based CRC Generators). */
function fewBytes(bytes: Uint8Array, from: number, to: number, seed: number): number {
  let c = ~seed
  let at = from
  for (; at + 8 <= to; at += 8) {
    const four =
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)
    c = eight(
      c ^ four,
      bytes[at + 4] as number,
      bytes[at + 5] as number,
      bytes[at + 6] as number,
      bytes[at + 7] as number,
    )
  }
  for (; at < to; at++) c = (ieee[(c ^ (bytes[at] as number)) & 0xff] as number) ^ (c >>> 8)
  return ~c >>> 0
}

/**
 * {@link crc32Part} and FNV-1a (32 bits) of the same bytes in one pass: each step of the one
 * runs while the other waits for its last. Both go to the beginning of `out`, with a sign.
 */
export function crc32AndFnv1a(bytes: Uint8Array, from: number, to: number, out: Int32Array): void {
  let c = -1
  let h = 0x811c9dc5 | 0
  let at = from
  for (; at + 8 <= to; at += 8) {
    const b0 = bytes[at] as number
    const b1 = bytes[at + 1] as number
    const b2 = bytes[at + 2] as number
    const b3 = bytes[at + 3] as number
    const b4 = bytes[at + 4] as number
    const b5 = bytes[at + 5] as number
    const b6 = bytes[at + 6] as number
    const b7 = bytes[at + 7] as number
    h = Math.imul(h ^ b0, fnvPrime)
    h = Math.imul(h ^ b1, fnvPrime)
    h = Math.imul(h ^ b2, fnvPrime)
    h = Math.imul(h ^ b3, fnvPrime)
    h = Math.imul(h ^ b4, fnvPrime)
    h = Math.imul(h ^ b5, fnvPrime)
    h = Math.imul(h ^ b6, fnvPrime)
    h = Math.imul(h ^ b7, fnvPrime)
    c = eight(c ^ (b0 | (b1 << 8) | (b2 << 16) | (b3 << 24)), b4, b5, b6, b7)
  }
  for (; at < to; at++) {
    const byte = bytes[at] as number
    h = Math.imul(h ^ byte, fnvPrime)
    c = (ieee[(c ^ byte) & 0xff] as number) ^ (c >>> 8)
  }
  out[0] = ~c
  out[1] = h
}

/** CRC-32C (Castagnoli, RFC 3720) of `bytes`, an unsigned 32-bit integer: the one that LevelDB uses. */
export function crc32c(bytes: Uint8Array): number {
  let c = -1
  for (let i = 0; i < bytes.length; i++) {
    c = (castagnoli[(c ^ (bytes[i] as number)) & 0xff] as number) ^ (c >>> 8)
  }
  return ~c >>> 0
}
