import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { KeelsonError } from '../../../src/core/errors.ts'
import { KeyRing } from '../../../src/transport/datagram/index.ts'
import { ReplayGuard, ReplayWindow } from '../../../src/transport/datagram/replay-window.ts'
import { GcmSealer, PlainSealer } from '../../../src/transport/datagram/sealer.ts'

const key = (): Uint8Array => new Uint8Array(randomBytes(32))
const bytes = (...values: number[]): Uint8Array => new Uint8Array(values)

suite('sealed packets', () => {
  test('carry payloads of any size, and show nothing of them', () => {
    const ring = new KeyRing([key()])
    const [a, b] = [new GcmSealer(ring, 'one'), new GcmSealer(ring, 'one')]
    for (const size of [0, 1, 100, 1_367]) {
      const payload = new Uint8Array(size).fill(7)
      const packet = a.seal(payload)
      assert.equal(packet.length, size + a.overheadBytes)
      assert.ok(!Buffer.from(packet).includes(Buffer.alloc(8, 7)))
      assert.deepEqual(b.open(packet), payload)
    }
  })

  test('are refused when any of their bits is changed', () => {
    const ring = new KeyRing([key()])
    const a = new GcmSealer(ring, 'one')
    const packet = a.seal(bytes(1, 2, 3))
    for (let at = 0; at < packet.length; at++) {
      for (const bit of [1, 128]) {
        const forged = packet.slice()
        forged[at] = (forged[at] as number) ^ bit
        const expected = at === 0 ? 'malformed' : at < 5 ? 'unknown key' : 'forged'
        assert.equal(a.open(forged), expected, `byte ${at}`)
      }
    }
    assert.deepEqual(a.open(packet), bytes(1, 2, 3), 'forgeries must not use up the original')
  })

  test('are refused under another key, and of another cluster under the same one', () => {
    const shared = key()
    const a = new GcmSealer(new KeyRing([shared]), 'one')
    const packet = a.seal(bytes(1))
    assert.equal(new GcmSealer(new KeyRing([key()]), 'one').open(packet), 'unknown key')
    assert.equal(new GcmSealer(new KeyRing([shared]), 'two').open(packet), 'forged')
    assert.equal(
      new GcmSealer(new KeyRing([shared]), 'one').open(new PlainSealer('one').seal(bytes(1))),
      'malformed',
    )
  })

  test('are accepted once', () => {
    const ring = new KeyRing([key()])
    const [a, b] = [new GcmSealer(ring, 'one'), new GcmSealer(ring, 'one')]
    const packets = [1, 2, 3, 4].map((value) => a.seal(bytes(value)))
    for (const at of [2, 0, 3, 1]) assert.deepEqual(b.open(packets[at] as Uint8Array), bytes(at + 1))
    for (const packet of packets) assert.equal(b.open(packet), 'replayed')
  })

  test('survive a change of keys without a gap', () => {
    const [old, fresh] = [key(), key()]
    const [ringA, ringB] = [new KeyRing([old]), new KeyRing([old])]
    const [a, b] = [new GcmSealer(ringA, 'one'), new GcmSealer(ringB, 'one')]
    const exchange = (): void => {
      assert.deepEqual(b.open(a.seal(bytes(1))), bytes(1))
      assert.deepEqual(a.open(b.seal(bytes(2))), bytes(2))
    }
    const early = a.seal(bytes(9))
    for (const ring of [ringA, ringB]) {
      ring.add(fresh)
      ring.add(fresh)
      exchange()
    }
    for (const ring of [ringA, ringB]) {
      ring.use(fresh)
      exchange()
    }
    for (const ring of [ringA, ringB]) {
      ring.remove(old)
      ring.remove(old)
      exchange()
    }
    assert.equal(b.open(early), 'unknown key')
    assert.equal(ringA.ids.length, 1)
  })

  test('never make an open throw, whatever comes', () => {
    const ring = new KeyRing([key()])
    const sealers = [new GcmSealer(ring, 'one'), new PlainSealer('one')]
    const template = sealers[0]?.seal(bytes(1, 2, 3)) as Uint8Array
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(40), (noise, keep) => {
        const packet = new Uint8Array([...template.subarray(0, keep), ...noise])
        for (const sealer of sealers) sealer.open(packet)
      }),
    )
  })
})

suite('plain packets', () => {
  test('name their cluster', () => {
    const packet = new PlainSealer('one').seal(bytes(1, 2))
    assert.deepEqual(new PlainSealer('one').open(packet), bytes(1, 2))
    assert.equal(new PlainSealer('two').open(packet), 'foreign cluster')
    assert.equal(new PlainSealer('one').open(bytes(0x10, 1)), 'malformed')
    assert.equal(new PlainSealer('one').open(bytes()), 'malformed')
  })
})

suite('a key ring', () => {
  test('refuses what is no key, and more keys than it holds', () => {
    const code = (expected: string) => (e: unknown) => KeelsonError.is(e) && e.code === expected
    assert.throws(() => new KeyRing([]), code('INVALID_OPTION'))
    assert.throws(() => new KeyRing([new Uint8Array(16)]), code('INVALID_OPTION'))
    const first = key()
    const ring = new KeyRing([first])
    assert.throws(() => ring.use(key()), code('NOT_FOUND'))
    assert.throws(() => ring.remove(first), code('INVALID_ARGUMENT'))
    for (let i = 1; i < 16; i++) ring.add(key())
    assert.throws(() => ring.add(key()), code('LIMIT_EXCEEDED'))
  })
})

suite('a replay window', () => {
  test('agrees with a set of all that was seen', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            { weight: 6, arbitrary: fc.integer({ min: -40, max: 40 }) },
            { weight: 2, arbitrary: fc.integer({ min: -1_100, max: 1_100 }) },
            { weight: 1, arbitrary: fc.integer({ min: 0, max: 100_000 }) },
          ),
          { maxLength: 300 },
        ),
        (steps) => {
          const window = new ReplayWindow()
          const seen = new Set<number>()
          let highest = -1
          let at = 0
          for (const step of steps) {
            at = Math.max(0, at + step)
            const expected = at > highest - 1_024 && !seen.has(at)
            assert.equal(window.accept(at), expected, `counter ${at}, highest ${highest}`)
            seen.add(at)
            highest = Math.max(highest, at)
          }
        },
      ),
    )
  })

  test('is kept for the senders that were heard last', () => {
    const guard = new ReplayGuard(2)
    assert.equal(guard.accept(1, 1), true)
    assert.equal(guard.accept(2, 1), true)
    assert.equal(guard.accept(1, 2), true)
    assert.equal(guard.accept(3, 1), true)
    assert.equal(guard.accept(1, 2), false)
    assert.equal(guard.accept(2, 1), true, 'b was forgotten')
  })
})
