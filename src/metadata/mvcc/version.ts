import type { BytePool } from '../../core/byte-pool.ts'
import { ByteReader, ByteWriter, copyBytes, emptyBytes } from '../../core/bytes.ts'
import { crc32 } from '../../core/checksum.ts'
import { KeelsonError } from '../../core/errors.ts'
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

/** The tombstone that ends `previous`. */
export function tombstone(previous: Version, revision: Revision, sub: number): Version {
  return {
    key: previous.key,
    value: emptyBytes,
    createRevision: 0,
    modRevision: revision,
    version: 0,
    session: 0,
    sub,
    deleted: true,
  }
}

/** What a version counts against the database quota. */
export function versionBytes(version: Version): number {
  return version.key.length + version.value.length + overheadBytes
}

const formatVersion = 1
const flagDeleted = 1

/** Its room is used again and again. */
let scratch = new ByteWriter(1024)
const largestScratch = 64 * 1024

/** A version as a record: checksum, format, then the fields. With a pool the record is one of its small arrays. */
export function encodeVersion(version: Version, pool?: BytePool): Uint8Array {
  const out = scratch.clear()
  out.u32(0).u8(formatVersion)
  out
    .u8(version.deleted ? flagDeleted : 0)
    .varint(version.modRevision)
    .varint(version.sub)
    .varint(version.createRevision)
    .varint(version.version)
    .varint(version.session)
    .bytes(version.key)
    .bytes(version.value)
  out.patchU32(0, crc32(out.view().subarray(4)))
  const record = pool === undefined ? out.finish() : pool.copy(out.view())
  if (out.length > largestScratch) scratch = new ByteWriter(1024)
  return record
}

/** The inverse of {@link encodeVersion}. @throws KeelsonError `CORRUPTION`, `FORMAT_VERSION` */
export function decodeVersion(record: Uint8Array): Version {
  try {
    const reader = new ByteReader(record, 'a version record')
    const checksum = reader.u32()
    if (crc32(record.subarray(4)) !== checksum) reader.fail('does not match its checksum')
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
    const value = copyBytes(reader.bytes())
    if (reader.remaining !== 0) reader.fail('has bytes left over')
    return { key, value, createRevision, modRevision, version, session, sub, deleted }
  } catch (cause) {
    if (KeelsonError.hasCode(cause, 'FORMAT_VERSION')) throw cause
    throw new KeelsonError('CORRUPTION', 'a record of the metadata store is damaged; replace this replica', {
      cause,
    })
  }
}
