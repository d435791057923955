import assert from 'node:assert/strict'
import { test } from 'node:test'
import { crc32 as native } from 'node:zlib'
import fc from 'fast-check'
import {
  ByteReader,
  ByteWriter,
  compareBytes,
  concatBytes,
  copyBytes,
  equalBytes,
  hex,
  prefixEnd,
  text,
  utf8,
} from '../../src/core/bytes.ts'
import { crc32, crc32AndFnv1a, crc32c, crc32Part } from '../../src/core/checksum.ts'

test('what a writer writes a reader reads', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.record({ kind: fc.constant('varint' as const), value: fc.maxSafeNat() }),
          fc.record({ kind: fc.constant('u53' as const), value: fc.maxSafeNat() }),
          fc.record({ kind: fc.constant('u32' as const), value: fc.integer({ min: 0, max: 0xffffffff }) }),
          fc.record({ kind: fc.constant('f64' as const), value: fc.double({ noNaN: true }) }),
          fc.record({ kind: fc.constant('bytes' as const), value: fc.uint8Array({ maxLength: 300 }) }),
          fc.record({ kind: fc.constant('string' as const), value: fc.string({ unit: 'grapheme' }) }),
        ),
      ),
      (fields) => {
        const writer = new ByteWriter(1)
        for (const field of fields) (writer[field.kind] as (value: unknown) => void).call(writer, field.value)
        const reader = new ByteReader(writer.finish(), 'a record')
        for (const field of fields) assert.deepEqual(reader[field.kind](), field.value)
        reader.end()
      },
    ),
  )
})

test('a reader refuses what is cut short, too long or too large, and never reads beyond its input', () => {
  const bytes = new ByteWriter().string('keelson').finish()
  for (let cut = 0; cut < bytes.length; cut++) {
    assert.throws(() => new ByteReader(bytes.subarray(0, cut), 'a record').string(), { code: 'MALFORMED' })
  }
  const extra = new ByteReader(concatBytes([bytes, new Uint8Array(1)]), 'a record')
  extra.string()
  assert.throws(() => extra.end(), { code: 'MALFORMED', message: /1 bytes too many/ })
  const huge = new Uint8Array(9).fill(0xff)
  assert.throws(() => new ByteReader(huge, 'a record').varint(), { code: 'MALFORMED' })
  assert.throws(() => new ByteReader(huge, 'a record').u53(), { code: 'MALFORMED' })
  assert.throws(() => new ByteReader(new Uint8Array([2, 0xc3, 0x28]), 'a record').string(), {
    code: 'MALFORMED',
  })
})

test('the order of bytes is that of unsigned bytes, a prefix first', () => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.uint8Array(), (a, b) => {
      assert.equal(Math.sign(compareBytes(a, b)), Math.sign(Buffer.compare(a, b)))
      assert.equal(equalBytes(a, b), Buffer.compare(a, b) === 0)
    }),
  )
})

test('a prefix range holds exactly the keys with the prefix', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 4 }),
      fc.uint8Array({ maxLength: 6 }),
      (prefix, key) => {
        const end = prefixEnd(prefix)
        const inside = compareBytes(key, prefix) >= 0 && (end === undefined || compareBytes(key, end) < 0)
        assert.equal(inside, Buffer.from(key).subarray(0, prefix.length).equals(prefix))
      },
    ),
  )
  assert.equal(prefixEnd(new Uint8Array([0xff, 0xff])), undefined)
})

test('patches stay inside, hex and text are what they say', () => {
  const writer = new ByteWriter(2).u32(0).u8(9)
  writer.patchU32(0, 0xdeadbeef)
  assert.equal(hex(writer.view()), 'efbeadde09')
  assert.throws(() => writer.patchU32(2, 1), { code: 'INVARIANT_VIOLATED' })
  assert.equal(text(utf8('Çeşme')), 'Çeşme')
})

test('the checksum is CRC-32 for short and long input, and can be continued', () => {
  assert.equal(crc32(utf8('123456789')), 0xcbf43926)
  assert.equal(crc32c(utf8('123456789')), 0xe3069283)
  // RFC 3720, appendix B.4.
  assert.equal(crc32c(new Uint8Array(32)), 0x8a9136aa)
  assert.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.uint8Array({ maxLength: 200 }), (a, b) => {
      assert.equal(crc32(b, crc32(a)), crc32(concatBytes([a, b])))
    }),
  )
})

test('a copy is independent of its original, also of a Buffer', () => {
  for (const original of [new Uint8Array([1, 2]), Buffer.from([1, 2])]) {
    const copy = copyBytes(original)
    original[0] = 9
    assert.deepEqual([...copy], [1, 2])
  }
})

test('checksums of any length and of parts are those of zlib', () => {
  const bytes = fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ minLength: 200, maxLength: 1100 }))
  fc.assert(
    fc.property(bytes, bytes, (first, behind) => {
      const whole = concatBytes([first, behind])
      const checksum = native(whole)
      assert.equal(crc32(whole), checksum)
      assert.equal(crc32(behind, crc32(first)), checksum)
      assert.equal(crc32Part(whole, first.length, whole.length), native(behind))
      const both = new Int32Array(2)
      crc32AndFnv1a(whole, first.length, whole.length, both)
      let fnv = 0x811c9dc5
      for (const byte of behind) fnv = Math.imul(fnv ^ byte, 0x01000193)
      assert.deepEqual([...both], [native(behind) | 0, fnv | 0])
    }),
  )
})
