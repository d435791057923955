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
import { drawColumns } from '../../support/columns.ts'

function world(seed: number): { assignment: Assignment; neighbours: Neighbours; draws: Draws } {
  const random = new SeededRandom(seed)
  const columns = drawColumns(random, { nodes: 8, ranges: 40, replicas: 3, leaderLoad: false })
  const assignment = new Assignment(columns)
  const rule = bindRule(assignment, capacity({ refuseAbove: 1, shedAbove: 1 }))
  const evaluator = new Evaluator(assignment, [rule], bindGoal(assignment, aboveSafety()))
  return { assignment, neighbours: new Neighbours(evaluator), draws: new Draws(random) }
}

test('what is tried goes to nodes that may be given something, and partners change places', () => {
  let [targets, partners] = [0, 0]
  for (let seed = 1; seed <= 20; seed++) {
    const { assignment, neighbours, draws } = world(seed)
    const { eligible } = assignment.columns
    for (let i = 0; i < 200; i++) {
      const slot = neighbours.slot(draws)
      const to = neighbours.target(slot, draws)
      if (to >= 0) {
        targets++
        assert.equal(eligible[to], 1)
      }
      const other = neighbours.partner(slot, draws)
      if (other < 0) continue
      partners++
      assert.notEqual(assignment.place[other], assignment.place[slot])
      assert.equal(eligible[assignment.place[other] as number], 1)
    }
  }
  assert.ok(targets > 2000 && partners > 1000, `${targets} targets, ${partners} partners`)
})

test('the hotter it is the more the large replicas are tried, and none is forgotten', () => {
  const { assignment, neighbours, draws } = world(3)
  const { load, resources } = assignment.columns
  const size = (slot: number): number =>
    (load[slot * resources.length] as number) + (load[slot * resources.length + 1] as number)
  const tried = (temperature: number): { mean: number; slots: number } => {
    neighbours.focus(temperature)
    const drawn = Array.from({ length: 4000 }, () => neighbours.slot(draws))
    return { mean: drawn.reduce((sum, slot) => sum + size(slot), 0) / 4000, slots: new Set(drawn).size }
  }
  const [cold, warm, hot] = [tried(0), tried(20), tried(1e9)]
  assert.ok(cold.mean < warm.mean && warm.mean < hot.mean, `${cold.mean}, ${warm.mean}, ${hot.mean}`)
  assert.equal(cold.slots, neighbours.slots.length)
  assert.equal(hot.slots, neighbours.slots.length)
})
