import type { Incarnation, NodeId, RangeId, ReplicaId } from '../../model/ids.ts'
import type { PlacementLimits } from './policy.ts'
import type { QuorumStep } from './quorum.ts'
import type { MoveKind } from './snapshot.ts'
import type { Rejection } from './targets.ts'

/** A move that the planner wants. */
export interface PlannedMove {
  /** The range that is moved. */
  readonly rangeId: RangeId
  /** Generation that the range must still have. */
  readonly generation: number
  /** What the move is for. */
  readonly kind: MoveKind
  /** The higher, the more urgent. */
  readonly priority: number
  /** Why, in one line. */
  readonly reason: string
  /** Node that gets a replica; with `replicaId` when a learner is there already. */
  readonly add?: {
    /** Where the replica goes. */
    readonly nodeId: NodeId
    /** The life of that node's data. */
    readonly incarnation: Incarnation
    /** Which of its stores, where it has several. */
    readonly storeId?: string
    /** The learner that is there already. */
    readonly replicaId?: ReplicaId
  }
  /** Replica that goes. */
  readonly remove?: {
    /** Its id within the range. */
    readonly replicaId: ReplicaId
    /** The node that it is on. */
    readonly nodeId: NodeId
  }
  /** Replica that gets the lease, for its own sake or because its holder goes. */
  readonly leaseTo?: {
    /** Its id within the range. */
    readonly replicaId: ReplicaId
    /** The node that it is on. */
    readonly nodeId: NodeId
  }
  /** What has to be copied. */
  readonly bytes: number
  /** Nodes that were not taken, and why: the nearest few. */
  readonly rejected: readonly Rejection[]
  /** The voters at every step: a quorum of them is alive throughout. */
  readonly proof: readonly QuorumStep[]
}

/** A range that needs something that cannot be done. */
export interface BlockedRange {
  /** The range that needs it. */
  readonly rangeId: RangeId
  /** What it needs and what stands in the way, in words. */
  readonly why: string
}

/** What has to be copied at least, and what a plan copies. */
export interface CopyBound {
  /** No plan gets by with fewer copies of replicas, or fewer bytes. */
  readonly lowerBoundMoves: number
  /** Fewest bytes that any plan copies. */
  readonly lowerBoundBytes: number
  /** Copies of replicas in this plan. */
  readonly plannedMoves: number
  /** Bytes that this plan copies. */
  readonly plannedBytes: number
  /** Bytes that the plan copies beyond the bound. */
  readonly gapBytes: number
  /** Bytes of the bound that are left to later plans. */
  readonly remainingBytes: number
}

/** How far the cluster is from a goal, in moves. */
export interface GoalBound {
  /** Name of the goal. */
  readonly name: string
  /** No plan reaches the goal with fewer moves, beside those of `hopeless`: ranges that cannot be better, as far as was looked. */
  readonly lowerBoundMoves: number
  /** The same once this plan has been carried out. */
  readonly afterPlan: number
  /**
   * Ranges that fall short of the goal, and for which this planner found no move when it last looked. While anything is to be repaired no
   * goal is planned for and nobody is looked at for its sake: it is 0 then, and `lowerBoundMoves` counts them.
   */
  readonly hopeless: number
}

/** How good any plan could be, and how far a plan is from it. */
export interface PlanBounds {
  /** Replicas that are lost or missing: Σ over the ranges of max(0, wanted − left). Exact. */
  readonly repair: CopyBound
  /** Replicas on nodes that are to be emptied. Exact. */
  readonly drain: CopyBound
  /** The goals of the policy, in their order. */
  readonly goals: readonly GoalBound[]
}

/** What the planner says. */
export interface Plan {
  /** The most urgent first; at most one for each range. */
  readonly moves: readonly PlannedMove[]
  /** Ranges that need something that cannot be done: some of those that this plan looked at. */
  readonly blocked: readonly BlockedRange[]
  /** All for which nothing could be done when they were last looked at. */
  readonly blockedCount: number
  /** Ranges that need something and wait: for room, or for their turn. */
  readonly deferred: number
  /**
   * Ranges that need something or could be better, and ranges of stores that are too full, at which no plan has looked yet
   * though it would have had the room: the next plan of the same {@link Planner} goes on with them. 0 when this plan, with those
   * before it, has seen all.
   */
  readonly unexamined: number
  /** How good any plan could be, and how far this one is from it. */
  readonly bounds: PlanBounds
  /** The plan in words. */
  readonly explained: readonly string[]
}

/** How to plan. */
export interface PlanOptions {
  /** Decides among nodes that are equally good. Default: 0. The same snapshot and seed give the same plan. */
  readonly seed?: number
  /** How much may be under way at once, where it differs from `defaultPlacementLimits`. */
  readonly limits?: Partial<PlacementLimits>
}
