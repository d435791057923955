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

/** Versions of the protocol that a member speaks, both included. */
export interface ProtocolRange {
  /** The oldest. */
  readonly minimum: number
  /** The newest. */
  readonly maximum: number
}

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
  /** What the member tells about itself, in the host's own encoding; empty while long ones have not arrived. */
  readonly metadata: Uint8Array
  /** Length of the metadata; above 512 they travel apart from the rest and arrive later. */
  readonly metadataBytes: number
  /** Versions of the protocol that the member speaks. */
  readonly protocols: ProtocolRange
  /** What this node takes it to be. */
  readonly state: MemberState
}

/**
 * What happened in one node's view.
 *
 * - `joined`: a member is alive that was unknown, dead or gone.
 * - `suspected`: a member is under suspicion. `alive`: it has refuted it.
 * - `failed`: a member was declared dead. `left`: it said goodbye.
 * - `updated`: its address, metadata or incarnation is another, or its long metadata have arrived.
 * - `degraded`: it answers by streams, and by datagrams no more. `restored`: it answers by datagrams again.
 * - `expelled`: the others hold us out, because we could not be reached reliably; `member` is this node. It comes back by itself
 *   (`joined`) when its paths are good.
 * - `removed`: an operator removed this life of us from the cluster. It does not come back.
 * - `refused`: a seed did not let us in; `reason` says why.
 * - `unanswered`: none of the seeds has answered for ten probe intervals or more; `reason` names them. They are asked on.
 * - `conflict`: another living process uses our node id; `member` is what it says about itself, `reason` says that a vote is
 *   held, and then whom the name stays with: whoever was known first by most. The other one falls silent.
 */
export type SwimEventType =
  | 'joined'
  | 'suspected'
  | 'alive'
  | 'failed'
  | 'left'
  | 'updated'
  | 'degraded'
  | 'restored'
  | 'expelled'
  | 'removed'
  | 'refused'
  | 'unanswered'
  | 'conflict'

/** A change of one node's view. */
export interface SwimEvent {
  /** What happened to the member. */
  readonly type: SwimEventType
  /** The member after the change. */
  readonly member: SwimMember
  /** Who got no answer from it, for `suspected` and `failed`; otherwise empty. */
  readonly accusedBy: readonly NodeId[]
  /** For people: why we were refused, which seeds keep silent, or what became of a conflict; otherwise absent. */
  readonly reason?: string
}

/** What hosts told, asked or answered. */
export type SwimDelivery =
  | {
      /** Somebody told all members something. */
      readonly kind: 'event'
      /** Who told it. */
      readonly origin: NodeId
      /** Lamport time: what was told because of something else has a higher one. */
      readonly time: number
      /** Tells apart what one origin told, over its restarts. */
      readonly id: number
      /** What it is about. */
      readonly name: string
      /** In the host's own encoding. */
      readonly payload: Uint8Array
    }
  | {
      /** Somebody asks all members something. */
      readonly kind: 'query'
      /** Who asks. */
      readonly origin: NodeId
      /** Lamport time: of two questions the one that was asked because of the other has the higher one. */
      readonly time: number
      /** Names the query in its answers. */
      readonly id: number
      /** What is asked. */
      readonly name: string
      /** In the host's own encoding. */
      readonly payload: Uint8Array
      /** How long answers are still waited for; infinity where the asker's release does not say. */
      readonly leftMs: number
    }
  | {
      /** Somebody answered a query of ours. */
      readonly kind: 'answer'
      /** Names the query. */
      readonly id: number
      /** Who answered. */
      readonly responder: NodeId
      /** In the host's own encoding. */
      readonly payload: Uint8Array
    }

/** By which path a member's answer to a probe came. */
export type AnswerPath =
  | {
      /** By a datagram from the member itself, or by a stream because no datagram of it came. */
      readonly kind: 'direct' | 'stream'
    }
  | {
      /** By a datagram, by way of another member. */
      readonly kind: 'relay'
      /** Who passed it on. */
      readonly by: NodeId
    }

/** That somebody got no answer from a member, and how we know. */
export interface SwimAccusation {
  /** Who got no answer. */
  readonly accuser: NodeId
  /** Who told us of it first; the accuser itself, or any member that passes news on. This node, for its own failed probe. */
  readonly toldBy: NodeId
  /** How long ago we heard of it. */
  readonly agoMs: number
}

/** A probe of this node that was not answered. */
export interface FailedProbe {
  /** How long ago it was given up. */
  readonly agoMs: number
  /** Who were asked to try after no direct answer had come. */
  readonly relays: readonly NodeId[]
  /** Those of them that did not even say that they failed: perhaps it is us who do not hear. */
  readonly silentRelays: readonly NodeId[]
  /** A stream was tried too. */
  readonly byStream: boolean
}

/** Why a node holds a member to be what it is. */
export interface SwimExplanation {
  /** The member as this node sees it. */
  readonly member: SwimMember
  /** How long the member has been in this state, as far as we know. */
  readonly inStateForMs: number
  /** Who got no answer from it. Empty for members that are alive. */
  readonly accusedBy: readonly NodeId[]
  /** The accusations one by one, the first one first; the others confirmed it. As `accusedBy`. */
  readonly accusations: readonly SwimAccusation[]
  /** More accusers that would shorten the suspicion. */
  readonly confirmationsWanted: number
  /** Accusations that it refuted within the last {@link SwimTuning.expelWindowMs}. */
  readonly recentRefutations: number
  /** Others hold it out because it could not be reached reliably, or an operator removed it. */
  readonly expelled: boolean
  /** Since when it answers by streams only; undefined when it answers by datagrams, or not at all. */
  readonly degradedForMs: number | undefined
  /** The round trip to be expected by its coordinate and ours; undefined when one is not known. */
  readonly estimatedRoundTripMs: number | undefined
  /** When it will be declared dead if it does not refute; undefined unless it is under suspicion. */
  readonly declaredDeadInMs: number | undefined
  /** Since when it last answered a probe of ours; undefined if it never did. */
  readonly answeredAgoMs: number | undefined
  /** By which path that answer came. */
  readonly answeredBy: AnswerPath | undefined
  /** Our own last probe that it did not answer; undefined when there is none. */
  readonly failedProbe: FailedProbe | undefined
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
  /** Members that this node expelled because they could not be reached reliably. */
  expulsions: number
  /** Requests that were not answered, because the budget for answers was spent or one packet held too many of them. */
  requestsRefused: number
  /** Members that the host or their protocol did not let in. */
  membersVetoed: number
  /** Members that were refused because there are {@link SwimTuning.maximumMembers} already. */
  membersRefused: number
  /** Long metadata that were not fetched, as {@link SwimTuning.maximumMetadataCacheBytes} are kept or on their way already. */
  metadataRefused: number
  /** Events and queries that were not passed on, not kept for whoever missed them, or not heard: too many came at once. */
  newsDropped: number
  /** Times that this node itself was stopped for longer than a probe may take. */
  stalls: number
}
