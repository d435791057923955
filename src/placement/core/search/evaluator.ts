import { checkArray, checkObject } from '../../../core/arguments.ts'
import { type Assignment, nowhere } from '../assignment.ts'
import type { BoundGoal, BoundRule } from '../goals/goal.ts'
import { Limits } from './limits.ts'
import { NodeCosts } from './node-costs.ts'
import { NodeSums } from './node-sums.ts'
import { formsOf, Terms } from './terms.ts'

/** What no change can cost: the change is refused, or costs more than was asked for. */
export const refused: number = Number.POSITIVE_INFINITY

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
  /** The rest of the last value: what the goals say, exact however high the price. */
  unpriced = 0
  /** Changes that were valued so far. */
  evaluated = 0
  readonly #sums: NodeSums
  readonly #terms: Terms
  readonly #nodeCosts: NodeCosts | undefined
  readonly #held: Int32Array
  /** The slot and the node that are nothing. */
  readonly #noSlot: number
  readonly #noNode: number
  readonly #scratch: Float64Array
  /** What a unit above its limit costs, in the order of the sums; undefined: limits hold. */
  #price: Float64Array | undefined

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
    this.#noSlot = columns.slotCount
    this.#noNode = columns.nodeCount
    this.#held = new Int32Array(columns.slotCount + 1).fill(nowhere)
    for (let slot = 0; slot < columns.slotCount; slot++) this.#held[slot] = assignment.heldAt(slot)
    this.limits = new Limits(columns.nodeCount, width)
    const others = rules.filter((rule) => !this.limits.take(rule))
    this.partitions = rules.flatMap((rule) => (rule.domains === undefined ? [] : [rule.domains]))
    const forms = formsOf(goal)
    this.weight = forms.above?.weight ?? new Float64Array(width)
    this.#terms = new Terms(forms.others, others, guards)
    this.#nodeCosts = forms.nodeCosts.length === 0 ? undefined : new NodeCosts(assignment, forms.nodeCosts)
    this.#sums = new NodeSums(assignment, this.limits, forms.above, this.#held, this.#nodeCosts)
    this.#scratch = new Float64Array(width)
    assignment.observe(this)
  }

  /** Limits that are exceeded: pairs of a node and a load dimension. */
  get exceeded(): number {
    return this.#sums.exceeded
  }

  /** How many nodes are above their limits. @internal */
  get lackingCount(): number {
    return this.#sums.lackingCount
  }

  /** One of the {@link lackingCount} nodes above their limits. Their order changes with every change. @internal */
  lackingNode(index: number): number {
    return this.#sums.lackingNodes[index] as number
  }

  /**
   * From now on, lets limits be exceeded at a price by unit of each load dimension, or at no price any more. Prices that
   * are whole numbers keep values exact.
   */
  relax(price: Float64Array | undefined): void {
    this.#price = price === undefined ? undefined : this.#sums.arranged(price)
    this.#sums.charge(price)
    this.penalty = 0
  }

  /** What everything above the limits is priced at now. */
  get priceOfExcess(): number {
    return this.#sums.totalLack()
  }

  /** What a node costs in all goals that are sums over the nodes. */
  nodeCost(node: number): number {
    return (this.#sums.otherCost[node] as number) + (this.#sums.overCost[node] as number)
  }

  /**
   * How much more a move costs, or {@link refused} when a rule is against it or it would cost more than `most`. The node
   * it goes to must be one.
   */
  move(slot: number, to: number, most: number): number {
    return this.#value(slot, to, nowhere, most)
  }

  /** How much more it costs when two replicas, both somewhere, exchange their nodes, or {@link refused}. */
  swap(a: number, b: number, most: number): number {
    return this.#value(a, this.assignment.place[b] as number, b, most)
  }

  /** @internal */
  moved(slot: number, from: number, to: number): void {
    this.#sums.moved(slot, from, to)
  }

  /** @internal */
  led(range: number, from: number, to: number): void {
    this.#sums.led(range, from, to)
  }

  /** A slot goes to a node, and another (`b` from 0) takes its place: a move is an exchange with nothing. */
  #value(a: number, to: number, b: number, most: number): number {
    this.evaluated++
    const sums = this.#sums
    const place = this.assignment.place[a] as number
    if (place === to) return refused
    const from = place < 0 ? this.#noNode : place
    const other = b < 0 ? this.#noSlot : b
    const { width, load, kept, free, over, weight } = sums
    const price = this.#price
    const rowA = a * width
    const rowB = other * width
    const source = from * width
    const target = to * width
    const before = (sums.overCost[from] as number) + (sums.overCost[to] as number)
    let penalty = 0
    let limit = most + before
    if (price !== undefined) {
      penalty = 0 - (sums.lackCost[from] as number) - (sums.lackCost[to] as number)
      limit -= penalty
    }
    if (this.#nodeCosts !== undefined) {
      limit += (sums.otherCost[from] as number) + (sums.otherCost[to] as number)
    }
    const terms = this.#terms
    const { bounded } = terms
    let rest = 0
    if (bounded) {
      rest = terms.relief(a)
      if (b >= 0) rest += terms.relief(b)
      limit += rest
    } else {
      rest = terms.delta(a, to, b)
      limit -= rest
    }
    // Whoever leaves home goes on holding its share there, and takes up nothing new where it comes home.
    const homeA = this.#held[a] as number
    const homeB = this.#held[other] as number
    const atHome = homeA === from || homeA === to || homeB === from || homeB === to
    let cost = 0
    for (let r = 0; r < width; r++) {
      // What comes to the node of a; the other node loses as much.
      const more = (load[rowB + r] as number) - (load[rowA + r] as number)
      const aboveA = (over[source + r] as number) + more
      if (aboveA > 0) cost += (weight[r] as number) * aboveA
      const aboveB = (over[target + r] as number) - more
      if (aboveB > 0) cost += (weight[r] as number) * aboveB
      let toSource = more
      let toTarget = -more
      if (atHome) {
        if (homeA === from) toSource += kept[rowA + r] as number
        else if (homeA === to) toTarget -= kept[rowA + r] as number
        if (homeB === to) toTarget += kept[rowB + r] as number
        else if (homeB === from) toSource -= kept[rowB + r] as number
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
    let delta = cost - before
    if (this.#nodeCosts !== undefined) {
      const leads = this.#leads(b) - this.#leads(a)
      const replicas = b < 0 ? 1 : 0
      delta += this.#moreOn(to, rowB, rowA, replicas, -leads)
      if (place >= 0) delta += this.#moreOn(from, rowA, rowB, -replicas, leads)
    }
    if (bounded) {
      if (delta - rest + penalty > most) return refused
      rest = terms.delta(a, to, b)
    }
    delta += rest
    if (delta + penalty > most) return refused
    this.penalty = penalty
    this.unpriced = delta
    return terms.allow(a, to, b) ? delta + penalty : refused
  }

  #leads(slot: number): number {
    return slot >= 0 && this.assignment.leads(slot) ? 1 : 0
  }

  /** How much more a node costs by goals that are sums over nodes, when one replica goes and another comes. */
  #moreOn(node: number, out: number, into: number, replicas: number, leaders: number): number {
    const { usage } = this.assignment
    const { order, load, width, otherCost } = this.#sums
    const scratch = this.#scratch
    const at = node * width
    for (let r = 0; r < width; r++) {
      const place = order[r] as number
      scratch[r] = (usage[at + r] as number) + (load[into + place] as number) - (load[out + place] as number)
    }
    const cost = this.#nodeCosts?.at(scratch, 0, node, replicas, leaders) ?? 0
    return cost - (otherCost[node] as number)
  }
}
