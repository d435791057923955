import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import type { LogEntry, LogPosition } from '../../../src/interfaces/log-store.ts'
import { entryOverheadBytes, RaftLog } from '../../../src/raft/core/log.ts'
import { InFlight, majorityValue } from '../../../src/raft/core/progress.ts'

type Step =
  | { readonly type: 'append'; readonly terms: readonly number[] }
  | { readonly type: 'truncate' | 'compact' | 'evict' | 'persist'; readonly at: number }
  | { readonly type: 'write' | 'reset' }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constant('append' as const),
      terms: fc.array(fc.nat(2), { minLength: 1, maxLength: 4 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constantFrom('truncate' as const, 'compact' as const, 'evict' as const, 'persist' as const),
      at: fc.nat(20),
    }),
  },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('write' as const) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('reset' as const) }) },
)

interface Written {
  readonly writeId: number
  readonly entries: readonly LogEntry[]
  readonly reset: LogPosition | undefined
}

suite('the log', () => {
  test('agrees with a plain array, and never takes for durable what the disk does not hold', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const log = new RaftLog({ index: 0, term: 0 }, [])
        // The model: all terms from index 1 on, in memory and on the disk, and what is gone.
        let terms: number[] = []
        let compacted = 0
        let disk: number[] = []
        let covered = 0
        const pending: Written[] = []
        for (const item of steps) {
          if (item.type === 'append') {
            for (const rise of item.terms) {
              const term = Math.max(1, (terms.at(-1) ?? 0) + rise)
              log.append([{ index: terms.length + 1, term, kind: 1, data: new Uint8Array(3) }])
              terms.push(term)
            }
          } else if (item.type === 'truncate') {
            const index = Math.max(log.memoryFirst, covered + 1, terms.length - item.at)
            if (index <= terms.length) {
              log.truncateFrom(index)
              terms = terms.slice(0, index - 1)
            }
          } else if (item.type === 'compact') {
            const index = Math.min(item.at, log.durableIndex)
            log.compactTo(index)
            compacted = Math.max(compacted, index)
            covered = Math.max(covered, compacted)
          } else if (item.type === 'evict') log.evict(item.at, 2 * (entryOverheadBytes + 3))
          else if (item.type === 'reset') {
            const position = { index: terms.length + 3, term: (terms.at(-1) ?? 0) + 1 }
            log.reset(position)
            terms = Array.from({ length: position.index }, () => position.term)
            compacted = position.index
            covered = position.index
          } else if (item.type === 'write' && log.hasUnwritten) pending.push(log.beginWrite(undefined))
          else if (item.type === 'persist') {
            const done = pending.splice(0, 1 + (item.at % 3))
            for (const write of done) {
              const { reset } = write
              if (reset !== undefined) disk = Array.from({ length: reset.index }, () => reset.term)
              const first = write.entries[0]?.index
              if (first !== undefined)
                disk = disk.slice(0, first - 1).concat(write.entries.map((e) => e.term))
            }
            const last = done.at(-1)
            if (last !== undefined) log.persisted(last.writeId)
          }
          assert.equal(log.lastIndex, terms.length)
          assert.equal(log.lastTerm, terms.at(-1) ?? 0)
          assert.equal(log.compacted.index, compacted)
          for (let index = 0; index <= terms.length + 1; index++) {
            const expected = index < compacted ? undefined : index === 0 ? 0 : terms[index - 1]
            assert.equal(log.termAt(index), expected, `term at ${index}`)
            for (const term of [0, 2, 5]) {
              let agree = Math.min(index, terms.length)
              while (agree > compacted && (terms[agree - 1] as number) > term) agree--
              assert.equal(log.lastIndexWithTermAtMost(index, term), agree)
            }
          }
          assert.ok(log.durableIndex <= terms.length && log.memoryFirst > compacted)
          for (let index = covered + 1; index <= log.durableIndex; index++) {
            assert.equal(disk[index - 1], terms[index - 1], `${index} is not durable`)
          }
          assert.equal(log.memoryBytes, log.entries.length * (entryOverheadBytes + 3))
          const copy = log.clone()
          assert.deepEqual(copy, log)
        }
        // Whatever happened before, the disk catches up.
        if (log.hasUnwritten) pending.push(log.beginWrite(undefined))
        log.persisted(log.lastWriteId)
        assert.equal(log.durableIndex, terms.length)
      }),
      { numRuns: 300, seed: 1 },
    )
  })

  test('gives slices within limits, but at least one entry', () => {
    const log = new RaftLog({ index: 0, term: 0 }, [])
    for (let i = 1; i <= 5; i++) log.append([{ index: i, term: 1, kind: 1, data: new Uint8Array(10) }])
    assert.equal(log.slice(1, 5, 100).length, 5)
    assert.equal(log.slice(1, 5, 25).length, 2)
    assert.equal(log.slice(2, 5, 1).length, 1)
    assert.equal(log.slice(1, 5, 100, 3).length, 3)
    assert.equal(log.slice(4, 9, 100).length, 2)
    assert.equal(log.slice(6, 9, 100).length, 0)
  })

  test('starts in the middle when the terms before are known', () => {
    const entry = { index: 8, term: 4, kind: 1, data: new Uint8Array(0) } as const
    const log = new RaftLog(
      { index: 2, term: 1 },
      [entry],
      [
        { index: 3, term: 1 },
        { index: 5, term: 3 },
      ],
    )
    assert.deepEqual(
      [1, 2, 3, 4, 5, 7, 8, 9].map((index) => log.termAt(index)),
      [undefined, 1, 1, 1, 3, 3, 4, undefined],
    )
  })
})

suite('counting', () => {
  test('the majority value is what more than half reach, also beyond nine', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(200), { minLength: 1, maxLength: 7 }), (values) => {
        const value = majorityValue(values.slice())
        const reaching = (least: number): number => values.filter((item) => item >= least).length
        assert.ok(reaching(value) * 2 > values.length)
        assert.ok(reaching(value + 1) * 2 <= values.length)
      }),
    )
    assert.equal(majorityValue([9, 10, 100]), 10)
    assert.equal(majorityValue([]), 0)
  })

  test('bytes in flight are those of the messages in flight, always', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(30), fc.nat(100))), (steps) => {
        const inFlight = new InFlight()
        const model: [number, number][] = []
        let last = 0
        for (const [a, bytes] of steps) {
          if (a % 3 === 0) {
            inFlight.freeThrough(last - a)
            while (model.length > 0 && (model[0]?.[0] ?? 0) <= last - a) model.shift()
          } else {
            last += a
            inFlight.add(last, bytes)
            model.push([last, bytes])
          }
          assert.equal(inFlight.messages, model.length)
          assert.equal(
            inFlight.bytes,
            model.reduce((sum, [, size]) => sum + size, 0),
          )
        }
        inFlight.clear()
        assert.deepEqual([inFlight.messages, inFlight.bytes], [0, 0])
      }),
    )
  })
})
