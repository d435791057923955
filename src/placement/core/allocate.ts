import { checkArray, checkMembers } from '../../core/arguments.ts'
import { KeelsonError } from '../../core/errors.ts'
import { finish } from '../../core/sliced.ts'
import type { Load } from '../../model/descriptors.ts'
import { checkId, type Incarnation, type NodeId, type RangeId, type TableId } from '../../model/ids.ts'
import type { Assignment, AssignmentBase } from './assignment.ts'
import { FleetIndex } from './fleet-index.ts'
import { bindGoal, bindRule } from './goals/goal.ts'
import type { SeparateLoads } from './model/loads.ts'
import { boundPolicy, type PlacementPolicy, placementLimits, placementPolicy } from './policy.ts'
import {
  buildSnapshot,
  type PlacementNode,
  type PlacementRange,
  type PlacementSnapshot,
  type StoreView,
} from './snapshot.ts'
import { epsilon, Targets } from './targets.ts'
import { Traffic } from './traffic.ts'
import { WorkingSet } from './working-set.ts'

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
    /** Which of its stores, where it has several. */
    readonly storeId?: string
  }[]
}

/** What {@link allocate} knows of the cluster. */
export interface AllocateInput {
  /** All nodes as they are now; those that may take nothing are left out by the planner. */
  readonly nodes: readonly PlacementNode[]
  /** Ranges that exist already, with their loads: their nodes get less. */
  readonly ranges?: readonly PlacementRange[]
  /** Ids of the new ranges. */
  readonly rangeIds: readonly RangeId[]
  /** Tables that new ranges belong to, whose rules hold for them. Default: none does. */
  readonly tables?: ReadonlyMap<RangeId, TableId>
  /** Where it differs from `defaultPlacementPolicy`. */
  readonly policy?: Partial<PlacementPolicy>
  /** Decides among nodes that are equally good. Default: 0. */
  readonly seed?: number
}

/**
 * Places new ranges by the same rules and goals by which they will be kept. Each is taken to become like those that there are:
 * it is placed with the mean of their loads, so that nodes with much to do get less. Where no node has room for that, new
 * ranges are placed as they are, with no load.
 *
 * @throws KeelsonError `UNSUPPORTED` when fewer nodes than the replication factor may take a replica; details: `nodes`
 */
export function allocate(input: AllocateInput): readonly Allocation[] {
  checkMembers(input, 'what is allocated', ['nodes', 'ranges', 'rangeIds', 'tables', 'policy', 'seed'])
  const expected = meanLoads(input.ranges ?? [])
  if (Object.keys(expected.load).length + Object.keys(expected.leaderLoad).length === 0)
    return placeAll(input, expected)
  try {
    return placeAll(input, expected)
  } catch (error) {
    if (!KeelsonError.hasCode(error, 'UNSUPPORTED')) throw error
    return placeAll(input, { load: {}, leaderLoad: {} })
  }
}

function placeAll(input: AllocateInput, expected: SeparateLoads): readonly Allocation[] {
  const policy = boundPolicy(placementPolicy(input.policy))
  checkArray(input.rangeIds, 'the ranges to place')
  const known = new Set((input.ranges ?? []).map(({ descriptor }) => descriptor.rangeId))
  for (const rangeId of input.rangeIds) {
    checkId(rangeId, 'a range id')
    if (known.has(rangeId))
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `range ${rangeId} exists already, or stands twice among the new ones; give it another id`,
      )
    known.add(rangeId)
  }
  const snapshot = snapshotWith(input, expected)
  const ordered = Float64Array.from(input.rangeIds).sort()
  const totals = totalsOf(snapshot, policy)
  const columns = new WorkingSet(snapshot, ordered, totals, mostVoters(policy), policy)
  const assignment = columns.assign()
  const rules = policy.constraints.map((rule) => bindRule(assignment, rule))
  const goals = policy.goals.map((goal) => bindGoal(assignment, goal))
  const targets = new Targets(
    assignment,
    columns,
    rules,
    goals,
    new Traffic(snapshot),
    placementLimits({}),
    input.seed ?? 0,
  )
  const at = new Map(input.rangeIds.map((rangeId) => [rangeId, ordered.indexOf(rangeId)]))
  return input.rangeIds.map((rangeId) =>
    placeOne(rangeId, at.get(rangeId) as number, columns, assignment, targets),
  )
}

/** Most voters that any range is to have. */
function mostVoters({ rules, replicationFactor }: PlacementPolicy): number {
  const wanted = rules?.classes.map(({ policy }) => policy.voters?.value ?? replicationFactor) ?? []
  return Math.max(replicationFactor, ...wanted)
}

/** The cluster with the new ranges, which have no replica yet. */
function snapshotWith(input: AllocateInput, expected: SeparateLoads): PlacementSnapshot {
  const created = input.rangeIds.map((rangeId): PlacementRange => {
    const tableId = input.tables?.get(rangeId)
    return {
      descriptor: { rangeId, start: new Uint8Array(0), end: undefined, generation: 1, replicas: [] },
      ...expected,
      ...(tableId === undefined ? {} : { tableId }),
    }
  })
  return buildSnapshot({
    nodes: input.nodes,
    ranges: [...(input.ranges ?? []), ...created],
    deadAfterMs: Number.POSITIVE_INFINITY,
  })
}

/** What a range takes on average, by resource. */
function meanLoads(ranges: readonly PlacementRange[]): SeparateLoads {
  const mean = (loadOf: (range: PlacementRange) => Load | undefined): Load => {
    const sums: Record<string, number> = {}
    for (const range of ranges)
      for (const [name, amount] of Object.entries(loadOf(range) ?? {}))
        sums[name] = (sums[name] ?? 0) + amount
    for (const name of Object.keys(sums)) sums[name] = (sums[name] as number) / ranges.length
    return sums
  }
  return { load: mean(({ load }) => load), leaderLoad: mean(({ leaderLoad }) => leaderLoad) }
}

/** What there is on the nodes already. */
function totalsOf(snapshot: PlacementSnapshot, policy: PlacementPolicy): AssignmentBase {
  const index = new FleetIndex(policy)
  finish(index.update(snapshot))
  return index.totals
}

function placeOne(
  rangeId: RangeId,
  range: number,
  columns: WorkingSet,
  assignment: Assignment,
  targets: Targets,
): Allocation {
  const replicas = columns.wantedVoters[range] as number
  const first = columns.firstSlot[range] as number
  for (let slot = first; slot < first + replicas; slot++) {
    const choice = targets.choose(slot, true, 'any')
    if (choice.type === 'none') {
      throw new KeelsonError(
        'UNSUPPORTED',
        `range ${rangeId} needs ${replicas} nodes, but only ${slot - first} may take a replica of it; add nodes or lower the replication factor`,
        { details: { nodes: slot - first } },
      )
    }
    assignment.move(slot, choice.node)
    targets.candidates.changed(choice.node)
  }
  const slots = Array.from({ length: replicas }, (_, i) => first + i)
  const worse = (a: number, b: number): number =>
    targets.goals
      .map((goal) => goal.leadDelta(range, a) - goal.leadDelta(range, b))
      .find((difference) => Math.abs(difference) > epsilon) ?? a - b
  // The node that should lead comes first.
  slots.sort(worse)
  assignment.lead(range, slots[0] as number)
  const nodes = slots.map((slot) => {
    const { node, storeId } = columns.snapshot.stores[assignment.place[slot] as number] as StoreView
    const { nodeId, incarnation } = node.descriptor
    return { nodeId, incarnation, ...(storeId === '' ? {} : { storeId }) }
  })
  return { rangeId, nodes }
}
