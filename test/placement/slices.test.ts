import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { SeededRandom } from '../../src/core/random.ts'
import { finish, type Sliced } from '../../src/core/sliced.ts'
import { explainBy, explaining } from '../../src/placement/core/explain.ts'
import { explainingNode } from '../../src/placement/core/explain-node.ts'
import { balance, explainNode, explainRange, type Goal, Planner, plan } from '../../src/placement/index.ts'
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

  test('and what it explains are those of their snapshots, however they take turns and whoever gives up', () => {
    let told = 0
    fc.assert(
      fc.property(fc.nat(1_000_000), (seed) => {
        const random = new SeededRandom(seed)
        const life = new FleetLife(seed)
        const planner = new Planner(lifePolicy)
        const begun: { readonly work: Sliced<unknown>; readonly expected: () => unknown }[] = []
        for (let turn = 0; turn < 40; turn++) {
          if (random.integer(3) === 0) life.step()
          const snapshot = life.fleet.snapshot()
          const [first] = snapshot.ranges()
          const about = first?.rangeId
          const node = snapshot.nodes[random.integer(snapshot.nodes.length)]?.descriptor.nodeId
          const kind = begun.length < 4 ? random.integer(6) : 5
          if (kind === 0)
            begun.push({
              work: planner.planning(snapshot),
              expected: () => plan(snapshot, lifePolicy),
            })
          else if (kind === 1 && about !== undefined)
            begun.push({
              work: explaining(planner, snapshot, about, {}),
              expected: () => explainRange(snapshot, about, lifePolicy),
            })
          else if (kind === 2 && node !== undefined)
            begun.push({
              work: explainingNode(planner, snapshot, node, {}),
              expected: () => explainNode(snapshot, node, lifePolicy),
            })
          else if (kind === 3 && about !== undefined)
            assert.deepEqual(explainBy(planner, snapshot, about), explainRange(snapshot, about, lifePolicy))
          const at = random.integer(Math.max(1, begun.length))
          const { work, expected } = begun[at] ?? {}
          if (work === undefined || expected === undefined) continue
          if (random.integer(20) === 0) {
            begun.splice(at, 1)
            continue
          }
          for (let steps = 1 + random.integer(60); steps > 0; steps--) {
            const step = work.next()
            if (step.done !== true) continue
            assert.deepEqual(step.value, expected())
            begun.splice(at, 1)
            told++
            break
          }
        }
      }),
      { numRuns: 6 },
    )
    assert.ok(told > 10, `${told} were told`)
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
