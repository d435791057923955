import { KeelsonError } from '../../core/errors.ts'
import type { LogStore } from '../../interfaces/log-store.ts'
import { checkId, type GroupId } from '../../model/ids.ts'
import {
  decodeGroupMetadata,
  encodeGroupMetadata,
  type GroupMetadata,
  newMetadata,
} from '../group/metadata.ts'

/** Under this id a log store keeps what concerns all groups of its node. No group has it. */
export const diskGroupId: GroupId = Number.MAX_SAFE_INTEGER

/** Checks the id of a group. @throws KeelsonError `INVALID_ARGUMENT` */
export function checkGroupId(groupId: unknown): GroupId {
  const checked = checkId(groupId, 'a group id')
  if (checked !== diskGroupId) return checked
  throw new KeelsonError('INVALID_ARGUMENT', `a group id must be less than ${diskGroupId}, which is reserved`)
}

/** What a log store is told when its disk was found to have forgotten something: nothing on it is believed any more. */
export const forgetfulDisk: Uint8Array = encodeGroupMetadata({ ...newMetadata(0), quarantined: true })

/** Whether a log store was told before that its disk has forgotten something. @throws KeelsonError `CORRUPTION`, `FORMAT_VERSION` */
export function isForgetful(store: Pick<LogStore, 'recovered'>): boolean {
  const metadata = store.recovered().get(diskGroupId)?.metadata
  return metadata !== undefined && decodeGroupMetadata(metadata).quarantined
}

/**
 * A group that was recovered from a lost quorum has given up what was promised before, and nobody can tell whether what the
 * others remember of the disk is from before: there its leaders alone find out what is missing.
 */
export function isConcerned({ destroyed, recoveryGeneration }: GroupMetadata): boolean {
  return !destroyed && recoveryGeneration === 0
}
