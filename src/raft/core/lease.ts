import type { ReplicaId } from '../../model/ids.ts'
import { hasQuorum } from './electorate.ts'
import { RaftLeader } from './leader.ts'
import type { HeartbeatReply } from './messages.ts'
import { added, noneOf, without } from './none.ts'
import type { Progress } from './progress.ts'

/** When something left, by both clocks. */
interface Sent {
  readonly atMs: number
  readonly wallMs: number
}

/** A round of heartbeats. */
interface SentRound extends Sent {
  readonly round: number
}

/**
 * The lease of a leader: while a quorum is pledged to it nobody else can be elected, so that what it has committed is all
 * that is committed. It runs from the time at which a round of heartbeats was *sent*, and only the monotonic clock can give
 * it. The wall clock can take it away: when more wall time has passed than the lease lasts, the machine may have slept with
 * the monotonic clock standing still.
 */
export abstract class RaftLease extends RaftLeader {
  /** The rounds of the last `leaseMs`, by ascending number without gaps. */
  sentRounds: readonly SentRound[] = noneOf()
  /** Leadership was offered to another: there is no lease in this term any more. */
  leaseGivenUp = false

  override becomeLeader(): void {
    this.sentRounds = noneOf()
    this.leaseGivenUp = false
    super.becomeLeader()
  }

  override leaveLeadership(): void {
    this.sentRounds = noneOf()
    super.leaveLeadership()
  }

  override giveUpLease(): void {
    this.leaseGivenUp = true
  }

  override roundStarted(): void {
    if (!this.leasesAreOn()) return
    const since = this.nowMs - this.options.leaseMs
    let old = 0
    while (old < this.sentRounds.length && (this.sentRounds[old] as SentRound).atMs <= since) old++
    // Moving the rest of an array costs its length.
    if (old * 2 >= this.sentRounds.length) this.sentRounds = without(this.sentRounds, old)
    const sent = { round: this.round, atMs: this.nowMs, wallMs: this.wallMs }
    this.sentRounds = added(this.sentRounds, sent)
  }

  /** The replica has pledged itself when the round came to it. */
  override takePledge(progress: Progress, reply: HeartbeatReply): void {
    const first = this.sentRounds[0]
    const sent = first === undefined ? undefined : this.sentRounds[reply.round - first.round]
    if (sent !== undefined) this.extendLease(progress, sent, reply.pledgeMs)
  }

  /** The replica pledged itself for `pledgeMs` when it got what was sent then. */
  extendLease(progress: Progress, sent: Sent, pledgeMs: number): void {
    const durationMs = this.leaseDurationMs(pledgeMs)
    const { atMs, wallMs } = this.leaseBegins(sent)
    if (atMs + durationMs <= progress.leaseUntilMs) return
    progress.leaseUntilMs = atMs + durationMs
    progress.leaseUntilWallMs = wallMs + durationMs
  }

  /** The pledge began later, but nobody knows by how much. */
  leaseBegins(sent: Sent): Sent {
    return sent
  }

  /** A clock that is slow by the bound has measured the whole pledge before it shows this much. */
  leaseDurationMs(pledgeMs: number): number {
    return Math.min(pledgeMs, this.options.leaseMs) * (1 - this.options.clockDriftBound)
  }

  /** Whether nobody else leads, and nobody else can have led since the lease began. */
  holdsLease(): boolean {
    if (this.role !== 'leader' || this.leaseGivenUp || !this.leasesAreOn()) return false
    return this.isPledgedToMe((voter) => voter === this.replicaId || this.countsOn(this.progress.get(voter)))
  }

  isPledgedToMe(isPledged: (voter: ReplicaId) => boolean): boolean {
    return hasQuorum(this.electorate(), isPledged)
  }

  countsOn(progress: Progress | undefined): boolean {
    return (
      progress !== undefined && this.nowMs < progress.leaseUntilMs && this.wallMs < progress.leaseUntilWallMs
    )
  }
}
