import type { Assignment } from '../assignment.ts'

/** A range of more slots than this has its counts in a table; of a smaller one they are counted when asked for. */
const largestCounted = 8

/** Nor has a range a row of more domains than so many for each of its slots: tables grow with the slots, whatever the nodes. */
const domainsPerSlot = 32

/**
 * How many replicas of a range are in a domain, whatever the domains are: nodes, zones, neighbourhoods. Its owner passes
 * on what moved. @internal
 */
export class DomainCounts {
  readonly domainCount: number
  readonly #assignment: Assignment
  /** Domain of each node. */
  readonly #of: Int32Array
  /** Where a range's row begins, or -1. */
  readonly #row: Int32Array
  readonly #table: Int32Array

  constructor(assignment: Assignment, of: Int32Array, domainCount: number) {
    this.#assignment = assignment
    this.#of = of
    this.domainCount = domainCount
    const { rangeCount, firstSlot } = assignment.columns
    this.#row = new Int32Array(rangeCount).fill(-1)
    let length = 0
    for (let range = 0; range < rangeCount; range++) {
      const slots = (firstSlot[range + 1] as number) - (firstSlot[range] as number)
      if (slots <= largestCounted || domainCount > slots * domainsPerSlot) continue
      this.#row[range] = length
      length += domainCount
    }
    this.#table = new Int32Array(length)
    for (let slot = 0; slot < assignment.columns.slotCount; slot++) {
      this.moved(slot, -1, assignment.place[slot] as number)
    }
  }

  /** Domain of a node. */
  domain(node: number): number {
    return this.#of[node] as number
  }

  /** Replicas of a range in a domain. */
  count(range: number, domain: number): number {
    const row = this.#row[range] as number
    if (row >= 0) return this.#table[row + domain] as number
    const { place, columns } = this.#assignment
    const end = columns.firstSlot[range + 1] as number
    let count = 0
    for (let slot = columns.firstSlot[range] as number; slot < end; slot++) {
      const node = place[slot] as number
      if (node >= 0 && this.#of[node] === domain) count++
    }
    return count
  }

  /** Whether a range has a replica in a domain that comes before a slot. */
  hasEarlier(slot: number, domain: number): boolean {
    const { place, columns } = this.#assignment
    const range = columns.rangeOf[slot] as number
    for (let other = columns.firstSlot[range] as number; other < slot; other++) {
      const node = place[other] as number
      if (node >= 0 && this.#of[node] === domain) return true
    }
    return false
  }

  moved(slot: number, from: number, to: number): void {
    const row = this.#row[this.#assignment.columns.rangeOf[slot] as number] as number
    if (row < 0) return
    const table = this.#table
    if (from >= 0) {
      const at = row + (this.#of[from] as number)
      table[at] = (table[at] as number) - 1
    }
    if (to >= 0) {
      const at = row + (this.#of[to] as number)
      table[at] = (table[at] as number) + 1
    }
  }
}
