import { compareBytes, prefixEnd } from '../core/bytes.ts'
import type { RangeDescriptor } from '../model/descriptors.ts'
import { checkId, type TableId } from '../model/ids.ts'
import { decodeTuple, encodeTuple, type TuplePart } from '../model/tuple.ts'

/** The span of the key space that holds a table's rows: all keys that are tuples beginning with the table's id. @throws KeelsonError `INVALID_ARGUMENT` */
export function tableSpan(tableId: TableId): {
  /** First key of the span. */
  readonly start: Uint8Array
  /** First key after the span; undefined for the end of the key space. */
  readonly end: Uint8Array | undefined
} {
  const start = encodeTuple([checkId(tableId, 'a table id')])
  return { start, end: prefixEnd(start) }
}

/** The ranges that hold rows of a table. */
export function rangesOfTable(
  tableId: TableId,
  ranges: readonly RangeDescriptor[],
): readonly RangeDescriptor[] {
  const { start, end } = tableSpan(tableId)
  return ranges.filter(
    (range) =>
      (end === undefined || compareBytes(range.start, end) < 0) &&
      (range.end === undefined || compareBytes(range.end, start) > 0),
  )
}

/** Whether two ranges lie in the same table; of keys that are no tuples nobody knows. */
export function ofOneTable(left: RangeDescriptor, right: RangeDescriptor): boolean {
  const [a, b] = [tableAt(left.start), tableAt(right.start)]
  return a !== undefined && a === b
}

function tableAt(key: Uint8Array): TuplePart | undefined {
  try {
    const [first] = decodeTuple(key)
    return typeof first === 'number' ? first : undefined
  } catch {
    return undefined
  }
}
