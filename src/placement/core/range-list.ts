/**
 * Ids of the ranges that a node has a replica of, in no order. Those that left are struck out only when they are more
 * than those that are there, so that a change costs O(1): a reader asks of each whether it is still there. @internal
 */
export class RangeList {
  #ids: Float64Array = new Float64Array(8)
  #length = 0
  #gone = 0

  /** A range came, for the first time or again. */
  add(rangeId: number): void {
    if (this.#length === this.#ids.length) {
      const larger = new Float64Array(this.#length * 2)
      larger.set(this.#ids)
      this.#ids = larger
    }
    this.#ids[this.#length++] = rangeId
  }

  /** A range left. */
  leave(): void {
    this.#gone++
  }

  /** The ranges that are there, and perhaps some that left, each once, by ascending id. */
  candidates(): Float64Array {
    const ids = this.#ids.slice(0, this.#length).sort()
    let kept = 0
    for (let i = 0; i < ids.length; i++) {
      const rangeId = ids[i] as number
      if (kept === 0 || ids[kept - 1] !== rangeId) ids[kept++] = rangeId
    }
    return ids.subarray(0, kept)
  }

  /** The ranges that are there by `isThere`, each once, by ascending id. */
  read(isThere: (rangeId: number) => boolean): Float64Array {
    const ids = this.candidates()
    let kept = 0
    for (const rangeId of ids) if (isThere(rangeId)) ids[kept++] = rangeId
    if (this.#gone > 32 && this.#gone > kept) {
      this.#ids = ids.slice(0, Math.max(8, kept))
      this.#length = kept
      this.#gone = 0
    }
    return ids.subarray(0, kept)
  }

  /** True when it is worth reading, merely to strike out those that left. */
  get stale(): boolean {
    return this.#gone > 1024 && this.#gone > this.#length / 2
  }
}
