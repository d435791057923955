/** What the search is at. */
export type SearchPhase =
  /** Only what makes it better, within all rules. */
  | 'descent'
  /** Cools down quickly from very hot, to learn at which temperatures this problem is decided. */
  | 'pilot'
  /** Cools down slowly over the temperatures that matter. */
  | 'main'
  /** Makes what is above limits ever dearer, until nothing is. */
  | 'repair'
  /** Cools down to nothing, within all rules. */
  | 'quench'
  /** From the best on, only what makes it better. */
  | 'polish'

const ends: readonly (readonly [SearchPhase, number])[] = [
  ['descent', 0.01],
  ['pilot', 0.08],
  ['main', 0.86],
  ['repair', 0.9],
  ['quench', 0.98],
  ['polish', 1],
]

/**
 * Which phase it is when this part of the work is done, and which part of the phase is done. Where nothing is relaxed there
 * is nothing to repair, and the main part takes its time as well. @internal
 */
export function phaseAt(
  progress: number,
  relaxed: boolean,
): { readonly phase: SearchPhase; readonly part: number } {
  let from = 0
  for (const [phase, end] of ends) {
    if (phase === 'repair' && !relaxed) continue
    const until = phase === 'main' && !relaxed ? 0.9 : end
    if (progress < until) return { phase, part: Math.max(0, (progress - from) / (until - from)) }
    from = until
  }
  return { phase: 'polish', part: 1 }
}

/** How far a pilot cools down. */
export const pilotRange = 1e-5

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
}
