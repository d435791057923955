// Compares the log stores on the disk: `node build/bench/storage.js [seconds per measurement]`.
//
// Each measurement keeps a number of writes outstanding, each of one entry of 128 bytes. The stores take turns, round by
// round, because a machine's disk changes its mind from minute to minute: the ratio of one round counts, not the figure.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type LogStore, nodeEnvironment } from 'keelson'
import { levelLog } from 'keelson/storage/level'
import { segments } from 'keelson/storage/segments'

const seconds = Number(process.argv[2] ?? 0.5)
const rounds = Number(process.argv[3] ?? 5)
const env = nodeEnvironment()
const data = new Uint8Array(128).fill(7)

interface Result {
  readonly perSecond: number
  readonly p50: number
  readonly p99: number
}

/** Keeps `outstanding` writes under way, each to a group of its own, as many Raft groups do. */
async function measure(store: LogStore, outstanding: number, next: number[]): Promise<Result> {
  const latencies: number[] = []
  const start = env.clock.monotonicMs()
  const end = start + seconds * 1000
  const one = async (groupId: number): Promise<void> => {
    for (let now = start; now < end; ) {
      const index = (next[groupId] ?? 0) + 1
      next[groupId] = index
      await store.write([{ groupId, entries: [{ index, term: 1, kind: 1, data }] }])
      if (index % 1_000 === 0) await store.compact(groupId, { index: index - 500, term: 1 })
      const done = env.clock.monotonicMs()
      latencies.push(done - now)
      now = done
    }
  }
  await Promise.all(Array.from({ length: outstanding }, (_, i) => one(i + 1)))
  const elapsed = env.clock.monotonicMs() - start
  latencies.sort((a, b) => a - b)
  const quantile = (q: number): number => latencies[Math.floor((latencies.length - 1) * q)] as number
  return { perSecond: (latencies.length / elapsed) * 1000, p50: quantile(0.5), p99: quantile(0.99) }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >>> 1] as number
}

const root = await mkdtemp(join(tmpdir(), 'keelson-bench-'))
try {
  const context = { env, clusterId: 'bench', nodeId: 'n1' }
  const stores = [
    { name: 'segments', store: await segments(join(root, 'segments'))(context), next: [] as number[] },
    { name: 'level', store: await levelLog(join(root, 'level'))(context), next: [] as number[] },
  ] as const
  console.log('outstanding   store     writes/s    p50 ms    p99 ms    ratio (median of paired rounds)')
  for (const outstanding of [1, 16, 64, 256, 1024]) {
    const results: Result[][] = [[], []]
    for (let round = 0; round < rounds; round++) {
      for (const [i, { store, next }] of stores.entries()) {
        results[i]?.push(await measure(store, outstanding, next))
      }
    }
    const [a, b] = results as [Result[], Result[]]
    const ratio = median(a.map((result, i) => result.perSecond / (b[i] as Result).perSecond))
    for (const [i, { name }] of stores.entries()) {
      const all = results[i] as Result[]
      const figures = [
        median(all.map(({ perSecond }) => perSecond)).toFixed(0),
        median(all.map(({ p50 }) => p50)).toFixed(2),
        median(all.map(({ p99 }) => p99)).toFixed(2),
      ]
      console.log(
        [String(outstanding).padStart(11), name.padEnd(8), ...figures.map((text) => text.padStart(8))].join(
          '  ',
        ) + (i === 0 ? `    ${ratio.toFixed(2)}` : ''),
      )
    }
  }
  for (const { store } of stores) await store.close()
} finally {
  await rm(root, { recursive: true, force: true })
}
