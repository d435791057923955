import type { RawData, WebSocket } from 'ws'
import type { TimerHandle } from '../../core/clock.ts'
import type { Environment } from '../../core/environment.ts'
import { KeelsonError } from '../../core/errors.ts'
import { StreamSet } from '../../core/streams/stream-set.ts'
import type { StreamRecord } from '../../core/streams/stream-wire.ts'
import type { PeerIdentity, TrafficClass } from '../../interfaces/transport.ts'
import type { FoundingId } from '../../model/ids.ts'
import type { ChannelRegistry } from '../channels.ts'
import { FrameReader, type FrameSink, streamRecord } from './frame.ts'
import { Heartbeat } from './heartbeat.ts'
import type { Lane } from './lane.ts'
import type { WebSocketMetrics } from './metrics.ts'
import type { WebSocketLimits } from './options.ts'

/** What a link is made of. */
export interface LinkParts {
  readonly env: Environment
  readonly limits: WebSocketLimits
  readonly metrics: WebSocketMetrics
  readonly channels: ChannelRegistry
  readonly lanes: Readonly<Record<TrafficClass, Lane>>
  readonly peer: PeerIdentity
  /** The founding that the peer named when it connected, if it named one. */
  readonly founding: FoundingId | undefined
  readonly processId: number
  readonly peerMaximumFrameBytes: number
  /** True when this node dialled. */
  readonly dialled: boolean
  /** Number of the dial that made it, of whoever dialled. */
  readonly attempt: number
  /** Dials of the peer up to this one came before this link. */
  readonly peerAttempt: number
  readonly token: Uint8Array
  /** Called once, when it is closed. */
  readonly onClosed: (link: Link, reason: string) => void
}

/**
 * One logical connection to a peer: a socket for control traffic, which makes it stand, and one for bulk traffic, which
 * follows. They live and die together: the end of either is the end of the link.
 */
export class Link {
  readonly parts: LinkParts
  readonly streams: StreamSet
  readonly #sockets: Partial<Record<TrafficClass, WebSocket>> = {}
  readonly #heartbeat: Heartbeat
  #bulkTimer: TimerHandle | undefined
  #closed = false

  constructor(parts: LinkParts) {
    this.parts = parts
    const { env, limits, lanes, channels } = parts
    this.streams = new StreamSet(
      {
        send: (record) => {
          if (this.#closed || lanes.bulk.enqueueStream(streamRecord(record))) return
          this.close('the peer does not read what it asks for', { terminate: true })
        },
        room: () => lanes.bulk.room(),
      },
      {
        maximumStreams: limits.maximumStreams,
        streamWindowBytes: limits.streamWindowBytes,
        maximumChunkBytes: limits.maximumMessageBytes,
      },
      env.logger,
      (protocol) => {
        const handler = channels.get(protocol)?.streamHandler
        return handler === undefined ? undefined : (header, chunks) => handler(parts.peer, header, chunks)
      },
    )
    this.#heartbeat = new Heartbeat(
      env.timers,
      limits.pingIntervalMs,
      limits.maximumBufferedBytes * 2 + limits.maximumFrameBytes,
      (reason) => this.close(reason, { terminate: true }),
    )
  }

  get peer(): PeerIdentity {
    return this.parts.peer
  }

  get closed(): boolean {
    return this.#closed
  }

  has(traffic: TrafficClass): boolean {
    return this.#sockets[traffic] !== undefined
  }

  /** Ends the link unless its bulk connection follows in time. */
  expectBulk(): void {
    const { env, limits } = this.parts
    this.#bulkTimer = env.timers.schedule(limits.handshakeTimeoutMs, () =>
      this.close('its bulk connection did not follow'),
    )
  }

  /** Takes over an open socket whose other end was authenticated. */
  attach(traffic: TrafficClass, socket: WebSocket): void {
    if (this.#closed) {
      socket.terminate()
      return
    }
    this.#sockets[traffic] = socket
    if (traffic === 'bulk') this.#bulkTimer?.cancel()
    const reader = new FrameReader(this.parts.limits.maximumMessagesPerFrame)
    const sink: FrameSink = {
      message: (protocol, bytes) => this.#onRecord(protocol, bytes),
      stream: (record) => this.#onStreamRecord(record),
    }
    socket.on('message', (data, isBinary) => this.#onFrame(data, isBinary, reader, sink))
    socket.on('close', (code, reason) =>
      this.close(`the ${traffic} socket was closed: ${code} ${reason.toString()}`.trim()),
    )
    // A violation of the WebSocket protocol itself ends here too; ws closes the socket after it.
    socket.on('error', (error) => {
      if ((error as { code?: string }).code?.startsWith('WS_ERR_') === true)
        this.parts.metrics.malformed.add()
      this.close(`the ${traffic} socket failed: ${error.message}`)
    })
    this.#heartbeat.add(socket)
    this.parts.lanes[traffic].attach(socket, this.parts.peerMaximumFrameBytes)
  }

  /** Ends both sockets. Idempotent. */
  close(reason: string, how: { readonly terminate?: boolean; readonly code?: number } = {}): void {
    if (this.#closed) return
    this.#closed = true
    this.#bulkTimer?.cancel()
    this.#heartbeat.stop()
    for (const socket of Object.values(this.#sockets)) this.#end(socket, reason, how)
    this.parts.onClosed(this, reason)
  }

  #end(
    socket: WebSocket,
    reason: string,
    how: { readonly terminate?: boolean; readonly code?: number },
  ): void {
    if (how.terminate === true) {
      socket.terminate()
      return
    }
    // The reason of a close frame has 123 bytes.
    socket.close(how.code ?? 1000, reason.replaceAll(/[^ -~]/g, '?').slice(0, 120))
    // A peer that does not answer the close frame is not waited for.
    const timer = this.parts.env.timers.schedule(closeTimeoutMs, () => socket.terminate())
    socket.once('close', () => timer.cancel())
  }

  #onFrame(data: RawData, isBinary: boolean, reader: FrameReader, sink: FrameSink): void {
    if (this.#closed) return
    const { metrics } = this.parts
    try {
      if (!isBinary || !(data instanceof Uint8Array)) {
        throw new KeelsonError('MALFORMED', 'a text message where only binary ones are spoken')
      }
      metrics.receivedBytes.add(data.length)
      // A plain view: a Buffer's slice() would not copy, whoever keeps the bytes.
      metrics.received.add(reader.read(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), sink))
    } catch (error) {
      metrics.malformed.add()
      const reason = error instanceof Error ? error.message : 'malformed frame'
      this.parts.env.logger.warn({ error, peer: this.peer.nodeId }, 'a peer sent a malformed frame')
      this.close(reason, { code: 1002 })
    }
  }

  #onRecord(protocol: string, bytes: Uint8Array): void {
    // A handler may have closed the transport in the middle of a frame.
    if (this.#closed) return
    this.parts.channels.get(protocol)?.deliver(this.peer, bytes)
  }

  #onStreamRecord(record: StreamRecord): void {
    if (this.#closed) return
    this.streams.receive(record)
  }
}

const closeTimeoutMs = 500
