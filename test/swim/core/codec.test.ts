import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { hex } from '../../../src/core/bytes.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { SeededRandom } from '../../../src/core/random.ts'
import { decodePacket, encodePacket, type SwimMessage } from '../../../src/swim/core/codec.ts'

const sender = { nodeId: 'db1', incarnation: 300, version: 2 }

const everyMessage: readonly SwimMessage[] = [
  { kind: 'ping', sequence: 4_294_967_295, target: 'db2' },
  { kind: 'ack', sequence: 1, responder: 'db2' },
  { kind: 'indirectPing', sequence: 2, target: 'db3' },
  { kind: 'nack', sequence: 2 },
  {
    kind: 'alive',
    nodeId: 'db2',
    incarnation: 9,
    version: 5,
    address: '[::1]:1',
    metadata: new Uint8Array([1, 2]),
  },
  { kind: 'suspect', nodeId: 'db3', version: 5, accuser: 'db1' },
  { kind: 'dead', nodeId: 'db3', version: 5, accuser: 'db1' },
  { kind: 'left', nodeId: 'db4', version: 7 },
  { kind: 'offer', buckets: Uint32Array.from({ length: 32 }, (_, i) => i * 0x0800_0001) },
  {
    kind: 'state',
    mask: 0x8000_0001,
    wantReturn: true,
    records: [
      {
        nodeId: 'db2',
        incarnation: 9,
        version: 5,
        state: 'suspect',
        address: 'host:65535',
        metadata: new Uint8Array([3]),
        accusedVersion: 6,
        ageMs: 0,
      },
      {
        nodeId: 'db5',
        incarnation: 0,
        version: 1,
        state: 'dead',
        address: '',
        metadata: new Uint8Array(0),
        accusedVersion: 1,
        ageMs: 86_400_000,
      },
    ],
  },
]

function decodes(bytes: Uint8Array): boolean {
  try {
    decodePacket(bytes, 'city')
    return true
  } catch (error) {
    assert.ok(
      KeelsonError.hasCode(error, 'MALFORMED', 'FOREIGN_CLUSTER', 'PROTOCOL_VERSION'),
      `a typed error, not ${String(error)}`,
    )
    return false
  }
}

suite('SWIM packets', () => {
  test('every message comes back as it was', () => {
    const decoded = decodePacket(encodePacket('city', sender, everyMessage), 'city')
    assert.deepEqual(decoded, { sender, messages: everyMessage })
  })

  test('the bytes of version 1 stay what they are', () => {
    const golden = [
      // header: version, label, node id, incarnation 300, version 2
      '01 0463697479 03646231 ac02 02',
      '01 ffffffff0f 03646232',
      '02 01 03646232',
      '03 02 03646233',
      '04 02',
      '05 03646232 09 05 075b3a3a315d3a31 020102',
      '06 03646233 05 03646231',
      '07 03646233 05 03646231',
      '08 03646234 07',
      `09 ${Array.from({ length: 32 }, (_, i) => {
        const word = (i * 0x0800_0001) >>> 0
        return [0, 8, 16, 24].map((shift) => ((word >>> shift) & 0xff).toString(16).padStart(2, '0')).join('')
      }).join('')}`,
      '0a 01000080 01 02',
      '01 03646232 09 05 06 0a686f73743a3635353335 0103 00',
      '02 03646235 00 01 01 00 00 80b89929',
    ]
    assert.equal(hex(encodePacket('city', sender, everyMessage)), golden.join('').replaceAll(' ', ''))
  })

  test('a foreign label and a foreign version are told apart from rubbish', () => {
    const bytes = encodePacket('city', sender, [])
    assert.throws(() => decodePacket(bytes, 'town'), { code: 'FOREIGN_CLUSTER' })
    bytes[0] = 2
    assert.throws(() => decodePacket(bytes, 'city'), { code: 'PROTOCOL_VERSION' })
    assert.throws(() => decodePacket(new Uint8Array(0), 'city'), { code: 'MALFORMED' })
  })

  test('every cut and many a flipped bit give a typed error or a packet', () => {
    const bytes = encodePacket('city', sender, everyMessage)
    for (let length = 0; length < bytes.length; length++) decodes(bytes.subarray(0, length))
    const random = new SeededRandom(5)
    let refused = 0
    for (let i = 0; i < 20_000; i++) {
      const damaged = bytes.slice()
      for (let flips = 1 + random.integer(3); flips > 0; flips--) {
        const at = random.integer(damaged.length)
        damaged[at] = (damaged[at] as number) ^ (1 << random.integer(8))
      }
      if (!decodes(damaged)) refused++
    }
    assert.ok(refused > 1_000)
  })

  test('random bytes behind a valid header never crash the decoder', () => {
    const header = encodePacket('city', sender, [])
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (tail) => {
        decodes(new Uint8Array([...header, ...tail]))
        decodes(tail)
      }),
      { numRuns: 2_000, seed: 11 },
    )
  })

  test('limits: names, addresses, metadata, counts', () => {
    const refused: SwimMessage[] = [
      { kind: 'ping', sequence: 1, target: 'Not A Name' },
      { kind: 'ping', sequence: 1, target: 'x'.repeat(65) },
      {
        kind: 'alive',
        nodeId: 'a',
        incarnation: 1,
        version: 1,
        address: 'nowhere',
        metadata: new Uint8Array(1),
      },
      {
        kind: 'alive',
        nodeId: 'a',
        incarnation: 1,
        version: 1,
        address: 'host:65536',
        metadata: new Uint8Array(1),
      },
      {
        kind: 'alive',
        nodeId: 'a',
        incarnation: 1,
        version: 1,
        address: `${'h'.repeat(300)}:1`,
        metadata: new Uint8Array(1),
      },
      {
        kind: 'alive',
        nodeId: 'a',
        incarnation: 1,
        version: 1,
        address: 'a:1',
        metadata: new Uint8Array(513),
      },
      { kind: 'alive', nodeId: 'a', incarnation: 1, version: 1, address: '', metadata: new Uint8Array(1) },
    ]
    for (const message of refused) {
      assert.throws(() => decodePacket(encodePacket('city', sender, [message]), 'city'), {
        code: 'MALFORMED',
      })
    }
    // A state message that announces 2^49 records in a few bytes.
    const bomb = new Uint8Array([
      ...encodePacket('city', sender, []),
      10,
      0,
      0,
      0,
      0,
      0,
      255,
      255,
      255,
      255,
      255,
      255,
      127,
    ])
    assert.throws(() => decodePacket(bomb, 'city'), { code: 'MALFORMED' })
  })

  test('nothing in a decoded packet refers to the frame', () => {
    const bytes = encodePacket('city', sender, everyMessage)
    const decoded = decodePacket(bytes, 'city')
    bytes.fill(0)
    assert.deepEqual(decoded.messages, everyMessage)
  })
})
