/**
 * What has nothing in it, once for all: an empty list of its own takes 32 bytes and an empty map 200, a replica has dozens of
 * them, and a host may have 100,000 replicas at rest.
 */
const none: readonly never[] = Object.freeze([])

/** An empty list, to be replaced and never changed. */
export function noneOf<T>(): readonly T[] {
  return none
}

/** The list with one more item; a list of one's own is changed. */
export function added<T>(list: readonly T[], item: T): readonly T[] {
  if (list.length === 0) return [item]
  ;(list as T[]).push(item)
  return list
}

/** The list without its first items. */
export function without<T>(list: readonly T[], count: number): readonly T[] {
  if (count === 0) return list
  return count < list.length ? list.slice(count) : none
}
