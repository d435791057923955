/** What the search is at. */
export type SearchPhase =
  /** Only what makes it better, within all rules. */
  | 'descent'
  /** Cools down quickly from very hot, to learn at which temperatures this problem is decided. */
  | 'pilot'
  /** Cools down to where it costs what the pilot ended with: hotter than that nothing is gained by being slow. */
  | 'approach'
  /** Cools down slowly over the temperatures that matter. */
  | 'main'
  /** Makes what is above limits ever dearer, until nothing is. */
  | 'repair'
  /** Cools down to nothing, within all rules. */
  | 'quench'
  /** From the best on, only what makes it better. */
  | 'polish'

/** Which part of all work is done when the approach is over at the latest. */
export const approachEnd = 0.2

/**
 * Which phase it is when this part of the work is done, and which part of the phase is done. The main part begins when the
 * approach has arrived. Where nothing is relaxed there is nothing to repair, and the main part takes its time as well. @internal
 */
export function phaseAt(
  progress: number,
  relaxed: boolean,
  arrived: number = approachEnd,
): { readonly phase: SearchPhase; readonly part: number } {
  const ends: readonly (readonly [SearchPhase, number])[] = [
    ['descent', 0.01],
    ['pilot', 0.08],
    ['approach', arrived],
    ['main', relaxed ? 0.86 : 0.9],
    ['repair', 0.9],
    ['quench', 0.98],
    ['polish', 1],
  ]
  let from = 0
  for (const [phase, end] of ends) {
    if (progress < end) return { phase, part: Math.max(0, (progress - from) / (end - from)) }
    from = end
  }
  return { phase: 'polish', part: 1 }
}

/** How far a pilot cools down. */
export const pilotRange = 1e-5

/** Which part of what a pilot gained is still to be gained where the approach ends at the latest. */
const approachTo = 0.001

/** Which part of what a pilot gained is left to the quench, for it goes quickly, and how much warmer slow cooling gets there. */
const leftToQuench = 0.03
const quenchHeat = 4

/** How much hotter than where the approach arrived the main part begins: slow cooling gets there earlier. */
const approachedHeat = 2

/** How far the main part cools down at least after an approach. */
const leastCooling = 10

/** How much hotter than where the pilot got better than a descent slow cooling is still decided. */
const decided = 8

/** Where the main part begins and ends. @internal */
export interface Cooling {
  readonly hot: number
  readonly cold: number
}

/** What a pilot has seen: what the placement cost, at falling temperatures. @internal */
export class PilotRun {
  readonly #temperatures: number[] = []
  readonly #costs: number[] = []

  note(temperature: number, cost: number): void {
    this.#temperatures.push(temperature)
    this.#costs.push(cost)
  }

  /** What it cost in the end. */
  get end(): number {
    return this.#costs[this.#costs.length - 1] ?? Number.POSITIVE_INFINITY
  }

  /** The first temperature at which it cost no more than this; undefined: it never did. */
  reaches(cost: number): number | undefined {
    return this.#temperatures[this.#costs.findIndex((each) => each <= cost)]
  }

  /** Where the approach ends at the latest; undefined: there was no pilot. */
  approachEnd(): number | undefined {
    return this.#left(approachTo)
  }

  /** The main part after an approach that arrived at this temperature. */
  coolingFrom(arrived: number): Cooling {
    const hot = approachedHeat * arrived
    return { hot, cold: Math.min(hot / leastCooling, quenchHeat * (this.#left(leftToQuench) ?? hot)) }
  }

  /**
   * The main part without an approach, where there is time enough or limits are exceeded even when it is cold: within all limits it
   * is decided where much hotter than beyond them. From well above the temperature at which the pilot got better than a descent
   * to somewhat above that at which it was nearly done.
   */
  coolingDirectly(descended: number, hottest: number): Cooling {
    const coldest = hottest * pilotRange
    const gained = Math.max(0, descended - this.end)
    const better = this.reaches(descended)
    const done = this.reaches(this.end + leftToQuench * gained)
    const hot = better === undefined ? coldest : Math.min(1.5 * hottest, decided * better)
    return { hot, cold: Math.min(hot, quenchHeat * (done ?? coldest)) }
  }

  /** The first temperature at which no more than this part of what it gained was still to be gained. */
  #left(part: number): number | undefined {
    return this.reaches(this.end + part * Math.max(0, (this.#costs[0] ?? 0) - this.end))
  }
}
