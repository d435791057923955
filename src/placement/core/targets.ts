import type { NodeId } from '../../model/ids.ts'
import { type Assignment, nowhere } from './assignment.ts'
import { Candidates } from './candidates.ts'
import type { BoundGoal, BoundRule } from './goals/goal.ts'
import type { PlacementLimits } from './policy.ts'
import { nodeBits } from './snapshot.ts'
import type { Traffic } from './traffic.ts'
import type { WorkingSet } from './working-set.ts'

/** A node that was not taken, and why. */
export interface Rejection {
  /** The node that was not taken. */
  readonly nodeId: NodeId
  /** The constraint, limit or goal that speaks against it, in words. */
  readonly why: string
}

/** What came of looking for a node. */
export type TargetChoice =
  | { readonly type: 'found'; readonly node: number }
  /** There is one, but it has enough to do. */
  | { readonly type: 'busy'; readonly node: number }
  | { readonly type: 'none' }

/** Which nodes may be taken: `any`, overloaded ones where no other will do; `fair`, none that is overloaded. */
export type TargetReach = 'any' | 'fair'

/** Overloaded nodes that are named among those that were not taken. */
const namedHot = 2

/** Differences that are smaller are those of rounding. */
export const epsilon = 1e-9

/** Chooses where a replica may go: hard rules first, then the goals in their order, then a fixed draw among equals. */
export class Targets {
  readonly columns: WorkingSet
  readonly assignment: Assignment
  readonly rules: readonly BoundRule[]
  readonly goals: readonly BoundGoal[]
  readonly candidates: Candidates
  readonly #limits: PlacementLimits
  readonly #traffic: Traffic
  readonly #seed: number
  /** What the goals say of the best node so far for a slot, as far as they were asked. */
  #memoNode: number = nowhere
  #memo: (number | undefined)[] = []

  constructor(
    assignment: Assignment,
    columns: WorkingSet,
    rules: readonly BoundRule[],
    goals: readonly BoundGoal[],
    traffic: Traffic,
    limits: PlacementLimits,
    seed: number,
  ) {
    this.columns = columns
    this.assignment = assignment
    this.rules = rules
    this.goals = goals
    this.candidates = new Candidates(columns, goals)
    this.#traffic = traffic
    this.#limits = limits
    this.#seed = seed
  }

  /**
   * The best node for the replica of a slot. Of an urgent one, a worse node now is better than the best one later. Of a
   * large cluster it looks at the emptiest nodes of each kind, and at all of them only when none of those will do; and last of
   * all at those that are overloaded.
   *
   * @param suits asked of each node that could be taken, where not all of them will do
   */
  choose(slot: number, urgent: boolean, reach: TargetReach, suits?: (node: number) => boolean): TargetChoice {
    const broken = this.rules.filter((rule) => rule.evicts(slot) !== undefined)
    let choice = this.chooseAmong(slot, urgent, this.candidates.few(), broken, suits)
    if (choice.type !== 'found' && this.candidates.partial) {
      choice = this.chooseAmong(slot, urgent, this.candidates.all(), broken, suits)
    }
    if (choice.type !== 'none' || reach !== 'any' || this.candidates.hot().length === 0) return choice
    return this.chooseAmong(slot, urgent, this.candidates.hot(), broken, suits)
  }

  /** @internal */
  chooseAmong(
    slot: number,
    urgent: boolean,
    nodes: ArrayLike<number>,
    broken: readonly BoundRule[],
    suits?: (node: number) => boolean,
  ): TargetChoice {
    let best = nowhere
    let bestFree = nowhere
    this.#remember(nowhere)
    for (let i = 0; i < nodes.length; i++) {
      const node = nodes[i] as number
      if (!this.isAllowed(slot, node) || !this.mends(slot, node, broken)) continue
      if (suits?.(node) === false) continue
      const busy = this.isBusy(node)
      if (best === nowhere || this.compare(slot, node, best) < 0) {
        best = node
        this.#remember(node)
      }
      if (!busy && (bestFree === nowhere || best === node || this.compare(slot, node, bestFree) < 0))
        bestFree = node
    }
    this.#remember(nowhere)
    if (best === nowhere) return { type: 'none' }
    if (bestFree === nowhere) return { type: 'busy', node: best }
    if (urgent || best === bestFree || this.sameLocally(slot, best, bestFree)) {
      return { type: 'found', node: bestFree }
    }
    return { type: 'busy', node: best }
  }

  /** Whether any node could take the replica of a slot, overloaded or not: the first will do. */
  hasPlace(slot: number): boolean {
    const broken = this.rules.filter((rule) => rule.evicts(slot) !== undefined)
    for (let node = 0; node < this.columns.nodeCount; node++) {
      if (this.isAllowed(slot, node) && this.mends(slot, node, broken)) return true
    }
    return false
  }

  /** Whether the hard rules let the replica come to the node. */
  isAllowed(slot: number, node: number): boolean {
    if (this.columns.eligible[node] !== 1) return false
    if (this.columns.holds(this.assignment, this.columns.rangeOf[slot] as number, node)) return false
    for (let i = 0; i < this.rules.length; i++) {
      if (!(this.rules[i] as BoundRule).allows(slot, node)) return false
    }
    return true
  }

  /**
   * Whether a replica that some rules want away from where it is would be right on the node. To the rules one wrong place is
   * as good as another, but a move from one to the other would be followed by the next.
   *
   * @internal
   */
  mends(slot: number, node: number, broken: readonly BoundRule[]): boolean {
    if (broken.length === 0) return true
    const from = this.assignment.place[slot] as number
    this.assignment.move(slot, node)
    const mended = broken.every((rule) => rule.evicts(slot) === undefined)
    this.assignment.move(slot, from)
    return mended
  }

  /** Which rule refuses the node, and why. */
  refusal(slot: number, node: number): string | undefined {
    for (const rule of this.rules) {
      const why = rule.refusal(slot, node)
      if (why !== undefined) return `${rule.name}: ${why}`
    }
    return undefined
  }

  isBusy(node: number): boolean {
    return (this.#traffic.incoming[node] as number) >= this.#limits.incomingPerNode
  }

  /** Negative when `a` is the better node for the replica. Never zero for two nodes. */
  compare(slot: number, a: number, b: number): number {
    for (let i = 0; i < this.goals.length; i++) {
      const difference = (this.goals[i] as BoundGoal).moveDelta(slot, a) - this.#deltaOf(slot, b, i)
      if (Math.abs(difference) > epsilon) return difference
    }
    return this.draw(slot, a) - this.draw(slot, b) || a - b
  }

  #remember(node: number): void {
    this.#memoNode = node
    this.#memo = []
  }

  #deltaOf(slot: number, node: number, goal: number): number {
    const known = node === this.#memoNode ? this.#memo[goal] : undefined
    if (known !== undefined) return known
    const delta = (this.goals[goal] as BoundGoal).moveDelta(slot, node)
    if (node === this.#memoNode) this.#memo[goal] = delta
    return delta
  }

  /** True when the goals that judge ranges see no difference between the nodes. */
  sameLocally(slot: number, a: number, b: number): boolean {
    return this.goals.every(
      (goal) =>
        goal.judges !== 'ranges' || Math.abs(goal.moveDelta(slot, a) - goal.moveDelta(slot, b)) <= epsilon,
    )
  }

  /**
   * Whether a replica is better on `to` than where it is: better in one goal, by enough to be worth it, and worse in none
   * that is more important.
   */
  improves(slot: number, to: number): boolean {
    const from = this.assignment.place[slot] as number
    const attempt = (there: boolean): void => this.assignment.move(slot, there ? to : from)
    return this.#better((goal) => goal.moveDelta(slot, to), from, to, attempt)
  }

  /** Whether two replicas are better where the other one is. */
  improvesSwap(a: number, b: number): boolean {
    const { place } = this.assignment
    const swap = (): void => this.assignment.swap(a, b)
    return this.#better((goal) => goal.swapDelta(a, b), place[a] as number, place[b] as number, swap)
  }

  /** Whether the lease is better with `to` than with who has it. */
  improvesLease(range: number, to: number): boolean {
    const { place, leader } = this.assignment
    const from = leader[range] as number
    return this.#better(
      (goal) => goal.leadDelta(range, to),
      from < 0 ? nowhere : (place[from] as number),
      place[to] as number,
    )
  }

  #better(
    cost: (goal: BoundGoal) => number,
    from: number,
    to: number,
    attempt?: (there: boolean) => void,
  ): boolean {
    for (const goal of this.goals) {
      const change = cost(goal)
      if (change > epsilon && (attempt === undefined || !this.staysEven(goal, from, to, attempt)))
        return false
      if (change < -epsilon && this.isWorthwhile(goal, from, to)) return true
    }
    return false
  }

  /** Whether a goal finds nothing to do about two nodes, before and after a change. @internal */
  staysEven(goal: BoundGoal, from: number, to: number, change: (there: boolean) => void): boolean {
    if (goal.isEven === undefined || from < 0 || to < 0) return false
    const isEven = (): boolean => goal.isEven?.(from) === true && goal.isEven(to)
    if (!isEven()) return false
    change(true)
    const stays = isEven()
    change(false)
    return stays
  }

  /** The damping against moving to and fro over differences that mean nothing. @internal */
  isWorthwhile(goal: BoundGoal, from: number, to: number): boolean {
    return goal.worthwhile(from, to)
  }

  /** Why other nodes were not taken, the nearest losers first. */
  rejections(slot: number, chosen: number, limit: number): readonly Rejection[] {
    const losers: Rejection[] = []
    const refused: Rejection[] = []
    const from = this.assignment.place[slot] as number
    const [nodes, hot] = [this.candidates.few(), this.candidates.hot().subarray(0, namedHot)]
    for (let i = 0; i < hot.length + nodes.length && losers.length < limit; i++) {
      const node = (i < hot.length ? hot[i] : nodes[i - hot.length]) as number
      if (node === chosen || node === from) continue
      const nodeId = this.columns.nodeIdOf(node)
      const why = this.whyNot(slot, node)
      if (why === undefined) losers.push({ nodeId, why: this.whyWorse(slot, node, chosen) })
      else if (refused.length < limit) refused.push({ nodeId, why })
    }
    return [...losers, ...refused].slice(0, limit)
  }

  /** Why a node cannot be taken at all, or undefined when it could. */
  whyNot(slot: number, node: number): string | undefined {
    if (this.columns.holds(this.assignment, this.columns.rangeOf[slot] as number, node))
      return 'it has a replica of the range'
    if (this.columns.eligible[node] !== 1) return this.status(node)
    return this.refusal(slot, node)
  }

  /** Why `node` is worse than the chosen one. */
  whyWorse(slot: number, node: number, chosen: number): string {
    if (this.columns.isHot(node) && !this.columns.isHot(chosen)) return this.whyHot(node)
    for (const goal of this.goals) {
      const difference = goal.moveDelta(slot, node) - goal.moveDelta(slot, chosen)
      if (difference > epsilon) return `${goal.name}: ${goal.describe(slot, node)}`
      if (difference < -epsilon) break
    }
    return this.isBusy(node) ? 'it has enough moves under way' : 'as good; another was drawn'
  }

  /** Why an overloaded node is taken only where no other will do, in words. @internal */
  whyHot(node: number): string {
    const level = this.columns.snapshot.stores[node]?.overload
    return level === 'recovering' ? 'it was overloaded lately' : `it is ${level}`
  }

  /** Why a node takes nothing, in words. */
  status(node: number): string {
    const { table } = this.columns.snapshot
    const bits = table.storeStatus[node] as number
    const { state, liveness } = table.stores[node]?.node ?? {}
    if ((bits & nodeBits.gone) !== 0 || liveness === 'dead') {
      return state === 'decommissioned' ? 'it was decommissioned' : 'it is dead'
    }
    if ((bits & nodeBits.resting) !== 0) return 'it is in maintenance'
    if (state !== 'active') return `it is ${state}`
    return (bits & nodeBits.leaving) === 0 ? 'it may be dead' : 'its store is to be emptied'
  }

  /** A number for (range, node) that is spread evenly, so that equals take turns. */
  draw(slot: number, node: number): number {
    const rangeId = this.columns.rangeIds[this.columns.rangeOf[slot] as number] as number
    let hash = Math.imul((rangeId % 0x1_0000_0000) ^ this.#seed, 0x9e3779b1) ^ Math.imul(node + 1, 0x85ebca77)
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d)
    hash = Math.imul(hash ^ (hash >>> 12), 0x297a2d39)
    return (hash ^ (hash >>> 15)) >>> 0
  }
}
