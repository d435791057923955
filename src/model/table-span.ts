import { compareBytes, equalBytes, prefixEnd } from '../core/bytes.ts'
import type { RangeDescriptor } from './descriptors.ts'
import { checkId, type TableId } from './ids.ts'
import { decodeTuple, encodeTuple } from './tuple.ts'

/** Bytes of a tuple that holds one number: its tag and the number. */
const prefixBytes = 9

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

/**
 * The table whose rows a range holds, by its bounds: that in whose {@link tableSpan} the range lies as a whole. Undefined
 * where it reaches beyond one table, or its keys are no tuples. What a split makes of a range is so of the same table.
 */
export function tableOf({ start, end }: Pick<RangeDescriptor, 'start' | 'end'>): TableId | undefined {
  if (start.length < prefixBytes || end === undefined) return undefined
  const prefix = start.subarray(0, prefixBytes)
  const tableId = numberOf(prefix)
  if (tableId === undefined) return undefined
  if (end.length >= prefixBytes && equalBytes(end.subarray(0, prefixBytes), prefix)) return tableId
  const last = prefixEnd(prefix)
  return last !== undefined && equalBytes(end, last) ? tableId : undefined
}

/** Whether two ranges lie in the same table; of keys that are no tuples nobody knows. */
export function ofOneTable(left: RangeDescriptor, right: RangeDescriptor): boolean {
  const table = tableOf(left)
  return table !== undefined && table === tableOf(right)
}

function numberOf(prefix: Uint8Array): TableId | undefined {
  try {
    const [first] = decodeTuple(prefix)
    return Number.isSafeInteger(first) && (first as number) > 0 ? (first as number) : undefined
  } catch {
    return undefined
  }
}
