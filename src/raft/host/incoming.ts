import type { Environment } from '../../core/environment.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { Counter } from '../../core/metrics.ts'
import type { PeerIdentity } from '../../interfaces/transport.ts'
import type { GroupId, Incarnation } from '../../model/ids.ts'
import type { Peer } from '../group/peers.ts'
import type { Replica } from '../group/replica.ts'
import { decodeFrame, type Frame } from './frame.ts'
import type { FrameVersions } from './frame-versions.ts'
import type {
  Beat,
  BeatReply,
  EntriesReply,
  EntriesRequest,
  GroupMessage,
  HostMessage,
  Marks,
  SnapshotRequest,
} from './host-messages.ts'

const maximumUnreadable = 10_000

export interface IncomingOptions {
  readonly env: Environment
  readonly incarnation: Incarnation
  readonly versions: FrameVersions
  /** A peer says how far disks have got: before anything else that its frame says. */
  readonly marked: (peer: PeerIdentity, marks: Marks) => void
  /** The replica that a message is for; it may come to be by it. */
  readonly find: (
    groupId: GroupId,
    message: HostMessage,
    recoveryGeneration: number,
    peer: PeerIdentity,
  ) => Replica | undefined
  /** The recovery generation of this node's replica of a group, or of the one that it had; 0 where it knows of none. */
  readonly recoveryGenerationOf: (groupId: GroupId) => number
  /** Answers beside the replicas. */
  readonly answer: (groupId: GroupId, recoveryGeneration: number, to: Peer, message: HostMessage) => void
  readonly beat: (peer: PeerIdentity, beat: Beat | BeatReply, nowMs: number) => void
  readonly snapshotRequested: (replica: Replica, peer: PeerIdentity, request: SnapshotRequest) => void
  readonly entriesRequested: (replica: Replica, peer: PeerIdentity, request: EntriesRequest) => void
  /** No replica takes this message. */
  readonly unclaimed: (peer: PeerIdentity, message: GroupMessage) => void
  /** For a group that is not open yet. Returns why the reply is dropped, if it is. */
  readonly entriesReceived: (
    peer: PeerIdentity,
    message: GroupMessage,
    reply: EntriesReply,
  ) => string | undefined
}

/**
 * Takes frames from the network to the replicas they are for. Nothing that comes in is trusted: what does not decode, is
 * not for a replica of this node in its present life, or comes from another node than the sender's id is bound to, is
 * dropped and counted.
 */
export class Incoming {
  readonly #options: IncomingOptions
  readonly #dropped: Counter
  /** Nodes that speak another version. */
  readonly #unreadable = new Set<string>()

  constructor(options: IncomingOptions) {
    this.#options = options
    this.#dropped = options.env.metrics.counter(
      'keelson_raft_messages_dropped_total',
      'Raft messages that were not for a replica of this node or not from who they said, by reason',
    )
  }

  receive(peer: PeerIdentity, bytes: Uint8Array): void {
    const { env, incarnation } = this.#options
    // Clients name themselves as they like: none of them speaks for a replica.
    if (peer.role !== 'node') {
      this.#drop('notANode', peer)
      return
    }
    let frame: Frame | undefined
    try {
      frame = decodeFrame(bytes, incarnation)
    } catch (error) {
      this.#drop(KeelsonError.is(error) ? error.code : 'failed', peer)
      if (KeelsonError.hasCode(error, 'PROTOCOL_VERSION')) this.#tellOfVersion(peer, error)
      return
    }
    if (frame === undefined) {
      this.#drop('otherIncarnation', peer)
      return
    }
    this.#options.versions.heard(peer, frame.version)
    if (frame.unknownMessages > 0) this.#drop('unknownKind', peer, frame.unknownMessages)
    if (frame.marks !== undefined) this.#options.marked(peer, frame.marks)
    const nowMs = env.clock.monotonicMs()
    for (const beat of frame.beats) this.#options.beat(peer, beat, nowMs)
    for (const message of frame.messages) {
      const reason = this.#route(peer, message, nowMs)
      if (reason !== undefined) this.#drop(reason, peer)
    }
  }

  /** @returns why the message was dropped, if it was */
  #route(peer: PeerIdentity, incoming: GroupMessage, nowMs: number): string | undefined {
    const { groupId, recoveryGeneration, message } = incoming
    if (this.isOutdated(groupId, recoveryGeneration)) {
      this.#refuse(peer, incoming)
      return 'superseded'
    }
    if (message.kind === 'entriesReply') return this.#options.entriesReceived(peer, incoming, message)
    const replica = this.#options.find(groupId, message, recoveryGeneration, peer)
    if (replica === undefined) {
      this.#options.unclaimed(peer, incoming)
      return 'unknownGroup'
    }
    if (recoveryGeneration > replica.recoveryGeneration) {
      return replica.supersede(peer, recoveryGeneration) ? 'superseding' : 'wrongSender'
    }
    if (message.kind === 'superseded') return 'notSuperseded'
    if (message.kind === 'forward' || message.kind === 'forwardReply') {
      return replica.receiveOther(peer, message, nowMs)
    }
    if (message.kind !== 'snapshotRequest' && message.kind !== 'entriesRequest') {
      return replica.receive(peer, message, nowMs)
    }
    if (replica.stopped || message.to !== replica.replicaId) return 'wrongReplica'
    if (!replica.isBound(message.from, peer)) return 'wrongSender'
    if (message.kind === 'snapshotRequest') this.#options.snapshotRequested(replica, peer, message)
    else this.#options.entriesRequested(replica, peer, message)
    return undefined
  }

  /** Whether a message is of a time before the group was recovered from a lost quorum. @internal */
  isOutdated(groupId: GroupId, recoveryGeneration: number): boolean {
    return recoveryGeneration < this.#options.recoveryGenerationOf(groupId)
  }

  /**
   * A replica of an older recovery generation is not listened to, whoever it is, and told so: a group that was recovered
   * from a lost quorum goes on without those that were lost.
   */
  #refuse(peer: PeerIdentity, { groupId, message }: GroupMessage): void {
    if (message.kind === 'superseded') return
    const { from, to } = message
    const answer: HostMessage = { kind: 'superseded', from: to, to: from, term: 0 }
    this.#options.answer(groupId, this.#options.recoveryGenerationOf(groupId), peer, answer)
  }

  /** Once a peer: a node that nobody can understand must not go unnoticed, nor fill the log. */
  #tellOfVersion(peer: PeerIdentity, error: KeelsonError): void {
    if (this.#unreadable.has(peer.nodeId) || this.#unreadable.size >= maximumUnreadable) return
    this.#unreadable.add(peer.nodeId)
    this.#options.env.logger.error({ peer: peer.nodeId, error }, 'the Raft frames of a node cannot be read')
  }

  #drop(reason: string, peer: PeerIdentity, count = 1): void {
    this.#dropped.add(count, { reason })
    this.#options.env.logger.debug({ reason, peer: peer.nodeId }, 'Raft messages were dropped')
  }
}
