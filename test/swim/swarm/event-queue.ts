/** Something that happens at a point in virtual time. */
export interface QueuedEvent {
  readonly atMs: number
  /** Events of one instant run in the order in which they were queued. */
  readonly order: number
  run(): void
}

/** A heap of four children a node: flatter than a binary one, and faster for some ten thousand events. */
export class EventQueue {
  readonly #heap: QueuedEvent[] = []

  get next(): QueuedEvent | undefined {
    return this.#heap[0]
  }

  push(event: QueuedEvent): void {
    const heap = this.#heap
    let at = heap.push(event) - 1
    while (at > 0) {
      const parent = (at - 1) >> 2
      const above = heap[parent] as QueuedEvent
      if (!before(event, above)) break
      heap[at] = above
      at = parent
    }
    heap[at] = event
  }

  pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    const { length } = heap
    let at = 0
    for (;;) {
      const first = at * 4 + 1
      if (first >= length) break
      let least = first
      for (let child = first + 1; child < Math.min(first + 4, length); child++) {
        if (before(heap[child] as QueuedEvent, heap[least] as QueuedEvent)) least = child
      }
      if (!before(heap[least] as QueuedEvent, last)) break
      heap[at] = heap[least] as QueuedEvent
      at = least
    }
    heap[at] = last
  }
}

function before(a: QueuedEvent, b: QueuedEvent): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}
