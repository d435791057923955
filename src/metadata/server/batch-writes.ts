/** A command with its place among the answers. */
export interface Write {
  readonly place: number
  readonly sequence: number
  readonly data: Uint8Array
}

/** The writes of one batch. A client sends them by ascending sequence, as far as it does not repeat some of them. */
export class BatchWrites {
  readonly #writes: Write[] = []
  /** The sequences, once one came that does not ascend. */
  #sequences: Set<number> | undefined

  get size(): number {
    return this.#writes.length
  }

  /** False for a sequence that is there already. */
  add(write: Write): boolean {
    const { sequence } = write
    const last = this.#writes.at(-1)?.sequence ?? 0
    if (this.#sequences === undefined && sequence <= last) {
      this.#sequences = new Set(this.#writes.map((each) => each.sequence))
    }
    if (this.#sequences?.has(sequence) === true) return false
    this.#sequences?.add(sequence)
    this.#writes.push(write)
    return true
  }

  /** All of them, by their sequences. */
  ascending(): readonly Write[] {
    if (this.#sequences !== undefined) this.#writes.sort((a, b) => a.sequence - b.sequence)
    return this.#writes
  }
}
