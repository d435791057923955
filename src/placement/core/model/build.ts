import { checkArray, checkMembers } from '../../../core/arguments.ts'
import type { RangeId } from '../../../model/ids.ts'
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

/** A snapshot of what is given at once. O(n log n). @throws KeelsonError `INVALID_ARGUMENT` */
export function buildSnapshot(input: SnapshotInput): PlacementSnapshot {
  checkMembers(input, 'what a snapshot is made of', ['nodes', 'ranges', 'moves', 'holds', 'deadAfterMs'])
  checkArray(input.nodes, 'the nodes of a snapshot', Number.MAX_SAFE_INTEGER)
  checkArray(input.ranges, 'the ranges of a snapshot', Number.MAX_SAFE_INTEGER)
  if (input.moves !== undefined) checkArray(input.moves, 'the moves of a snapshot', Number.MAX_SAFE_INTEGER)
  const fleet = new Fleet({ deadAfterMs: input.deadAfterMs })
  for (const node of input.nodes) fleet.setNode(node)
  for (const [rangeId, hold] of input.holds ?? []) fleet.setHold(rangeId, hold)
  for (const range of input.ranges) fleet.setRange(range)
  for (const move of input.moves ?? []) fleet.setMove(move)
  return fleet.snapshot()
}
