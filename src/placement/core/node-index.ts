import { type FlatSnapshot } from './flat.ts'
import { replicaBits } from './snapshot.ts'

/** Which replicas each node has: one counting sort over the snapshot. @internal */
export class NodeIndex {
  readonly #snapshot: FlatSnapshot
  /** Where the replicas of each node start in `#replicas`; one more entry ends the last one. */
  readonly #first: Uint32Array
  readonly #replicas: Uint32Array
  readonly #range: Uint32Array

  constructor(snapshot: FlatSnapshot) {
    const { firstReplica, replicaNode, nodes } = snapshot
    const first = new Uint32Array(nodes.length + 1)
    for (const node of replicaNode) if (node >= 0) first[node + 1] = (first[node + 1] as number) + 1
    for (let node = 0; node < nodes.length; node++) {
      first[node + 1] = (first[node + 1] as number) + (first[node] as number)
    }
    const next = first.slice()
    this.#snapshot = snapshot
    this.#first = first
    this.#replicas = new Uint32Array(replicaNode.length)
    this.#range = new Uint32Array(replicaNode.length)
    for (let range = 0; range < firstReplica.length - 1; range++) {
      for (let i = firstReplica[range] as number; i < (firstReplica[range + 1] as number); i++) {
        this.#range[i] = range
        const node = replicaNode[i] as number
        if (node < 0) continue
        this.#replicas[next[node] as number] = i
        next[node] = (next[node] as number) + 1
      }
    }
  }

  /** Positions of the voters on a node. */
  *votersOn(node: number): IterableIterator<number> {
    for (let i = this.#first[node] as number; i < (this.#first[node + 1] as number); i++) {
      const replica = this.#replicas[i] as number
      if (((this.#snapshot.replicaStatus[replica] as number) & replicaBits.voter) !== 0) yield replica
    }
  }

  /** The range of a replica. */
  rangeOf(replica: number): number {
    return this.#range[replica] as number
  }
}
