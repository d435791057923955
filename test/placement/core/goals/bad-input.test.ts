import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SeededRandom } from '../../../../src/core/random.ts'
import { Assignment } from '../../../../src/placement/core/assignment.ts'
import { aboveSafety } from '../../../../src/placement/core/goals/above-safety.ts'
import { balance } from '../../../../src/placement/core/goals/balance.ts'
import { capacity } from '../../../../src/placement/core/goals/capacity.ts'
import { dependency } from '../../../../src/placement/core/goals/dependency.ts'
import { exclusivity } from '../../../../src/placement/core/goals/exclusivity.ts'
import { moveGoal } from '../../../../src/placement/core/goals/move-goal.ts'
import { nodeGoal } from '../../../../src/placement/core/goals/node-goal.ts'
import { rangeGoal } from '../../../../src/placement/core/goals/range-goal.ts'
import { spread, spreadAtLeast } from '../../../../src/placement/core/goals/spread.ts'
import { tableAffinity } from '../../../../src/placement/core/goals/table-affinity.ts'
import { weighted } from '../../../../src/placement/core/goals/weighted.ts'
import { drawColumns } from '../../support/columns.ts'

const wrong: unknown = 7
const goal = nodeGoal({ name: 'nothing', cost: () => 0 })

const about = { table: 1, other: 2, relation: 'apart' } as const

const refused: readonly (readonly [string, () => unknown, RegExp])[] = [
  ['nodeGoal of a number', () => nodeGoal(wrong as never), /a node goal/],
  ['nodeGoal without a name', () => nodeGoal({ name: '', cost: () => 0 }), /name of a node goal/],
  ['nodeGoal without a cost', () => nodeGoal({ name: 'a', cost: wrong as never }), /cost of a node goal/],
  ['rangeGoal of nothing', () => rangeGoal(undefined as never), /a range goal/],
  ['rangeGoal without a cost', () => rangeGoal({ name: 'a', cost: wrong as never }), /cost of a range goal/],
  ['moveGoal of nothing', () => moveGoal(null as never), /a move goal/],
  ['moveGoal without a cost', () => moveGoal({ name: 'a', cost: wrong as never }), /cost of a move goal/],
  ['weighted without a name', () => weighted('', []), /name of a sum/],
  ['weighted of a number', () => weighted('a', wrong as never), /goals of a sum/],
  ['a negative weight', () => weighted('a', [{ goal, weight: -1 }]), /weight of a goal/],
  ['a weight that is no number', () => weighted('a', [{ goal, weight: Number.NaN }]), /weight of a goal/],
  ['a goal that is none', () => weighted('a', [{ goal: {} as never, weight: 1 }]), /goal of a sum/],
  ['spread over nothing', () => spread([]), /one tier or more/],
  ['spread over a number', () => spread(wrong as never), /tiers of spread/],
  ['spreadAtLeast without a tier', () => spreadAtLeast('', 1), /tier of spreadAtLeast/],
  ['spreadAtLeast of no domain', () => spreadAtLeast('zone', 0), /least number of domains/],
  ['exclusivity of a number', () => exclusivity(wrong as never), /tier of exclusivity/],
  ['dependency without a function', () => dependency('zone', wrong as never), /dependsOn/],
  ['capacity with a typing error', () => capacity({ refuseAbowe: 1 } as never), /refuseAbove/],
  ['capacity above all', () => capacity({ refuseAbove: 2 }), /refuseAbove/],
  ['capacity of a number', () => capacity({ resources: wrong as never }), /'resources'/],
  ['capacity with a nameless resource', () => capacity({ transient: [''] }), /'transient'/],
  ['capacity with options twice', () => capacity({}, { refuseAbove: 0.5 }), /its options once/],
  [
    'capacity of one resource with a typing error',
    () => capacity('bytes', { shedAbov: 1 } as never),
    /shedAbove/,
  ],
  ['spread with options', () => spread('zone', { tier: 'rack' } as never), /spread takes tiers alone/],
  ['balance of what is not', () => balance('moons' as never), /balance takes 'replicas', 'leases'/],
  ['balance with a typing error', () => balance('lease' as never), /did you mean 'leases'\?/],
  ['balance of a number', () => balance(wrong as never), /what balance balances/],
  ['balance with a misspelled tolerance', () => balance('leases', { tolerence: 0.1 } as never), /tolerance/],
  ['balance of a nameless resource', () => balance({ resource: '' }), /resource that balance balances/],
  [
    'balance with options in the wrong place',
    () => balance({ resource: 'cpu', tolerance: 1 } as never),
    /tolerance/,
  ],
  ['balance with a wrong tolerance', () => balance('replicas', { tolerance: -1 }), /tolerance/],
  ['tableAffinity of nothing', () => tableAffinity({} as never), /table/],
  ['tableAffinity of one table', () => tableAffinity({ ...about, other: 1 }), /two tables/],
  ['tableAffinity of another kind', () => tableAffinity({ ...about, relation: 'near' as never }), /relation/],
  ['tableAffinity in a nameless tier', () => tableAffinity({ ...about, tier: wrong as never }), /tier/],
  ['aboveSafety with a number', () => aboveSafety({ safety: wrong as never }), /safety of aboveSafety/],
  ['aboveSafety with a typing error', () => aboveSafety({ wait: () => 1 } as never), /aboveSafety/],
]

for (const [what, make, message] of refused) {
  test(`${what} is refused`, () => {
    assert.throws(make, (error: Error & { code?: string }) => {
      assert.match(error.message, message)
      return /^INVALID_(ARGUMENT|OPTION)$/.test(error.code ?? '')
    })
  })
}

test('a dependency on a range that does not exist is refused when it is bound', () => {
  const assignment = new Assignment(drawColumns(new SeededRandom(1)))
  assert.throws(() => dependency('zone', () => [99]).bind(assignment), { message: /depends on 99/ })
})
