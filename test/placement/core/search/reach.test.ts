import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SeededRandom } from '../../../../src/core/random.ts'
import { Assignment } from '../../../../src/placement/core/assignment.ts'
import { capacity } from '../../../../src/placement/core/goals/capacity.ts'
import { bindGoal, bindRule } from '../../../../src/placement/core/goals/goal.ts'
import { movedBytes } from '../../../../src/placement/core/goals/move-goal.ts'
import { Draws } from '../../../../src/placement/core/search/draws.ts'
import { Evaluator } from '../../../../src/placement/core/search/evaluator.ts'
import { Reach } from '../../../../src/placement/core/search/reach.ts'
import { drawColumns } from '../../support/columns.ts'

function upTo(count: number): Int32Array {
  return Int32Array.from({ length: count }, (_, i) => i)
}

test('no replica is ever allowed where it could not be, and all that can be drawn could be', () => {
  let [outOfReach, sparse, fits] = [0, 0, 0]
  for (let seed = 1; seed <= 60; seed++) {
    const random = new SeededRandom(seed)
    const nodes = seed % 3 === 0 ? 40 : 7
    const drawn = drawColumns(random, { nodes, ranges: 30, replicas: 3, leaderLoad: seed % 2 === 0 })
    const columns = {
      ...drawn,
      fixed: drawn.fixed.map(() => (random.integer(8) === 0 ? 1 : 0)),
      capacity: drawn.capacity.map((amount) => (amount === Number.POSITIVE_INFINITY ? amount : amount * 0.6)),
    }
    const assignment = new Assignment(columns)
    const rule = bindRule(assignment, capacity({ refuseAbove: 1, shedAbove: 1 }))
    const evaluator = new Evaluator(assignment, [rule], bindGoal(assignment, movedBytes()))
    const slots = upTo(columns.slotCount).filter((slot) => columns.fixed[slot] !== 1)
    const open = upTo(nodes).filter((node) => columns.eligible[node] === 1)
    const reach = new Reach(assignment, evaluator.limits, slots, open)
    const untabled = new Reach(assignment, evaluator.limits, slots, open, 0)
    const draws = new Draws(random)
    for (let i = 0; i < 300; i++) {
      const slot = slots[random.integer(slots.length)] as number
      const node = open[random.integer(open.length)] as number
      assert.equal(untabled.has(slot, node), reach.has(slot, node), 'a table says what is judged without one')
      if (!reach.has(slot, node)) {
        outOfReach++
        assert.equal(rule.allows(slot, node), false, `seed ${seed}: slot ${slot} to node ${node}`)
      } else if (rule.allows(slot, node)) {
        fits++
        assignment.move(slot, node)
      }
      const closed = random.integer(nodes)
      if (columns.eligible[closed] !== 1)
        assert.ok(!reach.has(slot, closed) && !untabled.has(slot, closed), 'nothing comes to such a node')
      const some = reach.draw(slot, draws)
      if (some >= 0) assert.ok(reach.has(slot, some) && columns.eligible[some] === 1)
      const other = untabled.draw(slot, draws)
      if (other >= 0) assert.ok(reach.has(slot, other) && columns.eligible[other] === 1)
      const near = open.filter((each) => each % 2 === 0)
      const beside = near.length === 0 ? -1 : reach.drawFrom(slot, near, draws)
      if (beside >= 0) assert.ok(beside % 2 === 0 && reach.has(slot, beside))
      if (open.filter((each) => reach.has(slot, each)).length * 8 < open.length) sparse++
    }
  }
  assert.ok(
    outOfReach > 300 && fits > 1000 && sparse > 50,
    `${outOfReach} out of reach, ${fits} fit, ${sparse}`,
  )
})

test('a replica can always go home, where its share is held', () => {
  const columns = drawColumns(new SeededRandom(3), { nodes: 5, ranges: 20, leaderLoad: false })
  const tight = { ...columns, capacity: columns.capacity.map(() => 1), eligible: columns.eligible.fill(1) }
  const assignment = new Assignment(tight)
  const rule = bindRule(assignment, capacity({ refuseAbove: 1, shedAbove: 1 }))
  const evaluator = new Evaluator(assignment, [rule], bindGoal(assignment, movedBytes()))
  const reach = new Reach(assignment, evaluator.limits, upTo(columns.slotCount), upTo(5))
  for (let slot = 0; slot < columns.slotCount; slot++) {
    assert.equal(reach.has(slot, columns.home[slot] as number), true)
  }
})
