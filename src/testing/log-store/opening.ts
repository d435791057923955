import assert from 'node:assert/strict'
import { assertLog, entries, type LogStoreCase, onPlace, refuses } from './harness.ts'

/** Opening, closing and identity. */
export const openingCases: readonly LogStoreCase[] = [
  {
    name: 'a new store is empty and has an incarnation',
    run: onPlace(async (open) => {
      const store = await open()
      assert.equal(store.recovered().size, 0)
      assert.ok(Number.isSafeInteger(store.incarnation) && store.incarnation > 0)
    }),
  },
  {
    name: 'the incarnation stays with the place and differs between places',
    run: async (subject) => {
      const seen = new Set<number>()
      for (let i = 0; i < 2; i++) {
        await onPlace(async (open) => {
          const store = await open()
          await store.close()
          assert.equal((await open()).incarnation, store.incarnation)
          seen.add(store.incarnation)
        })(subject)
      }
      assert.equal(seen.size, 2)
    },
  },
  {
    name: 'a closed store refuses everything, and closing again does nothing',
    run: onPlace(async (open) => {
      const store = await open()
      const last = store.write([{ groupId: 1, entries: entries(1, 3) }])
      await store.close()
      await last
      await store.close()
      await store[Symbol.asyncDispose]()
      await refuses('CLOSED', () => store.write([]))
      await refuses('CLOSED', () => store.read(1, 1, 1, 1))
      await refuses('CLOSED', () => store.compact(1, { index: 1, term: 1 }))
      await refuses('CLOSED', () => store.destroy(1, new Uint8Array(0)))
      await assertLog(await open(), 1, entries(1, 3))
    }),
  },
  {
    name: 'a store that is open is not opened a second time',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 3) }])
      await refuses('DIRECTORY_LOCKED', () => open())
      await store.write([{ groupId: 1, entries: entries(4, 4) }])
      await store.close()
      await assertLog(await open(), 1, entries(1, 4))
    }),
  },
  {
    name: 'another cluster or node is refused and changes nothing',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 3) }])
      await store.close()
      await refuses('FOREIGN_CLUSTER', () => open({ clusterId: 'other' }))
      await refuses('FOREIGN_NODE', () => open({ nodeId: 'n2' }))
      const again = await open()
      assert.equal(again.incarnation, store.incarnation)
      await assertLog(again, 1, entries(1, 3))
    }),
  },
]
