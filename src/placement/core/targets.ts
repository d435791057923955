import type { NodeId } from '../../model/ids.ts'
import { type FlatSnapshot, nodeName } from './flat.ts'
import type { BoundConstraint, BoundGoal } from './goals.ts'
import { type Ledger, nowhere } from './ledger.ts'
import type { PlacementLimits } from './policy.ts'
import { nodeBits } from './snapshot.ts'

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

const epsilon = 1e-9

/** Chooses where a replica may go: hard rules first, then the goals in their order, then a fixed draw among equals. */
export class Targets {
  readonly #ledger: Ledger
  readonly #snapshot: FlatSnapshot
  readonly #constraints: readonly BoundConstraint[]
  readonly #goals: readonly BoundGoal[]
  readonly #limits: PlacementLimits
  readonly #seed: number

  constructor(
    ledger: Ledger,
    constraints: readonly BoundConstraint[],
    goals: readonly BoundGoal[],
    limits: PlacementLimits,
    seed: number,
  ) {
    this.#ledger = ledger
    this.#snapshot = ledger.snapshot
    this.#constraints = constraints
    this.#goals = goals
    this.#limits = limits
    this.#seed = seed
  }

  /**
   * The best node for a replica of the range that comes from `from`. Of an urgent one, a worse node now is better than
   * the best one later.
   */
  choose(range: number, from: number, urgent: boolean): TargetChoice {
    let best = nowhere
    let bestFree = nowhere
    for (let node = 0; node < this.#snapshot.nodes.length; node++) {
      if (!this.isAllowed(range, node)) continue
      if (best === nowhere || this.compare(range, from, node, best) < 0) best = node
      if (this.isBusy(node)) continue
      if (bestFree === nowhere || this.compare(range, from, node, bestFree) < 0) bestFree = node
    }
    if (best === nowhere) return { type: 'none' }
    if (bestFree === nowhere) return { type: 'busy', node: best }
    if (urgent || best === bestFree || this.sameLocally(range, from, best, bestFree)) {
      return { type: 'found', node: bestFree }
    }
    return { type: 'busy', node: best }
  }

  /** Whether the hard rules let a replica of the range come to the node. */
  isAllowed(range: number, node: number): boolean {
    return this.#ledger.eligible(node) && !this.holds(range, node) && this.refusal(range, node) === undefined
  }

  /** True when the node has a replica of the range, of whatever kind, or is about to. */
  holds(range: number, node: number): boolean {
    const { firstReplica, replicaNode } = this.#snapshot
    for (let i = firstReplica[range] as number; i < (firstReplica[range + 1] as number); i++) {
      if (replicaNode[i] === node) return true
    }
    return false
  }

  /** Which constraint refuses the node, and why. */
  refusal(range: number, node: number): string | undefined {
    for (const constraint of this.#constraints) {
      const why = constraint.refuses(range, node)
      if (why !== undefined) return `${constraint.name}: ${why}`
    }
    return undefined
  }

  isBusy(node: number): boolean {
    return (this.#ledger.incoming[node] as number) >= this.#limits.incomingPerNode
  }

  /** Negative when `a` is the better node for a replica that comes from `from`. Never zero for two nodes. */
  compare(range: number, from: number, a: number, b: number): number {
    for (const goal of this.#goals) {
      const difference = goal.replicaCost(range, from, a) - goal.replicaCost(range, from, b)
      if (Math.abs(difference) > epsilon) return difference
    }
    return this.draw(range, a) - this.draw(range, b) || a - b
  }

  /** True when the goals that judge ranges see no difference between the nodes. */
  sameLocally(range: number, from: number, a: number, b: number): boolean {
    return this.#goals.every(
      (goal) =>
        goal.judges !== 'ranges' ||
        Math.abs(goal.replicaCost(range, from, a) - goal.replicaCost(range, from, b)) <= epsilon,
    )
  }

  /**
   * Whether a replica is better on `to` than on `from`: better in one goal, by enough to be worth it, and worse in none
   * that is more important.
   */
  improves(range: number, from: number, to: number): boolean {
    return this.#better((goal) => goal.replicaCost(range, from, to), from, to)
  }

  /** Whether the lease is better on `to` than on `from`. */
  improvesLease(range: number, from: number, to: number): boolean {
    return this.#better((goal) => goal.leaseCost(range, from, to), from, to)
  }

  #better(cost: (goal: BoundGoal) => number, from: number, to: number): boolean {
    for (const goal of this.#goals) {
      const change = cost(goal)
      if (change > epsilon) return false
      if (change < -epsilon && goal.worthwhile(from, to)) return true
    }
    return false
  }

  /** Why other nodes were not taken, the nearest losers first. */
  rejections(range: number, from: number, chosen: number, limit: number): readonly Rejection[] {
    const losers: Rejection[] = []
    const refused: Rejection[] = []
    for (let node = 0; node < this.#snapshot.nodes.length; node++) {
      if (node === chosen || node === from) continue
      const nodeId = nodeName(this.#snapshot, node)
      const why = this.whyNot(range, node)
      if (why !== undefined) {
        if (refused.length < limit) refused.push({ nodeId, why })
      } else if (losers.length < limit) {
        losers.push({ nodeId, why: this.whyWorse(range, from, node, chosen) })
      }
    }
    return [...losers, ...refused].slice(0, limit)
  }

  /** Why a node cannot be taken at all, or undefined when it could. */
  whyNot(range: number, node: number): string | undefined {
    if (this.holds(range, node)) return 'it has a replica of the range'
    if (!this.#ledger.eligible(node)) return this.status(node)
    return this.refusal(range, node)
  }

  /** Why `node` is worse than the chosen one. */
  whyWorse(range: number, from: number, node: number, chosen: number): string {
    for (const goal of this.#goals) {
      const difference = goal.replicaCost(range, from, node) - goal.replicaCost(range, from, chosen)
      if (difference > epsilon) return `${goal.name}: ${goal.describe(range, node)}`
      if (difference < -epsilon) break
    }
    return this.isBusy(node) ? 'it has enough moves under way' : 'as good; another was drawn'
  }

  /** Why a node takes nothing, in words. */
  status(node: number): string {
    const bits = this.#snapshot.nodeStatus[node] as number
    const { state, liveness } = this.#snapshot.nodes[node] as FlatSnapshot['nodes'][number]
    if ((bits & nodeBits.gone) !== 0 || liveness === 'dead') {
      return state === 'decommissioned' ? 'it was decommissioned' : 'it is dead'
    }
    return state === 'active' ? 'it may be dead' : `it is ${state}`
  }

  /** A number for (range, node) that is spread evenly, so that equals take turns. */
  draw(range: number, node: number): number {
    const rangeId = this.#snapshot.rangeIds[range] as number
    let hash = Math.imul((rangeId % 0x1_0000_0000) ^ this.#seed, 0x9e3779b1) ^ Math.imul(node + 1, 0x85ebca77)
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d)
    hash = Math.imul(hash ^ (hash >>> 12), 0x297a2d39)
    return (hash ^ (hash >>> 15)) >>> 0
  }
}
