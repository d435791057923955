import type { Assignment } from '../assignment.ts'
import type { BoundGoal, Goal, GoalSubject } from './goal.ts'

/** The most replicas of any one range that are elsewhere than at home: no range is to be stirred up as a whole. */
export function mostMoved(): Goal {
  return { name: 'mostMoved', bind: (assignment) => new BoundMostMoved(assignment) }
}

class BoundMostMoved implements BoundGoal {
  readonly name = 'mostMoved'
  readonly judges: GoalSubject = 'ranges'
  readonly #assignment: Assignment
  /** Moved replicas of each range. */
  readonly #moved: Int32Array
  /** How many ranges have so many moved replicas. */
  readonly #ranges: Int32Array
  #most = 0

  constructor(assignment: Assignment) {
    const { rangeCount, rangeOf, home, firstSlot } = assignment.columns
    this.#assignment = assignment
    this.#moved = new Int32Array(rangeCount)
    let largest = 0
    for (let range = 0; range < rangeCount; range++) {
      largest = Math.max(largest, (firstSlot[range + 1] as number) - (firstSlot[range] as number))
    }
    this.#ranges = new Int32Array(largest + 2)
    this.#ranges[0] = rangeCount
    for (let slot = 0; slot < home.length; slot++) {
      if (assignment.place[slot] !== home[slot]) this.#shift(rangeOf[slot] as number, 1)
    }
  }

  total(): number {
    return this.#most
  }

  moveDelta(slot: number, to: number): number {
    const change = this.#change(slot, to)
    if (change === 0) return 0
    return this.#after(this.#assignment.columns.rangeOf[slot] as number, change) - this.#most
  }

  swapDelta(a: number, b: number): number {
    const { place, columns } = this.#assignment
    const [changeA, changeB] = [this.#change(a, place[b] as number), this.#change(b, place[a] as number)]
    if (changeA === 0 && changeB === 0) return 0
    const [rangeA, rangeB] = [columns.rangeOf[a] as number, columns.rangeOf[b] as number]
    if (rangeA === rangeB) return this.#after(rangeA, changeA + changeB) - this.#most
    if (changeA === 0) return this.#after(rangeB, changeB) - this.#most
    if (changeB === 0) return this.#after(rangeA, changeA) - this.#most
    // Rare enough that it is simply tried.
    const before = this.#most
    this.#shift(rangeA, changeA)
    const after = this.#after(rangeB, changeB)
    this.#shift(rangeA, -changeA)
    return after - before
  }

  relief(slot: number): number {
    const { place, columns } = this.#assignment
    if (place[slot] === columns.home[slot]) return 0
    return this.#moved[columns.rangeOf[slot] as number] === this.#most ? 1 : 0
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

  excess(range: number): number {
    return this.#moved[range] === this.#most ? this.#most : 0
  }

  lowerBound(): number {
    return 0
  }

  describe(slot: number): string {
    const range = this.#assignment.columns.rangeOf[slot] as number
    return `${this.#moved[range]} replicas of its range are moved, ${this.#most} of the range with the most`
  }

  moved(slot: number, from: number, to: number): void {
    const { home, rangeOf } = this.#assignment.columns
    const change = (to === home[slot] ? 0 : 1) - (from === home[slot] ? 0 : 1)
    if (change !== 0) this.#shift(rangeOf[slot] as number, change)
  }

  #change(slot: number, to: number): number {
    const home = this.#assignment.columns.home[slot]
    return (to === home ? 0 : 1) - (this.#assignment.place[slot] === home ? 0 : 1)
  }

  /** The most, once a range has so many more or fewer. */
  #after(range: number, change: number): number {
    const moved = this.#moved[range] as number
    if (change === 0) return this.#most
    if (moved + change >= this.#most) return moved + change
    if (moved !== this.#most || (this.#ranges[moved] as number) > 1) return this.#most
    let most = moved - 1
    while (most > moved + change && this.#ranges[most] === 0) most--
    return most
  }

  #shift(range: number, change: number): void {
    if (change === 0) return
    const before = this.#moved[range] as number
    const after = before + change
    this.#moved[range] = after
    this.#ranges[before] = (this.#ranges[before] as number) - 1
    this.#ranges[after] = (this.#ranges[after] as number) + 1
    if (after > this.#most) this.#most = after
    while (this.#most > 0 && this.#ranges[this.#most] === 0) this.#most--
  }
}
