import { KeelsonError } from '../../../core/errors.ts'
import type { Incarnation, NodeId } from '../../../model/ids.ts'
import type { QuorumSet } from './quorum-set.ts'

/** How far the log of a member is: the sequence of the primary that wrote the last record, then its index. */
export interface LogPosition {
  /** Sequence under which the last record was written; 0 for an empty log. */
  readonly sequence: number
  /** Index of the last record; 0 for an empty log. */
  readonly index: number
}

/** Which of two logs is further, as Raft compares them (Ongaro 2014, section 3.6.1). Below zero: the first is behind. */
export function comparePositions(a: LogPosition, b: LogPosition): number {
  return a.sequence - b.sequence || a.index - b.index
}

/** What a member stores of its membership, with its data. */
export interface MemberState {
  /** The newest set that was installed here. */
  readonly set: QuorumSet | undefined
  /** The highest sequence of a primary that was installed here. */
  readonly sequence: number
  /** The `joined` of the membership for which it has taken over everything from before; 0 for none. */
  readonly completeFor: number
}

/**
 * The gate at one member of a replica set: which epoch and which primary it obeys. Pure; the host stores
 * {@link ReplicaSetMember.state} durably with its data before it confirms an installation, and asks
 * {@link ReplicaSetMember.check} in the same step that takes an effect.
 *
 * Invariants: epoch and sequence never go back; one epoch has one set.
 */
export class ReplicaSetMember {
  /** The node that it is. */
  readonly nodeId: NodeId
  /** The life of its data: drawn when the data's directory is made, and lost with it. */
  readonly incarnation: Incarnation
  #state: MemberState

  /** A member with what it stored. A member that is new has stored nothing. */
  constructor(
    nodeId: NodeId,
    incarnation: Incarnation,
    state: MemberState = { set: undefined, sequence: 0, completeFor: 0 },
  ) {
    this.nodeId = nodeId
    this.incarnation = incarnation
    this.#state = state
  }

  /** What is to be stored. */
  get state(): MemberState {
    return this.#state
  }

  /** Epoch that it obeys; 0 before the first. */
  get epoch(): number {
    return this.#state.set?.epoch ?? 0
  }

  /** Sequence of the primary that it obeys; 0 before the first. */
  get sequence(): number {
    return this.#state.sequence
  }

  /** Whether it holds everything from before it joined: only then it counts for reads. */
  get isComplete(): boolean {
    const { set, completeFor } = this.#state
    const joined = set?.member(this.nodeId)?.joined
    return joined !== undefined && completeFor === joined
  }

  /**
   * Installs an epoch. Nothing has changed when it throws.
   *
   * @throws KeelsonError `STALE_EPOCH` when a newer one is installed, `QUARANTINED` when the set names another life of this
   * node: what that one promised is forgotten here
   */
  install(set: QuorumSet): void {
    if (set.epoch < this.epoch) throw staleEpoch(set.epoch, this.epoch)
    const member = set.member(this.nodeId)
    if (member !== undefined && !this.isMe(member.incarnation))
      throw new KeelsonError(
        'QUARANTINED',
        `${this.nodeId} has lost the data with which it is a member: have another node take its place`,
        { details: { member: member.incarnation, here: this.incarnation } },
      )
    if (set.epoch === this.epoch) {
      if (this.#state.set === undefined || set.equals(this.#state.set)) return
      throw new KeelsonError(
        'CONFLICT',
        `${this.nodeId} has another set of epoch ${set.epoch}: the control plane was recovered without it; stop all members, and make the set anew`,
        { retryable: false },
      )
    }
    // There was nothing before the first epoch: who is a member since then has all of it.
    const { completeFor } = this.#state
    this.#state = { ...this.#state, set, completeFor: member?.joined === 1 ? 1 : completeFor }
  }

  /** @internal */
  isMe(incarnation: Incarnation): boolean {
    return incarnation === this.incarnation
  }

  /** Installs the sequence of a primary. @throws KeelsonError `STALE_SEQUENCE` when a newer one is installed */
  installSequence(sequence: number): void {
    if (sequence < this.#state.sequence) throw staleSequence(sequence, this.#state.sequence)
    this.#state = { ...this.#state, sequence }
  }

  /** It has taken over everything from before it joined. */
  complete(joined: number): void {
    if (this.#state.set?.member(this.nodeId)?.joined === joined)
      this.#state = { ...this.#state, completeFor: joined }
  }

  /**
   * Whether an effect of this epoch and this primary may be taken now.
   *
   * @throws KeelsonError `STALE_EPOCH`, `STALE_SEQUENCE` for older ones, `CONFLICT` for what is not installed here yet
   */
  check(epoch: number, sequence: number): void {
    if (epoch < this.epoch) throw staleEpoch(epoch, this.epoch)
    if (sequence < this.sequence) throw staleSequence(sequence, this.sequence)
    if (epoch === this.epoch && sequence === this.sequence) return
    throw new KeelsonError(
      'CONFLICT',
      `epoch ${epoch} with sequence ${sequence} is not installed on ${this.nodeId}: install it first`,
      { details: { epoch: this.epoch, sequence: this.sequence } },
    )
  }
}

function staleEpoch(epoch: number, installed: number): KeelsonError {
  return new KeelsonError(
    'STALE_EPOCH',
    `epoch ${epoch} of the replica set is older than ${installed}: read the set again`,
    { details: { epoch, installed } },
  )
}

function staleSequence(sequence: number, installed: number): KeelsonError {
  return new KeelsonError(
    'STALE_SEQUENCE',
    `sequence ${sequence} is older than ${installed}: there is a newer primary; stop`,
    { details: { sequence, installed } },
  )
}
