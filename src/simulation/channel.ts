import { checkBytes, checkFunction } from '../core/arguments.ts'
import type { CallOptions } from '../core/async.ts'
import { KeelsonError } from '../core/errors.ts'
import { Events } from '../core/events.ts'
import type { Logger } from '../core/logger.ts'
import { checkCall } from '../core/options.ts'
import type {
  Channel,
  LossEvent,
  OutgoingStream,
  PeerIdentity,
  TrafficClass,
} from '../interfaces/transport.ts'
import type { NodeId } from '../model/ids.ts'

/** What a channel needs of its transport. */
export interface ChannelHost {
  readonly self: PeerIdentity
  readonly limits: { readonly maximumMessageBytes: number }
  send(channel: SimulatedChannel, peer: NodeId, bytes: Uint8Array): boolean
  openStream(
    channel: SimulatedChannel,
    peer: NodeId,
    header: Uint8Array,
    options: CallOptions,
  ): Promise<OutgoingStream>
}

type MessageHandler = (peer: PeerIdentity, bytes: Uint8Array) => void
type PeerStreamHandler = (
  peer: PeerIdentity,
  header: Uint8Array,
  chunks: AsyncIterable<Uint8Array>,
) => Promise<void>

/** One protocol's share of a simulated transport. @internal */
export class SimulatedChannel implements Channel {
  readonly protocol: string
  readonly traffic: TrafficClass
  readonly #host: ChannelHost
  readonly #logger: Logger
  readonly #events: Events<{ lost: (event: LossEvent) => void }>
  #handler: MessageHandler | undefined
  #streamHandler: PeerStreamHandler | undefined
  closed = false

  constructor(protocol: string, traffic: TrafficClass, host: ChannelHost, logger: Logger) {
    this.protocol = protocol
    this.traffic = traffic
    this.#host = host
    this.#logger = logger
    this.#events = new Events(logger, ['lost'])
  }

  get self(): PeerIdentity {
    return this.#host.self
  }

  get maximumMessageBytes(): number {
    return this.#host.limits.maximumMessageBytes
  }

  get streamHandler(): PeerStreamHandler | undefined {
    return this.closed ? undefined : this.#streamHandler
  }

  send(peer: NodeId, bytes: Uint8Array): boolean {
    this.#checkSize(bytes)
    return this.#host.send(this, peer, bytes)
  }

  onMessage(handler: MessageHandler): void {
    this.#handler = checkFunction(handler, 'the handler of messages')
  }

  onLost(listener: (event: LossEvent) => void): () => void {
    return this.#events.on('lost', listener)
  }

  async openStream(peer: NodeId, header: Uint8Array, options: CallOptions = {}): Promise<OutgoingStream> {
    this.#checkSize(header)
    checkCall('openStream', options)
    return this.#host.openStream(this, peer, header, options)
  }

  onStream(handler: PeerStreamHandler): void {
    this.#streamHandler = checkFunction(handler, 'the handler of streams')
  }

  deliver(peer: PeerIdentity, bytes: Uint8Array): void {
    if (this.closed) return
    try {
      this.#handler?.(peer, bytes)
    } catch (error) {
      this.#logger.error({ error, protocol: this.protocol, peer: peer.nodeId }, 'a message handler threw')
    }
  }

  lost(event: LossEvent): void {
    this.#events.emit('lost', event)
  }

  #checkSize(bytes: Uint8Array): void {
    checkBytes(bytes, 'a message')
    if (bytes.length <= this.maximumMessageBytes) return
    throw new KeelsonError(
      'LIMIT_EXCEEDED',
      `a message has at most ${this.maximumMessageBytes} bytes, not ${bytes.length}; send it as a stream`,
    )
  }
}
