import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { encodePlain } from '../../src/core/codec.ts'
import type { KeelsonError } from '../../src/core/errors.ts'
import { SeededRandom } from '../../src/core/random.ts'
import { LeaseBook } from '../../src/leases/core/book.ts'
import { Fence } from '../../src/leases/core/fence.ts'
import { LeaseAudit } from '../../src/leases/core/invariants.ts'
import {
  checkLeaseName,
  decodeHistory,
  decodeHolder,
  decodeRecord,
  decodeWaiter,
  encodeHistory,
  encodeHolder,
  encodeRecord,
  encodeWaiter,
  historyKey,
  holderKey,
} from '../../src/leases/core/records.ts'
import { Admission, LeaseRules } from '../../src/leases/core/rules.ts'

const code = (expected: string) => (error: KeelsonError) => error.code === expected

suite('Fence', () => {
  test('admits the sequence that was installed last, and no other', () => {
    const fence = new Fence()
    assert.equal(fence.admits(0), false)
    assert.equal(fence.admits(1), false)
    assert.equal(fence.install(3), true)
    assert.deepEqual(
      [2, 3, 4].map((sequence) => fence.admits(sequence)),
      [false, true, false],
    )
    assert.equal(fence.install(2), false)
    assert.equal(fence.install(3), true)
    assert.equal(fence.sequence, 3)
    assert.throws(() => fence.check(2), code('STALE_SEQUENCE'))
    assert.throws(() => fence.check(4), code('CONFLICT'))
    fence.check(3)
  })

  test('goes on from what was stored, and takes no nonsense', () => {
    const fence = new Fence(7)
    assert.equal(fence.install(6), false)
    assert.equal(fence.admits(7), true)
    for (const sequence of [0, -1, 1.5, Number.NaN, 2 ** 53]) {
      assert.equal(fence.install(sequence), false, String(sequence))
      assert.equal(fence.admits(sequence), false, String(sequence))
    }
    assert.throws(() => new Fence(-1), code('INVALID_ARGUMENT'))
  })
})

suite('LeaseBook', () => {
  const session = (remainingMs: number, sessionId = 5) => ({ sessionId, remainingMs })
  const mine = { name: 'a', holder: 'n1', epoch: 5, sequence: 1 }

  test('a status is judged in its order: expired, proscribed, stasis, valid', () => {
    const book = new LeaseBook(100)
    assert.equal(book.status('a', session(500)), 'none')
    const token = book.take('a', 1, 5)
    assert.equal(book.status('a', session(500)), 'valid')
    assert.equal(book.status('a', session(100)), 'stasis')
    assert.equal(book.status('a', session(0)), 'expired')
    assert.equal(book.status('a', undefined), 'expired')
    assert.equal(book.status('a', session(500, 6)), 'expired')
    book.proscribe('a')
    assert.equal(book.status('a', session(500)), 'proscribed')
    assert.equal(book.status('a', session(50)), 'proscribed')
    assert.equal(book.status('a', session(0)), 'expired')
    assert.equal(book.mayAdopt(mine), false)
    assert.equal(book.mayAdopt({ ...mine, sequence: 2 }), true)
    book.take('a', 2, 5)
    assert.equal(book.statusOf(token, session(500)), 'expired')
    assert.equal(book.status('a', session(500)), 'valid')
  })

  test('a lease of an earlier life is proscribed until it is gone', () => {
    const book = new LeaseBook(100)
    const earlier = { name: 'a', holder: 'n1', epoch: 3, sequence: 9 }
    book.saw('a', earlier, 'n1', 5)
    assert.equal(book.status('a', session(500)), 'proscribed')
    assert.equal(book.mayAdopt(earlier), false)
    book.saw('a', undefined, 'n1', 5)
    assert.equal(book.status('a', session(500)), 'none')
    book.saw('b', { ...earlier, name: 'b', holder: 'n2' }, 'n1', 5)
    assert.equal(book.status('b', session(500)), 'none')
  })

  test('leases of a session that was replaced are forgotten', () => {
    const book = new LeaseBook(100)
    book.take('a', 1, 5)
    book.take('b', 1, 6)
    assert.deepEqual(book.dropOthers(6), ['a'])
    assert.deepEqual(book.names(), ['b'])
  })
})

suite('LeaseRules', () => {
  const rules = new LeaseRules({ takeoverStaggerMs: 10, takeoverSpreadMs: 100 })
  const lease = { name: 'a', holder: 'n1', epoch: 5, sequence: 4 }

  test('decides by session, not by name', () => {
    const record = { sequence: 4, released: false }
    assert.equal(
      rules.decide({ lease, record }, 5, () => true),
      'adopt',
    )
    assert.equal(
      rules.decide({ lease, record }, 5, () => false),
      'reclaim',
    )
    assert.equal(
      rules.decide({ lease, record }, 6, () => true),
      'wait',
    )
    assert.equal(
      rules.decide({ lease: undefined, record }, 5, () => true),
      'takeover',
    )
    const released = { sequence: 4, released: true }
    assert.equal(
      rules.decide({ lease: undefined, record: released }, 5, () => true),
      'claim',
    )
    assert.equal(
      rules.decide({ lease: undefined, record: undefined }, 5, () => true),
      'claim',
    )
    assert.equal(rules.nextSequence(released, 700), 5)
    assert.equal(rules.nextSequence(undefined, 700), 1)
    // What a store has given out that was recovered from a lost quorum, nobody knows.
    assert.equal(rules.nextSequence(released, 2 ** 44), 2 ** 40 + 1)
  })

  test('who is preferred goes first, then who waits longer', () => {
    const waiter = (epoch: number, preference: number, since: number) => ({
      holder: `n${epoch}`,
      epoch,
      preference,
      since,
      modRevision: since,
    })
    const waiters = [waiter(1, 0, 10), waiter(2, 5, 30), waiter(3, 5, 20), waiter(4, 0, 40)]
    assert.deepEqual(
      [3, 2, 1, 4, 9].map((epoch) => rules.rank(waiters, epoch)),
      [0, 1, 2, 3, 4],
    )
    const many = Array.from({ length: 60 }, (_, i) => waiter(i + 1, 0, i + 1))
    assert.equal(rules.rank(many, 60), 16)
    const random = new SeededRandom(1)
    assert.equal(rules.delayMs('claim', 0, random), 0)
    assert.equal(rules.delayMs('claim', 3, random), 30)
    const delays = Array.from({ length: 100 }, () => rules.delayMs('takeover', 1, random))
    assert.ok(delays.every((delay) => delay >= 10 && delay < 110))
    assert.ok(new Set(delays).size > 90)
  })

  test('admission is bounded', () => {
    const admission = new Admission(10)
    let admitted = 0
    for (let nowMs = 0; nowMs < 2_000; nowMs++) if (admission.admit(nowMs)) admitted++
    assert.ok(admitted >= 29 && admitted <= 31, `${admitted}`)
    const slow = new Admission(0.5)
    assert.equal(slow.admit(0), true)
    assert.equal(slow.admit(1), false)
    assert.ok(Math.abs(slow.waitMs(1) - 1_999) < 0.001)
    assert.equal(slow.admit(2_001), true)
  })
})

suite('records', () => {
  const entry = (key: Uint8Array, value: Uint8Array, session = 0) => ({
    key,
    value,
    session,
    createRevision: 3,
    modRevision: 4,
    version: 1,
  })

  test('come back as they were', () => {
    const key = holderKey('a b')
    assert.deepEqual(decodeHolder(entry(key, encodeHolder('n1', 7), 5)), {
      name: 'a b',
      holder: 'n1',
      epoch: 5,
      sequence: 7,
    })
    const record = { sequence: 7, released: true }
    assert.deepEqual(decodeRecord(entry(key, encodeRecord(record))), record)
    assert.deepEqual(decodeWaiter(entry(key, encodeWaiter('n1', 2), 5)), {
      holder: 'n1',
      preference: 2,
      epoch: 5,
      since: 3,
      modRevision: 4,
    })
    const step = { holder: 'n1', epoch: 5, change: 'takeover', atMs: 12.5 } as const
    assert.deepEqual(decodeHistory(entry(historyKey('a', 7), encodeHistory(step))), { sequence: 7, ...step })
  })

  test('refuse what they do not know', () => {
    const key = holderKey('a')
    assert.throws(() => decodeHolder(entry(key, encodePlain([2, 7, 'n1']))), code('FORMAT_VERSION'))
    assert.throws(() => decodeHolder(entry(key, encodePlain([1, 'x', 'n1']))), code('MALFORMED'))
    assert.throws(() => decodeRecord(entry(key, Uint8Array.of(0xc1))), code('MALFORMED'))
    assert.throws(() => decodeHistory(entry(key, encodePlain([1, 'n', 1, 'theft', 1]))), code('MALFORMED'))
    for (const name of ['', 'a/b', 'x'.repeat(257), 7])
      assert.throws(() => checkLeaseName(name), code('INVALID_ARGUMENT'))
  })
})

suite('LeaseAudit', () => {
  const broken = code('INVARIANT_VIOLATED')

  test('names what is broken', () => {
    const audit = new LeaseAudit()
    audit.granted('a', { holder: 'n1', sequence: 1 })
    assert.throws(() => audit.granted('a', { holder: 'n2', sequence: 1 }), broken)
    assert.throws(() => audit.granted('a', { holder: 'n2', sequence: 3 }), broken)
    audit.installed('a', 1)
    audit.effect('a', { holder: 'n1', sequence: 1 })
    assert.throws(() => audit.effect('a', { holder: 'n2', sequence: 1 }), broken)
    audit.granted('a', { holder: 'n2', sequence: 2 })
    audit.installed('a', 2)
    assert.throws(() => audit.installed('a', 1), broken)
    assert.throws(() => audit.effect('a', { holder: 'n1', sequence: 1 }), broken)
    audit.acting('a', [{ holder: 'n2', sequence: 2 }])
    assert.throws(
      () =>
        audit.acting('a', [
          { holder: 'n1', sequence: 1 },
          { holder: 'n2', sequence: 2 },
        ]),
      /n1 \(1\), n2 \(2\)/,
    )
    assert.throws(() => audit.deadline('a', { holder: 'n1', sequence: 1 }, false), broken)
  })
})
