import { setImmediate } from 'node:timers/promises'
import {
  type Environment,
  type Logger,
  MetricsRegistry,
  SeededRandom,
  silentLogger,
  type TimerHandle,
} from '../../src/core/index.ts'

interface Timer {
  readonly atMs: number
  readonly order: number
  readonly callback: () => void
}

/**
 * One process's virtual time for tests of one module: nothing waits for real, and what becomes ready runs before time
 * moves on.
 */
export class VirtualTime {
  #nowMs = 0
  #order = 0
  #timers: Timer[] = []
  readonly env: Environment

  constructor(seed = 1, logger: Logger = silentLogger) {
    this.env = {
      clock: { monotonicMs: () => this.#nowMs, wallMs: () => 1_700_000_000_000 + this.#nowMs },
      timers: {
        schedule: (delayMs, callback) => this.#schedule(delayMs, callback),
        defer: (callback) => void this.#schedule(0, callback),
      },
      random: new SeededRandom(seed),
      logger,
      metrics: new MetricsRegistry(),
    }
  }

  get nowMs(): number {
    return this.#nowMs
  }

  #schedule(delayMs: number, callback: () => void): TimerHandle {
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, callback }
    this.#timers.push(timer)
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((each) => each !== timer)
      },
    }
  }

  /** Lets everything run that waits for no timer. */
  async settle(): Promise<void> {
    for (let i = 0; i < 3; i++) await setImmediate()
  }

  /** Moves time on by `ms`, one timer after the other. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms
    for (;;) {
      await this.settle()
      const next = this.#next()
      if (next === undefined || next.atMs > untilMs) break
      this.#fire(next)
    }
    this.#nowMs = untilMs
  }

  /** Moves time on until the promise is settled, by at most `limitMs`. */
  async until<T>(promise: Promise<T>, limitMs = 3_600_000): Promise<T> {
    let settled = false
    const seen = promise.then(
      () => {
        settled = true
      },
      () => {
        settled = true
      },
    )
    const limit = this.#nowMs + limitMs
    for (;;) {
      await this.settle()
      if (settled) {
        await seen
        return promise
      }
      const next = this.#next()
      if (next === undefined)
        throw new Error('nothing will ever happen again, and the promise is not settled')
      if (next.atMs > limit) throw new Error(`the promise is not settled after ${limitMs} ms`)
      this.#fire(next)
    }
  }

  /** Moves time on until the condition holds. */
  async untilTrue(
    what: string,
    condition: () => boolean | Promise<boolean>,
    limitMs = 3_600_000,
  ): Promise<void> {
    const limit = this.#nowMs + limitMs
    for (;;) {
      await this.settle()
      if (await condition()) return
      const next = this.#next()
      if (next === undefined || next.atMs > limit) throw new Error(`it never came true: ${what}`)
      this.#fire(next)
    }
  }

  #next(): Timer | undefined {
    let best: Timer | undefined
    for (const timer of this.#timers) {
      if (
        best === undefined ||
        timer.atMs < best.atMs ||
        (timer.atMs === best.atMs && timer.order < best.order)
      ) {
        best = timer
      }
    }
    return best
  }

  #fire(timer: Timer): void {
    this.#timers = this.#timers.filter((each) => each !== timer)
    this.#nowMs = Math.max(this.#nowMs, timer.atMs)
    timer.callback()
  }
}
