import { KeelsonError } from '../../core/errors.ts'
import type { ObservedReplica } from '../../interfaces/range-host.ts'
import type { StoreReport } from '../../model/descriptors.ts'
import type { NodeId, RangeId } from '../../model/ids.ts'
import { RangeHolders } from './range-holders.ts'
import type { NodeReport } from './report.ts'
import { ReportPage } from './report-page.ts'

/** A range as the nodes that hold it see it. */
export interface RangeObservation {
  /** The node that holds the replica. */
  readonly nodeId: NodeId
  /** What that node reported of it. */
  readonly replica: ObservedReplica
  /** Monotonic time at which the report arrived. */
  readonly atMs: number
}

/**
 * The newest report of each node, by the leader. Hints: they tell what was, and go stale by themselves. Kept in columns, and
 * read anew from them each time it is asked.
 *
 * Invariant: what is kept of a node is of the highest (epoch, sequence) that was ever taken from it, and nothing is kept
 * of an epoch that has ended.
 */
export class ReportBook {
  /** Nodes that have reported, by the number that stands for them while they have. */
  readonly #numbers = new Map<NodeId, number>()
  readonly #pages: (ReportPage | undefined)[] = []
  readonly #freeNumbers: number[] = []
  readonly #holders = new RangeHolders()
  /** Highest epoch of each node that has ended. */
  readonly #ended = new Map<NodeId, number>()
  /** For everybody who follows, the ranges of which something else is reported than when he asked last. */
  readonly #changed: Set<RangeId>[] = []
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
    const known = this.#page(report.nodeId)
    if (known !== undefined && !this.isNewer(report, known.head)) return false
    if (known === undefined && this.#numbers.size >= this.#maximumNodes) {
      throw new KeelsonError(
        'OVERLOADED',
        `reports of ${this.#maximumNodes} nodes are kept already; decommission some first`,
      )
    }
    const page = new ReportPage(report, nowMs, (nodeId) => this.#nameOf(nodeId))
    this.#replace(this.#numberOf(report.nodeId), known, page)
    return true
  }

  /** The node's epoch has ended: nothing that it said under it is believed any more. */
  ended(nodeId: NodeId, epoch: number): void {
    this.#ended.set(nodeId, Math.max(epoch, this.#ended.get(nodeId) ?? 0))
    const page = this.#page(nodeId)
    if (page === undefined || !this.isOver(page.head)) return
    const number = this.#numbers.get(nodeId) as number
    this.#replace(number, page, undefined)
    this.#numbers.delete(nodeId)
    this.#freeNumbers.push(number)
  }

  /** The newest report of a node in the epoch that it has now, if one has come. */
  report(nodeId: NodeId): NodeReport | undefined {
    const page = this.#page(nodeId)
    if (page === undefined) return undefined
    return { ...page.head, replicas: Array.from({ length: page.count }, (_, row) => page.read(row)) }
  }

  /** How the stores of a node do, as it reported last; undefined when it names none. */
  stores(nodeId: NodeId): readonly StoreReport[] | undefined {
    return this.#page(nodeId)?.head.stores
  }

  /** How old the last report of a node is, or infinity without one. */
  ageMs(nodeId: NodeId, nowMs: number): number {
    const page = this.#page(nodeId)
    return page === undefined ? Number.POSITIVE_INFINITY : nowMs - page.atMs
  }

  /** What each node says of one range. */
  observed(rangeId: RangeId): readonly RangeObservation[] {
    return this.#holders.of(rangeId).map((number) => {
      const page = this.#pages[number] as ReportPage
      return { nodeId: page.head.nodeId, replica: page.read(page.rowOf(rangeId)), atMs: page.atMs }
    })
  }

  /**
   * Follows what is reported: the function that it gives says of which ranges that is something else than when it was called
   * last; at first, all of which anything is reported.
   */
  follow(): () => ReadonlySet<RangeId> {
    const at = this.#changed.push(new Set(this.#holders.rangeIds())) - 1
    return () => {
      const changed = this.#changed[at] as Set<RangeId>
      this.#changed[at] = new Set()
      return changed
    }
  }

  /** Ranges that anybody reports. */
  rangeIds(): readonly RangeId[] {
    return [...this.#holders.rangeIds()]
  }

  /** @internal */
  isOver(report: Pick<NodeReport, 'nodeId' | 'epoch'>): boolean {
    return report.epoch <= (this.#ended.get(report.nodeId) ?? 0)
  }

  /** @internal */
  isNewer(
    report: Pick<NodeReport, 'epoch' | 'sequence'>,
    known: Pick<NodeReport, 'epoch' | 'sequence'>,
  ): boolean {
    return report.epoch > known.epoch || (report.epoch === known.epoch && report.sequence > known.sequence)
  }

  #tell(rangeId: RangeId): void {
    for (const changed of this.#changed) changed.add(rangeId)
  }

  /** What was known of a node gives way; both stand by range id, so one pass over them says what is another. */
  #replace(number: number, before: ReportPage | undefined, after: ReportPage | undefined): void {
    const [old, now] = [before?.count ?? 0, after?.count ?? 0]
    for (let a = 0, b = 0; a < old || b < now; ) {
      const was = a < old ? (before?.rangeIds[a] as number) : Number.POSITIVE_INFINITY
      const is = b < now ? (after?.rangeIds[b] as number) : Number.POSITIVE_INFINITY
      if (was === is) {
        if (!(before as ReportPage).same(a, after as ReportPage, b)) this.#tell(is)
      } else {
        this.#tell(Math.min(was, is))
        if (was < is) this.#holders.remove(was, number)
        else this.#holders.add(is, number)
      }
      if (was <= is) a++
      if (is <= was) b++
    }
    this.#pages[number] = after
  }

  #page(nodeId: NodeId): ReportPage | undefined {
    return this.#pages[this.#numbers.get(nodeId) ?? -1]
  }

  #numberOf(nodeId: NodeId): number {
    const known = this.#numbers.get(nodeId)
    if (known !== undefined) return known
    const number = this.#freeNumbers.pop() ?? this.#pages.length
    this.#numbers.set(nodeId, number)
    return number
  }

  /** The name of a node that reports as it is kept already; any other name as it is. */
  #nameOf(nodeId: NodeId): NodeId {
    return this.#page(nodeId)?.head.nodeId ?? nodeId
  }
}
