import { type Assignment, nowhere } from '../assignment.ts'
import type { AboveThreshold } from '../goals/goal.ts'
import type { Limits } from './limits.ts'
import type { NodeCosts } from './node-costs.ts'

/**
 * What is free on each node, what is above thresholds, and what that costs, as the assignment changes. Load dimensions
 * stand in an order of its own: those that decide most often come first.
 *
 * One node and one slot stand after all others and are nothing: what comes from nowhere comes from this node, and a replica
 * that moves changes places with this slot. @internal
 */
export class NodeSums {
  readonly width: number
  /** Where each load dimension of the columns stands here. */
  readonly order: Int32Array
  /** slots × resources: what the replica takes, lead included. */
  readonly load: Float64Array
  /** slots × resources: what its home goes on holding while the replica is copied. */
  readonly kept: Float64Array
  /** nodes × resources: what may still come. */
  readonly free: Float64Array
  /** nodes × resources: what is above the threshold; negative below it. */
  readonly over: Float64Array
  readonly weight: Float64Array
  /** What is above the thresholds of each node, times the weights. */
  readonly overCost: Float64Array
  /** What is above the limits of each node, at the price that holds now. */
  readonly lackCost: Float64Array
  /** In how many load dimensions each node is above its limits. */
  readonly lacking: Int32Array
  /** What each node costs by the goals that are sums over nodes of any other form. */
  readonly otherCost: Float64Array
  /** Pairs of a node and a load dimension above the limit. */
  exceeded = 0
  /** Nodes above their limits: so many, in any order. */
  lackingCount = 0
  readonly lackingNodes: Int32Array
  readonly #lackingAt: Int32Array
  readonly #assignment: Assignment
  /** What the replica takes without the lead. */
  readonly #bare: Float64Array
  readonly #transient: Uint8Array
  readonly #limit: Float64Array
  readonly #threshold: Float64Array
  readonly #held: Int32Array
  readonly #costs: NodeCosts | undefined
  #price: Float64Array | undefined

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
    this.#bare = this.#arranged(columns.load, 1)
    this.load = columns.leaderLoad === undefined ? this.#bare : this.#bare.slice()
    this.weight = this.arranged(weight)
    this.#transient = new Uint8Array(width)
    this.order.forEach((at, r) => {
      this.#transient[at] = limits.transient[r] as number
    })
    this.kept = this.#bare.map((amount, at) => (this.#transient[at % width] === 1 ? amount : 0))
    this.#limit = this.arranged(limits.limit)
    this.#threshold = this.arranged(above?.threshold ?? new Float64Array(nodeCount * width))
    this.free = new Float64Array((nodeCount + 1) * width).fill(Number.POSITIVE_INFINITY)
    this.over = new Float64Array((nodeCount + 1) * width).fill(Number.NEGATIVE_INFINITY)
    this.overCost = new Float64Array(nodeCount + 1)
    this.lackCost = new Float64Array(nodeCount + 1)
    this.lacking = new Int32Array(nodeCount + 1)
    this.lackingNodes = new Int32Array(nodeCount)
    this.#lackingAt = new Int32Array(nodeCount)
    this.otherCost = new Float64Array(nodeCount + 1)
    for (let range = 0; range < columns.rangeCount; range++) {
      this.#lead(range, nowhere, assignment.leader[range] as number)
    }
    for (let node = 0; node < nodeCount; node++) this.refresh(node)
  }

  /** Rows of amounts by load dimension, in this order. */
  arranged(rows: Float64Array): Float64Array {
    return this.#arranged(rows, 0)
  }

  /** What a unit above its limit costs from now on; undefined: limits hold. */
  charge(price: Float64Array | undefined): void {
    this.#price = price === undefined ? undefined : this.arranged(price)
    for (let i = 0; i < this.lackingCount; i++) {
      const node = this.lackingNodes[i] as number
      this.lackCost[node] = this.#lackOf(node)
    }
  }

  /** What everything above the limits is priced at. */
  totalLack(): number {
    let sum = 0
    for (let i = 0; i < this.lackingCount; i++) sum += this.lackCost[this.lackingNodes[i] as number] as number
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
      const kept = this.#transient[at] === 1 ? (held[begin + r] as number) : 0
      const free = (this.#limit[begin + at] as number) - used - kept
      this.over[begin + at] = over
      this.free[begin + at] = free
      if (over > 0) overCost += over * (this.weight[at] as number)
      if (free < 0) lacking++
    }
    this.overCost[node] = overCost
    const before = this.lacking[node] as number
    if (lacking > 0 || before > 0) {
      this.exceeded += lacking - before
      this.lacking[node] = lacking
      this.lackCost[node] = this.#lackOf(node)
      if (lacking === 0 || before === 0) this.#list(node, lacking > 0)
    }
    if (this.#costs !== undefined) this.otherCost[node] = this.#costs.at(usage, begin, node, 0, 0)
  }

  #list(node: number, lacks: boolean): void {
    const nodes = this.lackingNodes
    if (lacks) {
      this.#lackingAt[node] = this.lackingCount
      nodes[this.lackingCount++] = node
      return
    }
    const at = this.#lackingAt[node] as number
    const last = nodes[--this.lackingCount] as number
    nodes[at] = last
    this.#lackingAt[last] = at
  }

  #lackOf(node: number): number {
    const price = this.#price
    if (price === undefined || this.lacking[node] === 0) return 0
    let sum = 0
    for (let r = 0, at = node * this.width; r < this.width; r++, at++) {
      const free = this.free[at] as number
      if (free < 0) sum -= free * (price[r] as number)
    }
    return sum
  }

  #arranged(rows: Float64Array, empty: number): Float64Array {
    const { width, order } = this
    const result = new Float64Array(rows.length + empty * width)
    for (let row = 0; row < rows.length; row += width) {
      for (let r = 0; r < width; r++) result[row + (order[r] as number)] = rows[row + r] as number
    }
    return result
  }

  #lead(range: number, from: number, to: number): void {
    const { leaderLoad } = this.#assignment.columns
    if (leaderLoad === undefined) return
    const { width, order } = this
    for (let r = 0; r < width; r++) {
      const at = order[r] as number
      if (from >= 0) this.load[from * width + at] = this.#bare[from * width + at] as number
      if (to < 0) continue
      this.load[to * width + at] =
        (this.#bare[to * width + at] as number) + (leaderLoad[range * width + r] as number)
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
