import { type Assignment, nowhere } from '../../../src/placement/core/assignment.ts'
import { aboveSafety } from '../../../src/placement/core/goals/above-safety.ts'
import { balance } from '../../../src/placement/core/goals/balance.ts'
import { capacity } from '../../../src/placement/core/goals/capacity.ts'
import { dependency } from '../../../src/placement/core/goals/dependency.ts'
import { exclusivity } from '../../../src/placement/core/goals/exclusivity.ts'
import type { Goal, Rule } from '../../../src/placement/core/goals/goal.ts'
import { mostMoved } from '../../../src/placement/core/goals/most-moved.ts'
import { movedBytes, moveGoal } from '../../../src/placement/core/goals/move-goal.ts'
import { nodeGoal } from '../../../src/placement/core/goals/node-goal.ts'
import { rangeGoal } from '../../../src/placement/core/goals/range-goal.ts'
import { pairWithoutVote, spread, spreadAtLeast } from '../../../src/placement/core/goals/spread.ts'
import { tableAffinity } from '../../../src/placement/core/goals/table-affinity.ts'
import { weighted } from '../../../src/placement/core/goals/weighted.ts'
import { goalsOfBook } from '../../../src/placement/core/policy/book-goals.ts'
import { domainLimits } from '../../../src/placement/core/policy/domain-limits.ts'
import { requiredLabels } from '../../../src/placement/core/policy/required-labels.ts'
import type { LabelMatch } from '../../../src/placement/core/policy/rule.ts'
import { RuleBook } from '../../../src/placement/core/policy/rule-book.ts'
import { replicaBits } from '../../../src/placement/core/snapshot.ts'

/** A goal, and what it costs by its plain definition. */
interface GoalCase {
  readonly goal: Goal
  readonly recompute: (assignment: Assignment) => number
}

/** A rule, and by how much each single thing that it asks for is broken, by its plain definition. */
interface RuleCase {
  readonly rule: Rule
  readonly violations: (assignment: Assignment) => readonly number[]
}

/** Rules of four classes: the cluster's, and those of three tables. */
export const catalogueBook: RuleBook = new RuleBook({
  rules: [
    {
      id: 'all',
      scope: { type: 'cluster' },
      spread: ['zone', 'rack'],
      prefer: [{ match: on('disk', 'ssd') }],
    },
    {
      id: 'first',
      scope: { type: 'table', tableId: 1 },
      voters: 5,
      require: [
        { match: [{ label: 'disk', in: ['ssd'] }], count: 1, role: 'voter' },
        { match: on('zone', 'zone-0'), count: 2 },
        { match: on('zone', 'zone-1'), count: 1 },
        { match: on('disk', 'hdd'), count: 1, role: 'nonVoter' },
      ],
      nonVoters: 1,
      survive: 'zone',
      lead: [on('zone', 'zone-1'), [{ label: 'disk', notIn: ['hdd'] }]],
    },
    {
      id: 'second',
      scope: { type: 'table', tableId: 2 },
      require: [{ match: [{ label: 'zone', notIn: ['zone-1'] }], role: 'voter' }],
      prohibit: [[...on('rack', 'rack-0'), ...on('disk', 'ssd')]],
      atMost: [{ tier: 'zone', replicas: 1 }],
      prefer: [
        { match: on('zone', 'zone-0'), weight: 5 },
        { match: on('zone', 'zone-2'), weight: 3, role: 'nonVoter' },
      ],
    },
    {
      id: 'third',
      scope: { type: 'table', tableId: 3 },
      override: true,
      atMost: [
        { tier: 'zone', replicas: 2 },
        { tier: 'rack', replicas: 1 },
      ],
      survive: 'rack',
      spread: ['rack'],
      nonVoters: 2,
      require: [{ match: [{ label: 'zone', notIn: ['zone-2'] }], role: 'nonVoter' }],
    },
  ],
})

function on(label: string, ...values: string[]): LabelMatch[] {
  return [{ label, in: values }]
}

interface Replica {
  readonly slot: number
  readonly range: number
  readonly node: number
}

function replicasOf(assignment: Assignment): Replica[] {
  const { rangeOf } = assignment.columns
  return [...assignment.place]
    .map((node, slot) => ({ slot, node, range: rangeOf[slot] as number }))
    .filter(({ node }) => node !== nowhere)
}

/** What a node holds of a resource, summed anew. */
function usageOf(assignment: Assignment, node: number, resource: number): number {
  const { load, leaderLoad, resources } = assignment.columns
  let sum = 0
  for (const replica of replicasOf(assignment)) {
    if (replica.node !== node) continue
    sum += load[replica.slot * resources.length + resource] as number
    if (assignment.leader[replica.range] === replica.slot) {
      sum += leaderLoad?.[replica.range * resources.length + resource] ?? 0
    }
  }
  return sum
}

function eachNode(assignment: Assignment): number[] {
  return Array.from({ length: assignment.columns.nodeCount }, (_, node) => node)
}

function pairs(assignment: Assignment, tiers: readonly string[]): number {
  const replicas = replicasOf(assignment)
  let sum = 0
  for (const a of replicas) {
    for (const b of replicas) {
      if (a.range !== b.range || a.slot >= b.slot) continue
      for (const tier of tiers) {
        const { of } = assignment.columns.domains(tier)
        if (of[a.node] !== of[b.node]) break
        sum += votes(assignment, a.slot) && votes(assignment, b.slot) ? 1 : pairWithoutVote
      }
    }
  }
  return sum
}

function attribute(assignment: Assignment, node: number, name: string): string {
  const { of, names } = assignment.columns.domains(name)
  if (name !== 'disk') return names[of[node] as number] as string
  return assignment.columns.label(node, 'disk') as string
}

function votes(assignment: Assignment, slot: number): boolean {
  return ((assignment.columns.status[slot] as number) & replicaBits.voter) !== 0
}

function votersOf(assignment: Assignment, range: number): Replica[] {
  return replicasOf(assignment).filter((each) => each.range === range && votes(assignment, each.slot))
}

function classOf(assignment: Assignment, range: number): number {
  return assignment.columns.ruleClass?.[range] ?? 0
}

function eachRange(assignment: Assignment): number[] {
  return Array.from({ length: assignment.columns.rangeCount }, (_, range) => range)
}

function tally(values: readonly string[]): number[] {
  const counts = new Map<string, number>()
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1)
  return [...counts.values()]
}

/** What the goals of {@link catalogueBook} cost, in their order. */
const bookCosts: readonly ((assignment: Assignment) => number)[] = [
  (assignment) =>
    sum(
      eachRange(assignment).flatMap((range) => {
        const tier = [undefined, 'zone', undefined, 'rack'][classOf(assignment, range)]
        if (tier === undefined) return []
        const voters = votersOf(assignment, range)
        const minority = Math.floor((voters.length - 1) / 2)
        return tally(voters.map(({ node }) => attribute(assignment, node, tier))).map((count) =>
          Math.max(0, count - Math.max(0, minority)),
        )
      }),
    ),
  ...[0, 1].map((level) => (assignment: Assignment) => {
    const tierOf = (range: number): string | undefined =>
      (classOf(assignment, range) === 3 ? ['rack'] : ['zone', 'rack'])[level]
    return sum(
      eachRange(assignment).flatMap((range) => {
        const tier = tierOf(range)
        if (tier === undefined) return []
        const together = (replicas: readonly Replica[]): number =>
          sum(
            tally(replicas.map(({ node }) => attribute(assignment, node, tier))).map(
              (n) => (n * (n - 1)) / 2,
            ),
          )
        const all = together(replicasOf(assignment).filter((each) => each.range === range))
        const ofVoters = together(votersOf(assignment, range))
        return ofVoters + pairWithoutVote * (all - ofVoters)
      }),
    )
  }),
  (assignment) =>
    sum(
      replicasOf(assignment).map(({ range, node, slot }) => {
        const which = classOf(assignment, range)
        if (which === 3) return 0
        const slow = attribute(assignment, node, 'disk') === 'ssd' ? 0 : 1
        if (which !== 2) return slow
        const zone = attribute(assignment, node, 'zone')
        const forReads = !votes(assignment, slot) && zone !== 'zone-2' ? 3 : 0
        return slow + (zone !== 'zone-0' ? 5 : 0) + forReads
      }),
    ),
  (assignment) =>
    sum(
      eachRange(assignment).map((range) => {
        const leader = assignment.leader[range] as number
        const node = leader < 0 ? nowhere : (assignment.place[leader] as number)
        if (classOf(assignment, range) !== 1 || node < 0) return 0
        if (attribute(assignment, node, 'zone') === 'zone-1') return 0
        return attribute(assignment, node, 'disk') === 'hdd' ? 2 : 1
      }),
    ),
]

/** What {@link catalogueBook} requires and prohibits, each thing by itself. */
function labelViolations(assignment: Assignment): number[] {
  return eachRange(assignment).flatMap((range) => {
    const here = replicasOf(assignment).filter((each) => each.range === range)
    const voters = votersOf(assignment, range)
    const is = (replica: Replica, name: string, ...values: string[]): boolean =>
      values.includes(attribute(assignment, replica.node, name))
    if (classOf(assignment, range) === 2) {
      const barred = (replica: Replica): boolean =>
        (voters.includes(replica) && is(replica, 'zone', 'zone-1')) ||
        (is(replica, 'rack', 'rack-0') && is(replica, 'disk', 'ssd'))
      return slotsOf(assignment, range).map((slot) => {
        const replica = [...voters, ...here].find((each) => each.slot === slot)
        if (replica === undefined) return 0
        return barred(voters.find((each) => each.slot === slot) ?? replica) ? 1 : 0
      })
    }
    if (classOf(assignment, range) === 3) {
      const barred = (slot: number): boolean => {
        const replica = here.find((each) => each.slot === slot)
        return replica !== undefined && !votes(assignment, slot) && is(replica, 'zone', 'zone-2')
      }
      return slotsOf(assignment, range).map((slot) => (barred(slot) ? 1 : 0))
    }
    if (classOf(assignment, range) !== 1) return slotsOf(assignment, range).map(() => 0)
    const open = slotsOf(assignment, range).filter((slot) => (assignment.place[slot] as number) < 0)
    const isVoter = (slot: number): boolean => votes(assignment, slot)
    const others = here.filter(({ slot }) => !isVoter(slot))
    const slow = Math.max(0, 1 - others.filter((each) => is(each, 'disk', 'hdd')).length)
    const fast = Math.max(0, 1 - voters.filter((each) => is(each, 'disk', 'ssd')).length)
    const near = Math.max(0, 2 - here.filter((each) => is(each, 'zone', 'zone-0')).length)
    const far = Math.max(0, 1 - here.filter((each) => is(each, 'zone', 'zone-1')).length)
    return [
      fast - open.filter(isVoter).length,
      slow - open.filter((slot) => !isVoter(slot)).length,
      near - open.length,
      far - open.length,
      near + far - open.length,
    ].map((lack) => Math.max(0, lack))
  })
}

function slotsOf(assignment: Assignment, range: number): number[] {
  return [...assignment.columns.rangeOf.keys()].filter((slot) => assignment.columns.rangeOf[slot] === range)
}

function limitViolations(assignment: Assignment): number[] {
  const limits = [
    [],
    [],
    [{ tier: 'zone', most: 1 }],
    [
      { tier: 'zone', most: 2 },
      { tier: 'rack', most: 1 },
    ],
  ]
  return eachRange(assignment).flatMap((range) =>
    (limits[classOf(assignment, range)] ?? []).flatMap(({ tier, most }) => {
      const here = replicasOf(assignment).filter((each) => each.range === range)
      return assignment.columns
        .domains(tier)
        .names.map((name) =>
          Math.max(0, here.filter(({ node }) => attribute(assignment, node, tier) === name).length - most),
        )
    }),
  )
}

const sum = (amounts: readonly number[]): number => amounts.reduce((total, each) => total + each, 0)

/** Every goal of the library. */
export function goalCatalogue(): GoalCase[] {
  const above = (assignment: Assignment): number =>
    sum(
      eachNode(assignment).flatMap((node) =>
        assignment.columns.resources.map(
          (_, r) => (r + 2) * Math.max(0, usageOf(assignment, node, r) - 5 - node),
        ),
      ),
    )
  const uneven = nodeGoal({
    name: 'uneven',
    cost: (usage, offset, node, replicas, leaders) =>
      Math.max(0, 3 * (usage[offset] as number) - (usage[offset + 1] as number)) +
      node * replicas +
      leaders ** 2,
  })
  const unevenCost = (assignment: Assignment): number =>
    sum(
      eachNode(assignment).map((node) => {
        const here = replicasOf(assignment).filter((replica) => replica.node === node)
        const leads = here.filter(({ slot, range }) => assignment.leader[range] === slot).length
        const [first, second] = [usageOf(assignment, node, 0), usageOf(assignment, node, 1)]
        return Math.max(0, 3 * first - second) + node * here.length + leads ** 2
      }),
    )
  const leaderFarFromFirst = rangeGoal({
    name: 'leader far from the first',
    cost: ({ range, leader, nodes, count }) =>
      leader === nowhere ? 7 : (range + 1) * Math.abs(leader - (nodes[0] as number)) + count,
  })
  const farCost = (assignment: Assignment): number =>
    sum(
      Array.from({ length: assignment.columns.rangeCount }, (_, range) => {
        const here = replicasOf(assignment).filter((replica) => replica.range === range)
        const leader = assignment.leader[range] as number
        const node = leader < 0 ? nowhere : (assignment.place[leader] as number)
        if (node === nowhere) return 7
        return (range + 1) * Math.abs(node - (here[0]?.node as number)) + here.length
      }),
    )
  const farther = moveGoal({
    name: 'farther',
    cost: (slot, home, to) => (home === to ? 0 : (slot + 1) * (to + 2)),
  })
  const fartherCost = (assignment: Assignment): number =>
    sum(
      [...assignment.place].map((to, slot) =>
        to === assignment.columns.home[slot] ? 0 : (slot + 1) * (to + 2),
      ),
    )
  const safety = aboveSafety({ safety: (node) => 5 + node, weight: (r) => r + 2 })
  const balanceCost =
    (
      amount: (assignment: Assignment, node: number) => number,
      share: (assignment: Assignment, node: number) => number,
    ) =>
    (assignment: Assignment): number =>
      sum(
        eachNode(assignment).map((node) => {
          const of = assignment.columns.eligible[node] === 1 ? share(assignment, node) : 0
          const here = amount(assignment, node)
          return of === 0 ? here * 2 ** 40 : (here * here) / of
        }),
      )
  const replicasOn = (assignment: Assignment, node: number): number =>
    replicasOf(assignment).filter((replica) => replica.node === node).length
  const leadsOf = (assignment: Assignment, node: number): number =>
    replicasOf(assignment).filter((each) => each.node === node && assignment.leader[each.range] === each.slot)
      .length
  const tablePairs =
    (sharing: boolean, tier: string | undefined) =>
    (assignment: Assignment): number => {
      const { tableOf, domains } = assignment.columns
      const of = tier === undefined ? undefined : domains(tier).of
      const [one, other] = sharing ? [0, 2] : [1, 0]
      const replicas = replicasOf(assignment)
      const first = replicas.filter(({ range }) => tableOf?.[range] === one)
      const second = replicas.filter(({ range }) => tableOf?.[range] === other)
      const shares = (a: number, b: number): boolean => (of === undefined ? a === b : of[a] === of[b])
      return sum(first.map((a) => second.filter((b) => shares(a.node, b.node) === sharing).length))
    }
  return [
    { goal: safety, recompute: above },
    { goal: uneven, recompute: unevenCost },
    { goal: leaderFarFromFirst, recompute: farCost },
    { goal: farther, recompute: fartherCost },
    {
      goal: movedBytes(),
      recompute: (assignment) =>
        sum(
          replicasOf(assignment).map(({ slot, node }) =>
            node === assignment.columns.home[slot] ? 0 : (assignment.columns.moveBytes[slot] as number),
          ),
        ),
    },
    {
      goal: mostMoved(),
      recompute: (assignment) => {
        const { rangeCount, rangeOf, home } = assignment.columns
        const counts = Array.from({ length: rangeCount }, () => 0)
        assignment.place.forEach((node, slot) => {
          const range = rangeOf[slot] as number
          if (node !== home[slot]) counts[range] = (counts[range] as number) + 1
        })
        return Math.max(...counts)
      },
    },
    {
      goal: tableAffinity({ table: 0, other: 2, relation: 'apart', tier: 'zone' }),
      recompute: tablePairs(true, 'zone'),
    },
    {
      goal: tableAffinity({ table: 1, other: 0, relation: 'together' }),
      recompute: tablePairs(false, undefined),
    },
    { goal: spread('zone'), recompute: (assignment) => pairs(assignment, ['zone']) },
    { goal: spread(['zone', 'rack']), recompute: (assignment) => pairs(assignment, ['zone', 'rack']) },
    { goal: balance('replicas'), recompute: balanceCost(replicasOn, () => 1) },
    { goal: balance('leases'), recompute: balanceCost(leadsOf, () => 1) },
    ...goalsOfBook(catalogueBook).map((goal, i) => ({
      goal,
      recompute: bookCosts[i] as (assignment: Assignment) => number,
    })),
    {
      goal: weighted('sum', [
        { goal: safety, weight: 10 },
        { goal: uneven, weight: 1 },
        { goal: farther, weight: 3 },
        { goal: leaderFarFromFirst, weight: 0 },
      ]),
      recompute: (assignment) =>
        10 * above(assignment) + unevenCost(assignment) + 3 * fartherCost(assignment),
    },
  ]
}

/** What the ranges of {@link ruleCatalogue} depend on. */
const dependsOn = (range: number): number[] => (range % 3 === 0 ? [range + 1] : range % 3 === 1 ? [0] : [])

/** Every rule of the library. */
export function ruleCatalogue(): RuleCase[] {
  const together = (assignment: Assignment, domain: (node: number) => number): number[] => {
    const { rangeCount, nodeCount } = assignment.columns
    const counts = Array.from({ length: rangeCount * nodeCount }, () => 0)
    for (const { range, node } of replicasOf(assignment)) {
      const at = range * nodeCount + domain(node)
      counts[at] = (counts[at] as number) + 1
    }
    return counts.map((count) => Math.max(0, count - 1))
  }
  return [
    { rule: requiredLabels(catalogueBook), violations: labelViolations },
    { rule: domainLimits(catalogueBook), violations: limitViolations },
    { rule: exclusivity(), violations: (assignment) => together(assignment, (node) => node) },
    {
      rule: exclusivity('rack'),
      violations: (assignment) => {
        const { of } = assignment.columns.domains('rack')
        return together(assignment, (node) => of[node] as number)
      },
    },
    {
      rule: capacity({ refuseAbove: 1, shedAbove: 1, transient: ['bytes'] }),
      violations(assignment) {
        const { resources, capacity: limits, load, status } = assignment.columns
        return eachNode(assignment).flatMap((node) =>
          resources.map((name, r) => {
            let used = usageOf(assignment, node, r)
            for (const [slot, home] of assignment.columns.home.entries()) {
              const here =
                home === node && assignment.place[slot] !== node && ((status[slot] as number) & 4) === 0
              if (name === 'bytes' && here) used += load[slot * resources.length + r] as number
            }
            return Math.max(0, used - (limits[node * resources.length + r] as number))
          }),
        )
      },
    },
    {
      rule: spreadAtLeast('zone', (range) => 1 + (range % 3)),
      violations(assignment) {
        const { of } = assignment.columns.domains('zone')
        return Array.from({ length: assignment.columns.rangeCount }, (_, range) => {
          const here = replicasOf(assignment).filter((replica) => replica.range === range)
          return Math.max(0, 1 + (range % 3) - new Set(here.map(({ node }) => of[node])).size)
        })
      },
    },
    {
      rule: dependency('zone', (range) => dependsOn(range).filter((other) => other < 8)),
      violations(assignment) {
        const { of, count } = assignment.columns.domains('zone')
        const broken: number[] = []
        const has = (range: number, zone: number): boolean =>
          replicasOf(assignment).some((replica) => replica.range === range && of[replica.node] === zone)
        for (let range = 0; range < assignment.columns.rangeCount; range++) {
          for (const other of dependsOn(range)) {
            if (other >= 8 || other === range) continue
            for (let zone = 0; zone < count; zone++)
              broken.push(has(range, zone) && !has(other, zone) ? 1 : 0)
          }
        }
        return broken
      },
    },
  ]
}
