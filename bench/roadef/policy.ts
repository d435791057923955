// Machine reassignment in the language of placement: a machine is a node, its location and neighbourhood are tiers of its
// locality, a service is a range, a process is a slot. Nothing here is private to the benchmark but the balance objective
// and the prices of moves, which a host would write the same way.

import {
  Assignment,
  aboveSafety,
  type BoundGoal,
  bindGoal,
  bindRule,
  capacity,
  checkColumns,
  dependency,
  Evaluator,
  exclusivity,
  type Goal,
  mostMoved,
  moveGoal,
  nodeGoal,
  nowhere,
  type PlacementColumns,
  type Rule,
  spreadAtLeast,
  weighted,
} from 'keelson/placement'
import type { Balance, Instance } from './instance.ts'

/** An instance in the language of placement. */
export interface Problem {
  readonly columns: PlacementColumns
  readonly rules: readonly Rule[]
  readonly goal: Goal
  /** Process of each slot. */
  readonly processOf: Int32Array
}

/** Says an instance in columns, rules and goals. */
export function problemOf(instance: Instance, initial: Int32Array): Problem {
  const { resources, services } = instance
  const { columns, processOf } = columnsOf(instance, initial)
  return {
    columns,
    processOf,
    rules: [
      capacity({
        refuseAbove: 1,
        shedAbove: 1,
        transient: names(instance, ({ transient }) => transient),
      }),
      exclusivity(),
      spreadAtLeast('location', (range) => services[range]?.spread ?? 0),
      dependency('neighbourhood', (range) => services[range]?.dependsOn ?? []),
    ],
    goal: weighted('cost', [
      {
        goal: aboveSafety({
          safety: (node, r) => instance.machines[node]?.safety[r] as number,
          weight: (r) => resources[r]?.weight as number,
        }),
        weight: 1,
      },
      ...instance.balances.map((balance, i) => ({
        goal: balanceGoal(columns, balance, i),
        weight: balance.weight,
      })),
      { goal: moveCosts(instance, processOf), weight: 1 },
      { goal: mostMoved(), weight: instance.serviceMoveWeight },
    ]),
  }
}

/** An assignment of the problem with everything bound to it. */
export function evaluatorOf(problem: Problem): { evaluator: Evaluator; goal: BoundGoal } {
  const assignment = new Assignment(problem.columns)
  const rules = problem.rules.map((rule) => bindRule(assignment, rule))
  const goal = bindGoal(assignment, problem.goal)
  return { evaluator: new Evaluator(assignment, rules, goal), goal }
}

function names(instance: Instance, which: (resource: Instance['resources'][number]) => boolean): string[] {
  return instance.resources.flatMap((resource, r) => (which(resource) ? [`r${r}`] : []))
}

/** Of the second resource, so much should be free for each free unit of the first. */
function balanceGoal(columns: PlacementColumns, { first, second, target }: Balance, i: number): Goal {
  const width = columns.resources.length
  const limit = columns.capacity
  return nodeGoal({
    name: `balance ${i}`,
    cost(usage, offset, node) {
      const at = node * width
      const free = (limit[at + first] as number) - (usage[offset + first] as number)
      const beside = (limit[at + second] as number) - (usage[offset + second] as number)
      const lacking = target * free - beside
      return lacking > 0 ? lacking : 0
    },
    // However it is shared out, what is lacking on all machines together is lacking somewhere.
    lowerBound({ usage }) {
      let lacking = 0
      for (let at = 0; at < limit.length; at += width) {
        const free = (limit[at + first] as number) - (usage[at + first] as number)
        lacking += target * free - ((limit[at + second] as number) - (usage[at + second] as number))
      }
      return Math.max(0, lacking)
    },
  })
}

/** What moving one process costs: its own price, and that of the way. */
function moveCosts(instance: Instance, processOf: Int32Array): Goal {
  const own = Float64Array.from(
    processOf,
    (p) => (instance.processes[p]?.moveCost as number) * instance.processMoveWeight,
  )
  const ways = instance.machines.map(({ moveCost }) => moveCost)
  const { machineMoveWeight } = instance
  return moveGoal({
    name: 'moves',
    cost: (slot, home, to) =>
      home === to ? 0 : (own[slot] as number) + machineMoveWeight * (ways[home]?.[to] as number),
  })
}

function columnsOf(
  instance: Instance,
  initial: Int32Array,
): { columns: PlacementColumns; processOf: Int32Array } {
  const { machines, processes, services, resources } = instance
  const width = resources.length
  const processOf = Int32Array.from(processes, (_, p) => p).sort(
    (a, b) => (processes[a]?.service as number) - (processes[b]?.service as number) || a - b,
  )
  const firstSlot = new Uint32Array(services.length + 1)
  for (const { service } of processes) firstSlot[service + 1] = (firstSlot[service + 1] as number) + 1
  for (let s = 0; s < services.length; s++)
    firstSlot[s + 1] = (firstSlot[s + 1] as number) + (firstSlot[s] as number)
  const column = (of: (process: number) => number): Float64Array => Float64Array.from(processOf, of)
  const columns = checkColumns({
    nodeCount: machines.length,
    rangeCount: services.length,
    slotCount: processes.length,
    resources: resources.map((_, r) => `r${r}`),
    capacity: Float64Array.from(machines.flatMap((machine) => machine.capacity)),
    firstSlot,
    rangeOf: Int32Array.from(processOf, (p) => processes[p]?.service as number),
    load: Float64Array.from(
      { length: processes.length * width },
      (_, i) => processes[processOf[Math.floor(i / width)] as number]?.needs[i % width] as number,
    ),
    leaderLoad: undefined,
    home: Int32Array.from(processOf, (p) => initial[p] as number),
    homeLeader: new Int32Array(services.length).fill(nowhere),
    moveBytes: column((p) => processes[p]?.moveCost as number),
    status: new Uint8Array(processes.length).fill(3),
    fixed: new Uint8Array(processes.length),
    eligible: new Uint8Array(machines.length).fill(1),
    tableOf: undefined,
    ruleClass: undefined,
    domains(tier: string) {
      const of = machines.map((machine) => (tier === 'location' ? machine.location : machine.neighbourhood))
      const count = of.reduce((largest, each) => Math.max(largest, each), 0) + 1
      return {
        of: Int32Array.from(of),
        count,
        names: Array.from({ length: count }, (_, i) => `${tier} ${i}`),
      }
    },
    label: () => undefined,
    nodeName: (node: number) => `machine ${node}`,
    rangeName: (range: number) => `service ${range}`,
  })
  return { columns, processOf }
}
