import { concatBytes, equalBytes, prefixEnd } from 'keelson'
import type { LevelState, LevelStatePair, LevelStateReader } from 'keelson/storage/level'
import { entryKey, entryPrefix } from './index-maintenance.ts'
import { rowEnd, storedRow, tags } from './range-surgery.ts'
import { decodeRow, type IndexPlan, type Row } from './schema.ts'

/** A page of rows or entries. */
export interface Page<T> {
  readonly items: readonly T[]
  /** Where the next page starts; undefined at the end. */
  readonly resumeAt: Uint8Array | undefined
}

/** Reads of a range's rows and index entries, as applied here. */
export class RangeReads {
  readonly #state: LevelState

  constructor(state: LevelState) {
    this.#state = state
  }

  /** A key with about half of the bytes of the rows before it; undefined when there are too few rows. */
  async middleKey(totalBytes: number): Promise<Uint8Array | undefined> {
    const half = totalBytes / 2
    let bytes = 0
    let rows = 0
    for await (const [key, value] of this.#state.range({
      start: Uint8Array.of(tags.row),
      end: rowEnd,
    })) {
      if (bytes >= half && rows > 0) return key.slice(1)
      bytes += key.length - 1 + value.length
      rows++
    }
    return undefined
  }

  /** One row as applied here. */
  async row(key: Uint8Array): Promise<Row | undefined> {
    const bytes = await this.#state.get(storedRow(key))
    return bytes === undefined ? undefined : decodeRow(bytes)
  }

  /** Rows in key order. */
  async rows(resumeAt: Uint8Array | undefined, limit: number): Promise<Page<{ key: Uint8Array; row: Row }>> {
    const start = storedRow(resumeAt ?? new Uint8Array(0))
    const page = await readPage(this.#state, start, rowEnd, limit)
    return {
      items: page.items.map(([key, value]) => ({ key: key.slice(1), row: decodeRow(value) })),
      resumeAt: page.resumeAt?.slice(1),
    }
  }

  /** Entries of an index, without its prefix, with the keys of their rows. */
  async entries(
    indexId: number,
    resumeAt: Uint8Array | undefined,
    limit: number,
  ): Promise<Page<LevelStatePair>> {
    const prefix = entryPrefix(indexId)
    const start = resumeAt === undefined ? prefix : concatBytes([prefix, resumeAt])
    const page = await readPage(this.#state, start, prefixEnd(prefix), limit)
    return {
      items: page.items.map(([entry, key]) => [entry.slice(prefix.length), key]),
      resumeAt: page.resumeAt?.slice(prefix.length),
    }
  }

  /**
   * Compares rows with the entries of an index, a chunk at a time: first every row must have its entry, then every
   * entry its row. A chunk reads from one moment, so writes that go on do not disturb it.
   */
  async validate(
    index: Pick<IndexPlan, 'indexId' | 'columns'>,
    resumeAt: Uint8Array | undefined,
    limit: number,
  ): Promise<{ resumeAt: Uint8Array | undefined; rows: number; missing: number; orphans: number }> {
    const phase = resumeAt?.[0] ?? 0
    const inner = resumeAt !== undefined && resumeAt.length > 1 ? resumeAt.subarray(1) : undefined
    return this.#state.view(async (reader) => {
      if (phase === 0) {
        const page = await readPage(reader, inner ?? storedRow(new Uint8Array(0)), rowEnd, limit)
        const entries = await reader.getMany(
          page.items.map(([key, row]) => entryKey(index, decodeRow(row), key.subarray(1))),
        )
        const missing = entries.filter((entry) => entry === undefined).length
        const next = concatBytes(
          page.resumeAt === undefined ? [Uint8Array.of(1)] : [Uint8Array.of(0), page.resumeAt],
        )
        return { resumeAt: next, rows: page.items.length, missing, orphans: 0 }
      }
      const prefix = entryPrefix(index.indexId)
      const page = await readPage(reader, inner ?? prefix, prefixEnd(prefix), limit)
      const rows = await reader.getMany(page.items.map(([, key]) => storedRow(key)))
      const orphans = page.items.filter(([entry, key], i) => {
        const row = rows[i]
        return row === undefined || !equalBytes(entryKey(index, decodeRow(row), key), entry)
      }).length
      const next = page.resumeAt === undefined ? undefined : concatBytes([Uint8Array.of(1), page.resumeAt])
      return { resumeAt: next, rows: page.items.length, missing: 0, orphans }
    })
  }
}

async function readPage(
  reader: LevelStateReader,
  start: Uint8Array,
  end: Uint8Array | undefined,
  limit: number,
): Promise<Page<LevelStatePair>> {
  const items: LevelStatePair[] = []
  for await (const pair of reader.range({ start, ...(end === undefined ? {} : { end }) })) {
    if (items.length === limit) return { items, resumeAt: pair[0].slice() }
    items.push([pair[0].slice(), pair[1].slice()])
  }
  return { items, resumeAt: undefined }
}
