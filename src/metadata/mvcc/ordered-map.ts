import sortedBtree from 'sorted-btree'
import { compareBytes } from '../../core/bytes.ts'
import type { KeySelector } from '../../interfaces/metadata-store.ts'

// A CommonJS module: its class is the `default` of what Node imports as default.
const BTree: typeof sortedBtree.default = sortedBtree.default
type Tree<T> = InstanceType<typeof sortedBtree.default<Uint8Array, T>>

/** A map from keys to values in the order of the keys, whose copies share what neither side has changed since. */
export class OrderedMap<T> {
  readonly #tree: Tree<T>

  constructor(tree: Tree<T> = new BTree<Uint8Array, T>([], compareBytes)) {
    this.#tree = tree
  }

  get size(): number {
    return this.#tree.size
  }

  get(key: Uint8Array): T | undefined {
    return this.#tree.get(key)
  }

  /** What stands before a key, whether that is there or not. */
  before(key: Uint8Array): T | undefined {
    return this.#tree.nextLowerPair(key)?.[1]
  }

  /** What stands behind a key, whether that is there or not. */
  after(key: Uint8Array): T | undefined {
    return this.#tree.nextHigherPair(key)?.[1]
  }

  set(key: Uint8Array, value: T): void {
    this.#tree.set(key, value)
  }

  delete(key: Uint8Array): void {
    this.#tree.delete(key)
  }

  /** Calls `visit` for each value in a selection, in order. It must not change the map. */
  visit(select: KeySelector, visit: (value: T) => void): void {
    if (select.end === undefined) {
      const value = this.#tree.get(select.key)
      if (value !== undefined) visit(value)
      return
    }
    const high = select.end ?? this.#tree.maxKey()
    if (high === undefined) return
    this.#tree.forRange(select.key, high, select.end === null, (_key, value) => {
      visit(value)
    })
  }

  /** All values in order. */
  values(): IterableIterator<T> {
    return this.#tree.values()
  }

  /** A new one without anything. */
  empty(): OrderedMap<T> {
    return new OrderedMap<T>()
  }

  /** A copy in constant time: later changes on either side are not seen on the other. */
  clone(): OrderedMap<T> {
    return new OrderedMap(this.#tree.clone())
  }
}
