import type { Weighed } from './range-weights.ts'

/** Full stores that one plan looks at, for each goal and rule: {@link StoreViews.inTurn}. */
export const mostSources = 128

/** How far the ranges of a full store were looked at, the heaviest first. @internal */
export interface StoreView {
  /** The last range that was looked at; undefined at the top. */
  last: Weighed | undefined
  /** The last range that the plan in the making looks at; undefined when it has seen the last one. */
  next: Weighed | undefined
  /** How many ranges that are. */
  looked: number
  /** Ranges that are to be looked at until it is known that nothing can be taken; undefined when something was, or none was seen. */
  unseen: number | undefined
  /** The last plan, by its number, that could take nothing of the store; undefined when something was taken since, or none tried. */
  inVain: number | undefined
}

/** The names of the stores that views are of. */
interface StoreTable {
  readonly stores: { readonly length: number }
  nameOf(store: number): string
}

/**
 * How far down the ranges of full stores plans have looked, purpose by purpose (a goal, a rule, overload): where nothing can be
 * taken of the heaviest, the next plan goes on below them, and begins anew once it has seen all. It begins at the top, too, when a
 * store was not full meanwhile and when nodes changed. Of more full stores than one plan looks at those of which nothing could be
 * taken have their turn behind the others, one after the other, whatever becomes of nodes meanwhile. @internal
 */
export class StoreViews {
  #views = new Map<number, Map<number, StoreView>>()
  #table: StoreTable | undefined
  #nodesChanged = -1
  #plan = 0

  /** Begins a plan. What is known of ranges is of other nodes when these have changed since. */
  asOf(nodesChanged: number, table: StoreTable): void {
    this.#plan++
    if (this.#nodesChanged !== nodesChanged) this.#moveTo(table)
    this.#nodesChanged = nodesChanged
    this.#table = table
  }

  /**
   * Full stores in the order in which they have their turn: as they come when one plan looks at them all. Otherwise first those that
   * gave something or were never tried, as they come, then those of which ranges are left to be seen, then the others, each by when
   * they were tried. Forgets the stores that are not full.
   */
  inTurn(purpose: number, full: readonly number[]): number[] {
    const views = this.#views.get(purpose)
    if (views === undefined) return [...full]
    const there = new Set(full)
    for (const store of views.keys()) if (!there.has(store)) views.delete(store)
    if (full.length <= mostSources) return [...full]
    const triedAt = (store: number): number => views.get(store)?.inVain ?? -1
    const isSeen = (store: number): number => (views.get(store)?.unseen === 0 ? 1 : 0)
    return [...full].sort((a, b) => isSeen(a) - isSeen(b) || triedAt(a) - triedAt(b))
  }

  of(purpose: number, store: number): StoreView {
    let views = this.#views.get(purpose)
    if (views === undefined) {
      views = new Map()
      this.#views.set(purpose, views)
    }
    let view = views.get(store)
    if (view === undefined) {
      view = { last: undefined, next: undefined, looked: 0, unseen: undefined, inVain: undefined }
      views.set(store, view)
    }
    return view
  }

  /** Something was taken of a store. */
  gave(purpose: number, store: number): void {
    const view = this.of(purpose, store)
    view.unseen = undefined
    view.inVain = undefined
  }

  /** Something could be taken of a store if there were room, or nothing can though all was seen that is to be. */
  waits(purpose: number, store: number): void {
    const view = this.of(purpose, store)
    view.unseen = 0
    view.inVain = this.#plan
  }

  /** Nothing could be taken of those ranges of a store that were looked at: the next ones have their turn. Whether there are any. */
  goDown(purpose: number, store: number): boolean {
    const view = this.of(purpose, store)
    view.last = view.next
    view.unseen = Math.max(0, (view.unseen ?? 0) - view.looked)
    view.inVain = this.#plan
    return view.unseen > 0
  }

  clear(): void {
    this.#views.clear()
    this.#table = undefined
  }

  /** Stores may have other numbers now. What could not be taken of them may be taken now, but whose turn it is stays. */
  #moveTo(table: StoreTable): void {
    const before = this.#table
    const tried = before === undefined ? new Map<number, Map<number, StoreView>>() : this.#views
    this.#views = new Map()
    if (before === undefined || tried.size === 0) return
    const now = new Map(
      Array.from({ length: table.stores.length }, (_, store) => [table.nameOf(store), store]),
    )
    for (const [purpose, views] of tried) {
      for (const [store, { inVain }] of views) {
        const at = now.get(before.nameOf(store))
        if (at !== undefined && inVain !== undefined) this.of(purpose, at).inVain = inVain
      }
    }
  }
}
