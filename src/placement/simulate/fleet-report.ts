import type { NodeId } from '../../model/ids.ts'
import type { MoveKind } from '../core/snapshot.ts'

/** What happened to a simulated fleet, and what became of it. */
export interface DisturbanceReport {
  /** What happened. */
  readonly what: string
  /** When. */
  readonly atMs: number
  /** From then until nothing was left to plan or to copy; undefined when that was not reached before the next one. */
  readonly convergedAfterMs: number | undefined
  /** Bytes that any plan has to copy: what was lost, and what the fullest nodes hold above their share. */
  readonly lowerBoundBytes: number
  /** Bytes that were copied until then. */
  readonly copiedBytes: number
}

/** A moment of a simulated fleet. */
export interface FleetSample {
  /** When. */
  readonly atMs: number
  /** How full the fullest node is, as a part of its capacity of bytes. */
  readonly fullest: number
  /** How busy the busiest node is, as a part of its capacity of the load. */
  readonly busiest: number
  /** How full all nodes together are. */
  readonly meanBytes: number
  /** How busy all nodes together are. */
  readonly meanLoad: number
  /** Ranges with too few live voters. */
  readonly underReplicated: number
  /** Ranges without a quorum. */
  readonly unavailable: number
  /** Ranges with too few live replicas for reads. */
  readonly lackNonVoters: number
  /** Copies under way. */
  readonly copies: number
}

/** What days of a simulated fleet came to. */
export interface FleetReport {
  /** Virtual time that passed. */
  readonly elapsedMs: number
  /** Rounds of planning. */
  readonly rounds: number
  /** Moves that were carried out, by kind. */
  readonly moves: Readonly<Record<MoveKind, number>>
  /** Moves that came to nothing, since a node died on the way. */
  readonly failedMoves: number
  /** Bytes that were copied. */
  readonly copiedBytes: number
  /** Copies back to a node that the range had left within an hour. */
  readonly undoneMoves: number
  /** Leases handed back to a node that had led the range within an hour. */
  readonly undoneLeases: number
  /** Minutes for which nodes were overloaded, summed up. */
  readonly overloadedNodeMinutes: number
  /** Under-replicated ranges over time. */
  readonly underReplicatedRangeMinutes: number
  /** Ranges without a quorum over time. */
  readonly unavailableRangeMinutes: number
  /** Ranges without all replicas that are there for reads, over time. */
  readonly lackingNonVotersRangeMinutes: number
  /** How full the fullest node ever was, as a part of its capacity. */
  readonly worstFullness: number
  /** How busy the busiest node ever was, as a part of its capacity. */
  readonly worstLoad: number
  /** Everything that happened, in order. */
  readonly disturbances: readonly DisturbanceReport[]
  /** The fleet at regular intervals. */
  readonly samples: readonly FleetSample[]
  /** Plans that broke what no plan may break: a bug. */
  readonly violations: readonly string[]
}

/** Something that happens to a simulated fleet. */
export type FleetEvent =
  | {
      /** Nodes stop, for good or until they are revived. */
      readonly type: 'kill'
      /** When. */
      readonly atMs: number
      /** Which ones. */
      readonly nodes: readonly NodeId[]
    }
  | {
      /** Nodes come back with what they had, or with empty disks. */
      readonly type: 'revive'
      /** When. */
      readonly atMs: number
      /** Which ones. */
      readonly nodes: readonly NodeId[]
      /** With empty disks. Default: false. */
      readonly wiped?: boolean
    }
  | {
      /** The disks of nodes do only a part of what they should: their nodes report how much of that is in use. */
      readonly type: 'slowDisk'
      /** When. */
      readonly atMs: number
      /** Which ones. */
      readonly nodes: readonly NodeId[]
      /** What part of the node's capacity for the load its disk does; 1 when it is mended. */
      readonly share: number
    }
  | {
      /** Nodes are to be emptied. */
      readonly type: 'drain'
      /** When. */
      readonly atMs: number
      /** Which ones. */
      readonly nodes: readonly NodeId[]
    }

/** An event in words. */
export function describeEvent(event: FleetEvent): string {
  const [first] = event.nodes
  const which = event.nodes.length === 1 ? String(first) : `${event.nodes.length} nodes`
  switch (event.type) {
    case 'kill':
      return `${which} stopped`
    case 'revive':
      return `${which} came back${event.wiped === true ? ' with empty disks' : ''}`
    case 'slowDisk':
      return event.share < 1 ? `${which} with slow disks` : `${which} with mended disks`
    case 'drain':
      return `${which} to be emptied`
  }
}
