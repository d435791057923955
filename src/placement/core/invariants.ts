import { invariant } from '../../core/invariant.ts'
import type { ReplicaDescriptor } from '../../model/descriptors.ts'
import type { RangeId, ReplicaId } from '../../model/ids.ts'
import { isJoint, votesInIncoming, votesInOutgoing } from '../../model/replica-roles.ts'
import { quorumOf } from './quorum.ts'

/** A configuration that a range has committed. */
export interface CommittedConfiguration {
  /** The range that committed it. */
  readonly rangeId: RangeId
  /** Its generation: one more than that of the one before. */
  readonly generation: number
  /** Its members. */
  readonly replicas: readonly ReplicaDescriptor[]
}

/**
 * Judges what placement does to ranges, one committed configuration after the other, as a simulation sees them: no two
 * replicas on a node, one voter at a time or more of them jointly, generations without a gap, replica ids never used
 * again, and never a step that leaves a range without the quorum that it had.
 */
export class PlacementInvariants {
  readonly #last = new Map<RangeId, CommittedConfiguration>()
  /** Highest replica id that each range has used. */
  readonly #highest = new Map<RangeId, ReplicaId>()

  /**
   * Takes the next configuration of a range, at the moment at which it is committed.
   *
   * @param canVote whether the node of a replica is up, in the incarnation that made it, at this moment
   * @throws KeelsonError `INVARIANT_VIOLATED`
   */
  committed(next: CommittedConfiguration, canVote: (replica: ReplicaDescriptor) => boolean): void {
    const { rangeId, generation, replicas } = next
    const nodes = new Set(replicas.map((replica) => replica.nodeId))
    invariant(nodes.size === replicas.length, `range ${rangeId} has one replica on a node`)
    const before = this.#last.get(rangeId)
    if (before !== undefined) {
      invariant(generation === before.generation + 1, `the generations of range ${rangeId} have no gap`)
      this.#checkChange(before, next)
      invariant(
        !hasQuorum(before.replicas, canVote) || hasQuorum(replicas, canVote),
        `range ${rangeId} keeps its quorum at generation ${generation}`,
      )
    }
    this.#last.set(rangeId, next)
    const highest = Math.max(this.#highest.get(rangeId) ?? 0, ...replicas.map((replica) => replica.replicaId))
    this.#highest.set(rangeId, highest)
  }

  /**
   * Takes a change of a range's bounds, or of its generation alone, at the moment at which it is committed.
   *
   * @throws KeelsonError `INVARIANT_VIOLATED`
   */
  rebounded({ rangeId, generation, replicas }: CommittedConfiguration): void {
    const before = this.#last.get(rangeId)
    invariant(
      before === undefined || generation > before.generation,
      `a change of the bounds of range ${rangeId} raises its generation`,
    )
    this.#last.set(rangeId, { rangeId, generation, replicas })
  }

  #checkChange(before: CommittedConfiguration, next: CommittedConfiguration): void {
    const [old, now] = [before.replicas, next.replicas]
    const { rangeId } = next
    if (isJoint(now)) {
      invariant(!isJoint(old), `range ${rangeId} enters one joint configuration at a time`)
      invariant(
        sameVoters(old.filter(votesInIncoming), now.filter(votesInOutgoing)),
        `the voters of range ${rangeId} count in the joint configuration that follows`,
      )
    } else if (isJoint(old)) {
      invariant(
        sameVoters(old.filter(votesInIncoming), now.filter(votesInIncoming)),
        `range ${rangeId} leaves a joint configuration for its incoming voters`,
      )
    } else {
      const changed = voterChanges(old, now)
      invariant(changed <= 1, `range ${rangeId} changes one voter at a time, or more of them jointly`)
    }
    const known = new Set(before.replicas.map((replica) => replica.replicaId))
    const highest = this.#highest.get(next.rangeId) ?? 0
    for (const { replicaId } of next.replicas) {
      invariant(
        known.has(replicaId) || replicaId > highest,
        `range ${next.rangeId} never uses replica id ${replicaId} again`,
      )
    }
  }
}

function hasQuorum(
  replicas: readonly ReplicaDescriptor[],
  canVote: (replica: ReplicaDescriptor) => boolean,
): boolean {
  return [votesInIncoming, votesInOutgoing].every((votes) => {
    const voters = replicas.filter(votes)
    return voters.filter(canVote).length >= quorumOf(voters.length)
  })
}

function voterChanges(old: readonly ReplicaDescriptor[], now: readonly ReplicaDescriptor[]): number {
  const [before, after] = [old, now].map(
    (replicas) => new Set(replicas.filter(votesInIncoming).map(({ replicaId }) => replicaId)),
  ) as [Set<ReplicaId>, Set<ReplicaId>]
  return [...new Set([...before, ...after])].filter((id) => before.has(id) !== after.has(id)).length
}

function sameVoters(a: readonly ReplicaDescriptor[], b: readonly ReplicaDescriptor[]): boolean {
  const ids = new Set(a.map(({ replicaId }) => replicaId))
  return a.length === b.length && b.every(({ replicaId }) => ids.has(replicaId))
}
