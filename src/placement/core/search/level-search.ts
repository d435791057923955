import { checkArray } from '../../../core/arguments.ts'
import { KeelsonError } from '../../../core/errors.ts'
import type { Random } from '../../../core/random.ts'
import type { Assignment } from '../assignment.ts'
import type { BoundGoal, BoundRule } from '../goals/goal.ts'
import { Evaluator } from './evaluator.ts'
import { Search } from './search.ts'

/**
 * Goals in an order: each is searched for in turn, with an equal part of the work, and never at the expense of one before
 * it. Driven like a {@link Search}.
 */
export class LevelSearch {
  readonly #assignment: Assignment
  readonly #rules: readonly BoundRule[]
  readonly #goals: readonly BoundGoal[]
  readonly #random: Random
  #level = -1
  #search: Search | undefined

  /** All that is judged by is bound to the assignment; the more important goals stand first. */
  constructor(
    assignment: Assignment,
    rules: readonly BoundRule[],
    goals: readonly BoundGoal[],
    random: Random,
  ) {
    checkArray(goals, 'the goals of a search', 64)
    if (goals.length === 0) throw new KeelsonError('INVALID_ARGUMENT', 'a search takes one goal or more')
    this.#assignment = assignment
    this.#rules = rules
    this.#goals = goals
    this.#random = random
    this.#enter(0)
  }

  /** Tries so many changes. `progress` says which part of all work was done before. */
  slice(steps: number, progress: number): void {
    const at = progress * this.#goals.length
    const level = Math.max(this.#level, Math.min(this.#goals.length - 1, Math.floor(at) || 0))
    while (this.#level < level) {
      this.finish()
      this.#enter(this.#level + 1)
    }
    this.#search?.slice(steps, Math.min(1, at - this.#level))
  }

  /** Puts the best placement into the assignment. */
  finish(): void {
    this.#search?.finish()
  }

  #enter(level: number): void {
    if (this.#search !== undefined) this.#assignment.ignore(this.#search.evaluator)
    this.#level = level
    const goal = this.#goals[level] as BoundGoal
    const evaluator = new Evaluator(this.#assignment, this.#rules, goal, this.#goals.slice(0, level))
    this.#search = new Search(evaluator, goal.total(), this.#random)
  }
}
