import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SeededRandom } from '../../../../src/core/random.ts'
import { Assignment } from '../../../../src/placement/core/assignment.ts'
import { balance } from '../../../../src/placement/core/goals/balance.ts'
import { exclusivity } from '../../../../src/placement/core/goals/exclusivity.ts'
import { bindGoal, bindRule } from '../../../../src/placement/core/goals/goal.ts'
import { spread } from '../../../../src/placement/core/goals/spread.ts'
import { LevelSearch } from '../../../../src/placement/core/search/level-search.ts'
import { drawColumns } from '../../support/columns.ts'

test('a later goal is never reached at the expense of an earlier one, and each gets better', () => {
  let [spreadGained, balanceGained] = [0, 0]
  for (let seed = 1; seed <= 20; seed++) {
    const random = new SeededRandom(seed)
    const columns = drawColumns(random, { nodes: 9, ranges: 12, replicas: 3 })
    const assignment = new Assignment({ ...columns, eligible: columns.eligible.fill(1) })
    const rules = [bindRule(assignment, exclusivity())]
    const goals = [spread('zone'), balance('replicas'), balance({ resource: 'cpu' })].map((goal) =>
      bindGoal(assignment, goal),
    )
    const totals = (): number[] => goals.map((goal) => goal.total())
    const before = totals()
    const search = new LevelSearch(assignment, rules, goals, new SeededRandom(seed))
    const after: number[][] = []
    for (let i = 0; i < 300; i++) {
      if (i % 100 === 0) {
        search.finish()
        after.push(totals())
      }
      search.slice(100, i / 300)
    }
    search.finish()
    after.push(totals())
    const [, first, second, third] = after as [number[], number[], number[], number[]]
    assert.ok((first[0] as number) <= (before[0] as number))
    assert.ok((second[0] as number) <= (first[0] as number) && (second[1] as number) <= (first[1] as number))
    assert.ok((third[0] as number) <= (second[0] as number) && (third[1] as number) <= (second[1] as number))
    if ((third[0] as number) < (before[0] as number)) spreadGained++
    if ((second[1] as number) < (first[1] as number)) balanceGained++
  }
  assert.ok(spreadGained > 10 && balanceGained > 10, `${spreadGained}, ${balanceGained}`)
})

test('a search without goals is refused, and so is a progress that is none', () => {
  const assignment = new Assignment(drawColumns(new SeededRandom(1)))
  const random = new SeededRandom(1)
  assert.throws(() => new LevelSearch(assignment, [], [], random), { code: 'INVALID_ARGUMENT' })
  const search = new LevelSearch(assignment, [], [bindGoal(assignment, balance('leases'))], random)
  assert.throws(() => search.slice(10, Number.NaN), { code: 'INVALID_ARGUMENT' })
  assert.throws(() => search.slice(0, 0.5), { code: 'INVALID_ARGUMENT' })
})
