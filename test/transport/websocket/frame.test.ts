import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { StreamRecord } from '../../../src/core/streams/stream-wire.ts'
import {
  FrameReader,
  FrameWriter,
  type OutgoingRecord,
  streamRecord,
} from '../../../src/transport/websocket/frame.ts'

type Seen = [protocol: string, bytes: number[]] | StreamRecord

const body = fc.uint8Array({ maxLength: 300 })
const protocol = fc.constantFrom('raft', 'swim', 'metadata', 'x')
const plain = { noNullPrototype: true } as const
const id = fc.maxSafeNat()
const stream: fc.Arbitrary<StreamRecord> = fc.oneof(
  fc.record({ type: fc.constant('open' as const), id, protocol, header: body }, plain),
  fc.record({ type: fc.constant('data' as const), id, bytes: body }, plain),
  fc.record({ type: fc.constant('end' as const), id }, plain),
  fc.record({ type: fc.constant('reset' as const), id }, plain),
  fc.record({ type: fc.constant('credit' as const), id, limit: id }, plain),
  fc.record({ type: fc.constant('done' as const), id }, plain),
)
const record = fc.oneof(
  fc
    .tuple(protocol, body)
    .map(([name, bytes]): [Seen, OutgoingRecord] => [
      [name, [...bytes]],
      { protocol: name, head: undefined, body: bytes },
    ]),
  stream.map((each): [Seen, OutgoingRecord] => [each, streamRecord(each)]),
)

function read(reader: FrameReader, frame: Uint8Array, seen: Seen[]): number {
  return reader.read(new Uint8Array(frame), {
    message: (name, bytes) => seen.push([name, [...bytes]]),
    stream: (each) => seen.push(each),
  })
}

suite('frames', () => {
  test('give back all records in order, within their limits', () => {
    fc.assert(
      fc.property(
        fc.array(record, { maxLength: 60 }),
        fc.integer({ min: 400, max: 2_000 }),
        (records, limit) => {
          const queue = records.map(([, outgoing]) => outgoing)
          const writer = new FrameWriter()
          const reader = new FrameReader(8)
          const seen: Seen[] = []
          for (let at = 0; at < queue.length; ) {
            const { frame, next } = writer.pack(queue, at, limit, 8)
            assert.ok(next > at && next - at <= 8)
            assert.ok(frame.length <= limit, `${frame.length} bytes`)
            read(reader, frame, seen)
            at = next
          }
          assert.deepEqual(
            seen,
            records.map(([expected]) => expected),
          )
        },
      ),
    )
  })

  test('that are damaged are malformed, and nothing worse', () => {
    fc.assert(
      fc.property(
        fc.array(record, { minLength: 1, maxLength: 10 }),
        fc.nat(200),
        fc.uint8Array({ maxLength: 10 }),
        (records, at, noise) => {
          const queue = records.map(([, outgoing]) => outgoing)
          const { frame } = new FrameWriter().pack(queue, 0, 1_000_000, 100)
          const damaged = new Uint8Array([
            ...frame.subarray(0, at),
            ...noise,
            ...frame.subarray(at + noise.length),
          ])
          try {
            read(new FrameReader(100), damaged, [])
          } catch (error) {
            assert.ok(KeelsonError.hasCode(error, 'MALFORMED'), String(error))
          }
        },
      ),
      { numRuns: 500 },
    )
  })
})
