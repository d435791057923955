import { type Assignment, type Domains, nowhere } from '../assignment.ts'
import type { BoundRule, Rule } from '../goals/goal.ts'
import type { RuleBook } from './rule-book.ts'

interface Limit {
  readonly ruleId: string
  readonly tier: string
  readonly domains: Domains
  readonly replicas: number
}

/** Keeps the replicas of a range that share a domain to the limits of the rules of a book. */
export function domainLimits(book: RuleBook): Rule {
  const name = 'rules(atMost)'
  return { name, bind: (assignment) => new BoundDomainLimits(name, assignment, book) }
}

class BoundDomainLimits implements BoundRule {
  readonly name: string
  readonly #assignment: Assignment
  readonly #classes: readonly (readonly Limit[])[]

  constructor(name: string, assignment: Assignment, book: RuleBook) {
    this.name = name
    this.#assignment = assignment
    this.#classes = book.classes.map(({ policy }) =>
      policy.atMost.map(({ value, ruleId }) => ({
        ruleId,
        ...value,
        domains: assignment.columns.domains(value.tier),
      })),
    )
  }

  allows(slot: number, to: number): boolean {
    return this.#broken(slot, to) === undefined
  }

  allowsSwap(a: number, b: number): boolean {
    const { place, columns } = this.#assignment
    if (columns.rangeOf[a] === columns.rangeOf[b]) return true
    return this.allows(a, place[b] as number) && this.allows(b, place[a] as number)
  }

  refusal(slot: number, to: number): string | undefined {
    const limit = this.#broken(slot, to)
    if (limit === undefined) return undefined
    const { of, names } = limit.domains
    return `${inWords(limit)}, and ${limit.tier} ${names[of[to] as number]} has them`
  }

  evicts(slot: number): string | undefined {
    const node = this.#assignment.place[slot] as number
    if (node < 0) return undefined
    for (const limit of this.#limits(slot)) {
      // The earlier replicas of a domain stay, and those that are too many go.
      if (this.#others(slot, limit, limit.domains.of[node] as number, slot) >= limit.replicas)
        return inWords(limit)
    }
    return undefined
  }

  broken(): number {
    const { columns, place } = this.#assignment
    let count = 0
    for (let slot = 0; slot < columns.slotCount; slot++) {
      const node = place[slot] as number
      if (node < 0) continue
      for (const limit of this.#limits(slot)) {
        if (this.#others(slot, limit, limit.domains.of[node] as number, slot) >= limit.replicas) count++
      }
    }
    return count
  }

  #limits(slot: number): readonly Limit[] {
    const { columns } = this.#assignment
    return this.#classes[columns.ruleClass?.[columns.rangeOf[slot] as number] ?? 0] as readonly Limit[]
  }

  /** The limit that a replica would break on a node. */
  #broken(slot: number, to: number): Limit | undefined {
    if (to < 0) return undefined
    const from = this.#assignment.place[slot] as number
    for (const limit of this.#limits(slot)) {
      const domain = limit.domains.of[to] as number
      const left = from < 0 ? nowhere : (limit.domains.of[from] as number)
      if (domain === left) continue
      if (this.#others(slot, limit, domain, nowhere) >= limit.replicas) return limit
    }
    return undefined
  }

  /** Other replicas of the slot's range in a domain; only those before `end` when that is a slot. */
  #others(slot: number, limit: Limit, domain: number, end: number): number {
    const { place, columns } = this.#assignment
    const range = columns.rangeOf[slot] as number
    const stop = end === nowhere ? (columns.firstSlot[range + 1] as number) : end
    let count = 0
    for (let other = columns.firstSlot[range] as number; other < stop; other++) {
      const node = place[other] as number
      if (other !== slot && node >= 0 && limit.domains.of[node] === domain) count++
    }
    return count
  }
}

function inWords({ ruleId, replicas, tier }: Limit): string {
  return `rule '${ruleId}' says that at most ${replicas} may share one ${tier}`
}
