/** More steps than a message may have; whoever sends more gets his answer from the thorough decoder. */
const maximumSteps = 2_000

/** Leaves the quick way: the input is not what our own encoder writes. */
const notCanonical = Symbol('not canonical')

/**
 * Reads a message exactly as our encoder writes it, in one pass. Anything else, whether malformed, of a later release, or
 * merely encoded in another way, is undefined: the thorough decoder then tells what it is. What both can read they read
 * alike, as on the hot path it must not matter which of them did. Byte arrays are views.
 *
 * @param from where the message begins; it ends with the input
 */
export function ifCanonical<T>(
  bytes: Uint8Array,
  from: number,
  read: (cursor: CanonicalCursor) => T,
): T | undefined {
  if (!(bytes instanceof Uint8Array)) return undefined
  const cursor = new CanonicalCursor(bytes, from)
  try {
    const value = read(cursor)
    return cursor.ended ? value : undefined
  } catch (error) {
    if (error === notCanonical) return undefined
    throw error
  }
}

/** As much of MessagePack as our messages need. Every method throws what {@link ifCanonical} catches. */
export class CanonicalCursor {
  readonly #bytes: Uint8Array
  at: number
  #steps = 0

  constructor(bytes: Uint8Array, from: number) {
    this.#bytes = bytes
    this.at = from
  }

  get ended(): boolean {
    return this.at === this.#bytes.length
  }

  /** Not what is expected here. */
  refuse(): never {
    throw notCanonical
  }

  array(): number {
    const tag = this.#byte()
    if (tag >= 0x90 && tag <= 0x9f) return tag & 0x0f
    if (tag !== 0xdc) throw notCanonical
    return this.#number(2)
  }

  expect(count: number): void {
    if (this.array() !== count) throw notCanonical
  }

  list<T>(read: (cursor: CanonicalCursor) => T): T[] {
    const count = this.array()
    this.#steps += count
    if (this.#steps > maximumSteps) throw notCanonical
    const items: T[] = []
    for (let i = 0; i < count; i++) items.push(read(this))
    return items
  }

  /** As {@link list}, without one. */
  each(read: (cursor: CanonicalCursor) => unknown): void {
    const count = this.array()
    this.#steps += count
    if (this.#steps > maximumSteps) throw notCanonical
    for (let i = 0; i < count; i++) read(this)
  }

  bytes(): Uint8Array {
    const length = this.#length()
    return this.#bytes.subarray(this.at - length, this.at)
  }

  skipBytes(): void {
    this.#length()
  }

  uint(): number {
    const tag = this.#byte()
    if (tag <= 0x7f) return tag
    if (tag === 0xcc) return this.#number(1)
    if (tag === 0xcd) return this.#number(2)
    if (tag === 0xce) return this.#number(4)
    if (tag !== 0xcb && tag !== 0xcf) throw notCanonical
    if (this.#bytes.length - this.at < 8) throw notCanonical
    const view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset + this.at, 8)
    this.at += 8
    const value = tag === 0xcb ? view.getFloat64(0) : Number(view.getBigUint64(0))
    if (!Number.isSafeInteger(value) || value < 0) throw notCanonical
    return value
  }

  /** Steps over a null, if there is one. */
  isNull(): boolean {
    if (this.#bytes[this.at] !== 0xc0) return false
    this.at++
    return true
  }

  /** Steps over bytes. @returns their length */
  #length(): number {
    const tag = this.#byte()
    if (tag < 0xc4 || tag > 0xc6) throw notCanonical
    const length = this.#number(1 << (tag - 0xc4))
    if (length > this.#bytes.length - this.at) throw notCanonical
    this.at += length
    return length
  }

  #byte(): number {
    const byte = this.#bytes[this.at]
    if (byte === undefined) throw notCanonical
    this.at++
    return byte
  }

  #number(width: number): number {
    let value = 0
    for (let i = 0; i < width; i++) value = value * 256 + this.#byte()
    return value
  }
}
