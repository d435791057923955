import sortedBTree from 'sorted-btree'
import { ByteReader, ByteWriter, compareBytes, concatBytes, prefixEnd, text, utf8 } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import { invariant } from '../../core/invariant.ts'
import type { Bookkeeping, BookkeepingWrite, StateSnapshot } from '../../interfaces/state-machine.ts'
import { type ByteLevel, byteEncodings, type LevelSnapshot, synced } from './database.ts'
import { checkFlushable, flushLevel } from './durability.ts'

const BTree = sortedBTree.default

const formatVersion = 1
const pointerTag = 0x00
const instanceTag = 0x01
const flushTag = 0x02
const bookkeepingTag = 0x00
const dataTag = 0x01

/** A snapshot chunk is closed when it has grown to this size. */
const chunkBytes = 256 * 1024

/** How many pairs a read of a range fetches at a time. */
const pageSize = 256

/** Bounds of a {@link LevelState} range read, in data keys. */
export interface LevelStateRange {
  /** First key. Default: from the beginning. */
  readonly start?: Uint8Array
  /** First key that is left out. Default: to the end. */
  readonly end?: Uint8Array
}

/** A pair of data key and value. */
export type LevelStatePair = readonly [key: Uint8Array, value: Uint8Array]

/** Reads of a {@link LevelState}. */
export interface LevelStateReader {
  /** The value of a data key. */
  get(key: Uint8Array): Promise<Uint8Array | undefined>
  /** The values of data keys, in their order. */
  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]>
  /** The pairs of a range in key order, from one consistent view. */
  range(bounds?: LevelStateRange): AsyncIterable<LevelStatePair>
}

/**
 * The durable half of a `StateMachine` on an ordered database: everything under one key prefix, so that thousands
 * of replicas share one database. A host writes only its commands' meaning and hands the rest through: bookkeeping that
 * is atomic with the effects, flush, snapshots streamed from a consistent view while writes go on, and a restore that a
 * crash at any point leaves either undone or done.
 *
 * A restore writes into a new *instance* of the prefix, makes that durable, and then switches one pointer record; what an
 * interrupted one left behind is deleted on the next open.
 *
 * What is not flushed may be lost in a power cut, but only from the end: bookkeeping never tells of effects that are not
 * there. A classic-level promises that when `openLevel` opened it; by itself LevelDB may lose writes and show later ones.
 */
export class LevelState implements LevelStateReader {
  readonly #db: ByteLevel
  readonly #prefix: Uint8Array
  #instance = 1
  #opened = false
  #poisoned: KeelsonError | undefined

  /**
   * Reads and writes nothing before {@link LevelState.open}.
   *
   * @param db an open database with support for explicit snapshots; it stays the caller's, who closes it
   * @param prefix the part of the database that is this state's alone; no prefix may begin another one's
   * @throws KeelsonError `UNSUPPORTED` for a database without explicit snapshots, or one that `flushLevel` refuses
   */
  constructor(db: ByteLevel, prefix: Uint8Array) {
    if (db.supports.explicitSnapshots !== true) {
      throw new KeelsonError('UNSUPPORTED', 'a replicated state needs a database with explicit snapshots')
    }
    checkFlushable(db)
    this.#db = db
    this.#prefix = prefix.slice()
  }

  /**
   * Reads what is there and cleans up after an interrupted restore or destruction.
   *
   * @throws KeelsonError `FORMAT_VERSION` for a state of a later release
   */
  async open(): Promise<Bookkeeping> {
    const pointer = await this.#db.get(this.#key(pointerTag), byteEncodings)
    if (pointer !== undefined) {
      const reader = new ByteReader(pointer, 'the pointer record of a replicated state')
      const version = reader.u8()
      if (version !== formatVersion) {
        throw new KeelsonError(
          'FORMAT_VERSION',
          `this state has format version ${version}, but this release knows only ${formatVersion}; open it with the release that wrote it`,
        )
      }
      this.#instance = reader.u32()
    } else {
      await this.#db.put(this.#key(pointerTag), this.#pointer(1), synced)
    }
    await this.#db.clear({
      ...byteEncodings,
      gte: this.#key(instanceTag),
      lt: this.#instanceKey(this.#instance),
    })
    await this.#db.clear({
      ...byteEncodings,
      gte: this.#instanceKey(this.#instance + 1),
      lt: this.#key(instanceTag + 1),
    })
    this.#opened = true
    return this.#readBookkeeping()
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#db.get(this.#dataKey(key), byteEncodings)
  }

  async getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    return this.#getMany(keys, undefined)
  }

  range(bounds: LevelStateRange = {}): AsyncIterable<LevelStatePair> {
    return this.#range(bounds, undefined)
  }

  /** Runs reads that all see the same moment, whatever is written meanwhile. */
  async view<T>(read: (reader: LevelStateReader) => Promise<T>): Promise<T> {
    const snapshot = this.#db.snapshot()
    try {
      return await read({
        get: async (key) => (await this.#getMany([key], snapshot))[0],
        getMany: (keys) => this.#getMany(keys, snapshot),
        range: (bounds = {}) => this.#range(bounds, snapshot),
      })
    } finally {
      await snapshot.close()
    }
  }

  /** A set of changes that sees its own effects. One batch at a time may be under way. */
  batch(): LevelStateBatch {
    invariant(this.#opened, 'a replicated state is opened before it is changed')
    this.#checkUsable()
    return new LevelStateBatch(this)
  }

  /**
   * Writes the changes of a batch and bookkeeping in one atomic act. It is not synced: the log repeats what a crash
   * takes away.
   */
  async commit(changes: LevelStateBatch, bookkeeping: readonly BookkeepingWrite[]): Promise<void> {
    await this.commitWith(changes, bookkeeping, [])
  }

  /**
   * As {@link LevelState.commit}, together with changes of other states of the same database: all of it or nothing is there
   * after a crash. That is how a part of a state becomes another one's.
   *
   * @throws KeelsonError `INVALID_ARGUMENT` for a state of another database
   */
  async commitWith(
    changes: LevelStateBatch,
    bookkeeping: readonly BookkeepingWrite[],
    others: readonly {
      /** The other state. It is open. */
      readonly state: LevelState
      /** What changes in it. */
      readonly changes: LevelStateBatch
      /** Its bookkeeping that changes. */
      readonly bookkeeping: readonly BookkeepingWrite[]
    }[],
  ): Promise<void> {
    const parts = [{ state: this, changes, bookkeeping }, ...others]
    for (const { state } of parts) {
      if (state.#db !== this.#db)
        throw new KeelsonError('INVALID_ARGUMENT', 'states of two databases cannot be changed in one act')
      state.#checkUsable()
    }
    const writes = this.#db.batch()
    for (const part of parts) {
      const { state } = part
      for (const [key, value] of part.changes.changes()) {
        if (value === undefined) writes.del(state.#dataKey(key), byteEncodings)
        else writes.put(state.#dataKey(key), value, byteEncodings)
      }
      for (const { key, value } of part.bookkeeping) {
        if (value === undefined) writes.del(state.#bookkeepingKey(key), byteEncodings)
        else writes.put(state.#bookkeepingKey(key), value, byteEncodings)
      }
    }
    if (writes.length === 0) await writes.close()
    else await writes.write()
  }

  /** The bookkeeping as it was committed last. */
  async bookkeeping(): Promise<Bookkeeping> {
    this.#checkUsable()
    return this.#readBookkeeping()
  }

  /** Makes everything committed so far durable, as `flushLevel` does. */
  async flush(): Promise<void> {
    this.#checkUsable()
    await this.#flush()
  }

  /** A consistent view for a `StateMachine`'s `snapshot`. */
  async snapshot(): Promise<StateSnapshot> {
    this.#checkUsable()
    const snapshot = this.#db.snapshot()
    try {
      const bookkeeping = await this.#readBookkeeping(snapshot)
      const pairs = this.#range({}, snapshot)
      return {
        bookkeeping,
        async *chunks(): AsyncIterable<Uint8Array> {
          let writer = new ByteWriter(chunkBytes + 4096)
          for await (const [key, value] of pairs) {
            writer.bytes(key).bytes(value)
            if (writer.length < chunkBytes) continue
            yield writer.view()
            writer = new ByteWriter(chunkBytes + 4096)
          }
          if (writer.length > 0) yield writer.view()
        },
        async [Symbol.asyncDispose]() {
          await snapshot.close()
        },
      }
    } catch (error) {
      await snapshot.close()
      throw error
    }
  }

  /**
   * Replaces everything by a snapshot's content.
   *
   * @param beforeSwitch reads what a machine keeps in memory out of the new content, while the old one still stands: after
   *   the switch nothing may fail any more
   * @throws KeelsonError `MALFORMED` for a chunk that does not decode, and whatever `chunks` and `beforeSwitch` throw; the
   *   old state then stays as it was. `STORE_POISONED` when the switch itself failed: only opening again tells which
   *   state it is, and until then every change and every snapshot is refused
   */
  async restore(
    bookkeeping: Bookkeeping,
    chunks: AsyncIterable<Uint8Array>,
    beforeSwitch?: (content: LevelStateReader) => Promise<void>,
  ): Promise<void> {
    this.#checkUsable()
    const next = this.#instance + 1
    const range = { ...byteEncodings, gte: this.#instanceKey(next), lt: this.#instanceKey(next + 1) }
    await this.#db.clear(range)
    try {
      for await (const chunk of chunks) {
        const reader = new ByteReader(chunk, 'a snapshot chunk')
        const writes = this.#db.batch()
        try {
          while (reader.remaining > 0) {
            const key = reader.bytes()
            writes.put(
              concatBytes([this.#instanceKey(next), Uint8Array.of(dataTag), key]),
              reader.bytes().slice(),
              byteEncodings,
            )
          }
          await writes.write()
        } finally {
          await writes.close()
        }
      }
      await beforeSwitch?.(this.#readerOf(next))
      // The pointer must never lead to rows that are not there.
      await this.#flush()
    } catch (error) {
      // What cannot be cleared away now is deleted on the next open: the reason to fail is the first error.
      await this.#db.clear(range).catch(() => {})
      throw error
    }
    const last = this.#db.batch()
    for (const [key, value] of bookkeeping) {
      last.put(
        concatBytes([this.#instanceKey(next), Uint8Array.of(bookkeepingTag), utf8(key)]),
        value,
        byteEncodings,
      )
    }
    last.put(this.#key(pointerTag), this.#pointer(next), byteEncodings)
    try {
      await last.write({ sync: true })
      await this.#flush()
    } catch (cause) {
      // The pointer may be on the disk or not, so neither content may be touched.
      this.#poisoned = new KeelsonError(
        'STORE_POISONED',
        'the switch to a restored state failed half-way; open the state again to see which one it is',
        { cause },
      )
      throw this.#poisoned
    }
    const old = this.#instance
    this.#instance = next
    // The state has changed: no failure may say otherwise. What stays behind is deleted on the next open.
    await this.#db
      .clear({ ...byteEncodings, gte: this.#instanceKey(old), lt: this.#instanceKey(next) })
      .catch(() => {})
  }

  /** Deletes everything under the prefix, durably. */
  async destroy(): Promise<void> {
    this.#opened = false
    // The pointer goes last, and leads past all instances until then: a crash on the way leaves an empty state.
    await this.#db.put(this.#key(pointerTag), this.#pointer(this.#instance + 2), synced)
    await this.#db.clear({ ...byteEncodings, gte: this.#key(instanceTag), lt: this.#key(instanceTag + 1) })
    await this.#flush()
    const end = prefixEnd(this.#prefix)
    await this.#db.clear({ ...byteEncodings, gte: this.#prefix, ...(end === undefined ? {} : { lt: end }) })
  }

  async #flush(): Promise<void> {
    await flushLevel(this.#db, this.#key(flushTag))
  }

  #checkUsable(): void {
    if (this.#poisoned !== undefined) throw this.#poisoned
  }

  /** Reads of an instance to which nothing is written meanwhile. */
  #readerOf(instance: number): LevelStateReader {
    return {
      get: async (key) => (await this.#getMany([key], undefined, instance))[0],
      getMany: (keys) => this.#getMany(keys, undefined, instance),
      range: (bounds = {}) => this.#range(bounds, undefined, instance),
    }
  }

  async #getMany(
    keys: readonly Uint8Array[],
    snapshot: LevelSnapshot | undefined,
    instance = this.#instance,
  ): Promise<(Uint8Array | undefined)[]> {
    if (keys.length === 0) return []
    return this.#db.getMany(
      keys.map((key) => this.#dataKey(key, instance)),
      snapshot === undefined ? byteEncodings : { ...byteEncodings, snapshot },
    )
  }

  async *#range(
    bounds: LevelStateRange,
    snapshot: LevelSnapshot | undefined,
    instance = this.#instance,
  ): AsyncIterable<LevelStatePair> {
    const strip = this.#dataKey(new Uint8Array(0)).length
    const iterator = this.#db.iterator({
      ...byteEncodings,
      ...this.#bounds(bounds, instance),
      ...(snapshot === undefined ? {} : { snapshot }),
    })
    try {
      for (;;) {
        const page = await iterator.nextv(pageSize)
        if (page.length === 0) return
        for (const [key, value] of page) yield [key.subarray(strip), value]
      }
    } finally {
      await iterator.close()
    }
  }

  async #readBookkeeping(snapshot?: LevelSnapshot): Promise<Bookkeeping> {
    const from = this.#bookkeepingKey('')
    const iterator = this.#db.iterator({
      ...byteEncodings,
      gte: from,
      lt: this.#dataKey(new Uint8Array(0)),
      ...(snapshot === undefined ? {} : { snapshot }),
    })
    const result = new Map<string, Uint8Array>()
    try {
      for (;;) {
        const page = await iterator.nextv(pageSize)
        if (page.length === 0) return result
        for (const [key, value] of page) result.set(text(key.subarray(from.length)), value)
      }
    } finally {
      await iterator.close()
    }
  }

  #bounds(range: LevelStateRange, instance: number): { gte: Uint8Array; lt: Uint8Array } {
    return {
      gte: this.#dataKey(range.start ?? new Uint8Array(0), instance),
      lt:
        range.end === undefined
          ? concatBytes([this.#instanceKey(instance), Uint8Array.of(dataTag + 1)])
          : this.#dataKey(range.end, instance),
    }
  }

  #pointer(instance: number): Uint8Array {
    return new ByteWriter(5).u8(formatVersion).u32(instance).finish()
  }

  #key(tag: number): Uint8Array {
    return concatBytes([this.#prefix, Uint8Array.of(tag)])
  }

  #instanceKey(instance: number): Uint8Array {
    const key = new Uint8Array(this.#prefix.length + 5)
    key.set(this.#prefix)
    key[this.#prefix.length] = instanceTag
    // Big endian, so that the byte order of the keys is the order of the instances.
    new DataView(key.buffer).setUint32(this.#prefix.length + 1, instance)
    return key
  }

  #bookkeepingKey(key: string): Uint8Array {
    return concatBytes([this.#instanceKey(this.#instance), Uint8Array.of(bookkeepingTag), utf8(key)])
  }

  #dataKey(key: Uint8Array, instance = this.#instance): Uint8Array {
    const out = new Uint8Array(this.#prefix.length + 6 + key.length)
    out.set(this.#instanceKey(instance))
    out[this.#prefix.length + 5] = dataTag
    out.set(key, this.#prefix.length + 6)
    return out
  }
}

/** Changes to a {@link LevelState} that are not written yet. Reads see them. */
export class LevelStateBatch {
  readonly #state: LevelState
  /** Counts changes: an iteration must not go on over a tree that moved under it. */
  #edits = 0
  readonly #changes = new BTree<Uint8Array, Uint8Array | undefined>(undefined, compareBytes)
  /** Values read ahead of time; what is missing in the database is here as undefined. */
  readonly #fetched = new BTree<Uint8Array, Uint8Array | undefined>(undefined, compareBytes)

  /** Made by {@link LevelState.batch}. */
  constructor(state: LevelState) {
    this.#state = state
  }

  /** Reads keys ahead in one call, so that the `get`s that follow cost no I/O of their own. */
  async prefetch(keys: readonly Uint8Array[]): Promise<void> {
    const missing = keys.filter((key) => !this.#fetched.has(key))
    if (missing.length === 0) return
    const values = await this.#state.getMany(missing)
    missing.forEach((key, i) => this.#fetched.set(key, values[i]))
  }

  /** The value of a key after the changes of this batch, or undefined. */
  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    if (this.#changes.has(key)) return this.#changes.get(key)
    if (this.#fetched.has(key)) return this.#fetched.get(key)
    return this.#state.get(key)
  }

  /**
   * The value of a key that was changed here or prefetched.
   *
   * @throws KeelsonError `INVARIANT_VIOLATED` for any other key
   */
  getFetched(key: Uint8Array): Uint8Array | undefined {
    if (this.#changes.has(key)) return this.#changes.get(key)
    invariant(this.#fetched.has(key), 'a key is prefetched before it is read synchronously')
    return this.#fetched.get(key)
  }

  /** Writes a pair with the batch. */
  put(key: Uint8Array, value: Uint8Array): void {
    this.#edits++
    this.#changes.set(key, value)
  }

  /** Deletes a key with the batch. */
  delete(key: Uint8Array): void {
    this.#edits++
    this.#changes.set(key, undefined)
  }

  /** The pairs of a range in key order, with this batch's changes in their place. The batch must not change meanwhile. */
  async *range(bounds: LevelStateRange = {}): AsyncIterable<LevelStatePair> {
    const edits = this.#edits
    const changed = this.#changes.entries(bounds.start)
    let change = changed.next()
    const advance = (): void => {
      invariant(edits === this.#edits, 'a batch does not change while a range of it is read')
      change = changed.next()
    }
    const inRange = (): boolean =>
      change.done !== true && (bounds.end === undefined || compareBytes(change.value[0], bounds.end) < 0)
    for await (const pair of this.#state.range(bounds)) {
      while (inRange() && compareBytes(change.value[0], pair[0]) < 0) {
        if (change.value[1] !== undefined) yield [change.value[0], change.value[1]]
        advance()
      }
      if (inRange() && compareBytes(change.value[0], pair[0]) === 0) {
        if (change.value[1] !== undefined) yield [change.value[0], change.value[1]]
        advance()
      } else {
        yield pair
      }
    }
    while (inRange()) {
      if (change.value[1] !== undefined) yield [change.value[0], change.value[1]]
      advance()
    }
  }

  /** All changes in key order; an undefined value is a deletion. */
  changes(): IterableIterator<[Uint8Array, Uint8Array | undefined]> {
    return this.#changes.entries()
  }
}
