import type { Sliced } from '../../core/sliced.ts'
import type { Draft } from './draft.ts'
import { Improvements } from './improvements.ts'
import { overloadLevel, replicaBits } from './snapshot.ts'
import { epsilon } from './targets.ts'

/** Whoever takes something off an overloaded store is filled to such a part of each capacity at most. */
const takesUpTo = 0.85
/** Where no capacity is named, what is such a part of all that the store does is too little to take the trouble with it along. */
const smallShare = 0.1

/** Priorities of what leaves overloaded stores: leases, which cost no copy, and replicas. */
export const shedLeasePriority = 4300
/** @internal */
export const shedReplicaPriority = 4100

/**
 * Plans what leaves overloaded stores: leases first, then, of exhausted ones, replicas. Only to stores that have nothing to
 * complain of, so that it does not go round: who takes becomes strained long before he is overloaded, and takes no more; and a
 * range that is too hot for any store is not handed from one to the next. Never at the expense of a goal that judges ranges,
 * which would have it back. @internal
 */
export class Cooling {
  readonly draft: Draft
  readonly #improvements: Improvements

  constructor(draft: Draft) {
    this.draft = draft
    this.#improvements = new Improvements(draft)
  }

  /** Hands on leases that a store holds, the heaviest ranges first. */
  *shedLeases(store: number): Sliced<void> {
    const { draft } = this
    const { columns } = draft
    for (const slot of this.#improvements.slotsOn(store)) {
      if (((columns.status[slot] as number) & replicaBits.lease) === 0) continue
      yield
      const range = columns.rangeOf[slot] as number
      if (draft.isTaken(range) || draft.survey.read(range).leaseholder !== slot) continue
      if (!this.mayShedLease(store)) {
        draft.sheet.deferred++
        return
      }
      const to = this.leaseTarget(range, slot)
      if (to < 0) continue
      const why = `${columns.nodeName(store)} is ${this.#level(store)}: leases leave it`
      draft.commitLease(range, shedLeasePriority, why, to)
    }
  }

  /** Whether the limits let another lease leave an overloaded store. */
  mayShedLease(store: number): boolean {
    const { traffic, limits } = this.draft
    if (traffic.leaseMoves >= limits.leaseTransfers) return false
    return (traffic.leasesFrom[store] as number) < limits.shedLeasesPerStore
  }

  /** The voter that the lease of an overloaded store is best with, or -1. */
  leaseTarget(range: number, from: number): number {
    const { draft } = this
    const { columns, assignment } = draft
    const end = columns.spareSlot(range)
    let best = -1
    for (let slot = columns.firstSlot[range] as number; slot < end; slot++) {
      const bits = columns.status[slot] as number
      const node = assignment.place[slot] as number
      if (slot === from || node < 0 || columns.eligible[node] !== 1) continue
      if ((bits & replicaBits.voter) === 0 || (bits & replicaBits.up) === 0) continue
      if (
        !this.mayTakeLease(node) ||
        !this.bears(range, from, node) ||
        this.#spoils((goal) => goal.leadDelta(range, slot))
      )
        continue
      if (best < 0 || this.#compare(range, slot, best) < 0) best = slot
    }
    return best
  }

  /** Whether a store may be given a lease of an overloaded one: it is calm, and not all of them go to it. @internal */
  mayTakeLease(node: number): boolean {
    const { columns, traffic, limits } = this.draft
    if ((columns.overload[node] as number) > 0) return false
    return (traffic.leasesTo[node] as number) < Math.ceil(limits.shedLeasesPerStore / 2)
  }

  /**
   * Whether a store can bear the lease of a range, of what is reported of loads: it has room for what leading takes, or is
   * better off with it than the store that gives it. @internal
   */
  bears(range: number, from: number, to: number): boolean {
    const { columns, assignment } = this.draft
    const { leaderLoad } = columns
    if (leaderLoad === undefined) return true
    const width = columns.resources.length
    const source = assignment.place[from] as number
    for (let r = 0; r < width; r++) {
      const more = leaderLoad[range * width + r] as number
      if (more > 0 && !this.#bearsAmount(source * width + r, to * width + r, more)) return false
    }
    return true
  }

  /** The same of a replica, and of what it leads. @internal */
  bearsReplica(slot: number, to: number): boolean {
    const { columns, assignment } = this.draft
    const width = columns.resources.length
    const source = assignment.place[slot] as number
    const range = columns.rangeOf[slot] as number
    const leads = assignment.leader[range] === slot
    for (let r = 0; r < width; r++) {
      const led = leads ? (columns.leaderLoad?.[range * width + r] ?? 0) : 0
      const more = (columns.load[slot * width + r] as number) + led
      if (more > 0 && !this.#bearsAmount(source * width + r, to * width + r, more)) return false
    }
    return true
  }

  #bearsAmount(source: number, to: number, more: number): boolean {
    const { columns, assignment } = this.draft
    const [before, after] = [assignment.usage[source] as number, (assignment.usage[to] as number) + more]
    const [mine, theirs] = [columns.capacity[source] as number, columns.capacity[to] as number]
    if (theirs !== Number.POSITIVE_INFINITY)
      return after <= theirs * takesUpTo || after * mine < before * theirs
    return after < before || more <= before * smallShare
  }

  /** By the goals, and by how many leases the two have. */
  #compare(range: number, a: number, b: number): number {
    const { assignment } = this.draft
    const leases = (slot: number): number =>
      assignment.leaderCount[assignment.place[slot] as number] as number
    return this.draft.leaseDifference(range, a, b) || leases(a) - leases(b)
  }

  /** Takes replicas from an exhausted store, the heaviest first. */
  *shedReplicas(store: number): Sliced<void> {
    const { draft } = this
    const { columns, traffic, limits, targets } = draft
    for (const slot of this.#improvements.slotsOn(store)) {
      yield
      if (!this.#improvements.isFree(slot)) continue
      if ((traffic.outgoing[store] as number) >= limits.shedReplicasPerStore) {
        draft.sheet.deferred++
        return
      }
      const choice = targets.choose(slot, false, 'fair', (node) => this.mayTakeReplica(slot, node))
      if (choice.type === 'none') continue
      if (choice.type === 'busy' || !draft.hasRoom(store, choice.node)) {
        draft.sheet.deferred++
        return
      }
      draft.survey.read(columns.rangeOf[slot] as number)
      const why = `${columns.nodeName(store)} is ${this.#level(store)}: replicas leave it`
      draft.commit(columns.rangeOf[slot] as number, shedReplicaPriority, why, choice.node, slot, -1)
    }
  }

  /** Whether a store may be given a replica of an exhausted one. @internal */
  mayTakeReplica(slot: number, node: number): boolean {
    if ((this.draft.columns.overload[node] as number) > 0 || !this.bearsReplica(slot, node)) return false
    return !this.#spoils((goal) => goal.moveDelta(slot, node))
  }

  #spoils(cost: (goal: Draft['goals'][number]) => number): boolean {
    return this.draft.goals.some((goal) => goal.judges === 'ranges' && cost(goal) > epsilon)
  }

  #level(store: number): string {
    return this.draft.columns.snapshot.stores[store]?.overload ?? 'overloaded'
  }
}

/** Stores that leases, or replicas too, are to leave: the hardest pressed first. @internal */
export function hotStores(levels: Uint8Array): readonly number[] {
  const hot: number[] = []
  for (let store = 0; store < levels.length; store++) {
    if ((levels[store] as number) >= overloadLevel.overloaded) hot.push(store)
  }
  return hot.sort((a, b) => (levels[b] as number) - (levels[a] as number) || a - b)
}
