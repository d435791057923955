import {
  AsyncQueue,
  abortable,
  type CallOptions,
  type Deferred,
  deferred,
  throwIfAborted,
} from '../core/async.ts'
import { copyBytes } from '../core/bytes.ts'
import { KeelsonError } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import type { OutgoingStream } from '../interfaces/transport.ts'

/** What the two ends of a stream tell each other. `credit` is the total of bytes that may have been sent. */
export type StreamRecord =
  | { readonly type: 'open'; readonly id: number; readonly protocol: string; readonly bytes: Uint8Array }
  | { readonly type: 'data'; readonly id: number; readonly bytes: Uint8Array }
  | { readonly type: 'end' | 'reset' | 'done'; readonly id: number }
  | { readonly type: 'credit'; readonly id: number; readonly limit: number }
  | { readonly type: 'fail'; readonly id: number; readonly error: KeelsonError }

/** Takes the streams of one protocol. */
export type StreamHandler = (header: Uint8Array, chunks: AsyncIterable<Uint8Array>) => Promise<void>

/** What the streams of one end of a connection need. */
export interface StreamHost {
  readonly logger: Logger
  readonly maximumStreams: number
  readonly windowBytes: number
  readonly maximumChunkBytes: number
  transmit(record: StreamRecord): void
  handlerOf(protocol: string): StreamHandler | undefined
}

/** A chunk without bytes costs something, too, or a stream of them would have no limit. */
const chunkOverheadBytes = 16

/** All streams of one end of a connection, with flow control by credit. */
export class StreamEnds {
  readonly #host: StreamHost
  readonly #outgoing = new Map<number, OutgoingEnd>()
  readonly #incoming = new Map<number, IncomingEnd>()
  #lastId = 0
  #broken: KeelsonError | undefined

  constructor(host: StreamHost) {
    this.#host = host
  }

  async open(protocol: string, header: Uint8Array, options: CallOptions): Promise<OutgoingStream> {
    throwIfAborted(options.signal)
    if (this.#broken !== undefined) throw this.#broken
    if (this.#outgoing.size >= this.#host.maximumStreams) {
      throw new KeelsonError(
        'OVERLOADED',
        `${this.#host.maximumStreams} streams to this peer are open already; close one or try again later`,
      )
    }
    const id = ++this.#lastId
    const end = new OutgoingEnd(id, this.#host, () => this.#outgoing.delete(id))
    this.#outgoing.set(id, end)
    this.#host.transmit({ type: 'open', id, protocol, bytes: copyBytes(header) })
    try {
      await end.welcome(options, 'none')
    } catch (error) {
      end.destroy()
      throw error
    }
    return end
  }

  receive(record: StreamRecord): void {
    switch (record.type) {
      case 'open':
        this.#accept(record.id, record.protocol, record.bytes)
        return
      case 'data':
        this.#incoming.get(record.id)?.push(record.bytes)
        return
      case 'end':
        this.#incoming.get(record.id)?.end()
        return
      case 'reset':
        this.#incoming
          .get(record.id)
          ?.fail(new KeelsonError('ABORTED', 'the sender broke the stream off', { outcome: 'unknown' }))
        return
      case 'credit':
        this.#outgoing.get(record.id)?.credit(record.limit)
        return
      case 'done':
        this.#outgoing.get(record.id)?.done()
        return
      case 'fail':
        this.#outgoing.get(record.id)?.fail(record.error)
        return
    }
  }

  /** The connection is gone. */
  break(error: KeelsonError): void {
    this.#broken = error
    for (const end of this.#outgoing.values()) end.fail(error)
    for (const end of this.#incoming.values()) end.fail(error)
    this.#outgoing.clear()
    this.#incoming.clear()
  }

  #accept(id: number, protocol: string, header: Uint8Array): void {
    const handler = this.#host.handlerOf(protocol)
    if (handler === undefined || this.#incoming.size >= this.#host.maximumStreams) {
      const error =
        handler === undefined
          ? new KeelsonError(
              'UNSUPPORTED',
              `this node takes no streams of protocol ${protocol}; handle them in it`,
            )
          : new KeelsonError('OVERLOADED', 'too many streams are open; try again later')
      this.#host.transmit({ type: 'fail', id, error })
      return
    }
    const end = new IncomingEnd(id, this.#host)
    this.#incoming.set(id, end)
    this.#host.transmit({ type: 'credit', id, limit: this.#host.windowBytes })
    void this.#serve(id, end, handler, header)
  }

  async #serve(id: number, end: IncomingEnd, handler: StreamHandler, header: Uint8Array): Promise<void> {
    let error: KeelsonError | undefined
    try {
      await handler(header, end.chunks())
    } catch (thrown) {
      if (KeelsonError.is(thrown)) error = KeelsonError.fromJSON(thrown.toJSON())
      else {
        // What a stranger threw may hold secrets: it stays here.
        this.#host.logger.warn({ error: thrown }, 'a stream handler threw')
        error = new KeelsonError('IO', 'the handler of the stream failed; its log says why')
      }
    }
    if (this.#incoming.get(id) !== end) return
    this.#incoming.delete(id)
    end.end()
    this.#host.transmit(error === undefined ? { type: 'done', id } : { type: 'fail', id, error })
  }
}

class OutgoingEnd implements OutgoingStream {
  readonly #id: number
  readonly #host: StreamHost
  readonly #onClosed: () => void
  #change: Deferred<void> = deferred()
  #sent = 0
  #limit = 0
  #ending = false
  #done = false
  #error: KeelsonError | undefined

  constructor(id: number, host: StreamHost, onClosed: () => void) {
    this.#id = id
    this.#host = host
    this.#onClosed = onClosed
  }

  async write(chunk: Uint8Array, options: CallOptions = {}): Promise<void> {
    throwIfAborted(options.signal)
    if (chunk.length > this.#host.maximumChunkBytes) {
      throw new KeelsonError(
        'LIMIT_EXCEEDED',
        `a chunk has at most ${this.#host.maximumChunkBytes} bytes; write it in parts`,
      )
    }
    await this.welcome(options, 'none')
    this.#sent += chunk.length + chunkOverheadBytes
    this.#host.transmit({ type: 'data', id: this.#id, bytes: copyBytes(chunk) })
    await this.welcome(options, 'unknown')
  }

  async end(options: CallOptions = {}): Promise<void> {
    throwIfAborted(options.signal)
    if (!this.#ending && !this.#done && this.#error === undefined) {
      this.#ending = true
      this.#host.transmit({ type: 'end', id: this.#id })
    }
    while (!this.#done) {
      if (this.#error !== undefined) throw this.#error
      await abortable(this.#change.promise, options.signal, 'unknown')
    }
  }

  destroy(): void {
    if (this.#done || this.#error !== undefined) return
    this.#host.transmit({ type: 'reset', id: this.#id })
    this.fail(new KeelsonError('ABORTED', 'the stream was destroyed', { outcome: 'unknown' }))
  }

  credit(limit: number): void {
    this.#limit = limit
    this.#notify()
  }

  done(): void {
    if (this.#error !== undefined) return
    this.#done = true
    this.#onClosed()
    this.#notify()
  }

  fail(error: KeelsonError): void {
    if (this.#done || this.#error !== undefined) return
    this.#error = error
    this.#onClosed()
    this.#notify()
  }

  /** Waits until the receiver takes more. */
  async welcome(options: CallOptions, outcome: 'none' | 'unknown'): Promise<void> {
    for (;;) {
      if (this.#error !== undefined) throw this.#error
      if (this.#done) throw new KeelsonError('ABORTED', 'the receiver has left the stream', { outcome })
      if (this.#ending)
        throw new KeelsonError('INVALID_ARGUMENT', 'the stream was ended already; open another one')
      if (this.#sent < this.#limit) return
      await abortable(this.#change.promise, options.signal, outcome)
    }
  }

  #notify(): void {
    const change = this.#change
    this.#change = deferred()
    change.resolve()
  }
}

class IncomingEnd {
  readonly #id: number
  readonly #host: StreamHost
  readonly #queue: AsyncQueue<Uint8Array>
  #taken = 0
  #left = false

  constructor(id: number, host: StreamHost) {
    this.#id = id
    this.#host = host
    this.#queue = new AsyncQueue(2 + Math.ceil(host.windowBytes / chunkOverheadBytes))
  }

  push(bytes: Uint8Array): void {
    this.#queue.push(bytes)
  }

  end(): void {
    this.#queue.end()
  }

  fail(error: KeelsonError): void {
    this.#queue.fail(error)
  }

  async *chunks(): AsyncGenerator<Uint8Array> {
    try {
      for await (const chunk of this.#queue) {
        this.#taken += chunk.length + chunkOverheadBytes
        if (!this.#left) {
          const limit = this.#taken + this.#host.windowBytes
          this.#host.transmit({ type: 'credit', id: this.#id, limit })
        }
        yield chunk
      }
    } finally {
      this.#left = true
    }
  }
}
