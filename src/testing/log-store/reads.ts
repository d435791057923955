import assert from 'node:assert/strict'
import type { LogEntry } from '../../interfaces/log-store.ts'
import { entries, type LogStoreCase, onPlace, plain, recoveredOf, refuses } from './harness.ts'

/** Reads. */
export const readCases: readonly LogStoreCase[] = [
  {
    name: 'read stops at the byte limit, but gives at least one entry',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 10, 1, 100) }])
      const count = async (from: number, to: number, limit: number): Promise<number> =>
        (await store.read(1, from, to, limit)).length
      assert.equal(await count(1, 10, 1_000), 10)
      assert.equal(await count(1, 10, 999), 9)
      assert.equal(await count(1, 10, 350), 3)
      assert.equal(await count(1, 10, 0), 1)
      assert.equal(await count(4, 5, 10_000), 2)
      assert.equal(await count(10, 10, 10_000), 1)
    }),
  },
  {
    name: 'read refuses what is not there',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 3) }])
      await refuses('NOT_FOUND', () => store.read(1, 4, 4, 100))
      await refuses('NOT_FOUND', () => store.read(1, 2, 4, 100_000))
      await refuses('NOT_FOUND', () => store.read(2, 1, 1, 100))
      await refuses('INVALID_ARGUMENT', () => store.read(1, 3, 2, 100))
      await refuses('INVALID_ARGUMENT', () => store.read(1, 0, 2, 100))
      await refuses('INVALID_ARGUMENT', () => store.read(1, 1.5, 2, 100))
    }),
  },
  {
    name: 'read sees writes that were started, not only finished, before',
    run: onPlace(async (open) => {
      const store = await open()
      const first = store.write([{ groupId: 1, entries: entries(1, 3) }])
      const second = store.write([{ groupId: 1, entries: entries(3, 5, 2) }])
      assert.deepEqual(
        plain(await store.read(1, 1, 5, 10_000)),
        plain([...entries(1, 2), ...entries(3, 5, 2)]),
      )
      await Promise.all([first, second])
    }),
  },
  {
    name: 'the store keeps its own copy of what it was given',
    run: onPlace(async (open) => {
      const store = await open()
      const data = Buffer.from('unchanged')
      const metadata = Buffer.from('also')
      const written = store.write([{ groupId: 1, entries: [{ index: 1, term: 1, kind: 1, data }], metadata }])
      data.fill(0)
      metadata.fill(0)
      await written
      const [found] = await store.read(1, 1, 1, 100)
      assert.equal(Buffer.from((found as LogEntry).data).toString(), 'unchanged')
      ;(found as LogEntry).data.fill(0)
      const [again] = await store.read(1, 1, 1, 100)
      assert.equal(Buffer.from((again as LogEntry).data).toString(), 'unchanged')
      await store.close()
      assert.equal(Buffer.from(recoveredOf(await open(), 1).metadata as Uint8Array).toString(), 'also')
    }),
  },
]
