import { decodePlain, encodePlain, Fields } from '../../core/codec.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { ReplicaId } from '../../model/ids.ts'
import { unknownVersion } from './envelope.ts'

/** What a log store keeps of a group beside its log: who the replica is, and what must not be forgotten about it. */
export interface GroupMetadata {
  /** This replica's id. Of a destroyed one: the last id that it had, which never comes back here. */
  readonly replicaId: ReplicaId
  /** Replica ids up to here were this node's before and are gone: an empty replica never takes one of them up. */
  readonly floor: ReplicaId
  /** A tombstone: the replica was removed from its group, its log and state are gone. */
  readonly destroyed: boolean
  /** The disk was found to have lost something that was acknowledged. Only a new replica id gets rid of it. */
  readonly quarantined: boolean
  /** A snapshot may be replacing the state, after which the log is to be reset: start-up completes that. */
  readonly restoring: boolean
  /**
   * The last recovery of the group from a lost quorum, as far as this replica goes; 0 for none. It listens to no replica of a
   * lower generation, and one of a higher one has taken its place.
   */
  readonly recoveryGeneration: number
  /** The recovery generation in which the group goes on without this replica; 0 for none that it knows of. */
  readonly supersededBy: number
  /**
   * The longest that this replica may have pledged itself for, in milliseconds: its next life votes for nobody for as long,
   * whatever its options are by then. 0 where it never made a pledge.
   */
  readonly pledgeMs: number
  /**
   * Of a replica in a group that was recovered from a lost quorum: how much of the disk was durable when what it promises began
   * to count. Undefined where everything counts, or nobody knows.
   */
  readonly countsFrom?: number
}

/** 1 had no recovery generations; 2 says nothing of when a replica was recovered, and stands for all that need not. */
const version = 3

/** Of a replica to which nothing has happened yet. */
export function newMetadata(
  replicaId: ReplicaId,
  recoveryGeneration = 0,
  floor: ReplicaId = 0,
  pledgeMs = 0,
): GroupMetadata {
  return {
    replicaId,
    floor,
    destroyed: false,
    quarantined: false,
    restoring: false,
    recoveryGeneration,
    supersededBy: 0,
    pledgeMs,
  }
}

/**
 * What stays of a destroyed replica. Of one that was left behind by a recovery from a lost quorum only the generation
 * counts: the ids of the recovered group start where its log ended, which may be below this one's.
 */
export function tombstoneOf(metadata: GroupMetadata): GroupMetadata {
  const { replicaId, recoveryGeneration, supersededBy } = metadata
  const left = supersededBy > recoveryGeneration
  return {
    ...newMetadata(left ? 0 : replicaId, Math.max(supersededBy, recoveryGeneration)),
    destroyed: true,
  }
}

/** The highest id of a recovery generation that a replica which was destroyed here had; 0 for none. */
export function floorAfter(tombstone: GroupMetadata | undefined, recoveryGeneration: number): ReplicaId {
  return tombstone?.recoveryGeneration === recoveryGeneration ? tombstone.replicaId : 0
}

/** Whether a replica of this id and generation can come after the one that was destroyed here, if any was. */
export function comesAfter(
  tombstone: GroupMetadata | undefined,
  replicaId: ReplicaId,
  recoveryGeneration: number,
): boolean {
  if (tombstone === undefined) return true
  if (recoveryGeneration !== tombstone.recoveryGeneration) {
    return recoveryGeneration > tombstone.recoveryGeneration
  }
  return replicaId > tombstone.replicaId
}

export function encodeGroupMetadata(metadata: GroupMetadata): Uint8Array {
  const { replicaId, floor, destroyed, quarantined, restoring, recoveryGeneration, supersededBy } = metadata
  const { pledgeMs, countsFrom } = metadata
  return encodePlain([
    countsFrom === undefined ? version - 1 : version,
    replicaId,
    destroyed,
    quarantined,
    restoring,
    recoveryGeneration,
    supersededBy,
    floor,
    // Only where leases are on: what has none is as it was before there were pledges.
    ...(pledgeMs > 0 || countsFrom !== undefined ? [pledgeMs] : []),
    ...(countsFrom === undefined ? [] : [countsFrom]),
  ])
}

/** @throws KeelsonError `CORRUPTION`, `FORMAT_VERSION` */
export function decodeGroupMetadata(bytes: Uint8Array): GroupMetadata {
  try {
    const fields = new Fields(decodePlain(bytes, 'the metadata of a group'), 'the metadata of a group')
    const found = fields.uint('version')
    if (found < 1 || found > version) throw unknownVersion('the metadata of a group', found)
    const replicaId = fields.uint('replicaId')
    const metadata = {
      replicaId,
      destroyed: fields.boolean('destroyed'),
      quarantined: fields.boolean('quarantined'),
      restoring: fields.boolean('restoring'),
      recoveryGeneration: found === 1 ? 0 : fields.uint('recoveryGeneration'),
      supersededBy: found === 1 ? 0 : fields.uint('supersededBy'),
      // Where it was not stored nobody knows of earlier ones, so only later ones are safe.
      floor: fields.more ? fields.uint('floor') : replicaId,
      pledgeMs: fields.more ? fields.uint('pledgeMs') : 0,
    }
    return found < 3 ? metadata : { ...metadata, countsFrom: fields.uint('countsFrom') }
  } catch (error) {
    if (KeelsonError.hasCode(error, 'FORMAT_VERSION')) throw error
    throw new KeelsonError('CORRUPTION', 'the metadata of a group cannot be read', { cause: error })
  }
}
