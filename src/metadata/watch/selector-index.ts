import type { KeySelector } from '../../interfaces/metadata-store.ts'
import { mapKey, prefixOf, selects } from '../mvcc/key-range.ts'

/**
 * Finds who selects a key, among very many. Single keys and prefixes are found by hash, at one lookup per length of
 * prefix in use; other stretches, which are rare, are tried one by one.
 */
export class SelectorIndex<T extends { readonly select: KeySelector }> {
  readonly #keys = new Map<string, Set<T>>()
  readonly #prefixes = new Map<string, Set<T>>()
  /** How many distinct prefixes have each length. */
  readonly #lengths = new Map<number, number>()
  readonly #stretches = new Set<T>()

  add(item: T): void {
    const { select } = item
    if (select.end === undefined) {
      addTo(this.#keys, mapKey(select.key), item)
      return
    }
    const prefix = prefixOf(select)
    if (prefix === undefined) this.#stretches.add(item)
    else if (addTo(this.#prefixes, mapKey(prefix), item))
      this.#lengths.set(prefix.length, (this.#lengths.get(prefix.length) ?? 0) + 1)
  }

  delete(item: T): void {
    const { select } = item
    if (select.end === undefined) {
      deleteFrom(this.#keys, mapKey(select.key), item)
      return
    }
    const prefix = prefixOf(select)
    if (prefix === undefined) {
      this.#stretches.delete(item)
      return
    }
    if (!deleteFrom(this.#prefixes, mapKey(prefix), item)) return
    const left = (this.#lengths.get(prefix.length) ?? 1) - 1
    if (left === 0) this.#lengths.delete(prefix.length)
    else this.#lengths.set(prefix.length, left)
  }

  /** Calls `visit` once for each item that selects the key. */
  visit(key: Uint8Array, visit: (item: T) => void): void {
    if (this.#keys.size > 0 || this.#lengths.size > 0) {
      const whole = mapKey(key)
      this.#keys.get(whole)?.forEach(visit)
      for (const length of this.#lengths.keys()) {
        if (length <= key.length) this.#prefixes.get(whole.slice(0, length))?.forEach(visit)
      }
    }
    for (const item of this.#stretches) if (selects(item.select, key)) visit(item)
  }
}

/** @returns whether the set is new */
function addTo<T>(sets: Map<string, Set<T>>, name: string, item: T): boolean {
  const known = sets.get(name)
  if (known !== undefined) {
    known.add(item)
    return false
  }
  sets.set(name, new Set([item]))
  return true
}

/** @returns whether the set is gone */
function deleteFrom<T>(sets: Map<string, Set<T>>, name: string, item: T): boolean {
  const known = sets.get(name)
  if (known?.delete(item) !== true || known.size > 0) return false
  return sets.delete(name)
}
