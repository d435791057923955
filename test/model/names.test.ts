import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { compareBytes } from '../../src/core/bytes.ts'
import { checkId, checkName } from '../../src/model/ids.ts'
import { diversity, formatLocality, localityValue, parseLocality } from '../../src/model/locality.ts'
import { decodeTuple, encodeTuple, type TuplePart } from '../../src/model/tuple.ts'

test('names and ids have one form', () => {
  assert.equal(checkName('db-1.eu_west', 'node id'), 'db-1.eu_west')
  for (const bad of ['', 'DB1', '-a', 'a/b', 'a'.repeat(65), 7, undefined]) {
    assert.throws(() => checkName(bad, 'node id'), { code: 'INVALID_ARGUMENT', message: /^node id must be/ })
  }
  assert.equal(checkId(1, 'range id'), 1)
  for (const bad of [0, -1, 1.5, 2 ** 53, '1', undefined]) {
    assert.throws(() => checkId(bad, 'range id'), { code: 'INVALID_ARGUMENT' })
  }
})

test('localities parse, print and compare from the widest tier', () => {
  const a = parseLocality('region=eu,zone=eu-1,rack=7')
  assert.equal(formatLocality(a), 'region=eu,zone=eu-1,rack=7')
  assert.equal(localityValue(a, 'zone'), 'eu-1')
  assert.equal(localityValue(a, 'row'), undefined)
  assert.deepEqual(parseLocality(''), [])
  assert.equal(diversity(a, parseLocality('region=us,zone=us-1,rack=7')), 1)
  assert.equal(diversity(a, parseLocality('region=eu,zone=eu-2,rack=7')), 2 / 3)
  assert.equal(diversity(a, a), 0)
  for (const bad of ['zone', 'zone=', 'zone=a,zone=b', 'zone=a,', 'Zone=a']) {
    assert.throws(() => parseLocality(bad), { code: 'INVALID_ARGUMENT' })
  }
})

const part = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 6 }),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => n + 0),
  fc.integer({ min: -5, max: 5 }),
  fc.uint8Array({ maxLength: 4 }),
)

function compareParts(a: TuplePart, b: TuplePart): number {
  const rank = (p: TuplePart): number => (p instanceof Uint8Array ? 0 : typeof p === 'string' ? 1 : 2)
  if (rank(a) !== rank(b)) return rank(a) - rank(b)
  if (typeof a === 'number') return a - (b as number)
  return Buffer.compare(Buffer.from(a as string), Buffer.from(b as string))
}

test('tuples come back as they went in', () => {
  fc.assert(
    fc.property(fc.array(part, { maxLength: 5 }), (parts) => {
      const normal = (p: TuplePart): unknown => (p instanceof Uint8Array ? [...p] : p === 0 ? 0 : p)
      assert.deepEqual(decodeTuple(encodeTuple(parts)).map(normal), parts.map(normal))
    }),
  )
})

test('the byte order of keys is the order of their tuples', () => {
  fc.assert(
    fc.property(fc.array(part, { maxLength: 4 }), fc.array(part, { maxLength: 4 }), (a, b) => {
      let expected = a.length - b.length
      for (let i = 0; i < Math.min(a.length, b.length); i++) {
        const order = compareParts(a[i] as TuplePart, b[i] as TuplePart)
        if (order !== 0) {
          expected = order
          break
        }
      }
      assert.equal(Math.sign(compareBytes(encodeTuple(a), encodeTuple(b))), Math.sign(expected))
    }),
    { numRuns: 500 },
  )
})

test('a broken key is refused', () => {
  for (const bytes of [[9], [2, 65], [3, 1, 2]]) {
    assert.throws(() => decodeTuple(new Uint8Array(bytes)), { code: 'MALFORMED' })
  }
  assert.throws(() => encodeTuple([Number.NaN]), { code: 'INVALID_ARGUMENT' })
})
