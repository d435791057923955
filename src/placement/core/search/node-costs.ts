import type { Assignment } from '../assignment.ts'
import type { NodeCost } from '../goals/goal.ts'

/** The costs of nodes that have no simpler form, put together. @internal */
export class NodeCosts {
  readonly #assignment: Assignment
  readonly #costs: readonly { readonly cost: NodeCost; readonly weight: number }[]

  constructor(
    assignment: Assignment,
    costs: readonly { readonly cost: NodeCost; readonly weight: number }[],
  ) {
    this.#assignment = assignment
    this.#costs = costs
  }

  /** What a node costs with this usage, and so many replicas and leads more. */
  at(usage: Float64Array, offset: number, node: number, replicas: number, leaders: number): number {
    const { replicaCount, leaderCount } = this.#assignment
    const replicasThen = (replicaCount[node] as number) + replicas
    const leadersThen = (leaderCount[node] as number) + leaders
    let sum = 0
    for (let i = 0; i < this.#costs.length; i++) {
      const each = this.#costs[i] as { cost: NodeCost; weight: number }
      sum += each.weight * each.cost(usage, offset, node, replicasThen, leadersThen)
    }
    return sum
  }
}
