import { checkArray, checkObject } from '../core/arguments.ts'
import { KeelsonError } from '../core/errors.ts'
import { checkOptions, numberOption, showValue } from '../core/options.ts'
import { between, chance, SeededRandom } from '../core/random.ts'
import type { ScheduledEvent } from './scheduler.ts'
import type { Simulation } from './simulation.ts'

/** A kind of fault that comes and goes. */
export interface FaultKind {
  /** Counted under this name. */
  readonly name: string
  /** Mean time between two of them. */
  readonly meanIntervalMs: number
  /** How long one lasts, drawn evenly. Default: 0 to `meanIntervalMs`. */
  readonly durationMs?: readonly [least: number, most: number]
  /** Makes it happen and returns what ends it; undefined when there was nothing to do now. */
  begin(random: SeededRandom): (() => void) | undefined
}

/**
 * Swarm testing (Groce et al. 2012): each run has another random subset of the faults at other rates, since faults that
 * are always there all hide each other's bugs.
 */
export function drawSwarm(
  random: SeededRandom,
  kinds: readonly FaultKind[],
  options: { readonly probability?: number } = {},
): FaultKind[] {
  const { probability } = checkOptions<{ readonly probability: number }>('drawSwarm', options, {
    probability: numberOption({ min: 0, max: 1, fallback: 0.5 }),
  })
  const drawn: FaultKind[] = []
  for (const kind of kinds) {
    const child = random.child(kind.name)
    if (!chance(child, probability)) continue
    // Rates differ by an order of magnitude and more.
    drawn.push({
      ...kind,
      begin: (own) => kind.begin(own),
      meanIntervalMs: kind.meanIntervalMs * 4 ** between(child, -1, 1),
    })
  }
  return drawn
}

/** A fault as it happened in a run, for one that repeats it. */
export interface RecordedFault {
  /** Name of its kind. */
  readonly kind: string
  /** Virtual time at which it began. */
  readonly atMs: number
  /** State of the random generator that it drew from: four words. */
  readonly random: readonly number[]
}

/** What a {@link FaultInjector} may be told. */
export interface FaultInjectorOptions {
  /** Is told of each fault that has begun. */
  readonly onFault?: ((fault: RecordedFault) => void) | undefined
  /**
   * These faults happen, and no others: what `onFault` told of a run with the same seed and the same kinds. All of them repeat
   * the run; see {@link shrinkSchedule} for which of them matter.
   */
  readonly schedule?: readonly RecordedFault[] | undefined
}

/** Lets faults happen at random times, until they are stopped. Each kind has a random generator of its own. */
export class FaultInjector {
  readonly #simulation: Simulation
  readonly #kinds: readonly FaultKind[]
  readonly #options: FaultInjectorOptions
  readonly #pending = new Set<ScheduledEvent>()
  readonly #active = new Set<() => void>()
  #running = false

  /**
   * Draws faults of these kinds from the seed of `simulation`, once it is started.
   *
   * @throws KeelsonError `INVALID_ARGUMENT` for a fault of a schedule that is of no kind which is given here, or begins at no time
   */
  constructor(simulation: Simulation, kinds: readonly FaultKind[], options: FaultInjectorOptions = {}) {
    this.#simulation = simulation
    this.#kinds = checkArray(kinds, 'the kinds of faults')
    this.#options = options
    for (const kind of kinds) {
      checkObject(kind, 'a kind of fault', ['name', 'meanIntervalMs', 'begin'])
      if (!(kind.meanIntervalMs > 0 && kind.meanIntervalMs < Number.POSITIVE_INFINITY)) {
        throw new KeelsonError(
          'INVALID_ARGUMENT',
          `the fault ${kind.name} happens at intervals above 0 ms, not ${showValue(kind.meanIntervalMs)}`,
        )
      }
    }
    for (const { kind, atMs, random } of options.schedule ?? []) {
      const isKnown = kinds.some(({ name }) => name === kind)
      if (isKnown && atMs >= 0 && Number.isFinite(atMs) && random.length === 4) continue
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `a fault of a schedule has a kind that is given, a time and the four words of a generator, not ${showValue({ kind, atMs, random })}`,
      )
    }
  }

  /** Faults that last at the moment. */
  get active(): number {
    return this.#active.size
  }

  /** Begins to inject faults. Without effect while they are being injected already. */
  start(): void {
    if (this.#running) return
    this.#running = true
    const { schedule } = this.#options
    if (schedule !== undefined) return this.#repeat(schedule)
    for (const kind of this.#kinds) this.#plan(kind, this.#simulation.random(`fault ${kind.name}`))
  }

  /** No fault begins any more, and those that last end now. */
  stop(): void {
    this.#running = false
    for (const event of this.#pending) event.cancel()
    this.#pending.clear()
    for (const end of this.#active) end()
    this.#active.clear()
  }

  #plan(kind: FaultKind, random: SeededRandom): void {
    this.#after(-Math.log(1 - random.float()) * kind.meanIntervalMs, () => {
      this.#plan(kind, random)
      this.#begin(kind, random)
    })
  }

  #repeat(schedule: readonly RecordedFault[]): void {
    for (const { kind: name, atMs, random } of schedule) {
      const kind = this.#kinds.find((each) => each.name === name) as FaultKind
      this.#after(Math.max(0, atMs - this.#simulation.nowMs), () =>
        this.#begin(kind, new SeededRandom(Uint32Array.from(random))),
      )
    }
  }

  #begin(kind: FaultKind, random: SeededRandom): void {
    const { onFault } = this.#options
    const state = onFault === undefined ? undefined : [...random.state]
    const end = kind.begin(random)
    if (end === undefined) return
    this.#simulation.faults.add(kind.name)
    if (state !== undefined) onFault?.({ kind: kind.name, atMs: this.#simulation.nowMs, random: state })
    const [least, most] = kind.durationMs ?? [0, kind.meanIntervalMs]
    this.#active.add(end)
    this.#after(between(random, least, most), () => {
      if (this.#active.delete(end)) end()
    })
  }

  #after(delayMs: number, callback: () => void): void {
    const event = this.#simulation.scheduler.schedule(delayMs, () => {
      this.#pending.delete(event)
      callback()
    })
    this.#pending.add(event)
  }
}
