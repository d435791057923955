import { checkBytes, checkMembers } from '../../core/arguments.ts'
import { compareBytes, concatBytes } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import { showValue } from '../../core/options.ts'
import type { Compare, KeySelector, Operation, Transaction } from '../../interfaces/metadata-store.ts'
import { isEmpty } from './key-range.ts'
import { commandLimits } from './limits.ts'

function refuse(problem: string): never {
  throw new KeelsonError('INVALID_ARGUMENT', problem)
}

function tooMuch(problem: string): never {
  throw new KeelsonError('LIMIT_EXCEEDED', problem)
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/** Checks a key that is to be written or read. @throws KeelsonError `INVALID_ARGUMENT`, `LIMIT_EXCEEDED` */
export function checkKey(key: unknown): void {
  const { length } = checkBytes(key, 'a key')
  if (length === 0) refuse('a key must have at least one byte')
  if (length > commandLimits.keyBytes)
    tooMuch(`a key has at most ${commandLimits.keyBytes} bytes, not ${length}; keep long names in the value`)
}

/** Checks a selection. @throws KeelsonError `INVALID_ARGUMENT`, `LIMIT_EXCEEDED` */
export function checkSelector(select: KeySelector): void {
  checkMembers(select, 'a selection', ['key', 'end'])
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
  checkMembers(compare, 'a compare', ['key', 'target', 'is', 'operand'])
  checkKey(compare.key)
  if (compare.target === 'value') {
    checkBytes(compare.operand, 'the operand of a compare of values')
    if (compare.is !== '=' && compare.is !== '!=') refuse('values are compared with = or !=')
    return
  }
  if (!['createRevision', 'modRevision', 'version', 'session'].includes(compare.target))
    refuse(
      `a compare has the targets value, version, createRevision, modRevision and session, not ${showValue(compare.target)}`,
    )
  if (!['=', '!=', '<', '>'].includes(compare.is))
    refuse(`a compare knows =, !=, < and >, not ${showValue(compare.is)}`)
  if (!isCount(compare.operand)) refuse('the operand of a compare of numbers must be a safe integer from 0')
}

function checkOperation(operation: Operation): number {
  checkMembers(operation, 'an operation', membersOf(operation))
  if (operation.type === 'put') {
    checkKey(operation.key)
    checkBytes(operation.value, 'a value')
    if (operation.value.length > commandLimits.valueBytes)
      tooMuch(
        `a value has at most ${commandLimits.valueBytes} bytes, not ${operation.value.length}; split it over several keys`,
      )
    if (operation.session !== undefined && !isCount(operation.session))
      refuse('a session id is the number that grantSession gave')
    return operation.key.length + operation.value.length
  }
  if (operation.type !== 'delete' && operation.type !== 'range')
    refuse(
      `a transaction has the operations put, delete and range, not ${showValue((operation as Operation).type)}`,
    )
  checkSelector(operation.select)
  if (operation.type === 'range' && operation.limit !== undefined && !isCount(operation.limit))
    refuse('the limit of a range must be a safe integer from 0')
  return 0
}

const noOperations: readonly Operation[] = Object.freeze([])
const membersOfPut = ['type', 'key', 'value', 'session']
const membersOfRange = ['type', 'select', 'limit']
const membersOfDelete = ['type', 'select']

function membersOf(operation: Operation | undefined): readonly string[] {
  if (operation?.type === 'put') return membersOfPut
  return operation?.type === 'range' ? membersOfRange : membersOfDelete
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
  if (operations.length < 2) return
  const writes = operations.flatMap(written).sort((a, b) => compareBytes(a.key, b.key))
  for (let i = 1; i < writes.length; i++) {
    // Until the first overlap the ends ascend with the starts, so that neighbours tell all.
    const end = writes[i - 1]?.end as Uint8Array | null
    const start = writes[i]?.key as Uint8Array
    if (end === null || compareBytes(start, end) < 0)
      refuse(`two writes of a transaction touch ${showValue(showKey(start))}: make them one`)
  }
}

function showKey(key: Uint8Array): string {
  return String.fromCharCode(...key.subarray(0, 64))
}

/** Checks all about a transaction that needs no state. @throws KeelsonError `INVALID_ARGUMENT`, `LIMIT_EXCEEDED` */
export function checkTransaction(transaction: Transaction): void {
  checkMembers(transaction, 'a transaction', ['if', 'then', 'else'])
  const compares = transaction.if ?? []
  const branches = [transaction.then ?? noOperations, transaction.else ?? noOperations] as const
  if (!Array.isArray(compares) || !Array.isArray(branches[0]) || !Array.isArray(branches[1]))
    refuse('if, then and else of a transaction must be arrays')
  const steps = compares.length + branches[0].length + branches[1].length
  if (steps > commandLimits.operations)
    tooMuch(
      `a transaction has at most ${commandLimits.operations} compares and operations, not ${steps}; make several of it`,
    )
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
    tooMuch(
      `a transaction carries at most ${commandLimits.transactionBytes} bytes, not ${bytes}; make several of it`,
    )
}
