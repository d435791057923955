import type { CopySums } from './fleet-index.ts'
import type { CopyBound, PlanBounds, PlannedMove } from './plan.ts'
import { needPriority, repairPriority } from './survey.ts'

const { replaceLostNonVoter, addNonVoter, replaceLeaving, replaceLeavingNonVoter } = needPriority
/** Priorities of moves that repair though they can wait, and of those that empty nodes. */
const repairs: ReadonlySet<number> = new Set([replaceLostNonVoter, addNonVoter])
const drains: ReadonlySet<number> = new Set([replaceLeaving, replaceLeavingNonVoter])

/** Bounds of a plan, from the copies that nothing gets by without and the distances of the goals before and after it. */
export function measurePlan(
  least: CopySums,
  moves: readonly PlannedMove[],
  goals: readonly { readonly name: string }[],
  before: readonly number[],
  after: readonly number[],
  hopeless: readonly number[],
): PlanBounds {
  const copies = moves.filter((move) => move.add !== undefined && move.add.replicaId === undefined)
  return {
    repair: bound(
      least.repairMoves,
      least.repairBytes,
      copies.filter(({ priority }) => repairs.has(priority) || priority >= repairPriority),
    ),
    drain: bound(
      least.drainMoves,
      least.drainBytes,
      copies.filter(({ priority }) => drains.has(priority)),
    ),
    goals: goals.map(({ name }, i) => ({
      name,
      lowerBoundMoves: Math.max(0, (before[i] as number) - (hopeless[i] as number)),
      afterPlan: Math.max(0, (after[i] as number) - (hopeless[i] as number)),
      hopeless: hopeless[i] as number,
    })),
  }
}

function bound(leastMoves: number, leastBytes: number, copies: readonly PlannedMove[]): CopyBound {
  const plannedBytes = copies.reduce((sum, move) => sum + move.bytes, 0)
  return {
    lowerBoundMoves: leastMoves,
    lowerBoundBytes: leastBytes,
    plannedMoves: copies.length,
    plannedBytes,
    gapBytes: Math.max(0, plannedBytes - leastBytes),
    remainingBytes: Math.max(0, leastBytes - plannedBytes),
  }
}
