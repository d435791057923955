import assert from 'node:assert/strict'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { LogStore } from '../../../src/interfaces/log-store.ts'
import { levelLog } from '../../../src/storage/level/index.ts'
import { MemoryDisk, MemoryLevel } from '../../../src/storage/memory/index.ts'
import { temporaryDirectory } from '../../support/temporary.ts'
import { assertEntries, entry, lastIndex, newContext, put } from '../support/log.ts'

type Database = MemoryLevel<Uint8Array, Uint8Array>

function newDatabase(disk?: MemoryDisk): Database {
  return new MemoryLevel<Uint8Array, Uint8Array>({
    keyEncoding: 'view',
    valueEncoding: 'view',
    ...(disk === undefined ? {} : { disk }),
  })
}

/** A log of single entries whose writer crashed, and the keys of its batches. */
async function written(count: number): Promise<{ database: Database; keys: Uint8Array[] }> {
  const disk = new MemoryDisk()
  const store = await levelLog(newDatabase(disk))(newContext())
  for (let i = 1; i <= count; i++) await put(store, i)
  disk.crash({ float: () => 0, integer: () => 0, uint32: () => 0, bytes: (n) => new Uint8Array(n) })
  const database = newDatabase(disk)
  const keys = await database.keys({ lt: Uint8Array.of(0x63) }).all()
  assert.equal(keys.length, count + 1, 'one batch an entry, and the first mark')
  return { database, keys }
}

async function refused(database: Database): Promise<KeelsonError> {
  const error = await levelLog(database)(newContext()).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  assert.ok(KeelsonError.hasCode(error, 'CORRUPTION'), `should be refused, but ${String(error)}`)
  return error
}

suite('a log in an ordered database', () => {
  test('is refused when a batch is missing in the middle', async () => {
    for (let missing = 0; missing < 5; missing++) {
      const { database, keys } = await written(5)
      await database.del(keys[missing] as Uint8Array)
      const error = await refused(database)
      assert.match(error.message, /damaged at batch \d+: the batches up to \d+ are missing/)
    }
  })

  test('ends earlier when its last batches are missing, which nobody can see', async () => {
    const { database, keys } = await written(5)
    await database.del(keys[5] as Uint8Array)
    const store = await levelLog(database)(newContext())
    assert.equal(lastIndex(store), 4)
    await store.close()
  })

  test('is refused when all batches are missing', async () => {
    const { database, keys } = await written(2)
    for (const key of keys) await database.del(key)
    assert.match((await refused(database)).message, /it is empty/)
  })

  test('is refused when any byte of any batch is wrong', async () => {
    const { database, keys } = await written(3)
    for (const key of keys) {
      const good = (await database.get(key)) as Uint8Array
      for (let at = 0; at < good.length; at++) {
        const bad = good.slice()
        bad[at] = (bad[at] as number) ^ 0x10
        await database.put(key, bad)
        await refused(database)
      }
      await database.put(key, good.slice(0, good.length - 8))
      await refused(database)
      await database.put(key, good)
    }
    const store = await levelLog(database)(newContext())
    await assertEntries(store, 1, 3)
    await store.close()
  })

  test('is refused when a value stands under another key', async () => {
    const { database, keys } = await written(3)
    await database.put(keys[2] as Uint8Array, (await database.get(keys[1] as Uint8Array)) as Uint8Array)
    await refused(database)
  })

  test('does not serve a batch that is damaged while it is open', async () => {
    const disk = new MemoryDisk()
    const database = newDatabase(disk)
    const store = await levelLog(database)(newContext())
    for (let i = 1; i <= 3; i++) await put(store, i)
    const keys = await database.keys({ lt: Uint8Array.of(0x63) }).all()
    const key = keys[2] as Uint8Array
    const value = (await database.get(key)) as Uint8Array
    value[value.length - 20] = (value[value.length - 20] as number) ^ 1
    await database.put(key, value)
    await assertEntries(store, 1, 1)
    await assert.rejects(store.read(1, 2, 2, 100), { code: 'CORRUPTION' })
    await database.del(key)
    await assert.rejects(store.read(1, 1, 3, 10_000), { code: 'CORRUPTION' })
    await assertEntries(store, 3, 3)
    await store.close()
  })

  test('takes no database that holds something else', async () => {
    const database = newDatabase()
    await database.put(Uint8Array.of(1), Uint8Array.of(1))
    await assert.rejects(levelLog(database)(newContext()), { code: 'FORMAT_VERSION' })
    assert.equal((await database.keys().all()).length, 1)
  })

  test('lives in a sublevel beside other data', async () => {
    const database = newDatabase()
    await database.put(Uint8Array.of(0x62, 1), Uint8Array.of(1))
    const sublevel = database.sublevel<Uint8Array, Uint8Array>('log', {
      keyEncoding: 'view',
      valueEncoding: 'view',
    })
    const store = await levelLog(sublevel)(newContext())
    await put(store, 1)
    await store.close()
    const again = await levelLog(sublevel)(newContext())
    await assertEntries(again, 1, 1)
    await again.close()
    assert.deepEqual(await database.get(Uint8Array.of(0x62, 1)), Uint8Array.of(1))
  })

  test('deletes what is not needed in the act that says so', async () => {
    const disk = new MemoryDisk()
    const database = newDatabase(disk)
    const store = await levelLog(database, { cleanFromBytes: 0 })(newContext())
    await put(store, 1, 500, 9)
    for (let i = 1; i <= 300; i++) {
      await put(store, i, 5_000)
      if (i % 10 === 0) await store.compact(1, { index: i, term: 1 })
    }
    await put(store, 301)
    for (let turn = 0; turn < 500; turn++) await Promise.resolve()
    const batches = await database.keys({ lt: Uint8Array.of(0x63) }).all()
    assert.ok(batches.length < 120, `${batches.length} batches are left of 300`)
    disk.crash({ float: () => 0, integer: () => 0, uint32: () => 0, bytes: (n) => new Uint8Array(n) })
    const again = await levelLog(newDatabase(disk))(newContext())
    await assertEntries(again, 1, 1, 500, 9)
    await assertEntries(again, 301, 301)
    await again.close()
  })
})

suite('a log in a classic-level', () => {
  test('is refused when its database was removed', async () => {
    const { path, remove } = await temporaryDirectory()
    const directory = join(path, 'log')
    const store = await levelLog(directory)(newContext())
    await put(store, 1)
    await store.close()
    await rm(join(directory, 'level'), { recursive: true })
    const lost = { code: 'CORRUPTION', message: /holds no database any more/ }
    await assert.rejects(levelLog(directory)(newContext()), lost)
    await mkdir(join(directory, 'level'), { mode: 0o700 })
    await assert.rejects(levelLog(directory)(newContext()), lost)
    assert.deepEqual(await readdir(join(directory, 'level')), [])
    await remove()
  })

  test('is refused when a table of LevelDB is damaged', async () => {
    const { path, remove } = await temporaryDirectory()
    const directory = join(path, 'log')
    const store = await levelLog(directory)(newContext())
    for (let i = 1; i <= 20; i++) await put(store, i, 100_000)
    await store.close()
    // The next opening turns LevelDB's log into tables.
    await (await levelLog(directory)(newContext())).close()
    const tables = (await readdir(join(directory, 'level'))).filter((name) => name.endsWith('.ldb'))
    assert.ok(tables.length > 0)
    const table = join(directory, 'level', tables[0] as string)
    const bytes = await readFile(table)
    bytes.fill(0x55, bytes.length >>> 1, (bytes.length >>> 1) + 20)
    await writeFile(table, bytes)
    const opening: Promise<LogStore> = levelLog(directory)(newContext())
    await assert.rejects(opening, { code: 'CORRUPTION' })
    await remove()
  })

  test('of a foreign node is left untouched', async () => {
    const { path, remove } = await temporaryDirectory()
    const directory = join(path, 'log')
    const store = await levelLog(directory)(newContext())
    await store.write([{ groupId: 1, entries: [entry(1)] }])
    await store.close()
    const before = await readdir(join(directory, 'level'))
    await assert.rejects(levelLog(directory)(newContext({ nodeId: 'm' })), { code: 'FOREIGN_NODE' })
    assert.deepEqual(await readdir(join(directory, 'level')), before)
    await remove()
  })

  for (const [what, options] of [
    ['an unknown option', { maximumBatchSize: 1 }],
    ['a queue below a batch', { maximumQueuedBytes: 4096 }],
  ] as const) {
    test(`takes no ${what}`, () => {
      assert.throws(() => levelLog('x', options as object), { code: 'INVALID_OPTION' })
    })
  }
})
