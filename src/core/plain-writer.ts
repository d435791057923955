import { BytePool } from './byte-pool.ts'

const initialBytes = 4 * 1024
const largestKept = 256 * 1024
const pool = new BytePool()

/**
 * Writes MessagePack piece by piece, the same bytes that `encodePlain` makes of the whole, for what is sent so often that
 * making the arrays for it costs more than encoding them. One message at a time. @internal
 */
export class PlainWriter {
  #buffer = new Uint8Array(initialBytes)
  #length = 0

  /** Begins a message. */
  begin(): this {
    this.#length = 0
    return this
  }

  /** The message. A small one is a part of a pool. */
  end(): Uint8Array {
    const message = pool.copyOf(this.#buffer, 0, this.#length)
    if (this.#buffer.length > largestKept) this.#buffer = new Uint8Array(initialBytes)
    return message
  }

  /** An array of so many values, which follow. */
  array(count: number): this {
    if (count < 0x10) return this.#tagged(0x90 | count, 0, 0)
    return count < 0x1_0000 ? this.#tagged(0xdc, count, 2) : this.#tagged(0xdd, count, 4)
  }

  null(): this {
    return this.#tagged(0xc0, 0, 0)
  }

  /** A safe integer of at least 0. */
  uint(value: number): this {
    if (value < 0x80) return this.#tagged(value, 0, 0)
    if (value < 0x100) return this.#tagged(0xcc, value, 1)
    if (value < 0x1_0000) return this.#tagged(0xcd, value, 2)
    if (value < 0x1_0000_0000) return this.#tagged(0xce, value, 4)
    this.#reserve(9)
    this.#buffer[this.#length] = 0xcb
    new DataView(this.#buffer.buffer).setFloat64(this.#length + 1, value)
    this.#length += 9
    return this
  }

  bytes(bytes: Uint8Array): this {
    const { length } = bytes
    if (length < 0x100) this.#tagged(0xc4, length, 1)
    else if (length < 0x1_0000) this.#tagged(0xc5, length, 2)
    else this.#tagged(0xc6, length, 4)
    return this.raw(bytes)
  }

  /** What is encoded already. */
  raw(bytes: Uint8Array): this {
    this.#reserve(bytes.length)
    this.#buffer.set(bytes, this.#length)
    this.#length += bytes.length
    return this
  }

  /** A tag and a number of so many bytes, the highest first. */
  #tagged(tag: number, value: number, width: number): this {
    this.#reserve(5)
    const buffer = this.#buffer
    buffer[this.#length++] = tag
    if (width === 4) {
      buffer[this.#length++] = value >>> 24
      buffer[this.#length++] = value >>> 16
    }
    if (width > 1) buffer[this.#length++] = value >>> 8
    if (width > 0) buffer[this.#length++] = value
    return this
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes
    if (needed <= this.#buffer.length) return
    const grown = new Uint8Array(Math.max(needed, this.#buffer.length * 2))
    grown.set(this.#buffer.subarray(0, this.#length))
    this.#buffer = grown
  }
}
