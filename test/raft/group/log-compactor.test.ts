import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import type { ProgressStatus } from '../../../src/raft/core/types.ts'
import { checkGroupLimits } from '../../../src/raft/group/limits.ts'
import { LogBytes } from '../../../src/raft/group/log-bytes.ts'
import { type CompactionView, compactionTarget } from '../../../src/raft/group/log-compactor.ts'

suite('the bytes of a log', () => {
  test('are what was added since, and never less than what is there', () => {
    const entry = fc.record({ bytes: fc.nat({ max: 1000 }), forget: fc.boolean() })
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 3_000 }), fc.nat({ max: 300_000 }), (entries, limit) => {
        const log = new LogBytes(10)
        let first = 10
        const sizes: number[] = []
        for (const { bytes, forget } of entries) {
          sizes.push(bytes)
          log.add(10 + sizes.length, bytes)
          if (forget && sizes.length % 7 === 0) {
            first = Math.max(first, 10 + sizes.length - 50)
            log.forget(first)
          }
        }
        const after = (index: number): number => sizes.slice(index - 10).reduce((sum, size) => sum + size, 0)
        assert.equal(log.total, after(10))
        assert.ok(log.held >= after(first), 'what is left is never underestimated')
        const index = log.firstWithin(limit)
        assert.ok(after(index) <= limit)
        assert.ok(index <= 10 + sizes.length)
      }),
    )
  })

  test('are exact while there are few', () => {
    const log = new LogBytes()
    for (let i = 1; i <= 100; i++) log.add(i, 10)
    assert.equal(log.firstWithin(250), 75)
    log.forget(40)
    assert.equal(log.held, 600)
    assert.equal(log.firstWithin(1e9), 40)
    assert.equal(log.firstWithin(0), 100)
    log.add(100, 5)
    assert.equal(log.held, 605, 'a repetition counts')
  })
})

suite('what a log is compacted to', () => {
  const progress = (matchIndex: number, changes: Partial<ProgressStatus> = {}): ProgressStatus => ({
    state: 'replicate',
    matchIndex,
    nextIndex: matchIndex + 1,
    recentlyActive: true,
    caughtUp: true,
    inFlightMessages: 0,
    inFlightBytes: 0,
    ...changes,
  })
  const bytes = new LogBytes()
  for (let i = 1; i <= 1000; i++) bytes.add(i, 100)
  const target = (changes: Partial<CompactionView>, limits: Parameters<typeof checkGroupLimits>[0] = {}) =>
    compactionTarget({
      limits: checkGroupLimits({ compactAfterEntries: 100, keptEntries: 20, ...limits }),
      flushedIndex: 1000,
      compactedIndex: 500,
      bytes,
      progress: [],
      pinned: [],
      ...changes,
    })

  test('leaves some for those that are a little behind, in entries and in bytes', () => {
    assert.equal(target({}), 980)
    assert.equal(target({}, { keptBytes: 500 }), 995)
    assert.equal(target({ compactedIndex: 990 }), 995, 'never more than half of it')
  })

  test('spares those that are at work, and those that get a snapshot', () => {
    assert.equal(target({ progress: [progress(1000), progress(700)] }), 700)
    assert.equal(target({ progress: [progress(700, { recentlyActive: false })] }), 980)
    assert.equal(target({ progress: [progress(10, { state: 'snapshot' })] }), 980)
    assert.equal(target({ progress: [progress(10, { state: 'snapshot' })], pinned: [900, 850] }), 850)
  })

  test('gives up those that lag too far, in entries or in bytes', () => {
    assert.equal(target({ progress: [progress(10)] }), 600, 'four times compactAfterEntries')
    assert.equal(target({ progress: [progress(10)] }, { maximumLagEntries: 150 }), 850)
    assert.equal(
      target({ progress: [progress(10)] }, { compactAfterBytes: 1_000, maximumLagBytes: 5_000 }),
      950,
    )
    assert.equal(
      target({ pinned: [10] }, { maximumLagEntries: 150 }),
      850,
      'snapshots that take for ever, too',
    )
  })

  test('is never beyond what is flushed', () => {
    assert.equal(target({ flushedIndex: 400, compactedIndex: 100 }, { keptBytes: 0, keptEntries: 0 }), 400)
  })

  test('is bound by limits that fit together', () => {
    const limits = checkGroupLimits({ compactAfterEntries: 1_000_000, compactAfterBytes: 1 << 20 })
    assert.equal(limits.maximumLagEntries, 4_000_000)
    assert.equal(limits.maximumLagBytes, 4 << 20)
    assert.equal(limits.keptBytes, 1 << 18)
    for (const wrong of [
      { compactAfterEntries: 100, keptEntries: 5, maximumLagEntries: 99 },
      { compactAfterBytes: 100, maximumLagBytes: 99 },
      { compactAfterBytes: 100, keptBytes: 101 },
    ]) {
      assert.throws(() => checkGroupLimits(wrong), { code: 'INVALID_OPTION', message: /at most/ })
    }
  })
})
