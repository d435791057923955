import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { KeelsonError } from '../../../src/core/errors.ts'
import { decodeEnvelope, encodeEnvelope, maximumEnvelopeBytes } from '../../../src/raft/group/envelope.ts'
import { decodeSessionEntry, encodeSessionEntry } from '../../../src/raft/group/session-entry.ts'

const safe = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })

test('an envelope survives the way through the log', () => {
  const id = fc.option(
    fc.tuple(safe, safe).map(([session, sequence]) => ({ session, sequence })),
    { nil: undefined },
  )
  fc.assert(
    fc.property(fc.uint8Array(), safe, id, safe, (payload, token, commandId, acknowledged) => {
      const data = encodeEnvelope(payload, token, commandId, acknowledged)
      assert.ok(data.length <= payload.length + maximumEnvelopeBytes)
      const envelope = decodeEnvelope(data)
      assert.deepEqual([...envelope.payload], [...payload])
      assert.equal(envelope.tokenSequence, token)
      assert.deepEqual(envelope.commandId, commandId)
      assert.equal(envelope.acknowledgedBelow, commandId === undefined ? 0 : acknowledged)
    }),
  )
})

test('a plain command costs two bytes', () => {
  assert.equal(encodeEnvelope(new Uint8Array(100), 0, undefined, 0).length, 102)
})

test('an envelope of another version or with unknown flags is refused by name', () => {
  const data = encodeEnvelope(new Uint8Array(3), 7, undefined, 0)
  data[0] = 2
  assert.throws(() => decodeEnvelope(data), { code: 'FORMAT_VERSION' })
  data[0] = 1
  data[1] = 0x80
  assert.throws(() => decodeEnvelope(data), { code: 'FORMAT_VERSION' })
})

test('no bytes make the envelope decoder or the session decoder fail in an untyped way', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      for (const decode of [decodeEnvelope, decodeSessionEntry]) {
        try {
          decode(bytes)
        } catch (error) {
          assert.ok(KeelsonError.hasCode(error, 'MALFORMED', 'FORMAT_VERSION'))
        }
      }
    }),
  )
})

test('session entries survive the way through the log', () => {
  for (const entry of [
    { type: 'register', maximumSessions: 5, resultsPerSession: 6, unusedBefore: 7 },
    { type: 'evict', sessions: [1, 2 ** 40] },
    { type: 'trim', bytesPerSession: 1, totalBytes: 2 },
  ] as const) {
    assert.deepEqual(decodeSessionEntry(encodeSessionEntry(entry)), entry)
  }
})
