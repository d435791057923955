import { ByteReader, ByteWriter } from '../../core/bytes.ts'
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
}

/** Version 1 ends behind the addresses. */
const snapshotVersion = 2
const oldestVersion = 1
const maximumAddresses = 256

/** What a reader believes: more than any tuning allows. */
const maximumLives = 2_000_000
const maximumHeard = 65_536

/** What lies above is no number that a member came to by itself. */
const largestNumber = 2 ** 52

/** A snapshot as bytes. */
export function encodeSnapshot(snapshot: SwimSnapshot): Uint8Array {
  const { version, clock, addresses, ownRemoval, admitted, removed, heard } = snapshot
  const out = new ByteWriter(512)
  out.u8(snapshotVersion).varint(version).varint(clock)
  const kept = addresses.slice(0, maximumAddresses)
  out.varint(kept.length)
  for (const address of kept) out.ascii(address)
  out.varint(ownRemoval).varint(admitted.length)
  for (const { nodeId, incarnation } of admitted) out.ascii(nodeId).varint(incarnation)
  out.varint(removed.length)
  for (const life of removed) out.ascii(life.nodeId).varint(life.incarnation).varint(life.version)
  out.varint(heard.length)
  for (const id of heard) out.u32(id)
  return out.finish()
}

/** @throws KeelsonError `MALFORMED` */
export function decodeSnapshot(bytes: Uint8Array): SwimSnapshot {
  const reader = new ByteReader(bytes, 'a SWIM snapshot')
  const format = reader.u8()
  if (format < oldestVersion || format > snapshotVersion)
    reader.fail(`has the format ${format}, and only ${oldestVersion} to ${snapshotVersion} are known`)
  const version = readNumber(reader)
  const clock = readNumber(reader)
  const addresses = readMany(reader, maximumAddresses, 'addresses', () => {
    const address = reader.ascii(246)
    return isAddress(address) ? address : reader.fail('holds something that is no address')
  })
  if (format === oldestVersion) {
    reader.end()
    return { version, clock, addresses, ownRemoval: 0, admitted: [], removed: [], heard: [] }
  }
  const ownRemoval = reader.varint()
  const readLife = (): Life => ({ nodeId: readName(reader), incarnation: reader.varint() })
  const admitted = readMany(reader, maximumLives, 'lives', readLife)
  const removed = readMany(reader, maximumLives, 'lives', () => ({
    ...readLife(),
    version: readNumber(reader),
  }))
  const heard = readMany(reader, maximumHeard, 'ids of news', () => reader.u32())
  reader.end()
  return { version, clock, addresses, ownRemoval, admitted, removed, heard }
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
