import { ByteReader, ByteWriter } from '../../core/bytes.ts'
import { isAddress } from './message-codec.ts'

/** What a node wants to know of its former life: see {@link encodeSnapshot}. */
export interface SwimSnapshot {
  /** Number of its newest statement about itself. */
  readonly version: number
  /** Lamport time of the newest event that it knew. */
  readonly clock: number
  /** Where members were. */
  readonly addresses: readonly string[]
}

const snapshotVersion = 1
const maximumAddresses = 256

/** What lies above is no number that a member came to by itself. */
const largestNumber = 2 ** 52

/** A snapshot as bytes. */
export function encodeSnapshot({ version, clock, addresses }: SwimSnapshot): Uint8Array {
  const out = new ByteWriter(512)
  out.u8(snapshotVersion).varint(version).varint(clock)
  const kept = addresses.slice(0, maximumAddresses)
  out.varint(kept.length)
  for (const address of kept) out.ascii(address)
  return out.finish()
}

/** @throws KeelsonError `MALFORMED` */
export function decodeSnapshot(bytes: Uint8Array): SwimSnapshot {
  const reader = new ByteReader(bytes, 'a SWIM snapshot')
  const format = reader.u8()
  if (format !== snapshotVersion)
    reader.fail(`has the format ${format}, and only ${snapshotVersion} is known`)
  const version = reader.varint()
  const clock = reader.varint()
  if (version > largestNumber || clock > largestNumber) reader.fail('holds a number that nobody counts up to')
  const count = reader.varint()
  if (count > maximumAddresses) reader.fail(`holds more than ${maximumAddresses} addresses`)
  const addresses: string[] = []
  for (let i = 0; i < count; i++) {
    const address = reader.ascii(246)
    if (!isAddress(address)) reader.fail('holds something that is no address')
    addresses.push(address)
  }
  reader.end()
  return { version, clock, addresses }
}
