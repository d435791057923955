import type { NodeId } from '../../model/ids.ts'
import type { MemberState } from './types.ts'

/** Parts of a view that are compared one by one: as many as a mask has bits. */
export const bucketCount = 32

/** Of two claims of one version the higher rank counts. */
export const stateRanks: Readonly<Record<MemberState, number>> = { alive: 0, suspect: 1, dead: 2, left: 3 }

/** What a digest is made of. */
export interface DigestedStatement {
  readonly nodeId: NodeId
  readonly incarnation: number
  readonly address: string
  readonly metadata: Uint8Array
  readonly metadataBytes: number
  readonly metadataChecksum: number
}

/** Hashes what stands in a record; FNV-1a, then the finalizer of MurmurHash3, as sums of FNV values cancel too well. */
export function digestOf(said: DigestedStatement, state: MemberState, version: number): number {
  let hash = 0x811c9dc5
  const byte = (value: number): void => {
    hash = Math.imul(hash ^ value, 0x01000193)
  }
  const integer = (value: number): void => {
    byte(value & 0xff)
    byte((value >>> 8) & 0xff)
    byte((value >>> 16) & 0xff)
    byte((value >>> 24) & 0xff)
    byte(Math.floor(value / 0x1_0000_0000) & 0x1f_ffff)
  }
  const string = (value: string): void => {
    for (let i = 0; i < value.length; i++) byte(value.charCodeAt(i))
    byte(0x100)
  }
  string(said.nodeId)
  integer(version)
  byte(stateRanks[state])
  // Of the dead only their death matters, and who merely heard of it does not know more.
  if (state === 'alive' || state === 'suspect') {
    integer(said.incarnation)
    string(said.address)
    integer(said.metadataBytes)
    // Long metadata count by their checksum, whether they have arrived or not.
    integer(said.metadataChecksum)
    if (said.metadataChecksum === 0) for (const value of said.metadata) byte(value)
  }
  return finalize(hash)
}

/** The bucket of a member. */
export function bucketOf(nodeId: NodeId): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < nodeId.length; i++) hash = Math.imul(hash ^ nodeId.charCodeAt(i), 0x01000193)
  return finalize(hash) % bucketCount
}

/** Who of all is asked about a name: those of the lowest ranks, which everybody computes alike. */
export function voterRank(name: NodeId, voter: NodeId): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193)
  hash = Math.imul(hash ^ 0x100, 0x01000193)
  for (let i = 0; i < voter.length; i++) hash = Math.imul(hash ^ voter.charCodeAt(i), 0x01000193)
  return finalize(hash)
}

/** A mask with a bit for each bucket in which two views differ. */
export function differingBuckets(a: Uint32Array, b: Uint32Array): number {
  let mask = 0
  for (let i = 0; i < bucketCount; i++) if (a[i] !== b[i]) mask |= 1 << i
  return mask >>> 0
}

/** True when the mask has the bucket's bit. */
export function maskHas(mask: number, bucket: number): boolean {
  return ((mask >>> bucket) & 1) === 1
}

function finalize(hash: number): number {
  let h = hash
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}
