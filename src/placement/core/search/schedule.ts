/** What the search is at. */
export type Phase =
  /** Only what makes it better. */
  | 'descent'
  /** Cools down quickly from very hot, within all rules, to learn at which temperatures this problem is decided. */
  | 'pilot'
  /** The same with limits that may be exceeded at a price. */
  | 'relaxedPilot'
  /** Cools down slowly over the temperatures that matter. */
  | 'main'
  /** Makes what is above limits ever dearer, until nothing is. */
  | 'repair'
  /** From the best on, cools down to nothing, within all rules. */
  | 'quench'

const ends: readonly (readonly [Phase, number])[] = [
  ['descent', 0.02],
  ['pilot', 0.08],
  ['relaxedPilot', 0.15],
  ['main', 0.86],
  ['repair', 0.91],
  ['quench', 1],
]

/** Which phase it is when this part of the work is done, and which part of the phase is done. @internal */
export function phaseAt(progress: number): { readonly phase: Phase; readonly part: number } {
  let from = 0
  for (const [phase, end] of ends) {
    if (progress < end) return { phase, part: Math.max(0, (progress - from) / (end - from)) }
    from = end
  }
  return { phase: 'quench', part: 1 }
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
