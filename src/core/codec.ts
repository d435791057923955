import { Packr } from 'msgpackr/pack'
import { Unpackr } from 'msgpackr/unpack'
import { noBytes } from './bytes.ts'
import { KeelsonError } from './errors.ts'

/**
 * What a message is made of: positional arrays of these. Maps are left out on purpose: arrays are smaller, faster and
 * carry no names that could collide with a prototype.
 */
export type Plain = null | boolean | number | string | Uint8Array | readonly Plain[]

/** Limits of {@link decodePlain}, checked before anything is allocated. */
export interface DecodeLimits {
  /** Deepest nesting of arrays. */
  readonly depth: number
  /** Values in total, arrays included. */
  readonly values: number
}

/** Used when a caller gives no limits of its own. */
export const defaultDecodeLimits: DecodeLimits = Object.freeze({ depth: 8, values: 100_000 })

// Records are state shared between two peers, which has diverged in the wild; structured clones can be cyclic.
const packr = new Packr({ useRecords: false, structuredClone: false, variableMapSize: true })
const unpackr = new Unpackr({ useRecords: false, structuredClone: false, mapsAsObjects: false })

/** MessagePack bytes of `value`. The result is a fresh array that the caller owns. */
export function encodePlain(value: Plain): Uint8Array {
  const packed = packr.pack(value)
  return new Uint8Array(packed.buffer, packed.byteOffset, packed.byteLength)
}

/**
 * Decodes MessagePack from a source that is not trusted. Only the types of {@link Plain} pass: extensions (and with
 * them msgpackr's records, dates and sets), maps and integers above the safe ones are refused by a scan before
 * decoding. Byte arrays in the result are views into `bytes`: copy what outlives the frame.
 *
 * @throws KeelsonError `MALFORMED`
 */
export function decodePlain(
  bytes: Uint8Array,
  what: string,
  limits: DecodeLimits = defaultDecodeLimits,
): Plain {
  if (!(bytes instanceof Uint8Array)) throw noBytes(what, bytes)
  scan(bytes, what, limits)
  try {
    return unpackr.unpack(bytes) as Plain
  } catch (cause) {
    throw new KeelsonError('MALFORMED', `${what} is not valid MessagePack`, { cause })
  }
}

function scan(bytes: Uint8Array, what: string, limits: DecodeLimits): void {
  const fail = (problem: string, at: number): never => {
    throw new KeelsonError('MALFORMED', `${what} ${problem} (at byte ${at} of ${bytes.length})`)
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  // How many values are still to come in each array that is open.
  const open: number[] = [1]
  let values = 0
  let at = 0
  const need = (length: number): void => {
    if (length > bytes.length - at) fail('ends early', at)
  }
  const skip = (length: number): void => {
    need(length)
    at += length
  }
  const enter = (count: number): void => {
    if (open.length > limits.depth) fail(`is nested deeper than ${limits.depth}`, at)
    // Each value takes at least a byte, so a count that cannot be true is found before msgpackr allocates for it.
    if (count > bytes.length - at) fail('announces more values than it has bytes', at)
    open.push(count)
  }
  const sized = (width: 1 | 2 | 4): number => {
    need(width)
    const length = width === 1 ? view.getUint8(at) : width === 2 ? view.getUint16(at) : view.getUint32(at)
    at += width
    return length
  }
  while (open.length > 0) {
    const left = open[open.length - 1] as number
    if (left === 0) {
      open.pop()
      continue
    }
    open[open.length - 1] = left - 1
    if (++values > limits.values) fail(`holds more than ${limits.values} values`, at)
    need(1)
    const tag = bytes[at++] as number
    if (tag <= 0x7f || tag >= 0xe0) continue
    if (tag >= 0xa0 && tag <= 0xbf) skip(tag & 0x1f)
    else if (tag >= 0x90 && tag <= 0x9f) enter(tag & 0x0f)
    else if (tag === 0xc0 || tag === 0xc2 || tag === 0xc3) continue
    else if (tag === 0xc4 || tag === 0xd9) skip(sized(1))
    else if (tag === 0xc5 || tag === 0xda) skip(sized(2))
    else if (tag === 0xc6 || tag === 0xdb) skip(sized(4))
    else if (tag === 0xca) skip(4)
    else if (tag === 0xcb) skip(8)
    else if (tag === 0xcc || tag === 0xd0) skip(1)
    else if (tag === 0xcd || tag === 0xd1) skip(2)
    else if (tag === 0xce || tag === 0xd2) skip(4)
    else if (tag === 0xcf || tag === 0xd3) {
      need(8)
      const integer = tag === 0xcf ? view.getBigUint64(at) : view.getBigInt64(at)
      if (integer > 0x1f_ffff_ffff_ffffn || integer < -0x1f_ffff_ffff_ffffn)
        fail('holds an integer above the safe ones', at)
      at += 8
    } else if (tag === 0xdc) enter(sized(2))
    else if (tag === 0xdd) enter(sized(4))
    else fail(`holds a type that is not allowed (tag 0x${tag.toString(16)})`, at - 1)
  }
  if (at !== bytes.length) fail(`has ${bytes.length - at} bytes too many`, at)
}

/**
 * Reads the positions of a decoded array one after the other and checks each: the second half of decoding input that
 * is not trusted. Positions beyond the last one read are ignored, so that a newer peer may append fields.
 *
 * Every method throws KeelsonError `MALFORMED`.
 */
export class Fields {
  readonly #values: readonly Plain[]
  readonly #what: string
  #at = 0

  /** `what` names the message in errors. */
  constructor(value: Plain | undefined, what: string) {
    this.#what = what
    if (!Array.isArray(value)) throw new KeelsonError('MALFORMED', `${what} is not an array of fields`)
    this.#values = value as readonly Plain[]
  }

  /** True while there are positions left. */
  get more(): boolean {
    return this.#at < this.#values.length
  }

  /** A safe integer of at least 0. */
  uint(name: string): number {
    const value = this.#next()
    return Number.isSafeInteger(value) && (value as number) >= 0
      ? (value as number)
      : this.#fail(name, 'is not an integer of at least 0')
  }

  /** The next position, a finite number. */
  number(name: string): number {
    const value = this.#next()
    return typeof value === 'number' && Number.isFinite(value)
      ? value
      : this.#fail(name, 'is not a finite number')
  }

  /** The next position, a boolean. */
  boolean(name: string): boolean {
    const value = this.#next()
    return typeof value === 'boolean' ? value : this.#fail(name, 'is not a boolean')
  }

  /** The next position, a string. */
  string(name: string): string {
    const value = this.#next()
    return typeof value === 'string' ? value : this.#fail(name, 'is not a string')
  }

  /** Bytes, as a view into the frame. */
  bytes(name: string): Uint8Array {
    const value = this.#next()
    return value instanceof Uint8Array ? value : this.#fail(name, 'is not a byte array')
  }

  /** One of `values`. */
  oneOf<const T extends Plain>(name: string, values: readonly T[]): T {
    const value = this.#next()
    return values.includes(value as T) ? (value as T) : this.#fail(name, `is not one of ${values.join(', ')}`)
  }

  /** The result of `read`, or undefined where null (or nothing) stands. */
  optional<T>(read: (fields: this) => T): T | undefined {
    if (this.#values[this.#at] === null || this.#at >= this.#values.length) {
      this.#at++
      return undefined
    }
    return read(this)
  }

  /** A nested array of fields. */
  nested(name: string): Fields {
    return new Fields(this.#next(), `${this.#what}.${name}`)
  }

  /** A list: `read` is called once per element, with the element as fields of its own. */
  list<T>(name: string, read: (fields: Fields) => T): T[] {
    const value = this.#next()
    if (!Array.isArray(value)) return this.#fail(name, 'is not a list')
    return value.map((item: Plain, i) => read(new Fields(item, `${this.#what}.${name}[${i}]`)))
  }

  /** A list of plain values, each read with a method of {@link Fields}: `scalars('ids', (f) => f.uint('id'))`. */
  scalars<T>(name: string, read: (fields: Fields) => T): T[] {
    const value = this.#next()
    if (!Array.isArray(value)) return this.#fail(name, 'is not a list')
    const inner = new Fields(value as Plain, `${this.#what}.${name}`)
    return value.map(() => read(inner))
  }

  /** Whatever stands here. */
  plain(): Plain {
    return this.#next() ?? null
  }

  #next(): Plain | undefined {
    return this.#values[this.#at++]
  }

  #fail(name: string, problem: string): never {
    throw new KeelsonError('MALFORMED', `${this.#what}: ${name} ${problem}`)
  }
}
