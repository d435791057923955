import type { AboveThreshold, BoundGoal, BoundRule, NodeCost } from '../goals/goal.ts'

/** A goal, and what one unit of it counts. @internal */
export interface Weighted {
  readonly goal: BoundGoal
  readonly weight: number
}

/** What a goal comes to when its parts are taken by their form. @internal */
export interface Forms {
  /** What is above thresholds, weights included: the first goal of this form. */
  readonly above: AboveThreshold | undefined
  /** Sums over the nodes of any other form. */
  readonly nodeCosts: readonly { readonly cost: NodeCost; readonly weight: number }[]
  /** What has to be asked. */
  readonly others: readonly Weighted[]
}

/** Takes a goal apart. @internal */
export function formsOf(goal: BoundGoal): Forms {
  const nodeCosts: { cost: NodeCost; weight: number }[] = []
  const others: Weighted[] = []
  let above: AboveThreshold | undefined
  for (const leaf of leavesOf(goal, 1)) {
    const { kernel } = leaf.goal
    if (kernel?.above !== undefined && above === undefined) {
      const weight = kernel.above.weight.map((each) => each * leaf.weight)
      above = { threshold: kernel.above.threshold, weight }
    } else if (kernel?.nodeCost !== undefined) nodeCosts.push({ cost: kernel.nodeCost, weight: leaf.weight })
    else others.push(leaf)
  }
  return { above, nodeCosts, others }
}

/** The goals that a sum of sums is made of. */
function leavesOf(goal: BoundGoal, weight: number): Weighted[] {
  const parts = goal.kernel?.parts
  if (parts === undefined) return weight === 0 ? [] : [{ goal, weight }]
  return parts.flatMap((part) => leavesOf(part.goal, part.weight * weight))
}

/**
 * The goals without a form of their own, and the rules, asked one after the other. A change is a slot that goes to a node, or
 * (`other` from 0) that exchanges its node with another slot's. @internal
 */
export class Terms {
  /** Whether all of these goals can say what a replica could save. */
  readonly bounded: boolean
  readonly #goals: readonly Weighted[]
  readonly #rules: readonly BoundRule[]
  readonly #guards: readonly BoundGoal[]

  constructor(goals: readonly Weighted[], rules: readonly BoundRule[], guards: readonly BoundGoal[]) {
    this.#goals = goals
    this.#rules = rules
    this.#guards = guards
    this.bounded = goals.every((each) => each.goal.relief !== undefined)
  }

  /** How much more the goals cost. */
  delta(slot: number, to: number, other: number): number {
    const goals = this.#goals
    let sum = 0
    for (let i = 0; i < goals.length; i++) {
      const { goal, weight } = goals[i] as Weighted
      sum += weight * (other < 0 ? goal.moveDelta(slot, to) : goal.swapDelta(slot, other))
    }
    return sum
  }

  /** The most that the goals can get better when a replica goes elsewhere. */
  relief(slot: number): number {
    const goals = this.#goals
    let sum = 0
    for (let i = 0; i < goals.length; i++) {
      const { goal, weight } = goals[i] as Weighted
      sum += weight * (goal.relief?.(slot) ?? 0)
    }
    return sum
  }

  /** Whether no rule is against it, and none of the guards gets worse. */
  allow(slot: number, to: number, other: number): boolean {
    const rules = this.#rules
    for (let i = 0; i < rules.length; i++) {
      const rule = rules[i] as BoundRule
      if (!(other < 0 ? rule.allows(slot, to) : rule.allowsSwap(slot, other))) return false
    }
    const guards = this.#guards
    for (let i = 0; i < guards.length; i++) {
      const guard = guards[i] as BoundGoal
      if ((other < 0 ? guard.moveDelta(slot, to) : guard.swapDelta(slot, other)) > 0) return false
    }
    return true
  }
}
