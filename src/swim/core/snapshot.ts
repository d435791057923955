import { ByteReader, ByteWriter } from '../../core/bytes.ts'
import { crc32 } from '../../core/checksum.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { Incarnation } from '../../model/ids.ts'
import type { Life, RemovedLife } from './lives.ts'
import { isAddress, readName } from './message-codec.ts'

/** What a node wants to know of its former life: see {@link encodeSnapshot}. */
export interface SwimSnapshot {
  /** Number of its newest statement about itself. */
  readonly version: number
  /** Lamport time of the newest event that it knew. */
  readonly clock: number
  /** Where members were. */
  readonly addresses: readonly string[]
  /** Its own life, if an operator removed that; otherwise 0. */
  readonly ownRemoval: Incarnation
  /** Lives that were let in. */
  readonly admitted: readonly Life[]
  /** Lives that were removed. */
  readonly removed: readonly RemovedLife[]
  /** Ids of what hosts told last and it has heard. */
  readonly heard: readonly number[]
  /** Lamport time up to which it does not remember any more what it heard. */
  readonly forgotten: number
}

/**
 * Version 1 ends behind the addresses; from 3 on a CRC-32 of all that is before it stands at the end; from 4 on it is said up to when
 * news are forgotten.
 */
const snapshotVersion = 4
const oldestVersion = 1
const checkedFrom = 3
const forgottenFrom = 4
const checksumBytes = 4
const maximumAddresses = 256

/** What a reader believes: more than any tuning allows. */
const maximumLives = 2_000_000
const maximumHeard = 65_536

/** What lies above is no number that a member came to by itself. */
const largestNumber = 2 ** 52

/** A snapshot as bytes. */
export function encodeSnapshot(snapshot: SwimSnapshot): Uint8Array {
  const { version, clock, addresses, ownRemoval, admitted, removed, heard, forgotten } = snapshot
  const out = new ByteWriter(512)
  out.u8(snapshotVersion).varint(version).varint(clock)
  const kept = addresses.slice(0, maximumAddresses)
  out.varint(kept.length)
  for (const address of kept) out.ascii(address)
  out.varint(ownRemoval).varint(admitted.length)
  for (const { nodeId, incarnation } of admitted) out.ascii(nodeId).varint(incarnation)
  out.varint(removed.length)
  for (const life of removed) out.ascii(life.nodeId).varint(life.incarnation).varint(life.version)
  out.varint(forgotten).varint(heard.length)
  for (const id of heard) out.u32(id)
  return out.u32(crc32(out.finish())).finish()
}

/**
 * Reads what any release has written. Nothing of one that is damaged is believed: one wrong bit may make a removed member a member, or
 * speak for this node under a version that nobody can speak above.
 *
 * @throws KeelsonError `CORRUPTION` where its checksum does not match, `FORMAT_VERSION` for one of a later release, `MALFORMED`
 */
export function decodeSnapshot(bytes: Uint8Array): SwimSnapshot {
  const format = new ByteReader(bytes, 'a SWIM snapshot').u8()
  if (format > snapshotVersion) {
    throw new KeelsonError(
      'FORMAT_VERSION',
      `a SWIM snapshot has the format ${format}, and this release knows ${oldestVersion} to ${snapshotVersion}; start the release that wrote it`,
    )
  }
  const reader = new ByteReader(format < checkedFrom ? bytes : checked(bytes), 'a SWIM snapshot')
  reader.skip(1)
  if (format < oldestVersion) reader.fail(`has the format ${format}, which there never was`)
  const version = readNumber(reader)
  const clock = readNumber(reader)
  const addresses = readMany(reader, maximumAddresses, 'addresses', () => {
    const address = reader.ascii(246)
    return isAddress(address) ? address : reader.fail('holds something that is no address')
  })
  if (format === oldestVersion) {
    reader.end()
    return { version, clock, addresses, ownRemoval: 0, admitted: [], removed: [], heard: [], forgotten: 0 }
  }
  const ownRemoval = reader.varint()
  const readLife = (): Life => ({ nodeId: readName(reader), incarnation: reader.varint() })
  const admitted = readMany(reader, maximumLives, 'lives', readLife)
  const removed = readMany(reader, maximumLives, 'lives', () => ({
    ...readLife(),
    version: readNumber(reader),
  }))
  const forgotten = format < forgottenFrom ? 0 : readNumber(reader)
  const heard = readMany(reader, maximumHeard, 'ids of news', () => reader.u32())
  reader.end()
  return { version, clock, addresses, ownRemoval, admitted, removed, heard, forgotten }
}

/** The snapshot without its checksum. */
function checked(bytes: Uint8Array): Uint8Array {
  const end = bytes.length - checksumBytes
  const content = bytes.subarray(0, Math.max(0, end))
  if (end > 0 && new ByteReader(bytes.subarray(end), 'a checksum').u32() === crc32(content)) return content
  throw new KeelsonError(
    'CORRUPTION',
    `a SWIM snapshot of ${bytes.length} bytes does not match its checksum: what was stored was cut off or changed`,
  )
}

function readNumber(reader: ByteReader): number {
  const number = reader.varint()
  return number <= largestNumber ? number : reader.fail('holds a number that nobody counts up to')
}

function readMany<T>(reader: ByteReader, limit: number, what: string, read: () => T): T[] {
  const count = reader.varint()
  if (count > limit) reader.fail(`holds more than ${limit} ${what}`)
  const found: T[] = []
  for (let i = 0; i < count; i++) found.push(read())
  return found
}
