// Variable-length integers as ByteWriter writes them, for what is encoded into an array of exactly its size.

/** How many bytes a safe integer of at least 0 takes. @internal */
export function varintBytes(value: number): number {
  let length = 1
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) length++
  return length
}

/** Writes one. @returns where the next byte goes @internal */
export function putVarint(out: Uint8Array, at: number, value: number): number {
  let rest = value
  let next = at
  while (rest >= 0x80) {
    out[next++] = (rest % 0x80) | 0x80
    rest = Math.floor(rest / 0x80)
  }
  out[next++] = rest
  return next
}
