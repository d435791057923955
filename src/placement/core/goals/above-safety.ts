import { checkFunction, checkMembers } from '../../../core/arguments.ts'
import type { Assignment } from '../assignment.ts'
import type { AboveThreshold, BoundGoal, Goal } from './goal.ts'
import { BoundNodeGoal, type NodeGoalOptions } from './node-goal.ts'

/** Options of {@link aboveSafety}. */
export interface AboveSafetyOptions {
  /** How much of a load dimension a node should hold at most. Default: 0.8 of its capacity. */
  readonly safety?: (node: number, resource: number) => number
  /** What one unit above that counts, by load dimension. Default: 1. */
  readonly weight?: (resource: number) => number
}

/** The load above each node's safety capacity, summed over nodes and load dimensions. */
export function aboveSafety(options: AboveSafetyOptions = {}): Goal {
  checkMembers(options, 'aboveSafety', ['safety', 'weight'])
  if (options.safety !== undefined) checkFunction(options.safety, 'safety of aboveSafety')
  if (options.weight !== undefined) checkFunction(options.weight, 'weight of aboveSafety')
  return {
    name: 'aboveSafety',
    bind(assignment) {
      const { capacity, resources } = assignment.columns
      const width = resources.length
      const safety = options.safety
      return new BoundAbove(assignment, 'aboveSafety', {
        weight: Float64Array.from(resources, (_, r) => options.weight?.(r) ?? 1),
        threshold: capacity.map((amount, i) =>
          safety === undefined ? amount * 0.8 : safety(Math.floor(i / width), i % width),
        ),
      })
    },
  }
}

class BoundAbove extends BoundNodeGoal implements BoundGoal {
  readonly #assignment: Assignment
  readonly #above: AboveThreshold

  constructor(assignment: Assignment, name: string, above: AboveThreshold) {
    const { weight, threshold } = above
    const width = weight.length
    const options: NodeGoalOptions = {
      name,
      cost(usage, offset, node) {
        const from = node * width
        let sum = 0
        for (let r = 0; r < width; r++) {
          const over = (usage[offset + r] as number) - (threshold[from + r] as number)
          if (over > 0) sum += (weight[r] as number) * over
        }
        return sum
      },
    }
    super(assignment, options, { nodeCost: options.cost, above })
    this.#assignment = assignment
    this.#above = above
  }

  /** What all nodes together hold above what is safe on all nodes together has to be somewhere. */
  override lowerBound(): number {
    const { usage, columns } = this.#assignment
    const width = columns.resources.length
    let sum = 0
    for (let r = 0; r < width; r++) {
      let over = 0
      for (let node = 0; node < columns.nodeCount; node++) {
        over += (usage[node * width + r] as number) - (this.#above.threshold[node * width + r] as number)
      }
      if (over > 0) sum += (this.#above.weight[r] as number) * over
    }
    return sum
  }
}
