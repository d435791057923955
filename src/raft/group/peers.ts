import type { PeerIdentity } from '../../interfaces/transport.ts'
import type { Incarnation, NodeId, ReplicaId } from '../../model/ids.ts'
import { replicaOf } from '../core/configuration.ts'
import type { ConfigurationState } from '../core/types.ts'

/** Where a replica of the group lives. */
export interface Peer {
  readonly nodeId: NodeId
  readonly incarnation: Incarnation
}

const maximumLearned = 256

/**
 * Which life of which node a replica id is bound to: by the configuration that names it, or else by whoever spoke for it
 * first, since a newer configuration than ours may name it.
 */
export class PeerBook {
  /** For replicas that no configuration here names. */
  #learned: Map<ReplicaId, Peer> | undefined
  configuration: ConfigurationState

  constructor(configuration: ConfigurationState) {
    this.configuration = configuration
  }

  find(replicaId: ReplicaId): Peer | undefined {
    return (
      replicaOf(this.configuration.latest, replicaId) ??
      replicaOf(this.configuration.committed, replicaId) ??
      this.#learned?.get(replicaId)
    )
  }

  /**
   * Whether some replica lives there, as far as the configurations say, or only the latest one; anybody, where none is known
   * yet.
   */
  isMember({ nodeId, incarnation }: PeerIdentity, latestOnly = false): boolean {
    const { latest, committed } = this.configuration
    if (latest === undefined) return true
    return [latest, latestOnly ? undefined : committed].some((configuration) =>
      configuration?.replicas.some((r) => r.nodeId === nodeId && r.incarnation === incarnation),
    )
  }

  /** Whether this peer may speak for the replica. */
  isBound(replicaId: ReplicaId, { nodeId, incarnation }: PeerIdentity): boolean {
    const known = this.find(replicaId)
    if (known !== undefined) return known.nodeId === nodeId && known.incarnation === incarnation
    this.#learned ??= new Map()
    if (this.#learned.size >= maximumLearned) {
      const [oldest] = this.#learned.keys()
      this.#learned.delete(oldest as ReplicaId)
    }
    this.#learned.set(replicaId, { nodeId, incarnation })
    return true
  }
}
