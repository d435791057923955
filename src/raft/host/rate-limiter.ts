import { abortable, type Deferred, deferred } from '../../core/async.ts'
import type { TimerHandle } from '../../core/clock.ts'
import type { Environment } from '../../core/environment.ts'

interface Waiting {
  readonly bytes: number
  readonly turn: Deferred<void>
}

/**
 * Lets bytes pass at a rate, in the order in which they ask: the first at once, each later one when those before it are
 * through. Who leaves before its turn has used up nothing.
 */
export class RateLimiter {
  readonly #env: Environment
  readonly #bytesPerSecond: number
  #queue: Waiting[] = []
  #freeMs = Number.NEGATIVE_INFINITY
  #timer: TimerHandle | undefined

  constructor(env: Environment, bytesPerSecond: number) {
    this.#env = env
    this.#bytesPerSecond = bytesPerSecond
  }

  /** Waits for the turn of so many bytes. @throws KeelsonError `ABORTED`, or the reason of the signal */
  async take(bytes: number, signal?: AbortSignal): Promise<void> {
    const waiting: Waiting = { bytes, turn: deferred<void>() }
    this.#queue.push(waiting)
    this.#next()
    try {
      await abortable(waiting.turn.promise, signal)
    } finally {
      // Without effect on one whose turn has come.
      this.#queue = this.#queue.filter((other) => other !== waiting)
    }
  }

  #next(): void {
    if (this.#timer !== undefined) return
    const nowMs = this.#env.clock.monotonicMs()
    for (let head = this.#queue[0]; head !== undefined; head = this.#queue[0]) {
      if (this.#freeMs > nowMs) {
        this.#timer = this.#env.timers.schedule(this.#freeMs - nowMs, () => {
          this.#timer = undefined
          this.#next()
        })
        return
      }
      this.#queue.shift()
      this.#freeMs = Math.max(nowMs, this.#freeMs) + (head.bytes * 1_000) / this.#bytesPerSecond
      head.turn.resolve()
    }
  }
}
