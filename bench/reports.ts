// What the leader keeps of the nodes' reports: memory, and the time to take one in and to read a range.
//
// `npm run bench -- reports [--ranges 1000000]`

import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { type NodeReport, ReportBook } from 'keelson/nodes'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const { values } = parseArgs({ options: { ranges: { type: 'string', default: '1000000' } } })
const rangeCount = Number(values.ranges)
const nodeCount = Math.max(3, Math.round(rangeCount / 1000))

/** The node of a replica of a range. */
function nodeOf(rangeId: number, replica: number): number {
  return (rangeId * 7919 + replica * 331) % nodeCount
}

const held: number[][] = Array.from({ length: nodeCount }, () => [])
for (let rangeId = 1; rangeId <= rangeCount; rangeId++) {
  for (let replica = 0; replica < 3; replica++) held[nodeOf(rangeId, replica)]?.push(rangeId)
}

function reportOf(node: number, sequence: number): NodeReport {
  return {
    nodeId: `n${node}`,
    incarnation: 1,
    epoch: 1,
    sequence,
    load: { cpu: 1 },
    capacity: { bytes: 1e12 },
    replicas: (held[node] as number[]).map((rangeId) => {
      const leads = nodeOf(rangeId, 0) === node
      return {
        rangeId,
        replicaId: 1,
        generation: 4,
        sequence: 3,
        leaseHolder: leads,
        caughtUp: leads ? [1, 2, 3] : [],
        swaps: true,
        load: { bytes: 256e6 + rangeId * 3.5, requests: (rangeId % 100) + sequence, cpu: 0.01 },
        replicas: [0, 1, 2].map((replica) => ({
          replicaId: replica + 1,
          nodeId: `n${nodeOf(rangeId, replica)}`,
          incarnation: 1,
          role: 'voter' as const,
        })),
      }
    }),
  }
}

function mebibytes(): number {
  collect()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return (heapUsed + arrayBuffers) / 2 ** 20
}

const empty = mebibytes()
const book = new ReportBook()
const changed = book.follow()
let tookMs = 0
for (let sequence = 1; sequence <= 2; sequence++) {
  for (let node = 0; node < nodeCount; node++) {
    const report = reportOf(node, sequence)
    const before = performance.now()
    book.take(report, 0)
    tookMs += performance.now() - before
  }
}
changed()
const kept = mebibytes() - empty
const reads = 100_000
const before = performance.now()
let replicas = 0
for (let i = 0; i < reads; i++) replicas += book.observed(1 + ((i * 31) % rangeCount)).length
const readMs = performance.now() - before
console.log(`${rangeCount} ranges × 3 reported by ${nodeCount} nodes: ${kept.toFixed(0)} MiB`)
console.log(`${((tookMs * 1000) / (6 * rangeCount)).toFixed(1)} µs to take in a replica`)
console.log(`${((readMs * 1000) / reads).toFixed(1)} µs to read a range, ${replicas} replicas`)
