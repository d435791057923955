import { checkArray, checkMembers } from '../../core/arguments.ts'
import { KeelsonError } from '../../core/errors.ts'
import { showValue } from '../../core/options.ts'
import type {
  Load,
  NodeDescriptor,
  NodeLiveness,
  NodeState,
  RangeDescriptor,
} from '../../model/descriptors.ts'
import type { NodeId, RangeId, ReplicaId } from '../../model/ids.ts'
import { localityValue } from '../../model/locality.ts'
import { votesInAnyHalf, votesInIncoming } from '../../model/replica-roles.ts'

/** A node, as placement needs to know it. */
export interface PlacementNode {
  /** What the node says of itself. */
  readonly descriptor: NodeDescriptor
  /** Where it is in its life: only active nodes get replicas. */
  readonly state: NodeState
  /** Whether it is alive, suspect or dead. */
  readonly liveness: NodeLiveness
  /** For how long the liveness has been what it is. */
  readonly forMs: number
}

/** A range, as placement needs to know it. */
export interface PlacementRange {
  /** The range as the directory or its own report has it. */
  readonly descriptor: RangeDescriptor
  /** Replica that holds the lease, when it is known. */
  readonly leaseHolder?: ReplicaId
  /** Load of one replica; `bytes` is its size. */
  readonly load?: Load
  /** Voters that this range is to have; default: what the policy says. At most 15. */
  readonly replicationFactor?: number
}

/** What kind of change a move makes. */
export type MoveKind = 'add' | 'replace' | 'remove' | 'transferLease'

/** A move that is under way: it counts as done. */
export interface MoveInFlight {
  /** The range that is moved. */
  readonly rangeId: RangeId
  /** What the move is for. */
  readonly kind: MoveKind
  /** Node that gets a replica. */
  readonly add?: NodeId
  /** Replica that goes. */
  readonly remove?: ReplicaId
  /** Replica that gets the lease. */
  readonly leaseTo?: ReplicaId
}

/** From what a range is held back: `all` moves, or only `improvements`. */
export type RangeHold = 'all' | 'improvements'

/** What {@link buildSnapshot} is made of. */
export interface SnapshotInput {
  /** All nodes, those that are dead or draining included. */
  readonly nodes: readonly PlacementNode[]
  /** All ranges. */
  readonly ranges: readonly PlacementRange[]
  /** Moves under way. Default: none. */
  readonly moves?: readonly MoveInFlight[]
  /** Ranges that are left alone for now: wholly, or only from what would merely make them better. */
  readonly holds?: ReadonlyMap<RangeId, RangeHold>
  /** A node that is dead for so long has lost its replicas. */
  readonly deadAfterMs: number
}

/** What is true of a node; a set of bits. */
export const nodeBits: Readonly<{ up: number; eligible: number; gone: number; leaving: number }> =
  Object.freeze({
    /** It holds its session. */
    up: 1,
    /** It may be given replicas: active and live beyond doubt. */
    eligible: 2,
    /** What it held is lost: dead for too long, or decommissioned. */
    gone: 4,
    /** It is to be emptied. */
    leaving: 8,
  })

/** What is true of a replica; a set of bits. */
export const replicaBits: Readonly<{
  voter: number
  up: number
  lost: number
  leaving: number
  lease: number
}> = Object.freeze({
  voter: 1,
  /** Its node is up, in the incarnation that made it: it can vote. */
  up: 2,
  /** It will not come back: its node is gone, unknown, or lost its disk. */
  lost: 4,
  /** Its node is to be emptied. */
  leaving: 8,
  /** It holds the lease. */
  lease: 16,
})

/**
 * The cluster at one moment, in columns: nodes sorted by id, ranges sorted by id, replicas of one range side by side and
 * sorted by replica id. So equal clusters have equal snapshots, in whatever order they were reported. Never changed once
 * it is built.
 */
export interface PlacementSnapshot {
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

/** Builds a snapshot. O(n log n) in nodes and ranges. @throws KeelsonError `INVALID_ARGUMENT` */
export function buildSnapshot(input: SnapshotInput): PlacementSnapshot {
  checkMembers(input, 'what a snapshot is made of', ['nodes', 'ranges', 'moves', 'holds', 'deadAfterMs'])
  checkArray(input.nodes, 'the nodes of a snapshot', Number.MAX_SAFE_INTEGER)
  checkArray(input.ranges, 'the ranges of a snapshot', Number.MAX_SAFE_INTEGER)
  if (input.moves !== undefined) checkArray(input.moves, 'the moves of a snapshot', Number.MAX_SAFE_INTEGER)
  if (!(input.deadAfterMs >= 0)) {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `deadAfterMs of a snapshot is a number from 0, not ${showValue(input.deadAfterMs)}`,
    )
  }
  const nodes = [...input.nodes].sort((a, b) => (a.descriptor.nodeId < b.descriptor.nodeId ? -1 : 1))
  const nodeIndex = new Map(nodes.map((node, i) => [node.descriptor.nodeId, i]))
  const nodeStatus = Uint8Array.from(nodes, (node) => statusOf(node, input.deadAfterMs))
  const ranges = [...input.ranges].sort((a, b) => a.descriptor.rangeId - b.descriptor.rangeId)
  const replicaCount = ranges.reduce((sum, range) => sum + range.descriptor.replicas.length, 0)
  const rangeIds = new Float64Array(ranges.length)
  const generations = new Float64Array(ranges.length)
  const replicationFactors = Uint8Array.from(ranges, (range) => range.replicationFactor ?? 0)
  const firstReplica = new Uint32Array(ranges.length + 1)
  const replicaIds = new Float64Array(replicaCount)
  const replicaNode = new Int32Array(replicaCount)
  const replicaStatus = new Uint8Array(replicaCount)
  const loads = new Map<string, Float64Array>()
  let at = 0
  ranges.forEach(({ descriptor, leaseHolder, load }, range) => {
    rangeIds[range] = descriptor.rangeId
    generations[range] = descriptor.generation
    firstReplica[range] = at
    for (const replica of [...descriptor.replicas].sort((a, b) => a.replicaId - b.replicaId)) {
      const node = nodeIndex.get(replica.nodeId) ?? -1
      replicaIds[at] = replica.replicaId
      replicaNode[at] = node
      const same = node >= 0 && nodes[node]?.descriptor.incarnation === replica.incarnation
      const status = node < 0 || !same ? nodeBits.gone : (nodeStatus[node] as number)
      replicaStatus[at] =
        (votesInIncoming(replica) ? replicaBits.voter : 0) |
        ((status & nodeBits.up) !== 0 ? replicaBits.up : 0) |
        ((status & nodeBits.gone) !== 0 ? replicaBits.lost : 0) |
        ((status & nodeBits.leaving) !== 0 ? replicaBits.leaving : 0) |
        (replica.replicaId === leaseHolder && votesInAnyHalf(replica) ? replicaBits.lease : 0)
      at++
    }
    for (const [name, amount] of Object.entries(load ?? {})) {
      let column = loads.get(name)
      if (column === undefined) {
        column = new Float64Array(ranges.length)
        loads.set(name, column)
      }
      column[range] = amount
    }
  })
  firstReplica[ranges.length] = at
  const rangeIndex = new Map<RangeId, number>()
  const moves = [...(input.moves ?? [])].sort((a, b) => a.rangeId - b.rangeId)
  if (moves.length > 0) rangeIds.forEach((rangeId, i) => rangeIndex.set(rangeId, i))
  const moveOf = new Int32Array(ranges.length).fill(-1)
  moves.forEach((move, i) => {
    const range = rangeIndex.get(move.rangeId)
    if (range !== undefined) moveOf[range] = i
  })
  const held = new Uint8Array(ranges.length)
  if (input.holds !== undefined) {
    for (let i = 0; i < held.length; i++) {
      const hold = input.holds.get(rangeIds[i] as number)
      held[i] = hold === undefined ? 0 : hold === 'all' ? 2 : 1
    }
  }
  return {
    nodes,
    nodeIndex,
    nodeStatus,
    rangeIds,
    generations,
    replicationFactors,
    firstReplica,
    replicaIds,
    replicaNode,
    replicaStatus,
    loads,
    moveOf,
    held,
    moves,
  }
}

function statusOf(node: PlacementNode, deadAfterMs: number): number {
  const { state, liveness } = node
  if (state === 'decommissioned') return nodeBits.gone
  const up = liveness === 'dead' ? 0 : nodeBits.up
  const gone = liveness === 'dead' && node.forMs >= deadAfterMs ? nodeBits.gone : 0
  const eligible = state === 'active' && liveness === 'live' ? nodeBits.eligible : 0
  const leaving = state === 'draining' || state === 'drained' ? nodeBits.leaving : 0
  return up | gone | eligible | leaving
}

/** Index of a range in the snapshot, or -1. O(log n). */
export function findRange(snapshot: PlacementSnapshot, rangeId: RangeId): number {
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
export function nodeName(snapshot: PlacementSnapshot, node: number): string {
  return snapshot.nodes[node]?.descriptor.nodeId ?? 'an unknown node'
}
