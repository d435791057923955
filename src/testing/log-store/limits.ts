import assert from 'node:assert/strict'
import { type GroupWrite, groupWriteBytes, type LogStore } from '../../interfaces/log-store.ts'
import { entries, entry, type LogStoreCase, onPlace, recoveredOf, refuses } from './harness.ts'

/** The limits that a store states, up to which every write is taken. */
export const limitCases: readonly LogStoreCase[] = [
  {
    name: 'the largest write is taken, as one entry and as many, and one twice as large leaves no trace',
    run: onPlace(async (open) => {
      const store = await open()
      const { writeBytes, queuedBytes } = store.limits
      assert.ok(Number.isSafeInteger(writeBytes) && writeBytes > 0, `writeBytes is ${writeBytes}`)
      assert.ok(
        Number.isSafeInteger(queuedBytes) && queuedBytes >= writeBytes,
        `queuedBytes is ${queuedBytes}, less than the ${writeBytes} of one write`,
      )
      // A limit beyond this could be reached by nobody here.
      if (writeBytes > 64 << 20) return
      const one = filling(1, writeBytes, 1)
      await takes(store, [one])
      await refuses('LIMIT_EXCEEDED', () => store.write([filling(2, 2 * writeBytes, 1)]))
      const count = Math.min(50, Math.floor(writeBytes / 256))
      const many = filling(3, writeBytes, count)
      await takes(store, [many])
      const groups = Array.from({ length: Math.floor(writeBytes / groupWriteBytes(smallest(9))) }, (_, i) =>
        smallest(9 + i),
      ).slice(0, 5_000)
      await takes(store, groups)
      const check = async (opened: LogStore): Promise<void> => {
        await assertSame(opened, one)
        await refuses('NOT_FOUND', () => opened.read(2, 1, 1, 1))
        await assertSame(opened, many)
      }
      await check(store)
      await store.close()
      const again = await open()
      await check(again)
      assert.equal(again.recovered().has(2), false, 'a refused write is there after a restart')
      assert.deepEqual(recoveredOf(again, 1).last, { index: 1, term: 1 })
      assert.deepEqual(recoveredOf(again, 3).last, { index: count, term: 1 })
      for (const { groupId } of groups) recoveredOf(again, groupId)
    }),
  },
  {
    name: 'as many bytes as the queue holds may wait, and once they are written as many again',
    run: onPlace(async (open) => {
      const store = await open()
      const { writeBytes, queuedBytes } = store.limits
      const bytes = Math.min(writeBytes, 256 << 10)
      const count = Math.min(Math.floor(queuedBytes / bytes), 32)
      for (let round = 0; round < 3; round++) {
        await Promise.all(
          Array.from({ length: count }, (_, i) =>
            takes(store, [filling(1 + round * count + i, bytes, 1 + (i % 3))]),
          ),
        )
      }
      await store.close()
      assert.equal((await open()).recovered().size, 3 * count)
    }),
  },
]

/** Fails when the store refuses a write. */
async function takes(store: LogStore, batch: readonly GroupWrite[]): Promise<void> {
  try {
    await store.write(batch)
  } catch (error) {
    assert.fail(`a write within the limits that the store states should be taken: ${error}`)
  }
}

/** The whole log of a group, byte for byte. */
async function assertSame(store: LogStore, { groupId, entries: written = [] }: GroupWrite): Promise<void> {
  for (let index = 1; index <= written.length; index++) {
    const [found] = await store.read(groupId, index, index, 0)
    const same = Buffer.compare(found?.data ?? Buffer.alloc(0), written[index - 1]?.data as Uint8Array) === 0
    assert.ok(same, `entry ${index} of group ${groupId} is not as it was written`)
  }
}

/** A write of exactly so many bytes. */
function filling(groupId: number, bytes: number, count: number): GroupWrite {
  const room = bytes - groupWriteBytes({ groupId, entries: entries(1, count, 1, 0) })
  const each = Math.floor(room / count)
  const first = entry(1, 1, room - each * (count - 1))
  const write = { groupId, entries: [first, ...entries(2, count, 1, each)] }
  assert.equal(groupWriteBytes(write), bytes)
  return write
}

/** All that can be written of a group beside entries. */
function smallest(groupId: number): GroupWrite {
  return {
    groupId,
    reset: { index: 2 ** 52, term: 2 ** 52 },
    hardState: { term: 2 ** 53 - 1, votedFor: 2 ** 53 - 1, commit: 2 ** 52 },
    metadata: new Uint8Array(0),
  }
}
