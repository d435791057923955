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
            const all = [...turns.nextOpen(100), ...turns.nextStuck(100)].sort((a, b) => a - b)
            assert.deepEqual(look(turns, 256, 256), all)
            assert.deepEqual([turns.unseen, turns.overdue], [0, 0])
            assert.ok(turns.nextStuck(100).every((each) => each % 2 === 1))
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

  test('whoever came or changed has one before those who had theirs, wherever the others are', () => {
    const turns = new Turns()
    for (let id = 100; id < 2100; id++) turns.add(id)
    for (let plan = 0; turns.unseen > 0; plan++) {
      assert.ok(plan < 4)
      for (const id of turns.nextOpen(1024)) turns.looked(id, false)
    }
    turns.add(5)
    turns.add(6)
    turns.delete(6)
    assert.equal(turns.unseen, 1)
    assert.ok(turns.nextOpen(256).includes(5))
    for (const id of turns.nextOpen(2001)) turns.looked(id, true)
    turns.add(1999)
    assert.deepEqual([turns.unseen, turns.overdue], [0, 1])
    const next = turns.nextStuck(256)
    assert.ok(next.includes(1999))
    for (const id of next) turns.looked(id, true)
    assert.deepEqual([turns.overdue, turns.stuckCount], [0, 2001])
    turns.retryAll()
    assert.equal(turns.overdue, 2001)
  })

  test('those who had theirs have another, however many come or change all the time', () => {
    const turns = new Turns()
    for (let id = 1; id <= 1000; id++) turns.add(id)
    for (const id of turns.nextOpen(1000)) turns.looked(id, id % 2 === 1)
    const seen = new Set<number>()
    for (let plan = 0; plan < 100; plan++) {
      for (let id = 1; id <= 900; id++) turns.add(id)
      for (let i = 0; i < 100; i++) turns.add(10_000 + 100 * plan + i)
      for (const id of look(turns, 80, 40)) seen.add(id)
    }
    for (let id = 901; id <= 1000; id++) assert.ok(seen.has(id), `${id}`)
  })

  test('the most urgent one has it in the first part, however many others are tried again', () => {
    const lists = Array.from({ length: 9 }, (_, list) => {
      const turns = new Turns()
      for (let i = 1; i <= 40; i++) turns.add(list * 1000 + i)
      for (const id of turns.nextOpen(40)) turns.looked(id, true)
      return turns
    })
    for (let i = 0; i < 150; i++) lists[0]?.add(500 + i)
    const part = [...new TurnQueue(lists, 2048, 256).next().keys()]
    assert.equal(part.filter((id) => id >= 500 && id < 650).length, 150)
    // And each list tries some again.
    for (let list = 0; list < 9; list++)
      assert.ok(part.some((id) => Math.floor(id / 1000) === list && id % 1000 <= 40))
  })
})
