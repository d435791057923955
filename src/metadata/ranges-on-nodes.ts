import type { RangeDescriptor } from '../model/descriptors.ts'
import type { NodeId, RangeId } from '../model/ids.ts'

/** Nodes whose ranges are kept; of more the one that was asked for longest ago is found again by a look at all ranges. */
const maximumNodes = 4096

/** Which ranges have replicas on the nodes that somebody has asked for. It takes the room of those, not of all. */
export class RangesOnNodes {
  /** The node that was asked for longest ago comes first. */
  readonly #kept = new Map<NodeId, Set<RangeId>>()

  /** The ranges on these nodes, by ascending id. */
  read(nodeIds: Iterable<NodeId>, all: () => Iterable<RangeDescriptor>): readonly RangeId[] {
    const missing = new Map<NodeId, Set<RangeId>>()
    const asked = new Map<NodeId, Set<RangeId>>()
    for (const nodeId of nodeIds) {
      const known = this.#kept.get(nodeId)
      if (known === undefined) missing.set(nodeId, new Set())
      asked.set(nodeId, known ?? (missing.get(nodeId) as Set<RangeId>))
    }
    if (missing.size > 0)
      for (const { rangeId, replicas } of all())
        for (const { nodeId } of replicas) missing.get(nodeId)?.add(rangeId)
    const found = new Set<RangeId>()
    for (const [nodeId, ranges] of asked) {
      this.#kept.delete(nodeId)
      this.#kept.set(nodeId, ranges)
      for (const rangeId of ranges) found.add(rangeId)
    }
    for (const nodeId of this.#kept.keys()) {
      if (this.#kept.size <= maximumNodes) break
      this.#kept.delete(nodeId)
    }
    return [...found].sort((a, b) => a - b)
  }

  /** A range became known, changed, or went. */
  changed(before: RangeDescriptor | undefined, after: RangeDescriptor | undefined): void {
    if (this.#kept.size === 0) return
    for (const { nodeId } of before?.replicas ?? [])
      this.#kept.get(nodeId)?.delete(before?.rangeId as RangeId)
    for (const { nodeId } of after?.replicas ?? []) this.#kept.get(nodeId)?.add(after?.rangeId as RangeId)
  }
}
