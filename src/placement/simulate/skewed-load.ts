import { type Random, shuffled } from '../../core/random.ts'
import type { FleetWorld } from './world.ts'

/** How the load of a simulated fleet is spread over its ranges. */
export interface SkewedLoad {
  /** Name of the load dimension; nodes name their capacity of it. Default: `cpu`. */
  readonly resource?: string
  /** Load of all ranges together. */
  readonly total: number
  /** Exponent of Zipf's law: 0 is even; about 1 is what is mostly seen. Default: 0.99. */
  readonly exponent?: number
  /** Part of a range's load that its leader bears alone; the rest is borne by every replica. Default: 0.7. */
  readonly leaderShare?: number
  /** How often the hot spots move. Default: an hour. */
  readonly shiftEveryMs?: number
  /** Ranges whose place in the order of heat is drawn anew each time. Default: 1 % of them. */
  readonly shiftedRanges?: number
}

/** Load by Zipf's law: the hottest range has the share 1, the second 1/2^s, and so on. The order of heat shifts. */
export class LoadGenerator {
  readonly #world: FleetWorld
  readonly #random: Random
  readonly #byRank: Float64Array
  readonly #rangeAt: number[]
  readonly #leaderShare: number
  readonly #shifted: number

  constructor(world: FleetWorld, random: Random, load: SkewedLoad) {
    const { exponent = 0.99, leaderShare = 0.7, shiftedRanges = Math.ceil(world.rangeCount / 100) } = load
    this.#world = world
    this.#random = random
    this.#leaderShare = leaderShare
    this.#shifted = Math.min(shiftedRanges, world.rangeCount)
    const shares = Float64Array.from({ length: world.rangeCount }, (_, rank) => 1 / (rank + 1) ** exponent)
    const sum = shares.reduce((all, each) => all + each, 0)
    this.#byRank = shares.map((share) => (share / sum) * load.total)
    this.#rangeAt = shuffled(
      random,
      Array.from({ length: world.rangeCount }, (_, range) => range),
    )
    this.#rangeAt.forEach((range, rank) => this.#apply(range, rank))
  }

  /** The hot spots move. Returns the ranges whose load is another one. */
  shift(): readonly number[] {
    const changed = new Set<number>()
    for (let i = 0; i < this.#shifted; i++) {
      const a = this.#random.integer(this.#rangeAt.length)
      const b = this.#random.integer(this.#rangeAt.length)
      const [first, second] = [this.#rangeAt[a] as number, this.#rangeAt[b] as number]
      this.#rangeAt[a] = second
      this.#rangeAt[b] = first
      this.#apply(second, a)
      this.#apply(first, b)
      changed.add(first).add(second)
    }
    return [...changed]
  }

  #apply(range: number, rank: number): void {
    const load = this.#byRank[rank] as number
    this.#world.setLoad(range, load * (1 - this.#leaderShare), load * this.#leaderShare)
  }
}
