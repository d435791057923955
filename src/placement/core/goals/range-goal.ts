import { checkFunction, checkObject, checkText } from '../../../core/arguments.ts'
import { type Assignment, nowhere } from '../assignment.ts'
import type { BoundGoal, Goal, GoalSubject } from './goal.ts'

/** Where the replicas of one range are. It is used again and again: a cost must not keep it. */
export interface RangePlaces {
  /** The range. */
  readonly range: number
  /** Its replicas that are somewhere. */
  readonly count: number
  /** Their nodes; what stands after `count` means nothing. */
  readonly nodes: Int32Array
  /** Their slots; what stands after `count` means nothing. */
  readonly slots: Int32Array
  /** Node of the replica that leads, or {@link nowhere}. */
  readonly leader: number
}

/** What {@link rangeGoal} is made of. */
export interface RangeGoalOptions {
  /** Short and constant. */
  readonly name: string
  /** What one range costs. Pure, and quick: it is called for every move that is thought of. */
  readonly cost: (places: RangePlaces) => number
  /** Default: `ranges`. */
  readonly judges?: GoalSubject
  /** The least that this range can cost. Default: 0. */
  readonly least?: (range: number, assignment: Assignment) => number
  /** What a range is judged by, for people: it stands before what the range would cost. Default: nothing. */
  readonly because?: (range: number, assignment: Assignment) => string | undefined
  /** What to say of a replica on a node. Default: what its range would cost. */
  readonly describe?: (slot: number, node: number, assignment: Assignment) => string
}

/** A goal that is a sum over the ranges, each judged by where its replicas are. */
export function rangeGoal(options: RangeGoalOptions): Goal {
  checkObject(options, 'a range goal', ['name', 'cost'])
  const name = checkText(options.name, 'the name of a range goal', 128)
  checkFunction(options.cost, 'the cost of a range goal')
  return { name, bind: (assignment) => new BoundRangeGoal(assignment, options) }
}

class Places implements RangePlaces {
  range = 0
  count = 0
  leader: number = nowhere
  readonly nodes: Int32Array
  readonly slots: Int32Array

  constructor(size: number) {
    this.nodes = new Int32Array(size)
    this.slots = new Int32Array(size)
  }
}

/** @internal */
export class BoundRangeGoal implements BoundGoal {
  readonly name: string
  readonly judges: GoalSubject
  readonly #assignment: Assignment
  readonly #options: RangeGoalOptions
  readonly #cost: (places: RangePlaces) => number
  readonly #places: Places

  constructor(assignment: Assignment, options: RangeGoalOptions) {
    this.name = options.name
    this.judges = options.judges ?? 'ranges'
    this.#assignment = assignment
    this.#options = options
    this.#cost = options.cost
    const { firstSlot, rangeCount } = assignment.columns
    let largest = 0
    for (let range = 0; range < rangeCount; range++) {
      largest = Math.max(largest, (firstSlot[range + 1] as number) - (firstSlot[range] as number))
    }
    this.#places = new Places(largest)
  }

  total(): number {
    let sum = 0
    for (let range = 0; range < this.#assignment.columns.rangeCount; range++) sum += this.#now(range)
    return sum
  }

  moveDelta(slot: number, to: number): number {
    const range = this.#assignment.columns.rangeOf[slot] as number
    return (
      this.#with(range, slot, to, nowhere, nowhere, this.#assignment.leader[range] as number) -
      this.#now(range)
    )
  }

  swapDelta(a: number, b: number): number {
    const { place, leader, columns } = this.#assignment
    const [rangeA, rangeB] = [columns.rangeOf[a] as number, columns.rangeOf[b] as number]
    const [from, to] = [place[a] as number, place[b] as number]
    if (rangeA === rangeB) {
      return this.#with(rangeA, a, to, b, from, leader[rangeA] as number) - this.#now(rangeA)
    }
    const first = this.#with(rangeA, a, to, nowhere, nowhere, leader[rangeA] as number) - this.#now(rangeA)
    return first + this.#with(rangeB, b, from, nowhere, nowhere, leader[rangeB] as number) - this.#now(rangeB)
  }

  leadDelta(range: number, slot: number): number {
    return this.#with(range, nowhere, nowhere, nowhere, nowhere, slot) - this.#now(range)
  }

  pressure(): number {
    return 0
  }

  excess(range: number): number {
    return Math.max(0, this.#now(range) - (this.#options.least?.(range, this.#assignment) ?? 0))
  }

  worthwhile(): boolean {
    return true
  }

  lowerBound(): number {
    if (this.#options.least === undefined) return 0
    let sum = 0
    for (let range = 0; range < this.#assignment.columns.rangeCount; range++) {
      sum += this.#options.least(range, this.#assignment)
    }
    return sum
  }

  signature(): string {
    if (this.#options.least === undefined) return ''
    return this.#assignment.columns.eligible.join('')
  }

  describe(slot: number, node: number): string {
    const said = this.#options.describe?.(slot, node, this.#assignment)
    if (said !== undefined) return said
    const { rangeOf } = this.#assignment.columns
    const range = rangeOf[slot] as number
    const leader = this.#assignment.leader[range] as number
    const cost = `the range would cost ${this.#with(range, slot, node, nowhere, nowhere, leader)}`
    const because = this.#options.because?.(range, this.#assignment)
    return because === undefined ? cost : `${because}: ${cost}`
  }

  #now(range: number): number {
    return this.#with(range, nowhere, nowhere, nowhere, nowhere, this.#assignment.leader[range] as number)
  }

  /** Cost of a range with up to two of its slots elsewhere. */
  #with(range: number, a: number, toA: number, b: number, toB: number, leader: number): number {
    const places = this.#places
    const { place, columns } = this.#assignment
    const end = columns.firstSlot[range + 1] as number
    places.range = range
    places.leader = nowhere
    let count = 0
    for (let slot = columns.firstSlot[range] as number; slot < end; slot++) {
      const node = slot === a ? toA : slot === b ? toB : (place[slot] as number)
      if (node < 0) continue
      if (slot === leader) places.leader = node
      places.nodes[count] = node
      places.slots[count++] = slot
    }
    places.count = count
    return this.#cost(places)
  }
}
