import type { NodeId } from '../../model/ids.ts'
import { isLive } from './member-table.ts'
import type { Membership } from './membership.ts'
import type { SwimExplanation } from './types.ts'

/** Why a view holds a member to be what it is; undefined for one that it does not know. */
export function explain(membership: Membership, nodeId: NodeId, nowMs: number): SwimExplanation | undefined {
  const record = membership.table.get(nodeId)
  if (record === undefined) return undefined
  const { member } = record
  const suspicion = membership.suspicions.get(nodeId)
  const accusedBy = suspicion?.accusers ?? (isLive(member) ? [] : record.accusedBy)
  const inStateForMs = Math.max(0, nowMs - record.sinceMs)
  const answeredAgoMs = record.answeredAtMs === undefined ? undefined : nowMs - record.answeredAtMs
  const localHealth = membership.health.score
  const declaredDeadInMs = suspicion === undefined ? undefined : Math.max(0, suspicion.deadlineMs - nowMs)
  const confirmationsWanted = suspicion?.missing ?? 0
  const parts: string[] = []
  const span = seconds(inStateForMs)
  if (nodeId === membership.self.nodeId) parts.push(`${nodeId} is this node`)
  else if (member.state === 'alive') parts.push(`${nodeId} has been alive for ${span}`)
  else if (member.state === 'left') parts.push(`${nodeId} said goodbye ${span} ago`)
  else if (member.state === 'dead') {
    const by = accusedBy.length === 0 ? 'others' : accusedBy.join(', ')
    parts.push(`${nodeId} was declared dead ${span} ago, because ${by} got no answer from it`)
  } else {
    parts.push(
      `${nodeId} has been suspect for ${span}, because ${accusedBy.join(', ')} got no answer from it`,
    )
    parts.push(`it will be declared dead in ${seconds(declaredDeadInMs ?? 0)} unless it refutes`)
    if (confirmationsWanted > 0) parts.push(`${confirmationsWanted} more accusers would shorten that`)
  }
  if (answeredAgoMs !== undefined) parts.push(`it last answered us ${seconds(answeredAgoMs)} ago`)
  if (localHealth > 0) parts.push(`this node's own health score is ${localHealth}, so it probes more slowly`)
  return {
    member,
    inStateForMs,
    accusedBy,
    confirmationsWanted,
    declaredDeadInMs,
    answeredAgoMs,
    roundTripMs: record.roundTripMs,
    localHealth,
    text: parts.join('; '),
  }
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`
}
