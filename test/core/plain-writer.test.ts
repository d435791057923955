import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { encodePlain, type Plain } from '../../src/core/codec.ts'
import { PlainWriter } from '../../src/core/plain-writer.ts'

function write(out: PlainWriter, value: Plain): void {
  if (value === null) out.null()
  else if (typeof value === 'number') out.uint(value)
  else if (value instanceof Uint8Array) out.bytes(value)
  else {
    const list = value as readonly Plain[]
    out.array(list.length)
    for (const each of list) write(out, each)
  }
}

const edges = [
  0,
  127,
  128,
  255,
  256,
  65_535,
  65_536,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 40,
  Number.MAX_SAFE_INTEGER,
]
const leaf = fc.oneof(
  fc.constantFrom(...edges),
  fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  fc.uint8Array({ maxLength: 300 }),
  fc.constant(null),
)
const { plain } = fc.letrec<{ plain: Plain }>((tie) => ({
  plain: fc.oneof({ maxDepth: 3 }, leaf, fc.array(tie('plain'), { maxLength: 20 })),
}))

test('writes piece by piece what the encoder makes of the whole', () => {
  const out = new PlainWriter()
  const same = (value: Plain): void => {
    write(out.begin(), value)
    assert.deepEqual([...out.end()], [...encodePlain(value)])
  }
  fc.assert(fc.property(plain, same))
  for (const edge of edges) same([edge])
  for (const length of [15, 16, 255, 256, 65_535, 65_536, 300_000]) same([new Uint8Array(length).fill(7)])
  same(Array.from({ length: 70_000 }, () => 1))
  // What was made before is not touched by what is made after it.
  write(out.begin(), [1, 2, 3])
  const first = out.end()
  write(out.begin(), [4, 5, 6])
  out.end()
  assert.deepEqual([...first], [...encodePlain([1, 2, 3])])
})
