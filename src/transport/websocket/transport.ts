import { randomBytes, timingSafeEqual } from 'node:crypto'
import { abortError, type CallOptions, onAbort, sleep, throwIfAborted } from '../../core/async.ts'
import { emptyBytes } from '../../core/bytes.ts'
import { KeelsonError, toKeelsonError } from '../../core/errors.ts'
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
  TransportFactory,
} from '../../interfaces/transport.ts'
import type { FoundingId, NodeId } from '../../model/ids.ts'
import { formatAddress } from '../addresses.ts'
import { ChannelRegistry, type LocalChannel } from '../channels.ts'
import { checkTransportContext } from '../context.ts'
import { Acceptor, type Caller } from './acceptor.ts'
import { Dial, type Dialled } from './dial.ts'
import { Gatekeeper } from './gatekeeper.ts'
import { type Greeter, protocolVersions, type Welcome } from './handshake.ts'
import { Link } from './link.ts'
import { type WebSocketMetrics, webSocketMetrics } from './metrics.ts'
import { type CheckedWebSocketOptions, checkWebSocketOptions, type WebSocketOptions } from './options.ts'
import { Peer } from './peer.ts'
import type { DialPurpose, PeerHost } from './peer-host.ts'

/** Times a seed is asked again that had a connection under way from its own side. */
const maximumConflicts = 5

/**
 * A transport over WebSockets: two for each pair of nodes, so that control traffic never waits behind bulk traffic. All
 * messages to a peer of one event-loop turn leave in one frame, as far as it holds them.
 *
 * @throws KeelsonError `INVALID_OPTION`
 */
export function webSocket(options: WebSocketOptions = {}): TransportFactory {
  const checked = checkWebSocketOptions(options)
  return async (context) => WebSocketTransport.open(checkTransportContext(context), checked)
}

class WebSocketTransport implements Transport {
  readonly #context: TransportContext
  readonly #options: CheckedWebSocketOptions
  readonly #metrics: WebSocketMetrics
  readonly #channels: ChannelRegistry
  readonly #events: Events<{ peer: (event: PeerEvent) => void }>
  readonly #gatekeeper: Gatekeeper
  readonly #host: PeerHost
  readonly #peers = new Map<NodeId, Peer>()
  readonly #links = new Set<Link>()
  /** Dials of which nobody knows yet whom they reach, and how each is given up. */
  readonly #looseDials = new Map<Dial, () => void>()
  readonly #bulkDials = new Set<Dial>()
  readonly #processId: number
  #acceptor: Acceptor | undefined
  #lastAttempt = 0
  #closing: Promise<void> | undefined

  private constructor(context: TransportContext, options: CheckedWebSocketOptions) {
    this.#context = context
    this.#options = options
    this.#metrics = webSocketMetrics(context.env.metrics)
    this.#events = new Events(context.env.logger, ['peer'])
    this.#channels = new ChannelRegistry(
      {
        self: context.self,
        maximumMessageBytes: options.maximumMessageBytes,
        send: (channel, peer, bytes) =>
          this.#peerOrNew(peer)?.send(channel.traffic, channel.protocol, bytes) ?? false,
        openStream: (channel, peer, header, call) => this.#openStream(channel, peer, header, call),
      },
      context.env.logger,
    )
    this.#processId = randomBytes(6).readUIntBE(0, 6)
    this.#gatekeeper = new Gatekeeper(context, options)
    this.#host = this.#makeHost()
  }

  static async open(context: TransportContext, options: CheckedWebSocketOptions): Promise<Transport> {
    const { env } = context
    if (options.insecure && options.tls === undefined) {
      env.logger.warn(
        { nodeId: context.self.nodeId },
        'insecure: peers are neither authenticated nor is their traffic encrypted',
      )
    }
    const transport = new WebSocketTransport(context, options)
    if (options.listen !== undefined) {
      transport.#acceptor = await Acceptor.listen(
        env,
        options,
        options.listen,
        transport.#metrics,
        (caller) => transport.#onCaller(caller),
      )
    }
    return transport
  }

  get self(): PeerIdentity {
    return this.#context.self
  }

  get addresses(): readonly string[] {
    const { listen, advertise } = this.#options
    if (this.#acceptor === undefined || listen === undefined) return []
    return [advertise ?? formatAddress(listen.host, this.#acceptor.port)]
  }

  channel(protocol: string, options: { readonly traffic?: TrafficClass } = {}): Channel {
    return this.#channels.open(protocol, options)
  }

  async dial(address: string, options: CallOptions = {}): Promise<PeerIdentity> {
    checkCall('dial', options)
    for (let conflicts = 0; ; conflicts++) {
      try {
        return await this.#dialOnce(address, conflicts < maximumConflicts, options)
      } catch (error) {
        // The peer has a connection of its own under way, or one that this side has lost: it settles in a moment.
        if (!KeelsonError.hasCode(error, 'CONFLICT')) throw error
        if (conflicts >= maximumConflicts) {
          throw new KeelsonError('UNREACHABLE', `${address} is busy connecting; try again`, { cause: error })
        }
        await sleep(this.#context.env.timers, 10 * 2 ** conflicts, options.signal)
      }
    }
  }

  peers(): readonly PeerIdentity[] {
    return [...this.#links].map((link) => link.peer)
  }

  onPeer(listener: (event: PeerEvent) => void): () => void {
    return this.#events.on('peer', listener)
  }

  get founding(): FoundingId | undefined {
    return this.#gatekeeper.founding.id
  }

  belongTo(founding: FoundingId): void {
    if (!this.#gatekeeper.founding.fix(founding)) return
    // Also of those that named none: what they came to belong to since is not known here. They connect again.
    for (const link of this.#links) {
      if (link.parts.founding !== founding) link.close('the founding of the cluster is known now')
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    for (const giveUp of this.#looseDials.values()) giveUp()
    for (const dial of this.#bulkDials) dial.abort()
    for (const peer of this.#peers.values()) peer.close('the transport was closed')
    this.#peers.clear()
    this.#channels.close()
    await this.#acceptor?.close()
    this.#acceptor = undefined
  }

  #peerOrNew(nodeId: NodeId): Peer | undefined {
    const known = this.#peers.get(nodeId)
    if (known !== undefined || this.#closing !== undefined) return known
    return this.#context.resolve(nodeId).length === 0 ? undefined : this.#newPeer(nodeId)
  }

  #newPeer(nodeId: NodeId): Peer {
    const peer = new Peer(nodeId, this.#host)
    this.#peers.set(nodeId, peer)
    return peer
  }

  async #openStream(
    channel: LocalChannel,
    nodeId: NodeId,
    header: Uint8Array,
    options: CallOptions,
  ): Promise<OutgoingStream> {
    throwIfAborted(options.signal)
    const peer = this.#peerOrNew(nodeId)
    if (peer === undefined)
      throw new KeelsonError('UNREACHABLE', `no address of ${nodeId} is known; see that resolve finds one`)
    const link = await peer.linked(options)
    return link.streams.open(channel.protocol, header, options)
  }

  /** Dials by address. What comes of it is taken in the turn in which it comes, so that no message is missed. */
  #dialOnce(address: string, asking: boolean, options: CallOptions): Promise<PeerIdentity> {
    throwIfAborted(options.signal)
    if (this.#closing !== undefined)
      throw new KeelsonError('CLOSED', 'the transport is closed; open another one')
    const { signal } = options
    return new Promise((resolve, reject) => {
      let release = (): void => {}
      const settle = (outcome: () => PeerIdentity | Promise<PeerIdentity>): void => {
        release()
        this.#looseDials.delete(dial)
        try {
          resolve(outcome())
        } catch (error) {
          reject(toKeelsonError(error))
        }
      }
      const fail = (error: KeelsonError) => (): never => {
        dial.abort()
        throw error
      }
      const dial: Dial = this.#newDial(address, { asking }, (result) =>
        settle(result instanceof KeelsonError ? fail(result) : () => this.#reached(dial, result, options)),
      )
      this.#looseDials.set(dial, () => settle(fail(new KeelsonError('CLOSED', 'the transport was closed'))))
      if (signal !== undefined) release = onAbort(signal, () => settle(fail(abortError(signal))))
    })
  }

  #reached(dial: Dial, result: Dialled, options: CallOptions): PeerIdentity | Promise<PeerIdentity> {
    const { welcome, certificate, socket } = result
    const problem = this.#host.check(welcome, certificate, undefined)
    if (problem !== undefined) {
      socket.terminate()
      throw problem
    }
    this.#gatekeeper.met(welcome)
    const { nodeId } = welcome.identity
    const peer = this.#peers.get(nodeId) ?? this.#newPeer(nodeId)
    if (!welcome.connected) return peer.adopt(result, dial, options)
    socket.terminate()
    // Connected as the peer sees it. If this side has lost that link, another dial puts a new one in its place.
    return peer.link?.peer ?? this.#dialOnce(dial.address, false, options)
  }

  #onCaller(caller: Caller): void {
    const { hello, certificate } = caller
    const problem =
      this.#closing === undefined
        ? (this.#host.check(hello, certificate, undefined) ?? this.#gatekeeper.checkWanted(hello.wanted))
        : new KeelsonError('UNREACHABLE', 'the node is closing')
    if (problem !== undefined) {
      this.#context.env.logger.info(
        { peer: hello.identity.nodeId, code: problem.code },
        'a connection was refused',
      )
      caller.refuse(problem)
      return
    }
    if (hello.token !== undefined) {
      this.#onBulkCaller(caller, hello.token)
      return
    }
    const { nodeId } = hello.identity
    const known = this.#peers.get(nodeId)
    if (known?.link === undefined && this.#links.size >= this.#options.maximumConnections) {
      caller.refuse(
        new KeelsonError('OVERLOADED', 'this node has as many connections as it takes; try again later'),
      )
      return
    }
    const peer = known ?? this.#newPeer(nodeId)
    peer.onCaller(caller)
  }

  #onBulkCaller(caller: Caller, token: Uint8Array): void {
    const { nodeId } = caller.hello.identity
    const link = this.#peers.get(nodeId)?.link
    const mine = link?.parts.token
    if (
      link === undefined ||
      mine?.length !== token.length ||
      !timingSafeEqual(mine, token) ||
      link.has('bulk')
    ) {
      caller.refuse(new KeelsonError('CONFLICT', 'no connection waits for this bulk connection'))
      return
    }
    this.#host.welcome(caller, {}, (socket) => link.attach('bulk', socket))
  }

  #newDial(address: string, purpose: DialPurpose, settled: (result: Dialled | KeelsonError) => void): Dial {
    const hello = {
      ...this.#greeter(),
      ...protocolVersions,
      wanted: purpose.wanted,
      attempt: ++this.#lastAttempt,
      token: purpose.token,
      asking: purpose.asking ?? false,
    }
    return new Dial(this.#context.env, this.#options, address, hello, settled)
  }

  /** No dial up to this number, whose peer is not known yet, is still under way. */
  #settledAttempt(): number {
    let settled = this.#lastAttempt
    for (const { hello } of this.#looseDials.keys()) settled = Math.min(settled, hello.attempt - 1)
    return settled
  }

  #greeter(): Greeter {
    return {
      clusterId: this.#gatekeeper.clusterId,
      founding: this.founding,
      identity: this.self,
      processId: this.#processId,
      maximumFrameBytes: this.#options.maximumFrameBytes,
    }
  }

  /** What peers ask of the transport. */
  #makeHost(): PeerHost {
    const { env, self, resolve } = this.#context
    const limits = this.#options
    const metrics = this.#metrics
    const report = (link: Link, state: PeerEvent['state']): void => {
      metrics.connections.set(this.#links.size)
      this.#events.emit('peer', { peer: link.peer, state })
    }
    return {
      self,
      lanes: { env, clock: env.clock, timers: env.timers, limits, metrics },
      addressesOf: (nodeId) => (this.#closing === undefined ? resolve(nodeId) : []),
      dial: (address, purpose, settled) => this.#newDial(address, purpose, settled),
      check: (greeter, certificate, wanted) => {
        const problem = this.#gatekeeper.check(greeter, certificate, this.#processId)
        if (problem !== undefined || wanted === undefined || greeter.identity.nodeId === wanted)
          return problem
        return new KeelsonError(
          'FOREIGN_NODE',
          `${greeter.identity.nodeId} answered in the place of ${wanted}; check the addresses that resolve gives`,
        )
      },
      welcome: (caller, how, opened) => {
        const welcome: Welcome = {
          ...this.#greeter(),
          version: protocolVersions.newest,
          attempt: this.#settledAttempt(),
          token: how.token ?? emptyBytes,
          connected: how.connected ?? false,
        }
        caller.welcome(welcome, opened)
      },
      newToken: () => new Uint8Array(randomBytes(16)),
      newLink: (parts) => new Link({ ...parts, env, limits, metrics, channels: this.#channels }),
      dialBulk: (link, address) => this.#dialBulk(link, address),
      up: (link) => {
        // It may have become known while the connection was made.
        if (this.#gatekeeper.founding.refusal(link.parts.founding) !== undefined) {
          link.close('the peer belongs to another founding of the cluster')
          return
        }
        this.#links.add(link)
        report(link, 'up')
      },
      down: (link) => {
        if (this.#links.delete(link)) report(link, 'down')
      },
      lost: (event) => this.#channels.lost(event),
      tidy: (nodeId) => {
        if (this.#peers.get(nodeId)?.idle === true) this.#peers.delete(nodeId)
      },
    }
  }

  #dialBulk(link: Link, address: string): void {
    const { nodeId } = link.peer
    const dial: Dial = this.#newDial(address, { wanted: nodeId, token: link.parts.token }, (result) => {
      this.#bulkDials.delete(dial)
      if (result instanceof KeelsonError) {
        link.close(`its bulk connection failed: ${result.message}`)
        return
      }
      const { welcome, certificate, socket } = result
      const problem = this.#host.check(welcome, certificate, nodeId)
      if (problem === undefined && welcome.processId === link.parts.processId) link.attach('bulk', socket)
      else {
        socket.terminate()
        link.close('its bulk connection reached somebody else')
      }
    })
    this.#bulkDials.add(dial)
  }
}
