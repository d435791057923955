import type { Assignment } from '../assignment.ts'
import type { Draws } from './draws.ts'
import type { Limits } from './node-sums.ts'

/** No table is kept of more pairs of a slot and a node than this: 64 MiB. */
const mostPairs = 2 ** 29

/** Slots that can go to fewer nodes than one in so many have them in a list: drawing nodes would mostly miss. */
const sparse = 8

/** How often a node is drawn for a slot that can go to most of them. */
const attempts = 24

/**
 * Where each replica could be at all: where it fits beside what stays there whatever is moved. That is little where a
 * replica goes on taking its share while it is copied, so in a tight cluster most replicas have a few nodes to go to. @internal
 */
export class Reach {
  readonly #nodes: Int32Array
  readonly #words: number
  /** One bit for each pair of a slot and a node; undefined: there are too many. */
  readonly #bits: Uint32Array | undefined
  readonly #first: Uint32Array
  readonly #listed: Int32Array

  /** For the slots and nodes that may be changed. */
  constructor(assignment: Assignment, limits: Limits, slots: Int32Array, nodes: Int32Array) {
    const { columns } = assignment
    const width = columns.resources.length
    this.#nodes = nodes
    this.#words = (columns.nodeCount + 31) >>> 5
    this.#first = new Uint32Array(columns.slotCount + 1)
    if (columns.slotCount * columns.nodeCount > mostPairs) {
      this.#listed = new Int32Array(0)
      return
    }
    const room = roomBeside(assignment, limits)
    const bits = new Uint32Array(columns.slotCount * this.#words)
    const listed: number[] = []
    const found: number[] = []
    const mayMove = new Uint8Array(columns.slotCount)
    for (const slot of slots) mayMove[slot] = 1
    for (let slot = 0; slot < columns.slotCount; slot++) {
      this.#first[slot] = listed.length
      if (mayMove[slot] !== 1) continue
      found.length = 0
      const home = assignment.heldAt(slot)
      for (let i = 0; i < nodes.length; i++) {
        const node = nodes[i] as number
        if (node !== home && !fits(columns.load, slot * width, room, node * width, width)) continue
        found.push(node)
        const at = slot * this.#words + (node >>> 5)
        bits[at] = (bits[at] as number) | (1 << (node & 31))
      }
      if (found.length * sparse < nodes.length) for (const node of found) listed.push(node)
    }
    this.#first[columns.slotCount] = listed.length
    this.#listed = Int32Array.from(listed)
    this.#bits = bits
  }

  /** Whether the slot could be on the node. */
  has(slot: number, node: number): boolean {
    if (this.#bits === undefined) return true
    return (((this.#bits[slot * this.#words + (node >>> 5)] as number) >>> (node & 31)) & 1) === 1
  }

  /** Whether the slot could be anywhere but on this node. */
  anyFrom(slot: number, node: number): boolean {
    if (this.#bits === undefined) return true
    for (let word = 0; word < this.#words; word++) {
      let bits = this.#bits[slot * this.#words + word] as number
      if (word === node >>> 5) bits &= ~(1 << (node & 31))
      if (bits !== 0) return true
    }
    return false
  }

  /** A node that the slot could be on; -1: none was found. */
  draw(slot: number, draws: Draws): number {
    const first = this.#first[slot] as number
    const count = (this.#first[slot + 1] as number) - first
    if (count > 0) return this.#listed[first + draws.below(count)] as number
    return this.drawFrom(slot, this.#nodes, draws)
  }

  /** One of these nodes that the slot could be on; -1: none was found. */
  drawFrom(slot: number, nodes: Int32Array, draws: Draws): number {
    for (let i = 0; i < attempts; i++) {
      const node = nodes[draws.below(nodes.length)] as number
      if (this.has(slot, node)) return node
    }
    return -1
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

function fits(load: Float64Array, row: number, room: Float64Array, at: number, width: number): boolean {
  for (let r = 0; r < width; r++) {
    const amount = load[row + r] as number
    if (amount > 0 && amount > (room[at + r] as number)) return false
  }
  return true
}
