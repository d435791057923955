import { checkBytes } from '../arguments.ts'
import { abortable, type CallOptions, throwIfAborted } from '../async.ts'
import { KeelsonError } from '../errors.ts'
import { checkCall } from '../options.ts'
import type { OutgoingStream } from './outgoing.ts'
import { Change, chunkCost, type StreamWire } from './stream-wire.ts'

/** The sending end: writes while the receiver's credit and the connection's queue have room. */
export class OutgoingStreamEnd implements OutgoingStream {
  readonly #id: number
  readonly #wire: StreamWire
  readonly #maximumChunkBytes: number
  readonly #onClosed: () => void
  readonly #change = new Change()
  #limit = 0
  #sent = 0
  #ending = false
  #done = false
  #error: KeelsonError | undefined

  constructor(id: number, wire: StreamWire, maximumChunkBytes: number, onClosed: () => void) {
    this.#id = id
    this.#wire = wire
    this.#maximumChunkBytes = maximumChunkBytes
    this.#onClosed = onClosed
  }

  /** Resolves when the receiver has accepted the stream. */
  async opened(options: CallOptions): Promise<void> {
    throwIfAborted(options.signal)
    while (this.#limit === 0 && !this.#done) {
      if (this.#error !== undefined) throw this.#error
      await abortable(this.#change.next, options.signal)
    }
  }

  async write(chunk: Uint8Array, options: CallOptions = {}): Promise<void> {
    checkBytes(chunk, 'a chunk of a stream')
    checkCall('write', options)
    throwIfAborted(options.signal)
    if (chunk.length > this.#maximumChunkBytes) {
      throw new KeelsonError(
        'LIMIT_EXCEEDED',
        `a chunk of a stream has at most ${this.#maximumChunkBytes} bytes, not ${chunk.length}; write it in parts`,
      )
    }
    await this.#welcome(options, 'none')
    this.#sent += chunkCost(chunk)
    this.#wire.send({ type: 'data', id: this.#id, bytes: chunk })
    await this.#welcome(options, 'unknown')
  }

  async end(options: CallOptions = {}): Promise<void> {
    checkCall('end', options)
    throwIfAborted(options.signal)
    if (!this.#ending && this.#open) {
      this.#ending = true
      this.#wire.send({ type: 'end', id: this.#id })
    }
    while (!this.#done) {
      if (this.#error !== undefined) throw this.#error
      await abortable(this.#change.next, options.signal, 'unknown')
    }
  }

  destroy(): void {
    if (!this.#open) return
    this.#wire.send({ type: 'reset', id: this.#id })
    this.fail(new KeelsonError('ABORTED', 'the stream was destroyed', { outcome: 'unknown' }))
  }

  /** The receiver grants room. Grants never shrink. */
  credit(limit: number): void {
    this.#limit = Math.max(this.#limit, limit)
    this.#change.notify()
  }

  /** The receiver's handler returned. */
  done(): void {
    if (!this.#open) return
    this.#done = true
    this.#onClosed()
    this.#change.notify()
  }

  /** The stream cannot go on. */
  fail(error: KeelsonError): void {
    if (!this.#open) return
    this.#error = error
    this.#onClosed()
    this.#change.notify()
  }

  get #open(): boolean {
    return !this.#done && this.#error === undefined
  }

  /** Waits for credit and for room in the connection's queue. */
  async #welcome(options: CallOptions, outcome: 'none' | 'unknown'): Promise<void> {
    for (;;) {
      if (this.#error !== undefined) throw this.#error
      if (this.#done) throw new KeelsonError('ABORTED', 'the receiver has left the stream', { outcome })
      if (this.#ending)
        throw new KeelsonError('INVALID_ARGUMENT', 'the stream was ended already; open another one')
      if (this.#sent >= this.#limit) {
        await abortable(this.#change.next, options.signal, outcome)
        continue
      }
      const room = this.#wire.room()
      if (room === undefined) return
      await abortable(room, options.signal, outcome)
    }
  }
}
