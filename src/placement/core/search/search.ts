import { checkInteger, checkObject } from '../../../core/arguments.ts'
import { KeelsonError } from '../../../core/errors.ts'
import type { Random } from '../../../core/random.ts'
import { Draws } from './draws.ts'
import type { Evaluator } from './evaluator.ts'
import { Neighbours } from './neighbours.ts'
import { PilotRun, phaseAt, pilotRange, type SearchPhase } from './schedule.ts'
import { Walk } from './walk.ts'

/** What exceeds a limit costs so many times what it costs above a threshold. */
const excessPrice = 2

/** How much dearer it gets in the main part, and then while the placement is repaired. */
const mainPrice = 5
const repairPrice = 300

/** While it is hot everything follows quickly, so it cools down faster at first. */
const mainCurve = 0.85

/** How much warmer than at the end of the main part the repair begins. */
const repairHeat = 3

/** With more changes than this for each slot there is time to begin slow cooling hot, and better placements are found so. */
const plenty = 15_000

/** Which part of the pilot's first temperature an approach begins with. */
const approachHeat = 0.3

/** How much of what it cost before a slice's cost is still felt in the mean by which an approach knows that it arrived. */
const inertia = 0.8

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
  readonly #walk: Walk
  readonly #draws: Draws
  readonly #neighbours: Neighbours
  #phase: SearchPhase = 'descent'
  #temperature = 0
  #hottest = 0
  /** What it cost when the descent was over. */
  #descended = 0
  /** Whether there is no use in an approach. */
  #direct = false
  /** When the approach arrived, and what the slices cost lately. */
  #arrived: number | undefined
  #lately = Number.POSITIVE_INFINITY
  #hot = 0
  #cold = 0
  /** How much warmer than at the end of the main part the repair begins. */
  #repairHeat = 1
  /** What a unit above its limit costs at first, by load dimension. */
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
    this.#draws = new Draws(random)
    this.#neighbours = new Neighbours(evaluator)
    this.#walk = new Walk(evaluator, this.#neighbours, this.#draws, cost)
  }

  /** What the best placement so far costs. */
  get cost(): number {
    return this.#walk.best.cost
  }

  /** Changes that were made so far. */
  get accepted(): number {
    return this.#walk.accepted
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
    const { phase, part } = this.#phaseAt(progress)
    if (phase !== this.#phase) this.#enter(phase)
    this.#temperature = this.#temperatureAt(phase, part)
    if (phase === 'main') this.#raise(mainPrice ** part)
    // Warm enough to find a way out, and ever dearer to stay.
    else if (phase === 'repair') this.#raise(mainPrice * repairPrice ** part)
    this.#walk.go(steps, this.#temperature, phase === 'repair')
    if (phase === 'pilot') this.#pilot.note(this.#temperature, this.#priced())
    else if (phase === 'approach') this.#notice(progress)
  }

  /** Puts the best placement into the assignment. The search may go on afterwards. */
  finish(): void {
    if (this.#walk.hasExcess) this.#walk.mend()
    this.#walk.restore()
  }

  #phaseAt(progress: number): ReturnType<typeof phaseAt> {
    const relaxed = this.#walk.mayRelax
    const at = phaseAt(progress, relaxed, this.#arrived)
    if (at.phase !== 'approach' || this.#phase !== 'pilot') return at
    const each = this.steps / progress / this.#neighbours.slots.length
    this.#direct = each > plenty || this.#walk.hasExcess
    if (!this.#direct) return at
    this.#arrived = progress
    return phaseAt(progress, relaxed, progress)
  }

  #temperatureAt(phase: SearchPhase, part: number): number {
    switch (phase) {
      case 'pilot':
        return this.#hottest * pilotRange ** part
      case 'approach':
        return this.#hot * (this.#cold / this.#hot) ** part
      case 'main':
        return this.#hot * (this.#cold / this.#hot) ** (part ** mainCurve)
      case 'repair':
        return this.#cold * this.#repairHeat ** (1 - part)
      case 'quench':
        return this.#cold * quenchRange ** part
      default:
        return 0
    }
  }

  #enter(phase: SearchPhase): void {
    const walk = this.#walk
    if (this.#phase === 'descent') {
      this.#descended = walk.current
      this.#calibrate()
    }
    this.#phase = phase
    if (phase === 'pilot') walk.relax(walk.mayRelax ? this.#basePrice : undefined)
    else if (phase === 'approach') this.#approach()
    else if (phase === 'main') this.#begin()
    else if (phase === 'repair') this.#repairHeat = walk.hasExcess ? repairHeat : 1
    else if (phase === 'quench') {
      // What is warm costs more than it will: only what could not be repaired is given up.
      if (walk.hasExcess) walk.mend()
      if (walk.hasExcess) walk.restore()
      walk.relax(undefined)
    } else if (phase === 'polish') {
      this.finish()
      walk.relax(undefined)
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
    this.#walk.priceLimits(this.#basePrice)
  }

  /** What it costs now, with the price for what is above limits. */
  #priced(): number {
    return this.#walk.current + this.evaluator.priceOfExcess
  }

  /** Begins hot once more: a pilot is too quick to say at which temperature it really got better. */
  #approach(): void {
    this.#hot = this.#hottest * approachHeat
    this.#cold = Math.min(this.#hot, this.#pilot.approachEnd() ?? this.#hot)
  }

  /** Ends the approach when it costs what the pilot ended with. */
  #notice(progress: number): void {
    const cost = this.#priced()
    this.#lately = Number.isFinite(this.#lately) ? inertia * this.#lately + (1 - inertia) * cost : cost
    if (this.#lately <= this.#pilot.end) this.#arrived = progress
  }

  /** Says where the main part begins and ends. */
  #begin(): void {
    const coldest = this.#hottest * pilotRange
    const { hot, cold } = this.#direct
      ? this.#pilot.coolingDirectly(this.#descended, this.#hottest)
      : this.#pilot.coolingFrom(Math.max(coldest, this.#temperature))
    this.#hot = hot
    this.#cold = cold
  }

  /** Makes excess so many times dearer than at first, where it is allowed at all. */
  #raise(factor: number): void {
    if (this.#walk.mayRelax) this.#walk.relax(this.#basePrice.map((price) => Math.ceil(price * factor)))
  }
}
