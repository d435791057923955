import { checkText } from '../../../core/arguments.ts'
import { KeelsonError } from '../../../core/errors.ts'
import {
  arrayOption,
  checkOptions,
  numberOption,
  type OptionCheck,
  optional,
  stringOption,
} from '../../../core/options.ts'
import type { Assignment } from '../assignment.ts'
import type { BoundRule, Rule, RuleLimits } from './goal.ts'

/** Options of {@link capacity}. */
export interface CapacityOptions {
  /** Load dimensions that are limited. Default: all. */
  readonly resources?: readonly string[]
  /** Nothing is brought to a node that would be fuller than this part of its capacity. Default: 0.925. */
  readonly refuseAbove?: number
  /** A node that is fuller than this part of its capacity is to be relieved. Default: 0.95. */
  readonly shedAbove?: number
  /** Load dimensions that a replica goes on taking where it is, until it has been copied. Default: `bytes`. */
  readonly transient?: readonly string[]
}

interface Checked {
  readonly resources: readonly string[] | undefined
  readonly refuseAbove: number
  readonly shedAbove: number
  readonly transient: readonly string[]
}

/**
 * Brings nothing to a node whose capacity it would exceed, of one load dimension or of those that the options name. A node
 * that names no capacity has no limit.
 */
export function capacity(of: string | CapacityOptions = {}, options: CapacityOptions = {}): Rule {
  const named = typeof of === 'string' ? [checkText(of, 'the resource of capacity', 128)] : undefined
  if (named === undefined && Object.keys(options).length > 0) {
    throw new KeelsonError(
      'INVALID_OPTION',
      'capacity takes its options once: after the name of a resource, or alone',
    )
  }
  const given = checkOptions<Checked>('capacity', named === undefined ? of : options, {
    resources: optional(names(undefined)),
    refuseAbove: numberOption({ min: Number.MIN_VALUE, max: 1, fallback: 0.925 }),
    shedAbove: numberOption({ min: Number.MIN_VALUE, max: 1, fallback: 0.95 }),
    transient: names(['bytes']),
  })
  const checked = named === undefined ? given : { ...given, resources: named }
  const what = checked.resources === undefined ? '' : `(${checked.resources.join(', ')})`
  return {
    name: `capacity${what}`,
    bind: (assignment) => new BoundCapacity(assignment, `capacity${what}`, checked),
  }
}

/** Names of load dimensions. */
function names(fallback: readonly string[] | undefined): OptionCheck<readonly string[]> {
  return arrayOption(stringOption({ maxLength: 128 }), {
    max: 64,
    ...(fallback === undefined ? {} : { fallback }),
  })
}

class BoundCapacity implements BoundRule {
  readonly name: string
  readonly limits: RuleLimits
  readonly #assignment: Assignment
  readonly #shed: Float64Array

  constructor(assignment: Assignment, name: string, options: Checked) {
    const { columns } = assignment
    this.name = name
    this.#assignment = assignment
    const width = columns.resources.length
    const limited = columns.resources.map((each) => options.resources?.includes(each) ?? true)
    const part = (share: number): Float64Array =>
      columns.capacity.map((amount, i) => (limited[i % width] ? amount * share : Number.POSITIVE_INFINITY))
    this.limits = {
      limit: part(options.refuseAbove),
      transient: Uint8Array.from(columns.resources, (each) => (options.transient.includes(each) ? 1 : 0)),
    }
    this.#shed = part(options.shedAbove)
  }

  allows(slot: number, to: number): boolean {
    return to < 0 || this.#place(slot) === to || this.#exceeds(to, -1, slot) < 0
  }

  allowsSwap(a: number, b: number): boolean {
    const [from, to] = [this.#place(a), this.#place(b)]
    if (from === to) return true
    return (to < 0 || this.#exceeds(to, b, a) < 0) && (from < 0 || this.#exceeds(from, a, b) < 0)
  }

  refusal(slot: number, to: number): string | undefined {
    if (this.allows(slot, to)) return undefined
    const resource = this.#exceeds(to, -1, slot)
    const { columns } = this.#assignment
    const limit = this.limits.limit[to * columns.resources.length + resource] as number
    const after = this.#used(to, resource) + this.#brings(slot, to, resource)
    return `it would hold ${show(after)} ${columns.resources[resource]}, its limit is ${show(limit)}`
  }

  evicts(slot: number): string | undefined {
    const node = this.#place(slot)
    if (node < 0) return undefined
    const { resources, load } = this.#assignment.columns
    for (let r = 0; r < resources.length; r++) {
      const limit = this.#shed[node * resources.length + r] as number
      const used = this.#used(node, r)
      if (used <= limit || (load[slot * resources.length + r] as number) === 0) continue
      return `its node holds ${show(used)} ${resources[r]}, which is to be below ${show(limit)}`
    }
    return undefined
  }

  sheds(node: number): string | undefined {
    const { resources } = this.#assignment.columns
    for (let r = 0; r < resources.length; r++) {
      const limit = this.#shed[node * resources.length + r] as number
      // What is leaving already counts as gone.
      const used = this.#assignment.usage[node * resources.length + r] as number
      if (used > limit) return `it holds ${show(used)} ${resources[r]}, which is to be below ${show(limit)}`
    }
    return undefined
  }

  broken(): number {
    const { nodeCount, resources } = this.#assignment.columns
    let sum = 0
    for (let node = 0; node < nodeCount; node++) {
      for (let r = 0; r < resources.length; r++) {
        sum += Math.max(0, this.#used(node, r) - (this.limits.limit[node * resources.length + r] as number))
      }
    }
    return sum
  }

  #place(slot: number): number {
    return this.#assignment.place[slot] as number
  }

  #used(node: number, resource: number): number {
    const at = node * this.#assignment.columns.resources.length + resource
    const used = this.#assignment.usage[at] as number
    return this.limits.transient[resource] === 1 ? used + (this.#assignment.held[at] as number) : used
  }

  /** The first load dimension of which a node would get too much, or -1. What it has too much of already may shrink. */
  #exceeds(node: number, out: number, into: number): number {
    const width = this.#assignment.columns.resources.length
    for (let r = 0; r < width; r++) {
      const more = this.#brings(into, node, r) - (out < 0 ? 0 : this.#brings(out, node, r))
      if (more > 0 && this.#used(node, r) + more > (this.limits.limit[node * width + r] as number)) return r
    }
    return -1
  }

  /** What a node holds more with the replica than without it: nothing where the replica's share is held anyway. */
  #brings(slot: number, node: number, resource: number): number {
    const { leaderLoad, load, resources, rangeOf } = this.#assignment.columns
    const leads = leaderLoad !== undefined && this.#assignment.leads(slot)
    const extra = leads ? (leaderLoad[(rangeOf[slot] as number) * resources.length + resource] as number) : 0
    if (this.limits.transient[resource] === 1 && this.#assignment.heldAt(slot) === node) return extra
    return extra + (load[slot * resources.length + resource] as number)
  }
}

function show(amount: number): string {
  return amount.toPrecision(3)
}
