import type { LogEntry } from '../../interfaces/log-store.ts'
import type { ReplicaId } from '../../model/ids.ts'
import { votesInIncoming } from '../../model/replica-roles.ts'
import { hasQuorum } from './electorate.ts'
import type { RaftMember } from './membership-types.ts'
import type { AskLeading, HeartbeatReply } from './messages.ts'
import type { Progress } from './progress.ts'
import { RaftReads } from './reads.ts'

/**
 * A leader at rest: all replicas have all that it has, so there is nothing to say, and nothing is said. It goes to rest only
 * with all of them, each under an epoch of its node, but for those whose nodes are gone and will be noticed when they come
 * back; whatever happens to it, or is not as it should be with one of them, wakes it. One that wakes is woken alone: the
 * others are not written to.
 */
export abstract class RaftQuiescence extends RaftReads {
  /** True while a hand-over freezes the log: the heir must be able to catch up. */
  abstract isHandingOver(): boolean

  /** All is committed here, and applied, and nothing has been begun that is not at its end. */
  override isIdle(): boolean {
    const { lastIndex, durableIndex, hasUnwritten } = this.log
    return (
      this.options.quiescence &&
      this.role === 'leader' &&
      this.commitIndex === lastIndex &&
      this.appliedIndex === lastIndex &&
      durableIndex === lastIndex &&
      !hasUnwritten &&
      !this.hardStateDirty &&
      !this.isHandingOver() &&
      !this.hasPlans() &&
      this.hasCommittedInTerm()
    )
  }

  /** The leader is to do something by itself, as soon as that can be done. */
  hasPlans(): boolean {
    const { latest } = this.configurations
    if (latest?.wantsMore !== true) return false
    const { joint, replicas } = latest.configuration
    const own = this.ownPriority()
    const isWaitedFor = (replica: RaftMember): boolean =>
      replica.autoPromote === true || (votesInIncoming(replica) && (replica.priority ?? 0) > own)
    return joint?.autoLeave === true || replicas.some(isWaitedFor)
  }

  override hasAll(progress: Progress): boolean {
    return (
      progress.state === 'replicate' &&
      progress.matchIndex === this.log.lastIndex &&
      progress.commitTold === this.commitIndex &&
      progress.inFlight.messages === 0 &&
      progress.fetchId === 0
    )
  }

  /** It has said so, and there is nothing that it lacks. */
  rests(progress: Progress): boolean {
    return progress.epoch !== 0 && this.hasAll(progress)
  }

  /** Every replica rests, but for those whose nodes are gone, and a quorum does. */
  everybodyRests(): boolean {
    for (const progress of this.progress.values()) {
      if (!this.rests(progress) && !progress.down) return false
    }
    return this.quorumRests()
  }

  quorumRests(): boolean {
    const rests = (voter: ReplicaId): boolean =>
      voter === this.replicaId || this.rests(this.progressOfVoter(voter))
    return hasQuorum(this.electorate(), rests)
  }

  /** To be asked whenever something has happened: goes to rest, or wakes. */
  override settleRest(): void {
    if (this.role !== 'leader') return
    const rests = this.everybodyRests() && this.pendingReads === 0 && this.isIdle()
    if (rests === this.atRest) return
    this.atRest = rests
    this.heartbeatDeadlineMs = rests ? Infinity : this.nowMs + this.options.heartbeatIntervalMs
  }

  /** A replica has said whether it rests. Answers to what was sent before something woke it say nothing. */
  override noteRest(progress: Progress, reply: HeartbeatReply): void {
    if (reply.round < progress.restsFromRound) return
    progress.restsFromRound = reply.round
    progress.epoch = reply.epoch ?? 0
    this.settleRest()
  }

  override appendAsLeader(entries: readonly LogEntry[]): void {
    super.appendAsLeader(entries)
    this.settleRest()
  }

  override becomeLeader(): void {
    this.atRest = false
    this.endOlderCover()
    super.becomeLeader()
  }

  /** Those who may rest are told, or they would wait for as long as this node is there. */
  override leaveLeadership(): void {
    for (const replicaId of this.progress.keys()) this.leadNoMore(replicaId)
    super.leaveLeadership()
  }

  override leadNoMore(replicaId: ReplicaId): void {
    if (this.restTerm === 0) return
    this.send({ kind: 'notLeading', ...this.header(replicaId), ledTerm: this.restTerm })
  }

  /** A replica is up that should rest, or is in a term in which this one leads no more. */
  handleAskLeading(request: AskLeading): void {
    if (this.role !== 'leader' || request.ledTerm !== this.term) this.denyLeading(request)
    else this.replicaIsAwake(request.from)
  }

  /** It hears nothing of a leader that believes it to rest: it is spoken to. */
  override replicaIsAwake(replicaId: ReplicaId): void {
    const progress = this.role === 'leader' ? this.progress.get(replicaId) : undefined
    if (progress === undefined) return
    progress.down = false
    this.disturb(progress)
    this.proveAgain(progress)
    if (!this.atRest) return
    this.settleRest()
    this.heartbeatDeadlineMs = this.nowMs
  }

  /**
   * A replica that started again does not know how far its log is the leader's until an append tells, so it neither applies
   * nor rests. It gets one when it answers.
   */
  proveAgain(progress: Progress): void {
    if (progress.state !== 'replicate' || progress.inFlight.messages > 0) return
    progress.becomeProbe(progress.matchIndex + 1)
    progress.paused = true
  }

  /**
   * Its node is gone, or nothing is known of it: what it pledges counts no more. `watched`: it will be noticed when it is
   * back, so that nothing needs to be said before.
   */
  nodeIsDown(replicaId: ReplicaId, watched: boolean): void {
    const progress = this.progress.get(replicaId)
    if (progress === undefined) return
    // One that answers although its node gives no sign of life runs an earlier release.
    const isHeard =
      progress.epoch === 0 && this.wasHeard(progress, this.nowMs - this.options.electionTimeoutMs)
    progress.down = watched && !isHeard
    this.disturb(progress)
    this.settleRest()
  }

  /** Its node is there, and pledges itself under this epoch. */
  nodeIsUp(replicaId: ReplicaId, epoch: number): void {
    const progress = this.progress.get(replicaId)
    if (progress !== undefined && progress.epoch !== epoch) this.replicaIsAwake(replicaId)
  }

  /** What the replica's node has pledged counts for the replica if it rests under the same epoch. */
  takeNodePledge(
    replicaId: ReplicaId,
    epoch: number,
    sent: { readonly atMs: number; readonly wallMs: number },
    pledgeMs: number,
  ): void {
    const progress = this.progress.get(replicaId)
    if (progress === undefined || epoch === 0 || progress.epoch !== epoch) return
    this.extendLease(progress, sent, pledgeMs)
  }
}
