import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { hex } from '../../../src/core/bytes.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { SeededRandom } from '../../../src/core/random.ts'
import { decodePacket, encodePacket } from '../../../src/swim/core/codec.ts'
import type { SwimMessage } from '../../../src/swim/core/messages.ts'
import { everyMessage, samples, sender } from '../support/samples.ts'
import { goldenHeader, goldenMessages, goldenTimedQuery } from './golden-packets.ts'

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

  for (const [kind, golden] of Object.entries(goldenMessages)) {
    test(`the bytes of a '${kind}' stay what they are`, () => {
      const message = samples[kind as SwimMessage['kind']]
      assert.equal(hex(encodePacket('city', sender, [message])), (goldenHeader + golden).replaceAll(' ', ''))
      const bytes = Uint8Array.from((goldenHeader + golden).replaceAll(' ', '').match(/../g) ?? [], (pair) =>
        Number.parseInt(pair, 16),
      )
      assert.deepEqual(decodePacket(bytes, 'city').messages, [message])
    })
  }

  test('a query says how long answers are waited for, and may not', () => {
    const timed = { ...samples.query, leftMs: 300 }
    const bytes = encodePacket('city', sender, [timed])
    assert.equal(hex(bytes), goldenHeader + goldenTimedQuery)
    assert.deepEqual(decodePacket(bytes, 'city').messages, [timed])
  })

  test('there are golden bytes of every kind', () => {
    assert.deepEqual(Object.keys(goldenMessages), Object.keys(samples))
  })

  test('what a later release adds is gone past', () => {
    const known = encodePacket('city', sender, [samples.ping])
    // A message of an unknown kind, and a ping with a field at its end.
    const later = [200, 3, 1, 2, 3, 1, 6, 1, 3, 0x64, 0x62, 0x32, 99]
    const { messages } = decodePacket(new Uint8Array([...known, ...later]), 'city')
    assert.deepEqual(messages, [samples.ping, { kind: 'ping', sequence: 1, target: 'db2' }])
    // A content that is longer than its message says, and a message that is longer than the packet.
    assert.throws(() => decodePacket(new Uint8Array([...known, 1, 2, 1, 3, 0x64, 0x62, 0x32]), 'city'), {
      code: 'MALFORMED',
    })
    assert.throws(() => decodePacket(new Uint8Array([...known, 200, 3, 1]), 'city'), { code: 'MALFORMED' })
  })

  test('a range of versions is spoken', () => {
    const bytes = encodePacket('city', sender, [samples.ping])
    assert.equal(bytes[0], 2, 'the oldest, for whoever is not known')
    bytes[0] = 3
    assert.deepEqual(decodePacket(bytes, 'city').messages, [samples.ping])
    bytes[0] = 6
    assert.throws(() => decodePacket(bytes, 'city'), { code: 'PROTOCOL_VERSION' })
    assert.deepEqual(decodePacket(bytes, 'city', { minimum: 2, maximum: 6 }).messages, [samples.ping])
  })

  test('a foreign label and a foreign version are told apart from rubbish', () => {
    const bytes = encodePacket('city', sender, [])
    assert.throws(() => decodePacket(bytes, 'town'), { code: 'FOREIGN_CLUSTER' })
    bytes[0] = 1
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
    const statement = samples.alive.statement
    const refused: SwimMessage[] = [
      { kind: 'ping', sequence: 1, target: 'Not A Name' },
      { kind: 'ping', sequence: 1, target: 'x'.repeat(65) },
      { kind: 'alive', statement: statement.with({ address: 'nowhere' }) },
      { kind: 'alive', statement: statement.with({ address: 'host:65536' }) },
      { kind: 'alive', statement: statement.with({ address: `${'h'.repeat(300)}:1` }) },
      { kind: 'alive', statement: statement.with({ address: '' }) },
      { kind: 'alive', statement: statement.with({ protocols: { minimum: 3, maximum: 2 } }) },
      { kind: 'alive', statement: statement.with({ protocols: { minimum: 0, maximum: 2 } }) },
      { ...samples.event, payload: new Uint8Array(513) },
      { ...samples.event, name: '' },
      { ...samples.event, name: 'n'.repeat(65) },
      { ...samples.answer, payload: new Uint8Array(513) },
      { ...samples.hello, token: new Uint8Array(257) },
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
      12,
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
