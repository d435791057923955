import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom } from '../../../src/core/random.ts'
import type { Coordinate } from '../../../src/swim/core/coordinates.ts'
import { chooseHelpers } from '../../../src/swim/core/helpers.ts'
import type { SwimCore } from '../../../src/swim/core/swim-core.ts'
import { alive, hear, makeCore } from '../support/core.ts'

function at(x: number, y: number, more: Partial<Coordinate> = {}): Coordinate {
  return { vector: [x, y, 0, 0, 0, 0, 0, 0], heightMs: 0.1, error: 0.1, ...more }
}

/** Ten members at each place, named by it. */
function spread(places: Readonly<Record<string, Coordinate | undefined>>): SwimCore {
  const core = makeCore()
  const names = Object.keys(places).flatMap((place) => Array.from({ length: 10 }, (_, i) => `${place}${i}`))
  for (let i = 0; i < names.length; i += 10)
    hear(core, 'a0', 0, ...names.slice(i, i + 10).map((name) => alive(name, 1)))
  const { table } = core.membership
  for (const name of names) table.note(name, { coordinate: places[name.charAt(0)] })
  return core
}

/** How often helpers at each place were chosen, in a hundred questions about `target`, and how often there was none at `place`. */
function chosen(
  core: SwimCore,
  target: string,
  here: Coordinate | undefined,
  place: string,
): [number, number] {
  const random = new SeededRandom(4)
  let without = 0
  let there = 0
  for (let i = 0; i < 100; i++) {
    const helpers = chooseHelpers({ membership: core.membership, random, here, target })
    const names = helpers.map(({ member }) => member.nodeId)
    assert.equal(new Set(names).size, 3)
    assert.ok(!names.includes(target))
    const found = names.filter((name) => name.startsWith(place)).length
    there += found
    if (found === 0) without++
  }
  return [there, without]
}

suite('helpers of an indirect probe', () => {
  test('one of them is at a third place, the others anywhere', () => {
    const core = spread({ a: at(0, 0), b: at(20, 0), c: at(10, 25) })
    const [there, without] = chosen(core, 'b3', at(0, 0), 'c')
    assert.ok(without <= 1, `${without} times nobody at the third place`)
    assert.ok(there < 160, 'chance still picks the others')
    assert.ok(chosen(core, 'b3', at(0, 0), 'a')[0] > 20 && chosen(core, 'b3', at(0, 0), 'b')[0] > 20)
  })

  test('at one place, and where places are not known, chance alone picks', () => {
    for (const places of [
      { a: at(0, 0), b: at(0.5, 0), c: at(0, 1) },
      { a: at(0, 0), b: undefined, c: at(10, 25) },
      { a: at(0, 0), b: at(20, 0), c: at(10, 25, { error: 1.2 }) },
    ]) {
      const [there, without] = chosen(spread(places), 'b3', at(0, 0), 'c')
      assert.ok(without > 15 && there > 80 && there < 130)
    }
    const [, without] = chosen(spread({ a: at(0, 0), b: at(20, 0), c: at(10, 25) }), 'b3', undefined, 'c')
    assert.ok(without > 15)
  })

  test('who is far because it is slow is no third place', () => {
    for (const slow of [at(0, 900), at(10, 25, { heightMs: 40 })]) {
      const [there, without] = chosen(spread({ a: at(0, 0), b: at(20, 0), c: slow }), 'b3', at(0, 0), 'c')
      assert.ok(without > 15 && there < 130)
    }
  })
})
