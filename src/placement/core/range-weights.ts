import type { Sliced } from '../../core/sliced.ts'
import type { RangeId } from '../../model/ids.ts'
import { drawOf } from './improvements.ts'

/** Ranges that are looked at before others may go on. */
const lookedAtTogether = 4096

/** A range and how much it matters to a store. @internal */
export interface Weighed {
  readonly rangeId: RangeId
  readonly weight: number
}

/** The ranges of a store with how much each matters there, and a draw for each: in columns, since a store may have many. @internal */
export class RangeWeights {
  readonly #ids: Float64Array
  readonly #weights: Float64Array
  readonly #draws: Float64Array
  count = 0

  constructor(most: number) {
    this.#ids = new Float64Array(most)
    this.#weights = new Float64Array(most)
    this.#draws = new Float64Array(most)
  }

  /** Ranges of which only the draw is asked. */
  static *drawing(rangeIds: Float64Array, seed: number): Sliced<RangeWeights> {
    const all = new RangeWeights(rangeIds.length)
    for (const rangeId of rangeIds) {
      all.add(rangeId, 0, drawOf(rangeId, seed))
      if (all.count % lookedAtTogether === 0) yield
    }
    return all
  }

  add(rangeId: RangeId, weight: number, draw: number): void {
    this.#ids[this.count] = rangeId
    this.#weights[this.count] = weight
    this.#draws[this.count++] = draw
  }

  /** The heaviest, the heaviest first; below one of them if it is given. */
  *heaviest(
    most: number,
    isOpen?: (rangeId: RangeId) => boolean,
    below?: Weighed,
  ): Sliced<readonly Weighed[]> {
    const first = yield* this.#first(most, this.#weights, -1, isOpen, below)
    return first.map((i) => ({ rangeId: this.#ids[i] as number, weight: this.#weights[i] as number }))
  }

  /** Those that are drawn first. */
  *drawn(most: number, isOpen?: (rangeId: RangeId) => boolean): Sliced<readonly RangeId[]> {
    const first = yield* this.#first(most, this.#draws, 1, isOpen)
    return first.map((i) => this.#ids[i] as number)
  }

  /** The first by a column, equals by id: what sorting all would begin with, for a look at each. */
  *#first(
    most: number,
    column: Float64Array,
    sign: number,
    isOpen?: (rangeId: RangeId) => boolean,
    below?: Weighed,
  ): Sliced<readonly number[]> {
    const first: number[] = []
    const before = (a: number, b: number): boolean => {
      const difference = sign * ((column[a] as number) - (column[b] as number))
      return difference === 0 ? (this.#ids[a] as number) < (this.#ids[b] as number) : difference < 0
    }
    for (let i = 0; i < this.count; i++) {
      if ((i + 1) % lookedAtTogether === 0) yield
      if (below !== undefined && !this.#isBelow(i, below)) continue
      if (first.length === most && !before(i, first[most - 1] as number)) continue
      if (isOpen?.(this.#ids[i] as number) === false) continue
      let [low, high] = [0, first.length]
      while (low < high) {
        const middle = (low + high) >>> 1
        if (before(i, first[middle] as number)) high = middle
        else low = middle + 1
      }
      if (first.length === most) first.pop()
      first.splice(low, 0, i)
    }
    return first
  }

  /** Whether a range comes after another by weight, equals by id. */
  #isBelow(i: number, { weight, rangeId }: Weighed): boolean {
    const difference = weight - (this.#weights[i] as number)
    return difference === 0 ? (this.#ids[i] as number) > rangeId : difference > 0
  }
}
