import type { TimerHandle } from '../core/clock.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { type LogLevel, recordLogger } from '../core/logger.ts'
import { MetricsRegistry } from '../core/metrics.ts'
import type { SeededRandom } from '../core/random.ts'
import type { EventOwner, ScheduledEvent, Scheduler } from './scheduler.ts'
import { type Trace, traceValue } from './trace.ts'

/**
 * How a process ends. `kill`: the process alone (SIGKILL): its operating system closes its connections and still writes
 * what the page cache holds. `power`: the machine: nobody says good-bye, and what was not synced may be lost.
 */
export type CrashKind = 'kill' | 'power'

/** What a process needs of its simulation. */
export interface ProcessContext {
  /** Virtual time. */
  readonly scheduler: Scheduler
  /** Where the process writes what happens to it. */
  readonly trace: Trace
  /** Source of the process's own random numbers. */
  readonly random: SeededRandom
  /** Lowest level of log records that become part of the trace. */
  readonly logLevel: LogLevel
  /** Wall time, in milliseconds since the Unix epoch, at virtual time 0. */
  readonly startWallMs: number
}

/**
 * A simulated process: it has its own clocks, which may drift and jump, and it can be paused, crashed and started again.
 * Each life has an {@link Environment} of its own; timers of an earlier life never fire.
 */
export class SimulatedProcess implements EventOwner {
  /** Unique in the simulation; networks address it by this name. */
  readonly name: string
  readonly #context: ProcessContext
  readonly #crashListeners = new Set<(kind: CrashKind) => void>()
  readonly #stateListeners = new Set<() => void>()
  readonly #held: ScheduledEvent[] = []
  #life = 1
  #state: 'running' | 'paused' | 'crashed' = 'running'
  #environment: Environment
  // Local time is base + (true time - since) * rate, and never less than the floor.
  #sinceMs = 0
  #baseMs: number
  #rate = 1
  #floorMs = 0
  #wallOffsetMs: number
  #suspendedAtMs: number | undefined

  /** @internal Made by `Simulation.process`. */
  constructor(name: string, context: ProcessContext) {
    this.name = name
    this.#context = context
    // An arbitrary origin, so that nobody compares the monotonic clocks of two processes and is right by chance.
    this.#baseMs = 1_000 + context.random.child('origin').integer(1_000_000)
    this.#wallOffsetMs = context.startWallMs - this.#baseMs
    this.#environment = this.#makeEnvironment()
  }

  /** From 1, and one more after each crash. */
  get life(): number {
    return this.#life
  }

  /**
   * Whether it runs. A paused process gets what has come in once it runs again; a crashed one has lost its
   * memory.
   */
  get state(): 'running' | 'paused' | 'crashed' {
    return this.#state
  }

  get paused(): boolean {
    return this.#state === 'paused'
  }

  /** The environment of the present life. */
  get environment(): Environment {
    return this.#environment
  }

  /** The present monotonic time of this process, by its own clock. */
  get monotonicMs(): number {
    const nowMs = this.#suspendedAtMs ?? this.#context.scheduler.nowMs
    return Math.max(this.#floorMs, this.#baseMs + (nowMs - this.#sinceMs) * this.#rate)
  }

  /**
   * Ends this life. Timers never fire again, connections break, and what `onCrash` listeners stand for (disks, ports)
   * loses what it has to lose.
   */
  crash(kind: CrashKind = 'power'): void {
    if (this.#state === 'crashed') return
    this.#wake()
    this.#held.length = 0
    this.#life++
    this.#state = 'crashed'
    this.#context.trace.add(this.#context.scheduler.nowMs, this.name, 'crash', kind)
    for (const listener of this.#crashListeners) listener(kind)
    this.#changed()
  }

  /** Begins the next life and returns its environment; the program has to be started by the caller. */
  restart(): Environment {
    if (this.#state !== 'crashed') {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `${this.name} has not crashed, so it cannot be started again`,
      )
    }
    this.#state = 'running'
    this.#environment = this.#makeEnvironment()
    this.#context.trace.add(this.#context.scheduler.nowMs, this.name, 'restart', this.#life)
    this.#changed()
    return this.#environment
  }

  /**
   * Stops the process (SIGSTOP, a long garbage collection, a stalled event loop): its timers and messages wait. With
   * `suspend` the whole machine sleeps: the monotonic clock stands still as well, and wall time goes on.
   */
  pause(options: { readonly suspend?: boolean } = {}): void {
    if (this.#state !== 'running') return
    this.#state = 'paused'
    if (options.suspend === true) this.#suspendedAtMs = this.#context.scheduler.nowMs
    this.#context.trace.add(
      this.#context.scheduler.nowMs,
      this.name,
      options.suspend === true ? 'suspend' : 'pause',
    )
    this.#changed()
  }

  /**
   * Lets the process go on. Everything that came due runs at once: as in a real event loop late timers first, before
   * the input that arrived meanwhile.
   */
  resume(): void {
    if (this.#state !== 'paused') return
    this.#wake()
    this.#state = 'running'
    this.#context.trace.add(this.#context.scheduler.nowMs, this.name, 'resume', this.#held.length)
    // A real loop has no ties: what waited goes on in the order in which it came due, timers (bound to a life) first.
    const held = this.#held.splice(0)
    const timers = held.filter((event) => event.life !== 0)
    const input = held.filter((event) => event.life === 0)
    let tie = 0
    for (const event of [...timers, ...input]) {
      if (event.callback === undefined) continue
      if (event.tie <= 0xffff_ffff) event.tie = tie++
      this.#context.scheduler.release(event)
    }
    this.#changed()
  }

  /** Makes the clocks run at `rate` times true time from now on: 1.0001 gains 100 ppm. */
  setClockRate(rate: number): void {
    this.#baseMs = this.monotonicMs
    this.#sinceMs = this.#suspendedAtMs ?? this.#context.scheduler.nowMs
    this.#rate = rate
    this.#context.trace.add(this.#context.scheduler.nowMs, this.name, 'clock rate', rate)
  }

  /** Sets the wall clock forward or back. */
  jumpWallClock(byMs: number): void {
    this.#wallOffsetMs += byMs
    this.#context.trace.add(this.#context.scheduler.nowMs, this.name, 'wall clock jump', byMs)
  }

  /** Calls `listener` at each crash until the function that is returned is called. */
  onCrash(listener: (kind: CrashKind) => void): () => void {
    this.#crashListeners.add(listener)
    return () => this.#crashListeners.delete(listener)
  }

  /** @internal Calls `listener` after each change of {@link SimulatedProcess.state}. */
  onStateChange(listener: () => void): () => void {
    this.#stateListeners.add(listener)
    return () => this.#stateListeners.delete(listener)
  }

  /** @internal */
  hold(event: ScheduledEvent): void {
    this.#held.push(event)
  }

  #changed(): void {
    for (const listener of this.#stateListeners) listener()
  }

  /** Ends a suspension: the monotonic clock goes on from where it stood, the wall clock with the time that passed. */
  #wake(): void {
    if (this.#suspendedAtMs === undefined) return
    const localMs = this.monotonicMs
    const sleptMs = this.#context.scheduler.nowMs - this.#suspendedAtMs
    this.#suspendedAtMs = undefined
    this.#baseMs = localMs
    this.#sinceMs = this.#context.scheduler.nowMs
    this.#wallOffsetMs += sleptMs
  }

  #makeEnvironment(): Environment {
    const { scheduler, trace, logLevel } = this.#context
    const life = this.#life
    return Object.freeze({
      clock: Object.freeze({
        monotonicMs: () => this.monotonicMs,
        wallMs: () => Math.floor(this.monotonicMs + this.#wallOffsetMs),
      }),
      timers: Object.freeze({
        schedule: (delayMs: number, callback: () => void) => this.#schedule(life, delayMs, callback),
        defer: (callback: () => void) => {
          if (life === this.#life) scheduler.defer(callback, this, life)
        },
      }),
      random: this.#context.random.child(`life ${life}`),
      logger: recordLogger((record) => {
        if (life !== this.#life) return
        const fields = Object.entries(record.fields).flatMap(([key, value]) => [key, traceValue(value)])
        trace.add(scheduler.nowMs, this.name, `${record.level}: ${record.message}`, ...fields)
      }, logLevel),
      metrics: new MetricsRegistry(),
    })
  }

  #schedule(life: number, delayMs: number, callback: () => void): TimerHandle {
    if (life !== this.#life) return deadTimer
    const { scheduler } = this.#context
    const dueMs = this.monotonicMs + Math.max(0, Math.min(delayMs, maximumDelayMs))
    const trueDelay = (): number => Math.max(0, (dueMs - this.monotonicMs) / this.#rate)
    const fire = (): void => {
      // The rate may have changed, or the machine slept, since the timer was set.
      const missingMs = trueDelay()
      if (missingMs > 1e-6) {
        event.callback = fire
        scheduler.postpone(event, missingMs)
        return
      }
      // Rounding must not show a clock that is before the timer's own time.
      this.#floorMs = Math.max(this.#floorMs, dueMs)
      callback()
    }
    const event = scheduler.schedule(trueDelay(), fire, this, life)
    return event
  }
}

/** A timer cannot be set further ahead than this: about 285 years. */
const maximumDelayMs = 9e12

const deadTimer: TimerHandle = Object.freeze({ cancel: () => {} })
