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
   * How often the group was recovered from a lost quorum, as far as this replica goes: it listens to no replica of a lower
   * generation, and one of a higher one has taken its place.
   */
  readonly recoveryGeneration: number
}

/** 1 had no recovery generation. */
const version = 2

export function encodeGroupMetadata(metadata: GroupMetadata): Uint8Array {
  const { replicaId, floor, destroyed, quarantined, restoring, recoveryGeneration } = metadata
  return encodePlain([version, replicaId, destroyed, quarantined, restoring, recoveryGeneration, floor])
}

/** @throws KeelsonError `CORRUPTION`, `FORMAT_VERSION` */
export function decodeGroupMetadata(bytes: Uint8Array): GroupMetadata {
  try {
    const fields = new Fields(decodePlain(bytes, 'the metadata of a group'), 'the metadata of a group')
    const found = fields.uint('version')
    if (found < 1 || found > version) throw unknownVersion('the metadata of a group', found)
    const replicaId = fields.uint('replicaId')
    return {
      replicaId,
      destroyed: fields.boolean('destroyed'),
      quarantined: fields.boolean('quarantined'),
      restoring: fields.boolean('restoring'),
      recoveryGeneration: found === 1 ? 0 : fields.uint('recoveryGeneration'),
      // Where it was not stored nobody knows of earlier ones, so only later ones are safe.
      floor: fields.more ? fields.uint('floor') : replicaId,
    }
  } catch (error) {
    if (KeelsonError.hasCode(error, 'FORMAT_VERSION')) throw error
    throw new KeelsonError('CORRUPTION', 'the metadata of a group cannot be read', { cause: error })
  }
}
