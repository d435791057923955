import type { LogEntry, LogPosition } from '../../interfaces/log-store.ts'
import type { GroupId } from '../../model/ids.ts'
import type { Message, MessageHeader } from '../core/messages.ts'
import type { ReplicaMessage } from '../group/forwarding.ts'

/** Asks the receiver's host to stream a snapshot of at least this position. The cores do not see it. */
export interface SnapshotRequest extends MessageHeader {
  readonly kind: 'snapshotRequest'
  readonly position: LogPosition
  /** Comes back in the stream's header, so that a late stream is told from the one that is waited for. */
  readonly requestId: number
  /** The view of which the rest is wanted, as a stream named it; 0 for a new one. */
  readonly snapshotId: number
  /** The number of the first piece that is wanted. */
  readonly nextPiece: number
}

/**
 * The answer to whoever speaks in an older recovery generation: the group was recovered from a lost quorum without the
 * receiver, in the generation that the message carries.
 */
export interface Superseded extends MessageHeader {
  readonly kind: 'superseded'
}

/** Asks the receiver's host for entries that the sender's disk has damaged. The cores do not see it. */
export interface EntriesRequest extends MessageHeader {
  readonly kind: 'entriesRequest'
  readonly first: number
  readonly last: number
  /** Comes back in the reply. */
  readonly requestId: number
}

/** Entries as the sender's log has them, from the first that was asked for; none if it does not have that one. */
export interface EntriesReply extends MessageHeader {
  readonly kind: 'entriesReply'
  readonly requestId: number
  readonly first: number
  readonly entries: readonly LogEntry[]
}

/** A node is there, and has replicas that lead some of the receiver's. See NodeLiveness. */
export interface Beat {
  readonly kind: 'beat'
  /** Changes whenever something that the sender sent before may have been lost. */
  readonly stream: number
  /** Grows within the stream. */
  readonly sequence: number
}

/** The answer to a {@link Beat}. */
export interface BeatReply {
  readonly kind: 'beatReply'
  /** Copied from the beat. */
  readonly stream: number
  readonly sequence: number
  /** Under which the sender pledges itself to the receiver for its replicas that rest. Another one ends the one before. */
  readonly epoch: number
  /** For how long, as in the answer to a heartbeat. */
  readonly pledgeMs: number
}

/** What hosts send to each other: the messages of the cores and their own. */
export type HostMessage =
  | Message
  | SnapshotRequest
  | Superseded
  | EntriesRequest
  | EntriesReply
  | ReplicaMessage

/** How far a disk had got in a life of its node's host. */
export interface LifeMark {
  /** Drawn at random when the life began. */
  readonly life: number
  readonly position: number
}

/** How far two disks have got, so that one of which an older image came back is found out. */
export interface Marks extends LifeMark {
  readonly kind: 'marks'
  /** Of the receiver, as far as the sender has heard: of the lives that got furthest. */
  readonly known: readonly LifeMark[]
}

/** A message with the group it is for. */
export interface GroupMessage {
  readonly groupId: GroupId
  /** The last recovery from a lost quorum that the sender goes along with. */
  readonly recoveryGeneration: number
  readonly message: HostMessage
}
