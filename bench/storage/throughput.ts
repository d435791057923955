import type { LogStore } from 'keelson'
import { adapters, entriesFrom, env, median, open, quantile, row } from './support.ts'

interface Result {
  readonly perSecond: number
  readonly p50: number
  readonly p99: number
  readonly cpuMicroseconds: number
}

const data = new Uint8Array(128).fill(7)

/** Groups that write at a time, each as soon as its last write is durable, and entries in a write. */
const loads: readonly (readonly [groups: number, entries: number])[] = [
  [1, 1],
  [16, 1],
  [64, 1],
  [256, 1],
  [1024, 1],
  [8192, 1],
  [1, 64],
  [64, 64],
  [1, 1024],
]

/** Writes entries of 128 bytes with their hard state, as Raft groups do. */
export async function measureThroughput(root: string, seconds: number, rounds: number): Promise<void> {
  const stores: { readonly name: string; readonly store: LogStore; readonly next: number[] }[] = []
  for (const { name, factory } of adapters) stores.push({ name, store: await open(factory(root)), next: [] })
  console.log(`\nwrites of entries of ${data.length} bytes; ratios are medians of paired rounds`)
  console.log(row('groups', 'entries', 'store', 'entries/s', 'p50 ms', 'p99 ms', 'CPU µs/entry', 'ratio'))
  for (const [groups, entries] of loads) {
    const results = new Map<string, Result[]>()
    for (let round = 0; round < rounds; round++) {
      for (const { name, store, next } of stores) {
        const known = results.get(name) ?? []
        known.push(await measure(store, next, groups, entries, seconds))
        results.set(name, known)
      }
    }
    const [first, second] = [...results.values()] as [Result[], Result[]]
    const ratio = median(first.map((result, i) => result.perSecond / (second[i] as Result).perSecond))
    for (const [name, all] of results) {
      const of = (pick: (result: Result) => number): number => median(all.map(pick))
      console.log(
        row(
          groups,
          entries,
          name,
          of((r) => r.perSecond).toFixed(0),
          of((r) => r.p50).toFixed(2),
          of((r) => r.p99).toFixed(2),
          of((r) => r.cpuMicroseconds).toFixed(1),
          name === 'segments' ? ratio.toFixed(2) : '',
        ),
      )
    }
  }
  for (const { store } of stores) await store.close()
}

async function measure(
  store: LogStore,
  next: number[],
  groups: number,
  entries: number,
  seconds: number,
): Promise<Result> {
  const latencies: number[] = []
  const cpu = process.cpuUsage()
  const start = env.clock.monotonicMs()
  const end = start + seconds * 1000
  let written = 0
  const one = async (groupId: number): Promise<void> => {
    for (let now = start; now < end; ) {
      const index = (next[groupId] ?? 0) + 1
      const last = index + entries - 1
      next[groupId] = last
      await store.write([
        {
          groupId,
          entries: entriesFrom(index, entries, data),
          hardState: { term: 1, votedFor: 1, commit: index - 1 },
        },
      ])
      if (Math.floor(last / 1_000) > Math.floor((index - 1) / 1_000) && last > 500) {
        await store.compact(groupId, { index: last - 500, term: 1 })
      }
      const done = env.clock.monotonicMs()
      written += entries
      latencies.push(done - now)
      now = done
    }
  }
  await Promise.all(Array.from({ length: groups }, (_, i) => one(i + 1)))
  const elapsed = env.clock.monotonicMs() - start
  const { user, system } = process.cpuUsage(cpu)
  latencies.sort((a, b) => a - b)
  return {
    perSecond: (written / elapsed) * 1000,
    p50: quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99),
    cpuMicroseconds: (user + system) / written,
  }
}
