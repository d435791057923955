import { joinSignals, sleep } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError, toKeelsonError } from '../core/errors.ts'
import type { RangeHost, WantedRange } from '../interfaces/range-host.ts'

const retryMs = 250
const maximumRetryMs = 2_000

/**
 * Has a host make so what is wanted of its node: always the newest picture, as a whole, and again until it is done. A newer
 * picture ends the work on the one before.
 */
export class Reconciler {
  readonly #env: Environment
  readonly #host: RangeHost
  readonly #closing: AbortSignal
  readonly #done: () => void
  #pending: readonly WantedRange[] | undefined
  #current: AbortController | undefined
  #running: Promise<void> | undefined

  /** `done` is called after each attempt. */
  constructor(env: Environment, host: RangeHost, closing: AbortSignal, done: () => void) {
    this.#env = env
    this.#host = host
    this.#closing = closing
    this.#done = done
  }

  /** All that is wanted of the node from now on. */
  want(wanted: readonly WantedRange[]): void {
    this.#pending = wanted
    this.#current?.abort(new KeelsonError('ABORTED', 'something newer is wanted'))
    this.#running ??= this.#run()
  }

  /** Resolves when nothing is being made so. */
  async idle(): Promise<void> {
    await this.#running
  }

  async #run(): Promise<void> {
    let delayMs = retryMs
    while (this.#pending !== undefined && !this.#closing.aborted) {
      const wanted = this.#pending
      this.#pending = undefined
      const newer = new AbortController()
      this.#current = newer
      const { signal, release } = joinSignals(newer.signal, this.#closing)
      try {
        await this.#host.reconcile(wanted, {
          signal,
          progress: (message) => this.#env.logger.debug({ message }, 'reconciling'),
        })
        delayMs = retryMs
      } catch (thrown) {
        if (!signal.aborted) {
          const error = toKeelsonError(thrown).toJSON()
          this.#env.logger.warn({ error }, 'what is wanted of this node is not done yet')
          // The same picture again, unless a newer one comes.
          await sleep(this.#env.timers, delayMs, this.#closing).catch(() => {})
          delayMs = Math.min(delayMs * 2, maximumRetryMs)
          this.#pending ??= wanted
        }
      } finally {
        release()
        this.#current = undefined
      }
      this.#done()
    }
    this.#running = undefined
  }
}
