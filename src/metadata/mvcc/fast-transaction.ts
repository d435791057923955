import type { Compare, KeySelector, Operation, Transaction } from '../../interfaces/metadata-store.ts'
import { type CanonicalCursor, ifCanonical } from './canonical.ts'

const compareTargets = ['createRevision', 'modRevision', 'version', 'session', 'value'] as const
const compareOperators = ['=', '!=', '<', '>'] as const

/** Reads a transaction as our encoder writes it: see {@link ifCanonical}. */
export function readCanonicalTransaction(bytes: Uint8Array, from: number): Required<Transaction> | undefined {
  return ifCanonical(bytes, from, readTransaction)
}

/** Reads the command of a transaction in the same way. */
export function readCanonicalCommand(
  bytes: Uint8Array,
  version: number,
  type: number,
): { readonly quotaBytes: number; readonly transaction: Required<Transaction> } | undefined {
  return ifCanonical(bytes, 0, (cursor) => {
    cursor.expect(4)
    if (cursor.uint() !== version || cursor.uint() !== type) return cursor.refuse()
    return { quotaBytes: cursor.uint(), transaction: readTransaction(cursor) }
  })
}

/** Whether a transaction is encoded as our encoder does it, without making one of it. */
export function isCanonicalTransaction(bytes: Uint8Array): boolean {
  return ifCanonical(bytes, 0, skipTransaction) === true
}

function readTransaction(cursor: CanonicalCursor): Required<Transaction> {
  cursor.expect(3)
  return {
    if: cursor.list(readCompare),
    then: cursor.list(readOperation),
    else: cursor.list(readOperation),
  }
}

function skipTransaction(cursor: CanonicalCursor): true {
  cursor.expect(3)
  cursor.each(readCompare)
  cursor.each(skipOperation)
  cursor.each(skipOperation)
  return true
}

/** Puts are nearly all that there is. */
function skipOperation(cursor: CanonicalCursor): void {
  const from = cursor.at
  const count = cursor.array()
  if (cursor.uint() === 0 && count === 4) {
    cursor.skipBytes()
    cursor.skipBytes()
    cursor.uint()
    return
  }
  cursor.at = from
  readOperation(cursor)
}

function readSelector(cursor: CanonicalCursor): KeySelector {
  const count = cursor.array()
  if (count === 1) return { key: cursor.bytes() }
  if (count !== 2) return cursor.refuse()
  return { key: cursor.bytes(), end: cursor.isNull() ? null : cursor.bytes() }
}

function readCompare(cursor: CanonicalCursor): Compare {
  cursor.expect(4)
  const key = cursor.bytes()
  const target = compareTargets[cursor.uint()]
  const is = compareOperators[cursor.uint()]
  if (target === undefined || is === undefined) return cursor.refuse()
  if (target !== 'value') return { key, target, is, operand: cursor.uint() }
  if (is !== '=' && is !== '!=') return cursor.refuse()
  return { key, target, is, operand: cursor.bytes() }
}

function readOperation(cursor: CanonicalCursor): Operation {
  const count = cursor.array()
  const type = cursor.uint()
  if (type === 0 && count === 4)
    return { type: 'put', key: cursor.bytes(), value: cursor.bytes(), session: cursor.uint() }
  if (type === 1 && count === 2) return { type: 'delete', select: readSelector(cursor) }
  if (type !== 2 || count !== 3) return cursor.refuse()
  const select = readSelector(cursor)
  return cursor.isNull() ? { type: 'range', select } : { type: 'range', select, limit: cursor.uint() }
}
