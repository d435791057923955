/** Something that wants to be called at a time of its own choosing, which may move both ways. */
export interface Deadlined {
  /** Monotonic milliseconds; Infinity for never. */
  readonly nextDeadlineMs: number
}

interface Slot<T> {
  readonly atMs: number
  readonly item: T
}

/**
 * The deadlines of all groups of a host in one heap. A deadline that moves to later, as with every heartbeat, costs
 * nothing: the slot stays where it is, and is looked at again when its time comes.
 */
export class Deadlines<T extends Deadlined> {
  /** A binary heap by time. Holds slots that are out of date as well: an item's slot is the one at its time in `#at`. */
  readonly #heap: Slot<T>[] = []
  readonly #at = new Map<T, number>()

  /** When something may be due; Infinity when nothing is waited for. */
  get earliestMs(): number {
    return this.#heap[0]?.atMs ?? Number.POSITIVE_INFINITY
  }

  /** The items that have a deadline, or had one lately. */
  items(): Iterable<T> {
    return this.#at.keys()
  }

  /** The item's deadline may have changed. */
  update(item: T): void {
    const atMs = item.nextDeadlineMs
    if (atMs >= (this.#at.get(item) ?? Number.POSITIVE_INFINITY)) return
    this.#at.set(item, atMs)
    this.#push({ atMs, item })
  }

  remove(item: T): void {
    this.#at.delete(item)
  }

  /** Whether any item is due. Those whose deadlines have moved wait for the new ones. */
  isDue(nowMs: number): boolean {
    for (let first = this.#heap[0]; first !== undefined && first.atMs <= nowMs; first = this.#heap[0]) {
      const { atMs, item } = first
      const isPresent = this.#at.get(item) === atMs
      if (isPresent && item.nextDeadlineMs <= nowMs) return true
      this.#pop()
      if (!isPresent) continue
      this.#at.delete(item)
      this.update(item)
    }
    return false
  }

  /** The items that are due. They are no longer waited for until the next `update`. */
  takeDue(nowMs: number): T[] {
    const due: T[] = []
    while (this.earliestMs <= nowMs) {
      const { atMs, item } = this.#pop()
      if (this.#at.get(item) !== atMs) continue
      this.#at.delete(item)
      if (item.nextDeadlineMs <= nowMs) due.push(item)
      else this.update(item)
    }
    return due
  }

  #push(slot: Slot<T>): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(slot)
    while (at > 0) {
      const parent = (at - 1) >>> 1
      const above = heap[parent] as Slot<T>
      if (above.atMs <= slot.atMs) break
      heap[at] = above
      at = parent
    }
    heap[at] = slot
  }

  #pop(): Slot<T> {
    const heap = this.#heap
    const top = heap[0] as Slot<T>
    const last = heap.pop() as Slot<T>
    if (heap.length === 0) return top
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && (heap[child + 1] as Slot<T>).atMs < (heap[child] as Slot<T>).atMs)
        child++
      if ((heap[child] as Slot<T>).atMs >= last.atMs) break
      heap[at] = heap[child] as Slot<T>
      at = child
    }
    heap[at] = last
    return top
  }
}
