import { Best } from './best.ts'
import type { Draws } from './draws.ts'
import type { Evaluator } from './evaluator.ts'
import type { Neighbours } from './neighbours.ts'
import { Rearrangement } from './rearrangement.ts'

/** So much dearer than at first is it to be above limits where nothing is to stay above them. */
const forbiddingFactor = 1e4

/** How often mending is tried, and with how many changes for each node. */
const mendRounds = 8
const mendSteps = 500

/** After how many changes a rearrangement is thought of, and which part of all values may be asked for by them. */
const rearrangeEvery = 128
const rearrangeShare = 0.1

/**
 * A walk from placement to placement by moves and swaps that a temperature allows (Metropolis et al., 1953). It keeps the
 * best placement that broke no rule. @internal
 */
export class Walk {
  /** Changes that were made so far. */
  accepted = 0
  /** What it costs now, without a price for what is above limits. */
  current: number
  readonly best: Best
  /** Whether all limits held at the start: what was exceeded then must not get worse, so it gets no price. */
  readonly mayRelax: boolean
  readonly #evaluator: Evaluator
  readonly #neighbours: Neighbours
  readonly #draws: Draws
  readonly #rearrangement: Rearrangement
  /** Values that rearrangements asked for. */
  #rearranging = 0
  /** What being above a limit costs while nothing may be, by load dimension. */
  #forbidding: Float64Array | undefined
  /** What a unit above its limit costs, by load dimension; undefined: limits hold. */
  #price: Float64Array | undefined

  constructor(evaluator: Evaluator, neighbours: Neighbours, draws: Draws, cost: number) {
    this.#evaluator = evaluator
    this.#neighbours = neighbours
    this.#draws = draws
    this.#rearrangement = new Rearrangement(evaluator, neighbours, draws)
    this.current = cost
    this.best = new Best(evaluator.assignment, cost)
    this.mayRelax = evaluator.exceeded === 0
  }

  /** Whether limits are exceeded because they could be, for a price. */
  get hasExcess(): boolean {
    return this.mayRelax && this.#evaluator.exceeded > 0
  }

  /** Says what being above a limit costs at first, by unit of each load dimension. */
  priceLimits(price: Float64Array): void {
    this.#forbidding = price.map((each) => each * forbiddingFactor)
  }

  /** From now on limits may be exceeded at a price, or not any more. */
  relax(price: Float64Array | undefined): void {
    this.#price = price
    this.#evaluator.relax(price)
  }

  /** Tries so many changes; half of them, when it is to repair, of what is on nodes above their limits. */
  go(steps: number, temperature: number, repair = false): void {
    const draws = this.#draws
    const neighbours = this.#neighbours
    const evaluator = this.#evaluator
    const { assignment } = evaluator
    neighbours.focus(temperature)
    for (let i = 0; i < steps; i++) {
      const slot = repair && draws.below(2) === 0 ? neighbours.misplaced(draws) : neighbours.slot(draws)
      // What may be lost is drawn first, so that what costs more is given up early.
      const most = temperature * draws.exponential()
      if (draws.below(2) === 0) {
        const other = neighbours.partner(slot, draws)
        if (other < 0) continue
        const delta = evaluator.swap(slot, other, most)
        if (delta > most) continue
        const { unpriced } = evaluator
        assignment.swap(slot, other)
        this.best.note(slot)
        this.best.note(other)
        this.#account(unpriced)
      } else {
        const to = neighbours.target(slot, draws)
        if (to < 0) continue
        const delta = evaluator.move(slot, to, most)
        if (delta <= most) this.#move(slot, to)
      }
      if (i % rearrangeEvery === 0) this.#rearrange(most)
    }
  }

  /**
   * Brings what is above limits back within them: first to wherever there is room, then to where the best placement has it,
   * whoever is in the way there next. Each replica goes back once at most, so it comes to an end. What then is still above
   * its limits, because a rule forbids the way back, only {@link restore} brings within them.
   */
  mend(): void {
    const price = this.#price
    this.relax(this.#forbidding)
    for (let round = 0; round < mendRounds && this.hasExcess; round++) {
      this.go(mendSteps * this.#evaluator.lackingCount, 0, true)
    }
    for (let went = true; went && this.hasExcess; ) went = this.#retreat()
    this.relax(price)
  }

  /** Goes to the best placement. */
  restore(): void {
    this.best.restore()
    this.current = this.best.cost
  }

  /** Sends replicas on nodes above their limits back to where the best placement has them; false: none may go. */
  #retreat(): boolean {
    const evaluator = this.#evaluator
    const { place } = this.best
    const nodes = Array.from({ length: evaluator.lackingCount }, (_, i) => evaluator.lackingNode(i))
    let went = false
    for (const node of nodes) {
      for (const slot of evaluator.assignment.slotsOn(node)) {
        const to = place[slot] as number
        const delta = to === node ? Number.POSITIVE_INFINITY : evaluator.move(slot, to, Number.MAX_VALUE)
        if (delta > Number.MAX_VALUE) continue
        went = true
        this.#move(slot, to)
      }
    }
    return went
  }

  /** Tries a rearrangement, unless they have taken their share already. */
  #rearrange(most: number): void {
    const evaluator = this.#evaluator
    const before = evaluator.evaluated
    const forbidding = this.#forbidding
    if (!this.mayRelax || forbidding === undefined || this.#rearranging > rearrangeShare * before) return
    if (this.#price === undefined) evaluator.relax(forbidding)
    const done = this.#rearrangement.attempt(most, this.#price === undefined)
    this.#rearranging += evaluator.evaluated - before
    if (this.#price === undefined) evaluator.relax(undefined)
    if (!done) return
    for (let i = 0; i < this.#rearrangement.count; i++) this.best.note(this.#rearrangement.slot(i))
    this.#account(this.#rearrangement.delta)
  }

  /** Makes the move that was valued last. */
  #move(slot: number, to: number): void {
    const { unpriced } = this.#evaluator
    this.#evaluator.assignment.move(slot, to)
    this.best.note(slot)
    this.#account(unpriced)
  }

  #account(delta: number): void {
    this.accepted++
    this.current += delta
    if (this.current < this.best.cost && !this.hasExcess) this.best.take(this.current)
  }
}
