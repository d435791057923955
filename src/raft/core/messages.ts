import type { LogEntry, LogPosition } from '../../interfaces/log-store.ts'
import type { ReplicaId } from '../../model/ids.ts'

/** Fields of every message. */
export interface MessageHeader {
  readonly from: ReplicaId
  readonly to: ReplicaId
  /** The sender's term when it made the message; for a reply, the term in which the request was answered. */
  readonly term: number
}

/** "Would you vote for me in `candidateTerm`?" Binds nobody and changes nobody's term (thesis, section 9.6). */
export interface PreVoteRequest extends MessageHeader {
  readonly kind: 'preVote'
  readonly candidateTerm: number
  readonly lastIndex: number
  readonly lastTerm: number
}

/** The answer. A refusal carries the refuser's own term, so that a pre-candidate with a lower one catches up. */
export interface PreVoteReply extends MessageHeader {
  readonly kind: 'preVoteReply'
  /** Copied from the request. */
  readonly candidateTerm: number
  readonly granted: boolean
  /**
   * The asker's removal is committed: its id is not above the commit index of the one who answers and not in the
   * configuration committed there. It may stop for good.
   */
  readonly removed: boolean
}

/** Asks for the vote in `term`. */
export interface VoteRequest extends MessageHeader {
  readonly kind: 'vote'
  readonly lastIndex: number
  readonly lastTerm: number
  /** The leader itself told the candidate to campaign, so voters that hear the leader need not protect it. */
  readonly transfer: boolean
}

/** The answer to a {@link VoteRequest}. A granted one leaves only after the vote is durable. */
export interface VoteReply extends MessageHeader {
  readonly kind: 'voteReply'
  readonly granted: boolean
}

/** Entries that follow `prevIndex`, which the receiver must have with `prevTerm`. May be empty: a probe. */
export interface AppendRequest extends MessageHeader {
  readonly kind: 'append'
  readonly prevIndex: number
  readonly prevTerm: number
  /** Contiguous from `prevIndex + 1`, terms ascending. */
  readonly entries: readonly LogEntry[]
  readonly commit: number
}

/** The answer to an {@link AppendRequest}, and to a {@link SnapshotOffer} once the snapshot is in place. */
export interface AppendReply extends MessageHeader {
  readonly kind: 'appendReply'
  /**
   * Accepted: everything up to `index` is durable here and equal to the log of the leader of `term`. Refused: the
   * request's `prevIndex`.
   */
  readonly index: number
  readonly accepted: boolean
  /** Refused: the highest index at which the logs can still agree, and its term here. Accepted: 0 and 0. */
  readonly hintIndex: number
  readonly hintTerm: number
}

/** Keeps followers from campaigning, spreads the commit index and confirms leadership for reads. */
export interface Heartbeat extends MessageHeader {
  readonly kind: 'heartbeat'
  /** Grows with each round of heartbeats for as long as the leader's process lives. Never used twice. */
  readonly round: number
  /** Never above `match`. */
  readonly commit: number
  /** What the receiver has acknowledged to this leader in this term; it must still have it. */
  readonly match: number
  /** The leader has nothing more to say: the receiver may go to rest, if its host lets it. Made by the core. */
  readonly idle?: true
  /**
   * The epoch of the receiver's node under which it may rest. The sender's host puts it there if the message is idle, the
   * receiver's host takes it away if the epoch has ended. Without it nobody rests.
   */
  readonly epoch?: number
}

/** The answer to a {@link Heartbeat}. */
export interface HeartbeatReply extends MessageHeader {
  readonly kind: 'heartbeatReply'
  /** Copied from the request. */
  readonly round: number
  /**
   * For how long, at least, the sender votes for nobody else from the moment at which the request came in, by true time: an
   * integer. 0 for no such promise.
   */
  readonly pledgeMs: number
  /** Copied from the request when the sender rests from now on. */
  readonly epoch?: number
}

/** A follower that hears nothing asks the one that it last rested under. */
export interface AskLeading extends MessageHeader {
  readonly kind: 'askLeading'
  readonly ledTerm: number
}

/** The sender does not lead in `ledTerm` any more, and never will. */
export interface NotLeading extends MessageHeader {
  readonly kind: 'notLeading'
  readonly ledTerm: number
}

/** The leader has compacted what the receiver needs: it should fetch a snapshot from the leader's host. */
export interface SnapshotOffer extends MessageHeader {
  readonly kind: 'snapshotOffer'
  /** The snapshot must reach at least here. */
  readonly position: LogPosition
}

/** A follower asks up to where it must have applied the log to read what nobody can miss. */
export interface ReadIndexRequest extends MessageHeader {
  readonly kind: 'readIndex'
  /** Never used twice, not by a later life of the sender either. */
  readonly requestId: number
  /** The leader may answer by its lease. */
  readonly lease: boolean
}

/** The answer to a {@link ReadIndexRequest}. */
export interface ReadIndexReply extends MessageHeader {
  readonly kind: 'readIndexReply'
  /** Copied from the request. */
  readonly requestId: number
  /** At least what was acknowledged before the request came in; 0 when the leader has too many reads waiting. */
  readonly index: number
}

/** The leader hands over: campaign at once. */
export interface TimeoutNow extends MessageHeader {
  readonly kind: 'timeoutNow'
}

/** Everything that replicas of one group send to each other. */
export type Message =
  | PreVoteRequest
  | PreVoteReply
  | VoteRequest
  | VoteReply
  | AppendRequest
  | AppendReply
  | Heartbeat
  | HeartbeatReply
  | SnapshotOffer
  | TimeoutNow
  | ReadIndexRequest
  | ReadIndexReply
  | AskLeading
  | NotLeading

/** {@link Message} kinds by name. */
export type MessageKind = Message['kind']
