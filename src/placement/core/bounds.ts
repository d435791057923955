import { type FlatSnapshot } from './flat.ts'
import type { BoundGoal } from './goals.ts'
import type { CopyBound, PlanBounds, PlannedMove } from './plan.ts'
import type { PlacementPolicy } from './policy.ts'
import { quorumOf } from './quorum.ts'
import { replicaBits } from './snapshot.ts'
import { repairPriority } from './survey.ts'

/** How far each goal is, as the ledger stands. */
export function goalDistances(goals: readonly BoundGoal[]): readonly number[] {
  return goals.map((goal) => goal.distance())
}

/** Bounds of a plan. Ranges without a quorum are left out, since no plan can do anything for them. */
export function measurePlan(
  snapshot: FlatSnapshot,
  policy: PlacementPolicy,
  moves: readonly PlannedMove[],
  goals: readonly BoundGoal[],
  before: readonly number[],
): PlanBounds {
  const { firstReplica, replicaStatus, moveOf } = snapshot
  const sizes = snapshot.loads.get('bytes')
  const repair = { moves: 0, bytes: 0 }
  const drain = { moves: 0, bytes: 0 }
  for (let range = 0; range < moveOf.length; range++) {
    // What is under way counts as done.
    if ((moveOf[range] as number) >= 0) continue
    let [voters, live, kept, leaving, learners] = [0, 0, 0, 0, 0]
    for (let i = firstReplica[range] as number; i < (firstReplica[range + 1] as number); i++) {
      const status = replicaStatus[i] as number
      const lost = (status & replicaBits.lost) !== 0
      if ((status & replicaBits.voter) === 0) {
        if (!lost && (status & replicaBits.leaving) === 0) learners++
        continue
      }
      voters++
      if ((status & replicaBits.up) !== 0) live++
      if (lost) continue
      kept++
      if ((status & replicaBits.leaving) !== 0) leaving++
    }
    if (voters === 0 || live < quorumOf(voters)) continue
    const size = sizes?.[range] ?? 0
    const wanted = (snapshot.replicationFactors[range] as number) || policy.replicationFactor
    const missing = Math.max(0, wanted - kept - learners)
    repair.moves += missing
    repair.bytes += missing * size
    // A replica too many may be the one that leaves, and a learner may take its place: neither is a copy.
    const spare = Math.max(0, kept + learners - wanted)
    const emptied = Math.max(0, leaving - spare)
    drain.moves += emptied
    drain.bytes += emptied * size
  }
  const copies = moves.filter((move) => move.add !== undefined && move.add.replicaId === undefined)
  const after = goalDistances(goals)
  return {
    repair: bound(
      repair,
      copies.filter((move) => move.priority >= repairPriority),
    ),
    drain: bound(
      drain,
      copies.filter((move) => move.priority < repairPriority && move.priority >= 4500),
    ),
    goals: goals.map((goal, i) => ({
      name: goal.name,
      lowerBoundMoves: before[i] as number,
      afterPlan: after[i] as number,
    })),
  }
}

function bound(
  least: { readonly moves: number; readonly bytes: number },
  copies: readonly PlannedMove[],
): CopyBound {
  const plannedBytes = copies.reduce((sum, move) => sum + move.bytes, 0)
  return {
    lowerBoundMoves: least.moves,
    lowerBoundBytes: least.bytes,
    plannedMoves: copies.length,
    plannedBytes,
    gapBytes: Math.max(0, plannedBytes - least.bytes),
    remainingBytes: Math.max(0, least.bytes - plannedBytes),
  }
}
