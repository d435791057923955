import type { CallOptions } from '../core/async.ts'
import type { Load, RangeDescriptor, ReplicaDescriptor } from '../model/descriptors.ts'
import type { Incarnation, NodeId, RangeId, ReplicaId } from '../model/ids.ts'

/** A change of a range's replicas that the control plane wants. One at a time per range. */
export type RangeChange =
  | {
      /** Brings a copy to a node: it catches up without a vote. */
      readonly type: 'addLearner'
      /** The node that gets the learner. */
      readonly nodeId: NodeId
      /** The life of that node's data that is meant. */
      readonly incarnation: Incarnation
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
  /** What to change next. The range refuses it unless its generation is still `change.generation`. */
  readonly change?: RangeChange & { readonly generation: number; readonly epoch: number }
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
  /** What it costs its node, by resource name, in the host's own units; `bytes` is its size. */
  readonly load: Load
  /** Its node knows the change `swap`. Absent: it does not, and voters are changed one at a time. */
  readonly swaps?: boolean
}

/** How a host reports progress of long work. */
export interface RangeHostCall extends Required<CallOptions> {
  /** Tells people, in one line, how far the work is. */
  readonly progress: (message: string) => void
}

/** What a host program implements so that the control plane can manage its ranges. */
export interface RangeHost {
  /**
   * Makes this node's replicas what `wanted` says. Level-triggered and idempotent: it is called with the whole picture
   * at every change and may be called with the same one again; a later call aborts the signal of the one before.
   */
  reconcile(wanted: readonly WantedRange[], call: RangeHostCall): Promise<void>
  /** What is there now. Synchronous and cheap: it is asked with every report. */
  observe(): readonly ObservedReplica[]
}
