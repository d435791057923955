import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { SeededRandom } from '../../src/core/random.ts'
import { finish } from '../../src/core/sliced.ts'
import { explainBy } from '../../src/placement/core/explain.ts'
import { balance, explainRange, type Goal, Planner, plan } from '../../src/placement/index.ts'
import { FleetLife, lifePolicy } from './support/fleet-life.ts'

suite('a plan in slices', () => {
  test('is the plan of its snapshot, whatever else is asked meanwhile and wherever it is left', () => {
    fc.assert(
      fc.property(fc.nat(1_000_000), (seed) => {
        const random = new SeededRandom(seed)
        const life = new FleetLife(seed)
        const planner = new Planner(lifePolicy)
        for (let round = 0; round < 6; round++) {
          const snapshot = life.fleet.snapshot()
          const work = planner.planning(snapshot)
          const steps = random.integer(30)
          for (let i = 0; i < steps; i++) work.next()
          life.step()
          const later = life.fleet.snapshot()
          switch (random.integer(4)) {
            case 0:
              assert.deepEqual(planner.plan(later), plan(later, lifePolicy))
              break
            case 1: {
              const rangeId = later.rangeCount === 0 ? undefined : later.reader()
              if (rangeId?.next() !== true) break
              const about = rangeId.rangeId
              assert.deepEqual(explainBy(planner, later, about), explainRange(later, about, lifePolicy))
              break
            }
            case 2:
              // Nobody goes on with it.
              continue
          }
          const fresh = plan(snapshot, lifePolicy)
          // Where it had ended already there is nothing left to return.
          const left = work.next()
          if (left.done === true) assert.deepEqual(left.value ?? fresh, fresh)
          else assert.deepEqual(finish(work), fresh)
        }
      }),
      { numRuns: 40 },
    )
  })

  test('asked for the plan that is being made gives that plan; asked for an older one goes back to it', () => {
    const life = new FleetLife(5)
    const planner = new Planner(lifePolicy)
    const before = life.fleet.snapshot()
    const old = planner.plan(before)
    while (life.fleet.snapshot() === before) life.step()
    const now = life.fleet.snapshot()
    const work = planner.planning(now)
    assert.equal(work.next().done, false)
    const made = planner.plan(now)
    assert.equal(finish(work), made)
    while (life.fleet.snapshot() === now) life.step()
    assert.equal(planner.planning(life.fleet.snapshot()).next().done, false)
    assert.deepEqual(planner.plan(before), old)
    const reader = before.reader()
    assert.ok(reader.next())
    const { rangeId } = reader
    assert.deepEqual(explainBy(planner, before, rangeId), explainRange(before, rangeId, lifePolicy))
  })

  test('lets go often: no slice of a large cluster is more than a part of the whole', () => {
    const life = new FleetLife(3)
    let slices = 0
    const work = new Planner(lifePolicy).planning(life.fleet.snapshot())
    while (work.next().done !== true) slices++
    assert.ok(slices >= 5, `${slices} slices`)
  })

  test('that fails is told to who asked for it, and the next one begins anew', () => {
    let broken = false
    const even = balance('replicas')
    const goal: Goal = {
      name: even.name,
      bind(assignment) {
        if (broken) throw new RangeError('out of order')
        return even.bind(assignment)
      },
    }
    const planner = new Planner({ goals: [goal] })
    const life = new FleetLife(12)
    const first = life.fleet.snapshot()
    const work = planner.planning(first)
    work.next()
    broken = true
    life.step()
    const later = life.fleet.snapshot()
    assert.throws(() => planner.plan(later), RangeError)
    assert.throws(() => finish(work), RangeError)
    broken = false
    assert.deepEqual(planner.plan(later), plan(later, { goals: [even] }))
  })
})
