import type { Environment } from '../../core/environment.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { Counter } from '../../core/metrics.ts'
import type { PeerIdentity } from '../../interfaces/transport.ts'
import type { GroupId, Incarnation } from '../../model/ids.ts'
import type { Replica } from '../group/replica.ts'
import { decodeFrame, type GroupMessage, type HostMessage, type SnapshotRequest } from './frame.ts'

export interface IncomingOptions {
  readonly env: Environment
  readonly incarnation: Incarnation
  /** The replica that a message is for; it may come to be by it. */
  readonly find: (groupId: GroupId, message: HostMessage, peer: PeerIdentity) => Replica | undefined
  readonly snapshotRequested: (replica: Replica, peer: PeerIdentity, request: SnapshotRequest) => void
}

/**
 * Takes frames from the network to the replicas they are for. Nothing that comes in is trusted: what does not decode, is
 * not for a replica of this node in its present life, or comes from another node than the sender's id is bound to, is
 * dropped and counted.
 */
export class Incoming {
  readonly #options: IncomingOptions
  readonly #dropped: Counter

  constructor(options: IncomingOptions) {
    this.#options = options
    this.#dropped = options.env.metrics.counter(
      'keelson_raft_messages_dropped_total',
      'Raft messages that were not for a replica of this node or not from who they said, by reason',
    )
  }

  receive(peer: PeerIdentity, bytes: Uint8Array): void {
    const { env, incarnation } = this.#options
    let messages: GroupMessage[] | undefined
    try {
      messages = decodeFrame(bytes, incarnation)
    } catch (error) {
      this.#drop(KeelsonError.is(error) ? error.code : 'failed', peer)
      return
    }
    if (messages === undefined) {
      this.#drop('otherIncarnation', peer)
      return
    }
    const nowMs = env.clock.monotonicMs()
    for (const { groupId, message } of messages) {
      const reason = this.#route(peer, groupId, message, nowMs)
      if (reason !== undefined) this.#drop(reason, peer)
    }
  }

  /** @returns why the message was dropped, if it was */
  #route(peer: PeerIdentity, groupId: GroupId, message: HostMessage, nowMs: number): string | undefined {
    const replica = this.#options.find(groupId, message, peer)
    if (replica === undefined) return 'unknownGroup'
    if (message.kind !== 'snapshotRequest') return replica.receive(peer, message, nowMs)
    if (replica.stopped || message.to !== replica.replicaId) return 'wrongReplica'
    if (!replica.isBound(message.from, peer)) return 'wrongSender'
    this.#options.snapshotRequested(replica, peer, message)
    return undefined
  }

  #drop(reason: string, peer: PeerIdentity): void {
    this.#dropped.add(1, { reason })
    this.#options.env.logger.debug({ reason, peer: peer.nodeId }, 'Raft messages were dropped')
  }
}
