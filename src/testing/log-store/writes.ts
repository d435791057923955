import assert from 'node:assert/strict'
import type { EntryKind, GroupWrite } from '../../interfaces/log-store.ts'
import {
  assertLog,
  entries,
  entry,
  hardState,
  type LogStoreCase,
  onPlace,
  recoveredOf,
  refuses,
  twice,
} from './harness.ts'

/** Writes: entries, hard state, metadata, resets, limits and order. */
export const writeCases: readonly LogStoreCase[] = [
  {
    name: 'what was written is read back, now and after a restart',
    run: twice(
      (store) => store.write([{ groupId: 7, entries: entries(1, 20) }]),
      (store) => assertLog(store, 7, entries(1, 20)),
    ),
  },
  {
    name: 'hard state, metadata and positions are recovered',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([
        { groupId: 7, entries: entries(1, 5, 3), hardState, metadata: Uint8Array.of(1, 2, 3) },
        { groupId: 9, hardState: { term: 1, votedFor: 0, commit: 0 } },
      ])
      await store.write([{ groupId: 7, hardState: { term: 4, votedFor: 0, commit: 5 } }])
      assert.equal(store.recovered().size, 0, 'recovered() tells what was found on opening')
      await store.close()
      const again = await open()
      assert.equal(again.recovered().size, 2)
      const seven = recoveredOf(again, 7)
      assert.deepEqual(seven.hardState, { term: 4, votedFor: 0, commit: 5 })
      assert.deepEqual([...(seven.metadata as Uint8Array)], [1, 2, 3])
      assert.deepEqual(seven.compacted, { index: 0, term: 0 })
      assert.deepEqual(seven.last, { index: 5, term: 3 })
      const nine = recoveredOf(again, 9)
      assert.equal(nine.metadata, undefined)
      assert.deepEqual(nine.last, { index: 0, term: 0 })
    }),
  },
  {
    name: 'metadata is replaced and may be empty',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, metadata: Uint8Array.of(9) }])
      await store.write([{ groupId: 1, metadata: new Uint8Array(0) }])
      await store.close()
      assert.equal(recoveredOf(await open(), 1).metadata?.length, 0)
    }),
  },
  {
    name: 'a later write replaces the end of the log',
    run: twice(
      async (store) => {
        await store.write([{ groupId: 1, entries: entries(1, 10, 1) }])
        await store.write([{ groupId: 1, entries: entries(6, 7, 2) }])
        await store.write([{ groupId: 1, entries: entries(8, 8, 3) }])
      },
      (store) => assertLog(store, 1, [...entries(1, 5, 1), ...entries(6, 7, 2), ...entries(8, 8, 3)]),
    ),
  },
  {
    name: 'the whole log can be replaced',
    run: twice(
      async (store) => {
        await store.write([{ groupId: 1, entries: entries(1, 3, 1) }])
        await store.write([{ groupId: 1, entries: entries(1, 2, 2) }])
      },
      (store) => assertLog(store, 1, entries(1, 2, 2)),
    ),
  },
  {
    name: 'the last term is known after a replacement within one write',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 10, 1) }])
      await store.write([{ groupId: 1, entries: [...entries(4, 5, 2), ...entries(6, 6, 9)] }])
      await store.close()
      assert.deepEqual(recoveredOf(await open(), 1).last, { index: 6, term: 9 })
    }),
  },
  {
    name: 'a reset drops the log and the next entry follows it',
    run: twice(
      async (store) => {
        await store.write([{ groupId: 1, entries: entries(1, 10), hardState }])
        await store.write([{ groupId: 1, reset: { index: 100, term: 5 } }])
        await store.write([{ groupId: 1, entries: entries(101, 103, 6) }])
      },
      async (store) => {
        await assertLog(store, 1, entries(101, 103, 6))
        await refuses('COMPACTED', () => store.read(1, 100, 101, 1000))
        await refuses('COMPACTED', () => store.read(1, 1, 1, 1000))
      },
    ),
  },
  {
    name: 'a reset with entries and hard state in one write, also to a lower index',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 10), metadata: Uint8Array.of(5) }])
      await store.write([{ groupId: 1, reset: { index: 4, term: 8 }, entries: entries(5, 6, 9), hardState }])
      await store.close()
      const again = await open()
      const found = recoveredOf(again, 1)
      assert.deepEqual(found.compacted, { index: 4, term: 8 })
      assert.deepEqual(found.last, { index: 6, term: 9 })
      assert.deepEqual(found.hardState, hardState)
      assert.deepEqual([...(found.metadata as Uint8Array)], [5])
      await assertLog(again, 1, entries(5, 6, 9))
    }),
  },
  {
    name: 'one write may name a group twice',
    run: twice(
      (store) =>
        store.write([
          { groupId: 1, entries: entries(1, 4, 1) },
          { groupId: 1, entries: entries(3, 6, 2) },
        ]),
      (store) => assertLog(store, 1, [...entries(1, 2, 1), ...entries(3, 6, 2)]),
    ),
  },
  {
    name: 'many groups in one write are kept apart',
    run: twice(
      (store) =>
        store.write(
          Array.from({ length: 200 }, (_, i) => ({ groupId: i + 1, entries: entries(1, 3, i + 1) })),
        ),
      async (store) => {
        for (let i = 0; i < 200; i++) await assertLog(store, i + 1, entries(1, 3, i + 1))
      },
    ),
  },
  {
    name: 'large ids, indexes and terms survive',
    run: twice(
      (store) =>
        store.write([
          {
            groupId: Number.MAX_SAFE_INTEGER,
            reset: { index: 2 ** 52, term: 2 ** 51 },
            entries: [entry(2 ** 52 + 1, 2 ** 52)],
            hardState: { term: 2 ** 52, votedFor: 2 ** 40, commit: 2 ** 52 },
          },
        ]),
      (store) => assertLog(store, Number.MAX_SAFE_INTEGER, [entry(2 ** 52 + 1, 2 ** 52)]),
    ),
  },
  {
    name: 'entries without data and entries of a megabyte',
    run: twice(
      (store) =>
        store.write([
          {
            groupId: 1,
            entries: [entry(1, 1, 0), entry(2, 1, 1_000_000), entry(3, 1, 0), entry(4, 1, 70_000)],
          },
        ]),
      (store) =>
        assertLog(store, 1, [entry(1, 1, 0), entry(2, 1, 1_000_000), entry(3, 1, 0), entry(4, 1, 70_000)]),
    ),
  },
  {
    name: 'an empty write is welcome and changes nothing',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([])
      await store.write([{ groupId: 1, entries: [] }])
      await refuses('NOT_FOUND', () => store.read(1, 1, 1, 1))
    }),
  },
  {
    name: 'overlapping writes resolve in their order',
    run: onPlace(async (open) => {
      const store = await open()
      const order: number[] = []
      const writes: Promise<void>[] = []
      for (let i = 1; i <= 100; i++) {
        // Sizes differ, so that batches are cut at odd places; turns pass, so that several syncs are needed.
        const write: GroupWrite = { groupId: 1 + (i % 3), hardState: { term: i, votedFor: 0, commit: 0 } }
        const large: GroupWrite[] = i % 10 === 0 ? [{ groupId: 9, entries: [entry(i / 10, 1, 100_000)] }] : []
        writes.push(store.write([write, ...large]).then(() => void order.push(i)))
        if (i % 7 === 0) await new Promise((resolve) => queueMicrotask(() => resolve(undefined)))
      }
      await Promise.all(writes)
      assert.deepEqual(
        order,
        Array.from({ length: 100 }, (_, i) => i + 1),
      )
    }),
  },
  {
    name: 'a refused write leaves no trace',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 3), hardState }])
      const bad: [string, readonly GroupWrite[]][] = [
        ['gap', [{ groupId: 1, entries: entries(5, 6) }]],
        ['hole within', [{ groupId: 1, entries: [entry(4, 1), entry(6, 1)] }]],
        ['falling term', [{ groupId: 1, entries: [entry(4, 2), entry(5, 1)] }]],
        ['group id', [{ groupId: 0, entries: entries(1, 1) }]],
        ['group id', [{ groupId: 1.5, entries: entries(1, 1) }]],
        ['index 0', [{ groupId: 1, entries: [entry(0, 1)] }]],
        [
          'second group',
          [
            { groupId: 2, entries: entries(1, 1) },
            { groupId: 1, entries: entries(9, 9) },
          ],
        ],
        [
          'same group again',
          [
            { groupId: 1, entries: entries(4, 4) },
            { groupId: 1, entries: entries(6, 6) },
          ],
        ],
        ['term', [{ groupId: 1, hardState: { term: -1, votedFor: 0, commit: 0 } }]],
        ['commit', [{ groupId: 1, hardState: { term: 1, votedFor: 0, commit: 2 ** 53 } }]],
        ['reset', [{ groupId: 1, reset: { index: Number.NaN, term: 1 } }]],
        ['behind its reset', [{ groupId: 1, reset: { index: 5, term: 1 }, entries: entries(7, 8) }]],
        ['no bytes', [{ groupId: 1, metadata: 'text' as unknown as Uint8Array }]],
        ['no data', [{ groupId: 1, entries: [{ ...entry(4, 1), data: [] as unknown as Uint8Array }] }]],
        ['kind', [{ groupId: 1, entries: [{ ...entry(4, 1), kind: 7 as EntryKind }] }]],
      ]
      for (const [, batch] of bad) await refuses('INVALID_ARGUMENT', () => store.write(batch))
      await assertLog(store, 1, entries(1, 3))
      await store.write([{ groupId: 1, entries: entries(4, 4) }])
      await store.close()
      const again = await open()
      assert.equal(again.recovered().size, 1)
      assert.deepEqual(recoveredOf(again, 1).hardState, hardState)
      await assertLog(again, 1, entries(1, 4))
    }),
  },
]
