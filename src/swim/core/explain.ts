import type { NodeId } from '../../model/ids.ts'
import { isExpulsion } from './expulsion.ts'
import { isLive, type ProbeFailure } from './member-table.ts'
import type { Membership } from './membership.ts'
import type { Accusation } from './suspicion.ts'
import type { AnswerPath, FailedProbe, SwimAccusation, SwimExplanation, SwimMember } from './types.ts'

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
  const { answeredAtMs, degradedSinceMs, failedProbe } = notes ?? {}
  const told = suspicion?.accusations ?? (isLive(member) ? [] : (notes?.accusations ?? []))
  const accusations = told.map((each) => accusationOf(each, nowMs))
  const facts = {
    member,
    inStateForMs: Math.max(0, nowMs - table.sinceMs(nodeId)),
    accusedBy: accusations.map(({ accuser }) => accuser),
    accusations,
    confirmationsWanted: suspicion?.missing ?? 0,
    declaredDeadInMs: suspicion === undefined ? undefined : Math.max(0, suspicion.deadlineMs - nowMs),
    answeredAgoMs: answeredAtMs === undefined ? undefined : nowMs - answeredAtMs,
    answeredBy: notes?.answeredBy,
    failedProbe: failedProbe && failureOf(failedProbe, nowMs),
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
    const own = accusedBy.includes(membership.nodeId)
    if (own && facts.failedProbe !== undefined) parts.push(tried(facts.failedProbe))
    if (own && accusedBy.length === 1) parts.push('nobody but this node has accused it')
    if (answeredAgoMs !== undefined)
      parts.push(`it last answered us ${seconds(answeredAgoMs)} ago${pathText(facts.answeredBy)}`)
  }
  if (localHealth > 0) parts.push(`this node's own health score is ${localHealth}, so it probes more slowly`)
  return parts.join('; ')
}

function stateOf(member: SwimMember, facts: Omit<SwimExplanation, 'text'>): string {
  const { nodeId, state } = member
  const span = seconds(facts.inStateForMs)
  const by = accusersText(facts.accusations)
  switch (state) {
    case 'alive':
      return `${nodeId} has been alive for ${span}`
    case 'suspect':
      return `${nodeId} has been suspect for ${span}, because ${by}`
    case 'left':
      return facts.expelled
        ? `${nodeId} was removed by an operator ${span} ago`
        : `${nodeId} said goodbye ${span} ago`
    case 'dead':
      return facts.expelled
        ? `${nodeId} was expelled ${span} ago, because it refuted one accusation after the other: it is up, and cannot be reached reliably`
        : `${nodeId} was declared dead ${span} ago, because ${by}`
  }
}

/** `a got no answer from it, as b told us; c (as d told us) confirmed it` */
function accusersText([first, ...others]: readonly SwimAccusation[]): string {
  if (first === undefined) return 'others got no answer from it'
  const told = ({ accuser, toldBy }: SwimAccusation): string =>
    accuser === toldBy ? '' : `as ${toldBy} told us`
  const teller = told(first)
  const text = `${first.accuser} got no answer from it${teller === '' ? '' : `, ${teller}`}`
  if (others.length === 0) return text
  const confirmers = others.map((each) => {
    const by = told(each)
    return by === '' ? each.accuser : `${each.accuser} (${by})`
  })
  return `${text}, which ${listed(confirmers)} confirmed`
}

/** What this node itself tried. */
function tried({ agoMs, relays, silentRelays, byStream }: FailedProbe): string {
  const ways = ['directly']
  if (relays.length > 0) ways.push(`by way of ${listed(relays)}`)
  if (byStream) ways.push('by a stream')
  const silent =
    silentRelays.length === 0
      ? ''
      : `, and heard nothing from ${listed(silentRelays)} either, so that its own paths may be bad`
  return `this node asked it ${listed(ways)} ${seconds(agoMs)} ago${silent}`
}

function pathText(path: AnswerPath | undefined): string {
  if (path === undefined) return ''
  if (path.kind === 'relay') return `, by way of ${path.by}`
  return path.kind === 'stream' ? ', by a stream' : ', directly'
}

function listed(names: readonly string[]): string {
  const last = names.at(-1) ?? ''
  return names.length < 2 ? last : `${names.slice(0, -1).join(', ')} and ${last}`
}

function accusationOf({ accuser, toldBy, atMs }: Accusation, nowMs: number): SwimAccusation {
  return { accuser, toldBy, agoMs: Math.max(0, nowMs - atMs) }
}

function failureOf({ atMs, ...rest }: ProbeFailure, nowMs: number): FailedProbe {
  return { agoMs: Math.max(0, nowMs - atMs), ...rest }
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
