import type { ReplicaDescriptor } from '../../../src/model/descriptors.ts'
import type { RangeCounters } from './range-bounds.ts'
import type { RangeRows } from './range-rows.ts'

/** What is true of a range, whatever anybody believes. */
export interface Truth {
  readonly rangeId: number
  readonly start: Uint8Array
  end: Uint8Array | undefined
  splitOff: number | undefined
  frozen: { readonly into: number; readonly intoGeneration: number; readonly sinceMs: number } | undefined
  generation: number
  replicas: ReplicaDescriptor[]
  /** Replica id of the leader; 0 while there is none. */
  leader: number
  /** Term of the leader. */
  sequence: number
  /** Virtual time at which each learner has caught up. */
  readonly caughtUpAtMs: Map<number, number>
  /** Highest epoch of a control plane that has changed this range. */
  epoch: number
  lastReplicaId: number
  readonly rows: RangeRows
  readonly counters: RangeCounters
}

/** The members when a joint configuration is left. */
export function afterJoint(replicas: readonly ReplicaDescriptor[]): ReplicaDescriptor[] {
  return replicas
    .filter(({ role }) => role !== 'outgoing')
    .map((replica) => (replica.role === 'incoming' ? { ...replica, role: 'voter' } : replica))
}

export function leaderOf(range: Truth): ReplicaDescriptor | undefined {
  return range.replicas.find(({ replicaId }) => replicaId === range.leader)
}
