import { BytePool } from '../../core/byte-pool.ts'
import { ByteReader, copyBytes, copyInto, copyPart } from '../../core/bytes.ts'
import { crc32, crc32AndFnv1a, crc32Part } from '../../core/checksum.ts'
import { KeelsonError } from '../../core/errors.ts'
import { putVarint, varintBytes } from '../../core/varint.ts'
import type { KeyValue, Revision, SessionId } from '../../interfaces/metadata-store.ts'
import { overheadBytes } from './limits.ts'

/**
 * What one transaction made of one key: its new value, or a tombstone. Immutable; the byte arrays belong to the store
 * and never leave it without a copy.
 */
export interface Version {
  /** The key that was written or deleted. */
  readonly key: Uint8Array
  /** Its value; empty for a tombstone. */
  readonly value: Uint8Array
  /** Revision at which the key came to be; 0 for a tombstone. */
  readonly createRevision: Revision
  /** Revision of the transaction. */
  readonly modRevision: Revision
  /** Number of writes since the key came to be, from 1; 0 for a tombstone. */
  readonly version: number
  /** Session that the key lives and dies with; 0 for none. */
  readonly session: SessionId
  /** Place among the changes of its transaction, from 0. */
  readonly sub: number
  /** True for a tombstone. */
  readonly deleted: boolean
}

/** A version as the interface shows it, with bytes that the caller may keep and change. */
export function toKeyValue(version: Version): KeyValue {
  return {
    key: copyBytes(version.key),
    value: copyBytes(version.value),
    createRevision: version.createRevision,
    modRevision: version.modRevision,
    version: version.version,
    session: version.session,
  }
}

const formatVersion = 1
const flagDeleted = 1
const checksumBytes = 4
/** Checksum, format and flags, before the fields. */
const headBytes = 6

/** Room for the two hashes of a record. */
const lanes = new Int32Array(2)

/** Where records go: they leave memory in about the order in which they came, when the history does. */
const pool = new BytePool()

/**
 * Versions that are one record of the image: a database is far quicker with one large value than with many small ones, and
 * the versions of a history mostly go as they came, together. Another small record says which of them have gone already.
 */
export interface ImageBlock {
  /** Of its record. */
  readonly key: Uint8Array
  readonly versions: readonly StoredVersion[]
  readonly bytes: number
  /** Versions that are still held, and their bytes. */
  held: number
  heldBytes: number
  /** There is a record of those that are not. */
  marked: boolean
}

/** The versions of one key, ascending. */
export interface KeyHistory {
  readonly key: Uint8Array
  readonly versions: StoredVersion[]
  /** How many views of the state there were when it was made: a later view has it, too. */
  readonly views: number
}

/**
 * A version as the state holds it: its record, of which the value is a part, so that what was encoded once is neither
 * encoded again nor copied. A long history is made of these, so it keeps no array of its own for the record, but says where
 * in a larger one it is.
 */
export class StoredVersion implements Version {
  readonly key: Uint8Array
  readonly createRevision: Revision
  readonly modRevision: Revision
  readonly version: number
  readonly session: SessionId
  readonly sub: number
  readonly deleted: boolean
  readonly valueBytes: number
  /** Length of its record. */
  readonly recordBytes: number
  /** What it adds to the two lanes of the state's hash. */
  readonly firstLane: number
  readonly secondLane: number
  /** No longer held, as nobody can read it any more. */
  dropped = false
  /** Where it lies in the image on disk; undefined while it does not. */
  block: ImageBlock | undefined
  /** Where the state holds it; undefined while it does not. */
  history: KeyHistory | undefined
  #slab: Uint8Array
  #at: number

  /** The record is the part of `slab` of so many bytes from `at` on. */
  constructor(
    fields: Omit<Version, 'value'>,
    valueBytes: number,
    slab: Uint8Array,
    at: number,
    recordBytes: number,
  ) {
    this.key = fields.key
    this.createRevision = fields.createRevision
    this.modRevision = fields.modRevision
    this.version = fields.version
    this.session = fields.session
    this.sub = fields.sub
    this.deleted = fields.deleted
    this.valueBytes = valueBytes
    this.recordBytes = recordBytes
    this.#slab = slab
    this.#at = at
    const end = at + recordBytes
    crc32AndFnv1a(slab, at, end, lanes)
    this.firstLane = lanes[0] as number
    this.secondLane = lanes[1] as number
  }

  /** How it is stored: checksum, format, then the fields. */
  get record(): Uint8Array {
    return this.#slab.subarray(this.#at, this.#at + this.recordBytes)
  }

  get value(): Uint8Array {
    const end = this.#at + this.recordBytes
    return this.#slab.subarray(end - this.valueBytes, end)
  }

  /** Length of what {@link StoredVersion.copyEntry} copies. */
  get entryBytes(): number {
    const { valueBytes, key } = this
    return varintBytes(key.length) + key.length + varintBytes(valueBytes) + valueBytes
  }

  /** Copies the end of the record, key and value, each behind its length. */
  copyEntry(out: Uint8Array, at: number, entryBytes: number): void {
    const end = this.#at + this.recordBytes
    copyPart(out, at, this.#slab, end - entryBytes, end)
  }

  /** What it counts against the database quota. */
  get quotaBytes(): number {
    return this.key.length + this.valueBytes + overheadBytes
  }

  /** Length of the record behind its length, as {@link copyRecords} copies it. */
  get sizedBytes(): number {
    return varintBytes(this.recordBytes) + this.recordBytes
  }

  /** Copies the records from this one to that of `last`, which are all in a row: see {@link StoredVersion.follows}. */
  copyTo(last: StoredVersion, out: Uint8Array, at: number): number {
    const from = putVarint(out, at, this.recordBytes)
    const end = last.#at + last.recordBytes
    out.set(this.#slab.subarray(this.#at, end), from)
    return from + end - this.#at
  }

  /** In memory its record comes behind that of `before`, with its length between them. */
  follows(before: StoredVersion): boolean {
    return (
      this.#slab === before.#slab &&
      this.#at - varintBytes(this.recordBytes) === before.#at + before.recordBytes
    )
  }

  /** It outlives those that came with it, and must not keep their memory. */
  settle(): void {
    if (this.#slab.length <= this.sizedBytes) return
    this.#slab = copyBytes(this.record)
    this.#at = 0
  }
}

/** A version that is made now. Copies nothing but the value; the key must not change any more. */
export function makeVersion(fields: Version): StoredVersion {
  return makeVersionOf(fields, fields.value, 0, fields.value.length)
}

/** The same, of a value that is so many bytes of `source` from `valueAt` on: nothing is made but the version. */
export function makeVersionOf(
  fields: Omit<Version, 'value'>,
  source: Uint8Array,
  valueAt: number,
  valueBytes: number,
): StoredVersion {
  const bytes = recordBytesOf(fields, valueBytes)
  const start = pool.reserve(varintBytes(bytes) + bytes)
  const { slab } = pool
  const at = putVarint(slab, start, bytes)
  const valueTo = writeHead(fields, valueBytes, slab, at)
  copyPart(slab, valueTo, source, valueAt, valueAt + valueBytes)
  seal(slab, at, valueTo + valueBytes)
  return new StoredVersion(fields, valueBytes, slab, at, bytes)
}

/** The tombstone that ends `previous`. */
export function tombstone(previous: Version, modRevision: Revision, sub: number): StoredVersion {
  const { key } = previous
  const nothing = { value: new Uint8Array(0), createRevision: 0, version: 0, session: 0 }
  return makeVersion({ key, ...nothing, modRevision, sub, deleted: true })
}

/**
 * Writes records, each behind its length. Those that were made one after the other mostly lie in memory as they are to be
 * written, so that many are copied as one.
 *
 * @returns where the next byte goes
 */
export function copyRecords(versions: readonly StoredVersion[], out: Uint8Array, from: number): number {
  let at = from
  for (let i = 0; i < versions.length; ) {
    const first = versions[i] as StoredVersion
    let last = first
    for (i++; i < versions.length; i++) {
      const next = versions[i] as StoredVersion
      if (!next.follows(last)) break
      last = next
    }
    at = first.copyTo(last, out, at)
  }
  return at
}

function recordBytesOf(version: Omit<Version, 'value'>, valueBytes: number): number {
  const { key } = version
  return (
    headBytes +
    varintBytes(version.modRevision) +
    varintBytes(version.sub) +
    varintBytes(version.createRevision) +
    varintBytes(version.version) +
    varintBytes(version.session) +
    varintBytes(key.length) +
    varintBytes(valueBytes) +
    key.length +
    valueBytes
  )
}

/** Writes a version as a record, but for its checksum and its value. @returns where the value goes */
function writeHead(
  version: Omit<Version, 'value'>,
  valueBytes: number,
  out: Uint8Array,
  from: number,
): number {
  const { key } = version
  const body = from + checksumBytes
  out[body] = formatVersion
  out[body + 1] = version.deleted ? flagDeleted : 0
  let at = putVarint(out, from + headBytes, version.modRevision)
  at = putVarint(out, at, version.sub)
  at = putVarint(out, at, version.createRevision)
  at = putVarint(out, at, version.version)
  at = putVarint(out, at, version.session)
  at = putVarint(out, at, key.length)
  copyInto(out, at, key, key.length)
  return putVarint(out, at + key.length, valueBytes)
}

/** Writes the checksum of a record that lies from `from` up to but without `to`. */
function seal(out: Uint8Array, from: number, to: number): void {
  const checksum = crc32Part(out, from + checksumBytes, to)
  for (let i = 0; i < checksumBytes; i++) out[from + i] = checksum >>> (8 * i)
}

/** A version from its record. Nothing in it refers to `bytes`. @throws KeelsonError `CORRUPTION`, `FORMAT_VERSION` */
export function decodeVersion(bytes: Uint8Array): StoredVersion {
  try {
    const reader = new ByteReader(bytes, 'a version record')
    const checksum = reader.u32()
    if (crc32(bytes.subarray(checksumBytes)) !== checksum) reader.fail('does not match its checksum')
    const format = reader.u8()
    if (format !== formatVersion) {
      throw new KeelsonError(
        'FORMAT_VERSION',
        `a record of the metadata store has format ${format}, but this release knows ${formatVersion}: run a newer release`,
      )
    }
    const deleted = (reader.u8() & flagDeleted) !== 0
    const modRevision = reader.varint()
    const sub = reader.varint()
    const createRevision = reader.varint()
    const version = reader.varint()
    const session = reader.varint()
    const key = copyBytes(reader.bytes())
    const value = reader.bytes()
    if (reader.remaining !== 0) reader.fail('has bytes left over')
    const fields = { key, createRevision, modRevision, version, session, sub, deleted }
    return new StoredVersion(fields, value.length, copyBytes(bytes), 0, bytes.length)
  } catch (cause) {
    if (KeelsonError.hasCode(cause, 'FORMAT_VERSION')) throw cause
    throw new KeelsonError('CORRUPTION', 'a record of the metadata store is damaged; replace this replica', {
      cause,
    })
  }
}
