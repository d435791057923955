import { KeelsonError, toKeelsonError } from '../../core/errors.ts'
import type { PeerIdentity } from '../../interfaces/transport.ts'
import type { ReplicaId } from '../../model/ids.ts'
import { replicaOf } from '../core/configuration.ts'
import type { Message } from '../core/messages.ts'
import { checkForwarded, type ForwardedProposal, outcomeForPeer, type ReplicaMessage } from './forwarding.ts'
import { areApart } from './lost-quorum.ts'
import { encodeGroupMetadata } from './metadata.ts'
import type { CommandResult, EntryOutcome } from './outcomes.ts'
import type { PendingProposal } from './pending-proposals.ts'
import { notLeader, supersededError } from './refusals.ts'
import { ReplicaCalls } from './replica-calls.ts'
import { nothingWithheld } from './replica-state.ts'

/** What comes in from other nodes, and what is heard of them. */
export abstract class ReplicaInputs extends ReplicaCalls {
  /**
   * A message from the network.
   *
   * @returns why it was dropped, if it was
   */
  receive(peer: PeerIdentity, message: Message, nowMs: number): string | undefined {
    this.hearNews(nowMs)
    if (this.failed !== undefined) return 'stopped'
    if (message.to !== this.replicaId) return 'wrongReplica'
    if (!this.isBound(message.from, peer)) return 'wrongSender'
    try {
      if (message.kind === 'vote' && !message.transfer) {
        this.rest.uncover(nowMs)
        this.hearNews(nowMs)
      }
      this.core.step(this.rest.checkEpoch(peer, message), nowMs)
    } catch (error) {
      if (KeelsonError.hasCode(error, 'MALFORMED')) return 'malformed'
      // Something that only a later release can read is among it, too: this replica says so, and does no more.
      this.stop(toKeelsonError(error, 'INVARIANT_VIOLATED'))
      return 'failed'
    }
    this.port.schedule(this)
    return undefined
  }

  /**
   * A message that the core does not see.
   *
   * @returns why it was dropped, if it was
   */
  receiveOther(peer: PeerIdentity, message: ReplicaMessage, nowMs: number): string | undefined {
    if (message.to !== this.replicaId) return 'wrongReplica'
    if (!this.isBound(message.from, peer)) return 'wrongSender'
    if (message.kind === 'forward') this.#takeForwarded(peer, message)
    else if (this.failed === undefined) this.requests?.forwardAnswered(message, nowMs)
    this.port.schedule(this)
    return undefined
  }

  /** A member's proposal. Who does not lead says so: it goes one hop only. */
  #takeForwarded(peer: PeerIdentity, message: ForwardedProposal): void {
    const { from, forwardId } = message
    const reply = (outcome: CommandResult, index = 0): void => {
      const header = { from: this.replicaId, to: from, term: this.core.term }
      const fitting = outcomeForPeer(outcome, this.port.maximumMessageBytes)
      this.port.send(this, peer, { kind: 'forwardReply', ...header, forwardId, index, outcome: fitting })
    }
    if (this.failed !== undefined) return reply(notLeader(this.groupId, this.leaderHint()))
    if (!this.#isMember(from)) {
      return reply(notLeader(this.groupId, this.leaderHint(), `replica ${from} is no member of the group`))
    }
    try {
      checkForwarded(message)
      // Entries of several commands are not forwarded.
      const settle = (outcome: EntryOutcome, index: number): void => reply(outcome as CommandResult, index)
      const refusal = this.propose(this.proposalOf(message, settle))
      if (refusal !== undefined) reply(refusal)
    } catch (error) {
      reply(toKeelsonError(error))
    }
  }

  /** It is not forwarded once more: two replicas that take each other for the leader would never end. @internal */
  proposalOf({ entryKind, data }: ForwardedProposal, settle: PendingProposal['settle']): PendingProposal {
    return { kind: entryKind, data, index: 0, term: 0, settle }
  }

  /**
   * A replica of a higher recovery generation speaks: the group was recovered from a lost quorum without this one, which is
   * no part of it any more. That is stored, and it stops. Only members that it knows are believed; and of a recovery that
   * knew nothing of its own, only those that its own has kept, as the others are lost to it.
   */
  supersede(peer: PeerIdentity, recoveryGeneration: number): boolean {
    const apart = areApart(recoveryGeneration, this.recoveryGeneration)
    if (!this.peers.isMember(peer, apart)) return false
    if (this.failed !== undefined || recoveryGeneration <= this.stored.supersededBy) return true
    this.stored = { ...this.stored, supersededBy: recoveryGeneration }
    const metadata = encodeGroupMetadata(this.stored)
    // If it fails, the store is poisoned, or a later message says it again.
    this.port.write(this, { groupId: this.groupId, metadata }).catch(() => {})
    const error = supersededError(this.groupId, this.stored)
    this.port.env.logger.error({ groupId: this.groupId, replicaId: this.replicaId, error }, error.message)
    this.stop(error)
    return true
  }

  /** Whoever speaks first for a replica id that is in no configuration is bound to it: that makes nobody a member. */
  #isMember(replicaId: ReplicaId): boolean {
    const { latest, committed } = this.configuration
    return [latest, committed].some((configuration) => replicaOf(configuration, replicaId) !== undefined)
  }

  get isAsked(): boolean {
    return this.requests !== undefined && !this.requests.isIdle
  }

  isElectionDue(nowMs: number): boolean {
    const { role, electionDeadlineMs } = this.core
    return this.failed === undefined && role !== 'leader' && nowMs >= electionDeadlineMs
  }

  /** The disk of this node has forgotten something that was acknowledged. */
  quarantine(): void {
    if (this.failed !== undefined) return
    this.guarded(() => this.core.quarantine())
    this.port.schedule(this)
  }

  /** Goes on under another id, which is stored before or together with what is promised under it first. */
  takeId(replicaId: ReplicaId): void {
    this.guarded(() => {
      this.core.takeId(replicaId)
      this.applier.takeId(replicaId)
      this.withheld = nothingWithheld
      this.stored = { ...this.stored, replicaId }
      this.writeMetadata()
    })
  }
}
