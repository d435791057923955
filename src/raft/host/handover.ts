import { type Deferred, deferred } from '../../core/async.ts'

/**
 * Hands items to a consumer that iterates, one at a time: `push` resolves when the consumer is done with the item and asks
 * for the next one, so that nothing piles up and the item may be a view into something that is used again.
 */
export class Handover<T> implements AsyncIterableIterator<T> {
  #item: { readonly value: T; readonly done: Deferred<boolean> } | undefined
  /** The item that the consumer has. */
  #taken: Deferred<boolean> | undefined
  #waiter: Deferred<IteratorResult<T>> | undefined
  #over: { readonly error: unknown } | undefined
  #left = false

  /** @returns whether the consumer asked for more; false when it left, or the handover is over */
  async push(value: T): Promise<boolean> {
    if (this.#left || this.#over !== undefined) return false
    const done = deferred<boolean>()
    const waiter = this.#waiter
    if (waiter === undefined) this.#item = { value, done }
    else {
      this.#waiter = undefined
      this.#taken = done
      waiter.resolve({ value, done: false })
    }
    return done.promise
  }

  /** There is nothing more. */
  end(): void {
    this.#finish(undefined)
  }

  /** There will be nothing more: the consumer gets the error when it asks, whatever was pushed before. */
  fail(error: unknown): void {
    this.#finish(error)
  }

  async next(): Promise<IteratorResult<T>> {
    this.#taken?.resolve(true)
    this.#taken = undefined
    if (this.#over !== undefined) {
      if (this.#over.error !== undefined) throw this.#over.error
      return { value: undefined, done: true }
    }
    const item = this.#item
    if (item === undefined) {
      this.#waiter = deferred<IteratorResult<T>>()
      return this.#waiter.promise
    }
    this.#item = undefined
    this.#taken = item.done
    return { value: item.value, done: false }
  }

  /** The consumer leaves. */
  async return(): Promise<IteratorResult<T>> {
    this.#left = true
    this.#release()
    return { value: undefined, done: true }
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<T> {
    return this
  }

  #finish(error: unknown): void {
    if (this.#over !== undefined) return
    this.#over = { error }
    const waiter = this.#waiter
    this.#waiter = undefined
    if (error === undefined) waiter?.resolve({ value: undefined, done: true })
    else waiter?.reject(error)
    this.#release()
  }

  #release(): void {
    this.#item?.done.resolve(false)
    this.#taken?.resolve(false)
    this.#item = undefined
    this.#taken = undefined
  }
}
