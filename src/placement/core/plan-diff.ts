import { checkObject } from '../../core/arguments.ts'
import type { RangeId } from '../../model/ids.ts'
import type { ClusterBounds } from './bounds/cluster-bounds.ts'
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

/**
 * A plan as text for people: what it does and why, what it does not, and how good it is.
 *
 * @param bounds of the whole cluster, to be said as well: see `clusterBounds`
 */
export function planText(plan: Plan, maximumMoves = 50, bounds?: ClusterBounds): string {
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
  if (bounds !== undefined) lines.push(...boundsLines(bounds))
  return lines.join('\n')
}

/** What nothing gets by without, and how far it is from there. */
function boundsLines({ utilisation, balance, repair }: ClusterBounds): readonly string[] {
  const lines: string[] = []
  for (const { resource, now, utilisation: least, gap, why } of utilisation) {
    lines.push(
      `${resource}: the fullest store is at ${percent(now)}; ${percent(least)} is the least that can be (${why}), so plans win ${percent(gap)} at most`,
    )
  }
  for (const { resource, bytes, stuck } of balance) {
    if (bytes > 0)
      lines.push(`${resource}: at least ${Math.round(bytes)} bytes move until no store is above its share`)
    if (stuck > 0)
      lines.push(
        `${resource}: ${Math.round(stuck)} of it stays above the shares of its stores, whatever is planned`,
      )
  }
  if (repair === undefined || repair.ms === 0) return lines
  if (repair.ms === Number.POSITIVE_INFINITY)
    lines.push(`what is missing cannot be made again: ${repair.why}`)
  else lines.push(`it takes at least ${Math.ceil(repair.ms)} ms to make what is missing: ${repair.why}`)
  return lines
}

function percent(part: number): string {
  return `${(part * 100).toFixed(1)} %`
}
