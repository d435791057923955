import type { AbstractSnapshot } from 'abstract-level'

// What is used of abstract-level, by structure: its own types depend on the implementation in every method, so that no
// database would pass for another.

/** How keys and values pass through a database: as byte arrays. */
export interface ByteEncodings {
  readonly keyEncoding: 'view'
  readonly valueEncoding: 'view'
}

/** {@link ByteEncodings} as a value. */
export const byteEncodings: ByteEncodings = Object.freeze({ keyEncoding: 'view', valueEncoding: 'view' })

/** How a synced write is made: `sync` belongs to the implementations on a disk, others ignore it. */
export const synced: ByteEncodings & { readonly sync: true } = Object.freeze({ ...byteEncodings, sync: true })

/** An explicit snapshot of a database. */
export type LevelSnapshot = AbstractSnapshot

/** What a read sees: now, or a snapshot. */
export interface LevelReadOptions extends ByteEncodings {
  readonly snapshot?: LevelSnapshot
}

/** A part of a database, in the order of its keys. */
export interface LevelRange {
  readonly gt?: Uint8Array
  readonly gte?: Uint8Array
  readonly lt?: Uint8Array
  readonly lte?: Uint8Array
  readonly reverse?: boolean
  readonly limit?: number
}

/** A chained batch of a {@link LevelDatabase}. */
export interface LevelBatch {
  readonly length: number
  put(key: Uint8Array, value: Uint8Array, options: ByteEncodings): unknown
  del(key: Uint8Array, options: { readonly keyEncoding: 'view' }): unknown
  write(options?: object): Promise<void>
  close(): Promise<void>
}

/** An iterator of a {@link LevelDatabase}. */
export interface LevelIterator extends AsyncIterable<[Uint8Array, Uint8Array]> {
  nextv(size: number): Promise<[Uint8Array, Uint8Array][]>
  all(): Promise<[Uint8Array, Uint8Array][]>
  close(): Promise<void>
}

/** An ordered database with the interface of abstract-level 3: classic-level, MemoryLevel, a sublevel of either. */
export interface LevelDatabase {
  open(): Promise<void>
  close(): Promise<void>
  get(key: Uint8Array, options: LevelReadOptions): Promise<Uint8Array | undefined>
  getMany(keys: Uint8Array[], options: LevelReadOptions): Promise<(Uint8Array | undefined)[]>
  put(key: Uint8Array, value: Uint8Array, options: ByteEncodings): Promise<void>
  batch(): LevelBatch
  clear(options: LevelRange & { readonly keyEncoding: 'view' }): Promise<void>
  iterator(options: LevelRange & LevelReadOptions): LevelIterator
}

/** A {@link LevelDatabase} with explicit snapshots. */
export interface ByteLevel extends LevelDatabase {
  readonly supports: { readonly explicitSnapshots?: boolean }
  snapshot(): LevelSnapshot
}
