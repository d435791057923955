import type { Environment } from '../core/environment.ts'
import { type Logger, type LogMethod, sparingly } from '../core/logger.ts'

/** What waits for listeners at most; then the oldest is dropped. */
const maximumWaiting = 10_000

/** How long listeners are called in one turn of the event loop before packets and timers get theirs. */
const turnMs = 4

/** A listener that takes longer than this is named in the log. */
const slowMs = 50

/**
 * Hands events to listeners apart from the protocol: in later turns, and never for long in one, so that slow listeners hold up
 * neither answers to others nor the protocol's own timers more than they must.
 */
export class Deliveries {
  readonly #env: Environment
  readonly #complain: LogMethod
  #waiting: (() => void)[] = []
  #at = 0
  #planned = false
  #closed = false
  #dropped = 0

  constructor(env: Environment, logger: Logger) {
    this.#env = env
    this.#complain = sparingly(env.clock, logger.warn.bind(logger))
  }

  /** What was dropped because listeners were too slow. */
  get dropped(): number {
    return this.#dropped
  }

  /** Calls `deliver` in a later turn, after everything that was added before. */
  add(deliver: () => void): void {
    if (this.#closed) return
    if (this.#waiting.length - this.#at >= maximumWaiting) {
      this.#at++
      this.#dropped++
      this.#complain(
        { dropped: this.#dropped },
        'listeners of SWIM are too slow: the oldest events are dropped',
      )
    }
    // What was called makes room, also when the queue is never empty.
    if (this.#at >= maximumWaiting) {
      this.#waiting = this.#waiting.slice(this.#at)
      this.#at = 0
    }
    this.#waiting.push(deliver)
    this.#plan()
  }

  close(): void {
    this.#closed = true
    this.#waiting = []
    this.#at = 0
  }

  #plan(): void {
    if (this.#planned) return
    this.#planned = true
    this.#env.timers.defer(() => {
      this.#planned = false
      this.#turn()
    })
  }

  #turn(): void {
    const { clock } = this.#env
    const startedMs = clock.monotonicMs()
    let nowMs = startedMs
    while (this.#at < this.#waiting.length && nowMs - startedMs < turnMs) {
      const deliver = this.#waiting[this.#at++] as () => void
      deliver()
      const afterMs = clock.monotonicMs()
      if (afterMs - nowMs > slowMs)
        this.#complain({ tookMs: Math.round(afterMs - nowMs) }, 'a listener of SWIM held up its process')
      nowMs = afterMs
    }
    if (this.#at >= this.#waiting.length) {
      this.#waiting = []
      this.#at = 0
    } else this.#plan()
  }
}
