import type { Weighed } from './range-weights.ts'

/** How far the ranges of a full store were looked at, the heaviest first. @internal */
export interface StoreView {
  /** The last range that was looked at; undefined at the top. */
  last: Weighed | undefined
  /** The last range that the plan in the making looks at; undefined when it has seen the last one. */
  next: Weighed | undefined
  /** How many ranges that are. */
  looked: number
  /** Ranges that are to be looked at until it is known that nothing can be taken; undefined when something was. */
  unseen: number | undefined
}

/**
 * How far down the ranges of full stores plans have looked, goal by goal: where nothing can be taken of the heaviest, the next
 * plan goes on below them, and begins anew once it has seen all. It begins at the top, too, when a store was not full meanwhile and
 * when nodes changed. @internal
 */
export class StoreViews {
  readonly #views = new Map<number, Map<number, StoreView>>()
  #nodesChanged = -1

  /** What it knows is of other nodes when these have changed since. */
  asOf(nodesChanged: number): void {
    if (this.#nodesChanged !== nodesChanged) this.#views.clear()
    this.#nodesChanged = nodesChanged
  }

  /** Forgets the stores that a goal finds nothing to take from. */
  keep(goal: number, sources: readonly number[]): void {
    const views = this.#views.get(goal)
    if (views === undefined) return
    const full = new Set(sources)
    for (const store of views.keys()) if (!full.has(store)) views.delete(store)
  }

  of(goal: number, store: number): StoreView {
    let views = this.#views.get(goal)
    if (views === undefined) {
      views = new Map()
      this.#views.set(goal, views)
    }
    let view = views.get(store)
    if (view === undefined) {
      view = { last: undefined, next: undefined, looked: 0, unseen: undefined }
      views.set(store, view)
    }
    return view
  }

  clear(): void {
    this.#views.clear()
  }
}
