import type { Compare, KeySelector, Operation, Transaction } from '../../interfaces/metadata-store.ts'

const compareTargets = ['createRevision', 'modRevision', 'version', 'session', 'value'] as const
const compareOperators = ['=', '!=', '<', '>'] as const

/** More steps than a transaction may have; whoever sends more gets his answer from the thorough decoder. */
const maximumSteps = 1_000

/** Leaves the quick way: the input is not what our own encoder writes. */
const notCanonical = Symbol('not canonical')

/**
 * Reads a transaction exactly as our encoder writes it, in one pass. Anything else, whether malformed, of a later
 * release, or merely encoded in another way, is undefined: the thorough decoder then tells what it is. What both can
 * read they read alike, as on the hot path it must not matter which of them did. Byte arrays are views.
 *
 * @param from where the transaction begins; it ends with the input
 */
export function readCanonicalTransaction(bytes: Uint8Array, from: number): Required<Transaction> | undefined {
  const cursor = new Cursor(bytes, from)
  try {
    if (cursor.array() !== 3) return undefined
    const transaction = {
      if: cursor.list(readCompare),
      then: cursor.list(readOperation),
      else: cursor.list(readOperation),
    }
    return cursor.ended ? transaction : undefined
  } catch (error) {
    if (error === notCanonical) return undefined
    throw error
  }
}

/** A command's head, of small numbers: where its body begins, or undefined when it is not encoded as ours are. */
export function readCanonicalHead(
  bytes: Uint8Array,
  fields: number,
): { readonly numbers: readonly number[]; readonly at: number } | undefined {
  if (!(bytes instanceof Uint8Array)) return undefined
  const cursor = new Cursor(bytes, 0)
  try {
    if (cursor.array() !== fields) return undefined
    const numbers: number[] = []
    while (numbers.length < fields - 1) numbers.push(cursor.uint())
    return { numbers, at: cursor.at }
  } catch (error) {
    if (error === notCanonical) return undefined
    throw error
  }
}

function readSelector(cursor: Cursor): KeySelector {
  const count = cursor.array()
  if (count === 1) return { key: cursor.bytes() }
  if (count !== 2) throw notCanonical
  return { key: cursor.bytes(), end: cursor.isNull() ? null : cursor.bytes() }
}

function readCompare(cursor: Cursor): Compare {
  cursor.expect(4)
  const key = cursor.bytes()
  const target = compareTargets[cursor.uint()]
  const is = compareOperators[cursor.uint()]
  if (target === undefined || is === undefined) throw notCanonical
  if (target !== 'value') return { key, target, is, operand: cursor.uint() }
  if (is !== '=' && is !== '!=') throw notCanonical
  return { key, target, is, operand: cursor.bytes() }
}

function readOperation(cursor: Cursor): Operation {
  const count = cursor.array()
  const type = cursor.uint()
  if (type === 0 && count === 4)
    return { type: 'put', key: cursor.bytes(), value: cursor.bytes(), session: cursor.uint() }
  if (type === 1 && count === 2) return { type: 'delete', select: readSelector(cursor) }
  if (type !== 2 || count !== 3) throw notCanonical
  const select = readSelector(cursor)
  return cursor.isNull() ? { type: 'range', select } : { type: 'range', select, limit: cursor.uint() }
}

/** As much of MessagePack as a transaction needs. Every method throws {@link notCanonical}. */
class Cursor {
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

  array(): number {
    const tag = this.#byte()
    if (tag >= 0x90 && tag <= 0x9f) return tag & 0x0f
    if (tag !== 0xdc) throw notCanonical
    return this.#number(2)
  }

  expect(count: number): void {
    if (this.array() !== count) throw notCanonical
  }

  list<T>(read: (cursor: Cursor) => T): T[] {
    const count = this.array()
    this.#steps += count
    if (this.#steps > maximumSteps) throw notCanonical
    const items: T[] = []
    for (let i = 0; i < count; i++) items.push(read(this))
    return items
  }

  bytes(): Uint8Array {
    const tag = this.#byte()
    if (tag < 0xc4 || tag > 0xc6) throw notCanonical
    const length = this.#number(1 << (tag - 0xc4))
    const from = this.at
    if (length > this.#bytes.length - from) throw notCanonical
    this.at = from + length
    return this.#bytes.subarray(from, this.at)
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
