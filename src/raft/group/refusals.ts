import { KeelsonError } from '../../core/errors.ts'
import type { GroupId, NodeId, ReplicaId } from '../../model/ids.ts'
import type { RefusalReason } from '../core/types.ts'
import type { GroupMetadata } from './metadata.ts'

/** Whom to ask instead, as far as it is known. */
export interface LeaderHint {
  readonly replicaId: number
  readonly nodeId: NodeId | undefined
}

/** This replica does not lead. Details: `leaderNodeId`, `leaderReplicaId` (null where nobody is known). */
export function notLeader(
  groupId: GroupId,
  leader: LeaderHint,
  why = 'this replica does not lead',
): KeelsonError {
  const known = leader.nodeId !== undefined
  const hint = known ? `ask the node ${leader.nodeId}` : 'no leader is known at the moment, try again soon'
  return new KeelsonError('NOT_LEADER', `group ${groupId}: ${why}; ${hint}`, {
    details: {
      groupId,
      leaderNodeId: leader.nodeId ?? null,
      leaderReplicaId: known ? leader.replicaId : null,
    },
  })
}

/** The group goes on without this replica. Details: `recoveryGeneration`, `supersededBy`. */
export function supersededError(groupId: GroupId, metadata: GroupMetadata): KeelsonError {
  const { replicaId, recoveryGeneration, supersededBy } = metadata
  return new KeelsonError(
    'SUPERSEDED',
    `group ${groupId} was recovered from a lost quorum without replica ${replicaId} of this node; destroy it here, then let the node await a new one`,
    { details: { groupId, replicaId, recoveryGeneration, supersededBy } },
  )
}

/** What a refusal of the core means to a caller. None of them had an effect. `details.reason` tells them apart. */
export function refusalError(groupId: GroupId, reason: RefusalReason, leader: LeaderHint): KeelsonError {
  const details = { groupId, reason }
  switch (reason) {
    case 'notLeader':
      return notLeader(groupId, leader)
    case 'transferring':
      return notLeader(groupId, leader, 'leadership is being handed over')
    case 'overloaded':
      return new KeelsonError(
        'OVERLOADED',
        `group ${groupId} has too much uncommitted or too many reads waiting; back off, then try again`,
        { details },
      )
    case 'invalid':
      return new KeelsonError(
        'LIMIT_EXCEEDED',
        `group ${groupId}: the proposal is larger than the group's limit; split it, or store it elsewhere and propose a reference`,
        {
          details,
        },
      )
    case 'groupFull':
      return new KeelsonError(
        'LIMIT_EXCEEDED',
        `group ${groupId} has as many replicas as a group may have; remove one first`,
        { details },
      )
    case 'changeInProgress':
      return new KeelsonError(
        'CONFLICT',
        `group ${groupId} has a membership change that is not committed yet; wait for it, then decide again`,
        { details },
      )
    case 'notReady':
      return new KeelsonError(
        'CONFLICT',
        `group ${groupId} has a new leader that has not committed an entry of its own term yet; try again`,
        { details },
      )
    case 'staleGeneration':
      return new KeelsonError(
        'STALE_GENERATION',
        `the configuration of group ${groupId} has moved on; read it again, then decide`,
        { details },
      )
    case 'unknownReplica':
      return new KeelsonError(
        'NOT_FOUND',
        `group ${groupId} has no such replica, or not with the role that this change needs; look at its status again`,
        { details },
      )
    case 'duplicateNode':
      return new KeelsonError(
        'CONFLICT',
        `the node has a replica of group ${groupId} already; remove that one first`,
        {
          details,
          retryable: false,
        },
      )
    case 'lastVoter':
      return new KeelsonError(
        'INVALID_ARGUMENT',
        `group ${groupId} would be left without a voter; add and promote another replica first`,
        { details },
      )
    case 'joint':
      return new KeelsonError(
        'CONFLICT',
        `group ${groupId} is in a joint configuration; leave it (or wait until it is left), then decide again`,
        { details },
      )
    case 'notJoint':
      return new KeelsonError('CONFLICT', `group ${groupId} has no joint configuration to leave`, {
        details,
        retryable: false,
      })
    case 'invalidChange':
      return new KeelsonError(
        'INVALID_ARGUMENT',
        `the changes asked of group ${groupId} are none, too many, out of range, or two of them concern one replica`,
        { details },
      )
    case 'notCaughtUp':
      return new KeelsonError(
        'CONFLICT',
        `the learner is too far behind the log of group ${groupId} to become a voter; try again when it caught up`,
        { details },
      )
  }
}

/** Leadership is not handed to a replica that does not answer. */
export function heirIsDown(groupId: GroupId, replicaId: ReplicaId): KeelsonError {
  return new KeelsonError(
    'UNREACHABLE',
    `replica ${replicaId} of group ${groupId} has not answered for an election timeout, so leadership is not handed to it; choose another voter, or try again when it is back`,
    { details: { groupId, replicaId } },
  )
}
