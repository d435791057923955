import { entryKinds, type LogEntry } from '../../interfaces/log-store.ts'
import type { ReplicaDescriptor } from '../../model/descriptors.ts'
import type { ReplicaId } from '../../model/ids.ts'
import {
  encodeConfiguration,
  makeConfiguration,
  maximumReplicas,
  replicaOf,
  votersOf,
} from './configuration.ts'
import { entryOverheadBytes } from './log.ts'
import type { Progress } from './progress.ts'
import { RaftReads } from './reads.ts'
import type {
  Accepted,
  ChangeAccepted,
  Configuration,
  ConfigurationChange,
  MembershipChange,
  Proposal,
  ProposalAccepted,
  RefusalReason,
  Refused,
} from './types.ts'

/** What else callers ask of a leader: proposals, changes of the members, and to hand over. */
export abstract class RaftRequests extends RaftReads {
  /** The replica that leadership is being handed to; 0 for none. Set until the outcome is known. */
  transferTo: ReplicaId = 0
  /** The term in which it was started. */
  transferTerm = 0
  transferDeadlineMs: number = Infinity
  transferOutcome: { readonly to: ReplicaId; readonly outcome: 'done' | 'failed' } | undefined = undefined

  refuse(reason: RefusalReason): Refused {
    return { accepted: false, reason, leader: this.role === 'leader' ? 0 : this.leader }
  }

  /** True while a hand-over freezes the log: the heir must be able to catch up. */
  isHandingOver(): boolean {
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

  // Membership: one change at a time (thesis, section 4.1)

  /** The leader has committed an entry of its own term: it knows what is committed (Ongaro's note of 2015). */
  override hasCommittedInTerm(): boolean {
    return this.log.termAt(this.commitIndex) === this.term
  }

  /** Before, a configuration of an earlier term may still come to be committed beside the new one. */
  mayChangeMembers(): boolean {
    return this.hasCommittedInTerm()
  }

  /** The latest configuration is not committed yet. */
  isChangePending(): boolean {
    return this.configurations.latestIndex > this.commitIndex
  }

  refusalOfChange(
    change: MembershipChange,
    expectedGeneration: number | undefined,
  ): RefusalReason | undefined {
    const { configuration } = this
    if (this.role !== 'leader' || configuration === undefined) return 'notLeader'
    if (this.isHandingOver()) return 'transferring'
    if (expectedGeneration !== undefined && expectedGeneration !== configuration.generation) {
      return 'staleGeneration'
    }
    if (!this.mayChangeMembers()) return 'notReady'
    if (this.isChangePending()) return 'changeInProgress'
    if (change.type === 'addLearner') {
      const taken = configuration.replicas.some((replica) => replica.nodeId === change.nodeId)
      if (taken) return 'duplicateNode'
      return configuration.replicas.length >= maximumReplicas ? 'groupFull' : undefined
    }
    const replica = replicaOf(configuration, change.replicaId)
    if (replica === undefined) return 'unknownReplica'
    if (change.type === 'promote') {
      if (replica.role !== 'learner') return 'unknownReplica'
      return this.isCaughtUp(this.progress.get(change.replicaId)) ? undefined : 'notCaughtUp'
    }
    const voters = votersOf(configuration)
    return voters.length === 1 && voters[0] === change.replicaId ? 'lastVoter' : undefined
  }

  /** A learner may be promoted when it has nearly all that is committed and answers. */
  isCaughtUp(progress: Progress | undefined): boolean {
    return (
      progress !== undefined &&
      progress.state === 'replicate' &&
      this.isRecentlyActive(progress) &&
      progress.matchIndex + this.options.caughtUpEntries >= this.commitIndex
    )
  }

  isRecentlyActive(progress: Progress): boolean {
    return this.nowMs < progress.lastHeardMs + this.options.electionTimeoutMs
  }

  /** The configuration after a change; the entry that carries it has `index`, and so has a replica that it adds. */
  changedConfiguration(before: Configuration, change: MembershipChange, index: number): Configuration {
    const generation = before.generation + 1
    if (change.type === 'addLearner') {
      const { nodeId, incarnation } = change
      const learner: ReplicaDescriptor = { replicaId: index, nodeId, incarnation, role: 'learner' }
      return makeConfiguration(generation, [...before.replicas, learner], {
        type: 'addLearner',
        replicaId: index,
      })
    }
    const { replicaId } = change
    const note: ConfigurationChange = { type: change.type, replicaId }
    if (change.type === 'remove') {
      const rest = before.replicas.filter((replica) => replica.replicaId !== replicaId)
      return makeConfiguration(generation, rest, note)
    }
    const replicas = before.replicas.map(
      (replica): ReplicaDescriptor =>
        replica.replicaId === replicaId ? { ...replica, role: 'voter' } : replica,
    )
    return makeConfiguration(generation, replicas, note)
  }

  appendChange(change: MembershipChange): ChangeAccepted {
    const index = this.log.lastIndex + 1
    const { term } = this
    const configuration = this.changedConfiguration(this.configuration as Configuration, change, index)
    const data = encodeConfiguration(configuration)
    this.appendAsLeader([{ index, term, kind: entryKinds.configuration, data }])
    return { accepted: true, term, index, configuration }
  }

  // Handing over (thesis, section 3.10)

  startTransfer(to: ReplicaId): Accepted | Refused {
    if (this.role !== 'leader') return this.refuse('notLeader')
    if (to !== this.replicaId && replicaOf(this.configuration, to)?.role !== 'voter') {
      return this.refuse('unknownReplica')
    }
    if (this.transferTo === to && this.isHandingOver()) return { accepted: true }
    if (this.isHandingOver()) return this.refuse('transferring')
    if (to === this.replicaId) {
      this.transferOutcome = { to, outcome: 'done' }
      return { accepted: true }
    }
    this.transferTo = to
    this.transferTerm = this.term
    this.transferDeadlineMs = this.nowMs + this.options.electionTimeoutMs
    this.continueTransfer(to)
    return { accepted: true }
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
  }

  /** A transfer that was started here ends when the next leader is known. */
  noticeTransfer(): void {
    if (this.transferTo === 0) return
    if (this.term > this.transferTerm && this.leader !== 0) {
      this.endTransfer(this.leader === this.transferTo ? 'done' : 'failed')
    } else if (this.role === 'leader' && replicaOf(this.configuration, this.transferTo)?.role !== 'voter') {
      this.endTransfer('failed')
    }
  }

  override abandonRequests(): void {
    this.failReads()
  }
}
