import type { Incarnation, NodeId } from '../../model/ids.ts'
import type { Peer } from '../group/peers.ts'
import type { Marks } from './frame.ts'

const maximumPeers = 10_000

/**
 * How far the disks of all nodes have got, as they tell each other with each frame. A node that hears from any other how
 * far its own disk once was, and has less, knows that an older image of it has come back, or that it lost what it had
 * confirmed: what it acknowledged since is gone, votes included. The leader of a group finds that out for its own term alone
 * (its acknowledgement marks); this holds over terms, for all groups at once, and before the first vote is given, since
 * whoever asks for it says what he knows. Nobody stores it: who has started since knows nothing.
 */
export class DiskMarks {
  readonly #own: () => number | undefined
  readonly #peers = new Map<NodeId, { readonly incarnation: Incarnation; readonly position: number }>()

  /** `own` tells how much of this node's log store is durable; undefined where the store does not say. */
  constructor(own: () => number | undefined) {
    this.#own = own
  }

  /** How far a node's disk was, as far as this one has heard. */
  known({ nodeId, incarnation }: Peer): number {
    const heard = this.#peers.get(nodeId)
    return heard?.incarnation === incarnation ? heard.position : 0
  }

  /** What a frame to a node says, if there is anything to say. */
  to(peer: Peer): Marks | undefined {
    const position = this.#own() ?? 0
    const known = this.known(peer)
    return position > 0 || known > 0 ? { kind: 'marks', position, known } : undefined
  }

  /** Takes in what a frame says. Returns whether this node's own disk has forgotten something. */
  heard(peer: Peer, { position, known }: Marks): boolean {
    if (position > this.known(peer)) this.#remember(peer, position)
    return this.hasForgotten(known)
  }

  /**
   * A store that does not say (a wrapper around one that did, perhaps) accuses nobody: else a healthy node would be lost.
   *
   * @internal
   */
  hasForgotten(known: number): boolean {
    const own = this.#own()
    return own !== undefined && known > own
  }

  #remember({ nodeId, incarnation }: Peer, position: number): void {
    // The latest heard of comes last, so that the first is the one to go.
    this.#peers.delete(nodeId)
    for (const [oldest] of this.#peers) {
      if (this.#peers.size < maximumPeers) break
      this.#peers.delete(oldest)
    }
    this.#peers.set(nodeId, { incarnation, position })
  }
}
