import { checkText } from '../core/arguments.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import type { LogLevel } from '../core/logger.ts'
import { checkOptions, functionOption, integerOption, optional, wordOption } from '../core/options.ts'
import { SeededRandom } from '../core/random.ts'
import { FaultCounts } from './fault-counts.ts'
import { SimulatedProcess } from './process.ts'
import { type RunOptions, type RunResult, Scheduler } from './scheduler.ts'
import { Trace } from './trace.ts'

/** Options of a {@link Simulation}. */
export interface SimulationOptions {
  /** Everything that is random comes from it: the same seed gives the same run. */
  readonly seed: number
  /** Lines that the trace keeps. */
  readonly traceLimit?: number
  /** Lowest level of log records that become lines of the trace. */
  readonly logLevel?: LogLevel
  /** Wall time at the start, in milliseconds since the Unix epoch. */
  readonly startWallMs?: number
  /** Gets every line of the trace when it happens. */
  readonly onLine?: ((line: string) => void) | undefined
}

/** Defaults of {@link SimulationOptions}. */
export const simulationDefaults: {
  /** See {@link SimulationOptions.traceLimit}. */
  readonly traceLimit: number
  /** See {@link SimulationOptions.logLevel}. */
  readonly logLevel: LogLevel
  /** See {@link SimulationOptions.startWallMs}. */
  readonly startWallMs: number
} = Object.freeze({ traceLimit: 2_000, logLevel: 'info', startWallMs: Date.UTC(2030, 0, 1) })

/**
 * A world in virtual time: processes, and whatever networks and disks are given to them, driven by one seed.
 *
 * ```ts
 * const simulation = new Simulation({ seed: 42 })
 * const env = simulation.environment('db7')
 * env.timers.schedule(60_000, () => {})
 * await simulation.run()                // a minute later, at once
 * ```
 */
export class Simulation {
  /** Everything random in this world comes from it. */
  readonly seed: number
  /** Virtual time, and the order of everything that happens in it. */
  readonly scheduler: Scheduler
  /** What happened: equal for two runs of one seed. */
  readonly trace: Trace
  /** How often each kind of fault happened. */
  readonly faults: FaultCounts = new FaultCounts()
  readonly #random: SeededRandom
  readonly #processes = new Map<string, SimulatedProcess>()
  readonly #options: Required<Omit<SimulationOptions, 'onLine'>>

  /** @throws KeelsonError `INVALID_OPTION` */
  constructor(options: SimulationOptions) {
    const checked = checkOptions<SimulationOptions>('Simulation', options, {
      seed: integerOption({ min: 0 }),
      traceLimit: integerOption({ min: 1, max: 10_000_000, fallback: simulationDefaults.traceLimit }),
      logLevel: wordOption(['trace', 'debug', 'info', 'warn', 'error'], simulationDefaults.logLevel),
      startWallMs: integerOption({ min: 0, fallback: simulationDefaults.startWallMs }),
      onLine: optional(functionOption<(line: string) => void>()),
    })
    this.#options = checked as Required<SimulationOptions>
    this.seed = checked.seed
    this.#random = new SeededRandom(checked.seed)
    this.trace = new Trace(this.#options.traceLimit, checked.onLine)
    this.scheduler = new Scheduler(this.#random.child('scheduler'))
  }

  /** Virtual milliseconds since the start. */
  get nowMs(): number {
    return this.scheduler.nowMs
  }

  /** The processes that exist, by name. */
  get processes(): ReadonlyMap<string, SimulatedProcess> {
    return this.#processes
  }

  /**
   * A random generator of its own for `label`. Giving each node and each kind of fault its own keeps one more draw in
   * one place from changing all the others.
   */
  random(label: string): SeededRandom {
    return this.#random.child(label)
  }

  /** The process of this name; it is made, running, when it does not exist yet. */
  process(name: string): SimulatedProcess {
    checkText(name, 'the name of a process', 256)
    const known = this.#processes.get(name)
    if (known !== undefined) return known
    const made = new SimulatedProcess(name, {
      scheduler: this.scheduler,
      trace: this.trace,
      random: this.#random.child(`process ${name}`),
      logLevel: this.#options.logLevel,
      startWallMs: this.#options.startWallMs,
    })
    this.#processes.set(name, made)
    return made
  }

  /** The environment of the present life of a process. After a crash take it from `process(name).restart()`. */
  environment(name: string): Environment {
    const process = this.process(name)
    if (process.state === 'crashed') {
      throw new KeelsonError('INVALID_ARGUMENT', `${name} has crashed; restart() gives its next environment`)
    }
    return process.environment
  }

  /** Adds a line to the trace at the present time. */
  note(where: string, what: string, ...values: readonly (string | number | boolean | undefined)[]): void {
    this.trace.add(this.scheduler.nowMs, where, what, ...values)
  }

  /** Runs pure cores, without promises: see {@link Scheduler.run}. */
  runSync(options: RunOptions = {}): RunResult {
    return this.scheduler.run(options)
  }

  /** Runs whole programs with their promises: see {@link Scheduler.runAsync}. */
  async run(options: RunOptions = {}): Promise<RunResult> {
    return this.scheduler.runAsync(options)
  }

  /** Runs for some more virtual time, with promises. */
  async runFor(durationMs: number): Promise<RunResult> {
    return this.scheduler.runAsync({ untilMs: this.scheduler.nowMs + durationMs })
  }

  /**
   * Runs until `promise` has settled and gives its result, or fails with `TIMEOUT` when `limitMs` of virtual time have
   * passed or nothing is left to happen.
   */
  async until<T>(promise: Promise<T>, limitMs = 3_600_000): Promise<T> {
    let settled = false
    const watch = async (): Promise<void> => {
      await promise.catch(() => {})
      settled = true
    }
    void watch()
    const from = this.scheduler.nowMs
    const { reason } = await this.scheduler.runAsync({ stop: () => settled, untilMs: from + limitMs })
    if (reason === 'stopped' || settled) return promise
    throw new KeelsonError('TIMEOUT', `still waiting after ${limitMs} ms of virtual time (seed ${this.seed})`)
  }
}
