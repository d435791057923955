import type { NodeId } from '../model/ids.ts'
import type { SwimTuning } from './core/tuning.ts'
import type { MemberState, SwimCounters, SwimEvent, SwimMember } from './core/types.ts'

/** Events of `Swim`. A type, not an interface, so that it is a map from names. */
export type SwimEvents = {
  /** A change of this node's view, after it took effect. In a later turn: slow listeners do not hold up the protocol. */
  change: (event: SwimEvent) => void
  /** The changes of a short time (`coalesceMs`) together, of each member the last one. */
  changes: (events: readonly SwimEvent[]) => void
  /** What a member told all members with `Swim.tell`, this one included. */
  told: (event: SwimTold) => void
}

/** What a member told all members. */
export interface SwimTold {
  /** Who told it. */
  readonly nodeId: NodeId
  /** Lamport time: what was told because of something else has a higher one. */
  readonly time: number
  /** What it is about. */
  readonly name: string
  /** In the host's own encoding. */
  readonly payload: Uint8Array
}

/**
 * Answers a query of a member; undefined for no answer. It must be quick. `time` is the query's Lamport time: queries may come in
 * another order than they were asked in.
 */
export type QueryHandler = (payload: Uint8Array, asker: NodeId, time: number) => Uint8Array | undefined

/** How a node's SWIM is doing. */
export interface SwimStatus {
  /** This node, as it tells others. */
  readonly self: SwimMember
  /** Lifeguard's local health score: 0 is healthy; the higher, the less this node trusts its own failed probes. */
  readonly localHealth: number
  /** Members by state, this node included. */
  readonly members: Readonly<Record<MemberState, number>>
  /** Updates that this node still spreads. */
  readonly pendingUpdates: number
  /** The others hold this node out: see `expelRefutations`. */
  readonly expelled: boolean
  /** Another process keeps the name of this one, which is silent: see the event `conflict`. */
  readonly silent: boolean
  /** Events that were dropped because listeners were too slow. */
  readonly eventsDropped: number
  /** What it has done since it was opened. */
  readonly counters: Readonly<SwimCounters>
  /** What it runs with: the profile and what was overridden. */
  readonly tuning: SwimTuning
}
