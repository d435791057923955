import type { Assignment } from '../assignment.ts'

/** The best placement so far. Keeping it costs only as much as was changed since. @internal */
export class Best {
  readonly place: Int32Array
  cost: number
  readonly #assignment: Assignment
  readonly #changed: Int32Array
  readonly #isChanged: Uint8Array
  #count = 0

  constructor(assignment: Assignment, cost: number) {
    this.#assignment = assignment
    this.place = assignment.place.slice()
    this.cost = cost
    this.#changed = new Int32Array(this.place.length)
    this.#isChanged = new Uint8Array(this.place.length)
  }

  /** A slot has moved. */
  note(slot: number): void {
    if (this.#isChanged[slot] === 1) return
    this.#isChanged[slot] = 1
    this.#changed[this.#count++] = slot
  }

  /** What is now is the best. */
  take(cost: number): void {
    for (let i = 0; i < this.#count; i++) {
      const slot = this.#changed[i] as number
      this.place[slot] = this.#assignment.place[slot] as number
      this.#isChanged[slot] = 0
    }
    this.#count = 0
    this.cost = cost
  }

  /** Makes the best what is now. */
  restore(): void {
    while (this.#count > 0) {
      const slot = this.#changed[--this.#count] as number
      this.#isChanged[slot] = 0
      this.#assignment.move(slot, this.place[slot] as number)
    }
  }
}
