import type { Random } from '../../core/random.ts'

/** How long a number is good for: some round trips, and shorter than a recorded packet is of use to anybody. */
const goodForMs = 10_000

/** Numbers that are remembered at once. */
const maximumOpen = 1_024

/** From this version of the protocol on members repeat the numbers that they are asked to repeat. */
export const proofProtocol = 4

/**
 * Numbers that others are asked to repeat, so that what they ask for is known to be asked for now. A packet that somebody recorded
 * and sends on, under a false address or to other members than it was for, repeats no number of ours: it is worth a short answer,
 * and never a view.
 */
export class Proofs {
  readonly #random: Random
  /** When each number was drawn, the oldest first. */
  readonly #open = new Map<number, number>()

  constructor(random: Random) {
    this.#random = random
  }

  /** A number to be repeated by whoever is sent it. */
  ask(nowMs: number): number {
    const number = this.#random.uint32()
    this.#open.delete(number)
    this.#open.set(number, nowMs)
    for (const [oldest, drawnMs] of this.#open) {
      if (this.#open.size <= maximumOpen && nowMs - drawnMs < goodForMs) break
      this.#open.delete(oldest)
    }
    return number
  }

  /** Whether a number is one of ours, and of late. */
  accepts(number: number, nowMs: number): boolean {
    const drawnMs = this.#open.get(number)
    return drawnMs !== undefined && nowMs - drawnMs < goodForMs
  }

  clone(random: Random): Proofs {
    const copy = new Proofs(random)
    for (const [number, drawnMs] of this.#open) copy.#open.set(number, drawnMs)
    return copy
  }
}
