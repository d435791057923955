import type { CallOptions } from '../async.ts'
import { copyBytes } from '../bytes.ts'
import { KeelsonError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { errorForPeer } from '../wire-error.ts'
import { IncomingStream } from './incoming-stream.ts'
import type { OutgoingStream } from './outgoing.ts'
import { OutgoingStreamEnd } from './outgoing-stream.ts'
import type { StreamLimits, StreamRecord, StreamWire } from './stream-wire.ts'

/** Handler of the streams of one protocol. */
export type StreamHandler = (header: Uint8Array, chunks: AsyncIterable<Uint8Array>) => Promise<void>

/** All streams of one connection. Flow control by credit: a slow consumer holds up its own sender and nobody else. */
export class StreamSet {
  readonly #wire: StreamWire
  readonly #limits: StreamLimits
  readonly #logger: Logger
  readonly #handlerOf: (protocol: string) => StreamHandler | undefined
  readonly #outgoing = new Map<number, OutgoingStreamEnd>()
  readonly #incoming = new Map<number, IncomingStream>()
  #lastId = 0
  #lastIncomingId = 0
  #broken: KeelsonError | undefined

  constructor(
    wire: StreamWire,
    limits: StreamLimits,
    logger: Logger,
    handlerOf: (protocol: string) => StreamHandler | undefined,
  ) {
    this.#wire = wire
    this.#limits = limits
    this.#logger = logger
    this.#handlerOf = handlerOf
  }

  /** @throws KeelsonError `OVERLOADED`, `UNREACHABLE`, `UNSUPPORTED`, `ABORTED` */
  async open(protocol: string, header: Uint8Array, options: CallOptions = {}): Promise<OutgoingStream> {
    if (this.#broken !== undefined) throw this.#broken
    if (this.#outgoing.size >= this.#limits.maximumStreams) {
      throw new KeelsonError(
        'OVERLOADED',
        `${this.#limits.maximumStreams} streams to this peer are open already; close one or try again later`,
      )
    }
    const id = ++this.#lastId
    const end = new OutgoingStreamEnd(id, this.#wire, this.#limits.maximumChunkBytes, () =>
      this.#outgoing.delete(id),
    )
    this.#outgoing.set(id, end)
    this.#wire.send({ type: 'open', id, protocol, header })
    try {
      await end.opened(options)
    } catch (error) {
      end.destroy()
      throw error
    }
    return end
  }

  /** Takes a record of the peer. @throws KeelsonError `MALFORMED` when the peer breaks the rules */
  receive(record: StreamRecord): void {
    if (this.#broken !== undefined) return
    switch (record.type) {
      case 'open':
        this.#accept(record.id, record.protocol, record.header)
        return
      // Records of streams that this end has left already were under way then: they are ignored.
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

  /** Ends all streams: the connection is gone. */
  break(error: KeelsonError): void {
    if (this.#broken !== undefined) return
    this.#broken = error
    for (const end of this.#outgoing.values()) end.fail(error)
    for (const end of this.#incoming.values()) end.fail(error)
    this.#outgoing.clear()
    this.#incoming.clear()
  }

  #accept(id: number, protocol: string, header: Uint8Array): void {
    if (id <= this.#lastIncomingId) throw new KeelsonError('MALFORMED', `stream ${id} was opened twice`)
    this.#lastIncomingId = id
    const handler = this.#handlerOf(protocol)
    if (handler === undefined) {
      this.#refuse(
        id,
        new KeelsonError(
          'UNSUPPORTED',
          `this node takes no streams of protocol ${protocol}; its release may be an older one`,
        ),
      )
      return
    }
    if (this.#incoming.size >= this.#limits.maximumStreams) {
      this.#refuse(id, new KeelsonError('OVERLOADED', 'too many streams are open; try again later'))
      return
    }
    const stream = new IncomingStream(id, this.#wire, this.#limits.streamWindowBytes)
    this.#incoming.set(id, stream)
    this.#serve(id, stream, handler, copyBytes(header)).catch((error: unknown) => {
      this.#logger.error({ error, protocol }, 'a stream could not be finished')
    })
  }

  async #serve(
    id: number,
    stream: IncomingStream,
    handler: StreamHandler,
    header: Uint8Array,
  ): Promise<void> {
    let failure: unknown
    let failed = false
    try {
      await handler(header, stream)
    } catch (error) {
      failed = true
      failure = error
    }
    if (this.#incoming.get(id) !== stream) return
    this.#incoming.delete(id)
    stream.discard()
    if (!failed) {
      this.#wire.send({ type: 'done', id })
      return
    }
    if (!KeelsonError.is(failure)) this.#logger.warn({ error: failure }, 'a stream handler threw')
    this.#refuse(id, errorForPeer(failure, 'the handler of the stream'))
  }

  #refuse(id: number, error: KeelsonError): void {
    this.#wire.send({ type: 'fail', id, error })
  }
}
