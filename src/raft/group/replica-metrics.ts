import type { KeelsonError } from '../../core/errors.ts'
import type { ReplicaId } from '../../model/ids.ts'
import type { Leadership } from '../core/types.ts'
import type { PendingProposal } from './pending-proposals.ts'
import type { PendingRead } from './pending-reads.ts'

/** What the replicas of a host tell of themselves when something happens to them. Nothing here is told of one that rests. */
export interface ReplicaMetrics {
  /** A replica may serve from now on, or no longer. */
  serves(isServing: boolean): void
  /** Role, term or leader changed. `before`: the last leader that the replica knew; 0 for none. */
  leadership(leadership: Leadership, before: ReplicaId): void
  /** An open replica is quarantined, or one that was so is open no more. */
  quarantined(replica: object, isOpen: boolean): void
  /** A proposal was taken or refused at this time. */
  proposed(proposal: PendingProposal, refusal: KeelsonError | undefined, atMs: number): void
  /** A read waits from this time on, or was refused. */
  readAsked(read: PendingRead, refusal: KeelsonError | undefined, atMs: number): void
  /** A read was served by a lease, without a wait. */
  readAtOnce(): void
}
