import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeTuple, rangesOfTable, tableOf, tableSpan } from '../../src/model/index.ts'

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values)

test('a range is of the table in whose span it lies as a whole', () => {
  for (const tableId of [1, 255, 2 ** 40, Number.MAX_SAFE_INTEGER]) {
    const span = tableSpan(tableId)
    const middle = encodeTuple([tableId, 7, 'x'])
    assert.equal(tableOf(span), tableId)
    assert.equal(tableOf({ start: span.start, end: middle }), tableId)
    assert.equal(tableOf({ start: middle, end: span.end }), tableId, 'the right-hand part of a split')
    assert.equal(tableOf({ start: middle, end: encodeTuple([tableId, 8]) }), tableId)
  }
})

test('a range beyond one table is of none', () => {
  const [one, two] = [tableSpan(1), tableSpan(2)]
  assert.equal(tableOf({ start: one.start, end: two.end }), undefined)
  assert.equal(tableOf({ start: one.start, end: undefined }), undefined)
  assert.equal(tableOf({ start: bytes(), end: undefined }), undefined)
  assert.equal(tableOf({ start: bytes(), end: one.end }), undefined)
})

test('keys that are no tuples, or begin with no table, are of none', () => {
  const words = encodeTuple(['orders', 'a row of some length'])
  assert.equal(tableOf({ start: words, end: encodeTuple(['orders', 'b']) }), undefined)
  for (const first of [0, -1, 1.5]) {
    const start = encodeTuple([first])
    assert.equal(tableOf({ start, end: encodeTuple([first, 1]) }), undefined)
  }
  const noTuple = bytes(9, 9, 9, 9, 9, 9, 9, 9, 9, 9)
  assert.equal(tableOf({ start: noTuple, end: bytes(9, 9, 9, 9, 9, 9, 9, 9, 9, 10) }), undefined)
})

test('a table has the ranges that reach into its span', () => {
  const range = (rangeId: number, start: Uint8Array, end: Uint8Array | undefined) => ({
    rangeId,
    start,
    end,
    generation: 1,
    replicas: [],
  })
  const ranges = [
    range(1, bytes(), encodeTuple([1, 5])),
    range(2, encodeTuple([1, 5]), tableSpan(1).end),
    range(3, tableSpan(2).start, undefined),
  ]
  assert.deepEqual(
    rangesOfTable(1, ranges).map(({ rangeId }) => rangeId),
    [1, 2],
  )
  assert.deepEqual(
    rangesOfTable(9, ranges).map(({ rangeId }) => rangeId),
    [3],
  )
})
