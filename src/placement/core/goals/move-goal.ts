import { checkFunction, checkObject, checkText } from '../../../core/arguments.ts'
import { type Assignment, nowhere } from '../assignment.ts'
import type { BoundGoal, Goal, GoalSubject } from './goal.ts'

/** What {@link moveGoal} is made of. */
export interface MoveGoalOptions {
  /** Short and constant. */
  readonly name: string
  /** What it costs that a replica whose home is one node is to be on another, from 0; either may be {@link nowhere}. Pure. */
  readonly cost: (slot: number, home: number, to: number) => number
}

/** A goal that is a sum over the replicas, each judged by where it is and where it is to be. */
export function moveGoal(options: MoveGoalOptions): Goal {
  checkObject(options, 'a move goal', ['name', 'cost'])
  const name = checkText(options.name, 'the name of a move goal', 128)
  checkFunction(options.cost, 'the cost of a move goal')
  return { name, bind: (assignment) => new BoundMoveGoal(assignment, options) }
}

/** The bytes that have to be copied: what makes a plan that moves less the better one of two. */
export function movedBytes(): Goal {
  return {
    name: 'movedBytes',
    bind(assignment) {
      const { moveBytes } = assignment.columns
      return new BoundMoveGoal(assignment, {
        name: 'movedBytes',
        cost: (slot, home, to) => (to === home || to === nowhere ? 0 : (moveBytes[slot] as number)),
      })
    },
  }
}

/** @internal */
export class BoundMoveGoal implements BoundGoal {
  readonly name: string
  readonly judges: GoalSubject = 'replicas'
  readonly #assignment: Assignment
  readonly #cost: (slot: number, home: number, to: number) => number

  constructor(assignment: Assignment, options: MoveGoalOptions) {
    this.name = options.name
    this.#assignment = assignment
    this.#cost = options.cost
  }

  total(): number {
    const { place, columns } = this.#assignment
    let sum = 0
    for (let slot = 0; slot < columns.slotCount; slot++) {
      sum += this.#cost(slot, columns.home[slot] as number, place[slot] as number)
    }
    return sum
  }

  moveDelta(slot: number, to: number): number {
    const home = this.#assignment.columns.home[slot] as number
    return this.#cost(slot, home, to) - this.#cost(slot, home, this.#assignment.place[slot] as number)
  }

  /** What it costs where it is: nothing or more it costs anywhere. */
  relief(slot: number): number {
    const cost = this.#cost(
      slot,
      this.#assignment.columns.home[slot] as number,
      this.#assignment.place[slot] as number,
    )
    return cost > 0 ? cost : 0
  }

  swapDelta(a: number, b: number): number {
    const { place } = this.#assignment
    return this.moveDelta(a, place[b] as number) + this.moveDelta(b, place[a] as number)
  }

  leadDelta(): number {
    return 0
  }

  worthwhile(): boolean {
    return true
  }

  pressure(): number {
    return 0
  }

  excess(): number {
    return 0
  }

  lowerBound(): number {
    return 0
  }

  describe(slot: number, node: number): string {
    const home = this.#assignment.columns.home[slot] as number
    return `to be on ${this.#assignment.columns.nodeName(node)} costs the replica ${this.#cost(slot, home, node)}`
  }
}
