import { StateHash } from '../../../src/simulation/state-hash.ts'
import { type Renaming, render, type Shape } from './shape.ts'

/** Words of a hash. */
const words = 4

/**
 * Numbers things by their shape, from 1, so that a state is a few numbers and each thing is kept, and looked at, once.
 * Keeps for each the hash of its text under every renaming.
 */
export class Catalog<T> {
  readonly #renamings: readonly Renaming[]
  readonly #byHash = new Map<string, number>()
  readonly #things: (T | undefined)[] = [undefined]
  #hashes = new Uint32Array(1 << 12)
  readonly #hash = new StateHash()
  readonly #digest = new Uint32Array(words)

  constructor(renamings: readonly Renaming[]) {
    this.#renamings = renamings
  }

  get size(): number {
    return this.#things.length - 1
  }

  /** The number of the thing with this shape; `make` makes it when it is new. */
  add(shape: Shape, make: () => T): number {
    const key = this.#key(shape)
    const known = this.#byHash.get(key)
    if (known !== undefined) return known
    const number = this.#things.length
    this.#things.push(make())
    this.#byHash.set(key, number)
    this.#keepHashes(number, shape)
    return number
  }

  get(number: number): T {
    return this.#things[number] as T
  }

  /** Adds the hash of a thing under a renaming, word by word. The sum of many is the hash of their multiset. */
  addHash(sums: Uint32Array, number: number, renaming: number): void {
    const hashes = this.#hashes
    const at = (number * this.#renamings.length + renaming) * words
    sums[0] = (sums[0] as number) + (hashes[at] as number)
    sums[1] = (sums[1] as number) + (hashes[at + 1] as number)
    sums[2] = (sums[2] as number) + (hashes[at + 2] as number)
    sums[3] = (sums[3] as number) + (hashes[at + 3] as number)
  }

  #key(shape: Shape): string {
    this.#hash
      .reset()
      .text(render(shape, (id) => id))
      .digest(this.#digest)
    let key = ''
    for (const word of this.#digest) key += String.fromCharCode(word & 0xffff, word >>> 16)
    return key
  }

  #keepHashes(number: number, shape: Shape): void {
    const stride = this.#renamings.length * words
    if ((number + 1) * stride > this.#hashes.length) {
      const larger = new Uint32Array(Math.max(this.#hashes.length * 2, (number + 1) * stride))
      larger.set(this.#hashes)
      this.#hashes = larger
    }
    for (const [i, rename] of this.#renamings.entries()) {
      this.#hash
        .reset()
        .text(render(shape, rename))
        .digest(this.#hashes, number * stride + i * words)
    }
  }
}
