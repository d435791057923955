import type { ReplicaId } from '../../model/ids.ts'
import { RaftElection } from './election.ts'
import type { AskLeading, Heartbeat, NotLeading, PreVoteRequest } from './messages.ts'

/**
 * A follower at rest: it has all that its leader has and hears nothing from it, because the leader has nothing to say. The
 * hosts of the two nodes know of each other that they are there, for all their groups at once, and this replica's host
 * wakes it when the leader's node is gone.
 *
 * To rest is also to be covered: what its node pledges to the leader's node, under one epoch, counts for this replica, so it
 * votes for nobody until its host has ended that epoch. It stays covered when it wakes, for the leader may not know of
 * that: until the epoch has ended, until the leader has said that it leads no more, or until there is a leader of a higher
 * term, which nobody can become while pledges stand against it.
 */
export abstract class RaftCover extends RaftElection {
  /** The leader that may count on the cover, and the term that it leads. */
  coverLeader: ReplicaId = 0
  coverTerm = 0
  /** The leader was asked whether it leads, and has said nothing since. */
  hasAsked = false

  /** @returns the epoch under which this replica rests from now on, or 0 */
  rest(heartbeat: Heartbeat): number {
    const { epoch = 0 } = heartbeat
    if (epoch === 0 || !this.mayRest(heartbeat)) return 0
    this.atRest = true
    this.electionDeadlineMs = Infinity
    this.coverEpoch = epoch
    this.coverLeader = heartbeat.from
    this.coverTerm = this.term
    return epoch
  }

  /** It has all that the leader has, and nothing is under way here. */
  mayRest({ match }: Heartbeat): boolean {
    const { lastIndex, durableIndex } = this.log
    return (
      match === lastIndex &&
      this.commitIndex === lastIndex &&
      this.appliedIndex === lastIndex &&
      durableIndex === lastIndex &&
      this.restoring === undefined &&
      !this.hardStateDirty &&
      this.deferred.length === 0
    )
  }

  /** A leader of a higher term has been elected: no lease of an earlier one is left. */
  endOlderCover(): void {
    this.hasAsked = false
    if (this.coverTerm < this.term) this.coverEpoch = 0
  }

  /**
   * The host has ended the epoch: no pledge under it lasts longer than `untilMs`, and none is made any more. The node of the
   * leader was heard at `heardMs`, which is to have heard the leader itself: it would have said that it leads no more.
   */
  endCover(epoch: number, untilMs: number, heardMs: number): void {
    if (this.coverEpoch !== epoch) return
    this.coverEpoch = 0
    this.pledgedUntilMs = Math.max(this.pledgedUntilMs, untilMs)
    if (!this.atRest) return
    this.leaderHeardMs = Math.max(this.leaderHeardMs, heardMs)
    this.wakeUp()
  }

  /** Goes on as if the leader had spoken when it was heard last. */
  wakeUp(): void {
    this.atRest = false
    this.electionTimeoutMs = this.drawElectionTimeout()
    const soonestMs = this.nowMs + this.randomShareMs()
    this.electionDeadlineMs = Math.max(soonestMs, this.leaderHeardMs + this.electionTimeoutMs)
  }

  /**
   * Nothing but the cover keeps this replica from voting. A leader that may not be voted against in any case, because it
   * was heard lately, does not lose the cover of all its groups to somebody who cannot win in this one.
   */
  coverIsInTheWay(): boolean {
    if (!this.isCovered() || !this.leasesAreOn() || this.nowMs < this.pledgedUntilMs) return false
    return !this.options.checkQuorum || !this.protectsLeader()
  }

  /** One that asks for votes leads no more. Its word for that was lost, or all would still wait for it. */
  override handlePreVote(request: PreVoteRequest): void {
    super.handlePreVote(request)
    this.leaderIsMissed(request.from)
  }

  override leaderIsMissed(by: ReplicaId): void {
    if (this.isCovered() && by === this.coverLeader) this.askLeading()
  }

  override becomeFollower(term: number, leader: ReplicaId): void {
    const isNews = term > this.term
    super.becomeFollower(term, leader)
    if (isNews && this.isCovered() && this.coverLeader !== leader) this.askLeading()
  }

  override electionTimedOut(): void {
    const mayGoOn = this.hasAsked && !this.leasesAreOn()
    if (!this.isCovered() || mayGoOn) return super.electionTimedOut()
    // Its node is there, or the host would have ended the cover: either it does not know that this replica is awake, or
    // its word that it leads no more was lost.
    this.atRest = false
    this.hasAsked = true
    this.askLeading()
    this.armElection()
  }

  askLeading(): void {
    this.send({ kind: 'askLeading', ...this.header(this.coverLeader), ledTerm: this.coverTerm })
  }

  /** Whoever was asked whether it leads `ledTerm` does not. */
  denyLeading({ from, ledTerm }: AskLeading): void {
    this.send({ kind: 'notLeading', ...this.header(from), ledTerm })
  }

  handleNotLeading({ from, ledTerm }: NotLeading): void {
    if (!this.isCovered() || from !== this.coverLeader || ledTerm !== this.coverTerm) return
    this.coverEpoch = 0
    if (ledTerm !== this.term) return
    this.atRest = false
    if (this.leader === from) this.setLeader(0)
    this.armElection()
  }
}
