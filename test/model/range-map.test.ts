import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { utf8 } from '../../src/core/bytes.ts'
import type { RangeDescriptor } from '../../src/model/descriptors.ts'
import { RangeMap, rangeContains } from '../../src/model/range-map.ts'

function range(rangeId: number, start: string, end: string | undefined, generation = 1): RangeDescriptor {
  return {
    rangeId,
    start: utf8(start),
    end: end === undefined ? undefined : utf8(end),
    generation,
    replicas: [],
  }
}

test('keys find their range, and gaps are told', () => {
  const map = new RangeMap([range(1, '', 'g'), range(3, 'p', undefined)])
  assert.equal(map.lookup(utf8('a'))?.rangeId, 1)
  assert.equal(map.lookup(utf8('g')), undefined)
  assert.equal(map.lookup(utf8('zz'))?.rangeId, 3)
  assert.equal(map.firstGap(), 'before range 3')
  assert.ok(map.update(range(2, 'g', 'p')))
  assert.equal(map.firstGap(), undefined)
  map.forget(3)
  assert.equal(map.firstGap(), 'after the last range')
  assert.equal(new RangeMap().firstGap(), 'there are no ranges')
})

test('only a higher generation replaces', () => {
  const map = new RangeMap([range(1, '', undefined, 5)])
  assert.equal(map.update(range(1, '', undefined, 5)), false)
  assert.equal(map.update(range(1, '', undefined, 4)), false)
  assert.ok(map.update(range(1, '', 'm', 6)))
  assert.ok(map.update(range(2, 'm', undefined, 6)))
  assert.equal(map.update(range(1, '', undefined, 5)), false)
  assert.equal(map.size, 2)
})

test('an empty or reversed range is refused', () => {
  assert.throws(() => new RangeMap([range(1, 'b', 'a')]), { code: 'INVALID_ARGUMENT' })
})

test('in whatever order descriptors come, ranges never overlap and a lookup agrees with a scan', () => {
  const key = fc.integer({ min: 0, max: 20 }).map((n) => String.fromCharCode(97 + n))
  const descriptor = fc
    .tuple(fc.integer({ min: 1, max: 9 }), key, key, fc.integer({ min: 1, max: 6 }))
    .filter(([, a, b]) => a !== b)
    .map(([id, a, b, generation]) => (a < b ? range(id, a, b, generation) : range(id, b, a, generation)))
  fc.assert(
    fc.property(fc.array(descriptor, { maxLength: 30 }), key, (descriptors, wanted) => {
      const map = new RangeMap(descriptors)
      const ranges = map.ranges()
      for (let i = 1; i < ranges.length; i++) {
        const previous = ranges[i - 1] as RangeDescriptor
        assert.ok(
          previous.end !== undefined &&
            Buffer.compare(previous.end, (ranges[i] as RangeDescriptor).start) <= 0,
        )
      }
      assert.equal(
        map.lookup(utf8(wanted)),
        ranges.find((candidate) => rangeContains(candidate, utf8(wanted))),
      )
    }),
  )
})
