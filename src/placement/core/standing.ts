import type { NodeId } from '../../model/ids.ts'
import { nowhere } from './assignment.ts'
import { bringsNonVoter, type RangeReader, replicaBits } from './snapshot.ts'

/**
 * Where the replicas of one range are once what is under way has happened. One object serves all ranges. Positions are
 * those among the replicas of the range.
 */
export class Standing {
  /** How many replicas there are. */
  count = 0
  /** Store on which each is in fact, or {@link nowhere}: unknown, or lost. */
  readonly home: Int32Array = new Int32Array(maximumReplicas)
  /** Store on which each will be, or {@link nowhere}. */
  readonly place: Int32Array = new Int32Array(maximumReplicas)
  /** Store that a move under way brings a replica to that is not there yet, or {@link nowhere}. */
  target: number = nowhere
  /** Whether it gets a vote there. */
  targetVotes = true
  /** Who leads in fact, and who will: a position, or {@link nowhere}. */
  homeLeader: number = nowhere
  leader: number = nowhere
  /** True while a move is under way. */
  moving = false
  /** Stores between which it goes. */
  from: number = nowhere
  to: number = nowhere

  /** Turns to a range. */
  read(reader: RangeReader): this {
    const { snapshot } = reader
    this.count = Math.min(reader.replicas, maximumReplicas)
    this.target = nowhere
    this.from = nowhere
    this.to = nowhere
    this.homeLeader = nowhere
    for (let i = 0; i < this.count; i++) {
      const status = reader.status(i)
      const store = (status & replicaBits.lost) === 0 ? reader.store(i) : nowhere
      this.home[i] = store
      // Those that only vote until a joint configuration is left are gone by then.
      this.place[i] = reader.role(i) === 'outgoing' ? nowhere : store
      if ((status & replicaBits.lease) !== 0) this.homeLeader = i
    }
    this.leader = this.homeLeader
    const move = snapshot.moveOf(reader.rangeId)
    this.moving = move !== undefined
    if (move === undefined) return this
    const heir = this.#positionOf(reader, move.leaseTo)
    if (move.kind === 'transferLease') {
      if (heir !== nowhere) this.leader = heir
      return this
    }
    const node = move.add === undefined ? undefined : snapshot.nodeIndex.get(move.add)
    if (node !== undefined) {
      this.to = snapshot.table.storeOf({ nodeId: move.add as NodeId, storeId: move.storeId ?? '' })
      this.target = this.to
      this.targetVotes = !bringsNonVoter(move.kind)
      for (let i = 0; i < this.count; i++) if (reader.node(i) === node) this.#arrived(reader, i)
    }
    const gone = this.#positionOf(reader, move.remove)
    if (gone === nowhere) return this
    this.from = this.place[gone] as number
    this.place[gone] = nowhere
    if (this.leader === gone) this.leader = heir
    return this
  }

  /** What the move brings is there. Where nobody has said on which store, it is on the one that the move named. */
  #arrived(reader: RangeReader, i: number): void {
    this.target = nowhere
    const named = reader.snapshot.table.lives[reader.life(i)]?.storeId !== ''
    if (named || this.home[i] === nowhere) return
    this.home[i] = this.to
    this.place[i] = this.to
  }

  #positionOf(reader: RangeReader, replicaId: number | undefined): number {
    if (replicaId === undefined) return nowhere
    for (let i = 0; i < this.count; i++) if (reader.replicaId(i) === replicaId) return i
    return nowhere
  }
}

/** Replicas of one range that are looked at; no configuration has more. */
export const maximumReplicas = 64
