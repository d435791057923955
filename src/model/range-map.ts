import { checkBytes, checkObject } from '../core/arguments.ts'
import { compareBytes } from '../core/bytes.ts'
import { KeelsonError } from '../core/errors.ts'
import { showValue } from '../core/options.ts'
import type { RangeDescriptor } from './descriptors.ts'
import type { RangeId } from './ids.ts'

function startsBefore(range: RangeDescriptor, key: Uint8Array): boolean {
  return compareBytes(range.start, key) <= 0
}

/** True when `key` lies in the range. */
export function rangeContains(range: RangeDescriptor, key: Uint8Array): boolean {
  return startsBefore(range, key) && (range.end === undefined || compareBytes(key, range.end) < 0)
}

/** True when two spans of the key space share a key. */
export function rangesOverlap(
  a: Pick<RangeDescriptor, 'start' | 'end'>,
  b: Pick<RangeDescriptor, 'start' | 'end'>,
): boolean {
  return (
    (b.end === undefined || compareBytes(a.start, b.end) < 0) &&
    (a.end === undefined || compareBytes(b.start, a.end) < 0)
  )
}

/**
 * A map from keys to ranges for routing. Descriptors come in any order and from any source; one of a lower generation
 * never replaces one of a higher, so the map only moves forward however stale a message is.
 *
 * Invariant: the ranges in the map do not overlap. They may leave gaps, which a lookup reports as unknown.
 */
export class RangeMap {
  /** Sorted by start. */
  #ranges: RangeDescriptor[] = []

  /** Begins with `ranges`, given in any order. */
  constructor(ranges: Iterable<RangeDescriptor> = []) {
    for (const range of ranges) this.update(range)
  }

  /** Ranges in the map. */
  get size(): number {
    return this.#ranges.length
  }

  /** All ranges by start key. */
  ranges(): readonly RangeDescriptor[] {
    return this.#ranges
  }

  /** The range that holds `key`, if the map knows it. O(log n). */
  lookup(key: Uint8Array): RangeDescriptor | undefined {
    checkBytes(key, 'the key of a lookup')
    const at = this.#lastStartingAtOrBefore(key)
    const range = this.#ranges[at]
    return range !== undefined && rangeContains(range, key) ? range : undefined
  }

  /** The range with this id. O(n): for tools, not for routing. */
  byId(rangeId: RangeId): RangeDescriptor | undefined {
    return this.#ranges.find((range) => range.rangeId === rangeId)
  }

  /**
   * Takes in what a descriptor says. What it overlaps is replaced if the descriptor is newer than all of it; a newer
   * neighbour in the way makes the descriptor stale, and it is ignored.
   *
   * @returns whether the map changed
   * @throws KeelsonError `INVALID_ARGUMENT` for bounds that no range can have
   */
  update(range: RangeDescriptor): boolean {
    checkObject(range, 'a range')
    checkBytes(range.start, `the start of range ${showValue(range.rangeId)}`)
    if (range.end !== undefined) checkBytes(range.end, `the end of range ${showValue(range.rangeId)}`)
    if (range.end !== undefined && compareBytes(range.start, range.end) >= 0) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `range ${range.rangeId} ends where or before it starts; the end is the first key behind it`,
      )
    }
    let first = this.#lastStartingAtOrBefore(range.start)
    const before = this.#ranges[first]
    if (before === undefined || (before.end !== undefined && compareBytes(before.end, range.start) <= 0))
      first++
    let after = first
    while (after < this.#ranges.length) {
      const next = this.#ranges[after] as RangeDescriptor
      if (range.end !== undefined && compareBytes(next.start, range.end) >= 0) break
      after++
    }
    const overlapped = this.#ranges.slice(first, after)
    if (overlapped.some((other) => other.generation >= range.generation)) return false
    this.#ranges.splice(first, after - first, range)
    return true
  }

  /** Forgets a range, so that the next lookup asks the directory. */
  forget(rangeId: RangeId): void {
    this.#ranges = this.#ranges.filter((range) => range.rangeId !== rangeId)
  }

  /** Where the ranges fail to tile the whole key space: the first gap as text, or undefined when there is none. */
  firstGap(): string | undefined {
    let expected: Uint8Array | undefined = new Uint8Array(0)
    for (const range of this.#ranges) {
      if (expected === undefined || compareBytes(range.start, expected) !== 0)
        return `before range ${range.rangeId}`
      expected = range.end
    }
    if (this.#ranges.length === 0) return 'there are no ranges'
    return expected === undefined ? undefined : 'after the last range'
  }

  /** Index of the last range whose start is not after `key`, or -1. */
  #lastStartingAtOrBefore(key: Uint8Array): number {
    let low = 0
    let high = this.#ranges.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (startsBefore(this.#ranges[middle] as RangeDescriptor, key)) low = middle + 1
      else high = middle
    }
    return low - 1
  }
}
