import type { CallOptions } from '../../core/async.ts'
import type { Environment } from '../../core/environment.ts'
import { checkOptions, functionOption, integerOption, objectOption, optional } from '../../core/options.ts'
import type { MetadataStore } from '../../interfaces/metadata-store.ts'
import type { JobForm } from '../../jobs/job-type.ts'
import type { ControllerEpoch } from '../../metadata/epoch.ts'
import type { RangeDescriptor } from '../../model/descriptors.ts'
import type { NodeId } from '../../model/ids.ts'
import type { Plan } from '../core/plan.ts'
import type { PlacementNode } from '../core/snapshot.ts'
import type { MoveState } from '../move-state.ts'
import type { ObserveRange } from '../range-reports.ts'
import type { MaintenanceView } from './view.ts'

/** A node as operations see it. */
export interface OperatedNode extends PlacementNode {
  /** Epoch of its session: another one means that it was away. 0 without a session. */
  readonly epoch: number
}

/** Tuning of operations on nodes. */
export interface NodeOperationTuning {
  /** How often is looked at how things stand. */
  readonly pollIntervalMs: number
  /** How long nodes may take to be ready to go down; afterwards the operation fails and says what stood in the way. */
  readonly clearTimeoutMs: number
  /** Transfers of leases that one operation has under way at once. */
  readonly transfers: number
}

/** Used when nothing else is given. */
export const defaultNodeOperationTuning: NodeOperationTuning = Object.freeze({
  pollIntervalMs: 500,
  clearTimeoutMs: 1_800_000,
  transfers: 32,
})

/** What operations on nodes need. */
export interface NodeOperationPorts extends Partial<NodeOperationTuning> {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** Where transfers of leases are created as jobs. */
  readonly store: MetadataStore
  /** The epoch of this leader: every write compares it. */
  readonly epoch: ControllerEpoch
  /** All nodes as they are now. */
  readonly nodes: () => readonly OperatedNode[]
  /** The ranges of the directory with a replica on any of some nodes: `DirectoryCache.rangesOn`. */
  readonly rangesOn: (nodeIds: Iterable<NodeId>) => readonly RangeDescriptor[]
  /** What the nodes report of a range. */
  readonly observed: ObserveRange
  /** Which nodes are in maintenance, by all operations. */
  readonly maintenance: MaintenanceView
  /** The type that `moveJob` made for the runner of the same leader. */
  readonly move: JobForm<MoveState>
  /** Has all replicas moved off a node: `Nodes.drain`. */
  readonly drain: (nodeId: NodeId, reason: string, call: CallOptions) => Promise<unknown>
  /** Takes a drain back: `Nodes.undrain`. */
  readonly undrain: (nodeId: NodeId, reason: string, call: CallOptions) => Promise<unknown>
  /** The planner's last plan, for what it says cannot be done. */
  readonly plan: () => Plan | undefined
  /**
   * Restarts the process of a node; the node is back when it holds a new session. Called again after a change of leaders
   * while the session is still the old one. Default: somebody else does it, and the operation says when.
   */
  readonly restart?: (nodeId: NodeId, call: CallOptions) => Promise<void>
}

/** Ports and tuning, all of it. */
export type CheckedOperationPorts = Required<Omit<NodeOperationPorts, 'restart'>> &
  Pick<NodeOperationPorts, 'restart'>

/** @throws KeelsonError `INVALID_OPTION` */
export function checkOperationPorts(where: string, ports: NodeOperationPorts): CheckedOperationPorts {
  const fallback = defaultNodeOperationTuning
  return checkOptions<{
    readonly [K in keyof CheckedOperationPorts]-?: CheckedOperationPorts[K] | undefined
  }>(where, ports, {
    env: objectOption<Environment>(['clock', 'timers', 'logger']),
    store: objectOption<MetadataStore>(['txn', 'range', 'watch']),
    epoch: objectOption<ControllerEpoch>(['number', 'txn']),
    nodes: functionOption<NodeOperationPorts['nodes']>(),
    rangesOn: functionOption<NodeOperationPorts['rangesOn']>(),
    observed: functionOption<ObserveRange>(),
    maintenance: objectOption<MaintenanceView>(['by', 'isKnown']),
    move: objectOption<JobForm<MoveState>>(['type', 'encode']),
    drain: functionOption<NodeOperationPorts['drain']>(),
    undrain: functionOption<NodeOperationPorts['undrain']>(),
    plan: functionOption<NodeOperationPorts['plan']>(),
    restart: optional(functionOption<NonNullable<NodeOperationPorts['restart']>>()),
    pollIntervalMs: integerOption({ min: 1, fallback: fallback.pollIntervalMs }),
    clearTimeoutMs: integerOption({ min: 1, fallback: fallback.clearTimeoutMs }),
    transfers: integerOption({ min: 1, fallback: fallback.transfers }),
  }) as CheckedOperationPorts
}
