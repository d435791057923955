import { crc32 } from '../core/checksum.ts'

/**
 * The bytes of one batch while it is put together. It grows as needed and is used again and again, so that a write
 * allocates nothing but the promise it returns.
 *
 * Methods write behind what is there. Whoever writes a record reserves room for all of it first.
 */
export class BatchBuffer {
  #bytes: Uint8Array
  #view: DataView
  #length = 0

  constructor(initialBytes: number) {
    this.#bytes = new Uint8Array(initialBytes)
    this.#view = new DataView(this.#bytes.buffer)
  }

  get length(): number {
    return this.#length
  }

  get capacity(): number {
    return this.#bytes.length
  }

  /** Forgets the content and leaves room for a header of so many bytes. */
  restart(headerBytes: number): void {
    this.#length = headerBytes
  }

  reserve(bytes: number): void {
    const needed = this.#length + bytes
    if (needed <= this.#bytes.length) return
    const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2))
    grown.set(this.#bytes.subarray(0, this.#length))
    this.#bytes = grown
    this.#view = new DataView(grown.buffer)
  }

  u8(value: number): void {
    this.#bytes[this.#length++] = value
  }

  /** A safe integer of at least 0, seven bits a byte (LEB128). */
  varint(value: number): void {
    let rest = value
    while (rest >= 0x80) {
      // The bitwise operators see 32 bits alone.
      this.#bytes[this.#length++] = (rest % 0x80) | 0x80
      rest = rest < 0x8000_0000 ? rest >>> 7 : Math.floor(rest / 0x80)
    }
    this.#bytes[this.#length++] = rest
  }

  raw(bytes: Uint8Array): void {
    this.#bytes.set(bytes, this.#length)
    this.#length += bytes.length
  }

  /** Leaves out some bytes, to be filled in later. */
  skip(bytes: number): number {
    const at = this.#length
    this.#length += bytes
    return at
  }

  setU32(at: number, value: number): void {
    this.#view.setUint32(at, value, true)
  }

  setU53(at: number, value: number): void {
    this.#view.setUint32(at, value % 0x1_0000_0000, true)
    this.#view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true)
  }

  checksum(from: number, to: number, seed: number): number {
    return crc32(this.#bytes.subarray(from, to), seed)
  }

  /** Fills up with zeros to a multiple of `unit`. */
  pad(unit: number): void {
    this.reserve(unit)
    while (this.#length % unit !== 0) this.u8(0)
  }

  /** The content, valid until the next change. */
  content(): Uint8Array {
    return this.#bytes.subarray(0, this.#length)
  }
}
