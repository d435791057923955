import type { NodeId, RangeId } from '../../model/ids.ts'
import { localityValue } from '../../model/locality.ts'
import type { MoveInFlight, PlacementNode, PlacementSnapshot } from './snapshot.ts'

/** A snapshot laid out in whole columns. @internal */
export interface FlatSnapshot {
  /** By ascending id. */
  readonly nodes: readonly PlacementNode[]
  /** Where each node is in `nodes`. */
  readonly nodeIndex: ReadonlyMap<NodeId, number>
  /** Bits of each node's state: it is up, may be given replicas, has lost what it held, is to be emptied. */
  readonly nodeStatus: Uint8Array
  /** Ids of the ranges, ascending. */
  readonly rangeIds: Float64Array
  /** Generation of each range. */
  readonly generations: Float64Array
  /** Where the replicas of each range start; one more entry ends the last one. */
  readonly firstReplica: Uint32Array
  /** Ids of the replicas, range by range. */
  readonly replicaIds: Float64Array
  /** Index of the node, or -1 for one that nobody knows. */
  readonly replicaNode: Int32Array
  /**
   * Bits of each replica's state: it votes, its node is up, it is lost, its node is to be emptied, it holds
   * the lease.
   */
  readonly replicaStatus: Uint8Array
  /** Amount of each resource that one replica takes, by range. */
  readonly loads: ReadonlyMap<string, Float64Array>
  /** Voters that each range is to have; 0 for what the policy says. */
  readonly replicationFactors: Uint8Array
  /** For each range, the index of its move in `moves`, or -1. */
  readonly moveOf: Int32Array
  /** For each range, 0 when it is free, 1 when it is not to be improved, 2 when it is to be left alone. */
  readonly held: Uint8Array
  /** Moves under way, which count as done. */
  readonly moves: readonly MoveInFlight[]
}

/** Lays a snapshot out in whole columns. O(n). @internal */
export function flatOf(snapshot: PlacementSnapshot): FlatSnapshot {
  const { rangeCount, replicaCount, resources, moves } = snapshot
  const rangeIds = new Float64Array(rangeCount)
  const generations = new Float64Array(rangeCount)
  const replicationFactors = new Uint8Array(rangeCount)
  const firstReplica = new Uint32Array(rangeCount + 1)
  const replicaIds = new Float64Array(replicaCount)
  const replicaNode = new Int32Array(replicaCount)
  const replicaStatus = new Uint8Array(replicaCount)
  const moveOf = new Int32Array(rangeCount).fill(-1)
  const held = new Uint8Array(rangeCount)
  const columns = resources.map(() => new Float64Array(rangeCount))
  const moveIndex = new Map(moves.map((move, i) => [move.rangeId, i]))
  const reader = snapshot.reader()
  let at = 0
  for (let range = 0; reader.next(); range++) {
    rangeIds[range] = reader.rangeId
    generations[range] = reader.generation
    replicationFactors[range] = reader.replicationFactor
    held[range] = reader.held
    moveOf[range] = moveIndex.get(reader.rangeId) ?? -1
    columns.forEach((column, resource) => {
      column[range] = reader.load(resource)
    })
    for (let i = 0; i < reader.replicas; i++, at++) {
      replicaIds[at] = reader.replicaId(i)
      replicaNode[at] = reader.node(i)
      replicaStatus[at] = reader.status(i)
    }
    firstReplica[range + 1] = at
  }
  return {
    nodes: snapshot.nodes,
    nodeIndex: snapshot.nodeIndex,
    nodeStatus: snapshot.nodeStatus,
    rangeIds,
    generations,
    replicationFactors,
    firstReplica,
    replicaIds,
    replicaNode,
    replicaStatus,
    loads: new Map(resources.map((name, i) => [name, columns[i] as Float64Array])),
    moveOf,
    held,
    moves,
  }
}

/** Index of a range in the snapshot, or -1. O(log n). */
export function findRange(snapshot: FlatSnapshot, rangeId: RangeId): number {
  const { rangeIds } = snapshot
  let low = 0
  let high = rangeIds.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((rangeIds[middle] as number) < rangeId) low = middle + 1
    else high = middle
  }
  return rangeIds[low] === rangeId ? low : -1
}

/**
 * The domain of each node in one tier of locality, as small numbers by the order of the values. Nodes that do not name
 * the tier share one domain, so that it never looks safer than it is.
 */
export function domainsOf(nodes: readonly PlacementNode[], tier: string): { of: Int32Array; count: number } {
  const values = nodes.map(({ descriptor }) => localityValue(descriptor.locality, tier) ?? '')
  const ordered = [...new Set(values)].sort()
  const index = new Map(ordered.map((value, i) => [value, i]))
  return { of: Int32Array.from(values, (value) => index.get(value) as number), count: ordered.length }
}

/** Name of a node for a person. */
export function nodeName(snapshot: FlatSnapshot, node: number): string {
  return snapshot.nodes[node]?.descriptor.nodeId ?? 'an unknown node'
}
