import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { decodePlain, encodePlain, type Plain } from '../../src/core/codec.ts'
import { KeelsonError } from '../../src/core/errors.ts'
import { dataToPlain, plainToData } from '../../src/core/plain-data.ts'

const limits = { depth: 8, values: 10_000 }

function sent(data: unknown): unknown {
  return plainToData(decodePlain(encodePlain(dataToPlain(data, 'data', limits)), 'data', limits), 'data')
}

const names = fc.oneof(
  fc.constantFrom('__proto__', 'constructor', 'length', 'ms', 'Infinity', '', '0'),
  fc.string({ unit: 'grapheme' }),
)

const data = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(null, 'Infinity', 'NaN', Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN),
    fc.boolean(),
    fc.double().map((each) => each + 0),
    fc.maxSafeInteger(),
    fc.string({ unit: 'grapheme' }),
    fc.uint8Array({ maxLength: 20 }),
    fc.array(tie('value'), { maxLength: 6 }),
    fc.array(fc.tuple(names, tie('value')), { maxLength: 6 }).map((entries) => Object.fromEntries(entries)),
  ),
})).value

suite('data of named members', () => {
  test('comes back as it was, whatever its members are called and its numbers are', () => {
    fc.assert(fc.property(data, (value) => assert.deepEqual(sent(value), value)))
  })

  test('loses what JSON loses of what is undefined, and nothing else', () => {
    const given = { a: undefined, b: [undefined, 1], c: { d: undefined }, e: null }
    assert.deepEqual(sent(given), JSON.parse(JSON.stringify(given)))
  })

  test('is not made a part of the message that it came in', () => {
    const message = encodePlain(dataToPlain({ key: new Uint8Array([1, 2]) }, 'data', limits))
    const { key } = plainToData(decodePlain(message, 'data'), 'data') as { key: Uint8Array }
    message.fill(0)
    assert.deepEqual(key, new Uint8Array([1, 2]))
  })

  for (const value of [
    1n,
    Symbol('a'),
    () => 1,
    new Map(),
    new Date(0),
    new Float64Array(1),
    new (class {})(),
  ]) {
    test(`is refused rather than lost: ${inspect(value).slice(0, 30)}`, () => {
      const code = 'INVALID_ARGUMENT'
      assert.throws(() => dataToPlain({ value }, 'an answer', limits), { code, message: /an answer holds/ })
    })
  }

  test('is sent only where the receiver takes it: as deep and as many, and no more', () => {
    const nested = (depth: number): unknown => (depth === 0 ? 1 : { in: nested(depth - 1) })
    assert.deepEqual(sent(nested(limits.depth)), nested(limits.depth))
    assert.throws(() => dataToPlain(nested(limits.depth + 1), 'data', limits), { code: 'LIMIT_EXCEEDED' })
    const cyclic: unknown[] = []
    cyclic.push(cyclic)
    assert.throws(() => dataToPlain(cyclic, 'data', limits), { code: 'LIMIT_EXCEEDED' })
    // The list, its kind, and the members.
    const many = Array.from({ length: limits.values - 2 }, () => 1)
    assert.deepEqual(sent(many), many)
    assert.throws(() => dataToPlain([...many, 1], 'data', limits), { code: 'LIMIT_EXCEEDED' })
    const record = Object.fromEntries(Array.from({ length: limits.values / 2 - 1 }, (_, i) => [`n${i}`, i]))
    assert.deepEqual(sent(record), record)
    assert.throws(() => dataToPlain({ ...record, one: 1 }, 'data', limits), { code: 'LIMIT_EXCEEDED' })
  })

  for (const plain of [
    [],
    [2, 1],
    ['a'],
    [null],
    [1, 'a'],
    [1, 7, 7],
    [1, 'a', 1, 'a', 2],
    [0, [[]]],
  ] as Plain[]) {
    test(`is MALFORMED as ${JSON.stringify(plain)}`, () => {
      assert.throws(() => plainToData(plain, 'data'), { code: 'MALFORMED' })
    })
  }

  test('is data or MALFORMED, whatever arrays come', () => {
    const plain = fc.letrec<{ value: Plain }>((tie) => ({
      value: fc.oneof(fc.constantFrom<Plain[]>(0, 1, 'a', null), fc.array(tie('value'), { maxLength: 5 })),
    })).value
    fc.assert(
      fc.property(plain, (value) => {
        try {
          plainToData(value, 'data')
        } catch (error) {
          assert.ok(KeelsonError.hasCode(error, 'MALFORMED'), String(error))
        }
      }),
    )
  })
})
