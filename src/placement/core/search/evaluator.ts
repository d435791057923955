import { checkArray, checkObject } from '../../../core/arguments.ts'
import { type Assignment, nowhere } from '../assignment.ts'
import type { BoundGoal, BoundRule, NodeCost } from '../goals/goal.ts'

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
 */
export class Evaluator {
  /** What is judged. */
  readonly assignment: Assignment
  /** Partitions of the nodes within which changes are more often allowed. */
  readonly partitions: readonly Int32Array[]
  /** What a unit above its threshold counts, by load dimension. */
  readonly weight: Float64Array
  /** Part of the last value that was a price for what is above limits. */
  penalty = 0
  /** Limits that are exceeded: pairs of a node and a load dimension. */
  exceeded = 0
  /** Changes that were valued so far. */
  evaluated = 0
  readonly #width: number
  /** slots × resources: what the replica takes, lead included. */
  readonly #load: Float64Array
  readonly #baseLoad: Float64Array
  /** nodes × resources: what may still come, and what is above the threshold. */
  readonly #free: Float64Array
  readonly #over: Float64Array
  readonly #limit: Float64Array
  readonly #threshold: Float64Array
  readonly #transient: Uint8Array
  readonly #anyTransient: boolean
  #price: Float64Array | undefined
  readonly #held: Int32Array
  readonly #nodeCosts: readonly { readonly cost: NodeCost; readonly weight: number }[]
  readonly #nodeCost: Float64Array
  readonly #scratch: Float64Array
  /** Whether rules are asked before a pass over the load dimensions, which costs more when there are many. */
  readonly #rulesFirst: boolean
  /** Rules and goals without a form of their own. The first few have call sites of their own, which the compiler likes. */
  readonly #rule0: BoundRule
  readonly #rule1: BoundRule
  readonly #rule2: BoundRule
  readonly #rules: readonly BoundRule[]
  readonly #goal0: Weighted | undefined
  readonly #goal1: Weighted | undefined
  readonly #goals: readonly Weighted[]
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
    const size = columns.nodeCount * width
    this.assignment = assignment
    this.#width = width
    this.#rulesFirst = width > 4
    this.#guards = guards
    this.#baseLoad = columns.load
    this.#load = columns.leaderLoad === undefined ? columns.load : columns.load.slice()
    this.#held = Int32Array.from({ length: columns.slotCount }, (_, slot) => assignment.heldAt(slot))
    this.#limit = new Float64Array(size).fill(Number.POSITIVE_INFINITY)
    this.#transient = new Uint8Array(width)
    const other = rules.filter((rule) => !this.#mergeLimits(rule))
    this.partitions = rules.flatMap((rule) => (rule.domains === undefined ? [] : [rule.domains]))
    this.#anyTransient = this.#transient.includes(1)
    ;[this.#rule0, this.#rule1, this.#rule2] = [
      other[0] ?? anything,
      other[1] ?? anything,
      other[2] ?? anything,
    ]
    this.#rules = other.slice(3)
    this.#threshold = new Float64Array(size)
    this.weight = new Float64Array(width)
    const nodeCosts: { cost: NodeCost; weight: number }[] = []
    const goals: Weighted[] = []
    let above = false
    for (const leaf of leavesOf(goal, 1)) {
      const { kernel } = leaf.goal
      if (kernel?.above !== undefined && !above) {
        above = true
        this.#threshold = kernel.above.threshold
        this.weight = kernel.above.weight.map((weight) => weight * leaf.weight)
      } else if (kernel?.nodeCost !== undefined)
        nodeCosts.push({ cost: kernel.nodeCost, weight: leaf.weight })
      else goals.push(leaf)
    }
    this.#nodeCosts = nodeCosts
    this.#goal0 = goals[0]
    this.#goal1 = goals[1]
    this.#goals = goals.slice(2)
    this.#free = new Float64Array(size)
    this.#over = new Float64Array(size)
    this.#nodeCost = new Float64Array(columns.nodeCount)
    this.#scratch = new Float64Array(width)
    for (let range = 0; range < columns.rangeCount; range++)
      this.led(range, nowhere, assignment.leader[range] as number)
    for (let node = 0; node < columns.nodeCount; node++) this.#refresh(node)
    assignment.observe(this)
  }

  /**
   * From now on, lets limits be exceeded at a price by unit of each load dimension, or at no price any more. Prices that
   * are whole numbers keep values exact.
   */
  relax(price: Float64Array | undefined): void {
    this.#price = price
    this.penalty = 0
  }

  /** What everything above the limits is priced at. */
  priceOfExcess(price: Float64Array): number {
    let sum = 0
    for (let at = 0; at < this.#free.length; at++) {
      const free = this.#free[at] as number
      if (free < 0) sum -= free * (price[at % this.#width] as number)
    }
    return sum
  }

  /** What a node costs in all goals that are sums over the nodes. */
  nodeCost(node: number): number {
    let sum = this.#nodeCost[node] as number
    for (let r = 0; r < this.#width; r++) {
      const over = this.#over[node * this.#width + r] as number
      if (over > 0) sum += (this.weight[r] as number) * over
    }
    return sum
  }

  /**
   * How much more a move costs, or {@link refused} when a rule is against it or it would cost more than `most`. The node
   * it goes to must be one.
   */
  move(slot: number, to: number, most: number): number {
    this.evaluated++
    const from = this.assignment.place[slot] as number
    if (from === to) return refused
    const [width, load, free, over, weight] = [this.#width, this.#load, this.#free, this.#over, this.weight]
    if (this.#rulesFirst && !this.#allows(slot, to)) return refused
    const price = this.#price
    const row = slot * width
    const [source, target] = [from * width, to * width]
    const held = this.#anyTransient ? (this.#held[slot] as number) : nowhere
    let delta = 0
    if (this.#goal0 !== undefined) delta += this.#goal0.weight * this.#goal0.goal.moveDelta(slot, to)
    if (this.#goal1 !== undefined) delta += this.#goal1.weight * this.#goal1.goal.moveDelta(slot, to)
    for (let i = 0; i < this.#goals.length; i++) {
      const each = this.#goals[i] as Weighted
      delta += each.weight * each.goal.moveDelta(slot, to)
    }
    let penalty = 0
    if (from >= 0) {
      for (let r = 0; r < width; r++) {
        const amount = load[row + r] as number
        const above = over[source + r] as number
        if (above > 0) delta -= (weight[r] as number) * (above < amount ? above : amount)
        const lacking = -(free[source + r] as number)
        if (lacking > 0 && price !== undefined) {
          const less = held === from ? amount - this.#kept(slot, r) : amount
          penalty -= (price[r] as number) * (lacking < less ? lacking : less)
        }
      }
    }
    // Nodes cost nothing or more, so what they cost now is the most that can still be won back.
    let limit = most
    if (this.#nodeCosts.length > 0)
      limit += (this.#nodeCost[to] as number) + (from < 0 ? 0 : (this.#nodeCost[from] as number))
    for (let r = 0; r < width; r++) {
      const amount = load[row + r] as number
      const more = held === to ? amount - this.#kept(slot, r) : amount
      const room = free[target + r] as number
      if (more > room && more > 0) {
        if (price === undefined) return refused
        penalty += (price[r] as number) * (room > 0 ? more - room : more)
      }
      const above = (over[target + r] as number) + amount
      if (above > 0) delta += (weight[r] as number) * (above < amount ? above : amount)
      if (delta + penalty > limit) return refused
    }
    if (this.#nodeCosts.length > 0) {
      const leads = this.assignment.leads(slot) ? 1 : 0
      if (from >= 0) delta += this.#costWith(from, row, -1, leads)
      delta += this.#costWith(to, row, 1, leads)
    }
    delta += penalty
    if (delta > most) return refused
    this.penalty = penalty
    if (!this.#rulesFirst && !this.#allows(slot, to)) return refused
    for (let i = 0; i < this.#guards.length; i++) {
      if ((this.#guards[i] as BoundGoal).moveDelta(slot, to) > 0) return refused
    }
    return delta
  }

  /** How much more it costs when two replicas, both somewhere, exchange their nodes, or {@link refused}. */
  swap(a: number, b: number, most: number): number {
    this.evaluated++
    const { place } = this.assignment
    const [from, to] = [place[a] as number, place[b] as number]
    if (from === to || (this.#rulesFirst && !this.#allowsSwap(a, b))) return refused
    const width = this.#width
    const [load, free, over, weight] = [this.#load, this.#free, this.#over, this.weight]
    const [rowA, rowB] = [a * width, b * width]
    const [source, target] = [from * width, to * width]
    let delta = 0
    if (this.#goal0 !== undefined) delta += this.#goal0.weight * this.#goal0.goal.swapDelta(a, b)
    if (this.#goal1 !== undefined) delta += this.#goal1.weight * this.#goal1.goal.swapDelta(a, b)
    for (let i = 0; i < this.#goals.length; i++) {
      const each = this.#goals[i] as Weighted
      delta += each.weight * each.goal.swapDelta(a, b)
    }
    let penalty = 0
    const price = this.#price
    const simple = price === undefined && !this.#anyTransient
    if (price !== undefined) penalty = this.#swapPenalty(a, b, from, to, price)
    else if (this.#anyTransient && !this.#hasRoom(a, b, from, to)) return refused
    delta += penalty
    for (let r = 0; r < width; r++) {
      // What comes to the node of a; the node of b loses as much.
      const more = (load[rowB + r] as number) - (load[rowA + r] as number)
      const [aboveA, aboveB] = [over[source + r] as number, over[target + r] as number]
      if (more > 0) {
        if (simple && more > (free[source + r] as number)) return refused
        const above = aboveA + more
        if (above > 0) delta += (weight[r] as number) * (above < more ? above : more)
        if (aboveB > 0) delta -= (weight[r] as number) * (aboveB < more ? aboveB : more)
      } else if (more < 0) {
        if (simple && -more > (free[target + r] as number)) return refused
        const above = aboveB - more
        if (above > 0) delta += (weight[r] as number) * (above < -more ? above : -more)
        if (aboveA > 0) delta -= (weight[r] as number) * (aboveA < -more ? aboveA : -more)
      }
    }
    if (this.#nodeCosts.length > 0) {
      if (delta - (this.#nodeCost[from] as number) - (this.#nodeCost[to] as number) > most) return refused
      const leads = (this.assignment.leads(b) ? 1 : 0) - (this.assignment.leads(a) ? 1 : 0)
      delta += this.#costExchanged(from, rowA, rowB, leads) + this.#costExchanged(to, rowB, rowA, -leads)
    }
    this.penalty = penalty
    if (delta > most) return refused
    if (!this.#rulesFirst && !this.#allowsSwap(a, b)) return refused
    for (let i = 0; i < this.#guards.length; i++) {
      if ((this.#guards[i] as BoundGoal).swapDelta(a, b) > 0) return refused
    }
    return delta
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
    if (from >= 0) this.#refresh(from)
    if (to >= 0) this.#refresh(to)
    const home = this.#held[slot] as number
    if (home >= 0 && home !== from && home !== to) this.#refresh(home)
  }

  /** @internal */
  led(range: number, from: number, to: number): void {
    const { leaderLoad } = this.assignment.columns
    const { place } = this.assignment
    if (leaderLoad !== undefined) {
      for (let r = 0; r < this.#width; r++) {
        const amount = leaderLoad[range * this.#width + r] as number
        if (from >= 0) this.#load[from * this.#width + r] = this.#baseLoad[from * this.#width + r] as number
        if (to >= 0)
          this.#load[to * this.#width + r] = (this.#baseLoad[to * this.#width + r] as number) + amount
      }
    }
    if (from >= 0 && (place[from] as number) >= 0) this.#refresh(place[from] as number)
    if (to >= 0 && (place[to] as number) >= 0) this.#refresh(place[to] as number)
  }

  #mergeLimits(rule: BoundRule): boolean {
    if (rule.limits === undefined) return false
    const { limit, transient } = rule.limits
    const limited = transient.map((_, r) => {
      for (let at = r; at < limit.length; at += transient.length) {
        if (limit[at] !== Number.POSITIVE_INFINITY) return 1
      }
      return 0
    })
    const own = this.#limit.some((each) => each !== Number.POSITIVE_INFINITY)
    // What one rule counts while it is copied and another does not cannot be one column.
    if (own && limited.some((is, r) => is === 1 && transient[r] !== this.#transient[r])) return false
    for (let at = 0; at < limit.length; at++)
      this.#limit[at] = Math.min(this.#limit[at] as number, limit[at] as number)
    for (let r = 0; r < transient.length; r++) {
      if (limited[r] === 1) this.#transient[r] = transient[r] as number
    }
    return true
  }

  /** What a node that has the replica in fact goes on holding, wherever it is to be. */
  #kept(slot: number, resource: number): number {
    return this.#transient[resource] === 1 ? (this.#baseLoad[slot * this.#width + resource] as number) : 0
  }

  #swapPenalty(a: number, b: number, from: number, to: number, price: Float64Array): number {
    const width = this.#width
    const [rowA, rowB, source, target] = [a * width, b * width, from * width, to * width]
    const [homeA, homeB] = [this.#held[a] as number, this.#held[b] as number]
    let sum = 0
    for (let r = 0; r < width; r++) {
      let toSource = (this.#load[rowB + r] as number) - (this.#load[rowA + r] as number)
      let toTarget = -toSource
      if (this.#transient[r] === 1) {
        if (homeA === from) toSource += this.#baseLoad[rowA + r] as number
        else if (homeA === to) toTarget -= this.#baseLoad[rowA + r] as number
        if (homeB === to) toTarget += this.#baseLoad[rowB + r] as number
        else if (homeB === from) toSource -= this.#baseLoad[rowB + r] as number
      }
      const freeA = this.#free[source + r] as number
      const freeB = this.#free[target + r] as number
      const before = (freeA < 0 ? freeA : 0) + (freeB < 0 ? freeB : 0)
      const after = (toSource > freeA ? toSource - freeA : 0) + (toTarget > freeB ? toTarget - freeB : 0)
      sum += (price[r] as number) * (after + before)
    }
    return sum
  }

  #hasRoom(a: number, b: number, from: number, to: number): boolean {
    const [homeA, homeB] = [this.#held[a] as number, this.#held[b] as number]
    const [rowA, rowB, source, target] = [
      a * this.#width,
      b * this.#width,
      from * this.#width,
      to * this.#width,
    ]
    for (let r = 0; r < this.#width; r++) {
      const [loadA, loadB] = [this.#load[rowA + r] as number, this.#load[rowB + r] as number]
      let [toSource, toTarget] = [loadB - loadA, loadA - loadB]
      if (this.#transient[r] === 1) {
        if (homeA === from) toSource += this.#baseLoad[rowA + r] as number
        else if (homeA === to) toTarget -= this.#baseLoad[rowA + r] as number
        if (homeB === to) toTarget += this.#baseLoad[rowB + r] as number
        else if (homeB === from) toSource -= this.#baseLoad[rowB + r] as number
      }
      if (toSource > 0 && toSource > (this.#free[source + r] as number)) return false
      if (toTarget > 0 && toTarget > (this.#free[target + r] as number)) return false
    }
    return true
  }

  #costWith(node: number, row: number, sign: number, leads: number): number {
    const { usage } = this.assignment
    const at = node * this.#width
    for (let r = 0; r < this.#width; r++) {
      this.#scratch[r] = (usage[at + r] as number) + sign * (this.#load[row + r] as number)
    }
    return this.#costOf(this.#scratch, 0, node, sign, sign * leads) - (this.#nodeCost[node] as number)
  }

  #costExchanged(node: number, out: number, into: number, leads: number): number {
    const { usage } = this.assignment
    const at = node * this.#width
    for (let r = 0; r < this.#width; r++) {
      this.#scratch[r] =
        (usage[at + r] as number) + (this.#load[into + r] as number) - (this.#load[out + r] as number)
    }
    return this.#costOf(this.#scratch, 0, node, 0, leads) - (this.#nodeCost[node] as number)
  }

  #costOf(usage: Float64Array, offset: number, node: number, replicas: number, leaders: number): number {
    const { replicaCount, leaderCount } = this.assignment
    const replicasThen = (replicaCount[node] as number) + replicas
    const leadersThen = (leaderCount[node] as number) + leaders
    let sum = 0
    for (let i = 0; i < this.#nodeCosts.length; i++) {
      const each = this.#nodeCosts[i] as { cost: NodeCost; weight: number }
      sum += each.weight * each.cost(usage, offset, node, replicasThen, leadersThen)
    }
    return sum
  }

  #refresh(node: number): void {
    const { usage, held } = this.assignment
    const end = (node + 1) * this.#width
    for (let at = end - this.#width, r = 0; at < end; at++, r++) {
      const used = usage[at] as number
      this.#over[at] = used - (this.#threshold[at] as number)
      const kept = this.#transient[r] === 1 ? (held[at] as number) : 0
      if ((this.#free[at] as number) < 0) this.exceeded--
      const free = (this.#limit[at] as number) - used - kept
      this.#free[at] = free
      if (free < 0) this.exceeded++
    }
    if (this.#nodeCosts.length > 0) {
      this.#nodeCost[node] = this.#costOf(usage, node * this.#width, node, 0, 0)
    }
  }
}

/** The goals that a sum of sums is made of. */
function leavesOf(goal: BoundGoal, weight: number): Weighted[] {
  const parts = goal.kernel?.parts
  if (parts === undefined) return weight === 0 ? [] : [{ goal, weight }]
  return parts.flatMap((part) => leavesOf(part.goal, part.weight * weight))
}
