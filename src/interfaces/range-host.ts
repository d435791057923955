import type { CallOptions } from '../core/async.ts'
import type { Load, RangeDescriptor, ReplicaDescriptor } from '../model/descriptors.ts'
import type { Incarnation, NodeId, RangeId, ReplicaId } from '../model/ids.ts'

/** A change of a range's replicas that the control plane wants. */
export type ReplicaChange =
  | {
      /** Brings a copy to a node: it catches up without a vote. */
      readonly type: 'addLearner'
      /** The node that gets the learner. */
      readonly nodeId: NodeId
      /** The life of that node's data that is meant. */
      readonly incarnation: Incarnation
      /** Which of the node's stores the copy is meant for, where it has several. Absent: the node chooses. */
      readonly storeId?: string
    }
  | {
      /** Gives a learner that has caught up its vote. */
      readonly type: 'promote'
      /** The learner. */
      readonly replicaId: ReplicaId
    }
  | {
      /** Takes a replica out of the configuration. */
      readonly type: 'remove'
      /** The replica that goes. */
      readonly replicaId: ReplicaId
    }
  | {
      /**
       * Gives a learner that has caught up its vote and takes a voter out, both at once, through a joint configuration. It is
       * asked only of ranges all of whose replicas say that they can ({@link ObservedReplica.swaps}).
       */
      readonly type: 'swap'
      /** The learner that becomes a voter. */
      readonly promote: ReplicaId
      /** The voter that goes. */
      readonly remove: ReplicaId
    }
  | {
      /** Hands the lease on. */
      readonly type: 'transferLease'
      /** The voter that is to hold it. */
      readonly replicaId: ReplicaId
    }

/** A change of a range's bounds that the control plane wants. What a host does for each is described at {@link RangeHost}. */
export type BoundsChange =
  | {
      /**
       * Cuts the range in two. It keeps its id and what lies before the key; what lies from the key on becomes a range of its
       * own on the same nodes, where each replica is made out of what the parent's replica there had. It is asked only of
       * ranges that say where they lie ({@link ObservedReplica.bounds}).
       */
      readonly type: 'split'
      /** First key of the right-hand range, inside the range. */
      readonly key: Uint8Array
      /** Id of the right-hand range, which no range had before. */
      readonly rightRangeId: RangeId
    }
  | {
      /**
       * Takes no reads, writes and other changes any more, since the range is to be merged into its left-hand neighbour. The
       * neighbour's log decides: while it has the given generation it may merge, afterwards never.
       */
      readonly type: 'freeze'
      /** The left-hand neighbour. */
      readonly into: RangeId
      /** Generation of the neighbour at which it may merge. */
      readonly intoGeneration: number
    }
  | {
      /** Takes in the frozen right-hand neighbour, which is no more from then on. */
      readonly type: 'merge'
      /** The neighbour. */
      readonly rightRangeId: RangeId
      /** Generation that the neighbour has since it is frozen. */
      readonly rightGeneration: number
    }
  | {
      /** Ends a freeze whose merge will never be, since the neighbour has a later generation than it was for. */
      readonly type: 'thaw'
    }
  | {
      /** Raises the generation and changes nothing else: nothing that was wanted of an earlier one can happen afterwards. */
      readonly type: 'touch'
    }

/**
 * What the control plane wants of a range, one change at a time. The range's own log takes it, or refuses it as meant for
 * another generation.
 */
export type RangeChange = ReplicaChange | BoundsChange

/** What the control plane wants of one range on this node. */
export interface WantedRange {
  /** The range that is meant. */
  readonly rangeId: RangeId
  /** The range as the directory knows it: perhaps behind the range itself, never ahead. */
  readonly descriptor: RangeDescriptor
  /** This node holds a replica, or is to hold one, in this range. False: it may drop what is left of one. */
  readonly member: boolean
  /** Present when the range is new: the one node named makes it, once, from these replicas. */
  readonly bootstrap: boolean
  /**
   * The store of this node that its replica is meant for, as it was planned when the replica came. One that is on another store
   * of the node may stay there. Absent: the node chooses.
   */
  readonly storeId?: string
  /** What to change next. The range refuses it unless its generation is still `change.generation`. */
  readonly change?: RangeChange & { readonly generation: number; readonly epoch: number }
}

/** Where a range lies. */
export interface RangeBounds {
  /** First key of the range. Empty: from the beginning. */
  readonly start: Uint8Array
  /** First key after the range. Undefined: to the end. */
  readonly end: Uint8Array | undefined
}

/** Where a range could be split. */
export interface SplitKeys {
  /** A key with about as many bytes before as behind it. Absent: it is not known, or there is no such key. */
  readonly bySize?: Uint8Array
  /** A key with about as much load before as behind it. Absent: it is not known yet, or there is none. */
  readonly byLoad?: Uint8Array
  /** Why no key halves the load, although there is enough of it to know. */
  readonly unsplittable?: string
}

/** A replica as its node sees it. */
export interface ObservedReplica {
  /** The range that it is a copy of. */
  readonly rangeId: RangeId
  /** Its id within the range. */
  readonly replicaId: ReplicaId
  /** Generation of the last configuration that this replica knows to be committed. */
  readonly generation: number
  /** Members of the configuration of that generation. */
  readonly replicas: readonly ReplicaDescriptor[]
  /** True while this replica leads and may serve. */
  readonly leaseHolder: boolean
  /** Lease sequence: it grows with each holder. */
  readonly sequence: number
  /** For the lease holder: learners and voters that have caught up with its log. */
  readonly caughtUp: readonly ReplicaId[]
  /**
   * What it costs its node, by resource name, in the host's own units: `bytes` is its size, and where load splits ranges,
   * `requests` how many a second it serves, and `cpu` how many processor cores it keeps busy (0.5: 500 ms a second).
   */
  readonly load: Load
  /**
   * Where the range lies by what this replica has applied, as of `generation`. Absent: the range never splits nor merges,
   * and lies where the directory says.
   */
  readonly bounds?: RangeBounds
  /** The range that it split off last, which began as its right-hand neighbour. */
  readonly splitOff?: RangeId
  /** It is frozen, to be merged into its neighbour. */
  readonly frozen?: {
    /** The left-hand neighbour. */
    readonly into: RangeId
    /** Generation of the neighbour at which it may merge. */
    readonly intoGeneration: number
  }
  /** From the lease holder, of a range that may be split: where. */
  readonly splitKeys?: SplitKeys
  /** Which of its node's stores it is on, where that has several; one that the node names. */
  readonly storeId?: string
  /** Its node knows the change `swap`. Absent: it does not, and voters are changed one at a time. */
  readonly swaps?: boolean
}

/** How a host reports progress of long work. */
export interface RangeHostCall extends Required<CallOptions> {
  /** Tells people, in one line, how far the work is. */
  readonly progress: (message: string) => void
}

/**
 * What a host program implements so that the control plane can manage its ranges.
 *
 * A host whose ranges split and merge reports `bounds` of each, as of the `generation` that it reports, and carries out each
 * {@link BoundsChange} through the range's own log, checked again where it is applied:
 *
 * - `split`: every replica cuts its state in two in one atomic write, and makes its replica of the new range out of it
 *   (`splitBookkeeping` and `RaftHost.adoptGroup` of `keelson/raft`), unless its node has, had or awaits one. Members and what
 *   clients were promised go along; the generations of both are one above that of the whole. A node awaits no range whose
 *   start lies in what a replica there takes for its own at an earlier generation: that one has not come to the split, and
 *   its rows are the new range's.
 * - `freeze`: from there on the range takes no reads, no writes and no change but `thaw`; its generation rises by one.
 * - `merge`: taken only while the neighbour is frozen for this very generation of the range. It then holds what both held, what
 *   clients were promised included; its generation is one above the higher of the two.
 * - `thaw`: only when the neighbour that it was frozen for has a later generation and has not merged it. A host also sees to
 *   this by itself, or a range would stay frozen as long as the control plane is away.
 * - `touch`: raises the generation by one.
 *
 * A range refuses what was meant for another generation, with no effect. A replica is dropped when the descriptor does not
 * name its id any more, at its generation or a later one; where the node is a member again, by a later id.
 */
export interface RangeHost {
  /**
   * Makes this node's replicas what `wanted` says. Level-triggered and idempotent: it is called with the whole picture
   * at every change and may be called with the same one again; a later call aborts the signal of the one before.
   */
  reconcile(wanted: readonly WantedRange[], call: RangeHostCall): Promise<void>
  /** What is there now. Synchronous and cheap: it is asked with every report. */
  observe(): readonly ObservedReplica[]
}
