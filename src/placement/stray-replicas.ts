import { KeelsonError } from '../core/errors.ts'
import type { RangeDirectory } from '../metadata/directory.ts'
import type { ControllerEpoch } from '../metadata/epoch.ts'
import type { RangeDescriptor } from '../model/descriptors.ts'
import type { RangeId } from '../model/ids.ts'
import type { ObserveRange, ReportedReplica } from './range-reports.ts'

/** Where {@link StrayReplicas} looks and writes. */
export interface StrayReplicasPorts {
  readonly directory: Pick<RangeDirectory, 'dismiss'>
  readonly epoch: ControllerEpoch
  /** What the nodes report of a range. */
  readonly observed: ObserveRange
  /** A range as the directory has it. */
  readonly known: (rangeId: RangeId) => RangeDescriptor | undefined
}

/**
 * Replicas that are no members and do not know it: what a split made on a node that was very late, after the range had moved
 * on or was merged away. Their nodes are told to drop them, once. A node that is a member under another replica id by now was
 * told so when that was added, and drops the old one by itself.
 */
export class StrayReplicas {
  readonly #ports: StrayReplicasPorts
  readonly #found = new Set<RangeId>()
  /** Replicas whose nodes were told to drop them. */
  readonly #dismissed = new Set<string>()

  constructor(ports: StrayReplicasPorts) {
    this.#ports = ports
  }

  /** A range is another one, or something else is reported of it. */
  look(rangeId: RangeId, reports: readonly ReportedReplica[]): void {
    if (reports.some((report) => this.#isStray(rangeId, report))) this.#found.add(rangeId)
  }

  /** Tells the nodes of what was found. */
  async dismiss(signal: AbortSignal): Promise<void> {
    const { directory, epoch, observed } = this.#ports
    for (const rangeId of this.#found) {
      for (const report of observed(rangeId)) {
        const { nodeId, replica } = report
        const name = `${nodeId}/${rangeId}/${replica.replicaId}`
        if (!this.#isStray(rangeId, report) || this.#dismissed.has(name)) continue
        try {
          await directory.dismiss(epoch, nodeId, rangeId, { signal })
          if (this.#dismissed.size >= maximumDismissed) this.#dismissed.clear()
          this.#dismissed.add(name)
        } catch (error) {
          // It is new, and the directory has not heard of it yet: it is looked at again when that is so.
          if (!KeelsonError.hasCode(error, 'NOT_FOUND')) throw error
        }
      }
      this.#found.delete(rangeId)
    }
  }

  #isStray(rangeId: RangeId, { replica }: ReportedReplica): boolean {
    const known = this.#ports.known(rangeId)
    if (known === undefined) return true
    if (known.generation <= replica.generation) return false
    return !known.replicas.some(({ replicaId }) => replicaId === replica.replicaId)
  }
}

const maximumDismissed = 10_000
