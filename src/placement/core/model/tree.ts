import { Page, pageRanges } from './page.ts'

const chunkPages = 64

/** Pages side by side, themselves shared with snapshots. */
interface Chunk {
  shared: boolean
  readonly pages: Page[]
}

/** Where a range is, or would be. @internal */
export interface Place {
  chunk: number
  page: number
  row: number
}

/**
 * The pages of a fleet by ascending range id, in two levels, so that a snapshot copies neither of them and a change
 * copies one page and one chunk at most. @internal
 */
export class PageTree {
  #chunks: Chunk[] = []
  #mine: (Page | Chunk)[] = []
  ranges = 0
  replicas = 0

  /** The pages as they are now; what is written later goes to copies. O(what was written since the last time). */
  share(): readonly (readonly Page[])[] {
    for (const each of this.#mine) each.shared = true
    this.#mine = []
    return this.#chunks.map(({ pages }) => pages)
  }

  /** The place of a range, or the one where it belongs. */
  find(rangeId: number, place: Place): boolean {
    const chunks = this.#chunks
    place.chunk = lastAtMost(chunks, (chunk) => firstId(chunk.pages[0] as Page), rangeId)
    const pages = chunks[place.chunk]?.pages
    if (pages === undefined) return false
    place.page = lastAtMost(pages, firstId, rangeId)
    const page = pages[place.page] as Page
    place.row = page.rowOf(rangeId)
    return page.rangeIds[place.row] === rangeId && place.row < page.count
  }

  pageAt(place: Place): Page {
    return (this.#chunks[place.chunk] as Chunk).pages[place.page] as Page
  }

  /** The page of a place, to be written. */
  own(place: Place): Page {
    const page = this.pageAt(place)
    if (!page.shared) return page
    const copy = page.copy()
    this.#mine.push(copy)
    this.#ownChunk(place.chunk).pages[place.page] = copy
    return copy
  }

  /** A page with room for one row more at `place`, to be written; `place` follows. */
  room(place: Place, resources: number): Page {
    if (this.#chunks.length === 0) this.#insertChunk(0, [this.#newPage(resources)])
    const page = this.pageAt(place)
    if (page.count < pageRanges) return this.own(place)
    const pages = this.#ownChunk(place.chunk).pages
    const next = this.#newPage(page.resources)
    // Ranges that come by ascending id fill their pages; others split them.
    const half = place.row === page.count ? page.count : pageRanges / 2
    if (half < page.count) {
      const own = this.own(place)
      next.append(own, half, own.count)
      own.truncate(half)
    }
    pages.splice(place.page + 1, 0, next)
    if (place.row >= half) {
      place.page++
      place.row -= half
    }
    if (pages.length > chunkPages) this.#splitChunk(place)
    return this.pageAt(place)
  }

  /** Takes a row out. */
  remove(place: Place): void {
    const page = this.own(place)
    page.remove(place.row)
    const chunk = this.#ownChunk(place.chunk)
    const next = chunk.pages[place.page + 1]
    if (page.count === 0) chunk.pages.splice(place.page, 1)
    else if (next !== undefined && page.count + next.count <= pageRanges / 2) {
      page.append(next, 0, next.count)
      chunk.pages.splice(place.page + 1, 1)
    }
    if (chunk.pages.length === 0) this.#chunks.splice(place.chunk, 1)
  }

  #newPage(resources: number): Page {
    const page = new Page(resources)
    this.#mine.push(page)
    return page
  }

  #ownChunk(at: number): Chunk {
    const chunk = this.#chunks[at] as Chunk
    if (!chunk.shared) return chunk
    const copy = { shared: false, pages: chunk.pages.slice() }
    this.#mine.push(copy)
    this.#chunks[at] = copy
    return copy
  }

  #insertChunk(at: number, pages: Page[]): void {
    const chunk = { shared: false, pages }
    this.#mine.push(chunk)
    this.#chunks.splice(at, 0, chunk)
  }

  #splitChunk(place: Place): void {
    const { pages } = this.#ownChunk(place.chunk)
    const half = place.page === pages.length - 1 ? pages.length - 1 : pages.length >>> 1
    this.#insertChunk(place.chunk + 1, pages.splice(half))
    if (place.page < half) return
    place.chunk++
    place.page -= half
  }
}

function firstId(page: Page): number {
  return page.rangeIds[0] as number
}

/** Index of the last item whose key is at most `key`, or 0. */
export function lastAtMost<T>(items: readonly T[], keyOf: (item: T) => number, key: number): number {
  let low = 0
  let high = items.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (keyOf(items[middle] as T) <= key) low = middle + 1
    else high = middle
  }
  return Math.max(0, low - 1)
}
