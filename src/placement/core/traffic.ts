import type { PlacementSnapshot } from './snapshot.ts'
import { Standing } from './standing.ts'

/** Moves under way and planned, by node: what the limits are about. */
export class Traffic {
  /** Moves that bring a replica to a node. */
  readonly incoming: Int32Array
  /** Moves that take one away from a node. */
  readonly outgoing: Int32Array
  /** Moves of replicas in the cluster. */
  replicaMoves = 0
  /** Transfers of leases in the cluster. */
  leaseMoves = 0

  /** Begins with what is under way. O(moves under way). */
  constructor(snapshot: PlacementSnapshot) {
    this.incoming = new Int32Array(snapshot.stores.length)
    this.outgoing = new Int32Array(snapshot.stores.length)
    const standing = new Standing()
    const reader = snapshot.reader()
    for (const move of snapshot.moves) {
      if (!reader.seek(move.rangeId)) continue
      if (move.kind === 'transferLease') {
        this.leaseMoves++
        continue
      }
      const { from, to } = standing.read(reader)
      this.begin(from, to)
    }
  }

  /** A move begins: its two ends are busy. */
  begin(from: number, to: number): void {
    this.replicaMoves++
    if (from >= 0) this.outgoing[from] = (this.outgoing[from] as number) + 1
    if (to >= 0) this.incoming[to] = (this.incoming[to] as number) + 1
  }
}
