import { emptyBytes } from '../../core/bytes.ts'
import { invariant } from '../../core/invariant.ts'
import { entryKinds, type LogEntry } from '../../interfaces/log-store.ts'
import type { ReplicaId } from '../../model/ids.ts'
import { highestReplicaId } from './configuration.ts'
import { hasQuorum, quorumValue } from './electorate.ts'
import { memoryOf } from './log.ts'
import type { Configuration } from './membership-types.ts'
import type { AppendReply, HeartbeatReply } from './messages.ts'
import { noneOf } from './none.ts'
import { Progress } from './progress.ts'
import { noProgress, RaftReplication } from './replication.ts'
import { nobodysVotes } from './state.ts'

/** What a leader concludes from what the others answer, and when it commits or steps down: Raft sections 5.3 and 5.4.2. */
export abstract class RaftLeader extends RaftReplication {
  /** What the entries take that were appended and are not committed. */
  uncommittedBytes = 0
  /** The term in which this replica led last, if it has asked others to rest in it; 0 if it has not. */
  restTerm = 0
  /** When the next round of heartbeats is due. Infinity unless this replica leads. */
  heartbeatDeadlineMs: number = Infinity

  /** Reads and transfers of a leader that lost its role. */
  abstract abandonRequests(): void
  /** A round of heartbeats goes out: reads that wait are bound to it. */
  abstract bindReads(): void
  /** Answers came in: serves the reads whose rounds a quorum confirmed. */
  abstract confirmReads(): void
  /** A round of heartbeats is about to go out. */
  abstract roundStarted(): void
  /** There is nothing to say to whoever has all. */
  abstract isIdle(): boolean
  /** A replica has all that there is, and nothing is on its way to it. */
  abstract hasAll(progress: Progress): boolean
  /** Goes to rest, or wakes, if it is time for it. */
  abstract settleRest(): void
  /** Nothing more is sent to a replica that may rest. */
  abstract leadNoMore(replicaId: ReplicaId): void
  /** An answer to a heartbeat says whether the replica rests. */
  abstract noteRest(progress: Progress, reply: HeartbeatReply): void
  /** Reads that wait for a round to be answered. */
  abstract get pendingReads(): number
  /** An answer to one of them says what the replica promises. */
  abstract takePledge(progress: Progress, reply: HeartbeatReply): void
  /** No lease any more in this term. */
  abstract giveUpLease(): void
  /** The replica that leadership is handed to may have caught up. */
  abstract continueTransfer(replicaId: ReplicaId): void
  /** What the configuration in force has the leader do by itself, if its time has come. */
  abstract continueMembership(): void
  /** A voter that is to lead rather than this one may take over. */
  abstract yieldIfDue(): void

  /** The election is won. The first entry is a no-op: only through it may older ones be committed (section 5.4.2). */
  override becomeLeader(): void {
    this.role = 'leader'
    this.restTerm = 0
    this.votes = nobodysVotes
    this.setLeader(this.replicaId)
    this.electionDeadlineMs = Infinity
    this.heartbeatDeadlineMs = this.nowMs + this.options.heartbeatIntervalMs
    this.progress = noProgress
    this.restoring = undefined
    this.trackMembers()
    this.uncommittedBytes = this.bytesBetween(this.commitIndex + 1, this.log.lastIndex)
    const first = this.log.lastIndex + 1
    this.appendAsLeader(this.noops(first, Math.max(first, this.highestMinted())))
  }

  /** Entries without an effect, from index `from` to `to`. */
  noops(from: number, to: number): LogEntry[] {
    const entries: LogEntry[] = []
    for (let index = from; index <= to; index++) {
      entries.push({ index, term: this.term, kind: entryKinds.noop, data: emptyBytes })
    }
    return entries
  }

  /**
   * The highest replica id of the configurations in the log. An entry that adds several replicas mints the indexes after its
   * own as well, and the no-ops that use them up may have been lost with its leader. The next leader makes up for them before
   * it can add anything, so that no id is ever minted twice.
   */
  highestMinted(): ReplicaId {
    const { places } = this.configurations
    return Math.max(0, ...places.map(({ configuration }) => highestReplicaId(configuration)))
  }

  override leaveLeadership(): void {
    this.progress = noProgress
    this.heartbeatDeadlineMs = Infinity
    this.noticeDeadlineMs = Infinity
    this.uncommittedBytes = 0
    this.fetches = this.fetches.filter((fetch) => fetch.replicaId === this.replicaId)
    this.neededSnapshots = noneOf()
    this.abandonRequests()
  }

  override configurationChanged(): void {
    if (this.role === 'leader') {
      this.trackMembers()
      // One voter less may make a majority of what is acknowledged already.
      this.maybeCommit()
    } else if (this.electionDeadlineMs === Infinity) this.armElection()
  }

  /** Keeps one progress per other replica of the configuration in force. */
  trackMembers(): void {
    const before = this.progress
    const progress = new Map<ReplicaId, Progress>()
    for (const { replicaId } of (this.configuration as Configuration).replicas) {
      if (replicaId === this.replicaId) continue
      progress.set(replicaId, before.get(replicaId) ?? new Progress(this.log.lastIndex + 1, this.nowMs))
    }
    this.progress = progress
    for (const replicaId of before.keys()) if (!progress.has(replicaId)) this.leadNoMore(replicaId)
  }

  /** A leader only ever adds to its log. */
  appendAsLeader(entries: readonly LogEntry[]): void {
    this.uncommittedBytes += memoryOf(entries)
    this.appendToLog(entries)
  }

  bytesBetween(from: number, to: number): number {
    const { entries, memoryFirst } = this.log
    return from > to ? 0 : memoryOf(entries, from - memoryFirst, to + 1 - memoryFirst)
  }

  // What is known of the others, and what follows from it

  handleAppendReply(reply: AppendReply): void {
    const progress = this.progressOf(reply.from)
    if (progress === undefined) return
    progress.lastHeardMs = this.nowMs
    if (reply.index > this.log.lastIndex) return this.drop('beyondLog')
    if (reply.accepted) this.acknowledged(reply.from, progress, reply.index)
    else this.refused(progress, reply)
  }

  /** The progress of a replica that answers this leader; others are counted and ignored. */
  progressOf(replicaId: ReplicaId): Progress | undefined {
    const progress = this.role === 'leader' ? this.progress.get(replicaId) : undefined
    if (progress === undefined) this.drop(this.role === 'leader' ? 'notAMember' : 'notLeading')
    else if (progress.down) this.replicaIsAwake(replicaId)
    return progress
  }

  /** Of another voter of the configuration in force, to a leader. */
  progressOfVoter(voter: ReplicaId): Progress {
    const progress = this.progress.get(voter)
    invariant(progress !== undefined, 'a leader knows the progress of each voter')
    return progress
  }

  /** An acknowledgement is (term of the leader, index); the term was compared before. */
  acknowledged(replicaId: ReplicaId, progress: Progress, index: number): void {
    if (index < progress.matchIndex) return this.acknowledgedLess(replicaId, progress)
    const moved = index > progress.matchIndex
    progress.matchIndex = index
    progress.nextIndex = Math.max(progress.nextIndex, index + 1)
    progress.continueCatchUp(this.log.lastIndex, this.nowMs)
    if (progress.state === 'probe') progress.becomeReplicate()
    else if (progress.state === 'replicate') progress.inFlight.freeThrough(index)
    else if (this.log.termAt(index) !== undefined) progress.becomeReplicate()
    if (!moved) return
    this.maybeCommit()
    this.continueTransfer(replicaId)
  }

  /**
   * A late answer, or one of a replica that has started again and does not know what it has proven. Where no append is on
   * its way, nobody would tell it before the next proposal.
   */
  acknowledgedLess(replicaId: ReplicaId, progress: Progress): void {
    if (progress.state !== 'replicate' || progress.inFlight.messages > 0 || progress.epoch !== 0) return
    this.sendAppend(replicaId, progress, [])
  }

  /** The logs part at or before the request's preceding entry: goes back a term at a time, not an entry. */
  refused(progress: Progress, reply: AppendReply): void {
    if (this.isStaleRefusal(progress, reply)) return
    const { hintIndex, hintTerm, index } = reply
    const agree = hintTerm === 0 ? hintIndex : this.log.lastIndexWithTermAtMost(hintIndex, hintTerm)
    progress.becomeProbe(Math.min(index, agree + 1))
  }

  /** The refusal is older than what is known of the replica by now. */
  isStaleRefusal(progress: Progress, reply: AppendReply): boolean {
    if (reply.index <= progress.matchIndex || progress.state === 'snapshot') return true
    return progress.state === 'probe' && reply.index !== progress.nextIndex - 1
  }

  handleHeartbeatReply(reply: HeartbeatReply): void {
    const progress = this.progressOf(reply.from)
    if (progress === undefined) return
    if (reply.round > this.round) return this.drop('unknownRound')
    progress.lastHeardMs = this.nowMs
    this.takePledge(progress, reply)
    this.noteRest(progress, reply)
    if (reply.round > progress.ackedRound) {
      progress.ackedRound = reply.round
      this.confirmReads()
    }
    progress.paused = false
    if (progress.state === 'replicate' && this.hasStalled(progress)) {
      // Something may have been lost on the way; the answer to an empty append tells.
      this.sendAppend(reply.from, progress, [])
    } else if (progress.state === 'snapshot' && this.offerIsOverdue(progress)) {
      this.offerSnapshot(reply.from, progress)
    }
  }

  /** Messages are on their way and none was acknowledged for a heartbeat interval. */
  hasStalled(progress: Progress): boolean {
    if (progress.inFlight.messages === 0) return false
    if (this.nowMs < progress.checkedAtMs + this.options.heartbeatIntervalMs) return false
    const stalled = progress.checkedMatch === progress.matchIndex
    progress.checkedAtMs = this.nowMs
    progress.checkedMatch = progress.matchIndex
    return stalled
  }

  /** What this leader itself contributes to a majority: only what is on its own disk. */
  ownMatchIndex(): number {
    return this.log.durableIndex
  }

  matchIndexOf(voter: ReplicaId): number {
    return voter === this.replicaId ? this.ownMatchIndex() : this.progressOfVoter(voter).matchIndex
  }

  /** The highest index that a quorum of the voters in force has durably. */
  quorumIndex(): number {
    return quorumValue(this.electorate(), (voter) => this.matchIndexOf(voter))
  }

  /** Counting replicas proves an entry committed only if it is of the leader's own term (section 5.4.2, figure 8). */
  mayCommitByCounting(index: number): boolean {
    return this.log.termAt(index) === this.term
  }

  maybeCommit(): void {
    const index = this.quorumIndex()
    if (index > this.commitIndex && this.mayCommitByCounting(index)) this.commitTo(index)
  }

  override committed(before: number): void {
    if (this.role !== 'leader') return
    this.uncommittedBytes -= this.bytesBetween(before + 1, this.commitIndex)
    this.continueMembership()
    if (this.role === 'leader' && this.mustStepDownAsRemoved()) this.stepDownAsRemoved()
  }

  /** A leader that is no voter any more leads until that is committed, and no longer. */
  mustStepDownAsRemoved(): boolean {
    return !this.isVoter() && this.configurations.latestIndex <= this.commitIndex
  }

  /** Tells the others that its removal is committed, asks the best of them to take over, and leaves. */
  stepDownAsRemoved(): void {
    let heir: ReplicaId = 0
    for (const [replicaId, progress] of this.progress) {
      this.sendHeartbeat(replicaId, progress, 0)
      if (heir === 0 && progress.matchIndex === this.log.lastIndex && this.voters().includes(replicaId)) {
        heir = replicaId
      }
    }
    if (heir !== 0) this.sendTimeoutNow(heir)
    this.becomeFollower(this.term, 0)
  }

  /** The heir is voted for whatever its voters have pledged, so from now on pledges prove nothing. */
  sendTimeoutNow(to: ReplicaId): void {
    this.giveUpLease()
    this.send({ kind: 'timeoutNow', ...this.header(to) })
  }

  /** A quorum of the voters, this one included if it is one, was heard within the least election timeout. */
  quorumIsActive(): boolean {
    const since = this.nowMs - this.options.electionTimeoutMs
    return hasQuorum(
      this.electorate(),
      (voter) => voter === this.replicaId || this.wasHeard(this.progressOfVoter(voter), since),
    )
  }

  /** For one that rests its node is heard: it is awake, or down, as soon as that is not the case. */
  wasHeard(progress: Progress, sinceMs: number): boolean {
    return progress.epoch !== 0 || progress.lastHeardMs > sinceMs
  }

  /** CheckQuorum: a leader that hears of no quorum cannot commit, and must not keep clients waiting (thesis, 6.2). */
  checkQuorum(): void {
    if (this.options.checkQuorum && !this.quorumIsActive()) this.becomeFollower(this.term, 0)
  }

  // Rounds of heartbeats

  heartbeatTimedOut(): void {
    this.checkQuorum()
    if (this.role === 'leader') this.continueMembership()
    if (this.role !== 'leader') return
    this.yieldIfDue()
    this.heartbeatDeadlineMs = this.nowMs + this.options.heartbeatIntervalMs
    this.startRound()
  }

  /**
   * A new round of heartbeats to every replica. Reads that wait are confirmed by it. It does not put off the next regular
   * one, or a stream of reads would keep a leader without a quorum from ever noticing.
   */
  startRound(): void {
    this.round++
    this.roundStarted()
    this.bindReads()
    const idle = this.isIdle()
    if (idle) this.restTerm = this.term
    // Those who rest have nothing to be told, unless a read wants to know whether they still follow.
    const spares = idle && this.pendingReads === 0
    for (const [replicaId, progress] of this.progress) {
      if (!spares || (progress.epoch === 0 && !progress.down)) {
        this.sendHeartbeat(replicaId, progress, this.round, idle && this.hasAll(progress))
      }
    }
    this.confirmReads()
  }
}
