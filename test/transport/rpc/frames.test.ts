import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { BytePool } from '../../../src/core/byte-pool.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { decodeRpc, RpcEncoder, type RpcFrame } from '../../../src/transport/rpc/frames.ts'

const plain = { noNullPrototype: true } as const
const id = fc.maxSafeNat()
const body = fc.uint8Array({ maxLength: 2_000 })
const method = fc.stringMatching(/^[a-z][a-z./-]{0,40}$/)
const streams = fc.array(fc.tuple(id, id), { maxLength: 50 })
const frame: fc.Arbitrary<RpcFrame> = fc.oneof(
  fc.record({ type: fc.constant('request' as const), id, method, body }, plain),
  fc.record({ type: fc.constant('open' as const), id, method, body }, plain),
  fc.record({ type: fc.constant('response' as const), id, body }, plain),
  fc.record({ type: fc.constant('item' as const), id, sequence: id, body }, plain),
  fc.record({ type: fc.constant('end' as const), id, sequence: id }, plain),
  fc.record({ type: fc.constant('credit' as const), id, limit: id }, plain),
  fc.record({ type: fc.constant('cancel' as const), id }, plain),
  fc.record({ type: fc.constant('probe' as const), streams }, plain),
  fc.record({ type: fc.constant('state' as const), streams }, plain),
)

suite('frames of remote calls', () => {
  test('come back as they went', () => {
    const encoder = new RpcEncoder(new BytePool())
    // Encoded one after the other before any is decoded: pooled arrays must not touch each other.
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 20 }), (frames) => {
        const encoded = frames.map((each) => encoder.encode(each))
        assert.deepEqual(encoded.map(decodeRpc), frames)
      }),
    )
  })

  test('carry errors with all that a caller decides by', () => {
    const error = new KeelsonError('COMPACTED', 'x'.repeat(5_000), {
      details: { revision: 7, name: 'y'.repeat(5_000), last: null, yes: true },
      retryable: true,
      outcome: 'unknown',
      cause: new Error('stays at home'),
    })
    const decoded = decodeRpc(new RpcEncoder(new BytePool()).encode({ type: 'error', id: 5, error }))
    assert.equal(decoded.type, 'error')
    const copy = decoded.type === 'error' ? decoded.error : error
    assert.deepEqual(
      [copy.code, copy.retryable, copy.outcome, copy.cause],
      ['COMPACTED', true, 'unknown', undefined],
    )
    assert.equal(copy.message.length, 2_000)
    assert.deepEqual({ ...copy.details }, { revision: 7, name: 'y'.repeat(1_000), last: null, yes: true })
  })

  test('that are damaged are malformed, and nothing worse', () => {
    const encoder = new RpcEncoder(new BytePool())
    fc.assert(
      fc.property(frame, fc.nat(60), fc.uint8Array({ maxLength: 10 }), (each, at, noise) => {
        const bytes = encoder.encode(each)
        const damaged = new Uint8Array([
          ...bytes.subarray(0, at),
          ...noise,
          ...bytes.subarray(at + noise.length),
        ])
        try {
          decodeRpc(damaged)
        } catch (error) {
          assert.ok(KeelsonError.hasCode(error, 'MALFORMED'), String(error))
        }
      }),
      { numRuns: 500 },
    )
  })
})
