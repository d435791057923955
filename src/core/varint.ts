// Variable-length integers as ByteWriter writes them, for what is encoded into an array of exactly its size.

/** How many bytes a safe integer of at least 0 takes. @internal */
export function varintBytes(value: number): number {
  if (value < 0x80) return 1
  if (value < 0x4000) return 2
  if (value < 0x20_0000) return 3
  let length = 4
  for (let rest = Math.floor(value / 0x20_0000); rest >= 0x80; rest = Math.floor(rest / 0x80)) length++
  return length
}

/** Writes one. @returns where the next byte goes @internal */
export function putVarint(out: Uint8Array, at: number, value: number): number {
  let rest = value
  let next = at
  // A number of more bits than a shift has is divided until it has no more.
  while (rest > 0x7fff_ffff) {
    out[next++] = (rest % 0x80) | 0x80
    rest = Math.floor(rest / 0x80)
  }
  while (rest >= 0x80) {
    out[next++] = (rest & 0x7f) | 0x80
    rest >>>= 7
  }
  out[next++] = rest
  return next
}
