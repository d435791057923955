import { checkArray, checkObject, checkText } from '../../../core/arguments.ts'
import { KeelsonError } from '../../../core/errors.ts'
import { showValue } from '../../../core/options.ts'
import type { Assignment } from '../assignment.ts'
import { type BoundGoal, bindGoal, type Goal, type GoalKernel, type GoalSubject } from './goal.ts'

/** A goal, and what one unit of it counts. */
export interface WeightedGoal {
  /** The goal. */
  readonly goal: Goal
  /** What one unit of it counts, from 0. */
  readonly weight: number
}

/** Several goals on one level: their sum, each times its weight. */
export function weighted(name: string, goals: readonly WeightedGoal[]): Goal {
  checkText(name, 'the name of a sum of goals', 128)
  for (const part of checkArray(goals, 'the goals of a sum', 256)) {
    if (!(part?.weight >= 0 && part.weight < Number.POSITIVE_INFINITY)) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `the weight of a goal is a finite number from 0, not ${showValue(part?.weight)}`,
      )
    }
    checkObject(part.goal, 'a goal of a sum', ['name', 'bind'])
  }
  const tables = [...new Set(goals.flatMap(({ goal }) => goal.tables ?? []))]
  return {
    name,
    ...(tables.length === 0 ? {} : { tables }),
    bind: (assignment) => new Sum(assignment, name, goals),
  }
}

class Sum implements BoundGoal {
  readonly name: string
  readonly judges: GoalSubject
  readonly kernel: GoalKernel
  readonly #parts: readonly { readonly goal: BoundGoal; readonly weight: number }[]

  constructor(assignment: Assignment, name: string, goals: readonly WeightedGoal[]) {
    this.name = name
    // The parts observe the assignment by themselves.
    this.#parts = goals.map(({ goal, weight }) => ({ goal: bindGoal(assignment, goal), weight }))
    this.kernel = { parts: this.#parts }
    this.judges = this.#parts[0]?.goal.judges ?? 'replicas'
  }

  total(): number {
    return this.#sum((goal) => goal.total())
  }

  moveDelta(slot: number, to: number): number {
    return this.#sum((goal) => goal.moveDelta(slot, to))
  }

  swapDelta(a: number, b: number): number {
    return this.#sum((goal) => goal.swapDelta(a, b))
  }

  leadDelta(range: number, slot: number): number {
    return this.#sum((goal) => goal.leadDelta(range, slot))
  }

  worthwhile(from: number, to: number): boolean {
    return this.#parts.some(({ goal }) => goal.worthwhile(from, to))
  }

  pressure(node: number): number {
    return this.#sum((goal) => goal.pressure(node))
  }

  excess(range: number): number {
    return this.#sum((goal) => goal.excess(range))
  }

  lowerBound(): number {
    return this.#sum((goal) => goal.lowerBound())
  }

  describe(slot: number, node: number): string {
    return this.#parts.map(({ goal }) => `${goal.name}: ${goal.describe(slot, node)}`).join('; ')
  }

  #sum(value: (goal: BoundGoal) => number): number {
    let sum = 0
    for (const { goal, weight } of this.#parts) sum += weight * value(goal)
    return sum
  }
}
