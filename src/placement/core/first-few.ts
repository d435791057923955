/**
 * The first `count` of some items in an order, in that order: what sorting all of them would begin with, for the price of a
 * look at each. @internal
 */
export function firstFew<T>(items: Iterable<T>, count: number, compare: (a: T, b: T) => number): T[] {
  const first: T[] = []
  for (const item of items) {
    if (first.length === count && compare(item, first[count - 1] as T) >= 0) continue
    let [low, high] = [0, first.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (compare(item, first[middle] as T) < 0) high = middle
      else low = middle + 1
    }
    if (first.length === count) first.pop()
    first.splice(low, 0, item)
  }
  return first
}
