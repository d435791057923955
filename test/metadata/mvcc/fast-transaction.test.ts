import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { decodePlain, encodePlain, Fields, type Plain } from '../../../src/core/codec.ts'
import type { Compare, KeySelector, Operation, Transaction } from '../../../src/interfaces/metadata-store.ts'
import {
  decodeCommand,
  encodeCommand,
  encodeTransactionCommand,
} from '../../../src/metadata/mvcc/commands.ts'
import { readCanonicalTransaction } from '../../../src/metadata/mvcc/fast-transaction.ts'
import { transactionFromFields, transactionToPlain } from '../../../src/metadata/mvcc/wire.ts'

const bytes = fc.uint8Array({ maxLength: 300 })
const number = fc.oneof(
  fc.nat(),
  fc.constantFrom(0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32),
  fc.maxSafeNat(),
)
const select: fc.Arbitrary<KeySelector> = fc.oneof(
  bytes.map((key) => ({ key })),
  fc.record({ key: bytes, end: fc.oneof(bytes, fc.constant(null)) }),
)
const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({ type: fc.constant('put' as const), key: bytes, value: bytes, session: number }),
  fc.record({ type: fc.constant('delete' as const), select }),
  fc.record({ type: fc.constant('range' as const), select }),
  fc.record({ type: fc.constant('range' as const), select, limit: number }),
)
const compare: fc.Arbitrary<Compare> = fc.oneof(
  fc.record({
    key: bytes,
    target: fc.constantFrom('createRevision' as const, 'modRevision', 'version', 'session'),
    is: fc.constantFrom('=' as const, '!=', '<', '>'),
    operand: number,
  }),
  fc.record({
    key: bytes,
    target: fc.constant('value' as const),
    is: fc.constantFrom('=' as const, '!='),
    operand: bytes,
  }),
)
const transaction: fc.Arbitrary<Required<Transaction>> = fc.record({
  if: fc.array(compare, { maxLength: 20 }),
  then: fc.array(operation, { maxLength: 20 }),
  else: fc.array(operation, { maxLength: 3 }),
})

function thoroughly(encoded: Uint8Array): Required<Transaction> {
  const limits = { depth: 10, values: 200_000 }
  return transactionFromFields(new Fields(decodePlain(encoded, 'a transaction', limits), 'a transaction'))
}

test('what our encoder writes is read as the thorough decoder reads it, and makes the same command', () => {
  fc.assert(
    fc.property(transaction, number, (given, quotaBytes) => {
      const encoded = encodePlain(transactionToPlain(given))
      const read = readCanonicalTransaction(encoded, 0)
      assert.deepEqual(read, thoroughly(encoded))
      const command = encodeTransactionCommand(quotaBytes, encoded) as Uint8Array
      const same = encodeCommand({ type: 'txn', quotaBytes, transaction: given })
      assert.deepEqual([...command], [...same])
      assert.deepEqual(decodeCommand(command), { type: 'txn', quotaBytes, transaction: read })
    }),
    { numRuns: 200 },
  )
})

test('whatever both can read of damaged bytes they read alike', () => {
  let both = 0
  fc.assert(
    fc.property(transaction, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 2 }), (given, damage) => {
      const encoded = encodePlain(transactionToPlain(given))
      for (const [at, byte] of damage) encoded[at % encoded.length] = byte
      const read = readCanonicalTransaction(encoded, 0)
      if (read === undefined) return
      both++
      assert.deepEqual(read, thoroughly(encoded))
    }),
    { numRuns: 500 },
  )
  assert.ok(both > 50, `${both} were read`)
})

test('what a later release may add does not get into the log unseen', () => {
  const put = [0, Uint8Array.of(1), Uint8Array.of(2), 0]
  const longer: readonly Plain[] = [
    [[], [put], [], 'more'],
    [[], [[...put, 'more']], []],
    [[], [[3, Uint8Array.of(1)]], []],
    [[], [[1, [Uint8Array.of(1), null, 'more']]], []],
    [[[Uint8Array.of(1), 0, 0, 1, 'more']], [], []],
  ]
  for (const each of longer) assert.equal(encodeTransactionCommand(1, encodePlain(each)), undefined)
  const whole = encodePlain([[], [put], []])
  assert.notEqual(encodeTransactionCommand(1, whole), undefined)
  assert.equal(encodeTransactionCommand(1, whole.subarray(0, -1)), undefined)
  assert.equal(encodeTransactionCommand(1, new Uint8Array([...whole, 0])), undefined)
})
