import type { Incarnation, NodeId } from '../../model/ids.ts'

/**
 * What a member is held to be.
 *
 * - `alive`: it answers, or it did so last.
 * - `suspect`: somebody got no answer from it; it may still refute.
 * - `dead`: nobody heard a refutation in time. A hint, never a decision: only a committed entry ends a node's epoch.
 * - `left`: it said goodbye. Stronger than `dead`, and final for its version.
 */
export type MemberState = 'alive' | 'suspect' | 'dead' | 'left'

/** A member as one node sees it. */
export interface SwimMember {
  /** Name of the member, unique in the cluster. */
  readonly nodeId: NodeId
  /** Life of the node's data directory, as the member itself says; 0 when only its death was heard of. */
  readonly incarnation: Incarnation
  /**
   * Number of the member's newest statement about itself: what the SWIM paper calls the incarnation number. Only the
   * member raises it: to refute, to change its metadata, to come back. Of two statements the higher one counts; of
   * two equal ones left beats dead beats suspect beats alive.
   */
  readonly version: number
  /** `host:port` at which it takes datagrams; empty when only its death was heard of. */
  readonly address: string
  /** What the member tells about itself, in the host's own encoding. */
  readonly metadata: Uint8Array
  /** What this node takes it to be. */
  readonly state: MemberState
}

/**
 * What happened in one node's view.
 *
 * - `joined`: a member is alive that was unknown, dead or gone.
 * - `suspected`: a member is under suspicion. `alive`: it has refuted it.
 * - `failed`: a member was declared dead. `left`: it said goodbye.
 * - `updated`: its address, metadata or incarnation is another.
 * - `conflict`: another living process uses our node id; `member` is what it says about itself.
 */
export type SwimEventType = 'joined' | 'suspected' | 'alive' | 'failed' | 'left' | 'updated' | 'conflict'

/** A change of one node's view. */
export interface SwimEvent {
  /** What happened to the member. */
  readonly type: SwimEventType
  /** The member after the change. */
  readonly member: SwimMember
  /** Who got no answer from it, for `suspected` and `failed`; otherwise empty. */
  readonly accusedBy: readonly NodeId[]
}

/** A datagram that is to be sent. */
export interface SwimPacket {
  /** `host:port` */
  readonly to: string
  /** The packet, label and all. */
  readonly bytes: Uint8Array
}

/** What a core wants done, in this order: packets first, then events. */
export interface SwimOutput {
  /** To be sent, in any order. */
  readonly packets: readonly SwimPacket[]
  /** To be emitted, in this order. */
  readonly events: readonly SwimEvent[]
}

/** Why a node holds a member to be what it is. */
export interface SwimExplanation {
  /** The member as this node sees it. */
  readonly member: SwimMember
  /** How long the member has been in this state, as far as we know. */
  readonly inStateForMs: number
  /** Who got no answer from it. Empty for members that are alive. */
  readonly accusedBy: readonly NodeId[]
  /** More accusers that would shorten the suspicion. */
  readonly confirmationsWanted: number
  /** When it will be declared dead if it does not refute; undefined unless it is under suspicion. */
  readonly declaredDeadInMs: number | undefined
  /** Since when it last answered a probe of ours; undefined if it never did. */
  readonly answeredAgoMs: number | undefined
  /** Of its last direct answer. */
  readonly roundTripMs: number | undefined
  /** Our own health score: 0 is healthy; the higher, the less we trust our own failed probes. */
  readonly localHealth: number
  /** All of it in a sentence. */
  readonly text: string
}

/** Counts since the core was made. */
export interface SwimCounters {
  /** Datagrams handed to the socket. */
  packetsSent: number
  /** Bytes of those datagrams. */
  bytesSent: number
  /** Datagrams taken from the socket, those that were dropped included. */
  packetsReceived: number
  /** Dropped: bytes that do not decode. */
  malformed: number
  /** Dropped: another cluster's label. */
  foreign: number
  /** Dropped: a protocol version that we do not know. */
  unknownProtocol: number
  /** Members pinged in their turn. */
  probes: number
  /** Probes that neither the member nor a helper answered. */
  failedProbes: number
  /** Accusations of this node that it answered with a newer statement. */
  refutations: number
  /** Anti-entropy answers that were refused because the budget for them was spent. */
  syncsRefused: number
  /** Members that were refused because there are {@link SwimTuning.maximumMembers} already. */
  membersRefused: number
  /** Times that this node itself was stopped for longer than a probe may take. */
  stalls: number
}
