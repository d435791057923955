import { checkArray, checkMembers } from '../../../core/arguments.ts'
import { KeelsonError } from '../../../core/errors.ts'
import type { NodeId, RangeId } from '../../../model/ids.ts'
import type { MoveInFlight, PlacementNode, PlacementRange, RangeHold } from './cluster.ts'
import { Fleet } from './fleet.ts'
import type { PlacementSnapshot } from './snapshot.ts'

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

function refuseTwice<T>(known: Set<T>, id: T, what: string): void {
  if (known.has(id)) throw new KeelsonError('INVALID_ARGUMENT', `${what} ${id} stands twice in a snapshot`)
  known.add(id)
}

/** A snapshot of what is given at once. O(n log n). @throws KeelsonError `INVALID_ARGUMENT` that names the field */
export function buildSnapshot(input: SnapshotInput): PlacementSnapshot {
  checkMembers(input, 'what a snapshot is made of', ['nodes', 'ranges', 'moves', 'holds', 'deadAfterMs'])
  checkArray(input.nodes, 'the nodes of a snapshot', Number.MAX_SAFE_INTEGER)
  checkArray(input.ranges, 'the ranges of a snapshot', Number.MAX_SAFE_INTEGER)
  if (input.moves !== undefined) checkArray(input.moves, 'the moves of a snapshot', Number.MAX_SAFE_INTEGER)
  const fleet = new Fleet({ deadAfterMs: input.deadAfterMs })
  const nodeIds = new Set<NodeId>()
  for (const node of input.nodes) {
    fleet.setNode(node)
    refuseTwice(nodeIds, node.descriptor.nodeId, 'node')
  }
  for (const [rangeId, hold] of input.holds ?? []) fleet.setHold(rangeId, hold)
  const rangeIds = new Set<RangeId>()
  for (const range of input.ranges) {
    fleet.setRange(range)
    refuseTwice(rangeIds, range.descriptor.rangeId, 'range')
  }
  for (const move of input.moves ?? []) fleet.setMove(move)
  return fleet.snapshot()
}
