import { checkArray, checkMembers } from '../../core/arguments.ts'
import { KeelsonError } from '../../core/errors.ts'
import { checkId, type Incarnation, type NodeId, type RangeId } from '../../model/ids.ts'
import { flatOf } from './flat.ts'
import type { BoundGoal } from './goals.ts'
import { Ledger, nowhere } from './ledger.ts'
import { type PlacementPolicy, placementLimits, placementPolicy } from './policy.ts'
import { buildSnapshot, type PlacementNode, type PlacementRange } from './snapshot.ts'
import { Targets } from './targets.ts'

/** Where a new range goes. */
export interface Allocation {
  /** The new range. */
  readonly rangeId: RangeId
  /** Nodes of its replicas; the first one is to lead. */
  readonly nodes: readonly {
    /** The node that gets a replica. */
    readonly nodeId: NodeId
    /** The life of its data that is meant. */
    readonly incarnation: Incarnation
  }[]
}

/** What {@link allocate} knows of the cluster. */
export interface AllocateInput {
  /** All nodes as they are now; those that may take nothing are left out by the planner. */
  readonly nodes: readonly PlacementNode[]
  /** Ranges that exist already: their nodes get less. */
  readonly ranges?: readonly PlacementRange[]
  /** Ids of the new ranges. */
  readonly rangeIds: readonly RangeId[]
  /** Where it differs from `defaultPlacementPolicy`. */
  readonly policy?: Partial<PlacementPolicy>
  /** Decides among nodes that are equally good. Default: 0. */
  readonly seed?: number
}

/**
 * Places new ranges by the same rules and goals by which they will be kept.
 *
 * @throws KeelsonError `UNSUPPORTED` when fewer nodes than the replication factor may take a replica; details: `nodes`
 */
export function allocate(input: AllocateInput): readonly Allocation[] {
  checkMembers(input, 'what is allocated', ['nodes', 'ranges', 'rangeIds', 'policy', 'seed'])
  const policy = placementPolicy(input.policy)
  checkArray(input.rangeIds, 'the ranges to place')
  const existing = input.ranges ?? []
  const known = new Set(existing.map(({ descriptor }) => descriptor.rangeId))
  const allocations: Allocation[] = []
  const ranges: PlacementRange[] = [...existing]
  const counted = { nodes: input.nodes, deadAfterMs: Number.POSITIVE_INFINITY }
  // Goals over all nodes, with what is placed so far entered as it goes along.
  const base = new Ledger(flatOf(buildSnapshot({ ...counted, ranges })))
  for (const rangeId of input.rangeIds) {
    checkId(rangeId, 'a range id')
    if (known.has(rangeId))
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `range ${rangeId} exists already, or stands twice among the new ones; give it another id`,
      )
    known.add(rangeId)
    allocations.push(placeOne(input, policy, base, rangeId))
  }
  return allocations
}

/** One range: a snapshot of it alone, with the counts of all the others. */
function placeOne(input: AllocateInput, policy: PlacementPolicy, base: Ledger, rangeId: RangeId): Allocation {
  const chosen: { nodeId: NodeId; incarnation: Incarnation }[] = []
  for (let i = 0; i < policy.replicationFactor; i++) {
    const descriptor = {
      rangeId,
      start: new Uint8Array(0),
      end: undefined,
      generation: 1,
      replicas: chosen.map((each, at) => ({ ...each, replicaId: at + 1, role: 'voter' as const })),
    }
    const snapshot = flatOf(
      buildSnapshot({
        nodes: input.nodes,
        ranges: [{ descriptor }],
        deadAfterMs: Number.POSITIVE_INFINITY,
      }),
    )
    const ledger = new Ledger(snapshot)
    ledger.replicas.set(base.replicas)
    ledger.leases.set(base.leases)
    const constraints = policy.constraints.map((constraint) => constraint.bind(ledger))
    const goals = policy.goals.map((goal) => goal.bind(ledger))
    const targets = new Targets(ledger, constraints, goals, placementLimits({}), input.seed ?? 0)
    const choice = targets.choose(0, nowhere, true)
    if (choice.type === 'none') {
      throw new KeelsonError(
        'UNSUPPORTED',
        `range ${rangeId} needs ${policy.replicationFactor} nodes, but only ${i} may take a replica of it; add nodes or lower the replication factor`,
        { details: { nodes: i } },
      )
    }
    const node = snapshot.nodes[choice.node]?.descriptor as PlacementNode['descriptor']
    chosen.push({ nodeId: node.nodeId, incarnation: node.incarnation })
    base.moveReplica(nowhere, nowhere, choice.node)
    if (i + 1 === policy.replicationFactor) return lead(base, goals, snapshot.nodeIndex, rangeId, chosen)
  }
  return { rangeId, nodes: chosen }
}

/** Puts the node first that should lead. */
function lead(
  base: Ledger,
  goals: readonly BoundGoal[],
  nodeIndex: ReadonlyMap<NodeId, number>,
  rangeId: RangeId,
  chosen: readonly { nodeId: NodeId; incarnation: Incarnation }[],
): Allocation {
  const cost = (nodeId: NodeId): number =>
    goals
      .map((goal) => goal.leaseCost(0, nowhere, nodeIndex.get(nodeId) as number))
      .find((each) => each !== 0) ?? 0
  const nodes = [...chosen].sort((a, b) => cost(a.nodeId) - cost(b.nodeId))
  base.moveLease(nowhere, nodeIndex.get((nodes[0] as { nodeId: NodeId }).nodeId) as number)
  return { rangeId, nodes }
}
