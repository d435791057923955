import type { NodeId } from '../../model/ids.ts'
import { isExpulsion } from './expulsion.ts'
import { isLive } from './member-table.ts'
import type { Membership } from './membership.ts'
import type { SwimExplanation, SwimMember } from './types.ts'

/** Why a view holds a member to be what it is; undefined for one that it does not know. */
export function explain(
  membership: Membership,
  nodeId: NodeId,
  estimatedRoundTripMs: number | undefined,
  nowMs: number,
): SwimExplanation | undefined {
  const { table } = membership
  const member = table.get(nodeId)?.member
  if (member === undefined) return undefined
  const notes = table.notes(nodeId)
  const suspicion = membership.suspicions.get(nodeId)
  const { answeredAtMs, degradedSinceMs } = notes ?? {}
  const facts = {
    member,
    inStateForMs: Math.max(0, nowMs - table.sinceMs(nodeId)),
    accusedBy: suspicion?.accusers ?? (isLive(member) ? [] : (notes?.accusedBy ?? [])),
    confirmationsWanted: suspicion?.missing ?? 0,
    declaredDeadInMs: suspicion === undefined ? undefined : Math.max(0, suspicion.deadlineMs - nowMs),
    answeredAgoMs: answeredAtMs === undefined ? undefined : nowMs - answeredAtMs,
    roundTripMs: notes?.roundTripMs,
    estimatedRoundTripMs,
    recentRefutations: membership.evidence.count(nodeId, nowMs),
    expelled: !isLive(member) && isExpulsion(member.version),
    degradedForMs: degradedSinceMs === undefined ? undefined : nowMs - degradedSinceMs,
    localHealth: membership.health.score,
  }
  return { ...facts, text: sentence(membership, facts) }
}

function sentence(membership: Membership, facts: Omit<SwimExplanation, 'text'>): string {
  const { member, accusedBy, localHealth, answeredAgoMs, recentRefutations, degradedForMs } = facts
  const { nodeId } = member
  const parts: string[] = []
  const isSelf = nodeId === membership.nodeId
  if (isSelf) parts.push(...ofSelf(membership, nodeId))
  else {
    parts.push(stateOf(member, facts))
    if (member.state === 'suspect') {
      parts.push(`it will be declared dead in ${seconds(facts.declaredDeadInMs ?? 0)} unless it refutes`)
      if (facts.confirmationsWanted > 0)
        parts.push(`${facts.confirmationsWanted} more accusers would shorten that`)
    }
    if (recentRefutations > 0 && isLive(member)) {
      const { expelRefutations, expelWindowMs } = membership.tuning
      const limit = expelRefutations === 0 ? '' : `; at ${expelRefutations} it may be expelled`
      parts.push(
        `it refuted ${recentRefutations} accusations within ${seconds(expelWindowMs)}, so its paths may be bad${limit}`,
      )
    }
    if (degradedForMs !== undefined)
      parts.push(`it has answered by streams only for ${seconds(degradedForMs)}: datagrams do not reach it`)
    if (accusedBy.length > 0 && accusedBy.every((accuser) => accuser === membership.nodeId))
      parts.push('nobody but this node has accused it')
    if (answeredAgoMs !== undefined) parts.push(`it last answered us ${seconds(answeredAgoMs)} ago`)
  }
  if (localHealth > 0) parts.push(`this node's own health score is ${localHealth}, so it probes more slowly`)
  return parts.join('; ')
}

function stateOf(member: SwimMember, facts: Omit<SwimExplanation, 'text'>): string {
  const { nodeId, state } = member
  const span = seconds(facts.inStateForMs)
  const by = facts.accusedBy.length === 0 ? 'others' : facts.accusedBy.join(', ')
  switch (state) {
    case 'alive':
      return `${nodeId} has been alive for ${span}`
    case 'suspect':
      return `${nodeId} has been suspect for ${span}, because ${by} got no answer from it`
    case 'left':
      return facts.expelled
        ? `${nodeId} was removed by an operator ${span} ago`
        : `${nodeId} said goodbye ${span} ago`
    case 'dead':
      return facts.expelled
        ? `${nodeId} was expelled ${span} ago, because it refuted one accusation after the other: it is up, and cannot be reached reliably`
        : `${nodeId} was declared dead ${span} ago, because ${by} got no answer from it`
  }
}

function ofSelf({ voice }: Membership, nodeId: NodeId): string[] {
  const parts = [`${nodeId} is this node`]
  if (voice.state === 'expelled')
    parts.push(
      'the others hold it out until its paths are good again, because it could not be reached reliably',
    )
  if (voice.state === 'removed') parts.push('an operator removed it from the cluster')
  if (voice.state === 'leaving') parts.push('it said goodbye')
  if (voice.state === 'silent')
    parts.push(
      'another living process keeps its name, so it says and hears nothing: give it a name of its own',
    )
  return parts
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`
}
