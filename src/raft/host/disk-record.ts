import { decodePlain, encodePlain, Fields } from '../../core/codec.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { LogStore } from '../../interfaces/log-store.ts'
import { checkId, type GroupId, type NodeId } from '../../model/ids.ts'
import { unknownVersion } from '../group/envelope.ts'
import { decodeGroupMetadata, type GroupMetadata } from '../group/metadata.ts'
import { DiskHistory } from './disk-history.ts'

/** Under this id a log store keeps what concerns all groups of its node. No group has it. */
export const diskGroupId: GroupId = Number.MAX_SAFE_INTEGER

/** Checks the id of a group. @throws KeelsonError `INVALID_ARGUMENT` */
export function checkGroupId(groupId: unknown): GroupId {
  const checked = checkId(groupId, 'a group id')
  if (checked !== diskGroupId) return checked
  throw new KeelsonError('INVALID_ARGUMENT', `a group id must be less than ${diskGroupId}, which is reserved`)
}

/** Why a disk is not believed any more: for whoever must judge whether that is right. */
export interface DiskEvidence {
  /** The node that told. */
  readonly knownBy: NodeId
  /** The life of this node's host in which the disk had so much, by what that node has heard. */
  readonly life: number
  readonly position: number
  /** How much there was when the life began in which this was found out. */
  readonly openedAt: number
  /** Wall time. */
  readonly atMs: number
  /** Groups that were recovered from a lost quorum at this position or later rely on nothing that was forgotten. */
  readonly settledFrom: number
}

/** What a log store keeps of its disk as a whole. */
export interface DiskRecord {
  /** The disk was found to have forgotten what it had confirmed: nothing on it is believed any more. */
  readonly forgetful: boolean
  /** Undefined for a disk that was found out by an earlier release. */
  readonly evidence: DiskEvidence | undefined
  readonly history: DiskHistory
}

/** 1 and 2 were metadata of a group, of which only one field counted. */
const version = 3
const what = 'the record of a disk'

export function encodeDiskRecord({ forgetful, evidence, history }: DiskRecord): Uint8Array {
  return encodePlain([
    version,
    forgetful,
    evidence === undefined
      ? null
      : [
          evidence.knownBy,
          evidence.life,
          evidence.position,
          evidence.openedAt,
          evidence.atMs,
          evidence.settledFrom,
        ],
    history.lives.map(({ life, openedAt }) => [life, openedAt]),
  ])
}

/** @throws KeelsonError `CORRUPTION`, `FORMAT_VERSION` */
export function decodeDiskRecord(bytes: Uint8Array): DiskRecord {
  try {
    const fields = new Fields(decodePlain(bytes, what), what)
    const found = fields.uint('version')
    if (found < version) {
      const { quarantined } = decodeGroupMetadata(bytes)
      return { forgetful: quarantined, evidence: undefined, history: new DiskHistory() }
    }
    if (found > version) throw unknownVersion(what, found)
    return {
      forgetful: fields.boolean('forgetful'),
      evidence: fields.optional((own) => readEvidence(own.nested('evidence'))),
      history: new DiskHistory(
        fields.list('lives', (own) => ({ life: own.uint('life'), openedAt: own.uint('openedAt') })),
      ),
    }
  } catch (error) {
    if (KeelsonError.hasCode(error, 'FORMAT_VERSION')) throw error
    throw new KeelsonError('CORRUPTION', `${what} cannot be read`, { cause: error })
  }
}

function readEvidence(fields: Fields): DiskEvidence {
  return {
    knownBy: fields.string('knownBy'),
    life: fields.uint('life'),
    position: fields.uint('position'),
    openedAt: fields.uint('openedAt'),
    atMs: fields.number('atMs'),
    settledFrom: fields.uint('settledFrom'),
  }
}

/** What was found on opening a log store. @throws KeelsonError `CORRUPTION`, `FORMAT_VERSION` */
export function readDiskRecord(store: Pick<LogStore, 'recovered'>): DiskRecord {
  const metadata = store.recovered().get(diskGroupId)?.metadata
  return metadata === undefined
    ? { forgetful: false, evidence: undefined, history: new DiskHistory() }
    : decodeDiskRecord(metadata)
}

/**
 * Whether a group relies on something that the disk forgot. One that was recovered from a lost quorum has given up what was
 * promised before; where nobody knows when that was, its leaders alone find out what is missing.
 */
export function isConcerned({ forgetful, evidence }: DiskRecord, metadata: GroupMetadata): boolean {
  const { destroyed, recoveryGeneration, countsFrom } = metadata
  if (!forgetful || destroyed) return false
  if (recoveryGeneration === 0) return true
  return countsFrom !== undefined && countsFrom < (evidence?.settledFrom ?? 0)
}
