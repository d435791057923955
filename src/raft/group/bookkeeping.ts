import { ByteReader, ByteWriter } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { LogPosition } from '../../interfaces/log-store.ts'
import type { Bookkeeping, BookkeepingWrite } from '../../interfaces/state-machine.ts'
import type { GroupId, ReplicaId } from '../../model/ids.ts'
import { decodeConfiguration } from '../core/configuration.ts'
import type { Configuration } from '../core/membership-types.ts'
import { unknownVersion } from './envelope.ts'
import { SessionTable } from './session-table.ts'

const version = 1
const keys = {
  position: 'position',
  configuration: 'configuration',
  terms: 'terms',
  replica: 'replica',
  /** Of its own, and not a field of the replica's record: an earlier release passes over it, and keeps it where it is. */
  group: 'group',
} as const

/** A configuration with the log index of the entry that it comes from. */
export interface AppliedConfiguration {
  readonly index: number
  readonly configuration: Configuration
}

/** What a group stores inside its state machine, atomically with the state. */
export interface GroupBookkeeping {
  /** The last entry that was applied; index 0 for a new state. */
  readonly applied: LogPosition
  /** Lease sequence: see LeaseFence. */
  readonly sequence: number
  readonly configuration: AppliedConfiguration | undefined
  /** First applied position of each term of which the log may still hold entries, ascending. */
  readonly termStarts: readonly LogPosition[]
  /** The replica that the state belongs to; 0 for none yet. A snapshot's is replaced by the receiver's own. */
  readonly replicaId: ReplicaId
  /** The group that the state belongs to; 0 for none yet, and where an earlier release has stored it alone. */
  readonly groupId: GroupId
  readonly sessions: SessionTable
}

export function positionWrite(applied: LogPosition, sequence: number): BookkeepingWrite {
  const value = new ByteWriter(25).u8(version).u53(applied.index).u53(applied.term).u53(sequence).finish()
  return { key: keys.position, value }
}

export function configurationWrite(index: number, data: Uint8Array): BookkeepingWrite {
  const value = new ByteWriter(9 + data.length).u8(version).u53(index).raw(data).finish()
  return { key: keys.configuration, value }
}

export function termStartsWrite(termStarts: readonly LogPosition[]): BookkeepingWrite {
  const out = new ByteWriter(1 + termStarts.length * 8).u8(version)
  for (const { index, term } of termStarts) out.varint(index).varint(term)
  return { key: keys.terms, value: out.finish() }
}

/** Whose state it is, see {@link checkOwner}; a group id of 0 is left out. */
export function ownerWrites(groupId: GroupId, replicaId: ReplicaId): BookkeepingWrite[] {
  const idWrite = (key: string, id: number): BookkeepingWrite => {
    return { key, value: new ByteWriter(9).u8(version).u53(id).finish() }
  }
  const replica = idWrite(keys.replica, replicaId)
  return groupId === 0 ? [replica] : [replica, idWrite(keys.group, groupId)]
}

/** Writes of which the later ones take the place of earlier ones with the same name. */
export function mergeWrites(
  earlier: readonly BookkeepingWrite[],
  later: readonly BookkeepingWrite[],
): readonly BookkeepingWrite[] {
  if (earlier.length === 0 || later.length === 0) return later.length === 0 ? earlier : later
  return [...earlier.filter(({ key }) => !later.some((write) => write.key === key)), ...later]
}

/** Reads what {@link positionWrite} and the others wrote. @throws KeelsonError `CORRUPTION`, `FORMAT_VERSION` */
export function readBookkeeping(bookkeeping: Bookkeeping): GroupBookkeeping {
  try {
    let applied: LogPosition = { index: 0, term: 0 }
    let sequence = 0
    const position = open(bookkeeping, keys.position)
    if (position !== undefined) {
      applied = { index: position.u53(), term: position.u53() }
      sequence = position.u53()
    }
    let configuration: AppliedConfiguration | undefined
    const stored = open(bookkeeping, keys.configuration)
    if (stored !== undefined) {
      const index = stored.u53()
      configuration = { index, configuration: decodeConfiguration(stored.raw(stored.remaining)) }
    }
    const termStarts: LogPosition[] = []
    const terms = open(bookkeeping, keys.terms)
    while (terms !== undefined && terms.remaining > 0) {
      termStarts.push({ index: terms.varint(), term: terms.varint() })
    }
    const replicaId = open(bookkeeping, keys.replica)?.u53() ?? 0
    const groupId = open(bookkeeping, keys.group)?.u53() ?? 0
    const sessions = SessionTable.restore(bookkeeping)
    return { applied, sequence, configuration, termStarts, replicaId, groupId, sessions }
  } catch (error) {
    if (KeelsonError.hasCode(error, 'FORMAT_VERSION', 'CORRUPTION')) throw error
    throw new KeelsonError('CORRUPTION', "a state machine's stored bookkeeping cannot be read", {
      cause: error,
    })
  }
}

/**
 * Refuses a state that another group has stored: whoever went on with it would answer with that group's data, and ruin it.
 * One that says nothing of its group, as earlier releases left it, is taken on trust and says it from then on.
 *
 * @throws KeelsonError `CONFLICT`
 */
export function checkOwner(groupId: GroupId, stored: GroupBookkeeping): void {
  if (stored.groupId === 0 || stored.groupId === groupId) return
  throw new KeelsonError(
    'CONFLICT',
    `the state machine that was given for group ${groupId} holds the state of group ${stored.groupId}, which is left as it is; give each group its own database or prefix`,
    { retryable: false, details: { groupId, ownerGroupId: stored.groupId } },
  )
}

function open(bookkeeping: Bookkeeping, key: string): ByteReader | undefined {
  const value = bookkeeping.get(key)
  if (value === undefined) return undefined
  const reader = new ByteReader(value, `the stored ${key}`)
  const found = reader.u8()
  if (found !== version) throw unknownVersion(`the stored ${key}`, found)
  return reader
}
