import { nowhere, type PlacementColumns } from '../assignment.ts'
import type { Draws } from './draws.ts'
import type { Evaluator } from './evaluator.ts'
import { Reach } from './reach.ts'

/** Slots that are worth less than this part of the temperature are out of focus. */
const focusDepth = 0.5

/** How often a partner is looked for before another slot is, and how many slots of a node are looked at. */
const partnerAttempts = 4
const comersTried = 8

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
  /** Where each slot could be at all. */
  readonly reach: Reach
  /** Slots that may be moved, the smallest first, and where each slot stands among them. */
  readonly #bySize: Int32Array
  readonly #rank: Int32Array
  /** How often the number of slots can be halved. */
  readonly #octaves: number
  /** What each slot would cost above thresholds, and the slots that may be moved by that; those from #focus on are in focus. */
  readonly #worth: Float64Array
  readonly #byWorth: Int32Array
  #focus = 0
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
    this.reach = new Reach(evaluator.assignment, evaluator.limits, this.slots, this.nodes)
    this.slots = this.slots.filter((slot) => this.reach.anyFrom(slot, place[slot] as number))
    this.#bySize = bySize(columns, this.slots)
    this.#octaves = 32 - Math.clz32(this.slots.length)
    this.#worth = worthOf(evaluator)
    this.#byWorth = this.slots
      .slice()
      .sort((a, b) => (this.#worth[a] as number) - (this.#worth[b] as number) || a - b)
    this.#rank = new Int32Array(columns.slotCount)
    this.#bySize.forEach((slot, rank) => {
      this.#rank[slot] = rank
    })
    this.#beside = evaluator.partitions.flatMap((of) => {
      const lists = new Map<number, number[]>()
      for (const node of this.nodes) {
        const list = lists.get(of[node] as number)
        if (list === undefined) lists.set(of[node] as number, [node])
        else list.push(node)
      }
      if (lists.size < 2 || lists.size === this.nodes.length) return []
      const domains = new Map([...lists].map(([domain, list]) => [domain, Int32Array.from(list)]))
      return [Array.from(of, (domain) => domains.get(domain) ?? this.nodes)]
    })
  }

  /** A slot that may be moved, mostly one of those in focus. */
  slot(draws: Draws): number {
    const first = draws.below(8) === 0 ? 0 : this.#focus
    return this.#byWorth[first + draws.below(this.slots.length - first)] as number
  }

  /** A slot on a node above its limits, while there is one. */
  misplaced(draws: Draws): number {
    const evaluator = this.#evaluator
    const count = evaluator.lackingCount
    if (count === 0) return this.slot(draws)
    const slot = this.#on(evaluator.lackingNode(draws.below(count)), draws)
    return slot < 0 ? this.slot(draws) : slot
  }

  /**
   * Turns to the slots whose moves decide something at a temperature: what weighs much less comes and goes as it likes, and
   * finds its place when it is colder.
   */
  focus(temperature: number): void {
    const most = Math.floor((this.slots.length * 7) / 8)
    let [low, high] = [0, most]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#worth[this.#byWorth[middle] as number] as number) < temperature * focusDepth)
        low = middle + 1
      else high = middle
    }
    this.#focus = low
  }

  /** Any node that may be given something. */
  node(draws: Draws): number {
    return this.nodes[draws.below(this.nodes.length)] as number
  }

  /** Where a slot might go: home, if it is not there; to a node nearby, or to any that it could be on; -1: nowhere. */
  target(slot: number, draws: Draws): number {
    const { assignment } = this.#evaluator
    const node = assignment.place[slot] as number
    const kind = draws.below(10)
    if (kind < 2) {
      const home = assignment.heldAt(slot)
      if (home >= 0 && home !== node && assignment.columns.eligible[home] === 1) return home
    }
    if (kind < 5 && this.#beside.length > 0)
      return this.reach.drawFrom(slot, this.#besideOf(node, draws), draws)
    return this.reach.draw(slot, draws)
  }

  /** The nodes in one of the domains of another; all, where there are no domains. */
  #besideOf(node: number, draws: Draws): Int32Array {
    if (this.#beside.length === 0) return this.nodes
    const lists = this.#beside[
      this.#beside.length === 1 ? 0 : draws.below(this.#beside.length)
    ] as readonly Int32Array[]
    return lists[node] as Int32Array
  }

  /** A slot to exchange with, or -1 when none was found: either could be where the other is. */
  partner(slot: number, draws: Draws): number {
    const { assignment } = this.#evaluator
    const from = assignment.place[slot] as number
    for (let i = 0; i < partnerAttempts; i++) {
      const kind = draws.below(14)
      if (kind < 5) {
        const other = this.movable(kind < 2 ? this.#sibling(slot, draws) : this.#alike(slot, draws))
        if (other < 0) continue
        const to = assignment.place[other] as number
        if (to !== from && this.reach.has(slot, to) && this.reach.has(other, from)) return other
        continue
      }
      const node = this.#partnerNode(slot, kind, draws)
      if (node < 0 || node === from) continue
      const other = this.#comer(node, from, draws)
      if (other >= 0) return other
    }
    return -1
  }

  /** A slot of the same range. */
  #sibling(slot: number, draws: Draws): number {
    const { rangeOf, firstSlot } = this.#evaluator.assignment.columns
    const range = rangeOf[slot] as number
    const first = firstSlot[range] as number
    return first + draws.below((firstSlot[range + 1] as number) - first)
  }

  /** A slot of like size: as often from 1 to 2 places away as from 100 to 200, which is fit for any temperature. */
  #alike(slot: number, draws: Draws): number {
    const octave = 1 << draws.below(this.#octaves)
    const away = octave + draws.below(octave)
    const at = (this.#rank[slot] as number) + (draws.below(2) === 0 ? away : -away)
    return at >= 0 && at < this.#bySize.length ? (this.#bySize[at] as number) : -1
  }

  /** A node that the slot could be on: nearby, its home, or any. */
  #partnerNode(slot: number, kind: number, draws: Draws): number {
    const { assignment } = this.#evaluator
    if (kind < 8 && this.#beside.length > 0) {
      return this.reach.drawFrom(slot, this.#besideOf(assignment.place[slot] as number, draws), draws)
    }
    // What comes home gives free what was held for it there.
    const home = kind < 10 ? assignment.heldAt(slot) : nowhere
    return home >= 0 && home !== assignment.place[slot] ? home : this.reach.draw(slot, draws)
  }

  /** A slot on a node. */
  #on(node: number, draws: Draws): number {
    const { assignment } = this.#evaluator
    const count = assignment.slotCountOn(node)
    return count === 0 ? -1 : this.movable(assignment.slotAt(node, draws.below(count)))
  }

  /** A slot on a node that could be on another node. */
  #comer(node: number, to: number, draws: Draws): number {
    const { assignment } = this.#evaluator
    const count = assignment.slotCountOn(node)
    if (count === 0) return -1
    let at = draws.below(count)
    for (let i = Math.min(count, comersTried); i > 0; i--) {
      const slot = this.movable(assignment.slotAt(node, at))
      if (slot >= 0 && this.reach.has(slot, to)) return slot
      at = at + 1 === count ? 0 : at + 1
    }
    return -1
  }

  /** The slot, if it may be moved and another may take its place; else -1. */
  movable(slot: number): number {
    const { columns, place } = this.#evaluator.assignment
    const node = slot < 0 ? nowhere : (place[slot] as number)
    return node < 0 || columns.fixed[slot] === 1 || columns.eligible[node] !== 1 ? -1 : slot
  }
}

/** What a replica costs where everything is above its threshold already. */
function worthOf(evaluator: Evaluator): Float64Array {
  const { columns } = evaluator.assignment
  const { weight } = evaluator
  const width = weight.length
  const worth = new Float64Array(columns.slotCount)
  for (let slot = 0; slot < columns.slotCount; slot++) {
    let sum = 0
    for (let r = 0; r < width; r++) sum += (columns.load[slot * width + r] as number) * (weight[r] as number)
    worth[slot] = sum
  }
  return worth
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
