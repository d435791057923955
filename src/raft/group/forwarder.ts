import { KeelsonError } from '../../core/errors.ts'
import type { Random } from '../../core/random.ts'
import type { GroupId, NodeId, ReplicaId } from '../../model/ids.ts'
import type { RaftMachine } from '../core/types.ts'
import type { ForwardReply, ReplicaMessage } from './forwarding.ts'
import type { GroupLimits } from './limits.ts'
import type { EntryOutcome } from './outcomes.ts'
import type { Peer } from './peers.ts'
import { outcomeOf, outcomeUnknown, type PendingProposal } from './pending-proposals.ts'

export interface ForwarderOptions {
  readonly groupId: GroupId
  readonly core: Pick<RaftMachine, 'replicaId' | 'role' | 'term' | 'leader'>
  readonly limits: Pick<GroupLimits, 'maximumForwarded' | 'maximumForwardedBytes' | 'forwardTimeoutMs'>
  readonly random: Random
  readonly peerOf: (replicaId: ReplicaId) => Peer | undefined
  readonly send: (peer: Peer, message: ReplicaMessage) => void
  /** Why nobody could be asked. */
  readonly notLeader: () => KeelsonError
  /** This replica leads by now. @returns why it refuses, if it does */
  readonly proposeHere: (proposal: PendingProposal) => KeelsonError | undefined
}

interface Forwarded {
  readonly id: number
  readonly proposal: PendingProposal
  readonly deadlineMs: number
  /** Where it is, while it is on its way. */
  sent: { readonly replicaId: ReplicaId; readonly nodeId: NodeId; readonly term: number } | undefined
  /** While it is on its way: when it is sent again. Else: not before this. Infinity for neither. */
  againMs: number
}

/**
 * The proposals of a follower on their way to the leader: one hop, no further. A command with an id is sent again, to
 * whoever leads by then, until its outcome is known, since it takes effect once however often it arrives. One without is
 * sent again only after it was refused; when its answer is lost, nobody knows what became of it.
 */
export class Forwarder {
  readonly #options: ForwarderOptions
  readonly #waiting = new Map<number, Forwarded>()
  /**
   * Never used twice, and neither by the next life of this replica, which would take the answer to an old proposal for that
   * to its own: so the first one is drawn at random.
   */
  #lastId = 0
  #bytes = 0

  constructor(options: ForwarderOptions) {
    this.#options = options
  }

  /** Proposals whose outcome is open. */
  get count(): number {
    return this.#waiting.size
  }

  get nextDeadlineMs(): number {
    let next = Number.POSITIVE_INFINITY
    for (const { deadlineMs, againMs } of this.#waiting.values()) next = Math.min(next, deadlineMs, againMs)
    return next
  }

  /** Takes a proposal for the leader. @returns why not */
  add(proposal: PendingProposal, nowMs: number): KeelsonError | undefined {
    const { limits, groupId } = this.#options
    const { length } = proposal.data
    const { maximumForwarded, maximumForwardedBytes } = limits
    if (this.count >= maximumForwarded || (this.count > 0 && this.#bytes + length > maximumForwardedBytes)) {
      return new KeelsonError(
        'OVERLOADED',
        `group ${groupId} has ${this.count} proposals of ${this.#bytes} bytes on their way to the leader; back off, then try again`,
      )
    }
    if (this.#lastId === 0) this.#lastId = this.drawId()
    const id = ++this.#lastId
    this.#bytes += length
    const deadlineMs = nowMs + limits.forwardTimeoutMs
    const againMs = Number.POSITIVE_INFINITY
    this.#waiting.set(id, { id, proposal, deadlineMs, sent: undefined, againMs })
    return undefined
  }

  /** Sends what waits to the leader, if one is known. */
  submit(nowMs: number): void {
    if (this.#waiting.size === 0) return
    const { role, leader, replicaId } = this.#options.core
    const peer = leader === 0 || leader === replicaId ? undefined : this.#options.peerOf(leader)
    for (const forwarded of this.#waiting.values()) {
      if (forwarded.sent !== undefined) continue
      if (role === 'leader') this.#proposeHere(forwarded)
      else if (peer !== undefined && this.#mayGo(forwarded)) this.#send(forwarded, peer, nowMs)
    }
  }

  /** Role, term or leader changed: what may be sent again goes to the new leader. */
  leadershipChanged(): void {
    const { leader, term } = this.#options.core
    for (const forwarded of this.#waiting.values()) {
      const { sent } = forwarded
      if (sent === undefined) forwarded.againMs = Number.POSITIVE_INFINITY
      else if (this.mayRepeat(forwarded) && (sent.replicaId !== leader || sent.term !== term)) {
        this.#takeBack(forwarded)
      }
    }
  }

  /** The connection to a node broke: what was on it may have arrived or not. */
  peerLost(nodeId: NodeId): void {
    for (const forwarded of this.#waiting.values()) {
      if (forwarded.sent?.nodeId !== nodeId) continue
      if (this.mayRepeat(forwarded)) this.#takeBack(forwarded)
      else this.#end(forwarded, outcomeUnknown('the connection to the leader broke'))
    }
  }

  answered(reply: ForwardReply, nowMs: number): void {
    const forwarded = this.#waiting.get(reply.forwardId)
    if (forwarded === undefined) return
    const { outcome, index, from } = reply
    if (!KeelsonError.is(outcome)) {
      // By whatever attempt: it was done.
      this.#end(forwarded, outcome, index)
      return
    }
    if (!this.isOfThisAttempt(forwarded, from)) return
    forwarded.sent = undefined
    if (outcome.outcome === 'unknown') forwarded.proposal.uncertain = true
    const refused = outcome.code === 'NOT_LEADER'
    const lost = outcome.code === 'OUTCOME_UNKNOWN' && this.mayRepeat(forwarded)
    if (refused || lost) forwarded.againMs = nowMs + this.#options.limits.forwardTimeoutMs / 64
    else this.#end(forwarded, outcome)
  }

  advance(nowMs: number): void {
    for (const forwarded of this.#waiting.values()) {
      if (nowMs >= forwarded.deadlineMs) this.#end(forwarded, this.#tooLate(forwarded))
      else if (nowMs < forwarded.againMs) continue
      else if (forwarded.sent !== undefined) this.#takeBack(forwarded)
      else forwarded.againMs = Number.POSITIVE_INFINITY
    }
  }

  /** The caller went away. @returns what is known of the effect; undefined for one that is not here */
  abandon(proposal: PendingProposal): 'none' | 'unknown' | undefined {
    for (const forwarded of this.#waiting.values()) {
      if (forwarded.proposal !== proposal) continue
      proposal.settle = undefined
      this.#remove(forwarded)
      return isUncertain(forwarded) ? 'unknown' : 'none'
    }
    return undefined
  }

  failAll(error: KeelsonError): void {
    for (const forwarded of this.#waiting.values()) {
      this.#end(forwarded, isUncertain(forwarded) ? outcomeUnknown(error.message, error) : error)
    }
  }

  /** What an earlier attempt came to says nothing of the one that is on its way. @internal */
  isOfThisAttempt(
    { sent }: { readonly sent: { readonly replicaId: ReplicaId } | undefined },
    from: ReplicaId,
  ): boolean {
    return sent?.replicaId === from
  }

  /** @internal */
  drawId(): number {
    return this.#options.random.integer(2 ** 48)
  }

  /** A repetition has no effect of its own. @internal */
  mayRepeat({ proposal }: { readonly proposal: PendingProposal }): boolean {
    return proposal.forward === 'repeatedly'
  }

  /** Nothing that was refused a moment ago, unless the leader changed since; nothing twice that may be done. */
  #mayGo(forwarded: Forwarded): boolean {
    if (forwarded.againMs !== Number.POSITIVE_INFINITY) return false
    return forwarded.proposal.uncertain !== true || this.mayRepeat(forwarded)
  }

  #proposeHere(forwarded: Forwarded): void {
    if (forwarded.proposal.uncertain === true && !this.mayRepeat(forwarded)) return
    this.#remove(forwarded)
    const refusal = this.#options.proposeHere(forwarded.proposal)
    if (refusal !== undefined) settle(forwarded.proposal, refusal, 0)
  }

  #send(forwarded: Forwarded, peer: Peer, nowMs: number): void {
    const { core, send, limits } = this.#options
    const { kind, data } = forwarded.proposal
    const { leader: to, term, replicaId: from } = core
    forwarded.sent = { replicaId: to, nodeId: peer.nodeId, term }
    // A message may be lost without a sound.
    forwarded.againMs = this.mayRepeat(forwarded)
      ? nowMs + limits.forwardTimeoutMs / 8
      : Number.POSITIVE_INFINITY
    send(peer, { kind: 'forward', from, to, term, forwardId: forwarded.id, entryKind: kind, data })
  }

  /** Nothing is known of an attempt: the next one goes with the next turn. */
  #takeBack(forwarded: Forwarded): void {
    forwarded.sent = undefined
    forwarded.proposal.uncertain = true
    forwarded.againMs = Number.POSITIVE_INFINITY
  }

  #tooLate(forwarded: Forwarded): KeelsonError {
    return isUncertain(forwarded)
      ? outcomeUnknown('the leader did not answer in time')
      : this.#options.notLeader()
  }

  #end(forwarded: Forwarded, outcome: EntryOutcome, index = 0): void {
    this.#remove(forwarded)
    settle(forwarded.proposal, outcome, index)
  }

  #remove({ id, proposal }: Forwarded): void {
    this.#waiting.delete(id)
    this.#bytes -= proposal.data.length
  }
}

function isUncertain({ sent, proposal }: Forwarded): boolean {
  return sent !== undefined || proposal.uncertain === true
}

function settle(proposal: PendingProposal, outcome: EntryOutcome, index: number): void {
  const waiting = proposal.settle
  proposal.settle = undefined
  waiting?.(outcomeOf(proposal, outcome), index)
}
