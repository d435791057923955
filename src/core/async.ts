import { setMaxListeners } from 'node:events'
import type { Timers } from './clock.ts'
import { KeelsonError } from './errors.ts'

/** What every call that waits takes. */
export interface CallOptions {
  /** Ends the wait. What had already been handed on may still take effect: the error's `outcome` says so. */
  readonly signal?: AbortSignal
}

/** A promise with its two ends in hand. */
export interface Deferred<T> {
  /** The promise itself. */
  readonly promise: Promise<T>
  /** Fulfils the promise; without effect once it is settled. */
  readonly resolve: (value: T) => void
  /** Rejects the promise; without effect once it is settled. */
  readonly reject: (error: unknown) => void
}

/** Makes a {@link Deferred}. */
export function deferred<T>(): Deferred<T> {
  let resolve!: (value: T) => void
  let reject!: (error: unknown) => void
  const promise = new Promise<T>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}

/** The error of an aborted call. A keelson error given as the signal's reason is passed on as it is. */
export function abortError(signal: AbortSignal, outcome: 'none' | 'unknown' = 'none'): KeelsonError {
  if (KeelsonError.is(signal.reason)) return signal.reason
  return new KeelsonError('ABORTED', 'the call was aborted by its signal', { cause: signal.reason, outcome })
}

/** @throws KeelsonError `ABORTED` */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortError(signal)
}

/**
 * Calls `listener` once when the signal is aborted, which it must not be yet.
 *
 * @returns takes the listener away; call it when the work is done, or the signal keeps it for as long as it lives
 */
export function onAbort(signal: AbortSignal, listener: () => void): () => void {
  // One signal ends any number of waits, so Node's warning about more than ten would be a false alarm.
  setMaxListeners(0, signal)
  signal.addEventListener('abort', listener, { once: true })
  return () => signal.removeEventListener('abort', listener)
}

/** Resolves when the signal is aborted, at once if it is already. */
export async function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  const aborted = deferred<void>()
  onAbort(signal, () => aborted.resolve())
  await aborted.promise
}

/**
 * `promise`, or an error as soon as the signal is aborted. The promise goes on by itself and its late failure is
 * handled. `outcome` is what an abort means for the effect of the call.
 *
 * @throws KeelsonError `ABORTED`
 */
export async function abortable<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
  outcome: 'none' | 'unknown' = 'none',
): Promise<T> {
  if (signal === undefined) return promise
  promise.catch(() => {})
  if (signal.aborted) throw abortError(signal, outcome)
  const aborted = deferred<never>()
  const release = onAbort(signal, () => aborted.reject(abortError(signal, outcome)))
  try {
    return await Promise.race([promise, aborted.promise])
  } finally {
    release()
  }
}

/** Waits. @throws KeelsonError `ABORTED` */
export async function sleep(timers: Timers, delayMs: number, signal?: AbortSignal): Promise<void> {
  const done = deferred<void>()
  const timer = timers.schedule(delayMs, () => done.resolve())
  try {
    await abortable(done.promise, signal)
  } finally {
    timer.cancel()
  }
}

/**
 * A signal that is aborted by any of `signals`, or after `timeoutMs` with the error that `onTimeout` makes. Call
 * `release` when the work is done, or the timer and the listeners stay.
 */
export function deadline(
  timers: Timers,
  timeoutMs: number,
  onTimeout: () => KeelsonError,
  ...signals: readonly (AbortSignal | undefined)[]
): {
  /** Aborted by whatever comes first, with its reason. */
  readonly signal: AbortSignal
  /** Takes the timer and the listeners away. */
  readonly release: () => void
} {
  const controller = new AbortController()
  const timer = timers.schedule(timeoutMs, () => controller.abort(onTimeout()))
  const leave = follow(controller, signals)
  return {
    signal: controller.signal,
    release: () => {
      timer.cancel()
      leave()
    },
  }
}

/**
 * A signal that is aborted by any of `signals`, with its reason. Call `release` when the work is done, or the listeners
 * stay with the signals that live longer.
 */
export function joinSignals(...signals: readonly (AbortSignal | undefined)[]): {
  /** Aborted by whatever comes first. */
  readonly signal: AbortSignal
  /** Takes the listeners away. */
  readonly release: () => void
} {
  const controller = new AbortController()
  return { signal: controller.signal, release: follow(controller, signals) }
}

/** Aborts the controller with the first of the signals. @returns what takes the listeners away */
function follow(controller: AbortController, signals: readonly (AbortSignal | undefined)[]): () => void {
  const releases: (() => void)[] = []
  for (const signal of signals) {
    if (signal === undefined) continue
    if (signal.aborted) {
      controller.abort(signal.reason)
      break
    }
    releases.push(onAbort(signal, () => controller.abort(signal.reason)))
  }
  return () => {
    for (const release of releases) release()
  }
}

/**
 * Runs asynchronous tasks strictly one after the other, in the order in which they were given: the owner of a state
 * that awaits. A task that fails fails alone. At most `limit` tasks wait.
 */
export class SerialExecutor {
  readonly #limit: number
  #tail: Promise<unknown> = Promise.resolve()
  #waiting = 0

  /** `limit` tasks may wait; `run` refuses further ones. */
  constructor(limit = 10_000) {
    this.#limit = limit
  }

  /** @throws KeelsonError `OVERLOADED` when the queue is full */
  async run<T>(task: () => Promise<T> | T): Promise<T> {
    if (this.#waiting >= this.#limit) {
      throw new KeelsonError('OVERLOADED', `${this.#limit} tasks wait already; try again later`)
    }
    this.#waiting++
    const result = this.#tail.then(() => {
      this.#waiting--
      return task()
    })
    this.#tail = result.catch(() => {})
    return result
  }

  /** Resolves when everything that was given so far has ended. */
  async idle(): Promise<void> {
    await this.#tail
  }
}

/**
 * A bounded queue between a producer that does not wait and a consumer that iterates. A full queue refuses: what then
 * is lost or restarted is the producer's decision.
 */
export class AsyncQueue<T> implements AsyncIterableIterator<T> {
  readonly #limit: number
  readonly #items: T[] = []
  #waiter: Deferred<IteratorResult<T>> | undefined
  #ended = false
  #error: Error | undefined
  readonly #onReturn: (() => void) | undefined

  /** `onReturn` is called when the consumer leaves its loop. */
  constructor(limit: number, onReturn?: () => void) {
    this.#limit = limit
    this.#onReturn = onReturn
  }

  /** Items that wait for the consumer. */
  get size(): number {
    return this.#items.length
  }

  /** False when the queue is full or ended; the item was not taken. */
  push(item: T): boolean {
    if (this.#ended) return false
    if (this.#waiter !== undefined) {
      const waiter = this.#waiter
      this.#waiter = undefined
      waiter.resolve({ value: item, done: false })
      return true
    }
    if (this.#items.length >= this.#limit) return false
    this.#items.push(item)
    return true
  }

  /** Ends the iteration after the items that are queued. */
  end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#waiter?.resolve({ value: undefined, done: true })
    this.#waiter = undefined
  }

  /** Ends the iteration with an error, after the items that are queued. */
  fail(error: Error): void {
    if (this.#ended) return
    this.#ended = true
    if (this.#waiter !== undefined) {
      this.#waiter.reject(error)
      this.#waiter = undefined
      return
    }
    this.#error = error
  }

  /**
   * The next item, as soon as there is one. Rejects with the error of a queue that has failed once what was
   * queued before is taken.
   */
  async next(): Promise<IteratorResult<T>> {
    if (this.#items.length > 0) return { value: this.#items.shift() as T, done: false }
    if (this.#error !== undefined) {
      const error = this.#error
      this.#error = undefined
      throw error
    }
    if (this.#ended) return { value: undefined, done: true }
    if (this.#waiter !== undefined) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        'one consumer at a time may wait for this queue; await its value first',
      )
    }
    this.#waiter = deferred<IteratorResult<T>>()
    return this.#waiter.promise
  }

  /** Ends the queue and drops what it holds: what leaving a `for await` loop does. */
  async return(): Promise<IteratorResult<T>> {
    this.end()
    this.#items.length = 0
    this.#onReturn?.()
    return { value: undefined, done: true }
  }

  /** The queue itself: it has one consumer. */
  [Symbol.asyncIterator](): AsyncIterableIterator<T> {
    return this
  }
}

/**
 * What has to be undone when a composition closes, or when opening it fails half-way: run in reverse order, each once,
 * every one even if others fail.
 */
export class Cleanup {
  readonly #steps: (() => Promise<void> | void)[] = []
  #running: Promise<void> | undefined

  /** Adds a step, to be run before all that were added earlier. */
  add(step: () => Promise<void> | void): void {
    this.#steps.push(step)
  }

  /** Adds the closing of a resource and returns it. */
  use<T extends AsyncDisposable>(resource: T): T {
    this.add(async () => resource[Symbol.asyncDispose]())
    return resource
  }

  /** Runs all steps. Idempotent. @throws the first error, after the last step */
  async run(): Promise<void> {
    this.#running ??= this.#runAll()
    return this.#running
  }

  async #runAll(): Promise<void> {
    let failed: { readonly error: unknown } | undefined
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step()
      } catch (error) {
        failed ??= { error }
      }
    }
    if (failed !== undefined) throw failed.error
  }
}
