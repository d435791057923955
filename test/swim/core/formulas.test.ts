import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import {
  confirmationsWanted,
  retransmitLimit,
  suspicionMinimumMs,
  suspicionTimeoutMs,
  syncScale,
} from '../../../src/swim/core/formulas.ts'
import { LocalHealth } from '../../../src/swim/core/health.ts'
import { type Accusation, Suspicion } from '../../../src/swim/core/suspicion.ts'

/** Somebody's own word. */
function by(accuser: string, atMs = 0): Accusation {
  return { accuser, toldBy: accuser, atMs }
}

suite('formulas', () => {
  test('retransmit limit: λ · ⌈log10(n + 1)⌉, exact at powers of ten', () => {
    const cases: [members: number, digits: number][] = [
      [1, 1],
      [8, 1],
      [9, 1],
      [10, 2],
      [99, 2],
      [100, 3],
      [999, 3],
      [1_000, 4],
      [99_999, 5],
    ]
    for (const [members, digits] of cases)
      assert.equal(retransmitLimit(4, members), 4 * digits, `n = ${members}`)
  })

  test('suspicion: α · max(1, log10 n) intervals, shortened by confirmations as memberlist does it', () => {
    assert.equal(suspicionMinimumMs(4, 1, 1_000), 4_000)
    assert.equal(suspicionMinimumMs(4, 10, 1_000), 4_000)
    assert.equal(suspicionMinimumMs(4, 100, 1_000), 8_000)
    // memberlist's own table for k = 3, 2 s to 30 s.
    const expected = [30_000, 16_000, 7_810, 2_000, 2_000]
    assert.deepEqual(
      expected.map((_, c) => Math.round(suspicionTimeoutMs(2_000, 30_000, 3, c) / 10) * 10),
      expected,
    )
    assert.equal(suspicionTimeoutMs(2_000, 30_000, 0, 0), 2_000)
  })

  test('confirmations: α − 2, unless the cluster is too small', () => {
    assert.equal(confirmationsWanted(4, 100, 6), 2)
    assert.equal(confirmationsWanted(4, 4, 6), 2)
    assert.equal(confirmationsWanted(4, 3, 6), 0)
    assert.equal(confirmationsWanted(1, 100, 6), 0)
    assert.equal(confirmationsWanted(4, 100, 1), 0)
  })

  test('exchange of views: rarer above 32 members', () => {
    assert.deepEqual([1, 32, 33, 64, 65, 128, 1_024].map(syncScale), [1, 1, 2, 2, 3, 3, 6])
  })
})

suite('local health', () => {
  test('stays within its bounds and scales times', () => {
    const health = new LocalHealth(8)
    health.add(-1)
    assert.equal(health.scaled(500), 500)
    health.add(3)
    assert.equal(health.scaled(500), 2_000)
    health.add(100)
    assert.equal(health.score, 7)
    assert.equal(health.clone().score, 7)
  })
})

suite('suspicion', () => {
  const bounds = { minimumMs: 2_000, maximumMs: 30_000, wanted: 3, lastCallMs: 500 }

  test('only new accusers shorten it, and only as many as are wanted', () => {
    const suspicion = new Suspicion(1, by('a', 100), bounds)
    assert.equal(suspicion.deadlineMs, 30_100)
    assert.equal(suspicion.confirm(by('a')), false)
    assert.equal(suspicion.confirm(by('b')), true)
    assert.equal(Math.round(suspicion.deadlineMs), 16_100)
    assert.equal(suspicion.confirm(by('b')), false)
    assert.equal(suspicion.confirm(by('c')), true)
    assert.equal(suspicion.confirm(by('d')), true)
    assert.equal(suspicion.confirm(by('e')), false)
    assert.equal(Math.round(suspicion.deadlineMs), 2_100)
    assert.deepEqual(suspicion.accusers, ['a', 'b', 'c', 'd'])
  })

  test('the last call gives the member its time to answer, and time asleep does not count', () => {
    const suspicion = new Suspicion(1, by('a', 0), { ...bounds, wanted: 0 })
    assert.equal(suspicion.lastCallAtMs, 1_500)
    suspicion.called(1_900)
    assert.equal(suspicion.lastCallAtMs, Number.POSITIVE_INFINITY)
    assert.equal(suspicion.deadlineMs, 2_400)
    suspicion.forgive(10_000)
    assert.equal(suspicion.deadlineMs, 12_000)
    assert.equal(suspicion.lastCallAtMs, 11_500)
  })
})
