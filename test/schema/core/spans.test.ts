import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { coversRange, type Spans, withSpan } from '../../../src/schema/core/spans.ts'

test('spans cover a range exactly when every key of it was added', () => {
  const end = 40
  const range = fc
    .tuple(fc.nat({ max: end }), fc.nat({ max: end }))
    .map(([a, b]) => [Math.min(a, b), Math.max(a, b) + 1] as const)
  const bounds = ([from, to]: readonly [number, number]) => ({
    start: Uint8Array.of(from),
    end: to > end ? undefined : Uint8Array.of(to),
  })
  fc.assert(
    fc.property(fc.array(range, { maxLength: 12 }), range, (added, asked) => {
      let spans: Spans = []
      const keys = new Set<number>()
      for (const each of added) {
        spans = withSpan(spans, bounds(each))
        for (let key = each[0]; key < each[1]; key++) keys.add(key)
      }
      let covered = true
      for (let key = asked[0]; key < asked[1]; key++) covered &&= keys.has(key)
      assert.equal(coversRange(spans, bounds(asked)), covered)
      for (const [i, span] of spans.entries()) {
        const before = spans[i - 1]
        assert.ok(before === undefined || Buffer.compare(before.end as Uint8Array, span.start) < 0)
      }
    }),
    { numRuns: 500 },
  )
})
