import type { Incarnation, NodeId } from '../../model/ids.ts'
import type { Coordinate } from './coordinates.ts'
import type { Statement } from './statement.ts'
import type { MemberState } from './types.ts'

/** Who sent a packet, in its own words. */
export interface PacketSender {
  /** The node that sends it. */
  readonly nodeId: NodeId
  /** Life of its data directory. */
  readonly incarnation: Incarnation
  /** Number of its newest statement about itself. */
  readonly version: number
}

/** Asks the receiver to answer. */
export interface PingMessage {
  /** Asks for an `ack`. */
  readonly kind: 'ping'
  /** Names the probe: its answers repeat it. */
  readonly sequence: number
  /** Whom the sender means; anybody else at that address stays silent. */
  readonly target: NodeId
}

/** Answers a ping, or passes an answer on. */
export interface AckMessage {
  /** The target is there. */
  readonly kind: 'ack'
  /** Names the probe that it answers. */
  readonly sequence: number
  /** Whose answer it is. */
  readonly responder: NodeId
  /** Where the responder is, as it estimates; absent when it does not estimate, or in an answer that was passed on. */
  readonly coordinate?: Coordinate
}

/**
 * Asks the receiver to ping `target`. It does so at the address that it knows itself, so that nobody can make members
 * send packets to a third party.
 */
export interface IndirectPingMessage {
  /** Asks for an `ack` of the target, or a `nack`. */
  readonly kind: 'indirectPing'
  /** Names the probe: its answers repeat it. */
  readonly sequence: number
  /** The member to ping. */
  readonly target: NodeId
  /** How long the sender waits for a direct answer: the `nack` comes at 80 % of it. */
  readonly patienceMs: number
}

/** The receiver of an indirect ping is there, but has had no answer from the target (Lifeguard). */
export interface NackMessage {
  /** No answer yet. */
  readonly kind: 'nack'
  /** Names the probe that it answers. */
  readonly sequence: number
}

/** What a member says about itself. */
export interface AliveMessage {
  /** The member is there: its own statement. */
  readonly kind: 'alive'
  /** What it says. */
  readonly statement: Statement
}

/** What a member says about another one. */
export interface AccusationMessage {
  /** `suspect`: it does not answer the accuser. `dead`: nobody refuted the suspicion in time, or it was expelled. */
  readonly kind: 'suspect' | 'dead'
  /** The member that is accused. */
  readonly nodeId: NodeId
  /** Statement of the member that is in doubt; a higher one refutes it. */
  readonly version: number
  /** Who got no answer from it. */
  readonly accuser: NodeId
}

/** A member's goodbye, or its removal by an operator. */
export interface LeftMessage {
  /** The member is gone for good: nobody suspects it. */
  readonly kind: 'left'
  /** The member that went. */
  readonly nodeId: NodeId
  /** The life of it that ended: another one may come back; 0 when it is not known. */
  readonly incarnation: Incarnation
  /** Number of its last statement about itself. */
  readonly version: number
}

/** What spreads about members on the back of other messages. */
export type UpdateMessage = AliveMessage | AccusationMessage | LeftMessage

/** Something that a host told all members. */
export interface UserEventMessage {
  /** Spreads like an update. */
  readonly kind: 'event'
  /** Who told it. */
  readonly origin: NodeId
  /** Lamport time at which it was told. */
  readonly time: number
  /** Tells apart what one origin told, over its restarts. */
  readonly id: number
  /** What it is about. */
  readonly name: string
  /** In the host's own encoding. */
  readonly payload: Uint8Array
}

/**
 * A question to all members. Answers go to where the one who answers knows the origin to be, so that nobody can make all
 * members send packets to a third party.
 */
export interface QueryMessage {
  /** Spreads like an update. */
  readonly kind: 'query'
  /** Who asks. */
  readonly origin: NodeId
  /** Lamport time at which it was asked. */
  readonly time: number
  /** Tells apart what one origin asked, over its restarts. */
  readonly id: number
  /** What is asked. */
  readonly name: string
  /** In the host's own encoding. */
  readonly payload: Uint8Array
  /** How long answers are still waited for, in whole milliseconds; absent where the asker's release does not say (before protocol 5). */
  readonly leftMs?: number
}

/** An answer to a query. */
export interface AnswerMessage {
  /** Goes to the origin of the query. */
  readonly kind: 'answer'
  /** The id of the query. */
  readonly id: number
  /** In the host's own encoding. */
  readonly payload: Uint8Array
}

/** A member as it stands in one node's view, for anti-entropy. */
export interface SyncRecord {
  /** What the member said last, as far as it is known. */
  readonly statement: Statement
  /** What the sender takes it to be. */
  readonly state: MemberState
  /** Number under which it is held to be that; above the statement's for the dead whose last words were not heard. */
  readonly version: number
  /** Statement that is in doubt; equals `version` unless the member is suspect. */
  readonly accusedVersion: number
  /** How long it has been dead or gone, so that all forget it at the same time; 0 for the others. */
  readonly ageMs: number
  /** Who got no answer from it, as the sender heard; empty when it is not known, and for members that are not accused. */
  readonly accuser: NodeId
}

/** Asks whether the receiver's view is another than the sender's. */
export interface OfferMessage {
  /** Answered by a `state` if the views differ. */
  readonly kind: 'offer'
  /** Digests of the sender's view, one for each bucket of members. */
  readonly buckets: Uint32Array
  /** Lamport time of the newest event that the sender knows. */
  readonly clock: number
  /** Digest of the news that the sender heard of late. */
  readonly news: number
}

/** Asks for the news of late. */
export interface RecallMessage {
  /** Answered by what the receiver heard of late. */
  readonly kind: 'recall'
}

/** Tells what the sender knows of some buckets. */
export interface StateMessage {
  /** A part of a view. */
  readonly kind: 'state'
  /** The buckets, a bit for each. */
  readonly mask: number
  /** Asks the receiver for its own members in the same buckets. */
  readonly wantReturn: boolean
  /** Members of those buckets, as many as fit. */
  readonly records: readonly SyncRecord[]
}

/** A node introduces itself to an address where it knows nobody. */
export interface HelloMessage {
  /** Comes before everything else in its packet. */
  readonly kind: 'hello'
  /** What the receiver's host may want to see before it lets the node in; may be empty. */
  readonly token: Uint8Array
}

/** The answer to a hello that was not welcome. */
export interface RefusalMessage {
  /** The receiver is not let in. */
  readonly kind: 'refusal'
  /** For people. */
  readonly reason: string
}

/** Asks for long metadata. */
export interface FetchMessage {
  /** Answered by a `chunk`. */
  readonly kind: 'fetch'
  /** Whose metadata. */
  readonly nodeId: NodeId
  /** Under which statement. */
  readonly version: number
  /** From which byte on. */
  readonly offset: number
}

/** A part of long metadata. */
export interface ChunkMessage {
  /** Answers a `fetch`. */
  readonly kind: 'chunk'
  /** Whose metadata. */
  readonly nodeId: NodeId
  /** Under which statement. */
  readonly version: number
  /** Where the bytes belong. */
  readonly offset: number
  /** A part of the metadata. */
  readonly bytes: Uint8Array
}

/** Asks whom the receiver knew first by the sender's name, because another living process uses it too. */
export interface ContestMessage {
  /** Answered by a `ballot`. */
  readonly kind: 'contest'
  /** Names the vote. */
  readonly sequence: number
}

/** A vote for one of two processes of one name. */
export interface BallotMessage {
  /** Answers a `contest`. */
  readonly kind: 'ballot'
  /** The vote. */
  readonly sequence: number
  /** Of the one that was known first. */
  readonly incarnation: Incarnation
  /** Of the one that was known first. */
  readonly address: string
}

/** Asks whoever answers the packet to repeat a number, so that the answer is known to be one. */
export interface ChallengeMessage {
  /** Concerns the whole packet. Alone with a `proof` it asks for the offer again, and for a proof that it is a new one. */
  readonly kind: 'challenge'
  /** To be repeated in a `proof`. */
  readonly number: number
}

/** Repeats the number of a `challenge`: this packet was made just now, for the receiver. */
export interface ProofMessage {
  /** Concerns the whole packet. */
  readonly kind: 'proof'
  /** The number of the challenge. */
  readonly number: number
}

/** All messages. A packet holds several. */
export type SwimMessage =
  | PingMessage
  | AckMessage
  | IndirectPingMessage
  | NackMessage
  | UpdateMessage
  | OfferMessage
  | RecallMessage
  | StateMessage
  | UserEventMessage
  | QueryMessage
  | AnswerMessage
  | HelloMessage
  | RefusalMessage
  | FetchMessage
  | ChunkMessage
  | ContestMessage
  | BallotMessage
  | ChallengeMessage
  | ProofMessage

/** A decoded packet. */
export interface DecodedPacket {
  /** Who sent it. */
  readonly sender: PacketSender
  /** In the order in which they were packed. Kinds that this release does not know are left out. */
  readonly messages: readonly SwimMessage[]
}
