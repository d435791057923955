import type { Sliced } from '../../core/sliced.ts'
import type { RangeId } from '../../model/ids.ts'
import { nowhere } from './assignment.ts'
import type { Draft } from './draft.ts'
import type { BoundGoal, BoundRule } from './goals/goal.ts'
import { type Offer, Offers } from './offers.ts'
import { replicaBits } from './snapshot.ts'
import { epsilon } from './targets.ts'

/** Ranges of an overfull node that are looked at for the best one to move. */
export const maximumExamined = 64

/** Priority of what relieves a node that is too full. */
export const shedPriority = 4200

/** What came of looking at a range: a move, nothing that could be done, or something that has to wait. */
export type Outcome = 'moved' | 'stuck' | 'waits'

/** Plans moves for the sake of rules of nodes, and of the goals alone: diversity and balance. @internal */
export class Improvements {
  readonly draft: Draft
  /** What nodes could give away, as far as it was asked for. */
  readonly #offers = new Map<number, Offers>()
  /** Replicas that no node could take. */
  readonly #immobile = new Set<number>()

  constructor(draft: Draft) {
    this.draft = draft
  }

  /** Moves the replica of a range whose move gains most by a goal. */
  improveRange(range: number, goal: BoundGoal): Outcome {
    const { draft } = this
    const { firstSlot } = draft.columns
    if (draft.isTaken(range) || goal.excess(range) <= 0) return 'waits'
    if (draft.survey.read(range).need() !== 'nothing') return 'waits'
    const lease = this.#improveLease(range, goal)
    if (lease === 'moved') return lease
    let [leaving, to, gain, waits] = [-1, nowhere, 0, lease === 'waits']
    const end = draft.columns.spareSlot(range)
    for (let slot = firstSlot[range] as number; slot < end; slot++) {
      const choice = draft.targets.choose(slot, false, 'fair')
      if (choice.type === 'none' || !draft.targets.improves(slot, choice.node)) continue
      if (choice.type === 'busy' || !draft.mayImprove() || !draft.hasRoom(this.#place(slot), choice.node)) {
        waits = true
        continue
      }
      const cost = goal.moveDelta(slot, choice.node)
      if (leaving >= 0 && cost >= gain) continue
      ;[leaving, to, gain] = [slot, choice.node, cost]
    }
    if (leaving < 0) return waits ? 'waits' : 'stuck'
    const from = this.#place(leaving)
    const why = `${goal.name}: ${draft.columns.nodeName(from)} has ${goal.describe(leaving, from)}`
    this.#improve(range, 200, why, to, leaving)
    return draft.isTaken(range) ? 'moved' : 'stuck'
  }

  /** Gives the lease of a range to where a goal likes it better: that costs no copy. */
  #improveLease(range: number, goal: BoundGoal): Outcome {
    const { draft } = this
    const { leaseholder } = draft.survey
    if (leaseholder < 0) return 'stuck'
    const { firstSlot } = draft.columns
    const end = draft.columns.spareSlot(range)
    for (let slot = firstSlot[range] as number; slot < end; slot++) {
      if (slot === leaseholder || goal.leadDelta(range, slot) > -epsilon) continue
      if (draft.traffic.leaseMoves >= draft.limits.leaseTransfers) return 'waits'
      return this.#giveLease(range, leaseholder, goal) ? 'moved' : 'stuck'
    }
    return 'stuck'
  }

  /**
   * Takes from the fullest of some nodes that something can be taken from, until nothing is gained any more.
   *
   * @returns the nodes that something was taken from
   */
  *evenOut(
    goal: BoundGoal,
    sources: readonly number[],
    cold: readonly number[],
  ): Sliced<ReadonlySet<number>> {
    const spent = new Set<number>()
    const gave = new Set<number>()
    for (;;) {
      let source = -1
      for (const node of sources) {
        if (spent.has(node)) continue
        if (source < 0 || goal.pressure(node) > goal.pressure(source)) source = node
      }
      if (source < 0) return gave
      const shed =
        goal.judges === 'leases'
          ? this.shedLease(source, goal, false)
          : this.shedLease(source, goal, true) ||
            (yield* this.shedReplica(source, cold, goal)) ||
            (yield* this.swap(source, cold, goal))
      if (shed) gave.add(source)
      else spent.add(source)
      yield
    }
  }

  /** Moves the best of a node's replicas elsewhere, for balance. */
  *shedReplica(source: number, cold: readonly number[], goal: BoundGoal): Sliced<boolean> {
    const { draft } = this
    const offers = this.#offersOf(source)
    for (;;) {
      yield* this.#lookForOffers(source, cold, offers)
      const best = draft.mayImprove() ? offers.take() : undefined
      if (best === undefined) return false
      const { slot } = best
      if (!this.isFree(slot)) continue
      yield
      // What was planned since it was found may have changed it, hardly ever for the better: who is first again goes.
      const to = best.foundAt === draft.sheet.moves.length ? best.to : this.betterPlace(source, slot, cold)
      if (to === nowhere) continue
      if (to !== best.to || best.foundAt !== draft.sheet.moves.length) {
        offers.put(this.#offer(slot, to))
        continue
      }
      const range = draft.columns.rangeOf[slot] as number
      draft.survey.read(range)
      offers.examined--
      this.#improve(range, 100, this.whyBetter(slot, to, goal), to, slot)
      return draft.isTaken(range)
    }
  }

  #offersOf(source: number): Offers {
    let offers = this.#offers.get(source)
    if (offers === undefined) {
      offers = new Offers(this.slotsOn(source))
      this.#offers.set(source, offers)
    }
    return offers
  }

  /** Looks at the heaviest that are free, as many as are looked at together; at more as long as none of them can go. */
  *#lookForOffers(source: number, cold: readonly number[], offers: Offers): Sliced<void> {
    while ((offers.examined < maximumExamined || offers.none) && this.draft.mayImprove()) {
      const slot = offers.next()
      if (slot === undefined) return
      if (!this.isFree(slot)) continue
      offers.examined++
      yield
      const to = this.betterPlace(source, slot, cold)
      if (to !== nowhere) offers.put(this.#offer(slot, to))
    }
  }

  #offer(slot: number, to: number): Offer {
    const changes = this.draft.goals.map((goal) => goal.moveDelta(slot, to))
    return { slot, to, changes, foundAt: this.draft.sheet.moves.length }
  }

  /** Where a replica is better by all goals; else one of the emptiest nodes of the goal that is looked at, if it is better there. */
  betterPlace(source: number, slot: number, cold: readonly number[]): number {
    const { targets } = this.draft
    const isBetter = (node: number): boolean =>
      this.draft.hasRoom(source, node) && targets.improves(slot, node)
    const choice = targets.choose(slot, false, 'fair')
    if (choice.type === 'none') {
      this.#immobile.add(slot)
      return nowhere
    }
    if (choice.type === 'found' && isBetter(choice.node)) return choice.node
    for (const node of cold) {
      if (node !== source && targets.isAllowed(slot, node) && isBetter(node)) return node
    }
    return nowhere
  }

  /** Moves one of a node's leases to another replica of its range: to share leases, or `load` that comes with them. */
  shedLease(source: number, goal: BoundGoal, load: boolean): boolean {
    const { draft } = this
    if (draft.traffic.leaseMoves >= draft.limits.leaseTransfers) return false
    if (load && draft.columns.leaderLoad === undefined) return false
    for (const slot of this.slotsOn(source)) {
      const range = draft.columns.rangeOf[slot] as number
      const leads = ((draft.columns.status[slot] as number) & replicaBits.lease) !== 0
      if (!leads || !this.isFree(slot)) continue
      if (this.#giveLease(range, slot, goal)) return true
    }
    return false
  }

  /** Exchanges a replica of a full node for a lighter one of an empty node, where no single move is any good. */
  *swap(source: number, cold: readonly number[], goal: BoundGoal): Sliced<boolean> {
    const { draft } = this
    if (draft.sheet.improvements + 2 > draft.limits.improvements) return false
    if (draft.traffic.replicaMoves + 2 > draft.limits.moves) return false
    let [first, second, gain] = [-1, -1, -epsilon]
    const mine = this.#mobileFirst(this.slotsOn(source).filter((slot) => this.isFree(slot)))
    for (const other of cold) {
      if (other === source || !draft.hasRoom(source, other) || !draft.hasRoom(other, source)) continue
      const theirs = this.slotsOn(other).filter((slot) => this.isFree(slot))
      for (const a of mine.slice(0, maximumExamined)) {
        yield
        for (const b of theirs.slice(0, maximumExamined)) {
          const delta = goal.swapDelta(a, b)
          if (delta >= gain || !this.maySwap(a, b) || !draft.targets.improvesSwap(a, b)) continue
          ;[first, second, gain] = [a, b, delta]
        }
      }
    }
    if (first < 0) return false
    const { columns, assignment } = draft
    const [from, to] = [this.#place(first), this.#place(second)]
    const why = `${goal.name}: changes places with a lighter one, ${goal.describe(first, from)}, ${goal.describe(second, to)}`
    for (const [slot, target] of [
      [first, to],
      [second, from],
    ] as const) {
      const range = columns.rangeOf[slot] as number
      draft.survey.read(range)
      if (assignment.place[slot] !== target) this.#improve(range, 100, why, target, slot)
    }
    return true
  }

  /** Those first of which a rule or another has not said that no node can take them, each part in its order. */
  #mobileFirst(slots: readonly number[]): readonly number[] {
    if (slots.length <= maximumExamined) return slots
    return [
      ...slots.filter((slot) => !this.#immobile.has(slot)),
      ...slots.filter((slot) => this.#immobile.has(slot)),
    ]
  }

  /** Takes from a node that a rule says is too full, the heaviest first, until it says so no more. */
  *relieve(source: number, rule: BoundRule): Sliced<void> {
    const { draft } = this
    for (const slot of this.slotsOn(source)) {
      const why = rule.sheds?.(source)
      if (why === undefined) return
      yield
      if (!this.isFree(slot) || rule.evicts(slot) === undefined) continue
      const choice = draft.targets.choose(slot, false, 'any')
      if (choice.type === 'none') continue
      if (choice.type === 'busy' || !draft.hasRoom(source, choice.node)) {
        draft.sheet.deferred++
        return
      }
      const range = draft.columns.rangeOf[slot] as number
      draft.survey.read(range)
      const named = `${rule.name}: ${draft.columns.nodeName(source)} is too full: ${why}`
      draft.commit(range, shedPriority, named, choice.node, slot, -1)
    }
  }

  /** Whether two replicas may exchange their nodes by all hard rules. @internal */
  maySwap(a: number, b: number): boolean {
    const { columns, assignment, rules } = this.draft
    const [rangeA, rangeB] = [columns.rangeOf[a] as number, columns.rangeOf[b] as number]
    if (rangeA === rangeB) return false
    if (columns.holds(assignment, rangeA, this.#place(b))) return false
    if (columns.holds(assignment, rangeB, this.#place(a))) return false
    if (columns.isHot(this.#place(a)) || columns.isHot(this.#place(b))) return false
    return rules.every((rule) => rule.allowsSwap(a, b))
  }

  /** Whether a replica may be moved merely to make something better. @internal */
  isFree(slot: number): boolean {
    const { draft } = this
    const range = draft.columns.rangeOf[slot] as number
    return !draft.isTaken(range) && draft.survey.read(range).need() === 'nothing'
  }

  /** Slots on a node among those that are looked at, the heaviest first. @internal */
  slotsOn(node: number): number[] {
    const { columns, assignment } = this.draft
    const weights = columns.snapshot.resources.map((_, r) => {
      const used = assignment.usage[node * columns.resources.length + r] as number
      return used > 0 ? 1 / used : 0
    })
    const weigh = (slot: number): number =>
      weights.reduce(
        (most, weight, r) => Math.max(most, weight * (columns.load[slot * weights.length + r] as number)),
        0,
      )
    return [...assignment.slotsOn(node)]
      .map((slot) => ({ slot, weight: weigh(slot) }))
      .sort((a, b) => b.weight - a.weight || a.slot - b.slot)
      .map(({ slot }) => slot)
  }

  /** @internal */
  whyBetter(slot: number, to: number, fallback: BoundGoal): string {
    const from = this.#place(slot)
    const goal = this.draft.goals.find((each) => each.moveDelta(slot, to) < -epsilon) ?? fallback
    return `${goal.name}: ${goal.describe(slot, from)}, ${goal.describe(slot, to)}`
  }

  #giveLease(range: number, slot: number, goal: BoundGoal): boolean {
    const { draft } = this
    const to = draft.bestLeaseTarget(range, slot, 'fair')
    if (to < 0 || goal.leadDelta(range, to) >= -epsilon || !draft.targets.improvesLease(range, to))
      return false
    const better = draft.goals.find((each) => each.leadDelta(range, to) < -epsilon) ?? goal
    draft.commitLease(range, 50, `${better.name}: ${better.describe(slot, this.#place(slot))}`, to)
    return draft.isTaken(range)
  }

  #improve(range: number, priority: number, why: string, to: number, leaving: number): void {
    this.draft.sheet.improvements++
    this.draft.commit(range, priority, why, to, leaving, -1)
  }

  #place(slot: number): number {
    return this.draft.assignment.place[slot] as number
  }
}

/** Ids by a draw that is the same everywhere, so that those that are looked at are a fair sample. @internal */
export function drawOf(rangeId: RangeId, seed: number): number {
  let hash = Math.imul((rangeId % 0x1_0000_0000) ^ seed, 0x9e3779b1)
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d)
  hash = Math.imul(hash ^ (hash >>> 12), 0x297a2d39)
  return (hash ^ (hash >>> 15)) >>> 0
}
