import type { Environment } from '../../../src/core/environment.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { MetricsRegistry } from '../../../src/core/metrics.ts'
import { SeededRandom } from '../../../src/core/random.ts'

interface Timer {
  readonly atMs: number
  readonly order: number
  readonly callback: () => void
  cancelled: boolean
}

/**
 * Virtual time that passes by itself: as soon as all promises have settled, the clock jumps to the next timer. Clocks of
 * several nodes on one timeline may run at different rates.
 */
export class VirtualTime {
  #nowMs = 1_000
  #order = 0
  readonly #timers: Timer[] = []
  #pumping = false

  get nowMs(): number {
    return this.#nowMs
  }

  /** An environment whose clock runs `rate` times as fast as the timeline. */
  environment(seed = 1, rate = 1): Environment {
    return {
      clock: { monotonicMs: () => this.#nowMs * rate, wallMs: () => 1.7e12 + this.#nowMs * rate },
      timers: {
        schedule: (delayMs, callback) => this.#schedule(Math.max(0, delayMs) / rate, callback),
        defer: (callback) => void this.#schedule(0, callback),
      },
      random: new SeededRandom(seed),
      logger: silentLogger,
      metrics: new MetricsRegistry(),
    }
  }

  #schedule(delayMs: number, callback: () => void): { cancel(): void } {
    const timer = { atMs: this.#nowMs + delayMs, order: this.#order++, callback, cancelled: false }
    this.#timers.push(timer)
    this.#pump()
    return {
      cancel: () => {
        timer.cancelled = true
      },
    }
  }

  #pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    // A turn of the real event loop lets every promise settle first.
    setImmediate(() => {
      this.#pumping = false
      const live = this.#timers.filter((timer) => !timer.cancelled)
      live.sort((a, b) => a.atMs - b.atMs || a.order - b.order)
      const next = live.shift()
      this.#timers.splice(0, this.#timers.length, ...live)
      if (next === undefined) return
      this.#nowMs = Math.max(this.#nowMs, next.atMs)
      this.#pump()
      next.callback()
    })
  }
}
