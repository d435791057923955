/** Something and when it is due. */
export interface Due<T> {
  readonly atMs: number
  readonly item: T
}

/** What is due first comes first: a binary heap. */
export class DueQueue<T> {
  readonly #heap: Due<T>[] = []

  get size(): number {
    return this.#heap.length
  }

  get first(): Due<T> | undefined {
    return this.#heap[0]
  }

  push(atMs: number, item: T): void {
    const heap = this.#heap
    const due = { atMs, item }
    let at = heap.push(due) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      const above = heap[parent] as Due<T>
      if (above.atMs <= atMs) break
      heap[at] = above
      at = parent
    }
    heap[at] = due
  }

  /** Takes the first one away. */
  pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let at = 0
    for (;;) {
      let child = at * 2 + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && (heap[child + 1] as Due<T>).atMs < (heap[child] as Due<T>).atMs) child++
      if ((heap[child] as Due<T>).atMs >= last.atMs) break
      heap[at] = heap[child] as Due<T>
      at = child
    }
    heap[at] = last
  }

  clear(): void {
    this.#heap.length = 0
  }
}
