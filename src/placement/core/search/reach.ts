import type { Assignment } from '../assignment.ts'
import type { Draws } from './draws.ts'
import type { Limits } from './limits.ts'

/** No table is kept of more pairs of a slot and a node than this; in larger fleets each pair is judged when it is asked for. */
const mostPairs = 2 ** 22

/** How often a node is drawn until one is found that will do. */
const attempts = 8

/**
 * Where each replica could be at all: where it fits beside what stays there whatever is moved. That is little where a
 * replica goes on taking its share while it is copied, so in a tight cluster most replicas have a few nodes to go to. @internal
 */
export class Reach {
  readonly #assignment: Assignment
  readonly #nodes: Int32Array
  readonly #room: Float64Array
  readonly #words: number
  /** One bit for each pair of a slot and a node; undefined: there are too many. */
  readonly #bits: Uint32Array | undefined
  /** The nodes that each slot could be on, one slot after the other. */
  readonly #first: Uint32Array
  readonly #listed: Int32Array

  /** For the slots and nodes that may be changed. */
  constructor(
    assignment: Assignment,
    limits: Limits,
    slots: Int32Array,
    nodes: Int32Array,
    most: number = mostPairs,
  ) {
    const { columns } = assignment
    this.#assignment = assignment
    this.#nodes = nodes
    this.#room = roomBeside(assignment, limits)
    this.#words = (columns.nodeCount + 31) >>> 5
    const listed: number[] = []
    if (slots.length * nodes.length > most) {
      this.#first = new Uint32Array(0)
      this.#listed = Int32Array.from(listed)
      return
    }
    this.#first = new Uint32Array(columns.slotCount + 1)
    const bits = new Uint32Array(columns.slotCount * this.#words)
    const mayMove = new Uint8Array(columns.slotCount)
    for (const slot of slots) mayMove[slot] = 1
    for (let slot = 0; slot < columns.slotCount; slot++) {
      this.#first[slot] = listed.length
      if (mayMove[slot] !== 1) continue
      for (let i = 0; i < nodes.length; i++) {
        const node = nodes[i] as number
        if (!this.#fits(slot, node)) continue
        const at = slot * this.#words + (node >>> 5)
        bits[at] = (bits[at] as number) | (1 << (node & 31))
        listed.push(node)
      }
    }
    this.#first[columns.slotCount] = listed.length
    this.#listed = Int32Array.from(listed)
    this.#bits = bits
  }

  /** Whether the slot could be on the node. */
  has(slot: number, node: number): boolean {
    const bits = this.#bits
    if (bits === undefined) {
      return this.#assignment.columns.eligible[node] === 1 && this.#fits(slot, node)
    }
    return (((bits[slot * this.#words + (node >>> 5)] as number) >>> (node & 31)) & 1) === 1
  }

  /** Whether the slot could be anywhere but on this node, as far as that is known. */
  anyFrom(slot: number, node: number): boolean {
    if (this.#bits === undefined) return true
    const [first, end] = [this.#first[slot] as number, this.#first[slot + 1] as number]
    return end - first > 1 || (end > first && this.#listed[first] !== node)
  }

  /** A node that the slot could be on; -1: none was found. */
  draw(slot: number, draws: Draws): number {
    if (this.#bits === undefined) return this.drawFrom(slot, this.#nodes, draws)
    const first = this.#first[slot] as number
    const count = (this.#first[slot + 1] as number) - first
    return count === 0 ? -1 : (this.#listed[first + draws.below(count)] as number)
  }

  /** One of these nodes that the slot could be on; -1: none was found. */
  drawFrom(slot: number, nodes: Int32Array, draws: Draws): number {
    for (let i = 0; i < attempts; i++) {
      const node = nodes[draws.below(nodes.length)] as number
      if (this.has(slot, node)) return node
    }
    return -1
  }

  #fits(slot: number, node: number): boolean {
    const { load, resources } = this.#assignment.columns
    const width = resources.length
    const [row, at] = [slot * width, node * width]
    const room = this.#room
    for (let r = 0; r < width; r++) {
      const amount = load[row + r] as number
      if (amount > (room[at + r] as number) && amount > 0) return this.#assignment.heldAt(slot) === node
    }
    return true
  }
}

/** What the limits of each node leave for what may come and go. */
function roomBeside(assignment: Assignment, limits: Limits): Float64Array {
  const { columns } = assignment
  const width = columns.resources.length
  const room = limits.limit.slice()
  const { base } = columns
  for (let at = 0; base !== undefined && at < room.length; at++) {
    const kept = limits.transient[at % width] === 1 ? (base.held[at] as number) : 0
    room[at] = (room[at] as number) - (base.usage[at] as number) - kept
  }
  for (let slot = 0; slot < columns.slotCount; slot++) {
    const fixed = columns.fixed[slot] === 1
    const node = fixed ? (assignment.place[slot] as number) : assignment.heldAt(slot)
    if (node < 0) continue
    for (let r = 0; r < width; r++) {
      if (!fixed && limits.transient[r] !== 1) continue
      const at = node * width + r
      room[at] = (room[at] as number) - (columns.load[slot * width + r] as number)
    }
  }
  return room
}
