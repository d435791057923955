import assert from 'node:assert/strict'
import {
  assertLog,
  entries,
  hardState,
  type LogStoreCase,
  onPlace,
  recoveredOf,
  refuses,
  twice,
} from './harness.ts'

/** Compaction and destruction. */
export const compactionCases: readonly LogStoreCase[] = [
  {
    name: 'compaction hides entries at once and is durable with the next write of the group',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: [...entries(1, 5, 1), ...entries(6, 10, 2)] }])
      await store.compact(1, { index: 6, term: 2 })
      await refuses('COMPACTED', () => store.read(1, 6, 7, 1000))
      await assertLog(store, 1, entries(7, 10, 2))
      await store.compact(1, { index: 3, term: 1 })
      await refuses('COMPACTED', () => store.read(1, 6, 7, 1000))
      await store.write([{ groupId: 1, entries: entries(11, 11, 2) }])
      await store.close()
      const again = await open()
      assert.deepEqual(recoveredOf(again, 1).compacted, { index: 6, term: 2 })
      assert.deepEqual(recoveredOf(again, 1).last, { index: 11, term: 2 })
      await assertLog(again, 1, entries(7, 11, 2))
    }),
  },
  {
    name: 'a log that is compacted to its end goes on behind it',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 5, 4) }])
      await store.compact(1, { index: 5, term: 4 })
      await refuses('COMPACTED', () => store.read(1, 5, 5, 1000))
      await refuses('NOT_FOUND', () => store.read(1, 6, 6, 1000))
      await refuses('INVALID_ARGUMENT', () => store.write([{ groupId: 1, entries: entries(7, 7, 4) }]))
      await store.write([{ groupId: 1, entries: entries(6, 6, 4) }])
      await store.compact(1, { index: 6, term: 4 })
      await store.write([{ groupId: 1, hardState }])
      await store.close()
      const again = await open()
      assert.deepEqual(recoveredOf(again, 1).last, { index: 6, term: 4 })
      await again.write([{ groupId: 1, entries: entries(7, 8, 4) }])
      await assertLog(again, 1, entries(7, 8, 4))
    }),
  },
  {
    name: 'compaction beyond the end of the log is refused',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 3) }])
      await refuses('INVALID_ARGUMENT', () => store.compact(1, { index: 4, term: 1 }))
      await refuses('INVALID_ARGUMENT', () => store.compact(2, { index: 1, term: 1 }))
      await assertLog(store, 1, entries(1, 3))
    }),
  },
  {
    name: 'the end of a log can be replaced behind a compaction, not before it',
    run: twice(
      async (store) => {
        await store.write([{ groupId: 1, entries: entries(1, 10, 1) }])
        await store.compact(1, { index: 5, term: 1 })
        await refuses('INVALID_ARGUMENT', () => store.write([{ groupId: 1, entries: entries(5, 6, 2) }]))
        await store.write([{ groupId: 1, entries: entries(6, 6, 2) }])
      },
      (store) => assertLog(store, 1, entries(6, 6, 2)),
    ),
  },
  {
    name: 'destroy removes log and hard state and keeps the tombstone',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 5), hardState, metadata: Uint8Array.of(1) }])
      await store.write([{ groupId: 2, entries: entries(1, 2) }])
      await store.destroy(1, Uint8Array.of(7, 7))
      await refuses('NOT_FOUND', () => store.read(1, 1, 1, 100))
      await store.close()
      const again = await open()
      const found = recoveredOf(again, 1)
      assert.equal(found.hardState, undefined)
      assert.deepEqual([...(found.metadata as Uint8Array)], [7, 7])
      assert.deepEqual(found.last, { index: 0, term: 0 })
      await assertLog(again, 2, entries(1, 2))
    }),
  },
  {
    name: 'a destroyed group without a tombstone does not appear, and its id can be used again',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 5), hardState, metadata: Uint8Array.of(1) }])
      await store.destroy(1, new Uint8Array(0))
      await store.destroy(4, new Uint8Array(0))
      await store.close()
      const again = await open()
      assert.equal(again.recovered().size, 0)
      await again.write([{ groupId: 1, entries: entries(1, 2, 6) }])
      await again.close()
      const third = await open()
      assert.equal(recoveredOf(third, 1).hardState, undefined)
      await assertLog(third, 1, entries(1, 2, 6))
    }),
  },
]
