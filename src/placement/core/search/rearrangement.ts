import type { Draws } from './draws.ts'
import type { Evaluator } from './evaluator.ts'
import type { Neighbours } from './neighbours.ts'

/** How many slots of a node are looked at before one of them is moved, and how many are moved at most. */
const looked = 24
const movedAtMost = 40

/** Of so many nodes the dearest gives something away. */
const tournament = 4

/**
 * Lets a replica go where there is no room for it, and sends away whoever is in its way there: to the node that it left,
 * home, or anywhere. Then all of it is kept or none. A node that holds one large replica where another would hold it better is
 * exchanged with all that is on the other; no walk of small steps gets there, for every step on the way costs more than
 * it gains. (The winners of the ROADEF/EURO challenge 2012 call theirs _big process rearrangement_.) @internal
 */
export class Rearrangement {
  readonly #evaluator: Evaluator
  readonly #neighbours: Neighbours
  readonly #draws: Draws
  readonly #slots: Int32Array = new Int32Array(movedAtMost)
  readonly #from: Int32Array = new Int32Array(movedAtMost)
  #count = 0
  #value = 0
  #delta = 0

  constructor(evaluator: Evaluator, neighbours: Neighbours, draws: Draws) {
    this.#evaluator = evaluator
    this.#neighbours = neighbours
    this.#draws = draws
  }

  /** How many replicas the last one moved. */
  get count(): number {
    return this.#count
  }

  /** How much more the last one costs, without a price for what is above limits. */
  get delta(): number {
    return this.#delta
  }

  /** One of the replicas that the last one moved. */
  slot(index: number): number {
    return this.#slots[index] as number
  }

  /**
   * Makes one that costs no more than `most`, if it finds one; false: nothing has changed. Limits have to be relaxed while it
   * looks; `within`: none may be exceeded afterwards.
   */
  attempt(most: number, within: boolean): boolean {
    const evaluator = this.#evaluator
    const { place } = evaluator.assignment
    this.#count = 0
    this.#value = 0
    this.#delta = 0
    const slot = this.#giver()
    if (slot < 0) return false
    const from = place[slot] as number
    const to = this.#neighbours.reach.draw(slot, this.#draws)
    if (to < 0 || to === from) return false
    const value = evaluator.move(slot, to, Number.MAX_VALUE)
    if (value > Number.MAX_VALUE) return false
    this.#move(slot, to, value, evaluator.unpriced)
    for (let goes = true; goes && this.#count < movedAtMost; ) goes = this.#sendAway(to, from, slot)
    if (this.#value <= most && !(within && evaluator.exceeded > 0)) return true
    while (this.#count > 0) {
      this.#count--
      evaluator.assignment.move(this.#slots[this.#count] as number, this.#from[this.#count] as number)
    }
    return false
  }

  /** A replica of a node that costs much, or any. */
  #giver(): number {
    const { assignment } = this.#evaluator
    const draws = this.#draws
    if (draws.below(2) === 0) return this.#neighbours.slot(draws)
    let dearest = this.#neighbours.node(draws)
    for (let i = 1; i < tournament; i++) {
      const node = this.#neighbours.node(draws)
      if (this.#evaluator.nodeCost(node) > this.#evaluator.nodeCost(dearest)) dearest = node
    }
    const count = assignment.slotCountOn(dearest)
    return count === 0 ? -1 : this.#neighbours.movable(assignment.slotAt(dearest, draws.below(count)))
  }

  /** Moves that replica of a node, other than the one that came, whose going gains most; false: none gains. */
  #sendAway(node: number, where: number, came: number): boolean {
    const evaluator = this.#evaluator
    const { assignment } = evaluator
    const count = assignment.slotCountOn(node)
    let [best, target, gained, unpriced] = [-1, -1, 0, 0]
    let at = this.#draws.below(count)
    for (let i = Math.min(count, looked); i > 0; i--) {
      const slot = this.#neighbours.movable(assignment.slotAt(node, at))
      at = at + 1 === count ? 0 : at + 1
      if (slot < 0 || slot === came) continue
      for (let way = 0; way < 3; way++) {
        const to =
          way === 0 ? where : way === 1 ? assignment.heldAt(slot) : this.#neighbours.target(slot, this.#draws)
        if (to < 0 || to === node || (way > 0 && to === where) || !this.#neighbours.reach.has(slot, to))
          continue
        const value = evaluator.move(slot, to, gained)
        if (!(value < gained)) continue
        best = slot
        target = to
        gained = value
        unpriced = evaluator.unpriced
      }
    }
    if (best < 0) return false
    this.#move(best, target, gained, unpriced)
    return true
  }

  #move(slot: number, to: number, value: number, delta: number): void {
    const { assignment } = this.#evaluator
    this.#slots[this.#count] = slot
    this.#from[this.#count++] = assignment.place[slot] as number
    this.#value += value
    this.#delta += delta
    assignment.move(slot, to)
  }
}
