import { KeelsonError } from '../../../core/errors.ts'
import { checkOptions, integerOption, stringOption, wordOption } from '../../../core/options.ts'
import type { Assignment } from '../assignment.ts'
import type { BoundGoal, Goal, GoalSubject } from './goal.ts'

/** Options of {@link tableAffinity}. */
export interface TableAffinityOptions {
  /** One table, by its number in the columns. */
  readonly table: number
  /** The other. */
  readonly other: number
  /** Whether their replicas are to share domains, or not to. */
  readonly relation: 'together' | 'apart'
  /** Tier of locality whose domains count. Default: each node by itself. */
  readonly tier?: string
}

interface Checked {
  readonly table: number
  readonly other: number
  readonly relation: 'together' | 'apart'
  readonly tier: string
}

/**
 * Brings the replicas of two tables together, or keeps them apart: pairs of a replica of one and one of the other that
 * share a domain though they should not, or do not though they should.
 */
export function tableAffinity(options: TableAffinityOptions): Goal {
  const checked = checkOptions<Checked>('tableAffinity', options, {
    table: integerOption({ min: 0 }),
    other: integerOption({ min: 0 }),
    relation: wordOption(['together', 'apart']),
    tier: (value, name) => (value === undefined ? '' : stringOption({ maxLength: 32 })(value, name)),
  })
  if (checked.other === checked.table) {
    throw new KeelsonError(
      'INVALID_OPTION',
      'tableAffinity is about two tables; spread keeps replicas of one apart',
    )
  }
  const name = `${checked.relation}(${checked.table}, ${checked.other})`
  return {
    name,
    tables: [checked.table, checked.other],
    bind: (assignment) => new BoundTableAffinity(assignment, name, checked),
  }
}

class BoundTableAffinity implements BoundGoal {
  readonly name: string
  readonly judges: GoalSubject = 'replicas'
  readonly #assignment: Assignment
  readonly #tables: readonly [number, number]
  readonly #together: boolean
  readonly #where: string
  /** Domain of each node. */
  readonly #of: Int32Array
  /** Replicas of the first table in each domain, then those of the second. */
  readonly #counts: Int32Array
  readonly #domains: number
  readonly #all: [number, number] = [0, 0]

  constructor(assignment: Assignment, name: string, options: Checked) {
    const { columns } = assignment
    const domains = options.tier === '' ? undefined : columns.domains(options.tier)
    this.name = name
    this.#assignment = assignment
    this.#tables = [options.table, options.other]
    this.#together = options.relation === 'together'
    this.#where = options.tier === '' ? 'node' : options.tier
    this.#of = domains?.of ?? Int32Array.from({ length: columns.nodeCount }, (_, node) => node)
    this.#domains = domains?.count ?? columns.nodeCount
    this.#counts = new Int32Array(2 * this.#domains)
    for (const [side, table] of this.#tables.entries()) {
      const others = columns.base?.tables?.get(table)
      others?.forEach((count, node) => this.#count(side, node, count))
    }
    for (let slot = 0; slot < columns.slotCount; slot++)
      this.moved(slot, -1, assignment.place[slot] as number)
  }

  total(): number {
    let sharing = 0
    for (let domain = 0; domain < this.#domains; domain++) {
      sharing += (this.#counts[domain] as number) * (this.#counts[this.#domains + domain] as number)
    }
    return this.#together ? this.#all[0] * this.#all[1] - sharing : sharing
  }

  moveDelta(slot: number, to: number): number {
    const side = this.#side(slot)
    if (side < 0) return 0
    const from = this.#assignment.place[slot] as number
    const sharing = this.#beside(side, to) - this.#beside(side, from)
    if (!this.#together) return sharing
    const come = (to < 0 ? 0 : 1) - (from < 0 ? 0 : 1)
    return come * (this.#all[1 - side] as number) + (0 - sharing)
  }

  swapDelta(a: number, b: number): number {
    const { place } = this.#assignment
    const [from, to] = [place[a] as number, place[b] as number]
    if (this.#side(a) === this.#side(b)) return 0
    const first = this.moveDelta(a, to)
    this.moved(a, from, to)
    const second = this.moveDelta(b, from)
    this.moved(a, to, from)
    return first + second
  }

  leadDelta(): number {
    return 0
  }

  worthwhile(): boolean {
    return true
  }

  pressure(node: number): number {
    const domain = this.#of[node] as number
    const [first, second] = [this.#counts[domain] as number, this.#counts[this.#domains + domain] as number]
    return this.#together ? Math.abs(first - second) : first * second
  }

  excess(): number {
    return 0
  }

  lowerBound(): number {
    return 0
  }

  describe(slot: number, node: number): string {
    const side = this.#side(slot)
    if (side < 0) return 'the goal is about other tables'
    return `${this.#beside(side, node)} replicas of table ${this.#tables[1 - side]} are in the same ${this.#where}`
  }

  moved(slot: number, from: number, to: number): void {
    const side = this.#side(slot)
    if (side < 0) return
    if (from >= 0) this.#count(side, from, -1)
    if (to >= 0) this.#count(side, to, 1)
  }

  #side(slot: number): number {
    const { tableOf, rangeOf } = this.#assignment.columns
    const table = tableOf?.[rangeOf[slot] as number]
    return table === undefined ? -1 : this.#tables.indexOf(table)
  }

  #beside(side: number, node: number): number {
    return node < 0 ? 0 : (this.#counts[(1 - side) * this.#domains + (this.#of[node] as number)] as number)
  }

  #count(side: number, node: number, change: number): void {
    const at = side * this.#domains + (this.#of[node] as number)
    this.#counts[at] = (this.#counts[at] as number) + change
    this.#all[side] = (this.#all[side] as number) + change
  }
}
