import type { ReplicaId } from '../../model/ids.ts'
import { votesInIncoming } from '../../model/replica-roles.ts'
import { RaftMembership } from './membership.ts'
import type { Configuration, RaftMember } from './membership-types.ts'
import type { Progress } from './progress.ts'

/** Pauses after a hand-over that did not last, in election timeouts: the first one, and the longest. */
const firstPause = 8
const longestPause = 32

/**
 * How a leader makes way for a voter of higher priority. The other half, that voters of lower priority wait a little before
 * they campaign, is in `RaftElection`. Both are wishes: nobody refuses a vote for them, every wait ends, and a hand-over that
 * fails is tried again only after a pause that doubles each time, so that they cost a group next to nothing of its time.
 */
export abstract class RaftPriorities extends RaftMembership {
  /** Before this the leader does not yield. */
  yieldNotBeforeMs: number = -Infinity
  /** When this replica last yielded. */
  yieldedAtMs: number = -Infinity
  /** How long to wait after the next one that does not last; 0 while none has failed. */
  yieldPauseMs = 0

  abstract handOver(to: ReplicaId): void

  /** A leader first settles in. One that has yielded a short while ago was not relieved for long: that was of no use. */
  override becomeLeader(): void {
    super.becomeLeader()
    if (this.configurations.latest?.wantsMore !== true) return
    const { electionTimeoutMs } = this.options
    if (this.nowMs < this.yieldedAtMs + 2 * longestPause * electionTimeoutMs) this.yieldFailed()
    else this.yieldPauseMs = 0
    this.yieldNotBeforeMs = this.nowMs + Math.max(electionTimeoutMs, this.yieldPauseMs)
  }

  yieldFailed(): void {
    if (this.configurations.latest?.wantsMore !== true) return
    const { electionTimeoutMs } = this.options
    const longer = Math.max(firstPause * electionTimeoutMs, this.yieldPauseMs * 2)
    this.yieldPauseMs = Math.min(longer, longestPause * electionTimeoutMs)
    this.yieldNotBeforeMs = this.nowMs + this.yieldPauseMs
  }

  /** With every round of heartbeats: hands over to somebody of higher priority who can take over, if there is one. */
  yieldIfDue(): void {
    if (this.configurations.latest?.wantsMore !== true || !this.mayYield()) return
    const heir = this.preferredHeir()
    if (heir === undefined) return
    this.yieldedAtMs = this.nowMs
    this.handOver(heir.replicaId)
  }

  mayYield(): boolean {
    if (this.nowMs < this.yieldNotBeforeMs || this.isHandingOver()) return false
    return !this.isChangePending() && this.mayChangeMembers()
  }

  /** Of the voters of higher priority that can take over at once, one of the highest. */
  preferredHeir(): RaftMember | undefined {
    let best: RaftMember | undefined
    let least = this.ownPriority()
    for (const replica of (this.configuration as Configuration).replicas) {
      const { replicaId, priority = 0 } = replica
      if (priority <= least || !votesInIncoming(replica) || !this.canTakeOver(this.progress.get(replicaId)))
        continue
      best = replica
      least = priority
    }
    return best
  }

  /** It answers, and has all that is committed. */
  canTakeOver(progress: Progress | undefined): boolean {
    return (
      progress !== undefined &&
      progress.state === 'replicate' &&
      this.isRecentlyActive(progress) &&
      progress.matchIndex >= this.commitIndex
    )
  }
}
