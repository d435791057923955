interface Mark {
  readonly index: number
  /** Bytes of everything that was added up to here. */
  readonly bytes: number
}

const maximumMarks = 512
const noMarks: Mark[] = Object.freeze([]) as never

/**
 * How many bytes the end of a log holds, from any index on, to within a part in some hundreds: the sizes of neighbours are
 * added up when there are many, so that the memory has a bound. A log of which little is known takes no more than that.
 */
export class LogBytes {
  readonly #grain: number
  /** Stands for all that is gone. */
  #goneIndex: number
  #goneBytes = 0
  /** In between, by ascending index. */
  #marks: Mark[] = noMarks
  /** The end. */
  #lastIndex: number
  #total = 0

  /** Counts what comes after `index`; neighbours of less than `grain` bytes are added up at once. */
  constructor(index = 0, grain = 0) {
    this.#grain = grain
    this.#goneIndex = index
    this.#lastIndex = index
  }

  /** Bytes that were ever added. */
  get total(): number {
    return this.#total
  }

  /** Bytes that are left. */
  get held(): number {
    return this.#total - this.#goneBytes
  }

  /** Bytes were added up to and at `index`, which never goes back but for a repetition. */
  add(index: number, bytes: number): void {
    if (index > this.#lastIndex) {
      this.#markEnd()
      this.#lastIndex = index
    }
    this.#total += bytes
  }

  /** Everything up to `index` is gone. */
  forget(index: number): void {
    let gone: Mark = { index: this.#goneIndex, bytes: this.#goneBytes }
    let count = 0
    for (const mark of this.#marks) {
      if (mark.index > index) break
      gone = mark
      count++
    }
    if (this.#lastIndex <= index) gone = { index: this.#lastIndex, bytes: this.#total }
    this.#goneIndex = gone.index
    this.#goneBytes = gone.bytes
    if (count > 0) this.#marks = count === this.#marks.length ? noMarks : this.#marks.slice(count)
  }

  /** The first index, as far as is known, after which no more than `limit` bytes come. */
  firstWithin(limit: number): number {
    if (this.held <= limit) return this.#goneIndex
    for (const { index, bytes } of this.#marks) if (this.#total - bytes <= limit) return index
    return this.#lastIndex
  }

  /** What ends here so far may be told from what follows, if it is worth it. */
  #markEnd(): void {
    if (this.#lastIndex === this.#goneIndex) return
    if (this.#total - (this.#marks.at(-1)?.bytes ?? this.#goneBytes) < this.#grain) return
    const mark = { index: this.#lastIndex, bytes: this.#total }
    if (this.#marks.length === 0) this.#marks = [mark]
    else if (this.#marks.push(mark) === maximumMarks) this.#marks = this.#marks.filter((_, i) => i % 2 === 1)
  }
}
