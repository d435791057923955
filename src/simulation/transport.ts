import { checkText } from '../core/arguments.ts'
import { abortable, type CallOptions, deferred, throwIfAborted } from '../core/async.ts'
import { copyBytes } from '../core/bytes.ts'
import { KeelsonError } from '../core/errors.ts'
import { Events } from '../core/events.ts'
import { checkCall, checkOptions, showValue, wordOption } from '../core/options.ts'
import type { StreamHandler } from '../core/streams/stream-set.ts'
import type {
  Channel,
  OutgoingStream,
  PeerEvent,
  PeerIdentity,
  TrafficClass,
  Transport,
  TransportContext,
} from '../interfaces/transport.ts'
import { checkId, type FoundingId, type NodeId } from '../model/ids.ts'
import { SimulatedChannel } from './channel.ts'
import type { ConnectionEnd, EndHost } from './connection.ts'
import type { SimulatedProcess } from './process.ts'
import type { SimulatedTransportOptions } from './transport-options.ts'

/** What a transport asks of its network. */
export interface TransportHub {
  connect(
    transport: SimulatedTransport,
    address: string,
    done: (result: ConnectionEnd | KeelsonError) => void,
  ): void
  closed(transport: SimulatedTransport): void
}

interface Waiting {
  readonly protocol: string
  readonly traffic: TrafficClass
  readonly bytes: Uint8Array
}

interface PeerLinks {
  readonly ends: ConnectionEnd[]
  waiting: Waiting[]
  waitingBytes: number
  dialing: Promise<void> | undefined
}

const protocolPattern = /^[a-z0-9][a-z0-9._/-]{0,63}$/

/** One life of a process on the simulated network. @internal */
export class SimulatedTransport implements Transport, EndHost {
  readonly context: TransportContext
  readonly process: SimulatedProcess
  readonly addresses: readonly string[]
  readonly limits: Required<Omit<SimulatedTransportOptions, 'listen'>>
  readonly #hub: TransportHub
  readonly #life: number
  readonly #events: Events<{ peer: (event: PeerEvent) => void }>
  readonly #channels = new Map<string, SimulatedChannel>()
  readonly #links = new Map<NodeId, PeerLinks>()
  #founding: FoundingId | undefined
  #closed = false

  constructor(
    context: TransportContext,
    process: SimulatedProcess,
    address: string | undefined,
    limits: Required<Omit<SimulatedTransportOptions, 'listen'>>,
    hub: TransportHub,
  ) {
    this.context = context
    this.process = process
    this.addresses = address === undefined ? [] : [address]
    this.limits = limits
    this.#hub = hub
    this.#life = process.life
    this.#events = new Events(context.env.logger, ['peer'])
    this.#founding = context.founding
  }

  get self(): PeerIdentity {
    return this.context.self
  }

  get founding(): FoundingId | undefined {
    return this.#founding
  }

  belongTo(founding: FoundingId): void {
    checkId(founding, 'the founding')
    const refusal = foundingRefusal(this.#founding, founding)
    if (refusal !== undefined) throw refusal
    this.#founding = founding
    for (const end of this.ends()) {
      if (foundingRefusal(founding, end.other.host.founding) !== undefined) this.#drop(end, false)
    }
  }

  /** The process has not crashed since, and nobody closed this transport. */
  get alive(): boolean {
    return !this.#closed && this.process.life === this.#life
  }

  channel(protocol: string, options: { readonly traffic?: TrafficClass } = {}): Channel {
    this.#checkOpen()
    if (typeof protocol !== 'string' || !protocolPattern.test(protocol)) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `${showValue(protocol)} is no name of a protocol; take letters, digits and '.', '_', '/', '-'`,
      )
    }
    if (this.#channels.has(protocol)) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `the channel ${protocol} is in use already; use that one, or another name`,
      )
    }
    const { traffic } = checkOptions<{ readonly traffic: TrafficClass }>('channel', options, {
      traffic: wordOption(['control', 'bulk'], 'bulk'),
    })
    const channel = new SimulatedChannel(protocol, traffic, this, this.context.env.logger)
    this.#channels.set(protocol, channel)
    return channel
  }

  async dial(address: string, options: CallOptions = {}): Promise<PeerIdentity> {
    checkCall('dial', options)
    checkText(address, 'an address', 300)
    throwIfAborted(options.signal)
    this.#checkOpen()
    const end = await abortable(this.#connect(address), options.signal)
    return end.peer
  }

  peers(): readonly PeerIdentity[] {
    return [...this.#links.values()].flatMap(({ ends }) => ends.slice(0, 1).map((end) => end.peer))
  }

  onPeer(listener: (event: PeerEvent) => void): () => void {
    return this.#events.on('peer', listener)
  }

  async close(): Promise<void> {
    if (!this.alive) {
      this.#closed = true
      return
    }
    for (const { ends } of this.#links.values()) {
      for (const end of ends.slice()) this.#drop(end, true)
    }
    this.#closed = true
    for (const channel of this.#channels.values()) channel.closed = true
    this.#hub.closed(this)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  // What channels ask for.

  send(channel: SimulatedChannel, peer: NodeId, bytes: Uint8Array): boolean {
    if (!this.alive || peer === this.self.nodeId) return false
    const copy = copyBytes(bytes)
    const usable = this.#usableEnd(peer)
    if (usable !== undefined) return usable.send(channel.traffic, channel.protocol, copy)
    const links = this.#linksTo(peer)
    if (links.dialing === undefined) {
      if (this.context.resolve(peer).length === 0) return false
      this.#dialPeer(peer, links)
    }
    if (links.waitingBytes + copy.length > this.limits.maximumQueuedBytes) return false
    links.waiting.push({ protocol: channel.protocol, traffic: channel.traffic, bytes: copy })
    links.waitingBytes += copy.length
    return true
  }

  async openStream(
    channel: SimulatedChannel,
    peer: NodeId,
    header: Uint8Array,
    options: CallOptions,
  ): Promise<OutgoingStream> {
    throwIfAborted(options.signal)
    this.#checkOpen()
    if (this.#usableEnd(peer) === undefined && peer !== this.self.nodeId) {
      const links = this.#linksTo(peer)
      if (links.dialing === undefined && this.context.resolve(peer).length > 0) this.#dialPeer(peer, links)
      if (links.dialing !== undefined) await abortable(links.dialing, options.signal)
    }
    const end = this.#usableEnd(peer)
    if (end === undefined) throw new KeelsonError('UNREACHABLE', `${peer} cannot be reached`)
    return end.streams.open(channel.protocol, header, options)
  }

  // What connections ask for.

  deliver(end: ConnectionEnd, protocol: string, bytes: Uint8Array): void {
    this.#settle(end)
    this.#channels.get(protocol)?.deliver(end.peer, bytes)
  }

  streamHandlerOf(end: ConnectionEnd, protocol: string): StreamHandler | undefined {
    const handler = this.#channels.get(protocol)?.streamHandler
    return handler === undefined ? undefined : (header, chunks) => handler(end.peer, header, chunks)
  }

  lost(end: ConnectionEnd): void {
    const links = this.#linksTo(end.peer.nodeId)
    const at = links.ends.indexOf(end)
    if (at < 0) return
    links.ends.splice(at, 1)
    for (const channel of this.#channels.values()) channel.lost({ peer: end.peer.nodeId, outcome: 'unknown' })
    if (links.ends.length === 0) this.#events.emit('peer', { peer: end.peer, state: 'down' })
  }

  // What the network asks for.

  /** A connection stands, as far as this side knows. */
  established(end: ConnectionEnd): void {
    const links = this.#linksTo(end.peer.nodeId)
    this.#settle(end)
    for (const older of links.ends.slice()) {
      // Another life of the same node: its connection is replaced.
      if (older.other.host === end.other.host) continue
      older.lose()
      older.connection.break(() => ({ delayMs: 0, keep: false }))
    }
    links.ends.push(end)
    if (links.ends.length === 1) this.#events.emit('peer', { peer: end.peer, state: 'up' })
    end.ready()
    // It may have become known while the connection was made.
    if (foundingRefusal(this.#founding, end.other.host.founding) !== undefined) {
      this.#drop(end, false)
      return
    }
    if (this.alive) this.#flush(links, end)
  }

  /** Why this node does not talk to the one that dials it, if so. */
  refusal(dialer: SimulatedTransport): KeelsonError | undefined {
    if (dialer === this) {
      return new KeelsonError(
        'INVALID_ARGUMENT',
        'this is the address of the node itself; connect to another one',
        {
          details: { ownAddress: true },
        },
      )
    }
    const [theirs, mine] = [dialer.context.clusterId, this.context.clusterId]
    if (theirs !== undefined && theirs !== mine) {
      return new KeelsonError(
        'FOREIGN_CLUSTER',
        `the peer belongs to cluster ${mine}, not to ${theirs}; check the address`,
      )
    }
    const split = foundingRefusal(this.#founding, dialer.founding)
    if (split !== undefined) return split
    const { nodeId, role } = dialer.self
    if (role === 'client' && this.context.resolve(nodeId).length > 0) {
      return new KeelsonError('UNAUTHORIZED', `${nodeId} is the name of a node; clients take another`)
    }
    return undefined
  }

  /** The ends of all standing connections. */
  ends(): ConnectionEnd[] {
    return [...this.#links.values()].flatMap((links) => links.ends)
  }

  /** Breaks a connection. With `keep` what was on its way to the other side still arrives. */
  #drop(end: ConnectionEnd, keep: boolean): void {
    end.discard()
    end.lose()
    end.connection.break(() => ({ delayMs: 0, keep }))
  }

  #checkOpen(): void {
    if (!this.alive) throw new KeelsonError('CLOSED', 'the transport is closed; open another one')
  }

  #usableEnd(peer: NodeId): ConnectionEnd | undefined {
    return this.#links.get(peer)?.ends.find((end) => !end.connection.broken)
  }

  /** Nothing of a connection is seen before the end of those that broke before. */
  #settle(end: ConnectionEnd): void {
    const links = this.#links.get(end.peer.nodeId)
    if (links === undefined || links.ends.length <= 1 - Number(!links.ends.includes(end))) return
    for (const other of links.ends.slice()) if (other !== end && other.connection.broken) other.lose()
  }

  #linksTo(peer: NodeId): PeerLinks {
    let links = this.#links.get(peer)
    if (links === undefined) {
      links = { ends: [], waiting: [], waitingBytes: 0, dialing: undefined }
      this.#links.set(peer, links)
    }
    return links
  }

  #flush(links: PeerLinks, end: ConnectionEnd): void {
    links.waitingBytes = 0
    for (const { traffic, protocol, bytes } of links.waiting.splice(0)) end.send(traffic, protocol, bytes)
  }

  #dialPeer(peer: NodeId, links: PeerLinks): void {
    const attempt = async (): Promise<void> => {
      for (const address of this.context.resolve(peer)) {
        try {
          const end = await this.#connect(address)
          if (end.peer.nodeId === peer) break
        } catch (error) {
          this.context.env.logger.debug({ peer, address, error }, 'a peer could not be reached')
        }
      }
      links.dialing = undefined
      if (!this.alive || links.waiting.length === 0) return
      const end = this.#usableEnd(peer)
      if (end !== undefined) {
        this.#flush(links, end)
        return
      }
      links.waiting = []
      links.waitingBytes = 0
      for (const channel of this.#channels.values()) channel.lost({ peer, outcome: 'none' })
    }
    links.dialing = attempt()
  }

  async #connect(address: string): Promise<ConnectionEnd> {
    const done = deferred<ConnectionEnd>()
    this.#hub.connect(this, address, (result) => {
      if (KeelsonError.is(result)) done.reject(result)
      else done.resolve(result)
    })
    return done.promise
  }
}

/** Why two that belong to these foundings of a cluster do not talk to each other, if so. */
function foundingRefusal(
  mine: FoundingId | undefined,
  theirs: FoundingId | undefined,
): KeelsonError | undefined {
  if (mine === undefined || theirs === undefined || mine === theirs) return undefined
  return new KeelsonError(
    'FOREIGN_CLUSTER',
    `the peer belongs to founding ${theirs} of the cluster, not to ${mine}; stop the server that was bootstrapped a second time`,
    { details: { founding: mine, peerFounding: theirs } },
  )
}
