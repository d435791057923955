import { checkInteger, checkObject } from '../../core/arguments.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { LogPosition } from '../../interfaces/log-store.ts'
import type { Bookkeeping } from '../../interfaces/state-machine.ts'
import type { GroupId } from '../../model/ids.ts'
import { isJoint } from '../../model/replica-roles.ts'
import { encodeConfiguration, makeConfiguration } from '../core/configuration.ts'
import type { Configuration } from '../core/membership-types.ts'
import {
  configurationWrite,
  ownerWrites,
  positionWrite,
  readBookkeeping,
  termStartsWrite,
} from './bookkeeping.ts'
import type { CommandId } from './envelope.ts'
import { isSessionRecord } from './session-table.ts'

/** What became of a command, as far as a state's client sessions tell. */
export type CommandOutcome =
  | {
      /** It took effect, once. */
      readonly type: 'applied'
      /** What it returned then. */
      readonly result: Uint8Array
    }
  | {
      /**
       * `none`: it has not taken effect. `forgotten`, `unknown`: nobody can tell, since its result, or its whole session, was
       * dropped.
       */
      readonly type: 'none' | 'forgotten' | 'unknown'
    }

/** What a group's bookkeeping says, for state machines whose commands need it. */
export interface AppliedState {
  /** The last entry that was applied. */
  readonly applied: LogPosition
  /** The members as of that entry. */
  readonly configuration: Configuration | undefined
  /** What became of a command of a client session. */
  readonly outcome: (commandId: CommandId) => CommandOutcome
}

/**
 * Reads a group's bookkeeping: what a command that changes the bounds of a range is checked against, where it is applied.
 *
 * @throws KeelsonError `CORRUPTION`, `FORMAT_VERSION`
 */
export function readAppliedState(bookkeeping: Bookkeeping): AppliedState {
  checkObject(bookkeeping, 'the bookkeeping of a group', ['get', 'forEach'])
  const { applied, configuration, sessions } = readBookkeeping(bookkeeping)
  return {
    applied,
    configuration: configuration?.configuration,
    outcome: (commandId) => {
      checkObject(commandId, 'a command id')
      const known = sessions.lookup(commandId)
      if (known.type === 'duplicate') return { type: 'applied', result: known.result.slice() }
      return { type: known.type === 'unknown' || known.type === 'forgotten' ? known.type : 'none' }
    },
  }
}

/** The term of the place where the log of a split-off group begins: there has been no election in it. */
const firstTerm = 1

/**
 * The bookkeeping with which this node's replica of a group begins that is split off from another one: to be stored by the
 * parent's state machine, atomically with the split, for the state of the new group. It is a function of the parent's log
 * up to the split, the same on all replicas but for the replica's own id:
 *
 * - The members are those of the parent, with the ids 1 to n in the order of theirs. Generation 1.
 * - The log begins behind the index of the split. So the ids of the parent's client sessions, which are indexes of its log,
 *   are never minted again, and whoever has nothing of the group gets a snapshot and no log that begins with nothing.
 * - The client sessions come along with all results: a command that took effect before the split and is sent again to
 *   the new group is known there.
 *
 * @param parent the parent's bookkeeping as of the split: what was stored before, with what `seal` returned for it. The split
 *   is applied alone, see `StateMachine.alone`
 * @param groupId that of the new group, whose alone the state then is; without it the group that adopts it first has it
 * @returns undefined where the node was no member of the parent at the split: it came later, and replays the log
 * @throws KeelsonError `INVALID_ARGUMENT` for a parent in a joint configuration, or with none, `CORRUPTION`, `FORMAT_VERSION`
 */
export function splitBookkeeping(parent: Bookkeeping, groupId: GroupId = 0): Bookkeeping | undefined {
  checkObject(parent, 'the bookkeeping of a group', ['get', 'forEach'])
  checkInteger(groupId, 'the id of the group that is split off')
  const { applied, configuration, replicaId } = readBookkeeping(parent)
  if (configuration === undefined || isJoint(configuration.configuration.replicas)) {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      'a group is split off only where the parent has one set of voters: refuse the split as long as it is in between two',
    )
  }
  const members = configuration.configuration.replicas
  const self = members.findIndex((member) => member.replicaId === replicaId)
  if (self < 0) return undefined
  const first = makeConfiguration(
    1,
    members.map((member, i) => ({ ...member, replicaId: i + 1 })),
  )
  const position = { index: applied.index, term: firstTerm }
  const bookkeeping = new Map<string, Uint8Array>()
  for (const [key, value] of parent) if (isSessionRecord(key)) bookkeeping.set(key, value)
  for (const { key, value } of [
    positionWrite(position, firstTerm),
    configurationWrite(position.index, encodeConfiguration(first)),
    termStartsWrite([position]),
    ...ownerWrites(groupId, self + 1),
  ]) {
    if (value !== undefined) bookkeeping.set(key, value)
  }
  return bookkeeping
}
