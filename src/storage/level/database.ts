import type { AbstractSnapshot } from 'abstract-level'

// What is used of abstract-level, by structure: its own types depend on the implementation in every method, so that no
// database would pass for another.

/** How keys and values pass through a database: as byte arrays. */
export interface ByteEncodings {
  /** Keys are byte arrays. */
  readonly keyEncoding: 'view'
  /** Values are byte arrays. */
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
  /** Reads the database as it was then. Default: as it is now. */
  readonly snapshot?: LevelSnapshot
}

/** A part of a database, in the order of its keys. */
export interface LevelRange {
  /** Only keys above it. */
  readonly gt?: Uint8Array
  /** Only keys from it on. */
  readonly gte?: Uint8Array
  /** Only keys below it. */
  readonly lt?: Uint8Array
  /** Only keys up to it, itself included. */
  readonly lte?: Uint8Array
  /** From the last key to the first. Default: false. */
  readonly reverse?: boolean
  /** Most entries. Default: all. */
  readonly limit?: number
}

/** A chained batch of a {@link LevelDatabase}. */
export interface LevelBatch {
  /** Operations in the batch. */
  readonly length: number
  /** Adds a put. */
  put(key: Uint8Array, value: Uint8Array, options: ByteEncodings): unknown
  /** Adds a deletion. */
  del(key: Uint8Array, options: { readonly keyEncoding: 'view' }): unknown
  /** Writes all of it, or nothing. */
  write(options?: object): Promise<void>
  /** Drops the batch unless it was written. */
  close(): Promise<void>
}

/** An iterator of a {@link LevelDatabase}. */
export interface LevelIterator extends AsyncIterable<[Uint8Array, Uint8Array]> {
  /** The next entries, at most `size`; empty at the end. */
  nextv(size: number): Promise<[Uint8Array, Uint8Array][]>
  /** All entries that are left. Bound the range before. */
  all(): Promise<[Uint8Array, Uint8Array][]>
  /** Lets go of the iterator. Idempotent. */
  close(): Promise<void>
}

/** An ordered database with the interface of abstract-level 3: classic-level, MemoryLevel, a sublevel of either. */
export interface LevelDatabase {
  /** Opens the database, unless it is open already. */
  open(): Promise<void>
  /** Closes the database. Idempotent. */
  close(): Promise<void>
  /** The value of a key, or undefined. */
  get(key: Uint8Array, options: LevelReadOptions): Promise<Uint8Array | undefined>
  /** The values of several keys, in their order; undefined where there is none. */
  getMany(keys: Uint8Array[], options: LevelReadOptions): Promise<(Uint8Array | undefined)[]>
  /** Writes one pair. */
  put(key: Uint8Array, value: Uint8Array, options: ByteEncodings): Promise<void>
  /** Begins a batch. */
  batch(): LevelBatch
  /** Deletes all keys of a range. */
  clear(options: LevelRange & { readonly keyEncoding: 'view' }): Promise<void>
  /** Iterates over the entries of a range. */
  iterator(options: LevelRange & LevelReadOptions): LevelIterator
}

/** A {@link LevelDatabase} with explicit snapshots. */
export interface ByteLevel extends LevelDatabase {
  /** What the implementation says that it can do. */
  readonly supports: {
    /** Whether `snapshot` may be called. */
    readonly explicitSnapshots?: boolean
  }
  /** A view of the database as it is now. Close it after use. */
  snapshot(): LevelSnapshot
}
