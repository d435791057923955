import { KeelsonError } from './errors.ts'
import { invariant } from './invariant.ts'
import { putVarint } from './varint.ts'

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true })

/** No bytes. */
export const emptyBytes: Uint8Array = new Uint8Array(0)

/** UTF-8 bytes of a string. @throws KeelsonError `INVALID_ARGUMENT` for anything else */
export function utf8(text: string): Uint8Array {
  if (typeof text !== 'string') throw noText(text)
  return encoder.encode(text)
}

/** The string of UTF-8 bytes. @throws KeelsonError `MALFORMED` */
export function text(bytes: Uint8Array): string {
  if (!(bytes instanceof Uint8Array)) throw noBytes('text', bytes)
  try {
    return decoder.decode(bytes)
  } catch (cause) {
    throw new KeelsonError('MALFORMED', 'bytes that should be UTF-8 text are not', { cause })
  }
}

function noText(value: unknown): KeelsonError {
  return new KeelsonError('INVALID_ARGUMENT', `UTF-8 is made of a string, not of ${typeof value}`)
}

/** The error of a decoder that was given something else than bytes. @internal */
export function noBytes(what: string, value: unknown): KeelsonError {
  return new KeelsonError(
    'INVALID_ARGUMENT',
    `${what} is decoded from a Uint8Array, not from ${typeof value}`,
  )
}

/** Lower-case hexadecimal. */
export function hex(bytes: Uint8Array): string {
  let out = ''
  for (const byte of bytes) out += byte.toString(16).padStart(2, '0')
  return out
}

/** Negative, zero or positive as `a` sorts before, with or after `b`: unsigned bytes, a prefix first. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const difference = (a[i] as number) - (b[i] as number)
    if (difference !== 0) return difference
  }
  return a.length - b.length
}

/** True when two arrays hold the same bytes. Not in constant time: not for secrets. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && compareBytes(a, b) === 0
}

/**
 * A copy that shares nothing with `bytes`. Not `bytes.slice()`: what comes from a socket or a database is often a Buffer,
 * whose `slice` is a view of the same memory.
 */
export function copyBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes)
}

/** One array with all parts in order. */
export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0
  for (const part of parts) length += part.length
  const out = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/**
 * The first key after every key that starts with `prefix`, or undefined when there is none (all bytes are 0xff):
 * [prefix, prefixEnd) is the range of a prefix.
 */
export function prefixEnd(prefix: Uint8Array): Uint8Array | undefined {
  for (let i = prefix.length - 1; i >= 0; i--) {
    if (prefix[i] === 0xff) continue
    const end = prefix.slice(0, i + 1)
    end[i] = (end[i] as number) + 1
    return end
  }
  return undefined
}

/** Up to so many bytes are copied faster one by one than by a call that looks at both arrays first. */
const fewBytes = 48

/** Copies the first `length` bytes of `source` to their place in `target`, which has room for them. @internal */
export function copyInto(target: Uint8Array, at: number, source: Uint8Array, length: number): void {
  if (length > fewBytes) target.set(source.length === length ? source : source.subarray(0, length), at)
  else for (let i = 0; i < length; i++) target[at + i] = source[i] as number
}

/** And up to so many, where that call would need a view of its source. */
const fewOfMany = 32

/** Copies the bytes of `source` from `from` up to but without `to` to their place in `target`, which has room for them. @internal */
export function copyPart(target: Uint8Array, at: number, source: Uint8Array, from: number, to: number): void {
  const length = to - from
  if (length > fewOfMany) target.set(source.subarray(from, to), at)
  else for (let i = 0; i < length; i++) target[at + i] = source[from + i] as number
}

/** Writes fixed and variable-length numbers and bytes into one growing buffer. Little endian. */
export class ByteWriter {
  #buffer: Uint8Array
  /** Made when it is first needed, which for most small records is never. */
  #lazyView: DataView | undefined
  #length = 0

  /** Begins with a buffer of `initialBytes`, which grows when it is full. */
  constructor(initialBytes = 256) {
    this.#buffer = new Uint8Array(initialBytes)
  }

  get #view(): DataView {
    this.#lazyView ??= new DataView(this.#buffer.buffer)
    return this.#lazyView
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length
  }

  /** Appends an unsigned integer of one byte. */
  u8(value: number): this {
    this.#reserve(1)
    this.#buffer[this.#length] = value
    this.#length += 1
    return this
  }

  /** Appends an unsigned integer of two bytes. */
  u16(value: number): this {
    this.#reserve(2)
    this.#view.setUint16(this.#length, value, true)
    this.#length += 2
    return this
  }

  /** Appends an unsigned integer of four bytes. */
  u32(value: number): this {
    this.#reserve(4)
    this.#setUint32(this.#length, value)
    this.#length += 4
    return this
  }

  /** A safe integer of at least 0 in eight bytes. */
  u53(value: number): this {
    invariant(Number.isSafeInteger(value) && value >= 0, 'u53 takes a safe integer of at least 0')
    this.u32(value % 0x1_0000_0000)
    return this.u32(Math.floor(value / 0x1_0000_0000))
  }

  /** Appends an IEEE 754 number of eight bytes. */
  f64(value: number): this {
    this.#reserve(8)
    this.#view.setFloat64(this.#length, value, true)
    this.#length += 8
    return this
  }

  /** A safe integer of at least 0 in one to eight bytes, seven bits each (LEB128). */
  varint(value: number): this {
    invariant(Number.isSafeInteger(value) && value >= 0, 'varint takes a safe integer of at least 0')
    this.#reserve(8)
    this.#length = putVarint(this.#buffer, this.#length, value)
    return this
  }

  /** Bytes as they are. */
  raw(bytes: Uint8Array): this {
    this.#reserve(bytes.length)
    copyInto(this.#buffer, this.#length, bytes, bytes.length)
    this.#length += bytes.length
    return this
  }

  /** Bytes behind their length as a varint. */
  bytes(bytes: Uint8Array): this {
    return this.varint(bytes.length).raw(bytes)
  }

  /** UTF-8 text behind its length in bytes as a varint. */
  string(value: string): this {
    return this.bytes(utf8(value))
  }

  /**
   * Text of ASCII characters only, as {@link ByteWriter.string} writes it, without the detour through an encoder that costs
   * more than short names do. Any other character is cut to its lowest byte.
   */
  ascii(value: string): this {
    const { length } = value
    this.varint(length).#reserve(length)
    for (let i = 0; i < length; i++) this.#buffer[this.#length + i] = value.charCodeAt(i)
    this.#length += length
    return this
  }

  /** Overwrites four bytes that were written before, for lengths and checksums known only at the end. */
  patchU32(at: number, value: number): this {
    invariant(at + 4 <= this.#length, 'a patch lies inside what was written')
    this.#setUint32(at, value)
    return this
  }

  /** What was written so far, without a copy: valid until the next write. */
  view(): Uint8Array {
    return this.#buffer.subarray(0, this.#length)
  }

  /** Copies what was written to the start of `target`, which has room for it. */
  copyTo(target: Uint8Array): void {
    copyInto(target, 0, this.#buffer, this.#length)
  }

  /** Begins something whose length is written before it: see {@link ByteWriter.endSized}. Returns where it begins. */
  beginSized(): number {
    return this.u8(0).#length
  }

  /** Writes the length of all that was written since `from` before it, as {@link ByteWriter.bytes} does. */
  endSized(from: number): this {
    const length = this.#length - from
    let size = 1
    for (let rest = length; rest >= 0x80; rest = Math.floor(rest / 0x80)) size++
    if (size > 1) {
      this.#reserve(8)
      this.#buffer.copyWithin(from + size - 1, from, this.#length)
    }
    this.#length = from - 1
    this.varint(length)
    this.#length += length
    return this
  }

  /** Forgets what was written and keeps the room for it, for a writer that makes many small things. */
  clear(): this {
    this.#length = 0
    return this
  }

  /** A copy of what was written. */
  finish(): Uint8Array {
    return this.#buffer.slice(0, this.#length)
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes
    if (needed <= this.#buffer.length) return
    const grown = new Uint8Array(Math.max(needed, this.#buffer.length * 2))
    grown.set(this.view())
    this.#buffer = grown
    this.#lazyView = undefined
  }

  #setUint32(at: number, value: number): void {
    this.#buffer[at] = value
    this.#buffer[at + 1] = value >>> 8
    this.#buffer[at + 2] = value >>> 16
    this.#buffer[at + 3] = value >>> 24
  }
}

/**
 * Reads what {@link ByteWriter} wrote, from a source that is not trusted: every read checks what is left before it
 * allocates or moves.
 *
 * Every method throws KeelsonError `MALFORMED` at the end of the input or on a value out of range.
 */
export class ByteReader {
  readonly #bytes: Uint8Array
  readonly #what: string
  #at = 0

  /** `what` names the input in error messages. @throws KeelsonError `INVALID_ARGUMENT` for anything but bytes */
  constructor(bytes: Uint8Array, what: string) {
    if (!(bytes instanceof Uint8Array)) throw noBytes(what, bytes)
    this.#bytes = bytes
    this.#what = what
  }

  /** Position of the next byte, from the start of the input. */
  get offset(): number {
    return this.#at
  }

  /** Bytes that have not been read. */
  get remaining(): number {
    return this.#bytes.length - this.#at
  }

  /** Reads an unsigned integer of one byte. */
  u8(): number {
    return this.#bytes[this.#advance(1)] as number
  }

  /** Reads an unsigned integer of two bytes. */
  u16(): number {
    const at = this.#advance(2)
    return (this.#bytes[at] as number) + (this.#bytes[at + 1] as number) * 0x100
  }

  /** Reads an unsigned integer of four bytes. */
  u32(): number {
    const at = this.#advance(4)
    const bytes = this.#bytes
    const low = (bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16)
    return low + (bytes[at + 3] as number) * 0x100_0000
  }

  /** Reads a non-negative safe integer of eight bytes. */
  u53(): number {
    const low = this.u32()
    const high = this.u32()
    if (high > 0x1f_ffff) this.fail('holds an integer above the safe ones')
    return high * 0x1_0000_0000 + low
  }

  /** Reads an IEEE 754 number of eight bytes. */
  f64(): number {
    const at = this.#advance(8)
    const { buffer, byteOffset } = this.#bytes
    return new DataView(buffer, byteOffset + at, 8).getFloat64(0, true)
  }

  /** Reads a non-negative safe integer of variable length, seven bits to a byte, the lowest first. */
  varint(): number {
    let value = 0
    let factor = 1
    for (let i = 0; i < 8; i++) {
      const byte = this.u8()
      value += (byte & 0x7f) * factor
      if (byte < 0x80) {
        if (!Number.isSafeInteger(value)) this.fail('holds an integer above the safe ones')
        return value
      }
      factor *= 0x80
    }
    return this.fail('holds a variable-length integer of more than eight bytes')
  }

  /** The next `length` bytes, as a view into the input. */
  raw(length: number): Uint8Array {
    const at = this.#advance(length)
    return this.#bytes.subarray(at, at + length)
  }

  /** Length-prefixed bytes, as a view into the input. */
  bytes(): Uint8Array {
    return this.raw(this.varint())
  }

  /** Reads a length-prefixed string of UTF-8. */
  string(): string {
    return text(this.bytes())
  }

  /** Reads a length-prefixed string of at most `maximumLength` ASCII characters. */
  ascii(maximumLength: number): string {
    const length = this.varint()
    if (length > maximumLength) this.fail(`holds a text of more than ${maximumLength} characters`)
    const at = this.#advance(length)
    let value = ''
    for (let i = at; i < at + length; i++) {
      const byte = this.#bytes[i] as number
      if (byte > 0x7f) this.fail('holds a text that is not ASCII')
      value += String.fromCharCode(byte)
    }
    return value
  }

  /** Goes past `length` bytes without looking at them. */
  skip(length: number): void {
    this.#advance(length)
  }

  /** Refuses input that goes on after what was read. */
  end(): void {
    if (this.remaining > 0) this.fail(`has ${this.remaining} bytes too many`)
  }

  /**
   * Gives up: says what is wrong with the input, and at which byte. @throws KeelsonError `MALFORMED`, always
   */
  fail(problem: string): never {
    throw new KeelsonError(
      'MALFORMED',
      `${this.#what} ${problem} (at byte ${this.#at} of ${this.#bytes.length})`,
    )
  }

  #advance(length: number): number {
    if (length > this.remaining) this.fail(`ends early: ${length} bytes wanted, ${this.remaining} left`)
    const at = this.#at
    this.#at += length
    return at
  }
}
