import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { TurnQueue } from '../../../src/placement/core/turn-queue.ts'
import { Turns } from '../../../src/placement/core/turns.ts'

/** Looks at all parts of a plan; odd ids cannot be helped. */
function look(turns: Turns, most: number, together: number): number[] {
  const queue = new TurnQueue([turns], most, together)
  const seen: number[] = []
  for (let part = queue.next(); part.size > 0; part = queue.next()) {
    for (const id of part.keys()) {
      turns.looked(id, id % 2 === 1)
      seen.push(id)
    }
  }
  return seen
}

suite('turns', () => {
  test('nothing is left unseen where all have their turn at once, whatever came, changed and went', () => {
    const step = fc.tuple(
      fc.constantFrom('add', 'delete', 'retryAll', 'look'),
      fc.integer({ min: 1, max: 6 }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
        const turns = new Turns()
        for (const [what, id] of steps) {
          if (what === 'add') turns.add(id)
          else if (what === 'delete') turns.delete(id)
          else if (what === 'retryAll') turns.retryAll()
          else {
            const all = [...turns.open.after(0, 100), ...turns.stuck.after(0, 100)].sort((a, b) => a - b)
            assert.deepEqual(look(turns, 256, 256), all)
            assert.deepEqual([turns.unseen, turns.overdue], [0, 0])
            assert.ok(turns.stuck.after(0, 100).every((each) => each % 2 === 1))
          }
        }
      }),
      { numRuns: 500 },
    )
  })

  test('everyone has one within as many plans as their number takes, however few of them can be helped', () => {
    const turns = new Turns()
    for (let id = 1; id <= 1000; id++) turns.add(id)
    const seen = new Set<number>()
    for (let plan = 0; plan < 25 && seen.size < 1000; plan++) {
      for (const id of look(turns, 80, 40)) seen.add(id)
      // Loads change all the time, also of those that cannot be helped.
      for (let id = 1; id <= 1000; id += 3) turns.add(id)
    }
    assert.equal(seen.size, 1000)
  })
})
