import assert from 'node:assert/strict'
import { type LogRecord, recordLogger } from '../../../src/core/logger.ts'
import { nodeEnvironment } from '../../../src/core/node-environment.ts'
import type { LogEntry, LogStore, LogStoreContext } from '../../../src/interfaces/log-store.ts'

/** A context for opening stores, and the warnings that they gave. */
export function newContext(names: { clusterId?: string; nodeId?: string } = {}): LogStoreContext & {
  readonly records: LogRecord[]
} {
  const records: LogRecord[] = []
  const env = nodeEnvironment({ logger: recordLogger((record) => records.push(record), 'warn') })
  return { env, clusterId: names.clusterId ?? 'c', nodeId: names.nodeId ?? 'n', records }
}

/** An entry whose data follows from its place. */
export function entry(index: number, term = 1, dataBytes = 40): LogEntry {
  const data = new Uint8Array(dataBytes)
  for (let i = 0; i < dataBytes; i++) data[i] = (index * 31 + term * 7 + i) & 0xff
  return { index, term, kind: 1, data }
}

/** Writes one entry. */
export function put(store: LogStore, index: number, dataBytes?: number, groupId = 1): Promise<void> {
  return store.write([{ groupId, entries: [entry(index, 1, dataBytes)] }])
}

export function lastIndex(store: LogStore, groupId = 1): number {
  return store.recovered().get(groupId)?.last.index ?? 0
}

/** Reads the whole log of a group back and compares it. */
export async function assertEntries(
  store: LogStore,
  from: number,
  to: number,
  dataBytes?: number,
  groupId = 1,
): Promise<void> {
  for (let next = from; next <= to; ) {
    const found = await store.read(groupId, next, to, 256 * 1024)
    for (const each of found) {
      const expected = entry(next, 1, dataBytes)
      assert.equal(each.index, next)
      assert.deepEqual(Buffer.from(each.data), Buffer.from(expected.data), `data of entry ${next}`)
      next++
    }
  }
}
