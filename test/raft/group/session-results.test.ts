import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { SessionResults } from '../../../src/raft/group/session-results.ts'

test('results of a session are those of a map that is kept in order', () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ type: fc.constant('next' as const), by: fc.nat(2) }) },
    { weight: 2, arbitrary: fc.record({ type: fc.constant('admit' as const), sequence: fc.nat(60) }) },
    {
      weight: 6,
      arbitrary: fc.record({
        type: fc.constant('store' as const),
        sequence: fc.nat(60),
        deferred: fc.boolean(),
      }),
    },
    { weight: 3, arbitrary: fc.record({ type: fc.constant('drop' as const) }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant('move' as const) }) },
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120, size: 'max' }), (steps) => {
      const results = new SessionResults()
      const model = new Map<number, Uint8Array | undefined>()
      const admit = (sequence: number): void => {
        assert.equal(results.admit(sequence), model.get(sequence)?.length ?? 0)
        model.set(sequence, undefined)
      }
      let newest = 0
      for (const each of steps) {
        if (each.type === 'next') admit((newest += 1 + each.by))
        else if (each.type === 'admit') admit(each.sequence)
        else if (each.type === 'store') {
          const result = new Uint8Array(each.sequence % 7).fill(each.sequence)
          const output = each.deferred ? { length: result.length, bytes: () => result } : result
          assert.equal(results.store(each.sequence, output), model.has(each.sequence))
          if (model.has(each.sequence)) model.set(each.sequence, result)
        } else if (each.type === 'drop' && model.size > 0) {
          const lowest = Math.min(...model.keys())
          assert.equal(results.first, lowest)
          assert.equal(results.dropFirst(), model.get(lowest)?.length ?? 0)
          model.delete(lowest)
        } else if (each.type === 'move') {
          const sequences = [...model.keys()]
            .filter((key) => model.get(key) !== undefined)
            .sort((a, b) => a - b)
          const bytes: number[] = []
          const ends = sequences.map((key) => bytes.push(9, ...(model.get(key) as Uint8Array)))
          results.move({ key: 'block', sequences, ends, value: Uint8Array.from(bytes) })
        }
        assert.equal(results.count, model.size)
        for (let sequence = 0; sequence <= newest + 1; sequence++) {
          assert.equal(results.has(sequence), model.has(sequence))
          assert.deepEqual(results.get(sequence), model.get(sequence))
        }
      }
    }),
  )
})

test('a long session is remembered in order', () => {
  const results = new SessionResults()
  for (let sequence = 1; sequence <= 20_000; sequence++) {
    results.admit(sequence)
    assert.ok(results.store(sequence, Uint8Array.of(sequence)))
    if (sequence > 5_000) assert.equal(results.dropFirst(), 1)
  }
  assert.equal(results.count, 5_000)
  assert.equal(results.first, 15_001)
  assert.ok(!results.has(15_000))
  assert.deepEqual(results.get(17_777), Uint8Array.of(17_777))
})
