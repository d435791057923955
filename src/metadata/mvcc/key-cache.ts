import type { PlainPut } from './plain-put.ts'
import type { KeyHistory } from './version.ts'

/** Keys that are remembered at most: those that are written again and again are mostly few. A power of two. */
const places = 8192

/**
 * Finds the histories of keys that were written before without a search in the order of all keys. A key has one place, from
 * which another one may drive it away: what is not here may be there nevertheless. The owner forgets what is not any more.
 */
export class KeyCache {
  /** Made with the first key, as most states of a simulation stay small. */
  #histories: (KeyHistory | undefined)[] | undefined

  /** The history of the key of a put, if it is known here. */
  find({ data, keyAt, keyBytes }: PlainPut): KeyHistory | undefined {
    const history = this.#histories?.[placeOf(data, keyAt, keyBytes)]
    if (history === undefined) return undefined
    const { key } = history
    if (key.length !== keyBytes) return undefined
    // Neighbours differ at their end.
    for (let i = keyBytes - 1; i >= 0; i--) if (key[i] !== data[keyAt + i]) return undefined
    return history
  }

  /** A key was looked for elsewhere, and has this history. */
  remember(history: KeyHistory): void {
    const { key } = history
    this.#histories ??= Array.from({ length: places })
    this.#histories[placeOf(key, 0, key.length)] = history
  }

  /** A key has another history now, or none. */
  forget(key: Uint8Array): void {
    if (this.#histories !== undefined) this.#histories[placeOf(key, 0, key.length)] = undefined
  }
}

/** From the end of the key, where keys differ most. */
function placeOf(bytes: Uint8Array, from: number, length: number): number {
  let hash = length
  const first = Math.max(from, from + length - 24)
  for (let i = from + length - 1; i >= first; i--) hash = Math.imul(hash ^ (bytes[i] as number), 0x01000193)
  return (hash ^ (hash >>> 15)) & (places - 1)
}
