import type { Environment } from '../../core/environment.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { GroupWrite } from '../../interfaces/log-store.ts'
import type { StateMachine } from '../../interfaces/state-machine.ts'
import type { ReplicaDescriptor } from '../../model/descriptors.ts'
import type { GroupId } from '../../model/ids.ts'
import { bootstrapState, replicaOf } from '../core/configuration.ts'
import type { RestoredState } from '../core/types.ts'
import { checkOwner, type GroupBookkeeping, readBookkeeping } from '../group/bookkeeping.ts'
import { encodeGroupMetadata, type GroupMetadata, newMetadata } from '../group/metadata.ts'
import type { Peer } from '../group/peers.ts'
import { type Refounding, refoundedState } from '../group/refounding.ts'

/** What a replica starts with that this node did not have before. */
export interface Beginning {
  readonly stored: GroupBookkeeping
  readonly metadata: GroupMetadata
  readonly restored: RestoredState
  /** To be durable before it promises anything. */
  readonly write: GroupWrite
}

/**
 * The first replica of a new group on this node.
 *
 * @param pledgeMs the longest that it may pledge itself for
 * @param refounding where the group takes the place of one that is lost
 * @throws KeelsonError `INVALID_ARGUMENT`
 */
export function firstReplica(
  groupId: GroupId,
  self: Peer,
  replicas: readonly ReplicaDescriptor[],
  pledgeMs: number,
  refounding: Refounding | undefined,
): Omit<Beginning, 'stored'> {
  const { entries, hardState, recoveryGeneration } =
    refounding === undefined
      ? { ...bootstrapState(replicas), recoveryGeneration: 0 }
      : refoundedState(groupId, replicas, refounding)
  if (replicas.some(({ replicaId }) => replicaId > replicas.length)) {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      'the first replicas of a group have the ids 1 to n; number them so',
    )
  }
  const own = replicas.find(
    ({ nodeId, incarnation }) => nodeId === self.nodeId && incarnation === self.incarnation,
  )
  if (own === undefined) {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `the first replicas of group ${groupId} do not name this node, ${self.nodeId} in incarnation ${self.incarnation}; name it, or await the group here`,
    )
  }
  const metadata = newMetadata(own.replicaId, recoveryGeneration, 0, pledgeMs)
  return {
    metadata,
    restored: { hardState, entries, compacted: { index: 0, term: 0 }, appliedIndex: 0 },
    write: { groupId, entries, hardState, metadata: encodeGroupMetadata(metadata) },
  }
}

/**
 * The replica of a group that was split off here, from a state machine that has its state. That state is durable afterwards:
 * nothing is promised in the log for one that a power cut would take away.
 *
 * @throws KeelsonError `INVALID_ARGUMENT` for a state that is none of a replica here, `CONFLICT` for that of another group
 */
export async function adoptedReplica(
  groupId: GroupId,
  self: Peer,
  stateMachine: StateMachine,
  pledgeMs: number,
): Promise<Beginning> {
  const stored = readBookkeeping(await stateMachine.open())
  checkOwner(groupId, stored)
  const { applied, configuration } = stored
  const own = replicaOf(configuration?.configuration, stored.replicaId)
  if (configuration === undefined || own?.nodeId !== self.nodeId || own.incarnation !== self.incarnation) {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `the state machine of group ${groupId} holds no state of a replica on ${self.nodeId} in incarnation ${self.incarnation}; await the group here`,
    )
  }
  await stateMachine.flush()
  const metadata = newMetadata(own.replicaId, 0, 0, pledgeMs)
  const hardState = { term: applied.term, votedFor: 0, commit: applied.index }
  return {
    stored,
    metadata,
    restored: {
      hardState,
      compacted: applied,
      appliedIndex: applied.index,
      entries: [],
      configuration: configuration.configuration,
      configurationIndex: applied.index,
    },
    write: { groupId, reset: applied, hardState, metadata: encodeGroupMetadata(metadata) },
  }
}

/**
 * Opens a state machine that must be new. The state that a destroyed replica of the group left behind here, when a crash came
 * before its deletion, is deleted. Nothing else is: it may be what somebody else lives on.
 *
 * @param tombstone what is left of the replica that this node had of the group
 * @throws KeelsonError `CONFLICT` unless it is new
 */
export async function openNewMachine(
  groupId: GroupId,
  machine: StateMachine,
  tombstone?: GroupMetadata,
): Promise<GroupBookkeeping> {
  const stored = readBookkeeping(await machine.open())
  checkOwner(groupId, stored)
  if (stored.applied.index === 0 && stored.replicaId === 0) return stored
  const whose = `the state machine of group ${groupId} still holds the state of replica ${stored.replicaId}, which this node does not have`
  if (!isLeftover(stored, tombstone)) {
    throw new KeelsonError(
      'CONFLICT',
      `${whose}; it is left as it is. Give the group a new one, or call destroy() of this one first if nobody needs it`,
      { retryable: false },
    )
  }
  await machine.destroy()
  throw new KeelsonError('CONFLICT', `${whose} any more; it was deleted, so call again with a new one`)
}

/** Of one that says nothing of its group nobody knows. What a recovery left behind has a tombstone without an id. */
function isLeftover(stored: GroupBookkeeping, tombstone: GroupMetadata | undefined): boolean {
  if (stored.groupId === 0 || tombstone?.destroyed !== true) return false
  return tombstone.replicaId === 0 || tombstone.replicaId === stored.replicaId
}

/** A state machine whose group is not opened after all is nobody's: the host closes it, as it would with the group. */
export async function orClose<T>(
  env: Environment,
  machine: StateMachine,
  open: () => Promise<T>,
): Promise<T> {
  try {
    return await open()
  } catch (error) {
    await machine.close().catch((failure: unknown) => {
      env.logger.warn({ error: failure }, 'a state machine could not be closed')
    })
    throw error
  }
}

/** Nothing new is made on a disk that forgot what it had. */
export function forgotten(groupId: GroupId): KeelsonError {
  return new KeelsonError(
    'QUARANTINED',
    `the disk of this node forgot what it had confirmed, so it may have had group ${groupId} before; start the node with an empty directory`,
    { retryable: false },
  )
}
