import { compareBytes } from '../../core/bytes.ts'
import type { RangeBounds } from '../../interfaces/range-host.ts'
import type { RangeDescriptor } from '../../model/descriptors.ts'
import type { RangeId } from '../../model/ids.ts'
import { rangesOverlap } from '../../model/range-map.ts'

/** How a part of the directory follows what its ranges report, whatever splits and merges lie in between. */
export interface Retiling {
  /** Ranges of the directory that are no more: others lie where they lay. */
  readonly ended: readonly RangeId[]
  /** Ranges that are new, or lie elsewhere, or have changed otherwise. */
  readonly next: readonly RangeDescriptor[]
}

/**
 * What the directory is to say around one range that lies elsewhere than it says. Every key lies in ranges of ever higher
 * generations (both parts of a split have a higher one than the whole, a merged range than both its parts), so of two
 * ranges that claim a key the one with the higher generation came later.
 *
 * @param directory all ranges, by their start keys: they tile the key space
 * @param later what {@link laterThan} has left of the reports
 * @param around one of `later`
 * @returns undefined as long as the reports leave a gap: some ranges were not heard of yet
 */
export function retile(
  directory: readonly RangeDescriptor[],
  later: readonly RangeDescriptor[],
  around: RangeDescriptor,
): Retiling | undefined {
  const span = closure(directory, later, around)
  const known = overlapping(directory, span)
  const placed: RangeDescriptor[] = []
  const latestFirst = [...known, ...later.filter((range) => rangesOverlap(range, span))].sort(
    (a, b) => b.generation - a.generation,
  )
  for (const range of latestFirst) {
    if (placed.some((other) => other.rangeId === range.rangeId || rangesOverlap(other, range))) continue
    placed.push(range)
  }
  placed.sort((a, b) => compareBytes(a.start, b.start))
  if (!tiles(placed, span)) return undefined
  const present = new Set(placed.map(({ rangeId }) => rangeId))
  return {
    ended: known.filter(({ rangeId }) => !present.has(rangeId)).map(({ rangeId }) => rangeId),
    next: placed.filter((range) => !known.includes(range)),
  }
}

/** Of ranges that are reported those that came later than all that the directory has where they lie. */
export function laterThan(
  directory: readonly RangeDescriptor[],
  reported: readonly RangeDescriptor[],
): RangeDescriptor[] {
  return reported.filter((range) =>
    overlapping(directory, range).every((known) => known.generation < range.generation),
  )
}

/** The least span around a range in which no range, old or new, lies in part only. */
function closure(
  directory: readonly RangeDescriptor[],
  later: readonly RangeDescriptor[],
  around: RangeBounds,
): RangeBounds {
  let span: RangeBounds = { start: around.start, end: around.end }
  for (;;) {
    let wider = span
    for (const range of overlapping(directory, span)) wider = union(wider, range)
    for (const range of later) if (rangesOverlap(range, wider)) wider = union(wider, range)
    if (wider === span) return span
    span = wider
  }
}

/** The same object where it holds the other one already. */
function union(span: RangeBounds, { start, end }: RangeBounds): RangeBounds {
  const before = compareBytes(start, span.start) < 0
  const behind = span.end !== undefined && (end === undefined || compareBytes(end, span.end) > 0)
  if (!before && !behind) return span
  return { start: before ? start : span.start, end: behind ? end : span.end }
}

/** The ranges of a tiling that share a key with a span. */
function overlapping(tiling: readonly RangeDescriptor[], span: RangeBounds): RangeDescriptor[] {
  let [low, high] = [0, tiling.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    const { end } = tiling[middle] as RangeDescriptor
    if (end !== undefined && compareBytes(end, span.start) <= 0) low = middle + 1
    else high = middle
  }
  const found: RangeDescriptor[] = []
  for (let at = low; at < tiling.length; at++) {
    const range = tiling[at] as RangeDescriptor
    if (!rangesOverlap(range, span)) break
    found.push(range)
  }
  return found
}

/** Whether ranges, by their start keys, fill a span without a gap. */
function tiles(ranges: readonly RangeDescriptor[], span: RangeBounds): boolean {
  let at: Uint8Array | undefined = span.start
  for (const { start, end } of ranges) {
    if (at === undefined || compareBytes(start, at) !== 0) return false
    at = end
  }
  return at === undefined || span.end === undefined ? at === span.end : compareBytes(at, span.end) === 0
}
