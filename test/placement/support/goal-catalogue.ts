import { type Assignment, nowhere } from '../../../src/placement/core/assignment.ts'
import { aboveSafety } from '../../../src/placement/core/goals/above-safety.ts'
import { balance } from '../../../src/placement/core/goals/balance.ts'
import { capacity } from '../../../src/placement/core/goals/capacity.ts'
import { dependency } from '../../../src/placement/core/goals/dependency.ts'
import { exclusivity } from '../../../src/placement/core/goals/exclusivity.ts'
import type { Goal, Rule } from '../../../src/placement/core/goals/goal.ts'
import { movedBytes, moveGoal } from '../../../src/placement/core/goals/move-goal.ts'
import { nodeGoal } from '../../../src/placement/core/goals/node-goal.ts'
import { rangeGoal } from '../../../src/placement/core/goals/range-goal.ts'
import { spread, spreadAtLeast } from '../../../src/placement/core/goals/spread.ts'
import { weighted } from '../../../src/placement/core/goals/weighted.ts'

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
        sum++
      }
    }
  }
  return sum
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
    { goal: spread('zone'), recompute: (assignment) => pairs(assignment, ['zone']) },
    { goal: spread(['zone', 'rack']), recompute: (assignment) => pairs(assignment, ['zone', 'rack']) },
    { goal: balance('replicas'), recompute: balanceCost(replicasOn, () => 1) },
    { goal: balance('leases'), recompute: balanceCost(leadsOf, () => 1) },
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
