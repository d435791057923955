// What placement costs at size: the model of a cluster, and plans on it.
//
//   model   building it, reports a second, memory, snapshots after changes
//   plans   from scratch, when nothing changed, after some ranges changed, after a node failed, until all is repaired
//   bounds  of the whole cluster, by every replica
//
// `npm run bench -- placement [--ranges 1000000] [--nodes 1000]`

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { SeededRandom } from 'keelson/core'
import {
  balance,
  boundingCluster,
  Fleet,
  type PlacementNode,
  type PlacementRange,
  type PlacementSnapshot,
  type Plan,
  Planner,
  type PlanOptions,
  plan,
  spread,
} from 'keelson/placement'
import { commandLine, wholeNumber } from './support/command-line.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const { ranges: rangeCount, nodes: nodeCount } = commandLine({
  call: 'npm run bench -- placement',
  about: 'What placement costs at size: the model of a cluster, and plans on it.',
  flags: {
    ranges: wholeNumber(1_000_000, 'ranges of three replicas'),
    nodes: wholeNumber(1_000, 'nodes in five zones', 10),
  },
})
const random = new SeededRandom(7)

/**
 * A plan as the controller makes it, in slices; and for how long it kept the event loop at the most, in time that it had a
 * processor: others may have it meanwhile.
 */
let longestSliceMs = 0
function planInSlices(planner: Planner, snapshot: PlacementSnapshot, options: PlanOptions = {}): Plan {
  return workInSlices(planner.planning(snapshot, options))
}

function workInSlices<T>(work: Generator<undefined, T, undefined>): T {
  longestSliceMs = 0
  for (;;) {
    const [startedMs, before] = [performance.now(), process.cpuUsage()]
    for (;;) {
      const step = work.next()
      const { user, system } = process.cpuUsage(before)
      const tookMs = Math.min(performance.now() - startedMs, (user + system) / 1000)
      longestSliceMs = Math.max(longestSliceMs, tookMs)
      if (step.done === true) return step.value
      if (tookMs >= 2) break
    }
  }
}

/** Milliseconds of processor time of what is called. */
function time<T>(work: () => T): { readonly ms: number; readonly result: T } {
  const before = process.cpuUsage()
  const result = work()
  const { user, system } = process.cpuUsage(before)
  return { ms: (user + system) / 1000, result }
}

function report(what: string, ms: number, more = ''): void {
  console.log(`${what.padEnd(58)} ${ms.toFixed(1).padStart(9)} ms${more === '' ? '' : `  ${more}`}`)
}

function mebibytes(): number {
  collect()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return (heapUsed + arrayBuffers) / 2 ** 20
}

const names = Array.from({ length: nodeCount }, (_, i) => `n${String(i).padStart(4, '0')}`)

function node(i: number, change: Partial<PlacementNode> = {}): PlacementNode {
  const zone = i % 5
  return {
    descriptor: {
      nodeId: names[i] as string,
      incarnation: 1,
      addresses: [],
      locality: [
        { key: 'region', value: 'eu' },
        { key: 'zone', value: `z${zone}` },
        { key: 'rack', value: `z${zone}r${Math.floor(i / 5) % 20}` },
      ],
      capacity: { bytes: 8e12, cpu: 64 },
      labels: {},
    },
    state: 'active',
    liveness: 'live',
    forMs: 0,
    ...change,
  }
}

/** Three replicas in three zones. */
function range(rangeId: number, generation: number): PlacementRange {
  const group = Math.floor(nodeCount / 5)
  const zone = random.integer(5)
  const replicas = [0, 1, 2].map((i) => ({
    replicaId: i + 1,
    nodeId: names[((zone + i) % 5) + 5 * random.integer(group)] as string,
    incarnation: 1,
    role: 'voter' as const,
  }))
  return {
    descriptor: { rangeId, start: nothing, end: undefined, generation, replicas },
    leaseHolder: 1 + random.integer(3),
    load: { bytes: 256e6 + random.integer(256e6), cpu: random.float() / 10, qps: random.integer(1000) },
  }
}

const nothing = new Uint8Array(0)

const empty = mebibytes()
const fleet = new Fleet({ deadAfterMs: 300_000 })
for (let i = 0; i < nodeCount; i++) fleet.setNode(node(i))
const build = time(() => {
  for (let rangeId = 1; rangeId <= rangeCount; rangeId++) fleet.setRange(range(rangeId, 1))
})
report(`${rangeCount} ranges × 3 on ${nodeCount} nodes enter the model`, build.ms)
const first = time(() => fleet.snapshot())
report('the first snapshot', first.ms)
console.log(`${'the model and a snapshot'.padEnd(58)} ${(mebibytes() - empty).toFixed(0).padStart(9)} MiB`)

const reports = 200_000
const applied = time(() => {
  for (let i = 0; i < reports; i++) {
    const rangeId = 1 + random.integer(rangeCount)
    fleet.setLoad(rangeId, { bytes: 256e6 + random.integer(256e6), cpu: random.float() / 10, qps: 7 })
  }
})
report(`${reports} reports of loads`, applied.ms, `${((reports / applied.ms) * 1000).toFixed(0)} a second`)
fleet.snapshot()
const configured = time(() => {
  for (let i = 0; i < reports; i++) fleet.setRange(range(1 + random.integer(rangeCount), 2 + i))
})
report(
  `${reports} new configurations`,
  configured.ms,
  `${((reports / configured.ms) * 1000).toFixed(0)} a second`,
)
for (const changes of [0, 1, 100, 10_000]) {
  fleet.snapshot()
  const taken = time(() => {
    for (let i = 0; i < changes; i++) fleet.setRange(range(1 + random.integer(rangeCount), 1e7 + i))
    return fleet.snapshot()
  })
  report(`${changes} changes and a snapshot`, taken.ms)
}

// Plans. The cluster is as balanced as chance makes it: every plan from here on finds something to even out.
const policy = {
  goals: [
    spread(['zone', 'rack']),
    balance({ resource: 'bytes' }),
    balance({ resource: 'cpu' }, { tolerance: 0.1 }),
    balance('leases'),
  ],
}
const unlimited = {
  moves: 100_000,
  improvements: 8,
  incomingPerNode: 100_000,
  outgoingPerNode: 100_000,
  leaseTransfers: 8,
}
const planner = new Planner(policy)
const summary = ({ moves, deferred }: Plan): string =>
  `${moves.length} moves, ${deferred} wait; slices of up to ${longestSliceMs.toFixed(1)} ms`
const cold = time(() => planInSlices(planner, fleet.snapshot()))
report('a plan from scratch', cold.ms, summary(cold.result))
console.log(`${'with what the planner keeps'.padEnd(58)} ${(mebibytes() - empty).toFixed(0).padStart(9)} MiB`)
const again = time(() => planInSlices(planner, fleet.snapshot()))
report('the same again', again.ms)
for (const changes of [1, 1000]) {
  for (let i = 0; i < changes; i++) {
    fleet.setLoad(1 + random.integer(rangeCount), { bytes: 3e8, cpu: 0.1, qps: 9 })
  }
  const next = time(() => planInSlices(planner, fleet.snapshot()))
  report(`a plan after ${changes} loads changed`, next.ms, summary(next.result))
}
for (const [what, limits] of [
  ['by the default limits', {}],
  ['the whole repair', unlimited],
] as const) {
  const repairs: { readonly ms: number; readonly result: Plan }[] = []
  const returns: typeof repairs = []
  for (let i = 0; i < 7; i++) {
    const dead = (17 + i) % nodeCount
    fleet.setNode(node(dead, { liveness: 'dead', forMs: 300_000 }))
    repairs.push(time(() => planInSlices(planner, fleet.snapshot(), { limits })))
    fleet.setNode(node(dead))
    returns.push(time(() => planInSlices(planner, fleet.snapshot())))
  }
  const [repair, back] = [repairs, returns].map((all) => [...all].sort((x, y) => x.ms - y.ms)[3])
  if (repair === undefined || back === undefined) continue
  const range7 = `first ${repairs[0]?.ms.toFixed(0)}, worst ${Math.max(...repairs.map(({ ms }) => ms)).toFixed(0)}`
  report(`a plan after a node failed, ${what}`, repair.ms, `${summary(repair.result)}; ${range7}`)
  report('and when it is back', back.ms, summary(back.result))
}
fleet.setNode(node(3, { liveness: 'suspect' }))
const doubt = time(() => planInSlices(planner, fleet.snapshot()))
report('a plan after a node is suspected', doubt.ms, summary(doubt.result))
fleet.setNode(node(3))
const bounded = time(() => workInSlices(boundingCluster(fleet.snapshot(), policy, {})))
report('the bounds of the cluster', bounded.ms, `slices of up to ${longestSliceMs.toFixed(1)} ms`)
const pure = time(() => plan(fleet.snapshot(), policy))
report('the pure plan', pure.ms, summary(pure.result))
