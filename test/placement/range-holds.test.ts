import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { joinHolds, RangeHolds } from '../../src/placement/range-holds.ts'

suite('ranges that are left alone after a move', () => {
  test('a repair that fails does not end the damping after the move before it', () => {
    const holds = new RangeHolds()
    holds.add(4, 'improvements', { untilMs: 10_000, jobId: 35 })
    holds.add(4, 'all', { untilMs: 5_000, jobId: 36 })
    assert.equal(holds.at(4_999).get(4), 'all')
    assert.equal(holds.at(5_000).get(4), 'improvements')
    assert.equal(holds.at(9_999).get(4), 'improvements')
    assert.equal(holds.at(10_000).size, 0)
  })

  test('a move that succeeds ends the wait after one that failed before it, and no other', () => {
    const holds = new RangeHolds()
    holds.add(4, 'all', { untilMs: 5_000, jobId: 35 })
    holds.add(4, 'improvements', { untilMs: 10_000, jobId: 36 })
    assert.equal(holds.at(0).get(4), 'improvements')
    holds.add(4, 'all', { untilMs: 5_000, jobId: 38 })
    holds.add(4, 'improvements', { untilMs: 11_000, jobId: 37 })
    assert.equal(holds.at(0).get(4), 'all')
    assert.equal(holds.at(10_000).get(4), 'improvements')
  })

  test('what is heard late of an earlier move changes nothing', () => {
    const holds = new RangeHolds()
    holds.add(4, 'improvements', { untilMs: 10_000, jobId: 36 })
    holds.add(4, 'improvements', { untilMs: 2_000, jobId: 35 })
    assert.equal(holds.at(2_000).get(4), 'improvements')
    assert.ok(holds.knows(4, 'improvements', 35))
    assert.ok(holds.knows(4, 'improvements', 36))
    assert.ok(!holds.knows(4, 'improvements', 37))
    assert.ok(!holds.knows(4, 'all', 36))
  })

  test('of two who hold a range the stricter one is heard', () => {
    const one = new Map([
      [1, 'all' as const],
      [2, 'improvements' as const],
    ])
    const other = new Map([
      [1, 'improvements' as const],
      [2, 'all' as const],
      [3, 'improvements' as const],
    ])
    for (const joined of [joinHolds(one, other), joinHolds(other, one)]) {
      assert.deepEqual(Object.fromEntries(joined), { 1: 'all', 2: 'all', 3: 'improvements' })
    }
  })
})
