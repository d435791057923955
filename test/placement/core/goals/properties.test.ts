import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SeededRandom } from '../../../../src/core/random.ts'
import { Assignment, nowhere } from '../../../../src/placement/core/assignment.ts'
import { bindGoal, bindRule } from '../../../../src/placement/core/goals/goal.ts'
import { drawColumns } from '../../support/columns.ts'
import { catalogueBook, goalCatalogue, ruleCatalogue } from '../../support/goal-catalogue.ts'

const rounds = 60

/** An assignment after some random changes. */
function drawAssignment(seed: number, random: SeededRandom): Assignment {
  const columns = drawColumns(random, {
    missing: seed % 4 === 0 ? 0.4 : 0,
    replicas: seed % 5 === 0 ? 14 : 4,
    nodes: seed % 5 === 0 ? 16 : 6,
    leaderLoad: seed % 3 !== 0,
    learners: seed % 2 === 0 ? 0.2 : 0,
    classes: catalogueBook.classes.length,
  })
  return new Assignment(columns)
}

function draw(assignment: Assignment, random: SeededRandom): { slot: number; to: number; other: number } {
  const { slotCount, nodeCount } = assignment.columns
  const to = random.integer(10) === 0 ? nowhere : random.integer(nodeCount)
  return { slot: random.integer(slotCount), to, other: random.integer(slotCount) }
}

for (const { goal, recompute } of goalCatalogue()) {
  test(`${goal.name}: totals and deltas are exactly what a recount says`, () => {
    for (let seed = 1; seed <= rounds; seed++) {
      const random = new SeededRandom(seed)
      const assignment = drawAssignment(seed, random)
      const bound = bindGoal(assignment, goal)
      const { firstSlot, rangeCount } = assignment.columns
      const check = (what: string, delta: number, apply: () => void): void => {
        const before = recompute(assignment)
        assert.equal(bound.total(), before, `seed ${seed}: total before ${what}`)
        apply()
        const after = recompute(assignment)
        assert.equal(delta, after - before, `seed ${seed}: ${what}`)
        assert.equal(bound.total(), after, `seed ${seed}: total after ${what}`)
        const fresh = goal.bind(assignment.clone())
        assert.equal(fresh.total(), after, `seed ${seed}: a fresh total after ${what}`)
        assert.ok(
          bound.lowerBound() <= after + 1e-6,
          `seed ${seed}: lower bound ${bound.lowerBound()} of ${after}`,
        )
      }
      for (let i = 0; i < 12; i++) {
        const { slot, to, other } = draw(assignment, random)
        if (bound.relief !== undefined) {
          const [one, two] = [bound.relief(slot), bound.relief(other)]
          assert.ok(bound.moveDelta(slot, to) >= -one, `seed ${seed}: a move saves more than it could`)
          assert.ok(
            bound.swapDelta(slot, other) >= -one - two,
            `seed ${seed}: a swap saves more than it could`,
          )
        }
        check('a move', bound.moveDelta(slot, to), () => assignment.move(slot, to))
        check('a swap', bound.swapDelta(slot, other), () => assignment.swap(slot, other))
        const range = random.integer(rangeCount)
        const first = firstSlot[range] as number
        const leader = first + random.integer((firstSlot[range + 1] as number) - first)
        const next = random.integer(6) === 0 ? nowhere : leader
        check('a transfer', bound.leadDelta(range, next), () => assignment.lead(range, next))
        if (to !== nowhere) assert.ok(bound.describe(slot, to).length > 0)
      }
    }
  })
}

for (const { rule, violations } of ruleCatalogue()) {
  test(`${rule.name}: allows exactly what breaks nothing more than it was`, () => {
    let [allowed, refused] = [0, 0]
    for (let seed = 1; seed <= rounds; seed++) {
      const random = new SeededRandom(seed)
      const assignment = drawAssignment(seed, random)
      const bound = bindRule(assignment, rule)
      const judge = (what: string, verdict: boolean, apply: (on: Assignment) => void): void => {
        const before = violations(assignment)
        const copy = assignment.clone()
        apply(copy)
        const after = violations(copy)
        const worse = after.some((amount, i) => amount > (before[i] as number))
        assert.equal(
          verdict,
          !worse,
          `seed ${seed}: ${what} of ${JSON.stringify([...before])} to ${JSON.stringify([...after])}`,
        )
        if (verdict) allowed++
        else refused++
      }
      const sum = (amounts: readonly number[]): number => amounts.reduce((total, each) => total + each, 0)
      for (let i = 0; i < 25; i++) {
        const { slot, to, other } = draw(assignment, random)
        judge(`a move of ${slot} to ${to}`, bound.allows(slot, to), (on) => on.move(slot, to))
        judge(`a swap of ${slot} and ${other}`, bound.allowsSwap(slot, other), (on) => on.swap(slot, other))
        assert.equal(bound.refusal(slot, to) === undefined, bound.allows(slot, to), 'a refusal has its words')
        assert.equal(bound.broken() > 0, sum(violations(assignment)) > 0, 'broken or not')
        const evicted = assignment.place.some((_, each) => bound.evicts(each) !== undefined)
        if (bound.broken() === 0) assert.equal(evicted, false, 'nothing is evicted while all holds')
        // Mostly what is allowed, so that both whole and broken placements come up.
        if (bound.allows(slot, to) || random.integer(4) === 0) assignment.move(slot, to)
        if (bound.allowsSwap(slot, other)) assignment.swap(slot, other)
        if (random.integer(3) === 0) {
          const range = random.integer(assignment.columns.rangeCount)
          assignment.lead(range, assignment.columns.firstSlot[range] as number)
        }
      }
    }
    assert.ok(allowed > 100 && refused > 20, `${allowed} allowed, ${refused} refused`)
  })
}
