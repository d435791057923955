import type { PlacementColumns } from '../assignment.ts'
import type { Draws } from './draws.ts'
import type { Evaluator } from './evaluator.ts'

/**
 * What the search may change, and where it looks: anywhere, or within a domain of one of the rules, where more of what it
 * tries is allowed. @internal
 */
export class Neighbours {
  /** Slots that may be moved. */
  readonly slots: Int32Array
  /** Nodes that may be given something. */
  readonly nodes: Int32Array
  readonly #evaluator: Evaluator
  /** Slots that may be moved, the smallest first, and where each slot stands among them. */
  readonly #bySize: Int32Array
  readonly #rank: Int32Array
  /** For each partition, the nodes beside each node. */
  readonly #beside: readonly (readonly Int32Array[])[]

  constructor(evaluator: Evaluator) {
    const { columns, place } = evaluator.assignment
    this.#evaluator = evaluator
    const each = (count: number): Int32Array => Int32Array.from({ length: count }, (_, i) => i)
    this.slots = each(columns.slotCount).filter(
      (slot) => columns.fixed[slot] !== 1 && (place[slot] as number) >= 0,
    )
    this.nodes = each(columns.nodeCount).filter((node) => columns.eligible[node] === 1)
    this.#bySize = bySize(columns, this.slots)
    this.#rank = new Int32Array(columns.slotCount)
    this.#bySize.forEach((slot, rank) => {
      this.#rank[slot] = rank
    })
    this.#beside = evaluator.partitions.flatMap((of) => {
      const lists = new Map<number, number[]>()
      for (const node of this.nodes)
        lists.set(of[node] as number, [...(lists.get(of[node] as number) ?? []), node])
      if (lists.size < 2 || lists.size === this.nodes.length) return []
      const domains = new Map([...lists].map(([domain, list]) => [domain, Int32Array.from(list)]))
      return [Array.from(of, (domain) => domains.get(domain) ?? this.nodes)]
    })
  }

  /** A slot that may be moved. */
  slot(draws: Draws): number {
    return this.slots[draws.below(this.slots.length)] as number
  }

  /** Any node that may be given something. */
  node(draws: Draws): number {
    return this.nodes[draws.below(this.nodes.length)] as number
  }

  /** Where a slot might go: home, if it is not there; to a node nearby, or to any. */
  target(slot: number, draws: Draws): number {
    const node = this.#evaluator.assignment.place[slot] as number
    const kind = draws.below(10)
    if (kind < 2) {
      const home = this.#evaluator.assignment.heldAt(slot)
      if (home >= 0 && home !== node && this.#evaluator.assignment.columns.eligible[home] === 1) return home
    }
    return kind < 5 ? this.#besideOf(node, draws) : this.node(draws)
  }

  /** A node in one of the domains of another, or any node where there are no domains. */
  #besideOf(node: number, draws: Draws): number {
    if (this.#beside.length === 0) return this.node(draws)
    const lists = this.#beside[
      this.#beside.length === 1 ? 0 : draws.below(this.#beside.length)
    ] as readonly Int32Array[]
    const list = lists[node] as Int32Array
    return list[draws.below(list.length)] as number
  }

  /** A slot to exchange with, or -1 when there is none: of the same range, on a node nearby, of like size, or any. */
  partner(slot: number, draws: Draws): number {
    const { assignment } = this.#evaluator
    if (this.#free(slot) < 0) return -1
    const kind = draws.below(12)
    if (kind >= 10) {
      // What comes home gives free what was held for it there.
      const home = assignment.heldAt(slot)
      const count =
        home < 0 || home === assignment.place[slot] ? 0 : (assignment.replicaCount[home] as number)
      return count === 0 ? -1 : this.#free(assignment.slotAt(home, draws.below(count)))
    }
    if (kind < 2) {
      const { rangeOf, firstSlot } = assignment.columns
      const range = rangeOf[slot] as number
      const first = firstSlot[range] as number
      return this.#free(first + draws.below((firstSlot[range + 1] as number) - first))
    }
    if (kind < 5) {
      const node = this.#besideOf(assignment.place[slot] as number, draws)
      const count = assignment.replicaCount[node] as number
      return count === 0 ? -1 : this.#free(assignment.slotAt(node, draws.below(count)))
    }
    if (kind < 8) {
      // As often from 1 to 2 places away as from 100 to 200: fit for any temperature.
      const away = Math.floor(this.slots.length ** draws.unit()) * (draws.below(2) === 0 ? 1 : -1)
      const alike = this.#bySize[(this.#rank[slot] as number) + away]
      return alike === undefined ? -1 : this.#free(alike)
    }
    return this.#free(this.slot(draws))
  }

  /** The slot, if another may take its place. */
  #free(slot: number): number {
    const { columns, place } = this.#evaluator.assignment
    const node = place[slot] as number
    return node < 0 || columns.fixed[slot] === 1 || columns.eligible[node] !== 1 ? -1 : slot
  }
}

/** By the sum of what each takes of the average in every load dimension. */
function bySize(columns: PlacementColumns, slots: Int32Array): Int32Array {
  const width = columns.resources.length
  const total = new Float64Array(width)
  for (let at = 0; at < columns.load.length; at++)
    total[at % width] = (total[at % width] as number) + (columns.load[at] as number)
  const size = new Float64Array(columns.slotCount)
  for (const slot of slots) {
    for (let r = 0; r < width; r++) {
      const of = total[r] as number
      if (of > 0) size[slot] = (size[slot] as number) + (columns.load[slot * width + r] as number) / of
    }
  }
  return slots.slice().sort((a, b) => (size[a] as number) - (size[b] as number) || a - b)
}
