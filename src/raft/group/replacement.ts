import { sleep } from '../../core/async.ts'
import type { Environment } from '../../core/environment.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { GroupId, Incarnation, NodeId, ReplicaId } from '../../model/ids.ts'
import { isJoint } from '../../model/replica-roles.ts'
import { replicaOf } from '../core/configuration.ts'
import type { Configuration, MembershipChange } from '../core/membership-types.ts'
import type { ChangeMembershipOptions, GroupStatus, ReplaceOptions } from './group-types.ts'
import { notLeader } from './refusals.ts'

/** A replica that goes, and the node that gets one for it. */
export interface Replacement {
  /** The replica that goes: a voter or a learner. */
  readonly replicaId: ReplicaId
  /** The node that gets a replica. */
  readonly nodeId: NodeId
  /** The life of that node's data that is meant. */
  readonly incarnation: Incarnation
}

/** What a replacement needs of a group. */
export interface ReplacementPort {
  readonly groupId: GroupId
  readonly env: Environment
  status(): GroupStatus
  changeMembership(
    changes: readonly MembershipChange[],
    options: ChangeMembershipOptions,
  ): Promise<Configuration>
}

const pollIntervalMs = 20
/** Refusals that pass by themselves. */
const passing: readonly unknown[] = ['changeInProgress', 'notReady', 'joint', 'notCaughtUp']

/**
 * Replaces a replica: a learner on the new node, as soon as that has caught up a swap of the two in one joint step. What to
 * do next is decided by where the group stands, so that the call may be repeated, also on another leader.
 */
export async function replaceReplica(
  port: ReplacementPort,
  replacement: Replacement,
  { signal, catchUpTimeoutMs = defaultCatchUpTimeoutMs }: ReplaceOptions,
): Promise<Configuration> {
  const { clock, timers } = port.env
  const startedMs = clock.monotonicMs()
  /** A voter is replaced by a voter, and a learner by a learner. */
  let votes = false
  for (;;) {
    const status = port.status()
    const configuration = status.latestConfiguration
    if (status.role !== 'leader' || configuration === undefined) {
      throw notLeader(port.groupId, status.leader ?? { replicaId: 0, nodeId: undefined })
    }
    const leaving = replicaOf(configuration, replacement.replicaId)
    if (leaving !== undefined) votes = leaving.role !== 'learner'
    const next = nextStep(port.groupId, replacement, configuration, status, votes)
    if (next.type === 'done' && status.configuration === configuration) return configuration
    if (next.type === 'change') {
      const options = {
        expectedGeneration: configuration.generation,
        ...(signal === undefined ? {} : { signal }),
      }
      try {
        const after = await port.changeMembership(next.changes, options)
        // A leader that replaces itself does not lead any more.
        if (nextStep(port.groupId, replacement, after, status, votes).type === 'done') return after
        continue
      } catch (error) {
        if (!mayPass(error)) throw error
      }
    }
    if (clock.monotonicMs() - startedMs >= catchUpTimeoutMs)
      throw tooLate(port.groupId, replacement, configuration)
    await sleep(timers, pollIntervalMs, signal)
  }
}

/** Used when a caller of {@link replaceReplica} does not say how long it waits. */
export const defaultCatchUpTimeoutMs = 600_000

type Step =
  | { readonly type: 'change'; readonly changes: readonly MembershipChange[] }
  | { readonly type: 'wait' }
  | { readonly type: 'done' }

function nextStep(
  groupId: GroupId,
  { replicaId, nodeId, incarnation }: Replacement,
  configuration: Configuration,
  { progress }: GroupStatus,
  votes: boolean,
): Step {
  if (isJoint(configuration.replicas)) return { type: 'wait' }
  const leaving = replicaOf(configuration, replicaId)
  const arriving = configuration.replicas.find((replica) => replica.nodeId === nodeId)
  if (arriving === undefined) {
    if (leaving === undefined) {
      throw new KeelsonError('NOT_FOUND', `group ${groupId} has no replica ${replicaId} to be replaced`)
    }
    return { type: 'change', changes: [{ type: 'addLearner', nodeId, incarnation }] }
  }
  if (arriving.incarnation !== incarnation) {
    throw new KeelsonError(
      'CONFLICT',
      `node ${nodeId} has a replica of group ${groupId} from another life of its data; remove that one first`,
      { retryable: false },
    )
  }
  if (arriving === leaving) {
    throw new KeelsonError(
      'CONFLICT',
      `replica ${replicaId} of group ${groupId} is on ${nodeId} itself, so a new one there could not catch up before it goes; replace it by one on another node, or remove it and add one`,
      { retryable: false },
    )
  }
  // The swap is one step: one that votes before the other one has gone did not come for it.
  if (leaving !== undefined && arriving.role !== 'learner') {
    throw new KeelsonError(
      'CONFLICT',
      `node ${nodeId} has a voter of group ${groupId} already, so the group would have one less without replica ${replicaId}; name a node that has none, or remove replica ${replicaId} if that is meant`,
      { retryable: false },
    )
  }
  const changes: MembershipChange[] = []
  if (arriving.role === 'learner' && votes) {
    if (progress.get(arriving.replicaId)?.caughtUp !== true) return { type: 'wait' }
    changes.push({ type: 'promote', replicaId: arriving.replicaId })
  }
  if (leaving !== undefined) changes.push({ type: 'remove', replicaId })
  return changes.length === 0 ? { type: 'done' } : { type: 'change', changes }
}

/** The group has moved on since it was looked at, or something else is under way. */
function mayPass(error: unknown): boolean {
  if (!KeelsonError.is(error)) return false
  return error.code === 'STALE_GENERATION' || passing.includes(error.details.reason)
}

function tooLate(
  groupId: GroupId,
  { nodeId, replicaId }: Replacement,
  { joint }: Configuration,
): KeelsonError {
  const why =
    joint?.autoLeave === false
      ? 'the group is in a joint configuration that somebody has to leave'
      : `${nodeId} has not caught up`
  return new KeelsonError(
    'TIMEOUT',
    `replica ${replicaId} of group ${groupId} was not replaced in time: ${why}. What is done stays; call again to go on`,
  )
}
