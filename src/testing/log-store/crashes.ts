import assert from 'node:assert/strict'
import { SeededRandom } from '../../core/random.ts'
import type { LogEntry } from '../../interfaces/log-store.ts'
import {
  afterCrash,
  assertLog,
  entries,
  entry,
  hardState,
  type LogStoreCase,
  onPlace,
  recoveredOf,
  refuses,
} from './harness.ts'

/** Longer histories, and crashes. */
export const crashCases: readonly LogStoreCase[] = [
  {
    name: 'much is written, truncated and compacted, and equals a model',
    run: onPlace(async (open) => {
      const random = new SeededRandom(42)
      const model = new Map<number, { compacted: number; entries: LogEntry[]; term: number }>()
      let store = await open()
      const check = async (): Promise<void> => {
        for (const [groupId, group] of model) {
          if (group.entries.length > 0) await assertLog(store, groupId, group.entries)
          else
            await refuses('NOT_FOUND', () => store.read(groupId, group.compacted + 1, group.compacted + 1, 1))
        }
      }
      for (let round = 0; round < 300; round++) {
        const pending: Promise<void>[] = []
        for (let i = 0; i < 4; i++) {
          const groupId = 1 + random.integer(6)
          const group = model.get(groupId) ?? { compacted: 0, entries: [], term: 1 }
          model.set(groupId, group)
          const last = group.compacted + group.entries.length
          const dice = random.float()
          if (dice < 0.1 && group.entries.length > 1) {
            const through = group.compacted + 1 + random.integer(group.entries.length)
            const { term } = group.entries[through - group.compacted - 1] as LogEntry
            group.entries.splice(0, through - group.compacted)
            group.compacted = through
            pending.push(store.compact(groupId, { index: through, term }))
          } else if (dice < 0.12) {
            group.compacted = last + 10
            group.entries = []
            pending.push(store.write([{ groupId, reset: { index: last + 10, term: group.term } }]))
          } else {
            const from =
              dice < 0.2 ? group.compacted + 1 + random.integer(group.entries.length + 1) : last + 1
            if (from <= last) group.term++
            const added = entries(from, from + random.integer(5), group.term, random.integer(2_000))
            group.entries.splice(from - group.compacted - 1)
            group.entries.push(...added)
            pending.push(store.write([{ groupId, entries: added }]))
          }
        }
        await Promise.all(pending)
        if (round % 100 === 99) {
          // A compaction is only promised to last with the group's next write.
          await store.write([...model.keys()].map((groupId) => ({ groupId, hardState })))
          await store.close()
          store = await open()
        }
        if (round % 50 === 49) await check()
      }
    }),
  },
  {
    name: 'what was acknowledged survives a crash',
    run: afterCrash(async (open, crash) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 3), hardState }])
      await store.write([{ groupId: 1, entries: entries(3, 6, 2), metadata: Uint8Array.of(4) }])
      await crash()
      const again = await open()
      assert.equal(again.incarnation, store.incarnation)
      assert.deepEqual(recoveredOf(again, 1).hardState, hardState)
      assert.deepEqual([...(recoveredOf(again, 1).metadata as Uint8Array)], [4])
      await assertLog(again, 1, [...entries(1, 2), ...entries(3, 6, 2)])
    }),
  },
  {
    name: 'what a store says to be durable grows with each write, and a crash takes nothing of it away',
    run: afterCrash(async (open, crash) => {
      let store = await open()
      let before = store.durablePosition?.()
      // A store need not say it.
      if (before === undefined) return
      for (let round = 0; round < 5; round++) {
        for (let i = 1; i <= 3; i++) {
          const index = round * 3 + i
          await store.write([{ groupId: 1, entries: [entry(index, 1)] }])
          if (i === 3) await store.compact(1, { index: index - 1, term: 1 })
          const after = store.durablePosition?.() ?? 0
          assert.ok(after > before, `${before} before a write, ${after} behind it`)
          before = after
        }
        if (round === 3) await store.destroy(7, Uint8Array.of(1))
        await crash()
        store = await open()
        const found = store.durablePosition?.() ?? 0
        assert.ok(found >= before, `${before} was durable, and ${found} is left`)
        before = found
      }
    }),
  },
  {
    name: 'a crash leaves a prefix of the batches, each whole or not at all',
    run: afterCrash(async (open, crash) => {
      let acknowledged = 0
      let next = 1
      for (let round = 0; round < 20; round++) {
        const store = await open()
        const found = store.recovered()
        const a = found.get(1)?.last.index ?? 0
        assert.equal(found.get(2)?.last.index ?? 0, a * 2, 'a batch was torn apart')
        assert.ok(a >= acknowledged, `batch ${acknowledged} was acknowledged, but ${a} is the last one left`)
        assert.ok(a < next, 'a batch that was never written')
        next = a + 1
        acknowledged = a
        for (let i = 0; i < 5; i++, next++) {
          const index = next
          const written = store.write([
            { groupId: 1, entries: [entry(index, 1)] },
            { groupId: 2, entries: entries(index * 2 - 1, index * 2) },
          ])
          if (i < 2) await written
          // The others are under way when the power goes.
          else written.catch(() => {})
          if (i < 2) acknowledged = index
        }
        await crash()
      }
    }),
  },
]
