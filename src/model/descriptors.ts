import type { Incarnation, NodeId, RangeId, ReplicaId } from './ids.ts'
import type { Locality } from './locality.ts'

/**
 * Part of a replica in its group: learners receive the log but neither vote nor count. The last three exist while the
 * group passes from one set of voters to another in a joint configuration, where a decision takes a majority of the
 * outgoing voters and one of the incoming voters.
 */
export type ReplicaRole =
  /** Votes; in a joint configuration in both halves. */
  | 'voter'
  /** Receives the log. */
  | 'learner'
  /** Votes in the incoming half, and is a voter once the joint configuration is left. */
  | 'incoming'
  /** Votes in the outgoing half, and is gone once the joint configuration is left. */
  | 'outgoing'
  /** Votes in the outgoing half, and is a learner once the joint configuration is left. */
  | 'demoting'

/** One copy of a group on a node. */
export interface ReplicaDescriptor {
  /** Its id within the group, minted by the entry that added it and never reused. */
  readonly replicaId: ReplicaId
  /** The node that it lives on. */
  readonly nodeId: NodeId
  /** The life of that node's data: with another one the replica is lost. */
  readonly incarnation: Incarnation
  /** Whether it votes. */
  readonly role: ReplicaRole
}

/**
 * A range: a stretch of the key space with its replicas. `generation` grows by one with each change of the replicas or
 * of the bounds; the range's own log is the authority for it, and every copy elsewhere only ever moves to a higher one.
 */
export interface RangeDescriptor {
  /** Number of the range, never reused. */
  readonly rangeId: RangeId
  /** First key of the range. Empty: from the beginning. */
  readonly start: Uint8Array
  /** First key after the range. Undefined: to the end. */
  readonly end: Uint8Array | undefined
  /** Grows by one with each change of replicas or bounds. */
  readonly generation: number
  /** By ascending replica id. */
  readonly replicas: readonly ReplicaDescriptor[]
}

/** The life of a node as the control plane decided it. */
export type NodeState = 'active' | 'draining' | 'drained' | 'decommissioned'

/** Whether a node holds its session at the moment. */
export type NodeLiveness = 'live' | 'suspect' | 'dead'

/** A store of a node that has several: one of its disks. */
export interface StoreDescriptor {
  /** Its name, unique in the node. */
  readonly storeId: string
  /** What it can hold, by resource name; of what it does not name, the node's capacity holds. */
  readonly capacity: Readonly<Record<string, number>>
  /** Labels beside those of the node. */
  readonly labels: Readonly<Record<string, string>>
}

/** What a node says of itself when it joins. */
export interface NodeDescriptor {
  /** Name of the node, unique in the cluster. */
  readonly nodeId: NodeId
  /** Life of the node's data directory: another one after it was lost. */
  readonly incarnation: Incarnation
  /** Where other nodes reach it: `host:port`, first choice first. */
  readonly addresses: readonly string[]
  /** Where it stands, from the widest tier to the narrowest. */
  readonly locality: Locality
  /** What it can hold, in the host's own units by resource name (bytes, ranges, cpu). */
  readonly capacity: Readonly<Record<string, number>>
  /** Free names that policies may refer to. */
  readonly labels: Readonly<Record<string, string>>
  /** Its stores, where it has several. Absent: it has one, or names them in its reports. */
  readonly stores?: readonly StoreDescriptor[]
}

/** How a store does, as its node reports it. */
export interface StoreReport {
  /** Its name, unique in the node. */
  readonly storeId: string
  /** What it has to do, by resource name: `ioOverload` and `diskLatencyMs` say how hard-pressed it is. */
  readonly load: Load
  /** What it can hold now; of what it does not name, what the node said when it joined. */
  readonly capacity: Load
  /** `draining`: it is to be emptied. `failed`: what it held is lost. Absent: neither. */
  readonly state?: 'draining' | 'failed'
}

/** Load of a replica or a node: amounts by resource name, rates per second. */
export type Load = Readonly<Record<string, number>>
