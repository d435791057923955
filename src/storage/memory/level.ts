import { AbstractIterator, AbstractLevel, AbstractSnapshot } from 'abstract-level'
import BTreeModule from 'sorted-btree'
import { compareBytes } from '../../core/bytes.ts'
import { type KeelsonError, toKeelsonError } from '../../core/errors.ts'
import {
  checkOptions,
  closest,
  functionOption,
  type OptionCheck,
  objectOption,
  optional,
  stringOption,
} from '../../core/options.ts'
import { MemoryDisk, type MemoryMount, neverSettles } from './disk.ts'

// The package is CommonJS: its default export is a property of what Node imports.
const BTree = BTreeModule.default
type Tree = BTreeModule.default<Uint8Array, Uint8Array>

function newTree(): Tree {
  return new BTree<Uint8Array, Uint8Array>(undefined, compareBytes)
}

// A constant of its own, as the typings do not know `getSync` yet.
const manifest = {
  encodings: { view: true },
  implicitSnapshots: true,
  explicitSnapshots: true,
  has: true,
  getSync: true,
  seek: true,
  permanence: false,
  additionalMethods: { compactRange: true },
}

// Bytes are copied on their way in and out: no two simulated machines ever share a buffer. A Buffer's own slice() would
// be a view.
function copy(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes)
}

function notOpen(): Error {
  return Object.assign(new Error('Database is not open: cannot call compactRange()'), {
    code: 'LEVEL_DATABASE_NOT_OPEN',
  })
}

/** Options of {@link MemoryLevel}. */
export interface MemoryLevelOptions {
  /** The disk that the database lives on. Default: one of its own. */
  readonly disk?: MemoryDisk
  /** Name of the database on its disk. Default: `level`. */
  readonly name?: string
  /**
   * Asked before each write: whether the log file is full, so that another one is begun. Default: it never is. Draw it
   * from a seeded source to find out who relies on a synced write alone.
   */
  readonly logIsFull?: () => boolean
  /** Default encoding of keys: `utf8`. */
  readonly keyEncoding?: string
  /** Default encoding of values: `utf8`. */
  readonly valueEncoding?: string
}

/** The name of an encoding, or one as abstract-level has them. */
const encodingOption: OptionCheck<unknown> = (value, name) => {
  const { encode, decode } = (value ?? {}) as { readonly encode?: unknown; readonly decode?: unknown }
  if (typeof encode === 'function' && typeof decode === 'function') return value
  return optional(stringOption())(value, name)
}

/** What abstract-level and its hooks know stays theirs; a typing mistake in what is known here is refused. */
function checkLevelOptions(options: MemoryLevelOptions): MemoryLevelOptions {
  const checks = {
    disk: optional(objectOption<MemoryDisk>(['mount', 'crash'])),
    name: optional(stringOption()),
    logIsFull: optional(functionOption<() => boolean>()),
    keyEncoding: encodingOption,
    valueEncoding: encodingOption,
  }
  const known = Object.keys(checks)
  const strange = Object.entries(objectOption<MemoryLevelOptions>()(options, 'MemoryLevel')).filter(
    ([key]) => !known.includes(key) && closest(key, known) === undefined,
  )
  const own = { ...options } as Record<string, unknown>
  for (const [key] of strange) delete own[key]
  return { ...Object.fromEntries(strange), ...checkOptions<object>('MemoryLevel', own, checks) }
}

interface Contents {
  tree: Tree
}

/** Range options as abstract-level hands them to an implementation: encoded. */
interface Bounds {
  readonly gt?: Uint8Array
  readonly gte?: Uint8Array
  readonly lt?: Uint8Array
  readonly lte?: Uint8Array
  readonly reverse: boolean
  readonly limit: number
  readonly snapshot?: AbstractSnapshot
}

type Operation =
  | { readonly type: 'put'; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly type: 'del'; readonly key: Uint8Array }

type ReadFrom = { readonly snapshot?: AbstractSnapshot }
type WriteHow = { readonly sync?: boolean }

/**
 * An ordered key-value database in memory with the interface of abstract-level 3, for tests, development clusters and
 * the simulator. It uses no native I/O, so that virtual time drives it.
 *
 * On a {@link MemoryDisk} it behaves like a classic-level that `openLevel` opened: batches are atomic, and what survives
 * a crash is a prefix of the writes. A write without `sync: true` is lost unless a later synced one, or chance, carried it
 * along. A synced write carries only what stands in the same log file: when that is full, it is closed without a sync, and
 * until a table was made of it, a crash may take its end and, with that, everything later. A
 * {@link MemoryLevel.compactRange} waits for that table. Without timers of its disk, a table is made only when it is waited for.
 */
export class MemoryLevel<K = string, V = string> extends AbstractLevel<Uint8Array, K, V> {
  /** The disk that the database lives on. */
  readonly disk: MemoryDisk
  readonly #name: string
  readonly #logIsFull: () => boolean
  #mount: MemoryMount<Contents> | undefined
  /** Number of the closed log file that no table was made of yet. */
  #closedFile: number | undefined
  /** The making of that table, when it is under way. Never rejects. */
  #table: Promise<void> | undefined
  /** Why no table could be made: nothing is written any more. */
  #failure: KeelsonError | undefined

  /** A database on its disk, or on a new one; what an earlier one of that name left there is in it. @throws KeelsonError `INVALID_OPTION` */
  constructor(options: MemoryLevelOptions = {}) {
    const { disk, name, logIsFull, ...rest } = checkLevelOptions(options)
    super(manifest, rest)
    this.disk = disk ?? new MemoryDisk()
    this.#name = name ?? 'level'
    this.#logIsFull = logIsFull ?? (() => false)
  }

  /**
   * As classic-level does whatever the range: closes the log file and waits until a table was made of it. It compacts
   * nothing, as there is nothing to compact. What goes wrong shows in the next write, not here.
   */
  async compactRange(_start: unknown, _end: unknown, _options?: object): Promise<void> {
    if (this.status === 'opening') return this.deferAsync(() => this.compactRange(_start, _end))
    const mount = this.#mount
    if (this.status !== 'open' || mount === undefined) throw notOpen()
    await this.#makeTable()
    if (this.#failure !== undefined) return
    if (this.#mount !== mount) throw notOpen()
    this.#closedFile ??= mount.rotate()
    await this.#makeTable()
  }

  /** @internal */
  async _open(): Promise<void> {
    try {
      this.#mount = this.disk.mount<Contents>(this.#name, () => ({ tree: newTree() }))
    } catch (error) {
      // The code of LevelDB for the same thing.
      throw Object.assign(toKeelsonError(error), { code: 'LEVEL_LOCKED' })
    }
    this.#mount.recovered()
    this.#closedFile = undefined
    this.#table = undefined
    this.#failure = undefined
  }

  /** @internal */
  async _close(): Promise<void> {
    this.#mount?.release()
    this.#mount = undefined
  }

  /** @internal */
  _getSync(key: Uint8Array, options: ReadFrom): Uint8Array | undefined {
    const value = this.#treeOf(options).get(key)
    return value === undefined ? undefined : copy(value)
  }

  /** @internal */
  _get(key: Uint8Array, options: ReadFrom): Promise<Uint8Array | undefined> {
    return this.#answer(() => this._getSync(key, options))
  }

  /** @internal */
  _getMany(keys: readonly Uint8Array[], options: ReadFrom): Promise<(Uint8Array | undefined)[]> {
    return this.#answer(() => keys.map((key) => this._getSync(key, options)))
  }

  /** @internal */
  _has(key: Uint8Array, options: ReadFrom): Promise<boolean> {
    return this.#answer(() => this.#treeOf(options).has(key))
  }

  /** @internal */
  _hasMany(keys: readonly Uint8Array[], options: ReadFrom): Promise<boolean[]> {
    return this.#answer(() => {
      const tree = this.#treeOf(options)
      return keys.map((key) => tree.has(key))
    })
  }

  /** @internal */
  _put(key: Uint8Array, value: Uint8Array, options: WriteHow): Promise<void> {
    return this._batch([{ type: 'put', key, value }], options)
  }

  /** @internal */
  _del(key: Uint8Array, options: WriteHow): Promise<void> {
    return this._batch([{ type: 'del', key }], options)
  }

  /** @internal */
  _batch(operations: readonly Operation[], options: WriteHow): Promise<void> {
    const mount = this.#mounted
    if (!mount.attached) return neverSettles()
    if (operations.length === 0) return Promise.resolve()
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    // One memtable at a time is made a table.
    if (this.#closedFile === undefined && this.#logIsFull()) {
      this.#closedFile = mount.rotate()
      if (this.disk.timed) void this.#makeTable()
    }
    const { state } = mount
    const before: (readonly [key: Uint8Array, value: Uint8Array | undefined])[] = []
    let bytes = 0
    for (const operation of operations) {
      const key = copy(operation.key)
      before.push([key, state.tree.get(key)])
      bytes += key.length
      if (operation.type === 'put') {
        state.tree.set(key, copy(operation.value))
        bytes += operation.value.length
      } else {
        state.tree.delete(key)
      }
    }
    mount.record(bytes, () => {
      for (const [key, value] of before.reverse()) {
        if (value === undefined) state.tree.delete(key)
        else state.tree.set(key, value)
      }
    })
    return options.sync === true ? mount.sync() : Promise.resolve()
  }

  /** @internal */
  async _clear(options: Bounds): Promise<void> {
    const cursor = new Cursor(this.#treeOf(options).clone(), options)
    const writes: Promise<void>[] = []
    for (let left = options.limit; left !== 0; left--) {
      const pair = cursor.next()
      if (pair === undefined) break
      // One by one: nobody promises that a crash leaves all of it or nothing.
      writes.push(this._batch([{ type: 'del', key: pair[0] }], {}))
    }
    await Promise.all(writes)
  }

  /** @internal */
  _iterator(options: Bounds): MemoryIterator<K, V> {
    return new MemoryIterator<K, V>(this, new Cursor(this.#treeOf(options).clone(), options), options)
  }

  /** @internal */
  _snapshot(options: object): AbstractSnapshot {
    return new MemorySnapshot(this.#mounted.state.tree.clone(), options)
  }

  /** Makes a table of the log file that was closed, if there is one. */
  #makeTable(): Promise<void> {
    const file = this.#closedFile
    if (file === undefined) return Promise.resolve()
    const mount = this.#mounted
    this.#table ??= mount
      .tabulate(file)
      .catch((error: unknown) => {
        if (this.#mount === mount) this.#failure = toKeelsonError(error)
      })
      .then(() => {
        if (this.#mount !== mount) return
        this.#closedFile = undefined
        this.#table = undefined
      })
    return this.#table
  }

  get #mounted(): MemoryMount<Contents> {
    // Only an open database calls its private methods.
    return this.#mount as MemoryMount<Contents>
  }

  #treeOf(options: ReadFrom): Tree {
    return options.snapshot === undefined
      ? this.#mounted.state.tree
      : (options.snapshot as MemorySnapshot).tree
  }

  /** Reads now, as of now, and tells at the next microtask. */
  #answer<T>(read: () => T): Promise<T> {
    return this.#mounted.attached ? Promise.resolve(read()) : neverSettles()
  }
}

/** A {@link MemoryLevel}. */
export function memoryLevel<K = string, V = string>(options: MemoryLevelOptions = {}): MemoryLevel<K, V> {
  return new MemoryLevel<K, V>(options)
}

class MemorySnapshot extends AbstractSnapshot {
  readonly tree: Tree

  constructor(tree: Tree, options: object) {
    // The typings leave out the constructor's argument.
    super(...([options] as unknown as []))
    this.tree = tree
  }
}

/** Walks a range of a tree that nobody changes. */
class Cursor {
  readonly #tree: Tree
  readonly #low: Uint8Array | undefined
  readonly #lowOpen: boolean
  readonly #high: Uint8Array | undefined
  readonly #highOpen: boolean
  readonly #reverse: boolean
  #pairs: IterableIterator<[Uint8Array, Uint8Array]>

  constructor(tree: Tree, bounds: Bounds) {
    this.#tree = tree
    this.#lowOpen = bounds.gte === undefined
    this.#low = bounds.gte ?? bounds.gt
    this.#highOpen = bounds.lte === undefined
    this.#high = bounds.lte ?? bounds.lt
    this.#reverse = bounds.reverse
    this.#pairs = this.#from(undefined)
  }

  next(): [Uint8Array, Uint8Array] | undefined {
    for (;;) {
      const step = this.#pairs.next()
      if (step.done === true) return undefined
      const key = step.value[0]
      if (this.#below(key)) {
        if (this.#reverse) return undefined
      } else if (this.#above(key)) {
        if (!this.#reverse) return undefined
      } else {
        return [step.value[0], step.value[1]]
      }
    }
  }

  seek(target: Uint8Array): void {
    this.#pairs = this.#below(target) || this.#above(target) ? [][Symbol.iterator]() : this.#from(target)
  }

  #from(target: Uint8Array | undefined): IterableIterator<[Uint8Array, Uint8Array]> {
    return this.#reverse
      ? this.#tree.entriesReversed(target ?? this.#high)
      : this.#tree.entries(target ?? this.#low)
  }

  #below(key: Uint8Array): boolean {
    if (this.#low === undefined) return false
    const order = compareBytes(key, this.#low)
    return order < 0 || (order === 0 && this.#lowOpen)
  }

  #above(key: Uint8Array): boolean {
    if (this.#high === undefined) return false
    const order = compareBytes(key, this.#high)
    return order > 0 || (order === 0 && this.#highOpen)
  }
}

class MemoryIterator<K, V> extends AbstractIterator<MemoryLevel<K, V>, K, V> {
  readonly #cursor: Cursor

  constructor(db: MemoryLevel<K, V>, cursor: Cursor, options: Bounds) {
    super(db, options as never)
    this.#cursor = cursor
  }

  /** @internal */
  async _next(): Promise<[Uint8Array, Uint8Array] | undefined> {
    const pair = this.#cursor.next()
    return pair === undefined ? undefined : [copy(pair[0]), copy(pair[1])]
  }

  /** @internal */
  async _nextv(size: number): Promise<[Uint8Array, Uint8Array][]> {
    const pairs: [Uint8Array, Uint8Array][] = []
    while (pairs.length < size) {
      const pair = this.#cursor.next()
      if (pair === undefined) break
      pairs.push([copy(pair[0]), copy(pair[1])])
    }
    return pairs
  }

  /** @internal */
  async _all(): Promise<[Uint8Array, Uint8Array][]> {
    const limit = this.limit === Number.POSITIVE_INFINITY ? this.limit : this.limit - this.count
    return this._nextv(limit)
  }

  /** @internal */
  _seek(target: Uint8Array): void {
    this.#cursor.seek(target)
  }
}
