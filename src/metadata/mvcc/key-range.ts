import { compareBytes, equalBytes, prefixEnd } from '../../core/bytes.ts'
import type { KeySelector } from '../../interfaces/metadata-store.ts'

/** Selects every key that starts with `prefix`. */
export function prefixSelector(prefix: Uint8Array): KeySelector {
  return { key: prefix, end: prefixEnd(prefix) ?? null }
}

/** Selects every key. */
export const everything: KeySelector = Object.freeze({ key: new Uint8Array(0), end: null })

/** True when `key` lies in the selection. */
export function selects(select: KeySelector, key: Uint8Array): boolean {
  if (select.end === undefined) return equalBytes(select.key, key)
  if (compareBytes(key, select.key) < 0) return false
  return select.end === null || compareBytes(key, select.end) < 0
}

/** True for a selection that ends where or before it starts. */
export function isEmpty(select: KeySelector): boolean {
  return select.end instanceof Uint8Array && compareBytes(select.end, select.key) <= 0
}

/** The prefix that a selection is exactly the range of, if it is one. */
export function prefixOf(select: KeySelector): Uint8Array | undefined {
  if (select.end === undefined) return undefined
  const end = prefixEnd(select.key) ?? null
  if (end === null || select.end === null) return end === select.end ? select.key : undefined
  return equalBytes(end, select.end) ? select.key : undefined
}

/** A key as a string of one character per byte, for maps: equal bytes give equal strings. */
export function mapKey(key: Uint8Array): string {
  let out = ''
  for (let at = 0; at < key.length; at += 4096)
    out += String.fromCharCode(...key.subarray(at, Math.min(at + 4096, key.length)))
  return out
}
