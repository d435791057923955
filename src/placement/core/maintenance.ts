import type { RangeDescriptor, ReplicaDescriptor } from '../../model/descriptors.ts'
import type { NodeId, RangeId } from '../../model/ids.ts'
import { votesInIncoming, votesInOutgoing } from '../../model/replica-roles.ts'
import { quorumOf } from './quorum.ts'
import type { PlacementNode } from './snapshot.ts'

/**
 * A node as placement sees it while it is in maintenance: it gets neither replicas nor leases, and while it is away what it
 * holds does not count as lost, however long that takes. Whether it can vote is not changed by it.
 */
export function underMaintenance<N extends PlacementNode>(node: N): N {
  return { ...node, maintenance: true }
}

/** A range that stands in the way of an operation on nodes. */
export interface Blocker {
  /** The range. */
  readonly rangeId: RangeId
  /** What would happen to it, and because of whom, in one line. */
  readonly why: string
  /** Other nodes that it waits for. */
  readonly nodes: readonly NodeId[]
}

/**
 * Whether a range bears that some nodes go down together: undefined when it keeps a quorum, in both halves of a joint
 * configuration. A range none of whose voters is on them does not care.
 */
export function whatForbidsLoss(
  range: Pick<RangeDescriptor, 'rangeId' | 'replicas'>,
  leaving: ReadonlySet<NodeId>,
  isUp: (replica: ReplicaDescriptor) => boolean,
): Blocker | undefined {
  for (const votes of [votesInIncoming, votesInOutgoing]) {
    const voters = range.replicas.filter(votes)
    if (!voters.some(({ nodeId }) => leaving.has(nodeId))) continue
    const staying = voters.filter((voter) => !leaving.has(voter.nodeId))
    const live = staying.filter(isUp).length
    const quorum = quorumOf(voters.length)
    if (live >= quorum) continue
    const down = staying.filter((voter) => !isUp(voter)).map(({ nodeId }) => nodeId)
    const because = down.length === 0 ? 'it has no more replicas' : `${down.join(', ')} cannot vote`
    return {
      rangeId: range.rangeId,
      why: `range ${range.rangeId} would have ${live} live voters of the ${quorum} that it needs: ${because}`,
      nodes: down,
    }
  }
  return undefined
}
