import { entryKinds, type LogEntry } from '../../interfaces/log-store.ts'
import type { ReplicaId } from '../../model/ids.ts'
import { votesInIncoming } from '../../model/replica-roles.ts'
import { replicaOf } from './configuration.ts'
import { entryOverheadBytes } from './log.ts'
import { RaftPriorities } from './priorities.ts'
import type { Accepted, Proposal, ProposalAccepted, RefusalReason, Refused } from './types.ts'

/** What else callers ask of a leader: proposals, and to hand over. */
export abstract class RaftRequests extends RaftPriorities {
  /** The replica that leadership is being handed to; 0 for none. Set until the outcome is known. */
  transferTo: ReplicaId = 0
  /** The term in which it was started. */
  transferTerm = 0
  transferDeadlineMs: number = Infinity
  transferOutcome: { readonly to: ReplicaId; readonly outcome: 'done' | 'failed' } | undefined = undefined

  refuse(reason: RefusalReason): Refused {
    return { accepted: false, reason, leader: this.role === 'leader' ? 0 : this.leader }
  }

  override isHandingOver(): boolean {
    return this.role === 'leader' && this.transferTo !== 0
  }

  // Proposals

  refusalOfProposals(proposals: readonly Proposal[]): RefusalReason | undefined {
    if (this.role !== 'leader') return 'notLeader'
    if (this.isHandingOver()) return 'transferring'
    if (proposals.length === 0) return 'invalid'
    let bytes = 0
    for (const { kind, data } of proposals) {
      if (kind !== entryKinds.command && kind !== entryKinds.session) return 'invalid'
      if (data.length > this.options.maximumEntryBytes) return 'invalid'
      bytes += data.length + entryOverheadBytes
    }
    // One call may always pass alone, however large the sum.
    if (this.uncommittedBytes > 0 && this.uncommittedBytes + bytes > this.options.maximumUncommittedBytes) {
      return 'overloaded'
    }
    return undefined
  }

  appendProposals(proposals: readonly Proposal[]): ProposalAccepted {
    const firstIndex = this.log.lastIndex + 1
    const { term } = this
    this.appendAsLeader(
      proposals.map(({ kind, data }, i): LogEntry => ({ index: firstIndex + i, term, kind, data })),
    )
    return { accepted: true, term, firstIndex, lastIndex: this.log.lastIndex }
  }

  // Handing over (thesis, section 3.10)

  startTransfer(to: ReplicaId): Accepted | Refused {
    if (this.role !== 'leader') return this.refuse('notLeader')
    if (to !== this.replicaId && !this.isHeir(to)) return this.refuse('unknownReplica')
    if (this.transferTo === to && this.isHandingOver()) return { accepted: true }
    if (this.isHandingOver()) return this.refuse('transferring')
    if (to === this.replicaId) this.transferOutcome = { to, outcome: 'done' }
    else this.handOver(to)
    return { accepted: true }
  }

  override handOver(to: ReplicaId): void {
    this.transferTo = to
    this.transferTerm = this.term
    this.transferDeadlineMs = this.nowMs + this.options.electionTimeoutMs
    this.continueTransfer(to)
  }

  /** The heir has the whole log: it may campaign. Until then it is brought up to date like any other. */
  override continueTransfer(replicaId: ReplicaId): void {
    if (!this.isHandingOver() || replicaId !== this.transferTo) return
    if (this.progress.get(replicaId)?.matchIndex !== this.log.lastIndex) return
    this.sendTimeoutNow(replicaId)
  }

  /** Too late, or its end is known: proposals are taken again if this replica still leads. */
  endTransfer(outcome: 'done' | 'failed'): void {
    this.transferOutcome = { to: this.transferTo, outcome }
    this.transferTo = 0
    this.transferDeadlineMs = Infinity
    if (outcome === 'failed') this.yieldFailed()
    if (this.role === 'leader') this.continueMembership()
  }

  /** A transfer that was started here ends when the next leader is known. */
  noticeTransfer(): void {
    if (this.transferTo === 0) return
    if (this.term > this.transferTerm && this.leader !== 0) {
      this.endTransfer(this.leader === this.transferTo ? 'done' : 'failed')
    } else if (this.role === 'leader' && !this.isHeir(this.transferTo)) {
      this.endTransfer('failed')
    }
  }

  /** Leadership is handed to voters, and in a joint configuration not to those who are about to go. */
  isHeir(replicaId: ReplicaId): boolean {
    const replica = replicaOf(this.configuration, replicaId)
    return replica !== undefined && votesInIncoming(replica)
  }

  override abandonRequests(): void {
    this.failReads()
  }
}
