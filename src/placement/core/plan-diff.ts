import { checkObject } from '../../core/arguments.ts'
import type { RangeId } from '../../model/ids.ts'
import type { Plan, PlannedMove } from './plan.ts'

/** A range for which two plans want different things. */
export interface MoveDifference {
  /** The range. */
  readonly rangeId: RangeId
  /** What the first plan wants; undefined: nothing. */
  readonly first: PlannedMove | undefined
  /** What the second plan wants; undefined: nothing. */
  readonly second: PlannedMove | undefined
}

/** How two plans differ. */
export interface PlanDifference {
  /** Ranges that are treated differently, by ascending id. */
  readonly moves: readonly MoveDifference[]
  /** Moves that are in both. */
  readonly same: number
  /** Bytes that the second plan copies beyond the first. */
  readonly bytes: number
  /** The difference in words: one line a range. */
  readonly explained: readonly string[]
}

/** How two plans differ: of two policies, two moments, two seeds. @throws KeelsonError `INVALID_ARGUMENT` */
export function diffPlans(first: Plan, second: Plan): PlanDifference {
  checkObject(first, 'the first plan', ['moves'])
  checkObject(second, 'the second plan', ['moves'])
  const pairs = new Map<RangeId, { first: PlannedMove | undefined; second: PlannedMove | undefined }>()
  for (const move of first.moves) pairs.set(move.rangeId, { first: move, second: undefined })
  for (const move of second.moves) {
    const pair = pairs.get(move.rangeId)
    if (pair === undefined) pairs.set(move.rangeId, { first: undefined, second: move })
    else pair.second = move
  }
  const moves: MoveDifference[] = []
  let same = 0
  for (const [rangeId, pair] of [...pairs].sort(([a], [b]) => a - b)) {
    if (pair.first !== undefined && pair.second !== undefined && isSame(pair.first, pair.second)) same++
    else moves.push({ rangeId, ...pair })
  }
  const bytesOf = (plan: Plan): number => plan.moves.reduce((sum, move) => sum + move.bytes, 0)
  return {
    moves,
    same,
    bytes: bytesOf(second) - bytesOf(first),
    explained: moves.map(({ rangeId, first: one, second: other }) => {
      return `range ${rangeId}: ${describeMove(one)}; in the second plan ${describeMove(other)}`
    }),
  }
}

function isSame(a: PlannedMove, b: PlannedMove): boolean {
  return (
    a.kind === b.kind &&
    a.add?.nodeId === b.add?.nodeId &&
    a.remove?.replicaId === b.remove?.replicaId &&
    a.leaseTo?.replicaId === b.leaseTo?.replicaId
  )
}

/** A move in a few words. */
export function describeMove(move: PlannedMove | undefined): string {
  if (move === undefined) return 'nothing'
  const { kind, add, remove, leaseTo } = move
  if (kind === 'transferLease') return `lease to ${leaseTo?.nodeId}`
  if (add === undefined) return `removed from ${remove?.nodeId}`
  return remove === undefined ? `added on ${add.nodeId}` : `${remove.nodeId} → ${add.nodeId}`
}

/** A plan as text for people: what it does and why, what it does not, and how good it is. */
export function planText(plan: Plan, maximumMoves = 50): string {
  checkObject(plan, 'a plan', ['moves', 'blocked', 'bounds', 'explained'])
  const lines = [...plan.explained]
  for (const move of plan.moves.slice(0, maximumMoves)) {
    lines.push(`  range ${move.rangeId}: ${describeMove(move)}; ${move.reason}`)
    for (const { nodeId, why } of move.rejected) lines.push(`    not ${nodeId}: ${why}`)
  }
  if (plan.moves.length > maximumMoves) lines.push(`  and ${plan.moves.length - maximumMoves} more`)
  for (const { rangeId, why } of plan.blocked) lines.push(`  range ${rangeId} is blocked: ${why}`)
  const { repair, drain, goals } = plan.bounds
  for (const [name, bound] of [
    ['repair', repair],
    ['drain', drain],
  ] as const) {
    if (bound.lowerBoundMoves === 0 && bound.plannedMoves === 0) continue
    lines.push(
      `${name}: ${bound.plannedMoves} copies with ${bound.plannedBytes} bytes planned; at least ${bound.lowerBoundMoves} with ${bound.lowerBoundBytes} are needed; ${bound.remainingBytes} bytes are left for later plans`,
    )
  }
  for (const { name, lowerBoundMoves, afterPlan, hopeless } of goals) {
    if (lowerBoundMoves > 0)
      lines.push(`${name}: at least ${lowerBoundMoves} moves away, ${afterPlan} after this plan`)
    if (hopeless > 0)
      lines.push(`${name}: ${hopeless} ranges fall short of it, and no move makes them better`)
  }
  return lines.join('\n')
}
