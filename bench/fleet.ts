// Days of a fleet in virtual time: what is lost is made again, what is uneven becomes even, and the load shifts.
//
// Half a day of quiet, then a node, a rack and a zone are lost, and come back with empty disks; then a node is emptied.
//
// `npm run bench -- fleet [--nodes 100] [--ranges 20000] [--hours 24] [--planner keelson|greedy|random] [--json FILE]`

import { writeFileSync } from 'node:fs'
import { SeededRandom } from 'keelson/core'
import {
  balance,
  FleetSimulation,
  nodesIn,
  type SimulatedNode,
  type SimulatedRange,
  spread,
} from 'keelson/placement'
import { BaselinePlanner } from './fleet/baselines.ts'
import { amount, commandLine, wholeNumber, word } from './support/command-line.ts'

const values = commandLine({
  call: 'npm run bench -- fleet',
  about:
    'Days of a fleet in virtual time: nodes, a rack and a zone are lost, a node is emptied, and the load shifts.',
  flags: {
    nodes: wholeNumber(100, 'nodes in five zones', 10),
    ranges: wholeNumber(20_000, 'ranges of three replicas'),
    hours: amount(24, 'of virtual time'),
    planner: word('keelson', 'keelson|greedy|random', 'who plans'),
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
  while (chosen.size < 3) chosen.add(names[random.integer(nodeCount)] as string)
  return { bytes: rangeBytes * (0.5 + random.float()), nodes: [...chosen] }
})

const limits = {
  moves: nodeCount * 8,
  improvements: nodeCount,
  incomingPerNode: 16,
  outgoingPerNode: 32,
  leaseTransfers: nodeCount,
}
const lostRack = nodesIn(nodes, 'rack', 'z1r2')
const lostZone = nodesIn(nodes, 'zone', 'z2')
const simulation = new FleetSimulation({
  nodes,
  ranges,
  events: [
    { type: 'kill', atMs: 6 * hour, nodes: ['n0000'] },
    { type: 'revive', atMs: 9 * hour, nodes: ['n0000'], wiped: true },
    { type: 'kill', atMs: 10 * hour, nodes: lostRack },
    { type: 'revive', atMs: 13 * hour, nodes: lostRack, wiped: true },
    { type: 'kill', atMs: 14 * hour, nodes: lostZone },
    { type: 'revive', atMs: 18 * hour, nodes: lostZone, wiped: true },
    { type: 'drain', atMs: 22 * hour, nodes: ['n0001'] },
  ],
  load: {
    total: nodeCount * 12,
    exponent: 0.6,
    shiftEveryMs: hour,
    shiftedRanges: Math.ceil(rangeCount / 1000),
  },
  policy: {
    goals: [
      spread('zone'),
      balance({ resource: 'cpu' }, { tolerance: 0.15 }),
      balance({ resource: 'bytes' }),
      balance('leases', { tolerance: 0.1 }),
    ],
  },
  limits,
  ...(values.planner === 'greedy' || values.planner === 'random'
    ? { planner: new BaselinePlanner(values.planner, limits) }
    : {}),
})

console.log(
  `${nodeCount} nodes in ${zones} zones, ${rangeCount} ranges × 3 of ${rangeBytes / 1e6} MB, planner: ${values.planner}`,
)
const started = process.cpuUsage()
let slowest = 0
for (let next = hour; simulation.nowMs < values.hours * hour; ) {
  const before = performance.now()
  simulation.step()
  slowest = Math.max(slowest, performance.now() - before)
  if (simulation.nowMs < next) continue
  next += hour
  const sample = simulation.report().samples.at(-1)
  if (sample !== undefined) {
    console.log(
      `${String(Math.round(simulation.nowMs / hour)).padStart(3)} h  fullest ${percent(sample.fullest)} of mean ${percent(sample.meanBytes)}  busiest ${percent(sample.busiest)} of mean ${percent(sample.meanLoad)}  ${sample.underReplicated} ranges lack replicas, ${sample.unavailable} a quorum  ${sample.copies} copies`,
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
  `${((user + system) / 1e6).toFixed(1)} s of processor time for ${report.rounds} rounds; the slowest round ${slowest.toFixed(0)} ms; ${(process.memoryUsage().rss / 2 ** 20).toFixed(0)} MiB`,
)
if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(report))
if (report.violations.length > 0) {
  console.error(report.violations.slice(0, 10).join('\n'))
  process.exitCode = 1
}

function percent(part: number): string {
  return `${(part * 100).toFixed(1)} %`
}
