import type { Incarnation, NodeId } from '../../model/ids.ts'
import type { Peer } from '../group/peers.ts'

/** Nodes that are remembered. */
const maximumNodes = 10_000

/**
 * Which version of frames each node sends, and so, which of its release: what an older one cannot read is not written yet.
 * A hint: a node may go back to an older release, or an older one may join, when it is too late.
 */
export class FrameVersions {
  readonly #nodes = new Map<NodeId, { readonly incarnation: Incarnation; readonly version: number }>()

  /** A frame came from this life of a node. */
  heard({ nodeId, incarnation }: Peer, version: number): void {
    const known = this.#nodes.get(nodeId)
    if (known?.version === version && known.incarnation === incarnation) return
    if (known === undefined && this.#nodes.size >= maximumNodes) return
    this.#nodes.set(nodeId, { incarnation, version })
  }

  /** It may come back with another release. */
  lost(nodeId: NodeId): void {
    this.#nodes.delete(nodeId)
  }

  /** As it was heard last; 0 for one that was not heard since it was lost. */
  of({ nodeId, incarnation }: Peer): number {
    const known = this.#nodes.get(nodeId)
    return known?.incarnation === incarnation ? known.version : 0
  }
}
