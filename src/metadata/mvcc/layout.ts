import { concatBytes, text, utf8 } from '../../core/bytes.ts'
import { decodePlain, encodePlain, Fields } from '../../core/codec.ts'
import { KeelsonError } from '../../core/errors.ts'
import { checkNumbers } from './limits.ts'
import type { StateNumbers } from './state-types.ts'

/** How keys and values pass through an abstract-level: as byte arrays. */
export interface ByteEncodings {
  /** Keys are byte arrays. */
  readonly keyEncoding: 'view'
  /** Values are byte arrays. */
  readonly valueEncoding: 'view'
}

/** A part of an abstract-level, in the order of its keys. */
export interface KeyBounds {
  /** First key of the part. */
  readonly gte: Uint8Array
  /** First key after the part. */
  readonly lt: Uint8Array
}

/** A chained batch of an abstract-level. */
export interface StateBatch {
  /** Adds a put. */
  put(key: Uint8Array, value: Uint8Array, options: ByteEncodings): unknown
  /** Adds a deletion. */
  del(key: Uint8Array, options: { readonly keyEncoding: 'view' }): unknown
  /** `sync` is known to the implementations on a disk. */
  write(options?: object): Promise<void>
  /** Drops the batch unless it was written. */
  close(): Promise<void>
}

/** An iterator of an abstract-level. */
export interface StateIterator {
  /** The next entries, at most `size`; empty at the end. */
  nextv(size: number): Promise<[Uint8Array, Uint8Array][]>
  /** Lets go of the iterator. Idempotent. */
  close(): Promise<void>
}

/**
 * What is used of an abstract-level 3 (classic-level on a disk, a memory level in tests and simulations), whatever its
 * default encodings.
 */
export interface StateDatabase {
  /** Opens the database, unless it is open already. */
  open(): Promise<void>
  /** The value of a key, or undefined. */
  get(key: Uint8Array, options: ByteEncodings): Promise<Uint8Array | undefined>
  /** Begins a batch, which is written as a whole or not at all. */
  batch(): StateBatch
  /** Deletes all keys within the bounds. */
  clear(options: KeyBounds & { readonly keyEncoding: 'view' }): Promise<void>
  /** Iterates over the entries within the bounds. */
  iterator(options: KeyBounds & ByteEncodings & { readonly limit?: number }): StateIterator
}

/** {@link ByteEncodings} as a value. */
export const byteEncodings: ByteEncodings = Object.freeze({ keyEncoding: 'view', valueEncoding: 'view' })

const pointerFormat = 1
/** Of what a slot holds. In format 1 every version was a record of its own; they are read, and go when their versions do. */
const imageFormat = 2

/** What kind of record a key leads to. The numbers are the format on disk. Single versions are of an earlier release. */
export const recordKinds: {
  readonly bookkeeping: 1
  readonly session: 2
  readonly version: 3
  readonly numbers: 4
  readonly block: 5
  readonly dropped: 6
} = Object.freeze({ bookkeeping: 1, session: 2, version: 3, numbers: 4, block: 5, dropped: 6 })

/** A state lives in one of two slots; a restore fills the other one and then turns the pointer. */
export type Slot = 1 | 2

/** Where the records of a state machine lie in its database, under a prefix of its own. */
export class Layout {
  readonly #prefix: Uint8Array

  constructor(prefix: Uint8Array) {
    this.#prefix = prefix
  }

  /** The record that says which slot is the state. It sorts before the slots. */
  get pointer(): Uint8Array {
    return concatBytes([this.#prefix, Uint8Array.of(0)])
  }

  /** A key that holds nothing and is written to flush. It sorts behind the pointer. */
  get flushMark(): Uint8Array {
    return concatBytes([this.#prefix, Uint8Array.of(0, 0)])
  }

  /** Everything under the prefix. */
  get whole(): KeyBounds {
    return { gte: this.pointer, lt: concatBytes([this.#prefix, Uint8Array.of(3)]) }
  }

  /** Everything in a slot, or all records of one kind. */
  within(slot: Slot, kind?: number): KeyBounds {
    if (kind === undefined) {
      return {
        gte: concatBytes([this.#prefix, Uint8Array.of(slot)]),
        lt: concatBytes([this.#prefix, Uint8Array.of(slot + 1)]),
      }
    }
    return { gte: this.#key(slot, kind), lt: this.#key(slot, kind + 1) }
  }

  numbers(slot: Slot): Uint8Array {
    return this.#key(slot, recordKinds.numbers)
  }

  bookkeeping(slot: Slot, name: string): Uint8Array {
    return concatBytes([this.#key(slot, recordKinds.bookkeeping), utf8(name)])
  }

  /** The name of a bookkeeping record, from its key. */
  bookkeepingName(key: Uint8Array): string {
    return text(key.subarray(this.#prefix.length + 2))
  }

  session(slot: Slot, sessionId: number): Uint8Array {
    return concatBytes([this.#key(slot, recordKinds.session), bigEndian(sessionId)])
  }

  /** A block of versions is named after the first of them. */
  block(slot: Slot, modRevision: number, sub: number): Uint8Array {
    return concatBytes([this.#key(slot, recordKinds.block), bigEndian(modRevision), bigEndian(sub)])
  }

  /** The record that says which versions of a block are not held any more. */
  droppedOf(block: Uint8Array): Uint8Array {
    const key = new Uint8Array(block)
    key[this.#prefix.length + 1] = recordKinds.dropped
    return key
  }

  #key(slot: Slot, kind: number): Uint8Array {
    return concatBytes([this.#prefix, Uint8Array.of(slot, kind)])
  }
}

function bigEndian(value: number): Uint8Array {
  const out = new Uint8Array(8)
  const view = new DataView(out.buffer)
  view.setUint32(0, Math.floor(value / 0x1_0000_0000))
  view.setUint32(4, value % 0x1_0000_0000)
  return out
}

function checkFormat(fields: Fields, newest: number): void {
  const format = fields.uint('format')
  if (format >= 1 && format <= newest) return
  throw new KeelsonError(
    'FORMAT_VERSION',
    `the metadata store on this disk has format ${format}, but this release knows 1 to ${newest}: run a newer release`,
  )
}

export function encodePointer(slot: Slot): Uint8Array {
  return encodePlain([pointerFormat, slot])
}

/** @throws KeelsonError `FORMAT_VERSION`, `MALFORMED` */
export function decodePointer(record: Uint8Array): Slot {
  const fields = new Fields(decodePlain(record, 'the pointer record'), 'the pointer record')
  checkFormat(fields, pointerFormat)
  return fields.oneOf('slot', [1, 2])
}

export function encodeNumbers(numbers: StateNumbers, digest: string): Uint8Array {
  return encodePlain([imageFormat, numbers.revision, numbers.compactRevision, numbers.historyFrom, digest])
}

/** @throws KeelsonError `FORMAT_VERSION`, `MALFORMED`, `CORRUPTION` */
export function decodeNumbers(record: Uint8Array): StateNumbers & { readonly digest: string } {
  const fields = new Fields(decodePlain(record, 'the numbers record'), 'the numbers record')
  checkFormat(fields, imageFormat)
  const revision = fields.uint('revision')
  const compactRevision = fields.uint('compactRevision')
  const historyFrom = fields.uint('historyFrom')
  checkNumbers(revision, compactRevision, historyFrom)
  return { revision, compactRevision, historyFrom, digest: fields.string('digest') }
}
