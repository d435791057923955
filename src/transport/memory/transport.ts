import { abortable, type CallOptions, deferred, throwIfAborted } from '../../core/async.ts'
import { KeelsonError } from '../../core/errors.ts'
import { Events } from '../../core/events.ts'
import { checkCall } from '../../core/options.ts'
import type {
  Channel,
  OutgoingStream,
  PeerEvent,
  PeerIdentity,
  TrafficClass,
  Transport,
  TransportContext,
} from '../../interfaces/transport.ts'
import type { FoundingId, NodeId } from '../../model/ids.ts'
import { parseAddress } from '../addresses.ts'
import { ChannelRegistry, type LocalChannel } from '../channels.ts'
import { Founding } from '../founding.ts'
import { type MemoryLimits, MemoryLink } from './link.ts'

/** What a transport asks of its network. */
export interface MemoryHub {
  find(address: string): MemoryTransport | undefined
  /** How the way to a peer is cut now. */
  cut(peer: NodeId): 'broken' | 'silent' | undefined
  closed(): void
}

/** One node's or client's end of a memory network. */
export class MemoryTransport implements Transport {
  readonly context: TransportContext
  readonly limits: MemoryLimits
  readonly addresses: readonly string[]
  readonly channels: ChannelRegistry
  readonly links: Map<NodeId, MemoryLink> = new Map()
  readonly #hub: MemoryHub
  readonly #events: Events<{ peer: (event: PeerEvent) => void }>
  readonly #founding: Founding
  #inbox: (() => void)[] = []
  #closed = false

  constructor(context: TransportContext, limits: MemoryLimits, address: string | undefined, hub: MemoryHub) {
    this.context = context
    this.limits = limits
    this.addresses = address === undefined ? [] : [address]
    this.#hub = hub
    this.#events = new Events(context.env.logger, ['peer'])
    this.#founding = new Founding(context.clusterId, context.founding)
    this.channels = new ChannelRegistry(
      {
        self: context.self,
        maximumMessageBytes: limits.maximumMessageBytes,
        send: (channel, peer, bytes) => this.#linkTo(peer)?.send(channel.protocol, bytes) ?? false,
        openStream: (channel, peer, header, options) => this.#openStream(channel, peer, header, options),
      },
      context.env.logger,
    )
  }

  get self(): PeerIdentity {
    return this.context.self
  }

  get founding(): FoundingId | undefined {
    return this.#founding.id
  }

  belongTo(founding: FoundingId): void {
    if (!this.#founding.fix(founding)) return
    for (const link of this.links.values()) {
      if (this.#founding.refusal(link.other.host.founding) !== undefined) link.break()
    }
  }

  get closed(): boolean {
    return this.#closed
  }

  channel(protocol: string, options: { readonly traffic?: TrafficClass } = {}): Channel {
    return this.channels.open(protocol, options)
  }

  async dial(address: string, options: CallOptions = {}): Promise<PeerIdentity> {
    checkCall('dial', options)
    parseAddress(address)
    throwIfAborted(options.signal)
    const turn = deferred<void>()
    this.context.env.timers.defer(() => turn.resolve())
    await abortable(turn.promise, options.signal)
    if (this.#closed) throw new KeelsonError('CLOSED', 'the transport is closed; open another one')
    const target = this.#hub.find(address)
    if (target === undefined) {
      throw new KeelsonError(
        'UNREACHABLE',
        `nobody listens at ${address} in this memory network; open a transport there first`,
      )
    }
    const refusal = this.#refusal(target)
    if (refusal !== undefined) throw refusal
    if (this.links.get(target.self.nodeId)?.other.host !== target) this.#connect(target)
    return target.self
  }

  peers(): readonly PeerIdentity[] {
    return [...this.links.values()].filter((link) => link.announced).map((link) => link.peer)
  }

  onPeer(listener: (event: PeerEvent) => void): () => void {
    return this.#events.on('peer', listener)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    // What is on its way in is not delivered any more, since its link is down; what was lost is told at once.
    for (const link of this.links.values()) link.break()
    this.#drain()
    this.#closed = true
    this.channels.close()
    this.#hub.closed()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** Runs `step` in a later turn, after everything that was posted before. */
  post(step: () => void): void {
    if (this.#closed) return
    this.#inbox.push(step)
    if (this.#inbox.length === 1) this.context.env.timers.defer(() => this.#drain())
  }

  /** True while what is sent to this peer vanishes. */
  silenced(peer: NodeId): boolean {
    return this.#hub.cut(peer) !== undefined
  }

  announce(event: PeerEvent): void {
    this.#events.emit('peer', event)
  }

  #drain(): void {
    const steps = this.#inbox
    this.#inbox = []
    for (const step of steps) {
      if (this.#closed) return
      step()
    }
  }

  async #openStream(
    channel: LocalChannel,
    peer: NodeId,
    header: Uint8Array,
    options: CallOptions,
  ): Promise<OutgoingStream> {
    throwIfAborted(options.signal)
    const link = this.#linkTo(peer)
    if (link === undefined)
      throw new KeelsonError(
        'UNREACHABLE',
        `${peer} cannot be reached; see that it runs in this memory network; open a transport there first`,
      )
    return link.streams.open(channel.protocol, header, options)
  }

  #linkTo(peer: NodeId): MemoryLink | undefined {
    const known = this.links.get(peer)
    if (known !== undefined) return known
    for (const address of this.context.resolve(peer)) {
      const target = this.#hub.find(address)
      if (target?.self.nodeId !== peer) continue
      const refusal = this.#refusal(target)
      if (refusal === undefined) return this.#connect(target)
      this.context.env.logger.debug({ peer, error: refusal }, 'a peer cannot be reached')
    }
    return undefined
  }

  #refusal(target: MemoryTransport): KeelsonError | undefined {
    if (target === this)
      return new KeelsonError(
        'INVALID_ARGUMENT',
        'this is the address of the node itself; connect to another one',
        {
          details: { ownAddress: true },
        },
      )
    if (this.#hub.cut(target.self.nodeId) !== undefined) {
      return new KeelsonError('UNREACHABLE', `the link to ${target.self.nodeId} is cut`)
    }
    const [mine, theirs] = [this.context.clusterId, target.context.clusterId]
    if (mine !== undefined && mine !== theirs) {
      return new KeelsonError(
        'FOREIGN_CLUSTER',
        `the peer belongs to cluster ${theirs}, not to ${mine}; check the address`,
      )
    }
    const split = this.#founding.refusal(target.founding)
    if (split !== undefined) {
      for (const { context } of [this, target]) context.env.logger.error({ error: split }, split.message)
      return split
    }
    if (this.self.role === 'client' && target.context.resolve(this.self.nodeId).length > 0) {
      return new KeelsonError(
        'UNAUTHORIZED',
        `${this.self.nodeId} is the name of a node; clients take another`,
      )
    }
    return undefined
  }

  #connect(target: MemoryTransport): MemoryLink {
    // An older life of either node may still be connected; the newer one takes its place.
    this.links.get(target.self.nodeId)?.break()
    target.links.get(this.self.nodeId)?.break()
    return MemoryLink.between(this, target)
  }
}
