import { checkArray, checkInteger, checkMembers, checkObject } from '../../core/arguments.ts'
import { KeelsonError } from '../../core/errors.ts'
import { invariant } from '../../core/invariant.ts'
import { showValue } from '../../core/options.ts'
import type { ReplicaRole } from '../../model/descriptors.ts'
import { checkId, checkName, type ReplicaId } from '../../model/ids.ts'
import { votesInAnyHalf } from '../../model/replica-roles.ts'
import {
  changeTypes,
  configurationProblem,
  isPriority,
  makeConfiguration,
  marks,
  maximumReplicas,
} from './configuration.ts'
import type { Configuration, ConfigurationChange, MembershipChange, RaftMember } from './membership-types.ts'
import type { RefusalReason } from './types.ts'

/** Most changes in one entry. */
export const maximumChanges = 64

/** What a member is to become: with a role of a configuration that is not joint. */
type Members = Map<ReplicaId, RaftMember>

/**
 * The configuration after `changes`, all at once, or why there is none. The entry that carries it has `index`; the replicas
 * that it adds have the ids from there on.
 *
 * One voter more or less leads there directly. More, or any without `autoLeave`, lead to a joint configuration in which
 * both the voters before and those after must agree, and which {@link leftConfiguration} ends.
 */
export function changedConfiguration(
  before: Configuration,
  changes: readonly MembershipChange[],
  index: number,
  autoLeave: boolean,
): Configuration | RefusalReason {
  if (changes.length === 0 || changes.length > maximumChanges) return 'invalidChange'
  const target: Members = new Map(before.replicas.map((replica) => [replica.replicaId, replica]))
  const notes: ConfigurationChange[] = []
  for (const change of changes) {
    const replicaId = 'replicaId' in change ? change.replicaId : index + added(notes, before)
    if (notes.some((note) => note.replicaId === replicaId)) return 'invalidChange'
    const refusal = applyTo(target, change, replicaId)
    if (refusal !== undefined) return refusal
    notes.push({ type: change.type, replicaId })
  }
  const members = [...target.values()]
  if (!members.some(votesInAnyHalf)) return 'lastVoter'
  if (members.length > maximumReplicas) return 'groupFull'
  const changed = changedVoters(before, target)
  const joint = changed > 1 || (changed > 0 && !autoLeave)
  const configuration = makeConfiguration(
    before.generation + 1,
    joint ? jointMembers(before, target) : members,
    notes,
    joint ? { autoLeave } : undefined,
  )
  if (namesNodeTwice(configuration)) return 'duplicateNode'
  return configurationProblem(configuration) === undefined ? configuration : 'invalidChange'
}

/** How many of the changes so far added a replica. */
function added(notes: readonly ConfigurationChange[], before: Configuration): number {
  return notes.filter(({ replicaId }) => before.replicas.every((replica) => replica.replicaId !== replicaId))
    .length
}

function applyTo(target: Members, change: MembershipChange, replicaId: ReplicaId): RefusalReason | undefined {
  if (change.type === 'leaveJoint') return 'invalidChange'
  if (change.type === 'addLearner') {
    invariant(!target.has(replicaId), 'an id is minted once')
    const { nodeId, incarnation, autoPromote = false, priority = 0 } = change
    if (!isPriority(priority)) return 'invalidChange'
    target.set(replicaId, {
      replicaId,
      nodeId,
      incarnation,
      role: 'learner',
      ...marks(autoPromote, priority),
    })
    return undefined
  }
  const replica = target.get(replicaId)
  if (replica === undefined || replica.role !== (neededRole[change.type] ?? replica.role)) {
    return 'unknownReplica'
  }
  const { priority = 0 } = replica
  switch (change.type) {
    case 'promote':
      target.set(replicaId, member(replica, 'voter', false, priority))
      return undefined
    case 'promoteLater':
      target.set(replicaId, member(replica, 'learner', true, priority))
      return undefined
    case 'demote':
      target.set(replicaId, member(replica, 'learner', false, priority))
      return undefined
    case 'setPriority':
      if (!isPriority(change.priority)) return 'invalidChange'
      target.set(replicaId, member(replica, replica.role, replica.autoPromote === true, change.priority))
      return undefined
    case 'remove':
      target.delete(replicaId)
      return undefined
  }
}

const neededRole: Partial<Record<MembershipChange['type'], ReplicaRole>> = {
  promote: 'learner',
  promoteLater: 'learner',
  demote: 'voter',
}

function member(
  { replicaId, nodeId, incarnation }: RaftMember,
  role: ReplicaRole,
  autoPromote: boolean,
  priority: number,
): RaftMember {
  return { replicaId, nodeId, incarnation, role, ...marks(autoPromote, priority) }
}

function changedVoters(before: Configuration, target: Members): number {
  const votedBefore = (id: ReplicaId): boolean =>
    before.replicas.some((replica) => replica.replicaId === id && votesInAnyHalf(replica))
  const votesAfter = (id: ReplicaId): boolean => target.get(id)?.role === 'voter'
  const ids = new Set([...before.replicas.map(({ replicaId }) => replicaId), ...target.keys()])
  return [...ids].filter((id) => votedBefore(id) !== votesAfter(id)).length
}

/** Voters of one side only get the role that says so; a voter that goes stays until the joint configuration is left. */
function jointMembers(before: Configuration, target: Members): RaftMember[] {
  const members: RaftMember[] = []
  for (const replica of before.replicas) {
    const after = target.get(replica.replicaId)
    if (replica.role !== 'voter') continue
    if (after === undefined) members.push({ ...replica, role: 'outgoing' })
    else members.push(after.role === 'voter' ? after : { ...after, role: 'demoting' })
  }
  for (const after of target.values()) {
    if (members.some(({ replicaId }) => replicaId === after.replicaId)) continue
    members.push(after.role === 'voter' ? { ...after, role: 'incoming' } : after)
  }
  return members.sort((a, b) => a.replicaId - b.replicaId)
}

/** The configuration that follows a joint one: that of its incoming half. */
export function leftConfiguration(joint: Configuration): Configuration {
  const members = joint.replicas
    .filter(({ role }) => role !== 'outgoing')
    .map((replica): RaftMember => {
      if (replica.role === 'incoming') return { ...replica, role: 'voter' }
      return replica.role === 'demoting' ? { ...replica, role: 'learner' } : replica
    })
  return makeConfiguration(joint.generation + 1, members, [{ type: 'leaveJoint', replicaId: 0 }])
}

function namesNodeTwice({ replicas }: Configuration): boolean {
  return new Set(replicas.map(({ nodeId }) => nodeId)).size < replicas.length
}

/**
 * Checks changes that somebody asks for, before they can get into a log, where every replica would have to read them.
 *
 * @throws KeelsonError `INVALID_ARGUMENT`, `LIMIT_EXCEEDED`
 */
export function checkMembershipChanges(changes: MembershipChange | readonly MembershipChange[]): void {
  const list = Array.isArray(changes)
    ? (changes as readonly MembershipChange[])
    : [changes as MembershipChange]
  for (const change of checkArray(list, 'the changes of the members', maximumChanges))
    checkMembershipChange(change)
}

/** What a change of each type is told by. */
const changeMembers: Readonly<Record<MembershipChange['type'], readonly string[]>> = {
  addLearner: ['type', 'nodeId', 'incarnation', 'autoPromote', 'priority'],
  promote: ['type', 'replicaId'],
  promoteLater: ['type', 'replicaId'],
  demote: ['type', 'replicaId'],
  remove: ['type', 'replicaId'],
  setPriority: ['type', 'replicaId', 'priority'],
  leaveJoint: ['type'],
}

function checkMembershipChange(change: MembershipChange): void {
  checkObject(change, 'a change of the members')
  if (changeTypes.includes(change.type)) {
    checkMembers(change, `a change ${change.type}`, changeMembers[change.type])
  }
  switch (change.type) {
    case 'addLearner':
      checkName(change.nodeId, 'the node of a new replica')
      checkId(change.incarnation, 'the incarnation of a new replica')
      if (change.priority !== undefined) checkInteger(change.priority, 'the priority of a new replica')
      if (typeof (change.autoPromote ?? false) !== 'boolean') {
        throw new KeelsonError(
          'INVALID_ARGUMENT',
          `autoPromote of a new replica is true or false, not ${showValue(change.autoPromote)}`,
        )
      }
      return
    case 'setPriority':
      checkInteger(change.priority, 'the priority of a replica')
      checkId(change.replicaId, 'the replica of a change of the members')
      return
    case 'promote':
    case 'promoteLater':
    case 'demote':
    case 'remove':
      checkId(change.replicaId, 'the replica of a change of the members')
      return
    case 'leaveJoint':
      return
    default:
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `a change of the members is one of ${changeTypes.join(', ')}, not ${showValue((change as MembershipChange).type)}`,
      )
  }
}
