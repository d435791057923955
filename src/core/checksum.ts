import { crc32 as native } from 'node:zlib'

const table = new Int32Array(256)
for (let n = 0; n < 256; n++) {
  let c = n
  for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1
  table[n] = c
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
  for (let i = 0; i < bytes.length; i++) c = (table[(c ^ (bytes[i] as number)) & 0xff] as number) ^ (c >>> 8)
  return ~c >>> 0
}
