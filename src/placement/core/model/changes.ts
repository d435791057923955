import { finish, type Sliced } from '../../../core/sliced.ts'
import type { Page } from './page.ts'
import type { PlacementSnapshot, RangeReader } from './snapshot.ts'

/** Called with a range that is not the same in two snapshots, before and after; undefined where it is not. @internal */
export type ChangeVisitor = (before: RangeReader | undefined, after: RangeReader | undefined) => void

/**
 * Visits the ranges that are not the same in two snapshots of one fleet, by ascending id. What the snapshots share is
 * skipped, so it costs O(what changed between them). Nodes and moves are not looked at. @internal
 */
export function changesBetween(
  before: PlacementSnapshot,
  after: PlacementSnapshot,
  visit: ChangeVisitor,
): void {
  finish(comparing(before, after, visit, Number.POSITIVE_INFINITY))
}

/** The same in slices of so many pages, or rows of one that has changed. @internal */
export function* comparing(
  before: PlacementSnapshot,
  after: PlacementSnapshot,
  visit: ChangeVisitor,
  together: number,
): Sliced<void> {
  const [a, b] = [new PageCursor(before), new PageCursor(after)]
  let compared = 0
  while (a.page !== undefined || b.page !== undefined) {
    if (++compared % together === 0) yield
    if (a.row === 0 && b.row === 0) {
      if (a.startsChunk && b.startsChunk && a.chunk === b.chunk) {
        a.skipChunk()
        b.skipChunk()
        continue
      }
      if (a.page === b.page) {
        a.skipPage()
        b.skipPage()
        continue
      }
    }
    const [idA, idB] = [a.rangeId, b.rangeId]
    if (idA < idB) visit(a.read(), undefined)
    else if (idB < idA) visit(undefined, b.read())
    else if (!sameRange(a, b)) visit(a.read(), b.read())
    if (idA <= idB) a.next()
    if (idB <= idA) b.next()
  }
}

class PageCursor {
  readonly snapshot: PlacementSnapshot
  readonly #reader: RangeReader
  page: Page | undefined
  row = 0
  #chunk = 0
  #page = 0

  constructor(snapshot: PlacementSnapshot) {
    this.snapshot = snapshot
    this.#reader = snapshot.reader()
    this.page = snapshot.chunks[0]?.[0]
  }

  get chunk(): readonly Page[] | undefined {
    return this.snapshot.chunks[this.#chunk]
  }

  get startsChunk(): boolean {
    return this.#page === 0
  }

  get rangeId(): number {
    return this.page === undefined ? Number.POSITIVE_INFINITY : (this.page.rangeIds[this.row] as number)
  }

  read(): RangeReader {
    return this.#reader.at(this.page as Page, this.row)
  }

  next(): void {
    this.row++
    if (this.row === this.page?.count) this.skipPage()
  }

  skipPage(): void {
    this.row = 0
    this.#page++
    if (this.#page === this.chunk?.length) return this.skipChunk()
    this.page = this.chunk?.[this.#page]
  }

  skipChunk(): void {
    this.row = 0
    this.#page = 0
    this.#chunk++
    this.page = this.chunk?.[0]
  }
}

function sameRange(a: PageCursor, b: PageCursor): boolean {
  const [from, to] = [a.page as Page, b.page as Page]
  const [first, second] = [from.first[a.row] as number, to.first[b.row] as number]
  const count = (from.first[a.row + 1] as number) - first
  if (
    (to.first[b.row + 1] as number) - second !== count ||
    from.generations[a.row] !== to.generations[b.row] ||
    from.sequences[a.row] !== to.sequences[b.row] ||
    from.tableIds[a.row] !== to.tableIds[b.row] ||
    from.factors[a.row] !== to.factors[b.row] ||
    from.holds[a.row] !== to.holds[b.row]
  )
    return false
  for (let i = 0; i < count; i++) {
    const life = from.lives[first + i] as number
    if (from.replicaIds[first + i] !== to.replicaIds[second + i] || life !== to.lives[second + i])
      return false
    if (from.roles[first + i] !== to.roles[second + i]) return false
    // The number may have been given to another life since.
    if (a.snapshot.table.lives[life] !== b.snapshot.table.lives[life]) return false
  }
  const resources = Math.max(from.resources, to.resources)
  for (let resource = 0; resource < resources; resource++) {
    if (from.loadOf(a.row, resource) !== to.loadOf(b.row, resource)) return false
    if (from.leaderLoadOf(a.row, resource) !== to.leaderLoadOf(b.row, resource)) return false
  }
  return true
}
