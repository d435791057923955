import { decodePlain, encodePlain, Fields } from '../../core/codec.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { ReplicaId } from '../../model/ids.ts'
import { unknownVersion } from './envelope.ts'

/** What a log store keeps of a group beside its log: who the replica is, and what must not be forgotten about it. */
export interface GroupMetadata {
  /** This replica's id. Of a destroyed one: the last id that it had, which never comes back here. */
  readonly replicaId: ReplicaId
  /** A tombstone: the replica was removed from its group, its log and state are gone. */
  readonly destroyed: boolean
  /** The disk was found to have lost something that was acknowledged. Only a new replica id gets rid of it. */
  readonly quarantined: boolean
  /** A snapshot may be replacing the state, after which the log is to be reset: start-up completes that. */
  readonly restoring: boolean
}

const version = 1

export function encodeGroupMetadata(metadata: GroupMetadata): Uint8Array {
  const { replicaId, destroyed, quarantined, restoring } = metadata
  return encodePlain([version, replicaId, destroyed, quarantined, restoring])
}

/** @throws KeelsonError `CORRUPTION`, `FORMAT_VERSION` */
export function decodeGroupMetadata(bytes: Uint8Array): GroupMetadata {
  try {
    const fields = new Fields(decodePlain(bytes, 'the metadata of a group'), 'the metadata of a group')
    const found = fields.uint('version')
    if (found !== version) throw unknownVersion('the metadata of a group', found)
    return {
      replicaId: fields.uint('replicaId'),
      destroyed: fields.boolean('destroyed'),
      quarantined: fields.boolean('quarantined'),
      restoring: fields.boolean('restoring'),
    }
  } catch (error) {
    if (KeelsonError.hasCode(error, 'FORMAT_VERSION')) throw error
    throw new KeelsonError('CORRUPTION', 'the metadata of a group cannot be read', { cause: error })
  }
}
