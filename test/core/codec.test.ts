import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Packr } from 'msgpackr/pack'
import { decodePlain, encodePlain, Fields, type Plain } from '../../src/core/codec.ts'
import { KeelsonError } from '../../src/core/errors.ts'

const plain = fc.letrec<{ value: Plain }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constant(null),
    fc.boolean(),
    fc.maxSafeInteger(),
    fc.double({ noNaN: true }),
    fc.string({ unit: 'grapheme' }),
    fc.uint8Array({ maxLength: 100 }),
    fc.array(tie('value'), { maxLength: 20 }),
  ),
})).value

function normal(value: Plain): unknown {
  if (value instanceof Uint8Array) return [...value]
  if (Array.isArray(value)) return value.map((item: Plain) => normal(item))
  return value === 0 ? 0 : value
}

test('plain values survive the codec', () => {
  fc.assert(
    fc.property(plain, (value) => {
      assert.deepEqual(normal(decodePlain(encodePlain(value), 'a value')), normal(value))
    }),
  )
})

test('encoded bytes belong to the caller: the next encoding does not touch them', () => {
  const first = encodePlain(['a', 1])
  const copy = first.slice()
  encodePlain(['b', 2])
  assert.deepEqual(first, copy)
})

test('whatever bytes come, decoding gives a value or MALFORMED', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        decodePlain(bytes, 'input')
      } catch (error) {
        assert.ok(KeelsonError.hasCode(error, 'MALFORMED'), String(error))
      }
    }),
    { numRuns: 3_000 },
  )
})

test('damaged encodings give a value or MALFORMED, never another exception', () => {
  const bytes = encodePlain([1, 'text', [new Uint8Array(20), null, [2 ** 40, -1.5]]])
  for (let at = 0; at < bytes.length; at++) {
    for (let flip = 1; flip < 256; flip++) {
      const damaged = bytes.slice()
      damaged[at] = (damaged[at] as number) ^ flip
      try {
        decodePlain(damaged, 'input')
      } catch (error) {
        assert.ok(KeelsonError.hasCode(error, 'MALFORMED'), String(error))
      }
    }
  }
})

test('records, maps, dates, sets and other extensions are refused before they are decoded', () => {
  const records = new Packr({ useRecords: true, structures: [] }).pack({ a: 1 })
  const maps = new Packr({ useRecords: false }).pack({ a: 1 })
  const date = new Packr().pack(new Date(0))
  for (const bytes of [records, maps, date]) {
    assert.throws(() => decodePlain(bytes, 'input'), { code: 'MALFORMED' })
  }
})

test('limits hold before anything is allocated', () => {
  const bomb = new Uint8Array([0xdd, 0xff, 0xff, 0xff, 0xff])
  assert.throws(() => decodePlain(bomb, 'input'), {
    code: 'MALFORMED',
    message: /more values than it has bytes/,
  })
  const deep = new Uint8Array(10_000).fill(0x91)
  assert.throws(() => decodePlain(deep, 'input'), { code: 'MALFORMED', message: /nested deeper/ })
  assert.throws(() => decodePlain(encodePlain([1, 2, 3]), 'input', { depth: 4, values: 3 }), {
    code: 'MALFORMED',
  })
  const big = new Uint8Array([0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
  assert.throws(() => decodePlain(big, 'input'), { code: 'MALFORMED', message: /above the safe ones/ })
})

test('fields are checked one by one, and a newer peer may append some', () => {
  const message = [7, 'db1', new Uint8Array([1]), null, [[1, true]], [4, 5], 'later']
  const fields = new Fields(decodePlain(encodePlain(message), 'hello'), 'hello')
  assert.equal(fields.uint('term'), 7)
  assert.equal(fields.string('node'), 'db1')
  assert.deepEqual([...fields.bytes('token')], [1])
  assert.equal(
    fields.optional((f) => f.uint('hint')),
    undefined,
  )
  assert.deepEqual(
    fields.list('votes', (f) => [f.uint('replica'), f.boolean('granted')]),
    [[1, true]],
  )
  assert.deepEqual(
    fields.scalars('ids', (f) => f.uint('id')),
    [4, 5],
  )
  assert.equal(fields.more, true)
  assert.throws(() => new Fields([-1], 'hello').uint('term'), {
    code: 'MALFORMED',
    message: 'hello: term is not an integer of at least 0',
  })
  assert.throws(() => new Fields([], 'hello').string('node'), { code: 'MALFORMED' })
  assert.throws(() => new Fields('no', 'hello'), { code: 'MALFORMED' })
  assert.throws(() => new Fields(['x'], 'hello').oneOf('kind', ['a', 'b']), { code: 'MALFORMED' })
})
