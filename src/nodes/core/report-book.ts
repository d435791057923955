import { KeelsonError } from '../../core/errors.ts'
import type { ObservedReplica } from '../../interfaces/range-host.ts'
import type { NodeId, RangeId } from '../../model/ids.ts'
import type { NodeReport } from './report.ts'

/** A range as the nodes that hold it see it. */
export interface RangeObservation {
  /** The node that holds the replica. */
  readonly nodeId: NodeId
  /** What that node reported of it. */
  readonly replica: ObservedReplica
  /** Monotonic time at which the report arrived. */
  readonly atMs: number
}

interface Page {
  readonly report: NodeReport
  readonly atMs: number
}

/**
 * The newest report of each node, by the leader. Hints: they tell what was, and go stale by themselves.
 *
 * Invariant: what is kept of a node is of the highest (epoch, sequence) that was ever taken from it, and nothing is kept
 * of an epoch that has ended.
 */
export class ReportBook {
  readonly #pages = new Map<NodeId, Page>()
  readonly #byRange = new Map<RangeId, Map<NodeId, ObservedReplica>>()
  /** Highest epoch of each node that has ended. */
  readonly #ended = new Map<NodeId, number>()
  /** Ranges of which something else is reported than when this was taken last. */
  #changed = new Set<RangeId>()
  readonly #maximumNodes: number

  /** Keeps the reports of `maximumNodes` nodes at most. */
  constructor(maximumNodes = 10_000) {
    this.#maximumNodes = maximumNodes
  }

  /**
   * Takes a report in.
   *
   * @returns false when a newer one is there already
   * @throws KeelsonError `EPOCH_ENDED` when the epoch has ended: the node must open a new session
   */
  take(report: NodeReport, nowMs: number): boolean {
    if (this.isOver(report)) {
      throw new KeelsonError(
        'EPOCH_ENDED',
        `epoch ${report.epoch} of node ${report.nodeId} has ended; it must open a new session`,
      )
    }
    const known = this.#pages.get(report.nodeId)
    if (known !== undefined && !this.isNewer(report, known.report)) return false
    if (known === undefined && this.#pages.size >= this.#maximumNodes) {
      throw new KeelsonError(
        'OVERLOADED',
        `reports of ${this.#maximumNodes} nodes are kept already; decommission some first`,
      )
    }
    const before = new Map(known?.report.replicas.map((replica) => [replica.rangeId, replica]))
    for (const replica of report.replicas) {
      const was = before.get(replica.rangeId)
      if (was === undefined || !sameReplica(was, replica)) this.#changed.add(replica.rangeId)
      before.delete(replica.rangeId)
    }
    for (const rangeId of before.keys()) this.#changed.add(rangeId)
    this.#forget(report.nodeId)
    this.#pages.set(report.nodeId, { report, atMs: nowMs })
    for (const replica of report.replicas) {
      let holders = this.#byRange.get(replica.rangeId)
      if (holders === undefined) {
        holders = new Map()
        this.#byRange.set(replica.rangeId, holders)
      }
      holders.set(report.nodeId, replica)
    }
    return true
  }

  /** The node's epoch has ended: nothing that it said under it is believed any more. */
  ended(nodeId: NodeId, epoch: number): void {
    this.#ended.set(nodeId, Math.max(epoch, this.#ended.get(nodeId) ?? 0))
    const page = this.#pages.get(nodeId)
    if (page !== undefined && this.isOver(page.report)) this.#drop(nodeId)
  }

  /** The newest report of a node in the epoch that it has now, if one has come. */
  report(nodeId: NodeId): NodeReport | undefined {
    return this.#pages.get(nodeId)?.report
  }

  /** How old the last report of a node is, or infinity without one. */
  ageMs(nodeId: NodeId, nowMs: number): number {
    const page = this.#pages.get(nodeId)
    return page === undefined ? Number.POSITIVE_INFINITY : nowMs - page.atMs
  }

  /** What each node says of one range. */
  observed(rangeId: RangeId): readonly RangeObservation[] {
    return [...(this.#byRange.get(rangeId) ?? [])].map(([nodeId, replica]) => ({
      nodeId,
      replica,
      atMs: (this.#pages.get(nodeId) as Page).atMs,
    }))
  }

  /** Ranges of which something else is reported than when this was called last. For one caller. */
  takeChanged(): ReadonlySet<RangeId> {
    const changed = this.#changed
    this.#changed = new Set()
    return changed
  }

  /** Ranges that anybody reports. */
  rangeIds(): readonly RangeId[] {
    return [...this.#byRange.keys()]
  }

  /** @internal */
  isOver(report: NodeReport): boolean {
    return report.epoch <= (this.#ended.get(report.nodeId) ?? 0)
  }

  /** @internal */
  isNewer(report: NodeReport, known: NodeReport): boolean {
    return report.epoch > known.epoch || (report.epoch === known.epoch && report.sequence > known.sequence)
  }

  #drop(nodeId: NodeId): void {
    for (const { rangeId } of this.#pages.get(nodeId)?.report.replicas ?? []) this.#changed.add(rangeId)
    this.#forget(nodeId)
  }

  #forget(nodeId: NodeId): void {
    const page = this.#pages.get(nodeId)
    if (page === undefined) return
    this.#pages.delete(nodeId)
    for (const { rangeId } of page.report.replicas) {
      const holders = this.#byRange.get(rangeId)
      holders?.delete(nodeId)
      if (holders?.size === 0) this.#byRange.delete(rangeId)
    }
  }
}

/** Whether two reports of a replica say the same of what placement looks at. */
function sameReplica(a: ObservedReplica, b: ObservedReplica): boolean {
  if (a.generation !== b.generation || a.replicaId !== b.replicaId) return false
  if (a.leaseHolder !== b.leaseHolder || a.sequence !== b.sequence) return false
  const names = Object.keys(a.load)
  return names.length === Object.keys(b.load).length && names.every((name) => a.load[name] === b.load[name])
}
