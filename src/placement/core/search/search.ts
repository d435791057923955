import { checkInteger, checkObject } from '../../../core/arguments.ts'
import { KeelsonError } from '../../../core/errors.ts'
import type { Random } from '../../../core/random.ts'
import { Best } from './best.ts'
import { Draws } from './draws.ts'
import type { Evaluator } from './evaluator.ts'
import { Neighbours } from './neighbours.ts'
import { PilotRun, phaseAt, pilotRange, type SearchPhase } from './schedule.ts'

/** What exceeds a limit costs so many times what it costs above a threshold. */
const excessPrice = 2

/** How much dearer it gets in the main part, and then while the placement is repaired. */
const mainPrice = 5
const repairPrice = 300

/** While it is hot everything follows quickly, so it cools down faster at first. */
const mainCurve = 0.85

/** How much hotter than where the pilot got better than a descent the main part begins. */
const mainHeat = 20

/** How much warmer than where the pilot was nearly done the main part ends: what is left goes quickly. */
const mainEnd = 4

/** How much warmer than at the end of the main part the repair begins. */
const repairHeat = 3

/** How dear it is when it is mended at last, how often that is tried, and with how many changes for each node. */
const mendPrice = 1e4
const mendRounds = 8
const mendSteps = 500

/** How far it cools down after that. */
const quenchRange = 1e-3

/**
 * Simulated annealing (Kirkpatrick et al., 1983) over moves and swaps, with limits that may be exceeded at a price while
 * it is hot: in a tight cluster hardly anything can move unless something else moves first. A short pilot finds the
 * temperatures that matter for this very problem, so nothing is to be tuned.
 *
 * It can be stopped at any time: {@link finish} leaves the best placement that broke no more than the first one. It knows
 * neither clocks nor a number of steps: whoever drives it says which part of the work is done. The same seed, slices and
 * progress give the same placement.
 */
export class Search {
  /** Judges all that is tried. */
  readonly evaluator: Evaluator
  /** Changes that were tried so far. */
  steps = 0
  /** Changes that were made so far. */
  accepted = 0
  #current: number
  readonly #best: Best
  readonly #draws: Draws
  readonly #neighbours: Neighbours
  /** Whether all limits held at the start: what was exceeded then must not get worse, so it gets no price. */
  readonly #mayRelax: boolean
  #phase: SearchPhase = 'descent'
  #descended: number
  #temperature = 0
  #hottest = 0
  #hot = 0
  #cold = 0
  /** What a unit above its limit costs, by load dimension; undefined: limits hold. */
  #price: Float64Array | undefined
  #basePrice: Float64Array = new Float64Array(0)
  readonly #pilot: PilotRun = new PilotRun()

  /** Begins with the evaluator's assignment, which costs `cost` now. */
  constructor(evaluator: Evaluator, cost: number, random: Random) {
    checkObject(evaluator, 'the evaluator of a search', ['assignment', 'move', 'swap'])
    checkObject(random, 'the random numbers of a search', ['uint32'])
    if (!Number.isFinite(cost)) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `the cost that a search begins with is a finite number, not ${cost}`,
      )
    }
    this.evaluator = evaluator
    this.#current = cost
    this.#descended = cost
    this.#best = new Best(evaluator.assignment, cost)
    this.#draws = new Draws(random)
    this.#neighbours = new Neighbours(evaluator)
    this.#mayRelax = evaluator.exceeded === 0
  }

  /** What the best placement so far costs. */
  get cost(): number {
    return this.#best.cost
  }

  /** What it is at. */
  get phase(): SearchPhase {
    return this.#phase
  }

  /** The temperature of the last slice: what a change may cost e times as often as twice that. 0: nothing. */
  get temperature(): number {
    return this.#temperature
  }

  /** Tries so many changes. `progress` says which part of all work was done before: 0 at first, and just below 1 at last. */
  slice(steps: number, progress: number): void {
    checkInteger(steps, 'the steps of a slice', 1)
    if (!(progress >= 0 && progress <= 1)) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `the progress of a search is a number from 0 to 1, not ${progress}`,
      )
    }
    this.steps += steps
    if (this.#neighbours.slots.length === 0 || this.#neighbours.nodes.length === 0) return
    const { phase, part } = phaseAt(progress, this.#mayRelax)
    if (phase !== this.#phase) this.#enter(phase)
    switch (phase) {
      case 'descent':
        return this.#anneal(steps, 0)
      case 'pilot':
        return this.#explore(steps, part)
      case 'main':
        this.#raise(mainPrice ** part)
        return this.#anneal(steps, this.#hot * (this.#cold / this.#hot) ** (part ** mainCurve))
      case 'repair':
        // Warm enough to find a way out, and ever dearer to stay.
        this.#raise(mainPrice * repairPrice ** part)
        return this.#anneal(steps, this.#cold * repairHeat ** (1 - part), true)
      case 'quench':
        return this.#anneal(steps, this.#cold * quenchRange ** part)
      case 'polish':
        return this.#anneal(steps, 0)
    }
  }

  /** Puts the best placement into the assignment. The search may go on afterwards. */
  finish(): void {
    if (this.#hasExcess()) this.#mend()
    this.#best.restore()
    this.#current = this.#best.cost
  }

  #enter(phase: SearchPhase): void {
    if (this.#phase === 'descent') {
      this.#descended = this.#current
      this.#calibrate()
    }
    this.#phase = phase
    if (phase === 'pilot') this.#relax(this.#mayRelax ? this.#basePrice : undefined)
    else if (phase === 'main') this.#choose()
    else if (phase === 'quench') {
      // What is warm costs more than it will: only what could not be repaired is given up.
      if (this.#hasExcess()) this.#mend()
      if (this.#hasExcess()) this.finish()
      this.#relax(undefined)
    } else if (phase === 'polish') {
      this.#relax(undefined)
      this.finish()
    }
  }

  /** Where the pilot begins, and what a unit above a limit is priced at, from what moves cost here. */
  #calibrate(): void {
    const { columns } = this.evaluator.assignment
    const costs: number[] = []
    const width = columns.resources.length
    const load = new Float64Array(width)
    for (let i = 0; i < 100_000 && costs.length < 5000; i++) {
      const slot = this.#neighbours.slot(this.#draws)
      const cost = this.evaluator.move(slot, this.#neighbours.node(this.#draws), Number.MAX_VALUE)
      if (!(cost > 0 && cost < Number.MAX_VALUE)) continue
      costs.push(cost)
      for (let r = 0; r < width; r++)
        load[r] = (load[r] as number) + (columns.load[slot * width + r] as number)
    }
    costs.sort((a, b) => a - b)
    this.#hottest = costs[Math.floor(0.9 * costs.length)] ?? 1
    const mean = load.map((sum) => sum / Math.max(1, costs.length))
    const worth = this.evaluator.weight.reduce(
      (most, each, r) => Math.max(most, each * (mean[r] as number)),
      0,
    )
    const unit = worth > 0 ? worth : (costs[costs.length >>> 1] ?? 1)
    this.#basePrice = mean.map((each) => Math.max(1, Math.ceil((excessPrice * unit) / Math.max(each, 1e-9))))
  }

  #explore(steps: number, part: number): void {
    const temperature = this.#hottest * pilotRange ** part
    this.#anneal(steps, temperature)
    this.#pilot.note(temperature, this.#current + this.evaluator.priceOfExcess)
  }

  /**
   * From well above the temperature at which a pilot got better than a descent to somewhat above that at which it was nearly
   * done: slow cooling is decided while it is warmer than quick cooling.
   */
  #choose(): void {
    const pilot = this.#pilot
    const coldest = this.#hottest * pilotRange
    const gained = Math.max(0, this.#descended - pilot.end)
    const better = pilot.reaches(this.#descended)
    const done = pilot.reaches(pilot.end + 0.03 * gained)
    this.#hot = better === undefined ? coldest : Math.min(1.5 * this.#hottest, mainHeat * better)
    this.#cold = Math.min(this.#hot, mainEnd * (done ?? coldest))
  }

  /** Makes excess so many times dearer than at first, where it is allowed at all. */
  #raise(factor: number): void {
    if (this.#price !== undefined) this.#relax(this.#basePrice.map((price) => Math.ceil(price * factor)))
  }

  #relax(price: Float64Array | undefined): void {
    this.#price = price
    this.evaluator.relax(price)
  }

  /**
   * Brings what is above limits back within them: first to wherever there is room, then to where the best placement has it,
   * whoever is in the way there next. Each replica goes back once at most, so it comes to an end.
   */
  #mend(): void {
    const { evaluator } = this
    const { assignment } = evaluator
    const price = this.#price
    this.#relax(this.#basePrice.map((each) => each * mendPrice))
    for (let i = 0; i < mendRounds && this.#hasExcess(); i++) {
      this.#anneal(mendSteps * evaluator.lackingCount, 0, true)
    }
    const { place } = this.#best
    for (let went = true; went && this.#hasExcess(); ) {
      went = false
      const nodes = Array.from({ length: evaluator.lackingCount }, (_, i) => evaluator.lackingNode(i))
      for (const node of nodes) {
        for (const slot of assignment.slotsOn(node)) {
          if (place[slot] === node) continue
          const delta = evaluator.move(slot, place[slot] as number, Number.MAX_VALUE)
          if (delta > Number.MAX_VALUE) continue
          went = true
          this.#move(slot, place[slot] as number, delta)
        }
      }
    }
    this.#relax(price)
  }

  #move(slot: number, to: number, delta: number): void {
    const { penalty } = this.evaluator
    this.evaluator.assignment.move(slot, to)
    this.#best.note(slot)
    this.#account(delta - penalty)
  }

  #anneal(steps: number, temperature: number, repairs = false): void {
    this.#temperature = temperature
    this.#neighbours.focus(temperature)
    const draws = this.#draws
    const neighbours = this.#neighbours
    const evaluator = this.evaluator
    const { assignment } = evaluator
    for (let i = 0; i < steps; i++) {
      const slot = repairs && draws.below(2) === 0 ? neighbours.misplaced(draws) : neighbours.slot(draws)
      // What may be lost is drawn first, so that what costs more is given up early.
      const most = temperature === 0 ? 0 : -temperature * Math.log(draws.unit())
      if (draws.below(2) === 0) {
        const other = neighbours.partner(slot, draws)
        if (other < 0) continue
        const delta = evaluator.swap(slot, other, most)
        if (delta > most) continue
        const penalty = evaluator.penalty
        assignment.swap(slot, other)
        this.#best.note(slot)
        this.#best.note(other)
        this.#account(delta - penalty)
      } else {
        const to = neighbours.target(slot, draws)
        if (to < 0) continue
        const delta = evaluator.move(slot, to, most)
        if (delta > most) continue
        this.#move(slot, to, delta)
      }
    }
  }

  /** Whether limits are exceeded because they could be, for a price. */
  #hasExcess(): boolean {
    return this.#mayRelax && this.evaluator.exceeded > 0
  }

  #account(delta: number): void {
    this.accepted++
    this.#current += delta
    if (this.#current < this.#best.cost && !this.#hasExcess()) this.#best.take(this.#current)
  }
}
