import { onAbort, sleep } from './async.ts'
import type { Timers } from './clock.ts'
import { KeelsonError, toKeelsonError } from './errors.ts'
import type { Logger } from './logger.ts'

/**
 * The life of something that works in the background until it is asked to stop, or cannot go on: one signal that ends all
 * its waits, and one reason.
 */
export class Lifetime {
  readonly #logger: Logger
  readonly #name: string
  readonly #stop = new AbortController()
  readonly #unlink: () => void
  #error: KeelsonError | undefined

  /** `name` is what messages call it, such as "the job runner". It stops when `signal` is aborted. */
  constructor(logger: Logger, name: string, signal: AbortSignal | undefined) {
    this.#logger = logger
    this.#name = name
    const stop = (): void => this.stop()
    this.#unlink = signal === undefined ? () => {} : onAbort(signal, stop)
    if (signal?.aborted === true) stop()
  }

  /** Aborted when it stops: with the error that it stops for, or with `CLOSED`. */
  get signal(): AbortSignal {
    return this.#stop.signal
  }

  /** Stops it, for `error` when it cannot go on. Only the first reason counts. */
  stop(error?: KeelsonError): void {
    if (this.signal.aborted) return
    this.#error = error
    this.#stop.abort(error ?? new KeelsonError('CLOSED', `${this.#name} was closed`))
    if (error !== undefined) this.#logger.warn({ error: error.toJSON() }, `${this.#name} stops`)
  }

  /**
   * Runs its parts side by side; a part that throws stops the others.
   *
   * @returns after the last part: the error that it stopped for, or undefined when it was asked to stop
   */
  async run(...parts: readonly (() => Promise<void>)[]): Promise<KeelsonError | undefined> {
    const guarded = async (part: () => Promise<void>): Promise<void> => {
      try {
        await part()
      } catch (thrown) {
        this.stop(toKeelsonError(thrown))
      }
    }
    await Promise.all(parts.map(guarded))
    this.#unlink()
    return this.#error
  }

  /**
   * One round after the other until it stops, `intervalMs` between them. A round that fails and may be tried again is left
   * to the next one.
   *
   * @throws what a round throws that is not retryable
   */
  async rounds(timers: Timers, intervalMs: number, round: () => Promise<void>): Promise<void> {
    while (!this.signal.aborted) {
      try {
        await round()
      } catch (thrown) {
        const error = toKeelsonError(thrown)
        if (this.signal.aborted) return
        if (!error.retryable) throw error
        this.#logger.debug({ error: error.toJSON() }, `a round of ${this.#name} failed; the next one comes`)
      }
      await sleep(timers, intervalMs, this.signal)
    }
  }
}
