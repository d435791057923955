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

/** Below this length the call into native code costs more than the table. */
const nativeFromBytes = 64

/**
 * CRC-32 (IEEE 802.3, the one of zlib) of `bytes`, an unsigned 32-bit integer. `seed` continues an earlier one, so that
 * `crc32(b, crc32(a))` is the checksum of a followed by b.
 */
export function crc32(bytes: Uint8Array, seed = 0): number {
  if (bytes.length >= nativeFromBytes) return native(bytes, seed)
  let c = ~seed
  for (let i = 0; i < bytes.length; i++) c = (ieee[(c ^ (bytes[i] as number)) & 0xff] as number) ^ (c >>> 8)
  return ~c >>> 0
}

/** CRC-32C (Castagnoli, RFC 3720) of `bytes`, an unsigned 32-bit integer: the one that LevelDB uses. */
export function crc32c(bytes: Uint8Array): number {
  let c = -1
  for (let i = 0; i < bytes.length; i++) {
    c = (castagnoli[(c ^ (bytes[i] as number)) & 0xff] as number) ^ (c >>> 8)
  }
  return ~c >>> 0
}
