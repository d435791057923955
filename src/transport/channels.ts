import { checkBytes, checkFunction, checkText } from '../core/arguments.ts'
import type { CallOptions } from '../core/async.ts'
import { KeelsonError } from '../core/errors.ts'
import { Events } from '../core/events.ts'
import type { Logger } from '../core/logger.ts'
import { checkCall, checkOptions, showValue, wordOption } from '../core/options.ts'
import type {
  Channel,
  LossEvent,
  OutgoingStream,
  PeerIdentity,
  TrafficClass,
} from '../interfaces/transport.ts'
import type { NodeId } from '../model/ids.ts'

/** What an adapter does for its channels. */
export interface ChannelBackend {
  readonly self: PeerIdentity
  readonly maximumMessageBytes: number
  /** Takes a message whose size was checked, of a transport that is open. */
  send(channel: LocalChannel, peer: NodeId, bytes: Uint8Array): boolean
  openStream(
    channel: LocalChannel,
    peer: NodeId,
    header: Uint8Array,
    options: CallOptions,
  ): Promise<OutgoingStream>
}

type MessageHandler = (peer: PeerIdentity, bytes: Uint8Array) => void
type ChannelStreamHandler = (
  peer: PeerIdentity,
  header: Uint8Array,
  chunks: AsyncIterable<Uint8Array>,
) => Promise<void>

const protocolPattern = /^[a-z0-9][a-z0-9._/-]{0,63}$/

/** The channel of one protocol on one transport, the same for every adapter. */
export class LocalChannel implements Channel {
  readonly protocol: string
  readonly traffic: TrafficClass
  readonly #backend: ChannelBackend
  readonly #logger: Logger
  readonly #events: Events<{ lost: (event: LossEvent) => void }>
  #handler: MessageHandler | undefined
  #streamHandler: ChannelStreamHandler | undefined
  #closed = false

  constructor(protocol: string, traffic: TrafficClass, backend: ChannelBackend, logger: Logger) {
    this.protocol = protocol
    this.traffic = traffic
    this.#backend = backend
    this.#logger = logger
    this.#events = new Events(logger, ['lost'])
  }

  get self(): PeerIdentity {
    return this.#backend.self
  }

  get maximumMessageBytes(): number {
    return this.#backend.maximumMessageBytes
  }

  send(peer: NodeId, bytes: Uint8Array): boolean {
    checkText(peer, 'the node that a message goes to', 64)
    this.#checkSize('a message', bytes)
    if (this.#closed || peer === this.self.nodeId) return false
    return this.#backend.send(this, peer, bytes)
  }

  onMessage(handler: MessageHandler): void {
    this.#handler = checkFunction(handler, 'the handler of messages')
  }

  onLost(listener: (event: LossEvent) => void): () => void {
    return this.#events.on('lost', listener)
  }

  async openStream(peer: NodeId, header: Uint8Array, options: CallOptions = {}): Promise<OutgoingStream> {
    checkText(peer, 'the node that a stream goes to', 64)
    this.#checkSize("a stream's header", header)
    checkCall('openStream', options)
    if (this.#closed) throw new KeelsonError('CLOSED', 'the transport is closed; open another one')
    if (peer === this.self.nodeId) {
      throw new KeelsonError(
        'UNREACHABLE',
        'a transport connects to other nodes, not to its own; call yourself directly',
      )
    }
    return this.#backend.openStream(this, peer, header, options)
  }

  onStream(handler: ChannelStreamHandler): void {
    this.#streamHandler = checkFunction(handler, 'the handler of streams')
  }

  /** Hands a message to the receiver. False when there is none, or when it threw. */
  deliver(peer: PeerIdentity, bytes: Uint8Array): boolean {
    if (this.#handler === undefined || this.#closed) return false
    try {
      this.#handler(peer, bytes)
      return true
    } catch (error) {
      this.#logger.error({ error, protocol: this.protocol, peer: peer.nodeId }, 'a message handler threw')
      return false
    }
  }

  get streamHandler(): ChannelStreamHandler | undefined {
    return this.#closed ? undefined : this.#streamHandler
  }

  lost(event: LossEvent): void {
    this.#events.emit('lost', event)
  }

  close(): void {
    this.#closed = true
  }

  #checkSize(what: string, bytes: Uint8Array): void {
    checkBytes(bytes, what)
    if (bytes.length <= this.maximumMessageBytes) return
    throw new KeelsonError(
      'LIMIT_EXCEEDED',
      `${what} has at most ${this.maximumMessageBytes} bytes, not ${bytes.length}; send it as a stream`,
    )
  }
}

/** The channels of one transport by protocol. */
export class ChannelRegistry {
  readonly #channels = new Map<string, LocalChannel>()
  readonly #backend: ChannelBackend
  readonly #logger: Logger
  #closed = false

  constructor(backend: ChannelBackend, logger: Logger) {
    this.#backend = backend
    this.#logger = logger
  }

  /** @throws KeelsonError `INVALID_ARGUMENT`, `INVALID_OPTION`, `CLOSED` */
  open(protocol: string, options: { readonly traffic?: TrafficClass } = {}): LocalChannel {
    if (this.#closed) throw new KeelsonError('CLOSED', 'the transport is closed; open another one')
    const { traffic } = checkOptions<{ readonly traffic: TrafficClass }>('channel', options, {
      traffic: wordOption(['control', 'bulk'], 'bulk'),
    })
    if (typeof protocol !== 'string' || !protocolPattern.test(protocol)) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `the name of a protocol is 1 to 64 characters of a-z, 0-9, '.', '_', '/' and '-', not ${showValue(protocol)}`,
      )
    }
    if (this.#channels.has(protocol)) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `the channel ${protocol} is in use already; use that one, or another name`,
      )
    }
    const channel = new LocalChannel(protocol, traffic, this.#backend, this.#logger)
    this.#channels.set(protocol, channel)
    return channel
  }

  get(protocol: string): LocalChannel | undefined {
    return this.#channels.get(protocol)
  }

  /** Tells every channel. */
  lost(event: LossEvent): void {
    for (const channel of this.#channels.values()) channel.lost(event)
  }

  close(): void {
    this.#closed = true
    for (const channel of this.#channels.values()) channel.close()
  }
}
