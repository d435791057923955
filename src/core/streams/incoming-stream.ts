import { type Deferred, deferred } from '../async.ts'
import { copyBytes } from '../bytes.ts'
import { KeelsonError } from '../errors.ts'
import { chunkCost, type StreamWire } from './stream-wire.ts'

/** The receiving end: holds what the consumer has not taken yet, and grants room as it takes. */
export class IncomingStream implements AsyncIterableIterator<Uint8Array> {
  readonly #id: number
  readonly #wire: StreamWire
  readonly #windowBytes: number
  readonly #chunks: Uint8Array[] = []
  #received = 0
  #taken = 0
  #granted: number
  #ended = false
  #left = false
  #error: KeelsonError | undefined
  #waiter: Deferred<IteratorResult<Uint8Array>> | undefined

  constructor(id: number, wire: StreamWire, windowBytes: number) {
    this.#id = id
    this.#wire = wire
    this.#windowBytes = windowBytes
    this.#granted = windowBytes
    wire.send({ type: 'credit', id, limit: windowBytes })
  }

  /** Takes a chunk off the wire. @throws KeelsonError `MALFORMED` beyond the credit or after the end */
  push(bytes: Uint8Array): void {
    if (this.#left || this.#error !== undefined) return
    if (this.#ended) throw new KeelsonError('MALFORMED', 'a stream went on after its end')
    if (this.#received >= this.#granted)
      throw new KeelsonError('MALFORMED', 'a stream went beyond its credit')
    const chunk = copyBytes(bytes)
    this.#received += chunkCost(chunk)
    if (this.#waiter === undefined) {
      this.#chunks.push(chunk)
      return
    }
    const waiter = this.#waiter
    this.#waiter = undefined
    this.#take(chunk)
    waiter.resolve({ value: chunk, done: false })
  }

  /** The sender has sent everything. */
  end(): void {
    this.#ended = true
    this.#waiter?.resolve({ value: undefined, done: true })
    this.#waiter = undefined
  }

  /** The consumer gets the chunks that are here, then the error. */
  fail(error: KeelsonError): void {
    if (this.#ended || this.#error !== undefined) return
    this.#error = error
    this.#waiter?.reject(error)
    this.#waiter = undefined
  }

  /** Nobody reads on. */
  discard(): void {
    this.#left = true
    this.#chunks.length = 0
    this.#waiter?.resolve({ value: undefined, done: true })
    this.#waiter = undefined
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    const chunk = this.#chunks.shift()
    if (chunk !== undefined) {
      this.#take(chunk)
      return { value: chunk, done: false }
    }
    if (this.#error !== undefined) throw this.#error
    if (this.#ended || this.#left) return { value: undefined, done: true }
    if (this.#waiter !== undefined) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        'one consumer at a time may wait for a chunk; await the last one first',
      )
    }
    this.#waiter = deferred<IteratorResult<Uint8Array>>()
    return this.#waiter.promise
  }

  async return(): Promise<IteratorResult<Uint8Array>> {
    this.discard()
    return { value: undefined, done: true }
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<Uint8Array> {
    return this
  }

  /** Grants in quarters of the window, so that small chunks do not cost an answer each. */
  #take(chunk: Uint8Array): void {
    this.#taken += chunkCost(chunk)
    const limit = this.#taken + this.#windowBytes
    if (this.#ended || this.#error !== undefined || limit - this.#granted < this.#windowBytes / 4) return
    this.#granted = limit
    this.#wire.send({ type: 'credit', id: this.#id, limit })
  }
}
