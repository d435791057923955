import type { TimerHandle } from '../../core/clock.ts'
import type { Environment } from '../../core/environment.ts'

/** Something that must be over by a time. */
export interface Dated {
  readonly deadlineMs: number
}

const granularityMs = 5

/**
 * One timer for many deadlines: most calls are answered long before theirs, so none of them pays for a timer of its own.
 * Deadlines are met up to 5 ms late. The timer stays when nothing is left: the next call mostly comes soon, and ends later.
 */
export class Deadlines<T extends Dated> {
  readonly #env: Environment
  readonly #pending: () => Iterable<T>
  readonly #expire: (item: T) => void
  #timer: TimerHandle | undefined
  #timerAtMs = Number.POSITIVE_INFINITY

  constructor(env: Environment, pending: () => Iterable<T>, expire: (item: T) => void) {
    this.#env = env
    this.#pending = pending
    this.#expire = expire
  }

  /** To be called for each new item. */
  watch(item: T): void {
    if (item.deadlineMs < this.#timerAtMs) this.#schedule(item.deadlineMs)
  }

  cancel(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#timerAtMs = Number.POSITIVE_INFINITY
  }

  #schedule(atMs: number): void {
    this.#timer?.cancel()
    this.#timerAtMs = atMs
    const delayMs = Math.max(0, atMs - this.#env.clock.monotonicMs())
    // The answers that came in while this process was stopped are taken before anything is called late.
    this.#timer = this.#env.timers.schedule(delayMs, () => this.#env.timers.defer(() => this.#fire()))
  }

  #fire(): void {
    if (this.#timer === undefined) return
    this.cancel()
    const now = this.#env.clock.monotonicMs()
    const late: T[] = []
    let next = Number.POSITIVE_INFINITY
    for (const item of this.#pending()) {
      if (item.deadlineMs <= now) late.push(item)
      else next = Math.min(next, item.deadlineMs)
    }
    if (next !== Number.POSITIVE_INFINITY) this.#schedule(Math.max(next, now + granularityMs))
    for (const item of late) this.#expire(item)
  }
}
