import { checkFunction, checkText } from '../../../core/arguments.ts'
import { KeelsonError } from '../../../core/errors.ts'
import { type Assignment, nowhere, type PlacementColumns } from '../assignment.ts'
import { DomainCounts } from './domain-counts.ts'
import type { BoundRule, Rule } from './goal.ts'

/**
 * Whoever has a replica in a domain needs a replica of the ranges that it depends on in the same domain: an index beside
 * its table, a service beside the one that it asks. For a search over columns of all ranges ({@link LevelSearch}): a planner
 * refuses it.
 *
 * @param dependsOn ranges that a range depends on, all by their numbers in the columns
 */
export function dependency(tier: string, dependsOn: (range: number) => readonly number[]): Rule {
  checkText(tier, 'the tier of dependency', 32)
  checkFunction(dependsOn, 'dependsOn of dependency')
  const name = `dependency(${tier})`
  return {
    name,
    needsAllRanges: true,
    bind: (assignment) => new BoundDependency(assignment, name, tier, dependsOn),
  }
}

/** Lists of ranges by range, flat. */
interface Lists {
  readonly first: Uint32Array
  readonly of: Int32Array
}

function flat(lists: readonly (readonly number[])[]): Lists {
  const first = new Uint32Array(lists.length + 1)
  lists.forEach((list, i) => {
    first[i + 1] = (first[i] as number) + list.length
  })
  return { first, of: Int32Array.from(lists.flat()) }
}

function needsOf(columns: PlacementColumns, dependsOn: (range: number) => readonly number[]): number[][] {
  return Array.from({ length: columns.rangeCount }, (_, range) => {
    const needs = [...new Set(dependsOn(range))].filter((other) => other !== range)
    for (const other of needs) {
      if (Number.isInteger(other) && other >= 0 && other < columns.rangeCount) continue
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `range ${range} depends on ${other}, but the ranges are 0 to ${columns.rangeCount - 1}`,
      )
    }
    return needs
  })
}

class BoundDependency implements BoundRule {
  readonly name: string
  readonly domains: Int32Array
  readonly #assignment: Assignment
  readonly #tier: string
  readonly #counts: DomainCounts
  /** What each range needs, and who needs it. */
  readonly #needs: Lists
  readonly #needers: Lists

  constructor(
    assignment: Assignment,
    name: string,
    tier: string,
    dependsOn: (range: number) => readonly number[],
  ) {
    const { columns } = assignment
    const { of, count } = columns.domains(tier)
    this.name = name
    this.domains = of
    this.#assignment = assignment
    this.#tier = tier
    this.#counts = new DomainCounts(assignment, of, count)
    const needs = needsOf(columns, dependsOn)
    const needers: number[][] = needs.map(() => [])
    needs.forEach((list, range) => {
      for (const other of list) needers[other]?.push(range)
    })
    this.#needs = flat(needs)
    this.#needers = flat(needers)
  }

  allows(slot: number, to: number): boolean {
    return this.#allows(slot, to, nowhere)
  }

  allowsSwap(a: number, b: number): boolean {
    const { place, columns } = this.#assignment
    const [rangeA, rangeB] = [columns.rangeOf[a] as number, columns.rangeOf[b] as number]
    if (rangeA === rangeB) return true
    return this.#allows(a, place[b] as number, rangeB) && this.#allows(b, place[a] as number, rangeA)
  }

  refusal(slot: number, to: number): string | undefined {
    if (this.allows(slot, to)) return undefined
    const { place, columns } = this.#assignment
    const range = columns.rangeOf[slot] as number
    const lacking = to < 0 ? nowhere : this.#lacking(range, this.#counts.domain(to))
    if (lacking >= 0)
      return `its ${this.#tier} has no replica of ${columns.rangeName(lacking)}, which the range needs`
    const domain = this.#counts.domain(place[slot] as number)
    for (let i = this.#needers.first[range] as number; i < (this.#needers.first[range + 1] as number); i++) {
      const other = this.#needers.of[i] as number
      if (this.#counts.count(other, domain) > 0) {
        return `${columns.rangeName(other)} needs a replica of the range in the ${this.#tier} that it would leave`
      }
    }
    return undefined
  }

  evicts(slot: number): string | undefined {
    const { place, columns } = this.#assignment
    const node = place[slot] as number
    if (node < 0) return undefined
    const lacking = this.#lacking(columns.rangeOf[slot] as number, this.#counts.domain(node))
    if (lacking < 0) return undefined
    return `its ${this.#tier} has no replica of ${columns.rangeName(lacking)}, which the range needs`
  }

  broken(): number {
    const { rangeCount } = this.#assignment.columns
    let sum = 0
    for (let range = 0; range < rangeCount; range++) {
      for (let i = this.#needs.first[range] as number; i < (this.#needs.first[range + 1] as number); i++) {
        for (let domain = 0; domain < this.#counts.domainCount; domain++) {
          const there = this.#counts.count(range, domain) > 0
          if (there && this.#counts.count(this.#needs.of[i] as number, domain) === 0) sum++
        }
      }
    }
    return sum
  }

  moved(slot: number, from: number, to: number): void {
    this.#counts.moved(slot, from, to)
  }

  /** Something that the range needs and that a domain does not have, or {@link nowhere}. */
  #lacking(range: number, domain: number): number {
    for (let i = this.#needs.first[range] as number; i < (this.#needs.first[range + 1] as number); i++) {
      const other = this.#needs.of[i] as number
      if (this.#counts.count(other, domain) === 0) return other
    }
    return nowhere
  }

  /** Whether the slot may go, while a replica of `partner` comes the opposite way. */
  #allows(slot: number, to: number, partner: number): boolean {
    const { place, columns } = this.#assignment
    const from = place[slot] as number
    const range = columns.rangeOf[slot] as number
    const counts = this.#counts
    const [needs, needers] = [this.#needs, this.#needers]
    const [needsFrom, needsEnd] = [needs.first[range] as number, needs.first[range + 1] as number]
    const [neededFrom, neededEnd] = [needers.first[range] as number, needers.first[range + 1] as number]
    if (needsFrom === needsEnd && neededFrom === neededEnd) return true
    const source = from < 0 ? nowhere : counts.domain(from)
    const target = to < 0 ? nowhere : counts.domain(to)
    if (source === target) return true
    if (target >= 0 && needsFrom < needsEnd && counts.count(range, target) === 0) {
      for (let i = needsFrom; i < needsEnd; i++) {
        const other = needs.of[i] as number
        if (counts.count(other, target) - (other === partner ? 1 : 0) === 0) return false
      }
    }
    if (source >= 0 && neededFrom < neededEnd && counts.count(range, source) === 1) {
      for (let i = neededFrom; i < neededEnd; i++) {
        const other = needers.of[i] as number
        if (counts.count(other, source) + (other === partner ? 1 : 0) > 0) return false
      }
    }
    return true
  }
}
