/** So many places at the front are given up at a time. */
const stepOfCompaction = 1024

/**
 * Items in the order in which they came. They may leave in any order, but mostly leave in about that one.
 *
 * Not a Set or a Map, of which each rehash makes a new table: once one of the tables has grown old it keeps the later ones alive,
 * one by the other, with everything that was in them, until the old generation is collected. With a thousand calls under way that
 * made nearly every call old, and collecting garbage took a third of the processor time of a client.
 */
export class Row<T extends object> {
  #items: (T | undefined)[] = []
  /** Place of the first of `#items`. */
  #base = 0
  /** Before it there are none. */
  #head = 0
  #size = 0

  get size(): number {
    return this.#size
  }

  get first(): T | undefined {
    return this.#items[this.#head]
  }

  /** @returns its place, never given to another one */
  add(item: T): number {
    this.#size++
    return this.#base + this.#items.push(item) - 1
  }

  /** What is not there any more is ignored. */
  remove(place: number): void {
    const at = place - this.#base
    if (this.#items[at] === undefined) return
    this.#items[at] = undefined
    this.#size--
    while (this.#head < this.#items.length && this.#items[this.#head] === undefined) this.#head++
    if (this.#size === 0) this.clear()
    else if (this.#head >= stepOfCompaction && this.#head * 2 >= this.#items.length) {
      this.#items.splice(0, this.#head)
      this.#base += this.#head
      this.#head = 0
    }
  }

  clear(): void {
    this.#base += this.#items.length
    this.#items = []
    this.#head = 0
    this.#size = 0
  }
}
