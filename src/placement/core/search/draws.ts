import type { Random } from '../../../core/random.ts'

/** The quantiles of the exponential distribution: a logarithm takes as long as valuing a fifth of a change. */
const exponentials = Float64Array.from({ length: 2 ** 14 }, (_, i) => -Math.log((i + 0.5) / 2 ** 14))

/**
 * Quick draws for the search, which makes millions a second: sfc32 (Doty-Humphrey), seeded from the `Random` that comes
 * in. The same seed gives the same draws. @internal
 */
export class Draws {
  #a: number
  #b: number
  #c: number
  #count = 1

  constructor(random: Random) {
    this.#a = random.uint32() | 0
    this.#b = random.uint32() | 0
    this.#c = random.uint32() | 0
    for (let i = 0; i < 12; i++) this.#next()
  }

  /** A whole number in [0, bound), for bounds up to 2^32. */
  below(bound: number): number {
    return Math.floor((this.#next() >>> 0) * 2.3283064365386963e-10 * bound)
  }

  /** A number in (0, 1]. */
  unit(): number {
    return ((this.#next() >>> 0) + 1) * 2.3283064365386963e-10
  }

  /** A number from 0 as an exponential distribution with mean 1 has it, in steps that are fine where most of them are. */
  exponential(): number {
    return exponentials[this.#next() & (exponentials.length - 1)] as number
  }

  #next(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#count) | 0
    this.#count = (this.#count + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (this.#c << 21) | (this.#c >>> 11)
    this.#c = (this.#c + sum) | 0
    return sum
  }
}
