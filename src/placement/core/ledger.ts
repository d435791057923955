import { nowhere } from './assignment.ts'
import { type FlatSnapshot } from './flat.ts'
import { nodeBits, replicaBits } from './snapshot.ts'

/** Nobody: where a replica comes from when it is new, or goes to when it vanishes. */
export { nowhere }

/**
 * What the nodes hold when everything that is decided has happened: what is there, the moves in flight, and the moves of
 * the plan so far. The one mutable part of planning.
 */
export class Ledger {
  /** The cluster that the ledger began with. @internal */
  readonly snapshot: FlatSnapshot
  /** Replicas that count, by node. Lost ones count nowhere. */
  readonly replicas: Float64Array
  /** Leases by node. */
  readonly leases: Float64Array
  /** Moves that bring something to a node, or take something away, in flight or planned. */
  readonly incoming: Int32Array
  /** Moves under way or planned that take a replica away, by node. */
  readonly outgoing: Int32Array
  /** Amount of each resource in use, by node. */
  readonly usage: ReadonlyMap<string, Float64Array>
  /** Moves in flight or planned: of replicas, and of leases alone. */
  replicaMoves = 0
  /** Transfers of leases under way or planned. */
  leaseMoves = 0

  /** Counts the replicas of `snapshot` and the moves that it has in flight. @internal */
  constructor(snapshot: FlatSnapshot) {
    const count = snapshot.nodes.length
    this.snapshot = snapshot
    this.replicas = new Float64Array(count)
    this.leases = new Float64Array(count)
    this.incoming = new Int32Array(count)
    this.outgoing = new Int32Array(count)
    this.usage = new Map([...snapshot.loads.keys()].map((name) => [name, new Float64Array(count)]))
    this.#countReplicas()
    this.#countMoves()
  }

  /** A replica of a range goes from one node to another; either may be {@link nowhere}. A new range has no load yet. */
  moveReplica(range: number, from: number, to: number): void {
    this.#shift(this.replicas, 1, from, to)
    if (range === nowhere) return
    for (const [name, used] of this.usage) {
      this.#shift(used, (this.snapshot.loads.get(name) as Float64Array)[range] as number, from, to)
    }
  }

  /** The lease of a range goes from one node to another; either may be {@link nowhere}. */
  moveLease(from: number, to: number): void {
    this.#shift(this.leases, 1, from, to)
  }

  /** A move begins: its two ends are busy. */
  begin(from: number, to: number): void {
    this.replicaMoves++
    if (from >= 0) this.outgoing[from] = (this.outgoing[from] as number) + 1
    if (to >= 0) this.incoming[to] = (this.incoming[to] as number) + 1
  }

  #shift(column: Float64Array, amount: number, from: number, to: number): void {
    if (from >= 0) column[from] = (column[from] as number) - amount
    if (to >= 0) column[to] = (column[to] as number) + amount
  }

  #countReplicas(): void {
    const { firstReplica, replicaNode, replicaStatus, loads } = this.snapshot
    const columns = [...this.usage].map(([name, used]) => [used, loads.get(name) as Float64Array] as const)
    for (let range = 0; range < firstReplica.length - 1; range++) {
      for (let i = firstReplica[range] as number; i < (firstReplica[range + 1] as number); i++) {
        const node = replicaNode[i] as number
        const status = replicaStatus[i] as number
        if (node < 0 || (status & replicaBits.lost) !== 0) continue
        this.replicas[node] = (this.replicas[node] as number) + 1
        if ((status & replicaBits.lease) !== 0) this.leases[node] = (this.leases[node] as number) + 1
        for (const [used, load] of columns) used[node] = (used[node] as number) + (load[range] as number)
      }
    }
  }

  #countMoves(): void {
    const { moveOf, moves, nodeIndex, firstReplica, replicaIds, replicaNode, replicaStatus } = this.snapshot
    for (let range = 0; range < moveOf.length; range++) {
      const move = moves[moveOf[range] as number]
      if (move === undefined) continue
      let from = nowhere
      let leaseFrom = nowhere
      let leaseTo = nowhere
      let to = move.add === undefined ? nowhere : (nodeIndex.get(move.add) ?? nowhere)
      const target = to
      for (let i = firstReplica[range] as number; i < (firstReplica[range + 1] as number); i++) {
        const node = replicaNode[i] as number
        const status = replicaStatus[i] as number
        // The learner is there already, and was counted.
        if (node === to) to = nowhere
        if (replicaIds[i] === move.remove && (status & replicaBits.lost) === 0) from = node
        if (replicaIds[i] === move.leaseTo) leaseTo = node
        if ((status & replicaBits.lease) !== 0) leaseFrom = node
      }
      if (move.kind === 'transferLease') {
        this.leaseMoves++
        this.moveLease(leaseFrom, leaseTo)
        continue
      }
      this.begin(from, target)
      this.moveReplica(range, from, to)
      if (from !== nowhere && from === leaseFrom) this.moveLease(from, nowhere)
    }
  }

  /** Nodes that may be given something. */
  eligible(node: number): boolean {
    return ((this.snapshot.nodeStatus[node] as number) & nodeBits.eligible) !== 0
  }
}
