import type { MembershipChange, RaftMember } from '../../../src/raft/core/membership-types.ts'
import type { Message } from '../../../src/raft/core/messages.ts'
import { descriptor } from '../support/cluster.ts'
import type { Bounds } from './bounds.ts'
import type { Input, Member } from './member.ts'

/** What the bounds count, each with three bits. */
export const uses = [
  'proposals',
  'changes',
  'joints',
  'crashes',
  'losses',
  'duplicates',
  'heartbeats',
  'reads',
  'transfers',
] as const

export type Use = (typeof uses)[number]

/** An input that needs no message. */
export interface OwnInput {
  readonly input: Input
  readonly use?: Use
  /** Offered only as the use with this number, from 1. */
  readonly ordinal?: number
}

/** The term of the bootstrap, in which nobody is elected. */
export const firstTerm = 1

/** Everything that can happen to a member by itself. */
export function ownInputs(member: Member, bounds: Bounds): OwnInput[] {
  const { core, writes, replicaId } = member
  if (core === undefined) return replicaId === 0 ? [] : [{ input: { kind: 'restart' } }]
  const inputs: OwnInput[] = []
  if (writes.length > 0) inputs.push({ input: { kind: 'persist' } })
  if (member.turnDue && bounds.turns) inputs.push({ input: { kind: 'turn' } })
  const leads = core.role === 'leader'
  if (leads) inputs.push({ input: { kind: 'heartbeat' }, use: 'heartbeats' })
  else if (core.electionDeadlineMs !== Infinity && core.term < firstTerm + bounds.terms) {
    inputs.push({ input: { kind: 'timeout' } })
  }
  if (bounds.checkQuorum || core.transferDeadlineMs !== Infinity) inputs.push({ input: { kind: 'age' } })
  for (let survivors = 0; survivors <= writes.length; survivors++) {
    inputs.push({ input: { kind: 'crash', survivors }, use: 'crashes' })
  }
  if (!leads) return inputs
  for (let ordinal = 1; ordinal <= bounds.proposals; ordinal++) {
    inputs.push({ input: { kind: 'propose', text: `p${ordinal}` }, use: 'proposals', ordinal })
  }
  inputs.push({ input: { kind: 'read' }, use: 'reads' })
  const replicas = core.configuration?.replicas ?? []
  for (const { replicaId: id, role } of replicas) {
    const type = role === 'learner' ? 'promote' : 'remove'
    inputs.push({ input: { kind: 'change', changes: [{ type, replicaId: id }] }, use: 'changes' })
    if (id !== core.replicaId) inputs.push({ input: { kind: 'transfer', to: id }, use: 'transfers' })
  }
  if (bounds.spares > 0) {
    const { nodeId, incarnation } = descriptor(bounds.members + 1)
    inputs.push({
      input: { kind: 'change', changes: [{ type: 'addLearner', nodeId, incarnation }] },
      use: 'changes',
    })
  }
  const autoLeave = !bounds.explicitLeave
  for (const changes of pairs(replicas)) {
    inputs.push({ input: { kind: 'change', changes, autoLeave }, use: 'joints' })
  }
  if (core.configuration?.joint?.autoLeave === false) {
    inputs.push({ input: { kind: 'change', changes: [{ type: 'leaveJoint' }] } })
  }
  return inputs
}

/** Any two that vote go, or one of them makes way for one that learns. */
function pairs(replicas: readonly RaftMember[]): MembershipChange[][] {
  const steps = replicas.map(({ replicaId, role }): MembershipChange => {
    return { type: role === 'learner' ? 'promote' : 'remove', replicaId }
  })
  return steps.flatMap((first, i) => steps.slice(i + 1).map((second) => [first, second]))
}

/**
 * True of a message that can have no effect any more, now or after a crash, because its term is over for the one that it
 * goes to: answers to a candidate or leader that is none any more, and messages to another replica.
 */
export function isSpent({ core, disk, replicaId }: Member, message: Message): boolean {
  if (core === undefined) return false
  if (message.to !== replicaId) return true
  const { term } = message
  if ((disk.hardState?.term ?? 0) < term) return false
  switch (message.kind) {
    case 'voteReply':
      return core.term > term || core.role !== 'candidate'
    case 'appendReply':
    case 'heartbeatReply':
      return core.term > term || core.role === 'follower' || core.role === 'preCandidate'
    case 'preVoteReply':
      return (disk.hardState?.term ?? 0) >= message.candidateTerm
    case 'timeoutNow':
      return (disk.hardState?.term ?? 0) > term
    default:
      return false
  }
}
