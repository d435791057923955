/**
 * Ids of the ranges that a node has a replica of, ascending, and behind them those that came since they were put in order.
 * Those that left are struck out only when they are more than those that are there, so that a change costs O(1): a reader
 * asks of each whether it is still there. @internal
 */
export class RangeList {
  #ids: Float64Array = new Float64Array(8)
  #length = 0
  /** As many of them are in order, each once. */
  #ordered = 0
  #gone = 0

  /** A range came, for the first time or again. */
  add(rangeId: number): void {
    if (this.#length === this.#ids.length) {
      const larger = new Float64Array(this.#length * 2)
      larger.set(this.#ids)
      this.#ids = larger
    }
    const inOrder = this.#ordered === this.#length
    const last = this.#length === 0 ? Number.NEGATIVE_INFINITY : (this.#ids[this.#length - 1] as number)
    this.#ids[this.#length++] = rangeId
    if (inOrder && rangeId > last) this.#ordered = this.#length
  }

  /** A range left. */
  leave(): void {
    this.#gone++
  }

  /** The ranges that are there, and perhaps some that left, each once, by ascending id. Only to be read, and at once. */
  candidates(): Float64Array {
    this.#order()
    return this.#ids.subarray(0, this.#length)
  }

  /** Keeps of what {@link RangeList.candidates} gave, and of what came since, only these: all others have left. */
  keep(there: Float64Array, seen: number): void {
    if (this.#gone <= 32 || this.#gone <= there.length) return
    const since = this.#ids.slice(seen, this.#length)
    this.#ids = new Float64Array(Math.max(8, there.length + since.length))
    this.#ids.set(there)
    this.#ids.set(since, there.length)
    this.#ordered = there.length
    this.#length = there.length + since.length
    this.#gone = 0
  }

  /** True when it is worth reading, merely to strike out those that left. */
  get stale(): boolean {
    return this.#gone > 1024 && this.#gone > this.#length / 2
  }

  /** Puts those that came lately in their places among those that are in order: one pass over all. */
  #order(): void {
    if (this.#ordered === this.#length) return
    const late = this.#ids.slice(this.#ordered, this.#length).sort()
    const merged = new Float64Array(this.#ids.length)
    let [kept, a, b] = [0, 0, 0]
    while (a < this.#ordered || b < late.length) {
      const first = a < this.#ordered ? (this.#ids[a] as number) : Number.POSITIVE_INFINITY
      const second = b < late.length ? (late[b] as number) : Number.POSITIVE_INFINITY
      const next = Math.min(first, second)
      if (first === next) a++
      else b++
      if (kept === 0 || merged[kept - 1] !== next) merged[kept++] = next
    }
    this.#ids = merged
    this.#length = kept
    this.#ordered = kept
  }
}
