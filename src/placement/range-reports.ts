import type { ObservedReplica } from '../interfaces/range-host.ts'
import type { NodeId, RangeId, ReplicaId } from '../model/ids.ts'
import type { RangeSize } from './core/splits.ts'

/** A range as one node reported it. */
export interface ReportedReplica {
  /** The node that reported. */
  readonly nodeId: NodeId
  /** What it reported. */
  readonly replica: ObservedReplica
}

/** What the nodes report of a range, newest report of each. */
export type ObserveRange = (rangeId: RangeId) => readonly ReportedReplica[]

/** The newest configuration that is reported as committed. */
export function newestConfiguration(reports: readonly ReportedReplica[]): ObservedReplica | undefined {
  let newest: ObservedReplica | undefined
  for (const { replica } of reports) {
    if (newest === undefined || replica.generation > newest.generation) newest = replica
  }
  return newest
}

/** The report of the replica that holds the lease: of several that believe it, the one with the highest sequence. */
export function reportOfHolder(reports: readonly ReportedReplica[]): ObservedReplica | undefined {
  let holder: ObservedReplica | undefined
  for (const { replica } of reports) {
    if (replica.leaseHolder && (holder === undefined || replica.sequence > holder.sequence)) holder = replica
  }
  return holder
}

/** {@link reportOfHolder}, as far as moves need it. */
export function leaseHolderOf(
  reports: readonly ReportedReplica[],
): { readonly replicaId: ReplicaId; readonly caughtUp: readonly ReplicaId[] } | undefined {
  return reportOfHolder(reports)
}

/** How large a range is, by what its lease holder reports. */
export function sizeOf(holder: ObservedReplica | undefined): RangeSize {
  const bytes = holder?.load['bytes']
  const requests = holder?.load['requests']
  const cpuCores = holder?.load['cpu']
  return {
    ...(bytes === undefined ? {} : { bytes }),
    ...(requests === undefined ? {} : { requestsPerSecond: requests }),
    ...(cpuCores === undefined ? {} : { cpuCores }),
  }
}
