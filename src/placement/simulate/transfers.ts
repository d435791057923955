import type { PlannedMove } from '../core/plan.ts'
import type { FleetWorld, NodeTruth } from './world.ts'

/** A copy that is being made. */
export interface Transfer {
  readonly move: PlannedMove
  readonly range: number
  readonly to: number
  readonly incarnation: number
  from: number
  bytesLeft: number
}

/**
 * Copies under way. Whatever a node gives and takes is shared evenly among its copies; a copy goes as fast as the slower of
 * its ends lets it.
 */
export class Transfers {
  readonly #world: FleetWorld
  readonly #byRange = new Map<number, Transfer>()
  readonly #incoming = new Map<number, number>()
  readonly #outgoing = new Map<number, number>()
  /** Bytes that were copied so far, those of copies that came to nothing included. */
  copiedBytes = 0

  constructor(world: FleetWorld) {
    this.#world = world
  }

  get size(): number {
    return this.#byRange.size
  }

  has(range: number): boolean {
    return this.#byRange.has(range)
  }

  /** Bytes of copies on their way to a node. O(copies). */
  incomingBytes(node: number): number {
    let sum = 0
    for (const { to, range } of this.#byRange.values()) {
      if (to === node) sum += this.#world.bytes[range] as number
    }
    return sum
  }

  /** Begins a copy. Returns whether there is anything that it can be made from. */
  begin(move: PlannedMove, range: number, to: number): boolean {
    const from = this.#quietest(this.#world.sources(range))
    if (from === undefined) return false
    const { incarnation } = this.#world.nodes[to] as NodeTruth
    const transfer = { move, range, to, from, incarnation, bytesLeft: this.#world.bytes[range] as number }
    this.#byRange.set(range, transfer)
    this.#count(transfer, 1)
    return true
  }

  /** Lets time pass. Returns what is complete and what came to nothing, both in the order of their ranges. */
  advance(elapsedMs: number): {
    readonly complete: readonly Transfer[]
    readonly failed: readonly Transfer[]
  } {
    const complete: Transfer[] = []
    const failed: Transfer[] = []
    for (const transfer of this.#byRange.values()) {
      const { to, from } = transfer
      if (!this.#world.isUp(to, transfer.incarnation)) {
        failed.push(transfer)
        continue
      }
      if ((this.#world.nodes[from] as NodeTruth).downSinceMs !== undefined) {
        // What the new source need not send again is not worth modelling: it begins anew.
        const other = this.#quietest(this.#world.sources(transfer.range))
        if (other === undefined) continue
        this.#count(transfer, -1)
        transfer.from = other
        transfer.bytesLeft = this.#world.bytes[transfer.range] as number
        this.#count(transfer, 1)
      }
      const bytes = Math.min(transfer.bytesLeft, (this.#rate(transfer) * elapsedMs) / 1000)
      transfer.bytesLeft -= bytes
      this.copiedBytes += bytes
      if (transfer.bytesLeft <= 0) complete.push(transfer)
    }
    for (const transfer of [...complete, ...failed]) {
      this.#byRange.delete(transfer.range)
      this.#count(transfer, -1)
    }
    return { complete: complete.sort(byRange), failed: failed.sort(byRange) }
  }

  #rate({ from, to }: Transfer): number {
    const { nodes } = this.#world
    const ingress = (nodes[to] as NodeTruth).ingress / (this.#incoming.get(to) ?? 1)
    const egress = (nodes[from] as NodeTruth).egress / (this.#outgoing.get(from) ?? 1)
    return Math.min(ingress, egress)
  }

  #quietest(nodes: readonly number[]): number | undefined {
    let best: number | undefined
    for (const node of nodes) {
      if (best === undefined || (this.#outgoing.get(node) ?? 0) < (this.#outgoing.get(best) ?? 0)) best = node
    }
    return best
  }

  #count({ from, to }: Transfer, sign: number): void {
    this.#outgoing.set(from, (this.#outgoing.get(from) ?? 0) + sign)
    this.#incoming.set(to, (this.#incoming.get(to) ?? 0) + sign)
  }
}

function byRange(a: Transfer, b: Transfer): number {
  return a.range - b.range
}
