import { entryKinds } from '../../interfaces/log-store.ts'
import type { ReplicaId } from '../../model/ids.ts'
import { encodeConfiguration, highestReplicaId, replicaOf } from './configuration.ts'
import { changedConfiguration, leftConfiguration } from './configuration-change.ts'
import type { Configuration, MembershipChange, MembershipOptions } from './membership-types.ts'
import type { Progress } from './progress.ts'
import { RaftQuiescence } from './quiescence.ts'
import type { ChangeAccepted, RefusalReason } from './types.ts'

/**
 * How the members of a group change: one configuration after the other (Ongaro's thesis, chapter 4), each in force from the
 * moment at which it is appended, each committed before the next one is appended. One that follows a joint one and is not
 * joint is appended only once the joint one is committed: from then on nobody can be elected, and nothing be committed, by
 * the outgoing voters alone.
 */
export abstract class RaftMembership extends RaftQuiescence {
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
    changes: readonly MembershipChange[],
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
    const leaves = changes.length === 1 && changes[0]?.type === 'leaveJoint'
    if (leaves) return configuration.joint === undefined ? 'notJoint' : undefined
    if (configuration.joint !== undefined) return 'joint'
    const late = changes.some(
      (change) =>
        change.type === 'promote' &&
        replicaOf(configuration, change.replicaId)?.role === 'learner' &&
        !this.mayPromote(change.replicaId),
    )
    return late ? 'notCaughtUp' : undefined
  }

  /** A learner may be promoted when it has caught up and has a log in which it finds itself. */
  mayPromote(replicaId: ReplicaId): boolean {
    const progress = this.progress.get(replicaId)
    return this.isCaughtUp(progress) && this.knowsItself(replicaId, progress)
  }

  /**
   * The learner has acknowledged, from its disk, the entry that added it, whose index its id is: it knows under which id it
   * is to vote, and it has what it takes to be elected. Were voters without a log to count, those that have one could be
   * too few for a quorum, and nobody could be elected who might send the others theirs.
   */
  knowsItself(replicaId: ReplicaId, progress: Progress | undefined): boolean {
    return progress !== undefined && progress.matchIndex >= replicaId
  }

  /** It answers, and has nearly all that is committed or, where much is written, what there was a short while ago. */
  isCaughtUp(progress: Progress | undefined): boolean {
    return (
      progress !== undefined &&
      progress.state === 'replicate' &&
      this.isRecentlyActive(progress) &&
      (progress.matchIndex + this.options.caughtUpEntries >= this.commitIndex || this.keepsUp(progress))
    )
  }

  /** What it lacks was appended within an election timeout: no voter may need longer than that to have the whole log. */
  keepsUp(progress: Progress): boolean {
    return progress.coveredAtMs > this.nowMs - this.options.electionTimeoutMs
  }

  isRecentlyActive(progress: Progress): boolean {
    return this.wasHeard(progress, this.nowMs - this.options.electionTimeoutMs)
  }

  /** The configuration after the changes; the entry that carries it has `index`. Or why there is none. */
  changedConfiguration(
    before: Configuration,
    changes: readonly MembershipChange[],
    index: number,
    autoLeave: boolean,
  ): Configuration | RefusalReason {
    return changes[0]?.type === 'leaveJoint' && changes.length === 1
      ? leftConfiguration(before)
      : changedConfiguration(before, changes, index, autoLeave)
  }

  tryChange(
    changes: readonly MembershipChange[],
    { expectedGeneration, autoLeave = true }: MembershipOptions,
  ): ChangeAccepted | RefusalReason {
    const reason = this.refusalOfChange(changes, expectedGeneration)
    if (reason !== undefined) return reason
    const before = this.configuration as Configuration
    const after = this.changedConfiguration(before, changes, this.log.lastIndex + 1, autoLeave)
    return typeof after === 'string' ? after : this.appendConfiguration(after)
  }

  /** Appends a configuration, and no-ops for the indexes that it mints beyond its own. */
  appendConfiguration(configuration: Configuration): ChangeAccepted {
    const index = this.log.lastIndex + 1
    const { term } = this
    const highest = highestReplicaId(configuration)
    this.appendAsLeader([
      { index, term, kind: entryKinds.configuration, data: encodeConfiguration(configuration) },
      ...this.noops(index + 1, highest),
    ])
    return { accepted: true, term, index, configuration }
  }

  override continueMembership(): void {
    if (this.configurations.latest?.wantsMore !== true || this.isHandingOver()) return
    if (this.configuration?.joint === undefined) this.promoteNext()
    else if (this.leavesByItself() && this.mayLeaveJoint()) {
      this.appendConfiguration(leftConfiguration(this.configuration))
    }
  }

  /** The configuration in force is to be left without anybody asking for it: whoever leads sees to that. */
  leavesByItself(): boolean {
    return this.configuration?.joint?.autoLeave === true
  }

  /** Makes a learner that is marked for it, and has caught up, a voter. The next one follows when that is committed. */
  promoteNext(): void {
    if (this.isChangePending() || !this.mayChangeMembers()) return
    const learner = this.configuration?.replicas.find(
      ({ replicaId, autoPromote }) => autoPromote === true && this.mayPromote(replicaId),
    )
    if (learner !== undefined) this.tryChange([{ type: 'promote', replicaId: learner.replicaId }], {})
  }

  /** As for any change: the joint configuration is committed, and so is an entry of this leader's own term. */
  mayLeaveJoint(): boolean {
    return !this.isChangePending() && this.mayChangeMembers()
  }
}
