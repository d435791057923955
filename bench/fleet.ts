// Days of a fleet in virtual time: what is lost is made again, what is uneven becomes even, and the load shifts.
//
// Half a day of quiet, then a node, a rack and a zone are lost, and come back with empty disks; then a node is emptied.
//
// `npm run bench -- fleet [--nodes 100] [--ranges 20000] [--hours 24] [--planner keelson|greedy|random]`, and `--help`

import { writeFileSync } from 'node:fs'
import { SeededRandom } from 'keelson/core'
import {
  balance,
  type FleetEvent,
  FleetSimulation,
  nodesIn,
  type PlacementSnapshot,
  type Plan,
  Planner,
  type PlanOptions,
  type SimulatedNode,
  type SimulatedRange,
  spread,
} from 'keelson/placement'
import { BaselinePlanner } from './fleet/baselines.ts'
import { amount, choice, commandLine, wholeNumber, word } from './support/command-line.ts'

const values = commandLine({
  call: 'npm run bench -- fleet',
  about:
    'Days of a fleet in virtual time: nodes, a rack and a zone are lost, a node is emptied, and the load shifts.',
  flags: {
    nodes: wholeNumber(100, 'nodes in five zones', 10),
    ranges: wholeNumber(20_000, 'ranges of three replicas'),
    hours: amount(24, 'of virtual time'),
    begin: choice(
      ['anywhere', 'even'],
      'anywhere',
      'where replicas are at first: even is over zones, by capacity',
    ),
    'node-at': amount(6, 'hour at which a node is lost'),
    'rack-at': amount(10, 'hour at which a rack is lost'),
    'zone-at': amount(14, 'hour at which a zone is lost'),
    'drain-at': amount(22, 'hour from which a node is emptied'),
    away: amount(3, 'hours until a lost node or rack is back, with empty disks'),
    'zone-away': amount(4, 'hours until the lost zone is back, with empty disks'),
    every: amount(10, 'seconds from plan to plan'),
    planner: choice(['keelson', 'greedy', 'random'], 'keelson', 'who plans'),
    json: word(undefined, 'FILE', 'for the figures'),
  },
})
const { nodes: nodeCount, ranges: rangeCount } = values
const zones = 5
const hour = 3_600_000
const random = new SeededRandom(7)
const rangeBytes = 256e6
const meanBytes = (rangeCount * 3 * rangeBytes) / (nodeCount * 1.25)

const nodes = Array.from({ length: nodeCount }, (_, i): SimulatedNode => {
  const large = i % 4 === 3 ? 2 : 1
  const zone = i % zones
  return {
    descriptor: {
      nodeId: `n${String(i).padStart(4, '0')}`,
      incarnation: 1,
      addresses: [],
      locality: [
        { key: 'zone', value: `z${zone}` },
        { key: 'rack', value: `z${zone}r${Math.floor(i / zones) % 10}` },
      ],
      capacity: { bytes: meanBytes * 1.7 * large, cpu: 32 * large },
      labels: {},
    },
    ingressBytesPerSecond: 200e6 * large,
    egressBytesPerSecond: 200e6 * large,
  }
})
const names = nodes.map(({ descriptor }) => descriptor.nodeId)
const ranges = Array.from({ length: rangeCount }, (): SimulatedRange => {
  const chosen = new Set<string>()
  const taken = new Set<number>()
  while (chosen.size < 3) {
    const node = random.integer(nodeCount)
    if (values.begin === 'even' && (taken.has(node % zones) || (node % 4 !== 3 && random.float() < 0.5)))
      continue
    taken.add(node % zones)
    chosen.add(names[node] as string)
  }
  return { bytes: rangeBytes * (0.5 + random.float()), nodes: [...chosen] }
})

const policy = {
  goals: [
    spread('zone'),
    balance({ resource: 'cpu' }, { tolerance: 0.15 }),
    balance({ resource: 'bytes' }),
    balance('leases', { tolerance: 0.1 }),
  ],
}
const limits = {
  moves: nodeCount * 8,
  improvements: nodeCount,
  incomingPerNode: 16,
  outgoingPerNode: 32,
  leaseTransfers: nodeCount,
}
const lostRack = nodesIn(nodes, 'rack', 'z1r2')
const lostZone = nodesIn(nodes, 'zone', 'z2')
const planner =
  values.planner !== 'keelson' ? new BaselinePlanner(values.planner, limits) : new Planner(policy)
/** Processor time of each plan in milliseconds. */
const planMs: number[] = []
const simulation = new FleetSimulation({
  nodes,
  ranges,
  events: [
    ...lost(['n0000'], values['node-at'], values.away),
    ...lost(lostRack, values['rack-at'], values.away),
    ...lost(lostZone, values['zone-at'], values['zone-away']),
    { type: 'drain', atMs: values['drain-at'] * hour, nodes: ['n0001'] },
  ],
  load: {
    total: nodeCount * 12,
    exponent: 0.6,
    shiftEveryMs: hour,
    shiftedRanges: Math.ceil(rangeCount / 1000),
  },
  policy,
  limits,
  planEveryMs: values.every * 1000,
  planner: { plan: timedPlan },
})

console.log(
  `${nodeCount} nodes in ${zones} zones, ${rangeCount} ranges × 3 of ${rangeBytes / 1e6} MB, planner: ${values.planner}`,
)
const started = process.cpuUsage()
let stopped = false
process.once('SIGINT', () => {
  stopped = true
})
const rowEveryMs = (values.hours * hour) / 24
for (let next = rowEveryMs; simulation.nowMs < values.hours * hour && !stopped; ) {
  simulation.step()
  await new Promise(setImmediate)
  if (simulation.nowMs < next) continue
  next += rowEveryMs
  const sample = simulation.report().samples.at(-1)
  if (sample !== undefined) {
    console.log(
      `${(simulation.nowMs / hour).toFixed(1).padStart(5)} h  fullest ${percent(sample.fullest)} of mean ${percent(sample.meanBytes)}  busiest ${percent(sample.busiest)} of mean ${percent(sample.meanLoad)}  ${sample.underReplicated} ranges lack replicas, ${sample.unavailable} a quorum  ${sample.copies} copies  ${(process.cpuUsage(started).user / 1e6).toFixed(0)} s of processor time`,
    )
  }
}
const report = simulation.report()
const { user, system } = process.cpuUsage(started)
console.log('\nwhat happened          whole and even after    bytes copied / bytes that had to be')
for (const each of report.disturbances) {
  const after =
    each.convergedAfterMs === undefined
      ? 'not before the next'
      : `${(each.convergedAfterMs / 60_000).toFixed(1)} min`
  const ratio = each.lowerBoundBytes === 0 ? '' : ` = ${(each.copiedBytes / each.lowerBoundBytes).toFixed(3)}`
  console.log(
    `${each.what.padEnd(38)} ${after.padEnd(20)} ${(each.copiedBytes / 1e9).toFixed(1)} GB / ${(each.lowerBoundBytes / 1e9).toFixed(1)} GB${ratio}`,
  )
}
console.log(
  `\nmoves ${JSON.stringify(report.moves)}, failed ${report.failedMoves}, undone within an hour ${report.undoneMoves}`,
)
console.log(
  `copied ${(report.copiedBytes / 1e12).toFixed(2)} TB; under-replicated ${report.underReplicatedRangeMinutes.toFixed(0)} range-minutes, without a quorum ${report.unavailableRangeMinutes.toFixed(0)}`,
)
console.log(
  `fullest ever ${percent(report.worstFullness)}, busiest ever ${percent(report.worstLoad)}; violations ${report.violations.length}`,
)
console.log(
  `${((user + system) / 1e6).toFixed(1)} s of processor time for ${report.rounds} rounds in ${(report.elapsedMs / hour).toFixed(1)} h; memory at most ${(process.resourceUsage().maxRSS / 2 ** 10).toFixed(0)} MiB`,
)
planMs.sort((a, b) => a - b)
const planOf = (part: number): string => (planMs[Math.floor(part * (planMs.length - 1))] ?? 0).toFixed(1)
console.log(
  `processor time of a plan: median ${planOf(0.5)} ms, 99 % below ${planOf(0.99)} ms, at most ${planOf(1)} ms`,
)
if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(report))
if (report.violations.length > 0) {
  console.error(report.violations.slice(0, 10).join('\n'))
  process.exitCode = 1
}

function timedPlan(snapshot: PlacementSnapshot, options?: PlanOptions): Plan {
  const before = process.cpuUsage()
  const made = planner.plan(snapshot, options)
  const taken = process.cpuUsage(before)
  planMs.push((taken.user + taken.system) / 1000)
  return made
}

function lost(lostNodes: readonly string[], atHour: number, hours: number): FleetEvent[] {
  return [
    { type: 'kill', atMs: atHour * hour, nodes: lostNodes },
    { type: 'revive', atMs: (atHour + hours) * hour, nodes: lostNodes, wiped: true },
  ]
}

function percent(part: number): string {
  return `${(part * 100).toFixed(1)} %`
}
