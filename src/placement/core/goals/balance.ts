import { checkMembers, checkText } from '../../../core/arguments.ts'
import { KeelsonError } from '../../../core/errors.ts'
import {
  checkOptions,
  closest,
  numberOption,
  optional,
  showValue,
  stringOption,
} from '../../../core/options.ts'
import { type Assignment, nowhere } from '../assignment.ts'
import type { BoundGoal, Goal, GoalSubject } from './goal.ts'
import { BoundNodeGoal } from './node-goal.ts'

/** Options of {@link balance}. */
export interface BalanceOptions {
  /** How far from its share a node may be before it is worth a move. Default: 0.05. */
  readonly tolerance?: number
  /** Resource in whose capacity the shares are measured. Default: that of a load dimension itself; else all are equal. */
  readonly by?: string
}

/** Part of the tolerance within which a node may become less even for the sake of a lesser goal. */
const evenWithin = 0.5

interface Checked {
  readonly tolerance: number
  readonly by: string | undefined
}

/** What a node without a share pays for each thing that it gets: more than any balance is worth. */
const withoutShare = 2 ** 40

/**
 * Gives every node its share of the replicas, the leases, or a load dimension. The cost is Σ amount²/share, which any move
 * from a fuller to an emptier node lowers, so a sequence of such moves ends.
 */
export function balance(
  what: 'replicas' | 'leases' | { readonly resource: string },
  options: BalanceOptions = {},
): Goal {
  const resource = what === 'replicas' || what === 'leases' ? undefined : resourceOf(what)
  const checked = checkOptions<Checked>('balance', options, {
    tolerance: numberOption({ min: 0, max: 1, fallback: 0.05 }),
    by: optional(stringOption({ maxLength: 128 })),
  })
  const name = `balance(${resource ?? (what as string)})`
  return {
    name,
    bind: (assignment) =>
      new BoundBalance(assignment, name, what === 'leases' ? 'leases' : 'replicas', resource, checked),
  }
}

/** @throws KeelsonError `INVALID_ARGUMENT`, also for what is an option: it would be looked at by nobody */
function resourceOf(what: unknown): string {
  if (typeof what === 'string') {
    const suggestion = closest(what, ['replicas', 'leases'])
    const hint = suggestion === undefined ? '' : `; did you mean '${suggestion}'?`
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `balance takes 'replicas', 'leases' or { resource: '…' }, not ${showValue(what)}${hint}`,
    )
  }
  checkMembers(what, 'what balance balances', ['resource'])
  return checkText(
    (what as { readonly resource?: unknown }).resource,
    'the resource that balance balances',
    128,
  )
}

/** The share of each node: what it has of a resource. One that names no limit is like the others on average. */
function sharesOf({ columns }: Assignment, judges: GoalSubject, by: string | undefined): Float64Array {
  const { resources, capacity, eligible, sharing = eligible, nodeCount } = columns
  // A lease is never with the silent; their replicas are still there, and nobody else is to make room for them.
  const takesPart = judges === 'leases' ? eligible : sharing
  const r = by === undefined ? -1 : resources.indexOf(by)
  const of = (node: number): number =>
    r < 0 ? Number.POSITIVE_INFINITY : (capacity[node * resources.length + r] as number)
  let [sum, named] = [0, 0]
  for (let node = 0; node < nodeCount; node++) {
    if (takesPart[node] !== 1 || of(node) === Number.POSITIVE_INFINITY) continue
    sum += of(node)
    named++
  }
  const other = sum === 0 ? 1 : sum / named
  return Float64Array.from({ length: nodeCount }, (_, node) => {
    if (takesPart[node] !== 1) return 0
    return of(node) === Number.POSITIVE_INFINITY ? other : of(node)
  })
}

class BoundBalance extends BoundNodeGoal implements BoundGoal {
  readonly #assignment: Assignment
  readonly #amount: (node: number) => number
  readonly #share: Float64Array
  /** Nodes that are compared with nobody. */
  readonly #aside: Uint8Array
  /** Shares of all others. */
  readonly #shares: number
  readonly #tolerance: number
  readonly #weighs: boolean
  /** What there is in all; undefined when something came or went since it was summed up. Moves between nodes leave it as it is. */
  #sum: number | undefined

  constructor(
    assignment: Assignment,
    name: string,
    judges: GoalSubject,
    resource: string | undefined,
    { tolerance, by }: Checked,
  ) {
    const { columns } = assignment
    const width = columns.resources.length
    const column = resource === undefined ? nowhere : columns.resources.indexOf(resource)
    const share = sharesOf(assignment, judges, by ?? resource)
    super(assignment, {
      name,
      judges,
      cost(usage, offset, node, replicas, leaders) {
        const amount =
          resource === undefined
            ? judges === 'leases'
              ? leaders
              : replicas
            : column < 0
              ? 0
              : (usage[offset + column] as number)
        const of = share[node] as number
        // A node without a share holds what it holds until something else takes it away, but gets nothing more.
        return of === 0 ? amount * withoutShare : (amount * amount) / of
      },
    })
    this.#assignment = assignment
    this.#share = share
    this.#aside = columns.aside ?? new Uint8Array(share.length)
    this.#shares = share.reduce((sum, each, node) => sum + (this.#aside[node] === 1 ? 0 : each), 0)
    this.#tolerance = tolerance
    this.#weighs = resource !== undefined
    this.#amount = (node) => {
      if (resource === undefined) {
        return (judges === 'leases' ? assignment.leaderCount : assignment.replicaCount)[node] as number
      }
      return column < 0 ? 0 : (assignment.usage[node * width + column] as number)
    }
  }

  /**
   * What there is by share: what nodes that go hold will come to the others; what is on those that are set aside stays there,
   * and is nothing that anybody else is to have too much or too little of.
   */
  #mean(): number {
    if (this.#shares === 0) return 0
    if (this.#sum === undefined) {
      this.#sum = 0
      for (let node = 0; node < this.#share.length; node++) {
        if (this.#aside[node] !== 1) this.#sum += this.#amount(node)
      }
    }
    return this.#sum / this.#shares
  }

  moved(_slot: number, from: number, to: number): void {
    if (from < 0 || to < 0 || this.#aside[from] === 1 || this.#aside[to] === 1) this.#sum = undefined
  }

  /** Either slot may be nowhere. */
  led(): void {
    this.#sum = undefined
  }

  override worthwhile(from: number, to: number): boolean {
    const mean = this.#mean()
    if (from >= 0 && this.#amount(from) > mean * (this.#share[from] as number) * (1 + this.#tolerance))
      return true
    return to >= 0 && this.#amount(to) < mean * (this.#share[to] as number) * (1 - this.#tolerance)
  }

  /** By a part of the tolerance: who stays within it needs much more before it is worth a move for this goal. */
  isEven(node: number): boolean {
    const fair = this.#mean() * (this.#share[node] as number)
    return Math.abs(this.#amount(node) - fair) <= fair * this.#tolerance * evenWithin
  }

  override pressure(node: number): number {
    const of = this.#share[node] as number
    return of === 0 ? 0 : this.#amount(node) / of - this.#mean()
  }

  /** Equal amounts by share (Cauchy–Schwarz). */
  override lowerBound(): number {
    let [sum, shares] = [0, 0]
    for (const [node, of] of this.#share.entries()) {
      sum += this.#amount(node)
      shares += of
    }
    return shares === 0 ? 0 : (sum * sum) / shares
  }

  /**
   * What is above the shares of the nodes, rounded up, has to leave: one at a time where replicas or leases are shared. Of a load
   * dimension, every node that has more than its share and the tolerance has to give something.
   */
  distance(): number {
    const mean = this.#mean()
    let moves = 0
    if (this.#weighs) {
      for (const [node, of] of this.#share.entries()) {
        if (of > 0 && this.#amount(node) > mean * of * (1 + this.#tolerance)) moves++
      }
      return moves
    }
    for (const [node, of] of this.#share.entries()) {
      if (of > 0 && this.#aside[node] !== 1) moves += Math.max(0, this.#amount(node) - Math.ceil(mean * of))
    }
    return moves
  }

  override describe(_slot: number, node: number): string {
    const fair = (this.#mean() * (this.#share[node] as number)).toFixed(1)
    const what = this.name.slice('balance('.length, -1)
    return `${this.#assignment.columns.nodeName(node)} has ${this.#amount(node)} ${what}, its share is ${fair}`
  }
}
