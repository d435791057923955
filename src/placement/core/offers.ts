import { epsilon } from './targets.ts'

/** A replica that would be better elsewhere. @internal */
export interface Offer {
  readonly slot: number
  /** Where. */
  readonly to: number
  /** What that changes in each goal. */
  readonly changes: readonly number[]
  /** Moves that were planned when it was found. */
  readonly foundAt: number
}

/**
 * What a node could give away. To look for the best place of every replica again after every move would cost more than all
 * else: costs of nodes are convex, so with every move from a node, and to those that take its replicas, the next one is worth
 * less, and an offer says what its replica can gain at most (Minoux, Accelerated greedy algorithms, 1978). @internal
 */
export class Offers {
  /** Replicas that were looked at and were not moved. */
  examined = 0
  readonly #slots: readonly number[]
  readonly #open: Offer[] = []
  #next = 0

  /** Of the replicas on a node, those to look at first at first. */
  constructor(slots: readonly number[]) {
    this.#slots = slots
  }

  /** Whether nothing is offered. */
  get none(): boolean {
    return this.#open.length === 0
  }

  /** The next replica to look at. */
  next(): number | undefined {
    return this.#slots[this.#next++]
  }

  put(offer: Offer): void {
    this.#open.push(offer)
  }

  /** Takes out the best one. */
  take(): Offer | undefined {
    let best = 0
    for (let i = 1; i < this.#open.length; i++) {
      if (comesBefore(this.#open[i] as Offer, this.#open[best] as Offer)) best = i
    }
    return this.#open.splice(best, 1)[0]
  }
}

/** By the goals in their order; of equals the smaller number, so that it does not matter in which order they were found. */
function comesBefore(a: Offer, b: Offer): boolean {
  for (const [g, change] of a.changes.entries()) {
    const difference = change - (b.changes[g] as number)
    if (Math.abs(difference) > epsilon) return difference < 0
  }
  return a.slot < b.slot
}
