interface Mark {
  readonly index: number
  /** Bytes of everything that was added up to here. */
  readonly bytes: number
}

const maximumMarks = 512

/**
 * How many bytes the end of a log holds, from any index on, to within a part in some hundreds: the sizes of neighbours are
 * added up when there are many, so that the memory has a bound.
 */
export class LogBytes {
  /** By ascending index; the first one stands for all that is gone. */
  #marks: Mark[]
  #total = 0

  /** Counts what comes after `index`. */
  constructor(index = 0) {
    this.#marks = [{ index, bytes: 0 }]
  }

  /** Bytes that were ever added. */
  get total(): number {
    return this.#total
  }

  /** Bytes that are left. */
  get held(): number {
    return this.#total - (this.#marks[0] as Mark).bytes
  }

  /** Bytes were added up to and at `index`, which never goes back but for a repetition. */
  add(index: number, bytes: number): void {
    const last = this.#marks.at(-1) as Mark
    this.#total += bytes
    if (index <= last.index) this.#marks[this.#marks.length - 1] = { index: last.index, bytes: this.#total }
    else this.#marks.push({ index, bytes: this.#total })
    if (this.#marks.length > maximumMarks) this.#thin()
  }

  /** Everything up to `index` is gone. */
  forget(index: number): void {
    const marks = this.#marks
    let gone = 0
    while (gone + 1 < marks.length && (marks[gone + 1] as Mark).index <= index) gone++
    if (gone > 0) this.#marks = marks.slice(gone)
  }

  /** The first index, as far as is known, after which no more than `limit` bytes come. */
  firstWithin(limit: number): number {
    for (const { index, bytes } of this.#marks) if (this.#total - bytes <= limit) return index
    return (this.#marks.at(-1) as Mark).index
  }

  /** Every other one goes, but the first, which says where the rest begins, and the last, which says where it ends. */
  #thin(): void {
    const last = this.#marks.length - 1
    this.#marks = this.#marks.filter((_, i) => i % 2 === 0 || i === last)
  }
}
