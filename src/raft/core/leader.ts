import { emptyBytes } from '../../core/bytes.ts'
import { invariant } from '../../core/invariant.ts'
import { entryKinds, type LogEntry, type LogPosition } from '../../interfaces/log-store.ts'
import type { ReplicaId } from '../../model/ids.ts'
import { highestReplicaId } from './configuration.ts'
import { hasQuorum, quorumValue } from './electorate.ts'
import { RaftFollower } from './follower.ts'
import { memoryOf } from './log.ts'
import type { Configuration } from './membership-types.ts'
import type { AppendReply, HeartbeatReply } from './messages.ts'
import { added, noneOf } from './none.ts'
import { Progress } from './progress.ts'
import { nobodysVotes } from './state.ts'
import type { Fetch, NeededSnapshot } from './types.ts'

/** Entries that were cut from the log for a message, so that equal messages to several replicas share them. */
interface SharedSlice {
  readonly from: number
  readonly maximumBytes: number
  readonly entries: LogEntry[]
}

const noProgress: ReadonlyMap<ReplicaId, Progress> = new Map()

/** So many entries are worth a message of their own, see {@link RaftLeader.noticeCommits}. */
const fewCommits = 16

/** How a leader replicates and commits: Raft sections 5.3 and 5.4.2, pipelined as in section 10.2 of the thesis. */
export abstract class RaftLeader extends RaftFollower {
  /** Every other replica of the configuration in force; empty unless this replica leads. */
  progress: ReadonlyMap<ReplicaId, Progress> = noProgress
  /** What the entries take that were appended and are not committed. */
  uncommittedBytes = 0
  /** The term in which this replica led last, if it has asked others to rest in it; 0 if it has not. */
  restTerm = 0
  /** The last round of heartbeats. Grows for as long as the process lives and is never used twice. */
  round = 0
  /** When the next round of heartbeats is due. Infinity unless this replica leads. */
  heartbeatDeadlineMs: number = Infinity
  /** When replicas that were not told of a small commit are told. Infinity when there are none. */
  noticeDeadlineMs: number = Infinity
  lastFetchId = 0
  fetches: readonly Fetch[] = noneOf()
  neededSnapshots: readonly NeededSnapshot[] = noneOf()
  sharedSlice: SharedSlice | undefined = undefined

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

  // What is sent

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

  /** Round 0 wants no answer: it only tells of the commit index. */
  sendHeartbeat(to: ReplicaId, progress: Progress, round: number, idle = false): void {
    if (!idle) this.disturb(progress)
    const match = progress.matchIndex
    const commit = Math.min(match, this.commitIndex)
    progress.commitTold = commit
    this.send({
      kind: 'heartbeat',
      ...this.header(to),
      round,
      commit,
      match,
      ...(idle ? { idle } : {}),
    })
  }

  /**
   * Something is about to be sent that wakes the replica: from now on its node speaks for it no more, and what it has answered
   * before says nothing of its rest.
   */
  disturb(progress: Progress): void {
    if (!this.options.quiescence) return
    if (progress.epoch !== 0) progress.lastHeardMs = this.nowMs
    progress.epoch = 0
    progress.restsFromRound = this.round + 1
  }

  /** Sends to each replica what it can take now. Called once per Ready, so that a whole turn's proposals travel as one. */
  replicate(): void {
    let untold = 0
    for (const [replicaId, progress] of this.progress) {
      if (progress.state === 'probe') this.probe(replicaId, progress)
      else if (progress.state === 'replicate') this.stream(replicaId, progress)
      untold = Math.max(untold, this.untoldCommits(progress))
    }
    this.noticeCommits(untold)
  }

  /** Entries that a replica has and does not know to be committed. */
  untoldCommits(progress: Progress): number {
    return Math.min(this.commitIndex, progress.matchIndex) - progress.commitTold
  }

  /**
   * Tells of commits that no other message told of. With few entries that can wait a little: where one proposal follows
   * another, the next append tells, and nobody is woken twice. Many are told of at once, because a replica that applies
   * them together with the next append answers that one late.
   */
  noticeCommits(untold: number): void {
    if (untold <= 0) {
      this.noticeDeadlineMs = Infinity
      return
    }
    const delayMs = untold < fewCommits ? this.options.commitNoticeMs : 0
    this.noticeDeadlineMs = Math.min(this.noticeDeadlineMs, this.nowMs + delayMs)
    if (this.nowMs < this.noticeDeadlineMs) return
    this.noticeDeadlineMs = Infinity
    for (const [replicaId, progress] of this.progress) {
      if (this.untoldCommits(progress) > 0) this.sendHeartbeat(replicaId, progress, 0)
    }
  }

  probe(replicaId: ReplicaId, progress: Progress): void {
    if (progress.paused) return
    const { nextIndex } = progress
    const inMemory = nextIndex >= this.log.memoryFirst && nextIndex <= this.log.lastIndex
    const entries = inMemory ? this.entriesFrom(nextIndex, this.options.maximumAppendBytes) : []
    if (this.sendAppend(replicaId, progress, entries)) progress.paused = true
  }

  /** Pipelines: sends on without waiting, within the limits in flight. */
  stream(replicaId: ReplicaId, progress: Progress): void {
    while (progress.nextIndex <= this.log.lastIndex && progress.fetchId === 0) {
      const room = this.roomInFlight(progress)
      if (room <= 0) return
      if (progress.nextIndex < this.log.memoryFirst) {
        if (this.log.termAt(progress.nextIndex - 1) === undefined) this.needSnapshot(replicaId, progress)
        else this.fetchFor(replicaId, progress, room)
        return
      }
      const entries = this.entriesFrom(progress.nextIndex, Math.min(room, this.options.maximumAppendBytes))
      if (!this.fitsInFlight(progress, entries)) return
      this.sendEntries(replicaId, progress, entries)
    }
  }

  /** Bytes that may still be sent to a replica; 0 when it must acknowledge something first. */
  roomInFlight(progress: Progress): number {
    const { inFlight } = progress
    if (inFlight.messages >= this.options.maximumInFlightMessages) return 0
    return Math.max(0, this.options.maximumInFlightBytes - inFlight.bytes)
  }

  /** A message larger than what is left waits, unless it is alone. */
  fitsInFlight(progress: Progress, entries: readonly LogEntry[]): boolean {
    return progress.inFlight.messages === 0 || sizeOf(entries) <= this.roomInFlight(progress)
  }

  entriesFrom(from: number, maximumBytes: number): LogEntry[] {
    const shared = this.sharedSlice
    if (shared !== undefined && shared.from === from && shared.maximumBytes === maximumBytes)
      return shared.entries
    const entries = this.log.slice(from, this.log.lastIndex, maximumBytes, this.options.maximumAppendEntries)
    this.sharedSlice = { from, maximumBytes, entries }
    return entries
  }

  /** Sends entries from `nextIndex` on to a replica in state replicate. */
  sendEntries(replicaId: ReplicaId, progress: Progress, entries: readonly LogEntry[]): void {
    const sent = this.sendAppend(replicaId, progress, entries)
    invariant(sent, 'what precedes entries that are there is known')
    const last = progress.nextIndex + entries.length - 1
    progress.inFlight.add(last, sizeOf(entries))
    progress.nextIndex = last + 1
  }

  /** Sends one append that begins at `nextIndex`; a replica that needs what was compacted is offered a snapshot. */
  sendAppend(to: ReplicaId, progress: Progress, entries: readonly LogEntry[]): boolean {
    const prevIndex = progress.nextIndex - 1
    const prevTerm = this.log.termAt(prevIndex)
    if (prevTerm === undefined) {
      this.needSnapshot(to, progress)
      return false
    }
    this.disturb(progress)
    this.send({ kind: 'append', ...this.header(to), prevIndex, prevTerm, entries, commit: this.commitIndex })
    if (entries.length > 0) {
      progress.commitTold = Math.max(progress.commitTold, Math.min(this.commitIndex, progress.matchIndex))
    }
    return true
  }

  needSnapshot(replicaId: ReplicaId, progress: Progress, index: number = this.log.compacted.index): void {
    progress.becomeSnapshot(index, this.nowMs)
    const position = this.offerSnapshot(replicaId, progress)
    this.neededSnapshots = added(this.neededSnapshots, { replicaId, position })
  }

  /** Offers what it was offered before, or a later one when that was compacted since. */
  offerSnapshot(to: ReplicaId, progress: Progress): LogPosition {
    const term = this.log.termAt(progress.snapshotIndex)
    const position = term === undefined ? this.log.compacted : { index: progress.snapshotIndex, term }
    this.disturb(progress)
    progress.offeredAtMs = this.nowMs
    progress.snapshotIndex = position.index
    this.send({ kind: 'snapshotOffer', ...this.header(to), position })
    return position
  }

  /** The offer or its answer may have been lost; a replica that is busy with it ignores another one. */
  offerIsOverdue(progress: Progress): boolean {
    return this.nowMs >= progress.offeredAtMs + this.options.electionTimeoutMs
  }

  /** What the host knows of a snapshot's stream: sent, it is probed from there; failed, it is offered again. */
  snapshotReported(progress: Progress, outcome: 'sent' | 'failed'): void {
    if (progress.state !== 'snapshot') return
    const { snapshotIndex } = progress
    progress.becomeProbe(outcome === 'sent' ? snapshotIndex + 1 : progress.matchIndex + 1)
    // Not at once: its acknowledgement is on the way, or the cause of the failure is still there.
    progress.paused = true
  }

  // Entries that left memory

  fetchFor(replicaId: ReplicaId, progress: Progress, room: number): void {
    const to = Math.min(this.log.memoryFirst - 1, progress.nextIndex + this.options.maximumAppendEntries - 1)
    const maximumBytes = Math.min(room, this.options.maximumAppendBytes)
    progress.fetchId = this.requestFetch(replicaId, progress.nextIndex, to, maximumBytes)
  }

  requestFetch(replicaId: ReplicaId, from: number, to: number, maximumBytes: number): number {
    const fetchId = ++this.lastFetchId
    this.fetches = added(this.fetches, {
      fetchId,
      replicaId,
      from,
      to,
      maximumBytes,
      term: this.term,
      truncations: this.log.truncations,
      snapshotIndex: this.log.compacted.index,
    })
    return fetchId
  }

  /** True when nothing that could change the meaning of the range has happened since it was asked for. */
  isFetchValid(fetch: Fetch): boolean {
    return (
      fetch.term === this.term &&
      fetch.truncations === this.log.truncations &&
      fetch.snapshotIndex === this.log.compacted.index
    )
  }

  /** The entries are what this log has at these places. */
  isFetchedRight(fetch: Fetch, entries: readonly LogEntry[]): boolean {
    return (
      entries.length > 0 &&
      entries.every((entry, i) => entry.index === fetch.from + i && this.log.matches(entry.index, entry.term))
    )
  }

  fetchedForReplica(fetch: Fetch, entries: readonly LogEntry[]): void {
    const progress = this.progress.get(fetch.replicaId)
    if (progress === undefined || progress.fetchId !== fetch.fetchId) return
    progress.fetchId = 0
    if (!this.isFetchValid(fetch) || !this.isFetchedRight(fetch, entries)) return
    if (progress.state === 'replicate' && progress.nextIndex === fetch.from) {
      this.sendEntries(fetch.replicaId, progress, entries)
    }
  }

  /** A read that failed says nothing about where the log ends: it is tried again after the next heartbeat. */
  fetchFailedForReplica(fetch: Fetch, reason: 'compacted' | 'other'): void {
    const progress = this.progress.get(fetch.replicaId)
    if (progress === undefined || progress.fetchId !== fetch.fetchId) return
    progress.becomeProbe(progress.nextIndex)
    progress.paused = true
    // The store is ahead of what was reported with compact(): the first entry in memory is what is left for certain.
    if (reason === 'compacted' && this.isFetchValid(fetch)) {
      this.needSnapshot(fetch.replicaId, progress, this.log.memoryFirst - 1)
    }
  }
}

function sizeOf(entries: readonly LogEntry[]): number {
  let bytes = 0
  for (const entry of entries) bytes += entry.data.length
  return bytes
}
