import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { KeelsonError } from '../../../src/core/errors.ts'
import { conflictsOf } from '../../../src/placement/core/policy/conflicts.ts'
import { type EffectivePolicy, inherit } from '../../../src/placement/core/policy/effective.ts'
import type { LabelMatch, PlacementRule } from '../../../src/placement/core/policy/rule.ts'
import { RuleBook, type TableScope } from '../../../src/placement/core/policy/rule-book.ts'
import { decodeBook, encodeRule, ruleKey } from '../../../src/placement/rules/stored-book.ts'

const cluster = { type: 'cluster' } as const
const zone = (name: string) => ({ type: 'zone', zone: name }) as const
const table = (tableId: number) => ({ type: 'table', tableId }) as const
const range = (rangeId: number, tableId?: number) =>
  tableId === undefined
    ? ({ type: 'range', rangeId } as const)
    : ({ type: 'range', rangeId, tableId } as const)
const on = (label: string, ...values: string[]): readonly LabelMatch[] => [{ label, in: values }]

function refusedRules(rules: readonly PlacementRule[], tables: readonly TableScope[] = []): string[] {
  try {
    new RuleBook({ rules, tables })
  } catch (thrown) {
    assert(thrown instanceof KeelsonError)
    assert.equal(thrown.code, 'INVALID_OPTION')
    const { rule, otherRule } = thrown.details
    assert.match(thrown.message, new RegExp(`'${rule}'`))
    assert.match(thrown.message, new RegExp(`'${otherRule}'`))
    return [rule as string, otherRule as string].sort()
  }
  return []
}

describe('rules are inherited', () => {
  const rules: PlacementRule[] = [
    { id: 'all', scope: cluster, voters: 3, spread: ['zone'], prohibit: [on('disk', 'tape')] },
    { id: 'eu', scope: zone('eu'), require: [{ match: on('region', 'eu') }] },
    { id: 'orders', scope: table(7), voters: 5, prefer: [{ match: on('disk', 'nvme') }] },
    { id: 'hot', scope: range(70, 7), voters: 7 },
    { id: 'free', scope: range(71, 7), override: true, voters: 1 },
  ]
  const book = new RuleBook({ rules, tables: [{ tableId: 7, zone: 'eu' }] })

  it('a narrower number stands in the place of a wider one, and says from which rule it is', () => {
    assert.deepEqual(book.classOf(1).policy.voters, { value: 3, ruleId: 'all' })
    assert.deepEqual(book.classOf(1, 7).policy.voters, { value: 5, ruleId: 'orders' })
    assert.deepEqual(book.classOf(70).policy.voters, { value: 7, ruleId: 'hot' })
  })

  it('requirements and prohibitions of all scopes add up', () => {
    const { require, prohibit, prefer, spread } = book.classOf(70).policy
    assert.deepEqual(
      require.map(({ ruleId }) => ruleId),
      ['eu'],
    )
    assert.deepEqual(
      prohibit.map(({ ruleId }) => ruleId),
      ['all'],
    )
    assert.equal(prefer.length, 1)
    assert.deepEqual(spread?.value, ['zone'])
  })

  it('a rule that overrides begins with nothing', () => {
    const { voters, prohibit, require, spread } = book.classOf(71).policy
    assert.equal(voters?.value, 1)
    assert.deepEqual([prohibit, require, spread], [[], [], undefined])
  })

  it('ranges with the same rules share a class, and there is one for every different stack', () => {
    assert.equal(book.classOf(1, 7), book.classOf(2, 7))
    assert.equal(book.classOf(1), book.classOf(1, 8))
    // The cluster's, the zone's, the table's and two of ranges.
    assert.equal(book.classes.length, 5)
    book.classes.forEach((each, i) => assert.equal(each.index, i))
  })

  it('the order of the rules does not matter', () => {
    const other = new RuleBook({ rules: [...rules].reverse(), tables: [{ tableId: 7, zone: 'eu' }] })
    assert.deepEqual(other.classes, book.classes)
  })
})

describe('rules that exclude each other are refused, and both are named', () => {
  const cases: Record<string, readonly PlacementRule[]> = {
    'two numbers in one scope': [
      { id: 'a', scope: table(1), voters: 3 },
      { id: 'b', scope: table(1), voters: 5 },
    ],
    'two places for all replicas': [
      { id: 'a', scope: cluster, require: [{ match: on('region', 'eu') }] },
      { id: 'b', scope: table(1), require: [{ match: on('region', 'us', 'asia') }] },
    ],
    'a place for some that the place of all leaves out': [
      { id: 'a', scope: cluster, require: [{ match: on('region', 'eu') }] },
      { id: 'b', scope: table(1), require: [{ match: on('region', 'us'), count: 1 }] },
    ],
    'a place that is prohibited': [
      { id: 'a', scope: cluster, prohibit: [on('region', 'eu', 'us')] },
      { id: 'b', scope: range(9), require: [{ match: [...on('region', 'eu'), { label: 'ssd' }], count: 2 }] },
    ],
    'more than there are replicas': [
      { id: 'a', scope: cluster, voters: 3, require: [{ match: on('region', 'eu'), count: 2 }] },
      { id: 'b', scope: table(1), require: [{ match: on('region', 'us'), count: 2 }] },
    ],
    'more voters than there are': [
      {
        id: 'a',
        scope: cluster,
        nonVoters: 4,
        require: [{ match: on('region', 'eu'), count: 2, role: 'voter' }],
      },
      { id: 'b', scope: table(1), require: [{ match: on('region', 'us'), count: 2, role: 'voter' }] },
    ],
    'leaders where no voter may be': [
      { id: 'a', scope: cluster, require: [{ match: on('region', 'eu'), role: 'voter' }] },
      { id: 'b', scope: table(1), lead: [on('region', 'us'), on('region', 'asia')] },
    ],
    'a zone that is to be lost and holds all': [
      { id: 'a', scope: cluster, survive: 'zone' },
      { id: 'b', scope: table(1), require: [{ match: on('zone', 'a', 'b') }] },
    ],
    'survival with one voter': [
      { id: 'a', scope: cluster, survive: 'zone' },
      { id: 'b', scope: table(1), voters: 1 },
    ],
    'a limit that a requirement breaks': [
      { id: 'a', scope: cluster, atMost: [{ tier: 'zone', replicas: 1 }] },
      { id: 'b', scope: table(1), require: [{ match: on('zone', 'a'), count: 2 }] },
    ],
    'one range in two tables': [
      { id: 'a', scope: range(1, 2), voters: 3 },
      { id: 'b', scope: range(1, 3), voters: 3 },
    ],
  }
  for (const [name, rules] of Object.entries(cases)) {
    it(name, () => {
      assert.deepEqual(refusedRules(rules), ['a', 'b'])
      // Each of them alone is fine.
      for (const rule of rules) assert.deepEqual(refusedRules([rule]), [])
    })
  }

  it('unless the narrower one overrides', () => {
    const rules = cases['two places for all replicas'] as readonly PlacementRule[]
    assert.deepEqual(
      refusedRules([rules[0] as PlacementRule, { ...(rules[1] as PlacementRule), override: true }]),
      [],
    )
  })

  it('rules of tables that have nothing to do with each other do not', () => {
    const rules: PlacementRule[] = [
      { id: 'a', scope: table(1), require: [{ match: on('region', 'eu') }] },
      { id: 'b', scope: table(2), require: [{ match: on('region', 'us') }] },
      { id: 'c', scope: zone('z'), require: [{ match: on('region', 'us') }] },
    ]
    assert.deepEqual(refusedRules(rules), [])
    assert.deepEqual(refusedRules(rules, [{ tableId: 1, zone: 'z' }]), ['a', 'c'])
  })

  it('two rules of one name', () => {
    const rule: PlacementRule = { id: 'a', scope: cluster }
    assert.throws(() => new RuleBook({ rules: [rule, rule] }), /called "a"/)
  })
})

/**
 * Every kind of node that the labels of the properties below can make, and every choice of up to four of them: what is
 * refused must be impossible there.
 */
describe('what is refused is impossible', () => {
  const values = ['x', 'y', 'z']
  const nodes = values.flatMap((zoneOf) => values.map((disk) => ({ zone: zoneOf, disk })))
  const matches = (match: readonly LabelMatch[], node: Record<string, string>): boolean =>
    match.every(({ label, in: some, notIn }) => {
      const value = node[label] as string
      return some?.includes(value) ?? !(notIn?.includes(value) ?? false)
    })
  const labelMatch = fc
    .tuple(
      fc.constantFrom('zone', 'disk'),
      fc.boolean(),
      fc.uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength: 2 }),
    )
    .map(([label, positive, list]): LabelMatch => (positive ? { label, in: list } : { label, notIn: list }))
  const match = fc.array(labelMatch, { minLength: 1, maxLength: 2 })
  const ruleOf = (id: string) =>
    fc
      .record({
        voters: fc.constantFrom(undefined, 1, 3),
        require: fc.array(
          fc.tuple(match, fc.constantFrom(undefined, 1, 2, 3)).map(([each, count]) => ({
            match: each,
            ...(count === undefined ? {} : { count }),
          })),
          { maxLength: 2 },
        ),
        prohibit: fc.array(match, { maxLength: 1 }),
        atMost: fc.constantFrom([], [{ tier: 'zone', replicas: 1 }]),
        survive: fc.constantFrom(undefined, 'zone'),
      })
      .map(
        ({ voters, survive, ...rest }): PlacementRule => ({
          id,
          scope: id === 'a' ? cluster : table(1),
          ...rest,
          ...(voters === undefined ? {} : { voters }),
          ...(survive === undefined ? {} : { survive }),
        }),
      )

  /** Whether voters can be put on three sets of the nodes above (several nodes of one kind may exist). */
  function possible(policy: EffectivePolicy): boolean {
    const count = policy.voters?.value ?? 3
    const fits = (chosen: readonly (typeof nodes)[number][]): boolean =>
      policy.require.every(({ value }) => {
        const there = chosen.filter((node) => matches(value.match, node)).length
        return there >= (value.count ?? count)
      }) &&
      policy.prohibit.every(({ value }) => chosen.every((node) => !matches(value, node))) &&
      policy.atMost.every(({ value }) =>
        values.every((each) => chosen.filter((node) => node.zone === each).length <= value.replicas),
      ) &&
      (policy.survive === undefined ||
        values.every((each) => {
          const left = chosen.filter((node) => node.zone !== each).length
          return left > count / 2
        }))
    const search = (chosen: (typeof nodes)[number][], from: number): boolean => {
      if (chosen.length === count) return fits(chosen)
      for (let i = from; i < nodes.length; i++) {
        if (search([...chosen, nodes[i] as (typeof nodes)[number]], i)) return true
      }
      return false
    }
    return search([], 0)
  }

  it('for rules of two scopes', () => {
    let refused = 0
    let impossibleButTaken = 0
    fc.assert(
      fc.property(ruleOf('a'), ruleOf('b'), (a, b) => {
        const policy = inherit([[a], [b]], () => assert.fail('they are of different scopes'))
        const conflicts = conflictsOf(policy, 3)
        const can = possible(policy)
        if (conflicts.length > 0) {
          refused++
          assert.equal(can, false, JSON.stringify(conflicts))
        } else if (!can) impossibleButTaken++
      }),
      { numRuns: 600 },
    )
    assert(refused > 50, `only ${refused} were refused`)
    // Pairs are judged, not whole sets: what only three parts together exclude is left to the planner, which says so.
    assert(
      impossibleButTaken < refused,
      `${impossibleButTaken} impossible ones were taken, ${refused} refused`,
    )
  })
})

it('a rule asks for as many replicas without a vote as a range can have, and one that was stored with more is read', () => {
  const rule = (nonVoters: number): PlacementRule => ({ id: 'r', scope: { type: 'cluster' }, nonVoters })
  new RuleBook({ rules: [rule(15)] })
  assert.throws(() => new RuleBook({ rules: [rule(16)] }), { code: 'INVALID_OPTION', message: /nonVoters/ })
  const stored = (nonVoters: number) =>
    decodeBook([
      {
        key: ruleKey('r'),
        value: encodeRule(rule(nonVoters)),
        createRevision: 1,
        modRevision: 1,
        version: 1,
        session: 0,
      },
    ])
  assert.equal(stored(16).rules.get('r')?.nonVoters, 15)
  assert.throws(() => stored(17), { code: 'MALFORMED' })
})
