import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SeededRandom } from '../../../src/core/random.ts'
import { finish } from '../../../src/core/sliced.ts'
import { drawOf } from '../../../src/placement/core/improvements.ts'
import { RangeList } from '../../../src/placement/core/range-list.ts'
import { RangeWeights } from '../../../src/placement/core/range-weights.ts'

test('the first ranges by weight and by draw are those that a sort of all begins with', () => {
  for (let seed = 1; seed <= 40; seed++) {
    const random = new SeededRandom(seed)
    const count = random.integer(seed % 10 === 0 ? 9000 : 60)
    const ranges = Array.from({ length: count }, (_, i) => ({
      id: 3 * i + 1,
      weight: random.integer(5),
      draw: drawOf(3 * i + 1, seed),
    }))
    const weights = new RangeWeights(count)
    for (const { id, weight, draw } of ranges) weights.add(id, weight, draw)
    const isOpen = (id: number): boolean => id % 2 === 1
    const open = ranges.filter(({ id }) => isOpen(id))
    const ids = (list: typeof ranges): number[] => list.map(({ id }) => id)
    const few = random.integer(20)
    const heavy = [...open].sort((a, b) => b.weight - a.weight || a.id - b.id).slice(0, few)
    assert.deepEqual(
      finish(weights.heaviest(few, isOpen)).map(({ rangeId }) => rangeId),
      ids(heavy),
    )
    const drawn = [...ranges].sort((a, b) => a.draw - b.draw || a.id - b.id).slice(0, few)
    assert.deepEqual(finish(weights.drawn(few)), ids(drawn))
    const all = finish(RangeWeights.drawing(Float64Array.from(ids(ranges)), seed))
    assert.deepEqual(finish(all.drawn(few)), ids(drawn))
  }
})

test('the list of a node has every range once, in order, however they came and left', () => {
  for (let seed = 1; seed <= 30; seed++) {
    const random = new SeededRandom(seed)
    const list = new RangeList()
    const there = new Set<number>()
    for (let step = 0; step < 400; step++) {
      const rangeId = random.integer(120)
      if (there.delete(rangeId)) list.leave()
      else {
        there.add(rangeId)
        list.add(rangeId)
      }
      if (random.integer(30) > 0) continue
      const candidates = list.candidates()
      assert.ok(candidates.every((each, i) => i === 0 || each > (candidates[i - 1] as number)))
      const read = candidates.filter((each) => there.has(each))
      assert.deepEqual(
        [...read],
        [...there].sort((a, b) => a - b),
      )
      list.keep(read, candidates.length)
    }
  }
})
