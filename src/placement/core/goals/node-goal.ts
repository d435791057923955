import { checkFunction, checkObject, checkText } from '../../../core/arguments.ts'
import type { Assignment } from '../assignment.ts'
import type { BoundGoal, Goal, GoalKernel, GoalSubject, NodeCost } from './goal.ts'

/** What {@link nodeGoal} is made of. */
export interface NodeGoalOptions {
  /** Short and constant. */
  readonly name: string
  /** What one node costs. Pure, and quick: it is called for every move that is thought of. */
  readonly cost: NodeCost
  /** Default: `replicas`. */
  readonly judges?: GoalSubject
  /** Whether a move between two nodes is worth its work. Default: always. */
  readonly worthwhile?: (from: number, to: number) => boolean
  /** No assignment costs less. Default: 0. */
  readonly lowerBound?: (assignment: Assignment) => number
  /** What to say of a node. Default: its cost. */
  readonly describe?: (node: number, assignment: Assignment) => string
}

/** A goal that is a sum over the nodes, each judged by what is on it. */
export function nodeGoal(options: NodeGoalOptions): Goal {
  checkObject(options, 'a node goal', ['name', 'cost'])
  const name = checkText(options.name, 'the name of a node goal', 128)
  checkFunction(options.cost, 'the cost of a node goal')
  return { name, bind: (assignment) => new BoundNodeGoal(assignment, options) }
}

/** @internal */
export class BoundNodeGoal implements BoundGoal {
  readonly name: string
  readonly judges: GoalSubject
  readonly kernel: GoalKernel
  readonly #assignment: Assignment
  readonly #options: NodeGoalOptions
  readonly #cost: NodeCost
  readonly #width: number
  readonly #scratch: Float64Array

  constructor(
    assignment: Assignment,
    options: NodeGoalOptions,
    kernel: GoalKernel = { nodeCost: options.cost },
  ) {
    this.name = options.name
    this.judges = options.judges ?? 'replicas'
    this.kernel = kernel
    this.#assignment = assignment
    this.#options = options
    this.#cost = options.cost
    this.#width = assignment.columns.resources.length
    this.#scratch = new Float64Array(this.#width)
  }

  total(): number {
    let sum = 0
    for (let node = 0; node < this.#assignment.columns.nodeCount; node++) sum += this.costOf(node)
    return sum
  }

  pressure(node: number): number {
    return this.costOf(node)
  }

  costOf(node: number): number {
    const { usage, replicaCount, leaderCount } = this.#assignment
    return this.#cost(
      usage,
      node * this.#width,
      node,
      replicaCount[node] as number,
      leaderCount[node] as number,
    )
  }

  moveDelta(slot: number, to: number): number {
    const from = this.#assignment.place[slot] as number
    if (from === to) return 0
    const leads = this.#assignment.leads(slot) ? 1 : 0
    let delta = 0
    if (from >= 0) {
      this.#load(from)
      this.#take(slot, -1, leads)
      delta += this.#after(from, -1, -leads)
    }
    if (to >= 0) {
      this.#load(to)
      this.#take(slot, 1, leads)
      delta += this.#after(to, 1, leads)
    }
    return delta
  }

  swapDelta(a: number, b: number): number {
    const { place } = this.#assignment
    const [from, to] = [place[a] as number, place[b] as number]
    if (from === to) return 0
    const [leadsA, leadsB] = [this.#assignment.leads(a) ? 1 : 0, this.#assignment.leads(b) ? 1 : 0]
    if (from < 0) return this.#exchange(to, b, leadsB, a, leadsA)
    if (to < 0) return this.#exchange(from, a, leadsA, b, leadsB)
    return this.#exchange(from, a, leadsA, b, leadsB) + this.#exchange(to, b, leadsB, a, leadsA)
  }

  leadDelta(range: number, slot: number): number {
    const { leader, place, columns } = this.#assignment
    const old = leader[range] as number
    const from = old < 0 ? -1 : (place[old] as number)
    const to = slot < 0 ? -1 : (place[slot] as number)
    if (from === to) return 0
    let delta = 0
    if (from >= 0) {
      this.#load(from)
      if (columns.leaderLoad !== undefined) this.#add(columns.leaderLoad, range, -1)
      delta += this.#after(from, 0, -1)
    }
    if (to >= 0) {
      this.#load(to)
      if (columns.leaderLoad !== undefined) this.#add(columns.leaderLoad, range, 1)
      delta += this.#after(to, 0, 1)
    }
    return delta
  }

  excess(): number {
    return 0
  }

  worthwhile(from: number, to: number): boolean {
    return this.#options.worthwhile?.(from, to) ?? true
  }

  lowerBound(): number {
    return this.#options.lowerBound?.(this.#assignment) ?? 0
  }

  describe(_slot: number, node: number): string {
    const said = this.#options.describe?.(node, this.#assignment)
    return said ?? `${this.#assignment.columns.nodeName(node)} costs ${this.costOf(node)}`
  }

  #exchange(node: number, out: number, leadsOut: number, into: number, leadsInto: number): number {
    this.#load(node)
    this.#take(out, -1, leadsOut)
    this.#take(into, 1, leadsInto)
    return this.#after(node, 0, leadsInto - leadsOut)
  }

  #load(node: number): void {
    const from = node * this.#width
    for (let r = 0; r < this.#width; r++) this.#scratch[r] = this.#assignment.usage[from + r] as number
  }

  #take(slot: number, sign: number, leads: number): void {
    const { load, leaderLoad, rangeOf } = this.#assignment.columns
    this.#add(load, slot, sign)
    if (leads !== 0 && leaderLoad !== undefined) this.#add(leaderLoad, rangeOf[slot] as number, sign)
  }

  #add(amounts: Float64Array, row: number, sign: number): void {
    const from = row * this.#width
    for (let r = 0; r < this.#width; r++) {
      this.#scratch[r] = (this.#scratch[r] as number) + sign * (amounts[from + r] as number)
    }
  }

  #after(node: number, replicas: number, leaders: number): number {
    const { replicaCount, leaderCount } = this.#assignment
    const after = this.#cost(
      this.#scratch,
      0,
      node,
      (replicaCount[node] as number) + replicas,
      (leaderCount[node] as number) + leaders,
    )
    return after - this.costOf(node)
  }
}
