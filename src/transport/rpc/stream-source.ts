import { sleep } from '../../core/async.ts'
import type { Timers } from '../../core/clock.ts'
import type { KeelsonError } from '../../core/errors.ts'
import { Change, chunkCost } from '../../core/streams/stream-wire.ts'
import type { RpcFrame } from './frames.ts'

/** What a source is made of. */
export interface RpcStreamSourceParts {
  readonly id: number
  readonly timers: Timers
  readonly start: (signal: AbortSignal) => AsyncIterable<Uint8Array>
  /** False when the peer's queue is full. */
  readonly send: (frame: RpcFrame) => boolean
  /** Throws for an item that cannot be sent. */
  readonly checkItem: (item: unknown) => void
  /** What the peer may learn of something that was thrown. */
  readonly failure: (thrown: unknown) => KeelsonError
  /** Called once, with the frame that tells the peer, unless the peer itself ended the stream. */
  readonly finished: (last: RpcFrame | undefined) => void
}

const retryMs = 5
const maximumSilences = 4

/** The sending end of a remote stream: takes items from the handler while the caller has room. */
export class RpcStreamSource {
  readonly #parts: RpcStreamSourceParts
  readonly #controller = new AbortController()
  readonly #change = new Change()
  #onStop: () => void = () => {}
  #limit = 0
  #cost = 0
  #sent = 0
  #silences = 0

  constructor(parts: RpcStreamSourceParts) {
    this.#parts = parts
  }

  /** Items sent so far. */
  get sent(): number {
    return this.#sent
  }

  run(): void {
    void this.#run()
  }

  /** The caller grants room, and lives. */
  credit(limit: number): void {
    this.#silences = 0
    if (limit <= this.#limit) return
    this.#limit = limit
    this.#change.notify()
  }

  /** The caller does not want more, or cannot be reached. */
  stop(reason: KeelsonError): void {
    this.#controller.abort(reason)
    this.#onStop()
    this.#change.notify()
  }

  /** To be called at intervals; true when the caller was silent for several of them. */
  deserted(): boolean {
    this.#silences++
    return this.#silences > maximumSilences
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    const { id, start, failure, finished } = this.#parts
    let iterator: AsyncIterator<Uint8Array> | undefined
    try {
      iterator = start(this.#controller.signal)[Symbol.asyncIterator]()
      for (;;) {
        await this.#room()
        const result = await this.#next(iterator)
        if (result === undefined || this.#controller.signal.aborted) break
        if (result.done === true) {
          finished({ type: 'end', id, sequence: this.#sent })
          return
        }
        this.#parts.checkItem(result.value)
        await this.#send(result.value)
      }
    } catch (thrown) {
      finished({ type: 'error', id, error: failure(thrown) })
    }
    // Whatever the handler holds is released; what it says to that concerns nobody.
    try {
      iterator?.return?.()?.catch(() => {})
    } catch {
      // A synchronous failure of the same kind.
    }
    finished(undefined)
  }

  async #room(): Promise<void> {
    while (this.#cost >= this.#limit && !this.#controller.signal.aborted) await this.#change.next
  }

  /**
   * The next item, or undefined at once when the stream is stopped: a handler that ignores its signal is left behind.
   * Not a race of promises, in which the longer-lived one would collect a reaction per item.
   */
  #next(iterator: AsyncIterator<Uint8Array>): Promise<IteratorResult<Uint8Array> | undefined> {
    return new Promise((resolve, reject) => {
      this.#onStop = () => resolve(undefined)
      if (this.#controller.signal.aborted) resolve(undefined)
      else iterator.next().then(resolve, reject)
    })
  }

  async #send(item: Uint8Array): Promise<void> {
    const frame: RpcFrame = { type: 'item', id: this.#parts.id, sequence: this.#sent + 1, body: item }
    this.#cost += chunkCost(item)
    while (!this.#controller.signal.aborted) {
      if (this.#parts.send(frame)) {
        this.#sent++
        return
      }
      await sleep(this.#parts.timers, retryMs)
    }
  }
}
