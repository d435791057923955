// A process that appends to a log as fast as it can and reports each acknowledged index: `node log-writer.js segments|level
// <directory>`.
import type { LogStoreFactory } from '../../../src/interfaces/log-store.ts'
import { levelLog } from '../../../src/storage/level/index.ts'
import { segments } from '../../../src/storage/segments/index.ts'
import { entry, lastIndex, newContext } from './log.ts'

const [, , adapter, directory] = process.argv as [string, string, string, string]
const factory: LogStoreFactory =
  adapter === 'level'
    ? levelLog(directory)
    : segments(directory, { segmentBytes: 64 * 1024, cleanFromBytes: 128 * 1024 })
const store = await factory(newContext())
let index = lastIndex(store)
for (;;) {
  // Two groups in each batch, so that half a batch would show.
  const writes = Array.from({ length: 4 }, () => {
    index++
    return store.write([
      { groupId: 1, entries: [entry(index, 1, 200)] },
      { groupId: 2, hardState: { term: 1, votedFor: 0, commit: index } },
    ])
  })
  await Promise.all(writes)
  process.stdout.write(`${index}\n`)
  if (index % 100 === 0) await store.compact(1, { index: index - 50, term: 1 })
}
