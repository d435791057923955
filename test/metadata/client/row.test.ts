import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { Row } from '../../../src/metadata/client/row.ts'

suite('a row of calls', () => {
  test('has what was added and not removed, the oldest first', () => {
    const step = fc.oneof(
      fc.record({ add: fc.nat({ max: 1_500 }) }),
      fc.record({ remove: fc.nat({ max: 2_000 }), from: fc.nat({ max: 3_000 }) }),
      fc.constant('clear' as const),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const row = new Row<{ readonly name: number }>()
        const model = new Map<number, { readonly name: number }>()
        const places: number[] = []
        for (const each of steps) {
          if (each === 'clear') {
            row.clear()
            model.clear()
          } else if ('add' in each) {
            for (let i = 0; i < each.add; i++) {
              const item = { name: places.length }
              const place = row.add(item)
              places.push(place)
              model.set(place, item)
            }
          } else {
            // Some of them twice, and some that a clearance has taken.
            for (const place of places.slice(each.from, each.from + each.remove)) {
              row.remove(place)
              model.delete(place)
            }
          }
          assert.equal(row.size, model.size)
          const [first] = model.values()
          assert.equal(row.first, first)
        }
        assert.equal(new Set(places).size, places.length)
        for (const place of model.keys()) row.remove(place)
        assert.equal(row.size, 0)
        assert.equal(row.first, undefined)
      }),
      { numRuns: 60 },
    )
  })
})
