import type { WebSocket } from 'ws'
import type { Clock, Timers } from '../../core/clock.ts'
import { Change } from '../../core/streams/stream-wire.ts'
import { FrameWriter, type OutgoingRecord } from './frame.ts'
import type { WebSocketMetrics } from './metrics.ts'
import type { WebSocketLimits } from './options.ts'

/** What all lanes of a transport share. */
export interface LaneContext {
  readonly clock: Clock
  readonly timers: Timers
  readonly limits: WebSocketLimits
  readonly metrics: WebSocketMetrics
}

/** A lane that has sent nothing for so long sends at once. */
const quietMs = 0.2

/**
 * The way to one peer in one traffic class: a bounded queue in front of a socket. Whatever is enqueued in one turn of the
 * event loop leaves in as few frames as possible at its end. But where nothing left for a moment, nobody waits for the end of
 * the turn: what is enqueued together leaves together, and only what follows is gathered. The turn of a loop that does little
 * costs more than a frame, and a message between two nodes that wait for each other would wait for a few of them.
 */
export class Lane {
  readonly #context: LaneContext
  readonly #room = new Change()
  #queue: OutgoingRecord[] = []
  #queuedBytes = 0
  #socket: WebSocket | undefined
  #writer = new FrameWriter()
  #maximumFrameBytes = 0
  #scheduled = false
  #blocked = false
  #flushedMs = Number.NEGATIVE_INFINITY

  constructor(context: LaneContext) {
    this.#context = context
  }

  /** Takes a message if there is room. */
  enqueue(protocol: string, body: Uint8Array): boolean {
    const { limits, metrics } = this.#context
    const full =
      this.#queue.length >= limits.maximumQueuedMessages ||
      this.#queuedBytes + body.length > limits.maximumQueuedBytes
    if (full) {
      metrics.dropped.add(1, { reason: 'queue full' })
      return false
    }
    this.#push({ protocol, head: undefined, body })
    return true
  }

  /**
   * Takes a record of a stream. Their credit limits how many there are, unless the peer asks for answers and does not read
   * them: then this is false, and the connection has to go.
   */
  enqueueStream(record: OutgoingRecord): boolean {
    const { maximumQueuedMessages, maximumQueuedBytes } = this.#context.limits
    this.#push(record)
    return this.#queue.length <= maximumQueuedMessages * 2 && this.#queuedBytes <= maximumQueuedBytes * 2
  }

  /** Undefined while another chunk of a stream is welcome. */
  room(): Promise<void> | undefined {
    return this.#queuedBytes >= this.#context.limits.maximumQueuedBytes / 2 ? this.#room.next : undefined
  }

  /** From now on what is queued leaves through this socket. */
  attach(socket: WebSocket, peerMaximumFrameBytes: number): void {
    this.#socket = socket
    this.#writer = new FrameWriter()
    this.#maximumFrameBytes = Math.min(this.#context.limits.maximumFrameBytes, peerMaximumFrameBytes)
    this.#blocked = false
    this.#schedule()
  }

  /** Drops what is queued and lets go of the socket. */
  reset(): void {
    if (this.#queue.length > 0)
      this.#context.metrics.dropped.add(this.#queue.length, { reason: 'connection lost' })
    this.#queue = []
    this.#queuedBytes = 0
    this.#socket = undefined
    this.#room.notify()
  }

  /** Writes what is queued as far as the socket takes it. */
  flush(): void {
    const socket = this.#socket
    if (socket === undefined || socket.readyState !== socket.OPEN) return
    const { limits } = this.#context
    let at = 0
    while (at < this.#queue.length) {
      if (socket.bufferedAmount >= limits.maximumBufferedBytes) {
        this.#blocked = true
        break
      }
      at = this.#write(socket, at)
    }
    if (at === 0) return
    this.#flushedMs = this.#context.clock.monotonicMs()
    if (at === this.#queue.length) {
      this.#queue = []
      this.#queuedBytes = 0
    } else {
      for (const { body } of this.#queue.splice(0, at)) this.#queuedBytes -= body.length
    }
    this.#room.notify()
  }

  #push(record: OutgoingRecord): void {
    this.#queue.push(record)
    this.#queuedBytes += record.body.length
    this.#schedule()
  }

  #schedule(): void {
    if (this.#scheduled || this.#blocked || this.#socket === undefined || this.#queue.length === 0) return
    this.#scheduled = true
    const { clock, timers } = this.#context
    if (clock.monotonicMs() - this.#flushedMs > quietMs) void Promise.resolve().then(this.#onScheduled)
    else timers.defer(this.#onScheduled)
  }

  readonly #onScheduled = (): void => {
    this.#scheduled = false
    this.flush()
  }

  #write(socket: WebSocket, from: number): number {
    const { limits, metrics } = this.#context
    const { frame, next } = this.#writer.pack(
      this.#queue,
      from,
      this.#maximumFrameBytes,
      limits.maximumMessagesPerFrame,
    )
    if (frame.length > this.#maximumFrameBytes) {
      // The peer takes less than this node: it would close the connection over it.
      metrics.dropped.add(1, { reason: 'too large for the peer' })
      return next
    }
    metrics.sent.add(next - from)
    metrics.sentBytes.add(frame.length)
    socket.send(frame, binary, this.#onWritten)
    return next
  }

  readonly #onWritten = (): void => {
    if (!this.#blocked || this.#socket === undefined) return
    if (this.#socket.bufferedAmount > this.#context.limits.maximumBufferedBytes / 2) return
    this.#blocked = false
    this.#schedule()
  }
}

const binary = { binary: true, compress: false } as const
