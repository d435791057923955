import type { CallOptions } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import type { Outcome } from '../core/errors.ts'
import type { OutgoingStream } from '../core/streams/outgoing.ts'
import type { ClusterId, FoundingId, Incarnation, NodeId } from '../model/ids.ts'

/** Who stands at one end of a connection, as its hello said and the transport's authentication confirmed. */
export interface PeerIdentity {
  /** Name of the node, or the client's own name. */
  readonly nodeId: NodeId
  /** Life of its data; a message of an older life is not delivered once a newer one is connected. */
  readonly incarnation: Incarnation
  /** Clients are not members of the cluster: nobody dials them, and their names are their own affair. */
  readonly role: 'node' | 'client'
}

/** Gives the addresses (`host:port`, first choice first) at which a node may be found now; empty when unknown. */
export type Resolve = (nodeId: NodeId) => readonly string[]

/** What the composition hands to a transport when it opens it. */
export interface TransportContext {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** Undefined for a client that takes any cluster; it then learns the id from the first hello. */
  readonly clusterId: ClusterId | undefined
  /** The founding of the cluster, where it is known from before; see {@link Transport.belongTo}. Default: not known. */
  readonly founding?: FoundingId | undefined
  /** Who this process is to others: what its hello says. */
  readonly self: PeerIdentity
  /** Finds the addresses of a node when it is to be dialled. */
  readonly resolve: Resolve
}

/** Adapters are factories: `webSocket({ listen })` gives one of these. */
export type TransportFactory = (context: TransportContext) => Promise<Transport>

/** Emitted when the first connection to a peer stands, and when the last one is gone. */
export interface PeerEvent {
  /** Who came or went. */
  readonly peer: PeerIdentity
  /** `up` with the first connection, `down` when none is left. */
  readonly state: 'up' | 'down'
}

/** What {@link Channel.onLost} tells. */
export interface LossEvent {
  /** The peer to or from which messages may be lost. */
  readonly peer: NodeId
  /** `none` when nothing that waited had left this process yet; `unknown` when some of it may have arrived. */
  readonly outcome: Outcome
}

/**
 * Urgency of a channel. `control` traffic (heartbeats, votes, renewals) never waits behind `bulk` traffic (row batches,
 * streams).
 */
export type TrafficClass = 'control' | 'bulk'

/** Moves bytes between nodes, and no more: delivery, retries and meaning belong to the protocols above. */
export interface Transport extends AsyncDisposable {
  /** Who this process is to others. */
  readonly self: PeerIdentity
  /** `host:port` addresses at which this transport listens; empty if it only dials. */
  readonly addresses: readonly string[]
  /**
   * The channel of a protocol, named by a short constant string (`raft`, `swim`). One channel exists per name. Its
   * traffic is `bulk` unless it says otherwise.
   *
   * @throws KeelsonError `INVALID_ARGUMENT` for a name in use
   */
  channel(protocol: string, options?: { readonly traffic?: TrafficClass }): Channel
  /**
   * Connects to an address whose node is not known yet, as with seeds, and says who is there. The connection then
   * serves all channels like any other.
   *
   * @throws KeelsonError `UNREACHABLE`, `FOREIGN_CLUSTER`, `PROTOCOL_VERSION`, `UNAUTHORIZED`, `INVALID_ARGUMENT`, for
   * the node's own address with `details.ownAddress`, `CLOSED`
   */
  dial(address: string, options?: CallOptions): Promise<PeerIdentity>
  /** Peers with a standing connection. */
  peers(): readonly PeerIdentity[]
  /** Calls `listener` when peers come and go, until the function that is returned is called. */
  onPeer(listener: (event: PeerEvent) => void): () => void
  /** The founding of the cluster that this process belongs to; undefined as long as it does not know it. */
  readonly founding: FoundingId | undefined
  /**
   * Fixes the founding of the cluster, once it is known. A cluster id may name two clusters, when a server that has lost
   * its disk is told to bootstrap again; from here on no message passes between this process and one that belongs to
   * another founding: both sides refuse such connections with `FOREIGN_CLUSTER` (details `founding`, the refusing side's,
   * and `peerFounding`), and those that stand already, from when
   * one of them did not know yet, break. Who does not know its founding is still welcome, since it is about to learn it.
   * Idempotent.
   *
   * @throws KeelsonError `FOREIGN_CLUSTER` for another founding than the one that is fixed, `INVALID_ARGUMENT`
   */
  belongTo(founding: FoundingId): void
  /** Closes all channels, streams and connections. Idempotent. */
  close(): Promise<void>
}

/** One protocol's share of a transport. */
export interface Channel {
  /** Name by which both ends find the channel. */
  readonly protocol: string
  /** Who this process is to others. */
  readonly self: PeerIdentity
  /** Largest message in bytes. */
  readonly maximumMessageBytes: number
  /**
   * Sends a message, best effort: it arrives once, later than what was sent to this peer before on this channel, or not
   * at all. Never waits; connects by itself. The bytes must not change afterwards.
   *
   * @returns false when it was dropped at once: no address, a full queue, this node itself, a closed transport
   * @throws KeelsonError `LIMIT_EXCEEDED` for a message above {@link Channel.maximumMessageBytes}
   */
  send(peer: NodeId, bytes: Uint8Array): boolean
  /**
   * Sets the receiver of messages. It must not throw for bad input and must not keep `bytes` beyond the call: they are
   * a view into the frame. A message from a node's older incarnation, when a newer one is connected, is not delivered.
   */
  onMessage(handler: (peer: PeerIdentity, bytes: Uint8Array) => void): void
  /**
   * Calls `listener`, until the function that is returned is called, whenever messages to or from a peer may have been
   * lost with their connection: it broke, was replaced, or could not be made at all. Who waits for an answer of that
   * peer stops waiting. It comes before any message of a later connection.
   */
  onLost(listener: (event: LossEvent) => void): () => void
  /**
   * Opens an ordered stream for bulk data, apart from messages.
   *
   * @throws KeelsonError `UNREACHABLE`, `OVERLOADED`, `UNSUPPORTED` when nobody takes streams there, `CLOSED`, `ABORTED`
   */
  openStream(peer: NodeId, header: Uint8Array, options?: CallOptions): Promise<OutgoingStream>
  /** Sets the receiver of streams that others open. Leaving the iteration early refuses the rest. */
  onStream(
    handler: (peer: PeerIdentity, header: Uint8Array, chunks: AsyncIterable<Uint8Array>) => Promise<void>,
  ): void
}

export type { OutgoingStream }
