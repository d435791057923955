import type { StateMachine } from '../../interfaces/state-machine.ts'
import type { PeerIdentity } from '../../interfaces/transport.ts'
import type { GroupId, ReplicaId } from '../../model/ids.ts'
import type { GroupBookkeeping } from '../group/bookkeeping.ts'
import { comesAfter, floorAfter, type GroupMetadata } from '../group/metadata.ts'
import type { RaftGroup } from '../group/raft-group.ts'
import type { Replica } from '../group/replica.ts'
import type { HostMessage } from './host-messages.ts'

/** Requests that an empty replica can answer. */
const awakening: ReadonlySet<HostMessage['kind']> = new Set([
  'append',
  'heartbeat',
  'snapshotOffer',
  'preVote',
  'vote',
])

/** What only a leader sends. */
const leading: ReadonlySet<HostMessage['kind']> = new Set(['append', 'heartbeat', 'snapshotOffer'])

/** What waits to become a replica. */
export interface WaitingReplica {
  readonly group: RaftGroup
  readonly machine: StateMachine
  readonly stored: GroupBookkeeping
  /** What is left of the replica that was here before: only a later one is taken. */
  readonly tombstone: GroupMetadata | undefined
}

/** The replicas of a host that wait, empty, for somebody to tell them which ones they are. */
export class EmptyReplicas {
  readonly #waiting = new Map<GroupId, WaitingReplica>()

  get(groupId: GroupId): WaitingReplica | undefined {
    return this.#waiting.get(groupId)
  }

  values(): Iterable<WaitingReplica> {
    return this.#waiting.values()
  }

  set(groupId: GroupId, waiting: WaitingReplica): void {
    this.#waiting.set(groupId, waiting)
  }

  delete(groupId: GroupId): void {
    this.#waiting.delete(groupId)
  }

  /**
   * Somebody speaks to a replica that waits empty: the message says which one it is. It may be asked for its vote before
   * a leader has spoken to it: when one member alone bootstrapped the group, or when it was promoted meanwhile. That is
   * safe, since this incarnation of the disk has never been this replica before: it has nothing to have forgotten.
   *
   * @returns what becomes a replica, and the highest id that it can not have
   */
  awaken(
    groupId: GroupId,
    message: HostMessage,
    recoveryGeneration: number,
  ): { readonly waiting: WaitingReplica; readonly floor: ReplicaId } | undefined {
    const waiting = this.#waiting.get(groupId)
    if (waiting === undefined || !comesAfter(waiting.tombstone, message.to, recoveryGeneration)) {
      return undefined
    }
    if (!awakening.has(message.kind)) return undefined
    this.#waiting.delete(groupId)
    return { waiting, floor: floorAfter(waiting.tombstone, recoveryGeneration) }
  }
}

/**
 * Whether an empty replica goes on under the id by which a leader calls it. A message that was long on its way may have
 * awakened it as a replica that was removed since, or that a leader minted who could not commit it: nobody else would
 * ever speak to that one, and the group would wait for the other for ever.
 *
 * It may be another id, higher or lower, because nothing is forgotten: the entry that adds a replica names the node and
 * this very life of its disk, this disk has been there since the last replica that was destroyed on it (`floor`), and
 * what it promised since, its term and vote, goes along. So for the group it is one replica that was removed and added
 * again with its disk intact. It has acknowledged no entry, under whatever id, and the two ids are in no configuration
 * together: a node has one replica in it. A late message may turn it back, with the same argument; the leader's next
 * one wins, and its first entry ends this.
 */
export function mayTakeId(
  replica: Replica,
  message: HostMessage,
  peer: PeerIdentity,
  isReceiving: boolean,
): boolean {
  return (
    leading.has(message.kind) &&
    message.to > replica.metadata.floor &&
    replica.isEmpty &&
    !isReceiving &&
    replica.isBound(message.from, peer)
  )
}
