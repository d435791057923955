import { KeelsonError } from '../core/errors.ts'
import { invariant } from '../core/invariant.ts'
import { checkOptions, functionOption, integerOption, numberOption, optional } from '../core/options.ts'
import type { SeededRandom } from '../core/random.ts'
import { AmbientGuard } from './ambient-guard.ts'

/** Where an event's callback runs: a simulated process, which may be paused or gone when the event is due. */
export interface EventOwner {
  /** Which life of the process this is; grows with each crash. */
  readonly life: number
  /** True while its events have to wait. */
  readonly paused: boolean
  /** Takes an event that came due while the owner is paused. The owner gives it back when it goes on. */
  hold(event: ScheduledEvent): void
}

/** One callback at one point in virtual time. */
export class ScheduledEvent {
  /** @internal */ timeMs: number
  /** @internal Ordinary events have a random 32-bit tie; deferred ones come after them. */ tie: number
  /** @internal */ readonly sequence: number
  /** @internal */ callback: (() => void) | undefined
  /** @internal */ readonly owner: EventOwner | undefined
  /** @internal The life of the owner that this belongs to; 0 for any. */ readonly life: number

  /** @internal */
  constructor(
    timeMs: number,
    tie: number,
    sequence: number,
    callback: () => void,
    owner: EventOwner | undefined,
    life: number,
  ) {
    this.timeMs = timeMs
    this.tie = tie
    this.sequence = sequence
    this.callback = callback
    this.owner = owner
    this.life = life
  }

  /** Idempotent. After it returns the callback will not be called. */
  cancel(): void {
    this.callback = undefined
  }
}

/** How far to run. Without bounds a run ends when nothing is left to do. */
export interface RunOptions {
  /** Stops before the first event after this time, and puts the clock there. */
  readonly untilMs?: number
  /** Stops as soon as this is true; asked after each event. */
  readonly stop?: () => boolean
  /**
   * Fails the run after so many events: something goes on for ever.
   *
   * @defaultValue 100,000,000
   */
  readonly maximumEvents?: number
}

/** How a run ended. */
export interface RunResult {
  /** Events of this run. */
  readonly events: number
  /** `idle`: no event is left. `until`: `untilMs` is reached. `stopped`: `stop` said so. */
  readonly reason: 'idle' | 'until' | 'stopped'
}

/** Ties of deferred events lie above all others. */
const deferredTie = 0x1_0000_0000

/** How often a run looks whether real work of the operating system is under way. */
const resourceCheckEvery = 512

// The architecture forbids ambient timers by name. A run that awaits needs a real turn of the event loop to drain
// promises and ticks; this is the one place that takes it, before anybody can poison it.
const realTurn = Reflect.get(globalThis, 'setImmediate') as (callback: () => void) => void

/**
 * Virtual time. Events run one at a time in the order of (time, a tie drawn by the seed, order of scheduling): what is
 * due at the same instant has no natural order, so each seed tries another one.
 *
 * While a run is under way the ambient clocks, timers and random numbers of the process throw, and the run fails with
 * the stack of whoever used one. One scheduler runs at a time per process.
 */
export class Scheduler {
  readonly #random: SeededRandom
  readonly #heap: ScheduledEvent[] = []
  readonly #guard = new AmbientGuard()
  #nowMs = 0
  #sequence = 0
  #events = 0
  #running = false

  /** Called after each event, also after its promises in an asynchronous run: the place to check invariants. */
  afterEvent: (() => void) | undefined

  /** `random` breaks ties among events of one instant. */
  constructor(random: SeededRandom) {
    this.#random = random
  }

  /** Virtual milliseconds since the start. The true time: processes see it through their own clocks. */
  get nowMs(): number {
    return this.#nowMs
  }

  /** Events that ran so far. */
  get events(): number {
    return this.#events
  }

  /** Events that wait, those that were cancelled included. */
  get size(): number {
    return this.#heap.length
  }

  /**
   * Calls `callback` after `delayMs` of true time. With an owner it waits while the owner is paused; with `life` it is
   * dropped when the owner has crashed since.
   */
  schedule(delayMs: number, callback: () => void, owner?: EventOwner, life = 0): ScheduledEvent {
    invariant(delayMs >= 0 && delayMs < Number.POSITIVE_INFINITY, 'a delay is finite and at least 0')
    return this.#add(this.#nowMs + delayMs, this.#random.uint32(), callback, owner, life)
  }

  /** Calls `callback` at this instant, after everything else that is due at it. */
  defer(callback: () => void, owner?: EventOwner, life = 0): ScheduledEvent {
    return this.#add(this.#nowMs, deferredTie, callback, owner, life)
  }

  /** @internal Puts back an event that its owner held. It is due now. */
  release(event: ScheduledEvent): void {
    event.timeMs = this.#nowMs
    this.#push(event)
  }

  /** @internal Puts back an event that came due by true time but not yet by its owner's clock. */
  postpone(event: ScheduledEvent, delayMs: number): void {
    event.timeMs = this.#nowMs + delayMs
    this.#push(event)
  }

  /**
   * Runs pure cores: callbacks must not wait for promises, which do not go on before this returns.
   *
   * @throws whatever a callback threw, and KeelsonError `INVARIANT_VIOLATED` when an ambient clock, timer or random
   *   number was used
   */
  run(options: RunOptions = {}): RunResult {
    checkRun(options)
    this.#begin()
    const first = this.#events
    const limit = first + (options.maximumEvents ?? 100_000_000)
    try {
      for (;;) {
        if (options.stop?.() === true) return { events: this.#events - first, reason: 'stopped' }
        const event = this.#next(options.untilMs)
        if (typeof event === 'string') return { events: this.#events - first, reason: event }
        this.#execute(event, limit)
        this.afterEvent?.()
        this.#guard.check()
      }
    } finally {
      this.#end()
    }
  }

  /**
   * Runs whole compositions: after each event all promises and ticks are drained before the next one is taken.
   *
   * @throws what {@link Scheduler.run} throws; a promise rejected without a handler; real input or output that was
   *   started, because its completion is not in virtual time
   */
  async runAsync(options: RunOptions = {}): Promise<RunResult> {
    checkRun(options)
    this.#begin()
    const first = this.#events
    const limit = first + (options.maximumEvents ?? 100_000_000)
    let rejection: { readonly reason: unknown } | undefined
    const onRejection = (reason: unknown): void => {
      rejection ??= { reason }
    }
    // The run itself fails with it. A test runner's own listener would give up the test while the run goes on.
    const others = process.listeners('unhandledRejection')
    process.removeAllListeners('unhandledRejection')
    process.on('unhandledRejection', onRejection)
    try {
      return await new Promise<RunResult>((resolve, reject) => {
        const finish = (reason: RunResult['reason']): void => {
          this.#guard.checkResources()
          resolve({ events: this.#events - first, reason })
        }
        // Each turn: what the last event set off has come to rest; judge it, then take the next event.
        const turn = (): void => {
          try {
            if (rejection !== undefined) throw rejection.reason
            if (this.#events > first) this.afterEvent?.()
            this.#guard.check()
            if (this.#events % resourceCheckEvery === 0) this.#guard.checkResources()
            if (options.stop?.() === true) return finish('stopped')
            const event = this.#next(options.untilMs)
            if (typeof event === 'string') return finish(event)
            this.#execute(event, limit)
            realTurn(turn)
          } catch (error) {
            reject(error)
          }
        }
        realTurn(turn)
      })
    } finally {
      process.off('unhandledRejection', onRejection)
      for (const listener of others) process.on('unhandledRejection', listener)
      this.#end()
    }
  }

  #begin(): void {
    if (this.#running) {
      throw new KeelsonError('INVALID_ARGUMENT', 'this scheduler runs already; a callback must not run it')
    }
    this.#guard.install()
    this.#running = true
  }

  #end(): void {
    this.#running = false
    this.#guard.remove()
  }

  #execute(event: ScheduledEvent, limit: number): void {
    if (this.#events >= limit) {
      throw new KeelsonError(
        'LIMIT_EXCEEDED',
        `the simulation ran ${this.#events} events and has not come to an end; raise maximumEvents if it is meant to`,
      )
    }
    this.#events++
    const callback = event.callback as () => void
    event.callback = undefined
    callback()
  }

  /** The next event that may run, with the clock advanced to it; or why there is none. */
  #next(untilMs: number | undefined): ScheduledEvent | 'idle' | 'until' {
    const heap = this.#heap
    for (;;) {
      const event = heap[0]
      if (event === undefined) {
        if (untilMs === undefined) return 'idle'
        this.#nowMs = Math.max(this.#nowMs, untilMs)
        return 'until'
      }
      if (event.callback !== undefined && untilMs !== undefined && event.timeMs > untilMs) {
        this.#nowMs = Math.max(this.#nowMs, untilMs)
        return 'until'
      }
      this.#pop()
      if (event.callback === undefined) continue
      const owner = event.owner
      if (owner !== undefined && event.life !== 0 && event.life !== owner.life) continue
      this.#nowMs = event.timeMs
      if (owner?.paused) {
        owner.hold(event)
        continue
      }
      return event
    }
  }

  #add(
    timeMs: number,
    tie: number,
    callback: () => void,
    owner: EventOwner | undefined,
    life: number,
  ): ScheduledEvent {
    const event = new ScheduledEvent(timeMs, tie, this.#sequence++, callback, owner, life)
    this.#push(event)
    return event
  }

  #push(event: ScheduledEvent): void {
    const heap = this.#heap
    let at = heap.length
    while (at > 0) {
      const parent = (at - 1) >> 1
      const above = heap[parent] as ScheduledEvent
      if (!before(event, above)) break
      heap[at] = above
      at = parent
    }
    heap[at] = event
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop() as ScheduledEvent
    const length = heap.length
    if (length === 0) return
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= length) break
      if (child + 1 < length && before(heap[child + 1] as ScheduledEvent, heap[child] as ScheduledEvent))
        child++
      const below = heap[child] as ScheduledEvent
      if (!before(below, last)) break
      heap[at] = below
      at = child
    }
    heap[at] = last
  }
}

function before(a: ScheduledEvent, b: ScheduledEvent): boolean {
  if (a.timeMs !== b.timeMs) return a.timeMs < b.timeMs
  if (a.tie !== b.tie) return a.tie < b.tie
  return a.sequence < b.sequence
}

/** @throws KeelsonError `INVALID_OPTION` */
function checkRun(options: RunOptions): void {
  checkOptions<{ readonly [K in keyof RunOptions]-?: RunOptions[K] | undefined }>('run', options, {
    untilMs: optional(numberOption({ min: 0 })),
    stop: optional(functionOption<() => boolean>()),
    maximumEvents: optional(integerOption({ min: 1 })),
  })
}
