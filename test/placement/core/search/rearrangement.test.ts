import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SeededRandom } from '../../../../src/core/random.ts'
import { Assignment } from '../../../../src/placement/core/assignment.ts'
import { aboveSafety } from '../../../../src/placement/core/goals/above-safety.ts'
import { capacity } from '../../../../src/placement/core/goals/capacity.ts'
import { bindGoal, bindRule } from '../../../../src/placement/core/goals/goal.ts'
import { Draws } from '../../../../src/placement/core/search/draws.ts'
import { Evaluator } from '../../../../src/placement/core/search/evaluator.ts'
import { Neighbours } from '../../../../src/placement/core/search/neighbours.ts'
import { Rearrangement } from '../../../../src/placement/core/search/rearrangement.ts'
import { drawColumns } from '../../support/columns.ts'
import { goalCatalogue, ruleCatalogue } from '../../support/goal-catalogue.ts'

test('a rearrangement changes nothing, or costs what it says and breaks nothing that was whole', () => {
  let [done, undone, moved] = [0, 0, 0]
  for (let seed = 1; seed <= 200; seed++) {
    const random = new SeededRandom(seed)
    const columns = drawColumns(random, { replicas: 3, leaderLoad: seed % 2 === 0 })
    const assignment = new Assignment(columns)
    const rules = ruleCatalogue().map(({ rule }) => bindRule(assignment, rule))
    const goals = goalCatalogue().map(({ goal }) => bindGoal(assignment, goal))
    const goal = goals.find(({ name }) => name === 'sum')
    assert.ok(goal !== undefined)
    const evaluator = new Evaluator(assignment, rules, goal)
    if (evaluator.exceeded > 0) continue
    const draws = new Draws(random)
    const neighbours = new Neighbours(evaluator)
    if (neighbours.slots.length === 0) continue
    const rearrangement = new Rearrangement(evaluator, neighbours, draws)
    evaluator.relax(new Float64Array(columns.resources.length).fill(1e6))
    for (let i = 0; i < 40; i++) {
      const place = assignment.place.slice()
      const cost = goal.total()
      const broken = rules.map((rule) => rule.broken())
      const most = random.integer(3) * 20
      if (!rearrangement.attempt(most, true)) {
        assert.deepEqual(assignment.place, place)
        undone++
        continue
      }
      done++
      if (rearrangement.count > 1) moved++
      assert.equal(goal.total() - cost, rearrangement.delta, `seed ${seed}`)
      assert.ok(rearrangement.delta <= most)
      assert.equal(evaluator.exceeded, 0)
      rules.forEach((rule, r) => assert.ok(rule.broken() <= (broken[r] as number), rule.name))
      const named = new Set(Array.from({ length: rearrangement.count }, (_, at) => rearrangement.slot(at)))
      assignment.place.forEach((node, slot) => assert.ok(node === place[slot] || named.has(slot)))
    }
    assert.deepEqual(assignment.clone().usage, assignment.usage)
  }
  assert.ok(done > 40 && undone > 200 && moved > 10, `${done} done, ${undone} undone, ${moved} of several`)
})

test('one large replica is exchanged for all that is on another node', () => {
  // Node 0 is safe up to 40 and holds 50; node 1 is safe up to 50 and holds five times 8. Both have room for 60.
  const loads = [50, 8, 8, 8, 8, 8]
  const drawn = drawColumns(new SeededRandom(1), { nodes: 2, ranges: 6, replicas: 1, leaderLoad: false })
  const columns = {
    ...drawn,
    capacity: drawn.capacity.map((_, at) =>
      at % drawn.resources.length === 0 ? 60 : Number.POSITIVE_INFINITY,
    ),
    load: drawn.load.map((_, at) =>
      at % drawn.resources.length === 0 ? (loads[Math.floor(at / drawn.resources.length)] as number) : 0,
    ),
    home: Int32Array.of(0, 1, 1, 1, 1, 1),
    status: new Uint8Array(6).fill(3),
    fixed: new Uint8Array(6),
    eligible: new Uint8Array(2).fill(1),
  }
  const assignment = new Assignment(columns)
  const goal = bindGoal(
    assignment,
    aboveSafety({ safety: (node) => (node === 0 ? 40 : 50), weight: (r) => (r === 0 ? 1 : 0) }),
  )
  const rule = bindRule(assignment, capacity({ refuseAbove: 1, shedAbove: 1, transient: [] }))
  const evaluator = new Evaluator(assignment, [rule], goal)
  assert.equal(goal.total(), 10)
  for (let slot = 0; slot < 6; slot++) {
    const to = slot === 0 ? 1 : 0
    assert.ok(evaluator.move(slot, to, Number.MAX_VALUE) > 0, 'no move alone makes it better')
    if (slot > 0) assert.ok(evaluator.swap(0, slot, Number.MAX_VALUE) > 0, 'nor does a swap')
  }
  const draws = new Draws(new SeededRandom(2))
  const rearrangement = new Rearrangement(evaluator, new Neighbours(evaluator), draws)
  evaluator.relax(new Float64Array(columns.resources.length).fill(1000))
  for (let i = 0; i < 50 && goal.total() > 0; i++) rearrangement.attempt(0, true)
  assert.equal(goal.total(), 0)
  assert.deepEqual([...assignment.place], [1, 0, 0, 0, 0, 0])
  assert.equal(rearrangement.count, 6)
})
