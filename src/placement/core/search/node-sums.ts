import { type Assignment, nowhere } from '../assignment.ts'
import type { AboveThreshold, BoundRule, NodeCost } from '../goals/goal.ts'

/**
 * What is free on each node, what is above thresholds, and what that costs, as the assignment changes. Load dimensions
 * stand in an order of its own: those that decide most often come first. @internal
 */
export class NodeSums {
  readonly width: number
  /** Where each load dimension of the columns stands here. */
  readonly order: Int32Array
  /** slots × resources: what the replica takes, lead included. */
  readonly load: Float64Array
  /** The same without the lead: what a node goes on holding while the replica is copied. */
  readonly bare: Float64Array
  /** nodes × resources: what may still come. */
  readonly free: Float64Array
  /** nodes × resources: what is above the threshold; negative below it. */
  readonly over: Float64Array
  readonly weight: Float64Array
  readonly transient: Uint8Array
  readonly anyTransient: boolean
  /** What is above the thresholds of each node, times the weights. */
  readonly overCost: Float64Array
  /** In how many load dimensions each node is above its limits. */
  readonly lacking: Int32Array
  /** What each node costs by the goals that are sums over nodes of any other form. */
  readonly otherCost: Float64Array
  /** Pairs of a node and a load dimension above the limit. */
  exceeded = 0
  readonly #assignment: Assignment
  readonly #limit: Float64Array
  readonly #threshold: Float64Array
  readonly #held: Int32Array
  readonly #costs: NodeCosts | undefined

  constructor(
    assignment: Assignment,
    limits: Limits,
    above: AboveThreshold | undefined,
    held: Int32Array,
    costs: NodeCosts | undefined,
  ) {
    const { columns } = assignment
    const width = columns.resources.length
    const { nodeCount } = columns
    this.#assignment = assignment
    this.#held = held
    this.#costs = costs
    this.width = width
    const weight = above?.weight ?? new Float64Array(width)
    this.order = decisiveFirst(columns.load, weight)
    this.bare = this.arranged(columns.load)
    this.load = columns.leaderLoad === undefined ? this.bare : this.bare.slice()
    this.weight = this.arranged(weight)
    this.transient = Uint8Array.from(
      this.order,
      (_, at) => limits.transient[this.order.indexOf(at)] as number,
    )
    this.anyTransient = this.transient.includes(1)
    this.#limit = this.arranged(limits.limit)
    this.#threshold = this.arranged(above?.threshold ?? new Float64Array(nodeCount * width))
    this.free = new Float64Array(nodeCount * width)
    this.over = new Float64Array(nodeCount * width)
    this.overCost = new Float64Array(nodeCount)
    this.lacking = new Int32Array(nodeCount)
    this.otherCost = new Float64Array(nodeCount)
    for (let range = 0; range < columns.rangeCount; range++) {
      this.#lead(range, nowhere, assignment.leader[range] as number)
    }
    for (let node = 0; node < nodeCount; node++) this.refresh(node)
  }

  /** Rows of amounts by load dimension, in this order. */
  arranged(rows: Float64Array): Float64Array {
    const { width, order } = this
    const result = new Float64Array(rows.length)
    for (let row = 0; row < rows.length; row += width) {
      for (let r = 0; r < width; r++) result[row + (order[r] as number)] = rows[row + r] as number
    }
    return result
  }

  /** What is above the limits of a node, at these prices. */
  lackCost(node: number, price: Float64Array): number {
    let sum = 0
    for (let r = 0, at = node * this.width; r < this.width; r++, at++) {
      const free = this.free[at] as number
      if (free < 0) sum -= free * (price[r] as number)
    }
    return sum
  }

  /** @internal */
  moved(slot: number, from: number, to: number): void {
    if (from >= 0) this.refresh(from)
    if (to >= 0) this.refresh(to)
    const home = this.#held[slot] as number
    if (home >= 0 && home !== from && home !== to) this.refresh(home)
  }

  /** @internal */
  led(range: number, from: number, to: number): void {
    const { place } = this.#assignment
    this.#lead(range, from, to)
    if (from >= 0 && (place[from] as number) >= 0) this.refresh(place[from] as number)
    if (to >= 0 && (place[to] as number) >= 0) this.refresh(place[to] as number)
  }

  /** Sums up a node anew. */
  refresh(node: number): void {
    const { usage, held } = this.#assignment
    const { width, order } = this
    const begin = node * width
    let [overCost, lacking] = [0, 0]
    for (let r = 0; r < width; r++) {
      const at = order[r] as number
      const used = usage[begin + r] as number
      const over = used - (this.#threshold[begin + at] as number)
      const kept = this.transient[at] === 1 ? (held[begin + r] as number) : 0
      const free = (this.#limit[begin + at] as number) - used - kept
      this.over[begin + at] = over
      this.free[begin + at] = free
      if (over > 0) overCost += over * (this.weight[at] as number)
      if (free < 0) lacking++
    }
    this.overCost[node] = overCost
    this.exceeded += lacking - (this.lacking[node] as number)
    this.lacking[node] = lacking
    if (this.#costs !== undefined) this.otherCost[node] = this.#costs.at(usage, begin, node, 0, 0)
  }

  #lead(range: number, from: number, to: number): void {
    const { leaderLoad } = this.#assignment.columns
    if (leaderLoad === undefined) return
    const { width, order } = this
    for (let r = 0; r < width; r++) {
      const at = order[r] as number
      if (from >= 0) this.load[from * width + at] = this.bare[from * width + at] as number
      if (to < 0) continue
      this.load[to * width + at] =
        (this.bare[to * width + at] as number) + (leaderLoad[range * width + r] as number)
    }
  }
}

/** The place of each load dimension when those come first whose replicas weigh most above thresholds. */
function decisiveFirst(load: Float64Array, weight: Float64Array): Int32Array {
  const width = weight.length
  const sum = new Float64Array(width)
  for (let at = 0; at < load.length; at++) {
    sum[at % width] = (sum[at % width] as number) + (load[at] as number) * (weight[at % width] as number)
  }
  const sorted = Array.from(sum, (_, r) => r).sort((a, b) => (sum[b] as number) - (sum[a] as number) || a - b)
  const order = new Int32Array(width)
  sorted.forEach((r, at) => {
    order[r] = at
  })
  return order
}

/** All limits of all rules as one column. @internal */
export class Limits {
  /** nodes × resources. */
  readonly limit: Float64Array
  /** By resource, 1 where a replica that goes holds its share until it has been copied. */
  readonly transient: Uint8Array

  constructor(nodeCount: number, width: number) {
    this.limit = new Float64Array(nodeCount * width).fill(Number.POSITIVE_INFINITY)
    this.transient = new Uint8Array(width)
  }

  /** Takes in the limits of a rule that is nothing else; false: it has to be asked by itself. */
  take(rule: BoundRule): boolean {
    if (rule.limits === undefined) return false
    const { limit, transient } = rule.limits
    const limited = transient.map((_, r) => {
      for (let at = r; at < limit.length; at += transient.length) {
        if (limit[at] !== Number.POSITIVE_INFINITY) return 1
      }
      return 0
    })
    const own = this.limit.some((each) => each !== Number.POSITIVE_INFINITY)
    // What one rule counts while it is copied and another does not cannot be one column.
    if (own && limited.some((is, r) => is === 1 && transient[r] !== this.transient[r])) return false
    for (let at = 0; at < limit.length; at++) {
      this.limit[at] = Math.min(this.limit[at] as number, limit[at] as number)
    }
    for (let r = 0; r < transient.length; r++) {
      if (limited[r] === 1) this.transient[r] = transient[r] as number
    }
    return true
  }
}

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
