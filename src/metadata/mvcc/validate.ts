import { compareBytes, concatBytes } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { Compare, KeySelector, Operation, Transaction } from '../../interfaces/metadata-store.ts'
import { isEmpty } from './key-range.ts'
import { commandLimits } from './limits.ts'

function refuse(problem: string): never {
  throw new KeelsonError('INVALID_ARGUMENT', problem)
}

function tooMuch(problem: string): never {
  throw new KeelsonError('LIMIT_EXCEEDED', problem)
}

function checkBytes(value: unknown, what: string): asserts value is Uint8Array {
  if (!(value instanceof Uint8Array)) refuse(`${what} must be a Uint8Array`)
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/** Checks a key that is to be written or read. @throws KeelsonError `INVALID_ARGUMENT`, `LIMIT_EXCEEDED` */
export function checkKey(key: unknown): void {
  checkBytes(key, 'a key')
  if (key.length === 0) refuse('a key must have at least one byte')
  if (key.length > commandLimits.keyBytes)
    tooMuch(`a key has at most ${commandLimits.keyBytes} bytes, not ${key.length}`)
}

/** Checks a selection. @throws KeelsonError `INVALID_ARGUMENT`, `LIMIT_EXCEEDED` */
export function checkSelector(select: KeySelector): void {
  if (typeof select !== 'object' || select === null) refuse('a selection must be an object with key and end')
  if (select.end === undefined) {
    checkKey(select.key)
    return
  }
  for (const bound of [select.key, select.end ?? new Uint8Array(0)]) {
    checkBytes(bound, 'a bound of a selection')
    if (bound.length > commandLimits.keyBytes)
      tooMuch(`a bound of a selection has at most ${commandLimits.keyBytes} bytes, not ${bound.length}`)
  }
}

function checkCompare(compare: Compare): void {
  checkKey(compare.key)
  if (compare.target === 'value') {
    checkBytes(compare.operand, 'the operand of a compare of values')
    if (compare.is !== '=' && compare.is !== '!=') refuse('values are compared with = or !=')
    return
  }
  if (!['createRevision', 'modRevision', 'version', 'session'].includes(compare.target))
    refuse(`a compare has no target ${JSON.stringify(compare.target)}`)
  if (!['=', '!=', '<', '>'].includes(compare.is)) refuse(`a compare knows =, !=, < and >, not ${compare.is}`)
  if (!isCount(compare.operand)) refuse('the operand of a compare of numbers must be a safe integer from 0')
}

function checkOperation(operation: Operation): number {
  if (operation.type === 'put') {
    checkKey(operation.key)
    checkBytes(operation.value, 'a value')
    if (operation.value.length > commandLimits.valueBytes)
      tooMuch(`a value has at most ${commandLimits.valueBytes} bytes, not ${operation.value.length}`)
    if (operation.session !== undefined && !isCount(operation.session)) refuse('a session id is a number')
    return operation.key.length + operation.value.length
  }
  if (operation.type !== 'delete' && operation.type !== 'range')
    refuse(`a transaction has no operation ${JSON.stringify((operation as Operation).type)}`)
  checkSelector(operation.select)
  if (operation.type === 'range' && operation.limit !== undefined && !isCount(operation.limit))
    refuse('the limit of a range must be a safe integer from 0')
  return 0
}

/** What an operation may change, as a stretch from `key` up to but without `end`; null for no end. */
function written(operation: Operation): { readonly key: Uint8Array; readonly end: Uint8Array | null }[] {
  const select = operation.type === 'put' ? { key: operation.key } : operation.select
  if (operation.type === 'range' || isEmpty(select)) return []
  // The first key behind a key is the key with a zero byte.
  const end = select.end === undefined ? concatBytes([select.key, Uint8Array.of(0)]) : select.end
  return [{ key: select.key, end }]
}

/** By their text alone, so that the answer does not depend on what the store holds. */
function checkWritesApart(operations: readonly Operation[]): void {
  const writes = operations.flatMap(written).sort((a, b) => compareBytes(a.key, b.key))
  for (let i = 1; i < writes.length; i++) {
    // Until the first overlap the ends ascend with the starts, so that neighbours tell all.
    const end = writes[i - 1]?.end as Uint8Array | null
    const start = writes[i]?.key as Uint8Array
    if (end === null || compareBytes(start, end) < 0)
      refuse(`two writes of a transaction touch ${JSON.stringify(showKey(start))}: make them one`)
  }
}

function showKey(key: Uint8Array): string {
  return String.fromCharCode(...key.subarray(0, 64))
}

/** Checks all about a transaction that needs no state. @throws KeelsonError `INVALID_ARGUMENT`, `LIMIT_EXCEEDED` */
export function checkTransaction(transaction: Transaction): void {
  if (typeof transaction !== 'object' || transaction === null) refuse('a transaction must be an object')
  const compares = transaction.if ?? []
  const branches = [transaction.then ?? [], transaction.else ?? []] as const
  for (const list of [compares, ...branches])
    if (!Array.isArray(list)) refuse('if, then and else of a transaction must be arrays')
  const steps = compares.length + branches[0].length + branches[1].length
  if (steps > commandLimits.operations)
    tooMuch(`a transaction has at most ${commandLimits.operations} compares and operations, not ${steps}`)
  let bytes = 0
  for (const compare of compares) {
    checkCompare(compare)
    bytes += compare.key.length + (compare.target === 'value' ? compare.operand.length : 0)
  }
  for (const operations of branches) {
    for (const operation of operations) bytes += checkOperation(operation)
    checkWritesApart(operations)
  }
  if (bytes > commandLimits.transactionBytes)
    tooMuch(`a transaction carries at most ${commandLimits.transactionBytes} bytes, not ${bytes}`)
}
