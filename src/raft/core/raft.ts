import { invariant } from '../../core/invariant.ts'
import type { Random } from '../../core/random.ts'
import type { LogEntry, LogPosition } from '../../interfaces/log-store.ts'
import type { ReplicaId } from '../../model/ids.ts'
import { copyState, describeState } from './copy.ts'
import { entryOverheadBytes, memoryOf } from './log.ts'
import type { Configuration, MembershipChange, MembershipOptions } from './membership-types.ts'
import type { Message } from './messages.ts'
import { added, noneOf, without } from './none.ts'
import { RaftRequests } from './requests.ts'
import type {
  Accepted,
  ChangeAccepted,
  DeferredMessage,
  Fetch,
  ProgressStatus,
  Proposal,
  ProposalAccepted,
  RaftMachine,
  RaftStatus,
  RaftWrite,
  ReadRequest,
  Ready,
  Refused,
} from './types.ts'
import { maximumTermJump, validateMessage } from './validate.ts'

/**
 * One replica of a Raft group: the algorithm alone (Ongaro and Ousterhout 2014; Ongaro's thesis), without clock, disk or
 * network. See {@link RaftMachine} for its use.
 *
 * Every decision is a small method, so that a test can break each one alone. From the bottom: `RaftState`,
 * `RaftElection`, `RaftFollower`, `RaftReplication`, `RaftLeader`, `RaftRequests`.
 */
export class RaftCore extends RaftRequests implements RaftMachine {
  /** Committed entries that were read back from the store for application. */
  fetchedForApply: readonly LogEntry[] = noneOf()
  /** The fetch of committed entries that is under way; 0 for none. */
  applyFetchId = 0

  get nextDeadlineMs(): number {
    return Math.min(
      this.electionDeadlineMs,
      this.heartbeatDeadlineMs,
      this.noticeDeadlineMs,
      this.transferDeadlineMs,
      this.readDeadlineMs,
    )
  }

  // Messages

  step(message: Message, nowMs: number): void {
    validateMessage(message)
    this.observeTime(nowMs)
    if (message.to !== this.replicaId) return this.drop('otherReceiver')
    if (message.from === this.replicaId) return this.drop('fromMyself')
    if (message.term > this.term + maximumTermJump) return this.drop('termTooFar')
    if (message.term > this.term && !this.takeHigherTerm(message)) return
    if (message.term < this.term && !this.mayHaveLowerTerm(message)) return this.answerLowerTerm(message)
    this.dispatch(message)
    this.noticeTransfer()
  }

  /** What a message of a higher term does to ours. Returns whether it is to be handled. */
  takeHigherTerm(message: Message): boolean {
    switch (message.kind) {
      case 'preVote':
        // Asking changes nothing: neither the term of the one who asks nor ours.
        return true
      case 'vote':
        if (this.isRemoved(message.from)) {
          this.tellOfRemoval(message.from, message.term)
          return false
        }
        if (this.refusesElections(message.transfer)) {
          this.drop('needlessElection')
          this.replicaIsAwake(message.from)
          this.leaderIsMissed(message.from)
          return false
        }
        this.becomeFollower(message.term, 0)
        return true
      case 'preVoteReply':
        // A grant says nothing of terms; a refusal by a higher one ends a campaign that cannot be won.
        if (!message.granted) this.becomeFollower(message.term, 0)
        return true
      case 'append':
      case 'heartbeat':
      case 'snapshotOffer':
        this.becomeFollower(message.term, message.from)
        return true
      case 'askLeading':
        this.becomeFollower(message.term, 0)
        return true
      case 'notLeading':
        this.handleNotLeading(message)
        this.becomeFollower(message.term, 0)
        return false
      default:
        // An answer from beyond our term has nothing more to say.
        this.becomeFollower(message.term, 0)
        return false
    }
  }

  mayHaveLowerTerm(message: Message): boolean {
    const { kind } = message
    return kind === 'preVote' || kind === 'preVoteReply' || kind === 'askLeading' || kind === 'notLeading'
  }

  /** The sender is behind: who leads or campaigns in an old term must learn of ours, or it stays there. */
  answerLowerTerm(message: Message): void {
    switch (message.kind) {
      case 'append':
      case 'heartbeat':
      case 'snapshotOffer':
        this.send(this.appendReply(message.from, 0, false))
        return
      case 'vote':
        this.send({ kind: 'voteReply', ...this.header(message.from), granted: false })
        return
      default:
        this.drop('lowerTerm')
    }
  }

  dispatch(message: Message): void {
    switch (message.kind) {
      case 'preVote':
        return this.handlePreVote(message)
      case 'preVoteReply':
        return this.handlePreVoteReply(message)
      case 'vote':
        return this.handleVote(message)
      case 'voteReply':
        return this.handleVoteReply(message)
      case 'append':
        return this.handleAppend(message)
      case 'appendReply':
        return this.handleAppendReply(message)
      case 'heartbeat':
        return this.handleHeartbeat(message)
      case 'heartbeatReply':
        return this.handleHeartbeatReply(message)
      case 'snapshotOffer':
        return this.handleSnapshotOffer(message)
      case 'timeoutNow':
        return this.handleTimeoutNow(message)
      case 'readIndex':
        return this.handleReadIndex(message)
      case 'readIndexReply':
        return this.handleReadIndexReply(message)
      case 'askLeading':
        return this.handleAskLeading(message)
      case 'notLeading':
        return this.handleNotLeading(message)
    }
  }

  // Requests

  propose(proposals: readonly Proposal[], nowMs: number): ProposalAccepted | Refused {
    this.observeTime(nowMs)
    const reason = this.refusalOfProposals(proposals)
    return reason === undefined ? this.appendProposals(proposals) : this.refuse(reason)
  }

  changeMembership(
    changes: MembershipChange | readonly MembershipChange[],
    options: MembershipOptions,
    nowMs: number,
  ): ChangeAccepted | Refused {
    this.observeTime(nowMs)
    const answer = this.tryChange('type' in changes ? [changes] : changes, options)
    return typeof answer === 'string' ? this.refuse(answer) : answer
  }

  requestRead(context: number, nowMs: number, request: ReadRequest = {}): Accepted | Refused {
    this.observeTime(nowMs)
    const reason = this.refusalOfRead(request)
    if (reason !== undefined) return this.refuse(reason)
    if (this.role === 'leader') this.readHere(context, request)
    else this.readThere(context, request)
    return { accepted: true }
  }

  observeWall(wallMs: number): void {
    this.wallMs = wallMs
  }

  leaseReadIndex(nowMs: number, wallMs: number): number | undefined {
    this.observeTime(nowMs)
    this.observeWall(wallMs)
    return this.mayReadByLease() ? this.readIndex() : undefined
  }

  transferLeadership(to: ReplicaId, nowMs: number): Accepted | Refused {
    this.observeTime(nowMs)
    const answer = this.startTransfer(to)
    this.settleRest()
    return answer
  }

  // Time and hints

  advanceTo(nowMs: number): void {
    this.observeTime(nowMs)
    if (this.nowMs >= this.transferDeadlineMs) this.endTransfer('failed')
    this.failOverdueReads()
    if (this.role === 'leader') {
      if (this.nowMs < this.heartbeatDeadlineMs) return
      this.heartbeatTimedOut()
      // TimeoutNow may have been lost.
      this.continueTransfer(this.transferTo)
    } else if (this.nowMs >= this.electionDeadlineMs) this.electionTimedOut()
  }

  campaign(nowMs: number): void {
    this.observeTime(nowMs)
    if (this.maySeekElection()) this.electionTimedOut()
  }

  forgetLeader(nowMs: number): void {
    this.observeTime(nowMs)
    this.dropLeader()
  }

  peerUnreachable(replicaId: ReplicaId, nowMs: number): void {
    this.observeTime(nowMs)
    const progress = this.progress.get(replicaId)
    if (progress === undefined) return
    if (progress.epoch === 0 && progress.state === 'replicate') progress.becomeProbe(progress.matchIndex + 1)
    this.replicaIsAwake(replicaId)
  }

  peerDown(replicaId: ReplicaId, nowMs: number, watched: boolean = false): void {
    this.observeTime(nowMs)
    const progress = this.progress.get(replicaId)
    // Nothing is on its way to one that has everything.
    if (progress === undefined || !this.hasAll(progress)) this.peerUnreachable(replicaId, nowMs)
    this.nodeIsDown(replicaId, watched)
    if (this.role !== 'leader' && replicaId !== 0 && replicaId === this.leader) this.leaderWentDown()
  }

  peerUp(replicaId: ReplicaId, epoch: number, nowMs: number): void {
    this.observeTime(nowMs)
    this.nodeIsUp(replicaId, epoch)
  }

  coverEnded(epoch: number, untilMs: number, heardMs: number, nowMs: number): void {
    this.observeTime(nowMs)
    this.endCover(epoch, untilMs, heardMs)
  }

  mayUncover(nowMs: number): boolean {
    this.observeTime(nowMs)
    return this.coverIsInTheWay()
  }

  nodePledged(
    replicaId: ReplicaId,
    epoch: number,
    sent: { readonly atMs: number; readonly wallMs: number },
    pledgeMs: number,
    nowMs: number,
  ): void {
    this.observeTime(nowMs)
    this.takeNodePledge(replicaId, epoch, sent, pledgeMs)
  }

  // What the host has done

  persisted(writeId: number, nowMs: number): void {
    this.observeTime(nowMs)
    const hardState = this.log.persisted(writeId)
    if (hardState !== undefined) {
      this.durableTerm = hardState.term
      this.durableVote = hardState.votedFor
    }
    if (this.role === 'candidate') this.decideElection()
    else if (this.role === 'leader') this.maybeCommit()
  }

  applied(index: number, nowMs: number): void {
    this.observeTime(nowMs)
    invariant(index <= this.handedIndex, 'only what was handed out is applied')
    if (index > this.appliedIndex) this.appliedIndex = index
    let done = 0
    while ((this.applying[done]?.lastIndex ?? Infinity) <= index) done++
    this.applying = without(this.applying, done)
  }

  fetched(fetch: Fetch, entries: readonly LogEntry[], nowMs: number): void {
    this.observeTime(nowMs)
    if (fetch.replicaId !== this.replicaId) return this.fetchedForReplica(fetch, entries)
    if (fetch.fetchId !== this.applyFetchId) return
    this.applyFetchId = 0
    if (!this.isFetchValid(fetch) || !this.isFetchedRight(fetch, entries)) return
    if (fetch.from === this.handedIndex + 1) this.fetchedForApply = entries.slice()
  }

  fetchFailed(fetch: Fetch, reason: 'compacted' | 'other', nowMs: number): void {
    this.observeTime(nowMs)
    if (fetch.replicaId !== this.replicaId) this.fetchFailedForReplica(fetch, reason)
    else if (fetch.fetchId === this.applyFetchId) this.applyFetchId = 0
  }

  snapshotRestored(position: LogPosition, configuration: Configuration, nowMs: number): void {
    this.observeTime(nowMs)
    this.installSnapshot(position, configuration)
  }

  snapshotFailed(nowMs: number): void {
    this.observeTime(nowMs)
    this.restoring = undefined
  }

  reportSnapshot(replicaId: ReplicaId, outcome: 'sent' | 'failed', nowMs: number): void {
    this.observeTime(nowMs)
    const progress = this.progress.get(replicaId)
    if (progress !== undefined) this.snapshotReported(progress, outcome)
  }

  compact(index: number): LogPosition {
    const allowed = Math.min(index, this.appliedIndex, this.log.durableIndex)
    if (allowed > this.log.compacted.index) {
      this.log.compactTo(allowed)
      this.configurations.compactTo(allowed)
    }
    return this.log.compacted
  }

  // What the host has to do

  takeReady(): Ready | undefined {
    this.sharedSlice = undefined
    if (this.role === 'leader') {
      this.answerByLease()
      if (this.wantsRound()) this.startRound()
      this.replicate()
      this.settleRest()
    } else this.askLeader()
    const write = this.takeWrite()
    const messagesAfter = this.takeDeferred()
    const messages = this.outbox
    this.outbox = noneOf()
    const committed = this.takeCommitted()
    const reads = this.servableReads
    this.servableReads = noneOf()
    const { failedReads, fetches, neededSnapshots } = this
    this.failedReads = noneOf()
    this.fetches = noneOf()
    this.neededSnapshots = noneOf()
    const rest = this.takeNews()
    this.sharedSlice = undefined
    const idle =
      write === undefined &&
      messages.length + messagesAfter.length + committed.length + reads.length === 0 &&
      failedReads.length + fetches.length + neededSnapshots.length === 0 &&
      Object.keys(rest).length === 0
    this.trimMemory()
    if (idle) return undefined
    const ready = {
      messages,
      messagesAfter,
      committed,
      reads,
      failedReads,
      fetches,
      neededSnapshots,
      ...rest,
    }
    return write === undefined ? ready : { write, ...ready }
  }

  takeWrite(): RaftWrite | undefined {
    const hardState = this.hardStateToWrite()
    if (hardState === undefined) return undefined
    this.hardStateDirty = false
    const { writeId, entries, reset } = this.log.beginWrite(hardState, this.sharedSlice?.entries)
    return {
      writeId,
      hardState,
      ...(reset === undefined ? {} : { reset }),
      ...(entries.length === 0 ? {} : { entries }),
    }
  }

  /** Promises wait for the last write that was issued, which is durable after all before it. */
  takeDeferred(): readonly DeferredMessage[] {
    const { deferred } = this
    if (deferred.length === 0) return noneOf()
    this.deferred = noneOf()
    const after: DeferredMessage[] = []
    for (const message of deferred) {
      if (this.isDurable(message)) this.outbox = added(this.outbox, message)
      else after.push({ writeId: this.log.lastWriteId, message })
    }
    return after
  }

  /** The next entries to apply, within the limit on what is handed out and not applied. */
  takeCommitted(): readonly LogEntry[] {
    const limit = this.applyLimit()
    if (this.handedIndex >= limit) return noneOf()
    let room = this.options.maximumApplyingBytes
    for (const batch of this.applying) room -= batch.bytes
    if (room <= 0) return []
    const entries = this.nextToApply(limit, room)
    const last = entries.at(-1)
    if (last === undefined) return []
    this.handedIndex = last.index
    this.applying = added(this.applying, { lastIndex: last.index, bytes: memoryOf(entries) })
    return entries
  }

  nextToApply(limit: number, room: number): readonly LogEntry[] {
    const from = this.handedIndex + 1
    if (from >= this.log.memoryFirst)
      return this.log.slice(from, limit, room, Math.ceil(room / entryOverheadBytes))
    const { fetchedForApply } = this
    this.fetchedForApply = noneOf()
    if (fetchedForApply[0]?.index === from) return fetchedForApply
    if (this.applyFetchId === 0) {
      const to = Math.min(limit, this.log.memoryFirst - 1)
      const maximumBytes = Math.min(room, this.options.maximumAppendBytes)
      this.applyFetchId = this.requestFetch(this.replicaId, from, to, maximumBytes)
    }
    return []
  }

  /** Whatever is told only when it changed. */
  takeNews(): Partial<Ready> {
    const news: { -readonly [K in keyof Ready]?: Ready[K] } = {}
    if (this.pendingOffer !== undefined) news.offeredSnapshot = this.pendingOffer
    this.pendingOffer = undefined
    if (this.leadershipChanged()) news.leadership = this.reportedLeadership = this.leadership()
    if (this.configurationMoved()) news.configuration = this.reportedConfiguration = this.configurationState()
    if (this.transferOutcome !== undefined) news.transfer = this.transferOutcome
    this.transferOutcome = undefined
    if (this.pendingRemoved) news.removed = true
    this.pendingRemoved = false
    if (this.pendingQuarantine) news.quarantined = true
    this.pendingQuarantine = false
    return news
  }

  leadershipChanged(): boolean {
    const { role, term, leader } = this.reportedLeadership
    return role !== this.role || term !== this.term || leader !== this.leader
  }

  configurationMoved(): boolean {
    const { latest, latestIndex, committed } = this.reportedConfiguration
    const now = this.configurations.latest
    if (now?.configuration !== latest || this.configurations.latestIndex !== latestIndex) return true
    return this.configurations.at(this.commitIndex)?.configuration !== committed
  }

  /** Applied entries stay in memory for followers that are a little behind; what waits to be applied may go, too. */
  trimMemory(): void {
    const { maximumTailBytes, maximumApplyingBytes } = this.options
    this.log.evict(this.handedIndex, maximumTailBytes)
    this.log.evict(this.commitIndex, maximumTailBytes + maximumApplyingBytes)
    if (this.atRest) this.settle()
  }

  /** Nothing is under way: no more is kept than what must be known. */
  settle(): void {
    this.log.settle()
    this.sentRounds = noneOf()
    if (this.highestMinted() <= this.commitIndex) this.configurations.compactTo(this.commitIndex)
  }

  // Views

  configurationAt(index: number): Configuration | undefined {
    return this.configurations.at(index)?.configuration
  }

  status(): RaftStatus {
    const progress = new Map<ReplicaId, ProgressStatus>()
    for (const [replicaId, p] of this.progress) {
      progress.set(replicaId, {
        state: p.state,
        matchIndex: p.matchIndex,
        nextIndex: p.nextIndex,
        recentlyActive: this.isRecentlyActive(p),
        caughtUp: this.mayPromote(replicaId),
        inFlightMessages: p.inFlight.messages,
        inFlightBytes: p.inFlight.bytes,
      })
    }
    return {
      replicaId: this.replicaId,
      role: this.role,
      term: this.term,
      votedFor: this.votedFor,
      leader: this.leader,
      commitIndex: this.commitIndex,
      appliedIndex: this.appliedIndex,
      durableIndex: this.log.durableIndex,
      lastIndex: this.log.lastIndex,
      lastTerm: this.log.lastTerm,
      compacted: this.log.compacted,
      configuration: this.configurationState(),
      quarantined: this.quarantined,
      atRest: this.atRest,
      transferringTo: this.isHandingOver() ? this.transferTo : 0,
      progress,
      dropped: new Map(Object.entries(this.dropped)),
    }
  }

  clone(random: Random = this.random): this {
    return copyState(this, random)
  }

  fingerprint(): string {
    return describeState(this)
  }
}
