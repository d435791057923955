import type { CommandOutput } from '../../interfaces/state-machine.ts'
import { bytesOf } from './outcomes.ts'

/** The results of one session in one batch, as one record of the bookkeeping. */
export interface ResultBlock {
  readonly key: string
  /** Its sequences, ascending: when the last is forgotten, the block goes. */
  readonly sequences: readonly number[]
  /** Where in the record each of the results ends. */
  readonly ends: readonly number[]
  readonly value: Uint8Array
}

/** A result, or the block that it is stored in; undefined while the command is being applied. */
type Place = CommandOutput | ResultBlock | undefined

/** Places that are given up before the arrays are moved up. */
const maximumGone = 4096

/**
 * The commands of one client session that are remembered, by ascending sequence, with their results. Clients count upwards
 * and acknowledge from below, so it is a queue in columns; whatever comes in another order is put where it belongs.
 */
export class SessionResults {
  /** From `#head` on. */
  readonly #sequences: number[] = []
  readonly #places: Place[] = []
  /** Lengths of the results; 0 without one. */
  readonly #sizes: number[] = []
  #head = 0

  /** Commands that are remembered. */
  get count(): number {
    return this.#sequences.length - this.#head
  }

  /** The lowest sequence; there is one. */
  get first(): number {
    return this.#sequences[this.#head] as number
  }

  has(sequence: number): boolean {
    return this.#indexOf(sequence) >= 0
  }

  /** The result of a command; undefined when there is none yet. */
  get(sequence: number): Uint8Array | undefined {
    const at = this.#indexOf(sequence)
    const place = this.#places[at]
    if (place === undefined) return undefined
    if (!isBlock(place)) return bytesOf(place)
    const end = place.ends[indexIn(place.sequences, sequence, 0)] as number
    return place.value.subarray(end - (this.#sizes[at] as number), end)
  }

  /** Makes room for a command whose result is not known yet. @returns bytes of a result that was there before */
  admit(sequence: number): number {
    const at = this.#indexOf(sequence)
    if (at < 0) {
      this.#insert(sequence)
      return 0
    }
    const size = this.#sizes[at] as number
    this.#places[at] = undefined
    this.#sizes[at] = 0
    return size
  }

  /** Stores a result. @returns false unless the command was admitted and is still remembered */
  store(sequence: number, result: CommandOutput): boolean {
    const at = this.#indexOf(sequence)
    if (at < 0) return false
    this.#places[at] = result
    this.#sizes[at] = result.length
    return true
  }

  /** The results of a block are there from now on. */
  move(block: ResultBlock): void {
    for (const sequence of block.sequences) this.#places[this.#indexOf(sequence)] = block
  }

  /** Forgets the lowest sequence. @returns bytes of its result */
  dropFirst(): number {
    const size = this.#sizes[this.#head] as number
    this.#places[this.#head] = undefined
    this.#head++
    if (this.#head < this.#sequences.length && this.#head < maximumGone) return size
    this.#sequences.splice(0, this.#head)
    this.#places.splice(0, this.#head)
    this.#sizes.splice(0, this.#head)
    this.#head = 0
    return size
  }

  #indexOf(sequence: number): number {
    const sequences = this.#sequences
    const last = sequences.length - 1
    if (last < this.#head || (sequences[last] as number) < sequence) return -1
    // Nearly always there is no gap.
    const guess = last - ((sequences[last] as number) - sequence)
    if (guess >= this.#head && sequences[guess] === sequence) return guess
    const at = indexIn(sequences, sequence, this.#head)
    return sequences[at] === sequence ? at : -1
  }

  #insert(sequence: number): void {
    const at = indexIn(this.#sequences, sequence, this.#head)
    if (at === this.#sequences.length) {
      this.#sequences.push(sequence)
      this.#places.push(undefined)
      this.#sizes.push(0)
      return
    }
    this.#sequences.splice(at, 0, sequence)
    this.#places.splice(at, 0, undefined)
    this.#sizes.splice(at, 0, 0)
  }
}

function isBlock(place: CommandOutput | ResultBlock): place is ResultBlock {
  return 'ends' in place
}

/** The first index, from `from` on, of a sequence that is not lower. */
export function indexIn(sequences: readonly number[], sequence: number, from: number): number {
  let low = from
  let high = sequences.length
  if (high === low || (sequences[high - 1] as number) < sequence) return high
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((sequences[middle] as number) < sequence) low = middle + 1
    else high = middle
  }
  return low
}
