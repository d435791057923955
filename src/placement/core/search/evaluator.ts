import { checkArray, checkObject } from '../../../core/arguments.ts'
import { type Assignment, nowhere } from '../assignment.ts'
import type { AboveThreshold, BoundGoal, BoundRule, NodeCost } from '../goals/goal.ts'
import { Limits, NodeCosts, NodeSums } from './node-sums.ts'

/** What no change can cost: the change is refused, or costs more than was asked for. */
export const refused: number = Number.POSITIVE_INFINITY

interface Weighted {
  readonly goal: BoundGoal
  readonly weight: number
}

const anything: BoundRule = {
  name: 'anything',
  allows: () => true,
  allowsSwap: () => true,
  refusal: () => undefined,
  evicts: () => undefined,
  broken: () => 0,
}

/**
 * Rules and goals, put together so that a change is valued in one pass over the two nodes that it touches: all limits
 * become one column of what is free, all costs above thresholds one column of what is over, and what remains is asked
 * for only when these two have let the change pass. Values are exactly those of the goals themselves.
 *
 * Most changes are turned down within a few load dimensions: nodes cost nothing or more, so what the two cost now, with
 * what else the replicas could save, is the most that can be won back, and what they cost then adds up quickly.
 */
export class Evaluator {
  /** What is judged. */
  readonly assignment: Assignment
  /** Partitions of the nodes within which changes are more often allowed. */
  readonly partitions: readonly Int32Array[]
  /** What a unit above its threshold counts, by load dimension. */
  readonly weight: Float64Array
  /** All limits together. @internal */
  readonly limits: Limits
  /** Part of the last value that was a price for what is above limits. */
  penalty = 0
  /** Changes that were valued so far. */
  evaluated = 0
  readonly #sums: NodeSums
  readonly #width: number
  readonly #load: Float64Array
  readonly #bare: Float64Array
  readonly #free: Float64Array
  readonly #over: Float64Array
  readonly #overCost: Float64Array
  readonly #lacking: Int32Array
  readonly #weight: Float64Array
  readonly #transient: Uint8Array
  readonly #anyTransient: boolean
  readonly #held: Int32Array
  #price: Float64Array | undefined
  readonly #nodeCosts: NodeCosts | undefined
  readonly #nodeCost: Float64Array
  readonly #scratch: Float64Array
  /** Rules and goals without a form of their own. The first few have call sites of their own, which the compiler likes. */
  readonly #rule0: BoundRule
  readonly #rule1: BoundRule
  readonly #rule2: BoundRule
  readonly #rules: readonly BoundRule[]
  readonly #goal0: Weighted | undefined
  readonly #goal1: Weighted | undefined
  readonly #goals: readonly Weighted[]
  /** Whether all of these goals can say what a replica could save. */
  readonly #bounded: boolean
  readonly #guards: readonly BoundGoal[]

  /**
   * Judges changes of `assignment` by `goal`, within `rules`, and so that none of `guards` gets worse: goals that stand
   * before this one. All of them are bound to the same assignment.
   */
  constructor(
    assignment: Assignment,
    rules: readonly BoundRule[],
    goal: BoundGoal,
    guards: readonly BoundGoal[] = [],
  ) {
    checkObject(assignment, 'the assignment of an evaluator', ['columns', 'place'])
    checkArray(rules, 'the rules of an evaluator', 256)
    checkObject(goal, 'the goal of an evaluator', ['moveDelta', 'swapDelta', 'total'])
    checkArray(guards, 'the guards of an evaluator', 256)
    const { columns } = assignment
    const width = columns.resources.length
    this.assignment = assignment
    this.#width = width
    this.#guards = guards
    this.#held = Int32Array.from({ length: columns.slotCount }, (_, slot) => assignment.heldAt(slot))
    this.limits = new Limits(columns.nodeCount, width)
    const other = rules.filter((rule) => !this.limits.take(rule))
    this.partitions = rules.flatMap((rule) => (rule.domains === undefined ? [] : [rule.domains]))
    ;[this.#rule0, this.#rule1, this.#rule2] = [
      other[0] ?? anything,
      other[1] ?? anything,
      other[2] ?? anything,
    ]
    this.#rules = other.slice(3)
    const nodeCosts: { cost: NodeCost; weight: number }[] = []
    const goals: Weighted[] = []
    let above: AboveThreshold | undefined
    for (const leaf of leavesOf(goal, 1)) {
      const { kernel } = leaf.goal
      if (kernel?.above !== undefined && above === undefined) {
        const weight = kernel.above.weight.map((each) => each * leaf.weight)
        above = { threshold: kernel.above.threshold, weight }
      } else if (kernel?.nodeCost !== undefined)
        nodeCosts.push({ cost: kernel.nodeCost, weight: leaf.weight })
      else goals.push(leaf)
    }
    this.weight = above?.weight ?? new Float64Array(width)
    this.#goal0 = goals[0]
    this.#goal1 = goals[1]
    this.#goals = goals.slice(2)
    this.#bounded = goals.every((each) => each.goal.relief !== undefined)
    this.#nodeCosts = nodeCosts.length === 0 ? undefined : new NodeCosts(assignment, nodeCosts)
    const sums = new NodeSums(assignment, this.limits, above, this.#held, this.#nodeCosts)
    this.#sums = sums
    this.#load = sums.load
    this.#bare = sums.bare
    this.#free = sums.free
    this.#over = sums.over
    this.#overCost = sums.overCost
    this.#lacking = sums.lacking
    this.#weight = sums.weight
    this.#transient = sums.transient
    this.#anyTransient = sums.anyTransient
    this.#nodeCost = sums.otherCost
    this.#scratch = new Float64Array(width)
    assignment.observe(this)
  }

  /** Limits that are exceeded: pairs of a node and a load dimension. */
  get exceeded(): number {
    return this.#sums.exceeded
  }

  /**
   * From now on, lets limits be exceeded at a price by unit of each load dimension, or at no price any more. Prices that
   * are whole numbers keep values exact.
   */
  relax(price: Float64Array | undefined): void {
    this.#price = price === undefined ? undefined : this.#sums.arranged(price)
    this.penalty = 0
  }

  /** What everything above the limits is priced at. */
  priceOfExcess(price: Float64Array): number {
    const arranged = this.#sums.arranged(price)
    let sum = 0
    for (let node = 0; node < this.#lacking.length; node++) {
      if ((this.#lacking[node] as number) > 0) sum += this.#sums.lackCost(node, arranged)
    }
    return sum
  }

  /** What a node costs in all goals that are sums over the nodes. */
  nodeCost(node: number): number {
    return (this.#nodeCost[node] as number) + (this.#overCost[node] as number)
  }

  /**
   * How much more a move costs, or {@link refused} when a rule is against it or it would cost more than `most`. The node
   * it goes to must be one.
   */
  move(slot: number, to: number, most: number): number {
    this.evaluated++
    const from = this.assignment.place[slot] as number
    if (from === to) return refused
    const width = this.#width
    const load = this.#load
    const free = this.#free
    const over = this.#over
    const weight = this.#weight
    const price = this.#price
    const row = slot * width
    const target = to * width
    let before = this.#overCost[to] as number
    if (from >= 0) before += this.#overCost[from] as number
    let lack = 0
    if (price !== undefined) {
      if ((this.#lacking[to] as number) > 0) lack = this.#sums.lackCost(to, price)
      if (from >= 0 && (this.#lacking[from] as number) > 0) lack += this.#sums.lackCost(from, price)
    }
    const bounded = this.#bounded
    let other = 0
    let limit = most + before + lack
    if (this.#nodeCosts !== undefined) {
      limit += (this.#nodeCost[to] as number) + (from < 0 ? 0 : (this.#nodeCost[from] as number))
    }
    if (bounded) limit += this.#relief(slot)
    else {
      other = this.#moveOther(slot, to)
      limit -= other
    }
    const held = this.#anyTransient ? (this.#held[slot] as number) : nowhere
    let cost = 0
    let penalty = lack > 0 ? -lack : 0
    for (let r = 0; r < width; r++) {
      const amount = load[row + r] as number
      const more = held === to ? amount - this.#kept(row + r, r) : amount
      const room = free[target + r] as number
      if (price === undefined) {
        if (more > room && more > 0) return refused
      } else if (more > room) {
        const lacks = (price[r] as number) * (more - room)
        penalty += lacks
        limit -= lacks
      }
      const above = (over[target + r] as number) + amount
      if (above > 0) cost += (weight[r] as number) * above
      if (cost > limit) return refused
    }
    const relieves = price !== undefined && from >= 0 && (this.#lacking[from] as number) > 0
    if (from >= 0 && (relieves || (this.#overCost[from] as number) > 0)) {
      const source = from * width
      for (let r = 0; r < width; r++) {
        const amount = load[row + r] as number
        const above = (over[source + r] as number) - amount
        if (above > 0) cost += (weight[r] as number) * above
        if (relieves) {
          const room =
            (free[source + r] as number) + (held === from ? amount - this.#kept(row + r, r) : amount)
          if (room < 0) penalty -= (price[r] as number) * room
        }
      }
    }
    let delta = cost - before + penalty
    if (this.#nodeCosts !== undefined) {
      const leads = this.assignment.leads(slot) ? 1 : 0
      if (from >= 0) delta += this.#costWith(from, row, -1, leads)
      delta += this.#costWith(to, row, 1, leads)
    }
    if (bounded) {
      if (delta - this.#relief(slot) > most) return refused
      other = this.#moveOther(slot, to)
    }
    delta += other
    if (delta > most) return refused
    this.penalty = penalty
    if (!this.#allows(slot, to)) return refused
    for (let i = 0; i < this.#guards.length; i++) {
      if ((this.#guards[i] as BoundGoal).moveDelta(slot, to) > 0) return refused
    }
    return delta
  }

  /** How much more it costs when two replicas, both somewhere, exchange their nodes, or {@link refused}. */
  swap(a: number, b: number, most: number): number {
    this.evaluated++
    const { place } = this.assignment
    const from = place[a] as number
    const to = place[b] as number
    if (from === to) return refused
    const width = this.#width
    const load = this.#load
    const free = this.#free
    const over = this.#over
    const weight = this.#weight
    const price = this.#price
    const rowA = a * width
    const rowB = b * width
    const source = from * width
    const target = to * width
    const before = (this.#overCost[from] as number) + (this.#overCost[to] as number)
    let lack = 0
    if (price !== undefined) {
      if ((this.#lacking[to] as number) > 0) lack = this.#sums.lackCost(to, price)
      if ((this.#lacking[from] as number) > 0) lack += this.#sums.lackCost(from, price)
    }
    const bounded = this.#bounded
    let other = 0
    let limit = most + before + lack
    if (this.#nodeCosts !== undefined) {
      limit += (this.#nodeCost[from] as number) + (this.#nodeCost[to] as number)
    }
    if (bounded) limit += this.#relief(a) + this.#relief(b)
    else {
      other = this.#swapOther(a, b)
      limit -= other
    }
    const transient = this.#anyTransient
    const homeA = transient ? (this.#held[a] as number) : nowhere
    const homeB = transient ? (this.#held[b] as number) : nowhere
    let cost = 0
    let penalty = lack > 0 ? -lack : 0
    for (let r = 0; r < width; r++) {
      // What comes to the node of a; the node of b loses as much.
      const more = (load[rowB + r] as number) - (load[rowA + r] as number)
      const aboveA = (over[source + r] as number) + more
      if (aboveA > 0) cost += (weight[r] as number) * aboveA
      const aboveB = (over[target + r] as number) - more
      if (aboveB > 0) cost += (weight[r] as number) * aboveB
      let toSource = more
      let toTarget = -more
      if (transient && this.#transient[r] === 1) {
        // Whoever leaves home goes on holding its share there, and takes up nothing new where it comes home.
        if (homeA === from) toSource += this.#bare[rowA + r] as number
        else if (homeA === to) toTarget -= this.#bare[rowA + r] as number
        if (homeB === to) toTarget += this.#bare[rowB + r] as number
        else if (homeB === from) toSource -= this.#bare[rowB + r] as number
      }
      const freeA = free[source + r] as number
      const freeB = free[target + r] as number
      if (price === undefined) {
        if ((toSource > freeA && toSource > 0) || (toTarget > freeB && toTarget > 0)) return refused
      } else {
        const lacks = (toSource > freeA ? toSource - freeA : 0) + (toTarget > freeB ? toTarget - freeB : 0)
        if (lacks > 0) {
          penalty += lacks * (price[r] as number)
          limit -= lacks * (price[r] as number)
        }
      }
      if (cost > limit) return refused
    }
    let delta = cost - before + penalty
    if (this.#nodeCosts !== undefined) {
      const leads = (this.assignment.leads(b) ? 1 : 0) - (this.assignment.leads(a) ? 1 : 0)
      delta += this.#costExchanged(from, rowA, rowB, leads) + this.#costExchanged(to, rowB, rowA, -leads)
    }
    if (bounded) {
      if (delta - this.#relief(a) - this.#relief(b) > most) return refused
      other = this.#swapOther(a, b)
    }
    delta += other
    if (delta > most) return refused
    this.penalty = penalty
    if (!this.#allowsSwap(a, b)) return refused
    for (let i = 0; i < this.#guards.length; i++) {
      if ((this.#guards[i] as BoundGoal).swapDelta(a, b) > 0) return refused
    }
    return delta
  }

  #moveOther(slot: number, to: number): number {
    let delta = 0
    if (this.#goal0 !== undefined) delta += this.#goal0.weight * this.#goal0.goal.moveDelta(slot, to)
    if (this.#goal1 !== undefined) delta += this.#goal1.weight * this.#goal1.goal.moveDelta(slot, to)
    for (let i = 0; i < this.#goals.length; i++) {
      const each = this.#goals[i] as Weighted
      delta += each.weight * each.goal.moveDelta(slot, to)
    }
    return delta
  }

  #swapOther(a: number, b: number): number {
    let delta = 0
    if (this.#goal0 !== undefined) delta += this.#goal0.weight * this.#goal0.goal.swapDelta(a, b)
    if (this.#goal1 !== undefined) delta += this.#goal1.weight * this.#goal1.goal.swapDelta(a, b)
    for (let i = 0; i < this.#goals.length; i++) {
      const each = this.#goals[i] as Weighted
      delta += each.weight * each.goal.swapDelta(a, b)
    }
    return delta
  }

  /** The most that the goals without a form of their own can get better when a replica goes elsewhere. */
  #relief(slot: number): number {
    let sum = 0
    if (this.#goal0 !== undefined) sum += this.#goal0.weight * (this.#goal0.goal.relief?.(slot) ?? 0)
    if (this.#goal1 !== undefined) sum += this.#goal1.weight * (this.#goal1.goal.relief?.(slot) ?? 0)
    for (let i = 0; i < this.#goals.length; i++) {
      const each = this.#goals[i] as Weighted
      sum += each.weight * (each.goal.relief?.(slot) ?? 0)
    }
    return sum
  }

  #allows(slot: number, to: number): boolean {
    if (!this.#rule0.allows(slot, to) || !this.#rule1.allows(slot, to) || !this.#rule2.allows(slot, to))
      return false
    for (let i = 0; i < this.#rules.length; i++)
      if (!(this.#rules[i] as BoundRule).allows(slot, to)) return false
    return true
  }

  #allowsSwap(a: number, b: number): boolean {
    if (!this.#rule0.allowsSwap(a, b) || !this.#rule1.allowsSwap(a, b) || !this.#rule2.allowsSwap(a, b))
      return false
    for (let i = 0; i < this.#rules.length; i++)
      if (!(this.#rules[i] as BoundRule).allowsSwap(a, b)) return false
    return true
  }

  /** @internal */
  moved(slot: number, from: number, to: number): void {
    this.#sums.moved(slot, from, to)
  }

  /** @internal */
  led(range: number, from: number, to: number): void {
    this.#sums.led(range, from, to)
  }

  /** What a node that has the replica in fact goes on holding, wherever it is to be. */
  #kept(at: number, resource: number): number {
    return this.#transient[resource] === 1 ? (this.#bare[at] as number) : 0
  }

  #costWith(node: number, row: number, sign: number, leads: number): number {
    const { usage } = this.assignment
    const { order } = this.#sums
    const at = node * this.#width
    for (let r = 0; r < this.#width; r++) {
      this.#scratch[r] = (usage[at + r] as number) + sign * (this.#load[row + (order[r] as number)] as number)
    }
    return this.#then(node, sign, sign * leads)
  }

  #costExchanged(node: number, out: number, into: number, leads: number): number {
    const { usage } = this.assignment
    const { order } = this.#sums
    const at = node * this.#width
    for (let r = 0; r < this.#width; r++) {
      const place = order[r] as number
      this.#scratch[r] =
        (usage[at + r] as number) + (this.#load[into + place] as number) - (this.#load[out + place] as number)
    }
    return this.#then(node, 0, leads)
  }

  /** How much more a node costs with the usage in the scratch. */
  #then(node: number, replicas: number, leaders: number): number {
    const cost = this.#nodeCosts?.at(this.#scratch, 0, node, replicas, leaders) ?? 0
    return cost - (this.#nodeCost[node] as number)
  }
}

/** The goals that a sum of sums is made of. */
function leavesOf(goal: BoundGoal, weight: number): Weighted[] {
  const parts = goal.kernel?.parts
  if (parts === undefined) return weight === 0 ? [] : [{ goal, weight }]
  return parts.flatMap((part) => leavesOf(part.goal, part.weight * weight))
}
