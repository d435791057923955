import type { PlacementSnapshot } from './snapshot.ts'
import { Standing } from './standing.ts'

/** Moves under way and planned, by node: what the limits are about. */
export class Traffic {
  /** Moves that bring a replica to a node. */
  readonly incoming: Int32Array
  /** Moves that take one away from a node. */
  readonly outgoing: Int32Array
  /** Leases that are on their way from a node, and to one. */
  readonly leasesFrom: Int32Array
  readonly leasesTo: Int32Array
  /** Moves of replicas in the cluster. */
  replicaMoves = 0
  /** Transfers of leases in the cluster. */
  leaseMoves = 0

  /** Begins with what is under way. O(moves under way). */
  constructor(snapshot: PlacementSnapshot) {
    this.incoming = new Int32Array(snapshot.stores.length)
    this.outgoing = new Int32Array(snapshot.stores.length)
    this.leasesFrom = new Int32Array(snapshot.stores.length)
    this.leasesTo = new Int32Array(snapshot.stores.length)
    const standing = new Standing()
    const reader = snapshot.reader()
    for (const move of snapshot.moves) {
      if (!reader.seek(move.rangeId)) continue
      if (move.kind === 'transferLease') {
        const { homeLeader, leader, place } = standing.read(reader)
        this.beginLease(placeOf(place, homeLeader), placeOf(place, leader))
        continue
      }
      const { from, to } = standing.read(reader)
      this.begin(from, to)
    }
  }

  /** A lease begins to move. */
  beginLease(from: number, to: number): void {
    this.leaseMoves++
    if (from >= 0) this.leasesFrom[from] = (this.leasesFrom[from] as number) + 1
    if (to >= 0) this.leasesTo[to] = (this.leasesTo[to] as number) + 1
  }

  /** A move begins: its two ends are busy. */
  begin(from: number, to: number): void {
    this.replicaMoves++
    if (from >= 0) this.outgoing[from] = (this.outgoing[from] as number) + 1
    if (to >= 0) this.incoming[to] = (this.incoming[to] as number) + 1
  }
}

/** The store of a position, if it is one. */
function placeOf(place: Int32Array, position: number): number {
  return position < 0 ? position : (place[position] as number)
}
