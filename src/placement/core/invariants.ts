import { invariant } from '../../core/invariant.ts'
import type { ReplicaDescriptor } from '../../model/descriptors.ts'
import type { RangeId, ReplicaId } from '../../model/ids.ts'
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
 * replicas on a node, one voter at a time, generations without a gap, replica ids never used again, and never a step that
 * leaves a range without the quorum that it had.
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

  #checkChange(before: CommittedConfiguration, next: CommittedConfiguration): void {
    const voters = (of: CommittedConfiguration): Set<ReplicaId> =>
      new Set(of.replicas.filter((replica) => replica.role === 'voter').map((replica) => replica.replicaId))
    const [old, now] = [voters(before), voters(next)]
    const changed = [...old, ...now].filter((replicaId) => old.has(replicaId) !== now.has(replicaId))
    invariant(changed.length <= 1, `range ${next.rangeId} changes one voter at a time`)
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
  const voters = replicas.filter((replica) => replica.role === 'voter')
  return voters.filter(canVote).length >= quorumOf(voters.length)
}
