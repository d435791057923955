import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SeededRandom } from '../../../../src/core/random.ts'
import { Assignment, nowhere } from '../../../../src/placement/core/assignment.ts'
import {
  type BoundGoal,
  type BoundRule,
  bindGoal,
  bindRule,
} from '../../../../src/placement/core/goals/goal.ts'
import { Evaluator, refused } from '../../../../src/placement/core/search/evaluator.ts'
import { Search } from '../../../../src/placement/core/search/search.ts'
import { drawColumns } from '../../support/columns.ts'
import { goalCatalogue, ruleCatalogue } from '../../support/goal-catalogue.ts'

interface World {
  readonly assignment: Assignment
  readonly rules: readonly BoundRule[]
  readonly goal: BoundGoal
  readonly guard: BoundGoal
  readonly evaluator: Evaluator
}

/** Everything that the library has, on one assignment. */
function drawWorld(seed: number, guarded = false): World {
  const random = new SeededRandom(seed)
  const columns = drawColumns(random, {
    leaderLoad: seed % 2 === 0,
    missing: seed % 3 === 0 ? 0.1 : 0,
    replicas: 3,
  })
  const assignment = new Assignment(columns)
  const rules = ruleCatalogue().map(({ rule }) => bindRule(assignment, rule))
  const goals = goalCatalogue().map(({ goal }) => bindGoal(assignment, goal))
  const goal = goals.find(({ name }) => name === 'sum') as BoundGoal
  const guard = goals.find(({ name }) => name === 'spread(zone)') as BoundGoal
  return {
    assignment,
    rules,
    goal,
    guard,
    evaluator: new Evaluator(assignment, rules, goal, guarded ? [guard] : []),
  }
}

test('the evaluator says exactly what rules and goals say one by one', () => {
  let [allowed, turnedDown] = [0, 0]
  for (let seed = 1; seed <= 80; seed++) {
    const { assignment, rules, goal, guard, evaluator } = drawWorld(seed, seed % 4 === 0)
    const random = new SeededRandom(seed * 1000)
    const { slotCount, nodeCount, rangeCount, firstSlot } = assignment.columns
    const guarded = seed % 4 === 0
    for (let i = 0; i < 60; i++) {
      const [slot, other] = [random.integer(slotCount), random.integer(slotCount)]
      const to = random.integer(nodeCount)
      if (assignment.place[slot] !== to) {
        const fine =
          rules.every((rule) => rule.allows(slot, to)) && !(guarded && guard.moveDelta(slot, to) > 0)
        const value = evaluator.move(slot, to, Number.MAX_VALUE)
        assert.equal(value, fine ? goal.moveDelta(slot, to) : refused, `seed ${seed}: move`)
        if (fine) {
          assert.equal(
            evaluator.move(slot, to, value),
            value,
            'what costs just as much as it may is not refused',
          )
          assert.equal(evaluator.move(slot, to, value - 1), refused, 'what costs more is')
          allowed++
        } else turnedDown++
        if (fine || random.integer(6) === 0) assignment.move(slot, to)
      }
      const [here, there] = [assignment.place[slot] as number, assignment.place[other] as number]
      if (here !== there && here >= 0 && there >= 0) {
        const fine =
          rules.every((rule) => rule.allowsSwap(slot, other)) &&
          !(guarded && guard.swapDelta(slot, other) > 0)
        const value = evaluator.swap(slot, other, Number.MAX_VALUE)
        assert.equal(value, fine ? goal.swapDelta(slot, other) : refused, `seed ${seed}: swap`)
        if (fine) assert.equal(evaluator.swap(slot, other, value - 1), refused)
        if (fine) assignment.swap(slot, other)
      }
      const range = random.integer(rangeCount)
      const leader = firstSlot[range] as number
      assignment.lead(range, (assignment.place[leader] as number) < 0 ? nowhere : leader)
    }
  }
  assert.ok(allowed > 500 && turnedDown > 500, `${allowed} allowed, ${turnedDown} turned down`)
})

test('with limits relaxed, the price of a change is what is above limits after it less what was before', () => {
  let seen = 0
  for (let seed = 1; seed <= 60; seed++) {
    const { assignment, rules, goal, evaluator } = drawWorld(seed)
    const limits = rules.find((rule) => rule.limits !== undefined) as BoundRule
    const others = rules.filter((rule) => rule !== limits)
    const random = new SeededRandom(seed * 1000)
    const { slotCount, nodeCount } = assignment.columns
    const price = Float64Array.from(assignment.columns.resources, () => 1)
    evaluator.relax(price)
    for (let i = 0; i < 40; i++) {
      const [slot, other, to] = [
        random.integer(slotCount),
        random.integer(slotCount),
        random.integer(nodeCount),
      ]
      const swaps = i % 2 === 0
      const [here, there] = [
        assignment.place[slot] as number,
        swaps ? (assignment.place[other] as number) : to,
      ]
      if (here === there || here < 0 || there < 0) continue
      const fine = others.every((rule) => (swaps ? rule.allowsSwap(slot, other) : rule.allows(slot, to)))
      const delta = swaps ? goal.swapDelta(slot, other) : goal.moveDelta(slot, to)
      const value = swaps
        ? evaluator.swap(slot, other, Number.MAX_VALUE)
        : evaluator.move(slot, to, Number.MAX_VALUE)
      const { penalty } = evaluator
      assert.equal(value === refused, !fine)
      if (!fine) continue
      assert.equal(value - penalty, delta)
      const before = limits.broken()
      assert.equal(evaluator.priceOfExcess, before)
      assert.equal(evaluator.exceeded > 0, before > 0)
      if (swaps) assignment.swap(slot, other)
      else assignment.move(slot, to)
      assert.equal(penalty, limits.broken() - before, `seed ${seed}: ${swaps ? 'swap' : 'move'}`)
      if (penalty !== 0) seen++
    }
  }
  assert.ok(seen > 100, `${seen} priced changes`)
})

test('a search breaks nothing that was whole, makes it no worse, and its cost is that of what it leaves', () => {
  let better = 0
  for (let seed = 1; seed <= 12; seed++) {
    const { assignment, rules, goal, evaluator } = drawWorld(seed)
    const before = rules.map((rule) => rule.broken())
    const cost = goal.total()
    const search = new Search(evaluator, cost, new SeededRandom(seed))
    for (let i = 0; i < 200; i++) search.slice(100, i / 200)
    search.finish()
    assert.equal(search.cost, goal.total())
    assert.ok(search.cost <= cost)
    if (search.cost < cost) better++
    rules.forEach((rule, i) => assert.ok(rule.broken() <= (before[i] as number), rule.name))
    assert.equal(search.steps, 20_000)
    assert.deepEqual(assignment.clone().usage, assignment.usage)
  }
  assert.ok(better >= 6, `${better} got better`)
})

test('a search may be stopped anywhere: what it leaves breaks nothing that was whole, and costs what it says', () => {
  let stoppedAbove = 0
  for (let seed = 1; seed <= 40; seed++) {
    const { assignment, rules, goal, evaluator } = drawWorld(seed)
    const before = rules.map((rule) => rule.broken())
    const cost = goal.total()
    const search = new Search(evaluator, cost, new SeededRandom(seed))
    const until = 5 + ((seed * 37) % 190)
    for (let i = 0; i < until; i++) search.slice(50, i / 200)
    if (evaluator.exceeded > 0) stoppedAbove++
    const known = search.cost
    search.finish()
    assert.equal(search.cost, goal.total(), `seed ${seed}`)
    assert.ok(search.cost <= known)
    rules.forEach((rule, i) => assert.ok(rule.broken() <= (before[i] as number), rule.name))
    // And may go on afterwards.
    for (let i = until; i < 200; i++) search.slice(50, i / 200)
    search.finish()
    assert.equal(search.cost, goal.total(), `seed ${seed}, to its end`)
    rules.forEach((rule, i) => assert.ok(rule.broken() <= (before[i] as number), rule.name))
    assert.deepEqual(assignment.clone().usage, assignment.usage)
  }
  assert.ok(stoppedAbove >= 5, `${stoppedAbove} searches were stopped above limits`)
})

test('a search whose driver skips phases leaves a valid placement as well', () => {
  const ways = [[0.05, 0.5, 0.95], [0.5], [0, 0.88], [0.95], [0, 0.05, 0.88, 0.99], [0, 0.15, 0.9, 1], [1, 0]]
  for (const [i, way] of ways.entries()) {
    const { assignment, rules, goal, evaluator } = drawWorld(i + 3)
    const before = rules.map((rule) => rule.broken())
    const cost = goal.total()
    const search = new Search(evaluator, cost, new SeededRandom(i))
    for (const progress of way) {
      for (let slice = 0; slice < 10; slice++) search.slice(100, progress)
      assert.ok(search.temperature >= 0 && search.temperature < Number.POSITIVE_INFINITY)
    }
    search.finish()
    assert.equal(search.cost, goal.total())
    assert.ok(search.cost <= cost)
    rules.forEach((rule, r) => assert.ok(rule.broken() <= (before[r] as number), rule.name))
    assert.deepEqual(assignment.clone().usage, assignment.usage)
  }
})

test('the same seed, slices and progress give the same placement', () => {
  const run = (seed: number): Int32Array => {
    const { assignment, goal, evaluator } = drawWorld(5)
    const search = new Search(evaluator, goal.total(), new SeededRandom(seed))
    for (let i = 0; i < 100; i++) search.slice(50, i / 100)
    search.finish()
    return assignment.place
  }
  assert.deepEqual(run(1), run(1))
})

test('what is fixed stays, and nothing comes to a node that may not be given anything', () => {
  const columns = drawColumns(new SeededRandom(4), { ranges: 20, leaderLoad: false })
  const fixed = columns.fixed.map((_, slot) => (slot % 3 === 0 ? 1 : 0))
  const eligible = columns.eligible.map((_, node) => (node === 2 ? 0 : 1))
  const assignment = new Assignment({ ...columns, fixed, eligible })
  const goal = bindGoal(assignment, goalCatalogue()[0]?.goal as never)
  const search = new Search(new Evaluator(assignment, [], goal), goal.total(), new SeededRandom(1))
  for (let i = 0; i < 100; i++) search.slice(100, i / 100)
  search.finish()
  assert.ok(search.accepted > 0)
  assignment.place.forEach((node, slot) => {
    if (fixed[slot] === 1) assert.equal(node, columns.home[slot])
    if (eligible[node] !== 1) assert.equal(node, columns.home[slot], 'only what was there already')
  })
})

test('an evaluator and a search refuse what they cannot work with', () => {
  const { assignment, goal, evaluator } = drawWorld(1)
  const code = { code: 'INVALID_ARGUMENT' }
  assert.throws(() => new Evaluator(undefined as never, [], goal), code)
  assert.throws(() => new Evaluator(assignment, 7 as never, goal), code)
  assert.throws(() => new Evaluator(assignment, [], {} as never), code)
  assert.throws(() => new Evaluator(assignment, [], goal, 7 as never), code)
  assert.throws(() => new Search(7 as never, 0, new SeededRandom(1)), code)
  assert.throws(() => new Search(evaluator, Number.NaN, new SeededRandom(1)), code)
  assert.throws(() => new Search(evaluator, 0, 7 as never), code)
  const search = new Search(evaluator, goal.total(), new SeededRandom(1))
  assert.throws(() => search.slice(0, 0), code)
  assert.throws(() => search.slice(10, 1.5), code)
  assert.throws(() => search.slice(10, Number.NaN), code)
})
