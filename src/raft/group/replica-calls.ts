import type { KeelsonError } from '../../core/errors.ts'
import type { ReplicaId } from '../../model/ids.ts'
import type { Configuration, MembershipChange, MembershipOptions } from '../core/membership-types.ts'
import type { ReadMode, ReadRequest } from '../core/types.ts'
import { batchFrames } from './batch-envelope.ts'
import type { BatchLimits } from './batch-proposal.ts'
import type { Peer } from './peers.ts'
import type { PendingProposal } from './pending-proposals.ts'
import type { PendingRead } from './pending-reads.ts'
import { heirIsDown } from './refusals.ts'
import { ReplicaState } from './replica-state.ts'

const pledgesTakenEveryMs = 1

/** What callers ask of a replica. */
export abstract class ReplicaCalls extends ReplicaState {
  #pledgesTakenMs = Number.NEGATIVE_INFINITY

  /** How reads are confirmed that do not say it themselves. */
  get readMode(): ReadMode {
    return this.port.readMode
  }

  /** @returns why the proposal is refused, if it is */
  propose(proposal: PendingProposal): KeelsonError | undefined {
    const nowMs = this.now()
    this.hearNews(nowMs)
    const refusal = this.failed ?? this.callers.propose(proposal)
    this.port.metrics.proposed(proposal, refusal, nowMs)
    return refusal
  }

  /** Entries of several commands are written only where every other member reads them, as far as it was heard lately. */
  get batchLimits(): BatchLimits {
    const others = this.configuration.latest?.replicas.filter(({ replicaId }) => replicaId !== this.replicaId)
    return {
      together: others?.every((replica) => this.readsBatches(replica)) === true,
      entryBytes: this.port.maximumEntryBytes,
      alone: (command) => this.machine.alone?.(command) === true,
    }
  }

  /** @internal */
  readsBatches(peer: Peer): boolean {
    return this.port.frameVersionOf(peer) >= batchFrames
  }

  /** The caller of a proposal went away. @returns what is known of its effect */
  abandonProposal(proposal: PendingProposal): 'none' | 'unknown' {
    return this.callers.abandon(proposal)
  }

  /** @returns why the read is refused, if it is */
  read(read: PendingRead): KeelsonError | undefined {
    if (this.failed !== undefined) return this.failed
    const nowMs = this.now()
    this.hearNews(nowMs)
    const refusal = this.callers.read(read)
    this.port.metrics.readAsked(read, refusal, nowMs)
    return refusal
  }

  /** A valid lease, and all that is committed is applied: there is nothing to wait for, not even a turn. */
  mayReadAtOnce({ mode }: ReadRequest): boolean {
    if (mode !== 'lease' || this.failed !== undefined || this.core.role !== 'leader') return false
    const nowMs = this.now()
    this.hearNews(nowMs)
    const index = this.#leaseReadIndex(nowMs)
    if (index === undefined || index > this.applier.applied.index) return false
    this.port.metrics.readAtOnce()
    return true
  }

  /**
   * What the other nodes pledge is asked for so often that they go on with it, and where the lease of the replica by itself is
   * over: to ask for each read would cost more than all the rest of it.
   */
  #leaseReadIndex(nowMs: number): number | undefined {
    const { clock } = this.port.env
    if (nowMs - this.#pledgesTakenMs < pledgesTakenEveryMs) {
      const index = this.core.leaseReadIndex(nowMs, clock.wallMs())
      if (index !== undefined) return index
    }
    this.#pledgesTakenMs = nowMs
    this.rest.takeNodePledges(true)
    return this.core.leaseReadIndex(clock.monotonicMs(), clock.wallMs())
  }

  /** `settle` gets the outcome when the entry of the new configuration is applied, or an error. */
  changeMembership(
    changes: MembershipChange | readonly MembershipChange[],
    options: MembershipOptions,
    settle: (outcome: Configuration | KeelsonError) => void,
  ): PendingProposal | KeelsonError {
    if (this.failed !== undefined) return this.failed
    return this.guarded(() => this.callers.changeMembership(changes, options, this.now(), settle))
  }

  /** @returns why the transfer is refused, if it is */
  transferLeadership(
    to: ReplicaId,
    resolve: () => void,
    reject: (error: KeelsonError) => void,
  ): KeelsonError | undefined {
    if (this.failed !== undefined) return this.failed
    this.hearNews(this.now())
    // All proposals would be refused until the hand-over is given up.
    if (this.core.status().progress.get(to)?.recentlyActive === false) return heirIsDown(this.groupId, to)
    return this.guarded(() => this.callers.transferLeadership(to, this.now(), { resolve, reject }))
  }

  campaign(): void {
    if (this.core.leader !== 0 || this.isCampaigning()) return
    this.guarded(() => this.core.campaign(this.now()))
    this.port.schedule(this)
  }

  /** A vote is under way. Begun anew it would lose its grants, and take another term with each call. @internal */
  isCampaigning(): boolean {
    return this.core.role === 'candidate' || this.core.role === 'preCandidate'
  }

  forgetLeader(): void {
    this.guarded(() => this.core.forgetLeader(this.now()))
    this.port.schedule(this)
  }
}
