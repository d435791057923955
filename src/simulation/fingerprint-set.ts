import { invariant } from '../core/invariant.ts'

/** The least number of slots; a power of two. */
const initialSlots = 1 << 12

/**
 * A set of hashes of 64 or 128 bits, in one typed array with open addressing: 8 or 16 bytes a slot, of which at most three
 * quarters are taken. It holds hundreds of millions where a `Set` of strings ends at a few.
 */
export class FingerprintSet {
  readonly #words: 2 | 4
  #slots = initialSlots
  #table: Uint32Array
  #size = 0

  constructor(bits: 64 | 128) {
    this.#words = bits === 64 ? 2 : 4
    this.#table = new Uint32Array(this.#slots * this.#words)
  }

  /** How many were added. */
  get size(): number {
    return this.#size
  }

  /** Bytes of the table. */
  get bytes(): number {
    return this.#table.byteLength
  }

  /** Adds the first words of a hash of 128 bits. Returns whether they are new. */
  add(hash: Uint32Array): boolean {
    invariant(hash.length >= this.#words, 'a fingerprint has all its words')
    const words = this.#words
    const table = this.#table
    // All zero marks a free slot.
    const first = hash[0] === 0 && hash[1] === 0 ? 1 : (hash[0] as number)
    const mask = this.#slots - 1
    let slot = (hash[1] as number) & mask
    for (;;) {
      const at = slot * words
      if (table[at] === 0 && table[at + 1] === 0) {
        this.#write(at, first, hash)
        return true
      }
      if (table[at] === first && table[at + 1] === hash[1] && this.#restEquals(at, hash)) return false
      slot = (slot + 1) & mask
    }
  }

  #restEquals(at: number, hash: Uint32Array): boolean {
    return this.#words === 2 || (this.#table[at + 2] === hash[2] && this.#table[at + 3] === hash[3])
  }

  #write(at: number, first: number, hash: Uint32Array): void {
    this.#table[at] = first
    for (let i = 1; i < this.#words; i++) this.#table[at + i] = hash[i] as number
    this.#size++
    if (this.#size * 4 > this.#slots * 3) this.#grow()
  }

  #grow(): void {
    const old = this.#table
    const words = this.#words
    this.#slots *= 2
    this.#table = new Uint32Array(this.#slots * words)
    const mask = this.#slots - 1
    for (let from = 0; from < old.length; from += words) {
      if (old[from] === 0 && old[from + 1] === 0) continue
      let slot = (old[from + 1] as number) & mask
      while (this.#table[slot * words] !== 0 || this.#table[slot * words + 1] !== 0) slot = (slot + 1) & mask
      for (let i = 0; i < words; i++) this.#table[slot * words + i] = old[from + i] as number
    }
  }
}
