import { checkText } from '../../../core/arguments.ts'
import type { Assignment } from '../assignment.ts'
import { DomainCounts } from './domain-counts.ts'
import type { BoundRule, Rule } from './goal.ts'

/**
 * No two replicas of a range on one node, or in one domain of a tier of locality. Without it a node that fails takes
 * more than one copy.
 */
export function exclusivity(tier?: string): Rule {
  if (tier !== undefined) checkText(tier, 'the tier of exclusivity', 32)
  const name = tier === undefined ? 'exclusivity' : `exclusivity(${tier})`
  return { name, bind: (assignment) => new BoundExclusivity(assignment, name, tier) }
}

class BoundExclusivity implements BoundRule {
  readonly name: string
  readonly #assignment: Assignment
  readonly #counts: DomainCounts
  readonly #where: string

  constructor(assignment: Assignment, name: string, tier: string | undefined) {
    const { columns } = assignment
    this.name = name
    this.#assignment = assignment
    this.#where = tier === undefined ? 'the same node' : `the same ${tier}`
    if (tier === undefined) {
      const each = Int32Array.from({ length: columns.nodeCount }, (_, node) => node)
      this.#counts = new DomainCounts(assignment, each, columns.nodeCount)
    } else {
      const { of, count } = columns.domains(tier)
      this.#counts = new DomainCounts(assignment, of, count)
    }
  }

  allows(slot: number, to: number): boolean {
    if (to < 0) return true
    const { place, columns } = this.#assignment
    const from = place[slot] as number
    const domain = this.#counts.domain(to)
    if (from >= 0 && this.#counts.domain(from) === domain) return true
    return this.#counts.count(columns.rangeOf[slot] as number, domain) === 0
  }

  allowsSwap(a: number, b: number): boolean {
    const { place, columns } = this.#assignment
    if (columns.rangeOf[a] === columns.rangeOf[b]) return true
    return this.allows(a, place[b] as number) && this.allows(b, place[a] as number)
  }

  refusal(slot: number, to: number): string | undefined {
    return this.allows(slot, to) ? undefined : `another replica of the range is on ${this.#where}`
  }

  evicts(slot: number): string | undefined {
    const node = this.#assignment.place[slot] as number
    if (node < 0 || !this.#counts.hasEarlier(slot, this.#counts.domain(node))) return undefined
    return `another replica of the range is on ${this.#where}`
  }

  broken(): number {
    let count = 0
    for (let slot = 0; slot < this.#assignment.columns.slotCount; slot++) {
      const node = this.#assignment.place[slot] as number
      if (node >= 0 && this.#counts.hasEarlier(slot, this.#counts.domain(node))) count++
    }
    return count
  }

  moved(slot: number, from: number, to: number): void {
    this.#counts.moved(slot, from, to)
  }
}
