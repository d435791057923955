import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { type ErrorCode, KeelsonError } from '../../src/core/errors.ts'
import { type Decoder, decoders } from './decoders.ts'

/** What bytes of no meaning may be called. */
const codes: readonly ErrorCode[] = [
  'MALFORMED',
  'CORRUPTION',
  'FORMAT_VERSION',
  'PROTOCOL_VERSION',
  'FOREIGN_CLUSTER',
  'FOREIGN_NODE',
  // A name of the wrong form inside, a list that is too long, a command of a later release.
  'INVALID_ARGUMENT',
  'LIMIT_EXCEEDED',
  'UNSUPPORTED',
]

/** Values that stand at the beginning of something longer than any input: strings, bytes, arrays, numbers. */
const lies: readonly (readonly number[])[] = [
  [0x00],
  [0xff],
  [0x7f],
  [0x80],
  [0xc1],
  [0xc7, 0xff, 0x00],
  [0xdd, 0xff, 0xff, 0xff, 0xff],
  [0xdc, 0xff, 0xff],
  [0xc6, 0xff, 0xff, 0xff, 0xff],
  [0xdb, 0xff, 0xff, 0xff, 0xff],
  [0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
  [0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
]

/** Those that a host program may give anything to. */
const published = [
  'decodePlain',
  'text',
  'decodeTuple',
  'ByteReader',
  'decodeRangeDescriptor',
  'decodeWantedRange',
  'decodeNodeRecord',
  'decodeNodeReport',
  'decodeJoinRequest',
  'decodeTable',
  'decodePacket',
]

function read({ name, decode }: Decoder, bytes: Uint8Array): boolean {
  try {
    decode(bytes)
    return true
  } catch (error) {
    if (KeelsonError.is(error) && codes.includes(error.code)) return false
    return assert.fail(`${name} of ${Buffer.from(bytes).toString('hex')}: ${inspect(error)}`)
  }
}

/** Every cut of a sample, every byte of it changed, every lie in every place. */
function* damaged(sample: Uint8Array): Iterable<Uint8Array> {
  for (let at = 0; at < sample.length; at++) {
    yield sample.slice(0, at)
    for (const lie of lies) {
      const overwritten = Uint8Array.from([
        ...sample.subarray(0, at),
        ...lie,
        ...sample.subarray(at + lie.length),
      ])
      yield overwritten
      yield overwritten.subarray(0, at + lie.length)
    }
    const flipped = sample.slice()
    flipped[at] = (flipped[at] as number) ^ 0x40
    yield flipped
    const next = sample.slice()
    next[at] = ((next[at] as number) + 1) & 0xff
    yield next
  }
  yield Uint8Array.from([...sample, ...sample])
  yield Uint8Array.from([...sample, 0])
}

suite('every decoder', () => {
  test('is in the table', () => {
    const names = new Set(decoders.map(({ name }) => name))
    const source = fileURLToPath(new URL('../../../src/', import.meta.url))
    const missing: string[] = []
    let found = 0
    for (const file of readdirSync(source, { recursive: true, encoding: 'utf8' })) {
      if (!file.endsWith('.ts')) continue
      const exported = readFileSync(join(source, file), 'utf8').matchAll(
        /^export (?:function|class) (decode\w+|\w+Decoder|FrameReader|readBookkeeping|parse\w+Key)\b/gm,
      )
      for (const [, name] of exported) {
        found++
        if (!names.has(name as string)) missing.push(`${name} of ${file}`)
      }
    }
    assert.ok(found > 50, `${found}`)
    assert.deepEqual(missing, [])
  })

  for (const decoder of decoders) {
    test(decoder.name, () => {
      const { samples, name, decode } = decoder
      for (const sample of samples) {
        assert.ok(read(decoder, sample), `${name} refuses its own sample`)
        let refused = 0
        for (const bytes of damaged(sample)) if (!read(decoder, bytes)) refused++
        // What is not told apart from damage is not checked at all. A header that is not there is undefined.
        if (
          !['decodeSegmentHeader', 'decodeRefusal', 'decodeEnvelope', 'decodeBatchEnvelope', 'text'].includes(
            name,
          )
        )
          assert.ok(refused > sample.length, `${name} refuses ${refused} of all damages`)
      }
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => void read(decoder, bytes)),
        { numRuns: 300 },
      )
      if (!published.includes(name)) return
      for (const nothing of [undefined, null, 5, 'bytes', {}, [1, 2], new DataView(new ArrayBuffer(4))]) {
        assert.throws(
          () => decode(nothing as never),
          (error) => KeelsonError.is(error),
          `${name} of ${inspect(nothing)}`,
        )
      }
    })
  }
})
