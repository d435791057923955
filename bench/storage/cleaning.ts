import { mkdir, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { FileSystem } from 'keelson'
import { nodeFileSystem, segments } from 'keelson/storage/segments'
import { entriesFrom, env, open, row } from './support.ts'

const data = new Uint8Array(1_000).fill(7)
const entriesPerWrite = 8

/** Bytes that live for ever in groups that do nothing, and entries that each busy group keeps. */
const shapes: readonly (readonly [coldBytes: number, kept: number])[] = [
  [0, 1_000],
  [32 * 2 ** 20, 1_000],
  [128 * 2 ** 20, 1_000],
  [128 * 2 ** 20, 10_000],
]

const busyGroups = 8

/** What is written beyond what was asked for, when most of a log is compacted and some of it lives for ever. */
export async function measureCleaning(root: string, bytes: number): Promise<void> {
  console.log(
    `\n${(bytes / 2 ** 30).toFixed(2)} GiB of entries written and compacted by ${busyGroups} groups`,
  )
  console.log(row('cold MiB', 'busy MiB', 'log MiB', 'copied', 'zeros', 'digests', 'amplification', 'MiB/s'))
  for (const [coldBytes, kept] of shapes) {
    const folder = join(root, `${coldBytes}-${kept}`)
    await mkdir(folder)
    const written = { segment: 0, zeros: 0, index: 0 }
    const store = await open(segments(join(folder, 'log'), { fileSystem: counting(written) }))
    const cold = Math.floor(coldBytes / data.length)
    for (let index = 1; index <= cold; index += entriesPerWrite) {
      await store.write([{ groupId: 1_000, entries: entriesFrom(index, entriesPerWrite, data) }])
    }
    written.segment = 0
    written.zeros = 0
    written.index = 0
    const start = env.clock.monotonicMs()
    let asked = 0
    for (let index = 1; asked < bytes; index += entriesPerWrite) {
      const batch = Array.from({ length: busyGroups }, (_, i) => ({
        groupId: i + 1,
        entries: entriesFrom(index, entriesPerWrite, data),
        hardState: { term: 1, votedFor: 1, commit: index - 1 },
      }))
      await store.write(batch)
      asked += busyGroups * (entriesPerWrite * (data.length + 5) + 40)
      if (index > 2 * kept && index % kept < entriesPerWrite) {
        const through = { index: index - kept, term: 1 }
        await Promise.all(batch.map(({ groupId }) => store.compact(groupId, through)))
      }
    }
    const seconds = (env.clock.monotonicMs() - start) / 1000
    const all = written.segment + written.zeros + written.index
    console.log(
      row(
        (coldBytes / 2 ** 20).toFixed(0),
        ((busyGroups * kept * data.length) / 2 ** 20).toFixed(0),
        ((await sizeOf(join(folder, 'log'))) / 2 ** 20).toFixed(0),
        (written.segment / asked - 1).toFixed(2),
        (written.zeros / asked).toFixed(2),
        (written.index / asked).toFixed(3),
        (all / asked).toFixed(2),
        (asked / 2 ** 20 / seconds).toFixed(0),
      ),
    )
    await store.close()
  }
}

async function sizeOf(directory: string): Promise<number> {
  let bytes = 0
  for (const name of await readdir(directory)) bytes += (await stat(join(directory, name))).size
  return bytes
}

/** The file system of the machine, with what is written into files counted by what it is. */
function counting(written: { segment: number; zeros: number; index: number }): FileSystem {
  return {
    ...nodeFileSystem,
    open: async (path, how) => {
      const file = await nodeFileSystem.open(path, how)
      return {
        read: (into, position) => file.read(into, position),
        sync: () => file.sync(),
        close: () => file.close(),
        write: (bytes, position) => {
          if (path.includes('.index')) written.index += bytes.length
          else if (how === 'new' && bytes.every((byte) => byte === 0)) written.zeros += bytes.length
          else written.segment += bytes.length
          return file.write(bytes, position)
        },
      }
    },
  }
}
