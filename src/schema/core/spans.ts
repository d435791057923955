import { compareBytes } from '../../core/bytes.ts'
import type { RangeBounds } from '../../interfaces/range-host.ts'

/** Parts of the key space, ascending, none of which meets the next one. */
export type Spans = readonly RangeBounds[]

/** The spans with another one added. */
export function withSpan(spans: Spans, added: RangeBounds): Spans {
  const before: RangeBounds[] = []
  const after: RangeBounds[] = []
  let { start, end } = added
  for (const span of spans) {
    if (span.end !== undefined && compareBytes(span.end, start) < 0) before.push(span)
    else if (end !== undefined && compareBytes(end, span.start) < 0) after.push(span)
    else {
      if (compareBytes(span.start, start) < 0) start = span.start
      if (end !== undefined && (span.end === undefined || compareBytes(span.end, end) > 0)) end = span.end
    }
  }
  return [...before, { start, end }, ...after]
}

/** Whether all of a range lies in the spans. What lies side by side is one span, so it lies in one of them or not at all. */
export function coversRange(spans: Spans, range: RangeBounds): boolean {
  return spans.some(
    ({ start, end }) =>
      compareBytes(start, range.start) <= 0 &&
      (end === undefined || (range.end !== undefined && compareBytes(range.end, end) <= 0)),
  )
}
