import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { nodeEnvironment } from '../../../src/core/node-environment.ts'
import { SeededRandom } from '../../../src/core/random.ts'
import type { LogStore } from '../../../src/interfaces/log-store.ts'
import { MemoryDisk, memoryLog } from '../../../src/storage/memory/index.ts'
import { logStoreCompliance } from '../../../src/testing/index.ts'

const env = nodeEnvironment()
const context = { env, clusterId: 'c', nodeId: 'n' }

for (const [what, options] of [
  ['on a disk that is done at once', {}],
  ['on a disk that takes its time', { timers: env.timers, syncLatencyMs: () => 0.1 }],
] as const) {
  suite(`memoryLog ${what}`, () => {
    let seed = 0
    const create = async () => {
      const disk = new MemoryDisk(options)
      return { open: memoryLog({ disk }), crash: async () => disk.crash(new SeededRandom(seed++)) }
    }
    for (const { name, run } of logStoreCompliance({ create })) test(name, run)
  })
}

function put(store: LogStore, index: number): Promise<void> {
  return store.write([{ groupId: 1, entries: [{ index, term: 1, kind: 1, data: new Uint8Array(10) }] }])
}

suite('a memory disk', () => {
  test('loses a random rest of what was not synced, and only that', async () => {
    const left = new Set<number>()
    for (let seed = 0; seed < 40; seed++) {
      const timers = { schedule: () => ({ cancel() {} }), defer() {} }
      const disk = new MemoryDisk({ timers, syncLatencyMs: () => 1 })
      const store = await memoryLog({ disk })(context)
      for (let i = 1; i <= 4; i++) void put(store, i)
      disk.crash(new SeededRandom(seed))
      const again = await memoryLog({ disk })(context)
      left.add(again.recovered().get(1)?.last.index ?? 0)
    }
    assert.deepEqual(
      [...left].sort((a, b) => a - b),
      [0, 1, 2, 3, 4],
    )
  })

  test('counts as durable what was synced, not what an earlier user has left there', async () => {
    for (let seed = 0; seed < 10; seed++) {
      const disk = new MemoryDisk()
      const store = await memoryLog({ disk })(context)
      await put(store, 1)
      disk.fault = 'IO'
      await assert.rejects(put(store, 2))
      await store.close()
      disk.fault = undefined
      const again = await memoryLog({ disk })(context)
      assert.equal(again.recovered().get(1)?.last.index, 2)
      const said = again.durablePosition?.() ?? 0
      disk.crash(new SeededRandom(seed))
      const last = await memoryLog({ disk })(context)
      assert.ok((last.durablePosition?.() ?? 0) >= said, `${said} was durable`)
      await put(last, 2)
      assert.ok((last.durablePosition?.() ?? 0) > said)
    }
  })

  test('is no further for a store that is dead than it was, whatever others write there', async () => {
    const disk = new MemoryDisk()
    const stores: LogStore[] = []
    const positions = () => stores.map((store) => store.durablePosition?.())
    const open = async () => {
      const store = await memoryLog({ disk })(context)
      stores.push(store)
      return store
    }
    const first = await open()
    await put(first, 1)
    disk.crash(new SeededRandom(1))
    const second = await open()
    await put(second, 2)
    await put(second, 3)
    assert.deepEqual(positions(), [1, 3])
    await second.close()
    await put(await open(), 4)
    assert.deepEqual(positions(), [1, 3, 4])
  })

  test('lets nobody write after its crash', async () => {
    const disk = new MemoryDisk()
    const store = await memoryLog({ disk })(context)
    await put(store, 1)
    disk.crash(new SeededRandom(1))
    let settled = false
    void put(store, 2).finally(() => {
      settled = true
    })
    const again = await memoryLog({ disk })(context)
    assert.equal(again.recovered().get(1)?.last.index, 1)
    await put(again, 2)
    await store.close()
    await put(again, 3)
    assert.equal(settled, false)
  })

  for (const fault of ['IO', 'DISK_FULL'] as const) {
    test(`poisons the log with ${fault}`, async () => {
      const disk = new MemoryDisk()
      const store = await memoryLog({ disk })(context)
      await put(store, 1)
      disk.fault = fault
      await assert.rejects(put(store, 2), { code: fault })
      disk.fault = undefined
      await assert.rejects(put(store, 3), { code: 'STORE_POISONED' })
      await assert.rejects(store.read(1, 1, 1, 1), { code: 'STORE_POISONED' })
      await store.close()
      await (await memoryLog({ disk })(context)).close()
    })
  }

  test('forgets everything when it is replaced', async () => {
    const disk = new MemoryDisk()
    const store = await memoryLog({ disk })(context)
    await put(store, 1)
    disk.wipe()
    const again = await memoryLog({ disk })(context)
    assert.equal(again.recovered().size, 0)
    assert.notEqual(again.incarnation, store.incarnation)
  })
})
