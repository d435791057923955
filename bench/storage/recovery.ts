import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { LogStoreFactory } from 'keelson'
import { adapters, entriesFrom, env, median, open, row } from './support.ts'

const data = new Uint8Array(128).fill(7)

/** Groups of a log, and entries in each of their writes, with a hard state each. */
const shapes: readonly (readonly [groups: number, entries: number])[] = [
  [1_000, 1],
  [1_000, 16],
  [100_000, 1],
]

/** Bytes that a write takes on the disk, about. */
function bytesOf(entries: number): number {
  return 36 + entries * (data.length + 4)
}

/** How long it takes to open a log of so many bytes. It was just written, so it comes from the page cache. */
export async function measureRecovery(root: string, bytes: number, rounds: number): Promise<void> {
  console.log(`\nopening a log of ${(bytes / 2 ** 30).toFixed(2)} GiB; medians`)
  console.log(row('groups', 'entries', 'records', 'store', 'ms', 'CPU ms', 'memory MiB', 'ratio'))
  for (const [groups, entries] of shapes) {
    const folder = join(root, `${groups}-${entries}`)
    await mkdir(folder)
    // Nothing is cleaned: what is written is what is read.
    const factories = adapters.map(({ factory }) => factory(folder, 2 ** 40))
    let records = 0
    for (const factory of factories) records = await fill(factory, bytes, groups, entries)
    const results = factories.map((): { ms: number; cpu: number; memory: number }[] => [])
    for (let round = 0; round < rounds; round++) {
      for (const [i, factory] of factories.entries()) results[i]?.push(await measure(factory))
    }
    const ratio = median((results[0] ?? []).map(({ ms }, i) => ms / (results[1]?.[i]?.ms ?? Number.NaN)))
    for (const [i, { name }] of adapters.entries()) {
      const all = results[i] ?? []
      console.log(
        row(
          groups,
          entries,
          records,
          name,
          median(all.map(({ ms }) => ms)).toFixed(0),
          median(all.map(({ cpu }) => cpu)).toFixed(0),
          median(all.map(({ memory }) => memory)).toFixed(0),
          i === 0 ? ratio.toFixed(2) : '',
        ),
      )
    }
  }
}

async function fill(
  factory: LogStoreFactory,
  bytes: number,
  groups: number,
  entries: number,
): Promise<number> {
  const store = await open(factory)
  const next = Array.from({ length: groups }, () => 1)
  let pending: Promise<void>[] = []
  let records = 0
  for (let written = 0; written < bytes; written += bytesOf(entries)) {
    const group = (records / 2) % groups
    const index = next[group] as number
    next[group] = index + entries
    pending.push(
      store.write([
        {
          groupId: group + 1,
          entries: entriesFrom(index, entries, data),
          hardState: { term: 1, votedFor: 1, commit: index - 1 },
        },
      ]),
    )
    records += 2
    if (pending.length < 512) continue
    await Promise.all(pending)
    pending = []
  }
  await Promise.all(pending)
  await store.close()
  return records
}

async function measure(factory: LogStoreFactory): Promise<{ ms: number; cpu: number; memory: number }> {
  const memory = process.memoryUsage()
  const cpu = process.cpuUsage()
  const start = env.clock.monotonicMs()
  const store = await open(factory)
  const ms = env.clock.monotonicMs() - start
  const used = process.cpuUsage(cpu)
  const after = process.memoryUsage()
  await store.close()
  const grown = after.heapUsed + after.arrayBuffers - memory.heapUsed - memory.arrayBuffers
  return { ms, cpu: (used.user + used.system) / 1000, memory: grown / 2 ** 20 }
}
