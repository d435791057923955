import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { firstFew } from '../../../src/placement/core/first-few.ts'

test('the first few are what sorting all would begin with', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(50)), fc.integer({ min: 1, max: 20 }), (numbers, count) => {
      const items = numbers.map((value, at) => ({ value, at }))
      const compare = (a: { value: number }, b: { value: number }): number => a.value - b.value
      assert.deepEqual(firstFew(items, count, compare), [...items].sort(compare).slice(0, count))
    }),
  )
})
