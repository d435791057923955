import type { ReplicaId } from '../../model/ids.ts'
import { replicaOf } from './configuration.ts'
import { hasQuorum, mayHaveQuorum } from './electorate.ts'
import type {
  MessageHeader,
  PreVoteReply,
  PreVoteRequest,
  TimeoutNow,
  VoteReply,
  VoteRequest,
} from './messages.ts'
import { RaftPledges } from './pledges.ts'
import { nobodysVotes } from './state.ts'

/** Where a campaign stands. */
export type Tally = 'won' | 'lost' | 'open'

/** How a replica comes to lead: Raft section 5.2 and 5.4.1, with the pre-vote of Ongaro's thesis, section 9.6. */
export abstract class RaftElection extends RaftPledges {
  abstract becomeLeader(): void
  /** Somebody asks for votes against the leader that this replica follows. */
  abstract leaderIsMissed(by: ReplicaId): void
  /** Goes on by itself: somebody who led has gone. */
  abstract wakeUp(): void
  /** The replica takes part in no rest that this leader may believe it in. */
  abstract replicaIsAwake(replicaId: ReplicaId): void
  /** A leader gives up its role: what it kept as one is void. */
  abstract leaveLeadership(): void

  /**
   * Follows, in this term or a higher one. The vote stays within a term, whatever the replica was: only a new term has a
   * new vote.
   */
  override becomeFollower(term: number, leader: ReplicaId): void {
    if (term > this.term) this.adoptTerm(term)
    const led = this.role === 'leader'
    this.role = 'follower'
    this.atRest = false
    this.votes = nobodysVotes
    this.setLeader(leader)
    this.electionTimeoutMs = this.drawElectionTimeout()
    this.armElection()
    if (led) this.leaveLeadership()
  }

  /**
   * The election timer ran out. A replica that may vote for nobody may not vote for itself either: it waits, and not all
   * whose pledges end together go on together.
   */
  electionTimedOut(): void {
    if (this.isPledged()) {
      this.electionDeadlineMs = this.pledgedUntilMs + this.randomShareMs()
      return
    }
    this.setLeader(0)
    if (this.maySeekElection()) this.startElection(false)
    else this.electionDeadlineMs = Infinity
  }

  /** `transfer`: the leader asked for it, so there is nothing to find out first. */
  startElection(transfer: boolean): void {
    if (!this.maySeekElection()) return
    if (this.options.preVote && !transfer) this.becomePreCandidate()
    else this.becomeCandidate(transfer)
  }

  becomePreCandidate(): void {
    this.role = 'preCandidate'
    this.startCampaign()
    for (const to of this.voters()) {
      if (to === this.replicaId) continue
      this.send({
        kind: 'preVote',
        ...this.header(to),
        candidateTerm: this.term + 1,
        lastIndex: this.log.lastIndex,
        lastTerm: this.log.lastTerm,
      })
    }
    // A pre-vote binds nobody, so one's own needs no disk.
    this.noteVote(this.replicaId, true)
    this.decidePreVote()
  }

  /**
   * Takes the next term and votes for itself in it. The requests leave, and the own vote counts, only once both are
   * durable: after a crash this replica could otherwise vote a second time in the term.
   */
  becomeCandidate(transfer: boolean): void {
    this.role = 'candidate'
    this.adoptTerm(this.term + 1)
    this.recordVote(this.replicaId)
    this.startCampaign()
    for (const to of this.voters()) {
      if (to === this.replicaId) continue
      this.sendAfterWrite({
        kind: 'vote',
        ...this.header(to),
        lastIndex: this.log.lastIndex,
        lastTerm: this.log.lastTerm,
        transfer,
      })
    }
  }

  startCampaign(): void {
    this.atRest = false
    this.votes = nobodysVotes
    this.setLeader(0)
    this.electionTimeoutMs = this.drawCampaignTimeout()
    this.armElection()
  }

  /** Raft section 5.4.1: the later last term wins, and the longer log only among equal ones. */
  logIsUpToDate(lastTerm: number, lastIndex: number): boolean {
    return lastTerm > this.log.lastTerm || (lastTerm === this.log.lastTerm && lastIndex >= this.log.lastIndex)
  }

  /** True while this replica leads or has heard a leader so lately that nobody may have missed it for long. */
  protectsLeader(): boolean {
    if (this.role === 'leader' || this.atRest) return true
    return this.leader !== 0 && this.nowMs < this.leaderHeardMs + this.options.electionTimeoutMs
  }

  /**
   * Elections against a leader that may hold a lease are refused, and leader stickiness: those against one that is alive.
   * Unless the leader itself wants one: it has given up its lease.
   */
  refusesElections(transfer: boolean): boolean {
    if (transfer) return false
    return this.isPledged() || (this.options.checkQuorum && this.protectsLeader())
  }

  canGrantPreVote(request: PreVoteRequest): boolean {
    if (this.quarantined || this.role === 'leader' || this.refusesElections(false)) return false
    if (this.isRemoved(request.from)) return false
    if (!this.logIsUpToDate(request.lastTerm, request.lastIndex)) return false
    if (request.candidateTerm > this.term) return true
    return request.candidateTerm === this.term && this.isVoteFree(request.from)
  }

  /** One vote a term, none once the term has a leader. Whether this replica takes itself for a voter is no matter. */
  canGrantVote(request: VoteRequest): boolean {
    return (
      !this.quarantined &&
      (request.transfer || !this.isPledged()) &&
      this.isVoteFree(request.from) &&
      this.logIsUpToDate(request.lastTerm, request.lastIndex)
    )
  }

  isVoteFree(candidate: ReplicaId): boolean {
    return this.votedFor === candidate || (this.votedFor === 0 && this.termLeader === 0)
  }

  handlePreVote(request: PreVoteRequest): void {
    this.replicaIsAwake(request.from)
    const granted = this.canGrantPreVote(request)
    this.send({
      kind: 'preVoteReply',
      ...this.header(request.from),
      candidateTerm: request.candidateTerm,
      granted,
      removed: this.isRemoved(request.from),
    })
    if (granted && this.yieldsTo(request)) this.becomeFollower(this.term, 0)
  }

  /**
   * Of two whose pre-votes cross both would be granted theirs, vote for themselves, and leave the term without a leader for
   * an election timeout. So one of them gives way before it has voted: the one with the poorer log, or the later turn. It
   * costs no safety, since a pre-vote is no vote, and no liveness: its election timer runs.
   */
  yieldsTo(rival: PreVoteRequest): boolean {
    if (this.role !== 'preCandidate') return false
    const equal = rival.lastTerm === this.log.lastTerm && rival.lastIndex === this.log.lastIndex
    return !equal || this.isOutranked(rival.from)
  }

  isOutranked(rival: ReplicaId): boolean {
    const inTurn = this.votersInTurn()
    return inTurn.indexOf(rival) < inTurn.indexOf(this.replicaId)
  }

  /** Any order will do, as long as all replicas know the same: those of higher priority first. */
  votersInTurn(): ReplicaId[] {
    const { configuration } = this
    const priorityOf = (voter: ReplicaId): number => replicaOf(configuration, voter)?.priority ?? 0
    return this.voters()
      .slice()
      .sort((a, b) => priorityOf(b) - priorityOf(a) || a - b)
  }

  /** The request's term is ours by now. */
  handleVote(request: VoteRequest): void {
    if (!this.canGrantVote(request)) {
      this.send({ kind: 'voteReply', ...this.header(request.from), granted: false })
      return
    }
    if (this.votedFor !== request.from) this.recordVote(request.from)
    this.armElection()
    this.sendAfterWrite({ kind: 'voteReply', ...this.header(request.from), granted: true })
  }

  handlePreVoteReply(reply: PreVoteReply): void {
    if (reply.removed) this.learnOfRemoval()
    if (this.role !== 'preCandidate' || reply.candidateTerm !== this.term + 1) return
    if (this.recordAnswer(reply.from, reply.granted)) this.decidePreVote()
  }

  /** A candidate whose removal is committed is told so: it cannot win, and must not go on raising terms. */
  tellOfRemoval(candidate: ReplicaId, candidateTerm: number): void {
    this.send({
      kind: 'preVoteReply',
      ...this.header(candidate),
      candidateTerm,
      granted: false,
      removed: true,
    })
  }

  /** Our removal is committed: whoever counts can do without us, so there is nothing to campaign for, ever. */
  learnOfRemoval(): void {
    if (this.toldRemoved) return
    this.toldRemoved = true
    this.pendingRemoved = true
    if (this.role === 'candidate' || this.role === 'preCandidate') this.becomeFollower(this.term, 0)
  }

  handleVoteReply(reply: VoteReply): void {
    if (this.role !== 'candidate') return
    if (this.recordAnswer(reply.from, reply.granted)) this.decideElection()
  }

  /** Only voters are asked, so others' answers are nonsense. A grant is not taken back: messages may be doubled. */
  recordAnswer(from: ReplicaId, granted: boolean): boolean {
    if (!this.voters().includes(from)) {
      this.drop('notAVoter')
      return false
    }
    if (this.votes.get(from) !== true) this.noteVote(from, granted)
    return true
  }

  noteVote(from: ReplicaId, granted: boolean): void {
    this.votes = new Map(this.votes).set(from, granted)
  }

  handleTimeoutNow(message: TimeoutNow): void {
    if (message.from !== this.leader) return this.drop('handOverByStranger')
    this.startElection(true)
  }

  decidePreVote(): void {
    const tally = this.tally()
    if (tally === 'won') this.becomeCandidate(false)
    else if (tally === 'lost') this.becomeFollower(this.term, 0)
  }

  decideElection(): void {
    if (this.ownVoteIsDurable()) this.noteVote(this.replicaId, true)
    const tally = this.tally()
    if (tally === 'won') this.becomeLeader()
    else if (tally === 'lost') this.becomeFollower(this.term, 0)
  }

  /** A candidate counts its own vote like any other: when it is on the disk. */
  ownVoteIsDurable(): boolean {
    return this.durableTerm === this.term && this.durableVote === this.replicaId
  }

  /** Counts the voters of the configuration in force: one's own vote, like any other, in each half that it belongs to. */
  tally(): Tally {
    const electorate = this.electorate()
    if (hasQuorum(electorate, (voter) => this.votes.get(voter) === true)) return 'won'
    return mayHaveQuorum(electorate, (voter) => this.votes.get(voter) === false) ? 'open' : 'lost'
  }

  /**
   * The socket to the leader closed: it is forgotten, and a pre-vote starts at once. The voters take turns, two round
   * trips apart, those of higher priority first, so that they do not split the votes. Those that are pledged wait for the
   * end of their pledges, and a turn more, since the others' may end a little later. Without pre-votes a glitch would depose
   * a leader that is well, so then nothing is hurried.
   */
  leaderWentDown(): void {
    const rank = this.votersInTurn()
      .filter((voter) => voter !== this.leader)
      .indexOf(this.replicaId)
    this.setLeader(0)
    if (this.atRest) this.wakeUp()
    if (!this.options.preVote || !this.maySeekElection()) return
    const turn = this.isPledged() ? rank + 1 : rank
    const delay = Math.min(turn * 2 * this.options.roundTripMs, this.options.electionTimeoutMs)
    const fromMs = Math.max(this.nowMs, this.pledgedUntilMs)
    this.electionDeadlineMs = Math.min(this.electionDeadlineMs, fromMs + delay)
    if (fromMs + delay <= this.nowMs) this.electionTimedOut()
  }

  /**
   * The caller knows better than the silence of its timers that the leader is gone: this replica no longer protects it, so
   * that it can vote for another one. Its own timer runs on as it was.
   */
  dropLeader(): void {
    if (this.role !== 'follower') return
    this.setLeader(0)
    if (this.atRest) this.wakeUp()
  }

  header(to: ReplicaId): MessageHeader {
    return { from: this.replicaId, to, term: this.term }
  }
}
