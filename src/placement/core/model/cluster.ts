import type {
  Load,
  NodeDescriptor,
  NodeLiveness,
  NodeState,
  RangeDescriptor,
} from '../../../model/descriptors.ts'
import type { NodeId, RangeId, ReplicaId, TableId } from '../../../model/ids.ts'

/** Most voters that a range can be said to have: the two numbers share a byte of each range. */
export const maximumVoters = 15

/** Most replicas without a vote that a range can be said to have. */
export const maximumNonVoters = 15

/**
 * How hard-pressed a store is, from what takes care to what is emptied:
 *
 * - `strained`: near to overload. Nothing that leaves an overloaded store comes here; otherwise it is as any other.
 * - `recovering`: it was overloaded lately. It gets no replica and no lease while a store that is not overloaded will do.
 * - `overloaded`: the same, and leases leave it.
 * - `exhausted`: the same, and replicas leave it, too.
 */
export type StoreOverload = 'strained' | 'recovering' | 'overloaded' | 'exhausted'

/** By their numbers in a table of stores; 0 for a store that has nothing to complain of. @internal */
export const overloadLevels: readonly (StoreOverload | undefined)[] = Object.freeze([
  undefined,
  'strained',
  'recovering',
  'overloaded',
  'exhausted',
])

/** Levels as numbers. @internal */
export const overloadLevel: Readonly<Record<StoreOverload, number>> = Object.freeze({
  strained: 1,
  recovering: 2,
  overloaded: 3,
  exhausted: 4,
})

/** One disk of a node that has several: the unit that holds replicas. */
export interface PlacementStore {
  /** Its name within the node. */
  readonly storeId: string
  /** What it can hold, by resource name; of what it does not name, the node's capacity holds. */
  readonly capacity?: Readonly<Record<string, number>>
  /** Labels beside those of its node. */
  readonly labels?: Readonly<Record<string, string>>
  /** `draining`: it is to be emptied. `failed`: what it held is lost. Default: `active`. */
  readonly state?: 'active' | 'draining' | 'failed'
  /** How hard-pressed it is. Default: as its node is. */
  readonly overload?: StoreOverload
}

/** A node, as placement needs to know it. */
export interface PlacementNode {
  /** What the node says of itself. */
  readonly descriptor: NodeDescriptor
  /** Where it is in its life: only active nodes get replicas. */
  readonly state: NodeState
  /** Whether it is alive, suspect or dead. */
  readonly liveness: NodeLiveness
  /** For how long the liveness has been what it is. */
  readonly forMs: number
  /**
   * It is worked on and will be back: leases leave it, nothing is brought to it, and its replicas are not lost, however
   * long it is silent. Whoever sets it takes it away when the time that was granted is over. Default: false.
   */
  readonly maintenance?: boolean
  /** How hard-pressed it is, as `OverloadMonitor` makes it out. Default: not at all. */
  readonly overload?: StoreOverload
  /** Its disks, where it has several. No two replicas of a range are on one node, whatever its stores. Default: one. */
  readonly stores?: readonly PlacementStore[]
}

/** A range, as placement needs to know it. */
export interface PlacementRange {
  /** The range as the directory or its own report has it. */
  readonly descriptor: RangeDescriptor
  /** Replica that holds the lease, when it is known. */
  readonly leaseHolder?: ReplicaId
  /** Load of one replica; `bytes` is its size. */
  readonly load?: Load
  /** Voters that this range is to have; default: what the policy says. At most 15. */
  readonly replicationFactor?: number
  /** What leading takes on top of `load`. Default: nothing. */
  readonly leaderLoad?: Load
  /** The table whose rows it holds; policies may refer to it. */
  readonly tableId?: TableId
  /** Replicas without a vote that the range is to have, at most 15. Default: none. */
  readonly nonVoters?: number
  /** Stores of replicas, where nodes have several. A replica that is not named is on the first store of its node. */
  readonly stores?: ReadonlyMap<ReplicaId, string>
}

/** What kind of change a move makes. */
export type MoveKind = 'add' | 'replace' | 'remove' | 'transferLease' | 'addNonVoter' | 'replaceNonVoter'

/** Whether what a move brings stays without a vote. */
export function bringsNonVoter(kind: MoveKind): boolean {
  return kind === 'addNonVoter' || kind === 'replaceNonVoter'
}

/** A move that is under way: it counts as done. */
export interface MoveInFlight {
  /** The range that is moved. */
  readonly rangeId: RangeId
  /** What the move is for. */
  readonly kind: MoveKind
  /** Node that gets a replica. */
  readonly add?: NodeId
  /** Which of its stores, where it has several. Default: the first. */
  readonly storeId?: string
  /** Replica that goes. */
  readonly remove?: ReplicaId
  /** Replica that gets the lease. */
  readonly leaseTo?: ReplicaId
}

/** From what a range is held back: `all` moves, or only `improvements`. */
export type RangeHold = 'all' | 'improvements'

/** What is true of a node; a set of bits. */
export const nodeBits: Readonly<{
  /** It holds its session. */
  up: number
  /** It may be given replicas: active and live beyond doubt. */
  eligible: number
  /** What it held is lost: dead for too long, or decommissioned. */
  gone: number
  /** It is to be emptied. */
  leaving: number
  /** It is worked on and comes back: leases leave it. */
  resting: number
}> = Object.freeze({ up: 1, eligible: 2, gone: 4, leaving: 8, resting: 16 })

/** What is true of a replica; a set of bits. */
export const replicaBits: Readonly<{
  /** It votes, or will once a joint configuration is left. */
  voter: number
  /** Its node is up, in the incarnation that made it: it can vote. */
  up: number
  /** It will not come back: its node is gone, unknown, or lost its disk. */
  lost: number
  /** Its node is to be emptied. */
  leaving: number
  /** It holds the lease. */
  lease: number
  /** Its node is worked on: no lease stays there. */
  resting: number
}> = Object.freeze({ voter: 1, up: 2, lost: 4, leaving: 8, lease: 16, resting: 32 })
