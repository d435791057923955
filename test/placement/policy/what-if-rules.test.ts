import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Planner, placementPolicy, RuleBook, whatIf } from '../../../src/placement/index.ts'
import { PlainFleet, plainNode, plainRange } from '../support/plain.ts'

const on = (zone: string): RuleBook =>
  new RuleBook({
    rules: [{ id: zone, scope: { type: 'cluster' }, require: [{ match: [{ label: 'zone', in: [zone] }] }] }],
  })

suite('what-if with other rules', () => {
  const nodes = Array.from({ length: 6 }, (_, i) => plainNode(`n${i}`, `zone=z${i < 3 ? 0 : 1}`))
  const life = new PlainFleet(
    nodes,
    Array.from({ length: 9 }, (_, i) => plainRange(i + 1, ['n0', 'n1', 'n2'])),
  )
  const snapshot = life.fleet.snapshot()

  test('plans by those alone, whatever rules are in force', () => {
    const given = whatIf(snapshot, { policy: { rules: on('z1') } }, { policy: { rules: on('z0') } })
    assert.equal(given.blockedCount, 0, given.explained.join('\n'))
    assert.equal(given.settled, true)
    const held = given.after.stores.map(({ name, replicas }) => [name, replicas])
    assert.deepEqual(held, [
      ['n0', 0],
      ['n1', 0],
      ['n2', 0],
      ['n3', 9],
      ['n4', 9],
      ['n5', 9],
    ]) // prettier-ignore
    // A controller hands on what its planner plans by.
    const asked = whatIf(
      snapshot,
      { policy: { rules: on('z1') } },
      { policy: new Planner({ rules: on('z0') }).policy },
    )
    assert.deepEqual(asked, given)
  })

  test('and without rules keeps none of them', () => {
    const none = whatIf(snapshot, { policy: { rules: undefined } }, { policy: { rules: on('z0') } })
    const held = none.after.stores.map(({ replicas }) => replicas)
    assert.ok(
      held.slice(3).every((count) => count >= 3),
      `${held}`,
    )
  })

  test('a policy keeps apart what its rules come to', () => {
    const policy = placementPolicy({ rules: on('z0'), constraints: [], goals: [] })
    assert.deepEqual([policy.constraints, policy.goals], [[], []])
    assert.deepEqual(placementPolicy(policy), policy)
  })
})
