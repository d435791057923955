import type { Random } from '../../core/random.ts'

/**
 * The order in which members are probed, as slots of the member table: shuffled for each round, so that each comes once
 * a round and a crash is noticed within two rounds (SWIM §4.3).
 */
export class ProbeOrder {
  #slots = new Uint32Array(16)
  #length = 0
  #next = 0

  /** The next slot of the round; undefined at its end. */
  next(): number | undefined {
    return this.#next < this.#length ? this.#slots[this.#next++] : undefined
  }

  /** Begins a round with these slots. */
  begin(slots: Iterable<number>, random: Random): void {
    this.#length = 0
    this.#next = 0
    for (const slot of slots) this.include(slot, random)
  }

  /** A new member takes a random place in the rest of the round, so that it waits no longer than the others. */
  include(slot: number, random: Random): void {
    if (this.#length === this.#slots.length) {
      const grown = new Uint32Array(this.#length * 2)
      grown.set(this.#slots)
      this.#slots = grown
    }
    // The inside-out shuffle: every order of the rest stays equally likely.
    const at = this.#next + random.integer(this.#length - this.#next + 1)
    this.#slots[this.#length++] = this.#slots[at] as number
    this.#slots[at] = slot
  }

  clone(): ProbeOrder {
    const copy = new ProbeOrder()
    copy.#slots = this.#slots.slice()
    copy.#length = this.#length
    copy.#next = this.#next
    return copy
  }
}
