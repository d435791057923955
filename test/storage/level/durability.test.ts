import assert from 'node:assert/strict'
import { cp, mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import type { ClassicLevel } from 'classic-level'
import { utf8 } from '../../../src/core/bytes.ts'
import { SeededRandom } from '../../../src/core/random.ts'
import { flushLevel, LevelState, openLevel } from '../../../src/storage/level/index.ts'
import { MemoryDisk, MemoryLevel } from '../../../src/storage/memory/index.ts'
import { sharedLevel } from '../../support/shared-level.ts'
import { temporaryDirectory } from '../../support/temporary.ts'
import { fileNumbers } from '../support/leveldb-files.ts'

type Database = ClassicLevel<Uint8Array, Uint8Array>

const marker = utf8('marker')
const byte = Uint8Array.of(1)

/** What tables alone hold: the keys after everything in log files was lost. */
async function keysInTables(database: Database, directory: string): Promise<string[]> {
  const copy = `${directory}-copy`
  await cp(directory, copy, { recursive: true, filter: (source) => !source.endsWith('LOCK') })
  for (const name of await readdir(copy)) if (name.endsWith('.log')) await rm(join(copy, name))
  const tables = await openLevel(copy)
  const keys = await tables.keys<string>({ keyEncoding: 'utf8' }).all()
  await tables.close()
  await rm(copy, { recursive: true })
  assert.equal(database.status, 'open')
  return keys
}

async function* once(chunk: Uint8Array): AsyncIterable<Uint8Array> {
  yield chunk
}

/** Runs with a new classic-level. */
async function withClassic(use: (database: Database, directory: string) => Promise<void>): Promise<void> {
  const { path, remove } = await temporaryDirectory()
  const directory = join(path, 'db')
  const database = await openLevel(directory)
  try {
    await use(database, directory)
  } finally {
    await database.close()
    await remove()
  }
}

/** A database in memory that counts and may be told to hold its compactions. */
class Counting extends MemoryLevel<Uint8Array, Uint8Array> {
  compactions = 0
  held: Promise<void> | undefined

  constructor(disk?: MemoryDisk) {
    super({ keyEncoding: 'view', valueEncoding: 'view', ...(disk === undefined ? {} : { disk }) })
  }

  override async compactRange(start: unknown, end: unknown): Promise<void> {
    this.compactions++
    await this.held
    return super.compactRange(start, end)
  }
}

suite('flushLevel on a classic-level', () => {
  test('brings everything into tables, which a synced write does not', async () => {
    await withClassic(async (database, directory) => {
      await database.put(utf8('a'), byte)
      await database.put(utf8('b'), byte, { sync: true })
      assert.deepEqual(await keysInTables(database, directory), [])
      await flushLevel(database, marker)
      assert.deepEqual(await keysInTables(database, directory), ['a', 'b'])
      await flushLevel(database, marker)
      assert.deepEqual(await keysInTables(database, directory), ['a', 'b'])
    })
  })

  test('flushes the database of a sublevel', async () => {
    await withClassic(async (database, directory) => {
      await database.put(utf8('a'), byte)
      const sublevel = database.sublevel<Uint8Array, Uint8Array>('s', {
        keyEncoding: 'view',
        valueEncoding: 'view',
      })
      await sublevel.put(utf8('b'), byte)
      const inner = sublevel.sublevel<Uint8Array, Uint8Array>('t', {})
      await inner.open()
      await flushLevel(inner, marker)
      assert.deepEqual(await keysInTables(database, directory), ['!s!b', 'a'])
    })
  })

  test('fails when the table cannot be written, though compactRange says nothing', async () => {
    await withClassic(async (database, directory) => {
      await database.put(utf8('a'), byte)
      const numbers = [...(await fileNumbers(directory, '.log')), ...(await fileNumbers(directory, '.ldb'))]
      // Folders in the place of the tables that come next.
      const next = Math.max(...numbers) + 1
      for (let i = 0; i < 20; i++) await mkdir(join(directory, `${String(next + i).padStart(6, '0')}.ldb`))
      await assert.rejects(flushLevel(database, marker))
      await assert.rejects(flushLevel(database, marker), 'the error stays')
      await assert.rejects(database.put(utf8('b'), byte), 'and stands in the way of every write')
    })
  })
})

suite('flushLevel', () => {
  test('shares the work of all who come before it begins, and of nobody who comes later', async () => {
    const database = new Counting()
    await database.open()
    let release = (): void => {}
    database.held = new Promise((resolve) => {
      release = resolve
    })
    const ended: number[] = []
    const flush = (number: number): Promise<unknown> =>
      flushLevel(database, Uint8Array.of(number)).then(() => ended.push(number))
    const first = flush(0)
    while (database.compactions === 0) await Promise.resolve()
    const others = Array.from({ length: 50 }, (_, i) => flush(1 + i))
    for (let turn = 0; turn < 100; turn++) await Promise.resolve()
    assert.equal(database.compactions, 1, 'one at a time')
    assert.deepEqual(ended, [])
    release()
    await Promise.all([first, ...others])
    assert.equal(database.compactions, 2)
    assert.deepEqual(ended, [0, ...others.map((_, i) => 1 + i)])
    await flush(99)
    assert.equal(database.compactions, 3)
  })

  test('tells all who share it of a failure, and only them', async () => {
    const disk = new MemoryDisk()
    const database = new Counting(disk)
    await database.open()
    disk.fault = 'IO'
    const results = await Promise.allSettled([flushLevel(database, marker), flushLevel(database, marker)])
    assert.deepEqual(
      results.map(({ status }) => status),
      ['rejected', 'rejected'],
    )
    disk.fault = undefined
    await flushLevel(database, marker)
  })

  test('fails when a table cannot be made', async () => {
    const disk = new MemoryDisk()
    const database = new Counting(disk)
    await database.open()
    database.held = Promise.resolve().then(() => {})
    const flushing = flushLevel(database, marker)
    while (database.compactions === 0) await Promise.resolve()
    disk.fault = 'DISK_FULL'
    await assert.rejects(flushing, { code: 'DISK_FULL' })
    disk.fault = undefined
    await assert.rejects(database.put(byte, byte), { code: 'DISK_FULL' })
  })

  test('keeps what was written before it, wherever the log file was changed', async () => {
    let lost = 0
    for (let seed = 0; seed < 200; seed++) {
      const random = new SeededRandom(seed)
      const disk = new MemoryDisk()
      const open = async (): Promise<MemoryLevel> => {
        const level = new MemoryLevel({ disk, logIsFull: () => random.float() < 0.3 })
        await level.open()
        return level
      }
      const database = await open()
      for (let i = 0; i < 5; i++) await database.put(`${i}`, '')
      const flushed = seed % 2 === 0
      if (flushed) await flushLevel(database, marker)
      else await database.put('synced', '', { sync: true } as object)
      for (let i = 5; i < 9; i++) await database.put(`${i}`, '')
      disk.crash(random)
      const again = await open()
      const keys = (await again.keys().all()).filter((key) => key !== 'synced')
      assert.deepEqual(keys, ['0', '1', '2', '3', '4', '5', '6', '7', '8'].slice(0, keys.length))
      if (flushed) assert.ok(keys.length >= 5, `seed ${seed}: ${keys}`)
      else if (keys.length < 5) lost++
    }
    assert.ok(lost > 10, 'a synced write alone is not enough')
  })

  test('makes the end of a state as durable as its restore', async () => {
    for (let seed = 0; seed < 60; seed++) {
      const random = new SeededRandom(seed)
      const disk = new MemoryDisk()
      const open = async (): Promise<LevelState> => {
        const level = sharedLevel(disk, random)
        await level.open()
        return new LevelState(level, utf8('s/'))
      }
      const state = await open()
      await state.open()
      await state.restore(new Map([['applied', byte]]), once(Uint8Array.of(1, 97, 1, 98)))
      disk.crash(random)
      const again = await open()
      assert.deepEqual([...(await again.open()).keys()], ['applied'], `seed ${seed}`)
      assert.ok(await again.get(utf8('a')))
      await again.commit(again.batch(), [{ key: 'applied', value: Uint8Array.of(2) }])
      await again.destroy()
      disk.crash(random)
      const gone = await open()
      assert.equal((await gone.open()).size, 0, `seed ${seed}`)
      assert.equal(await gone.get(utf8('a')), undefined)
    }
  })

  test('makes a synced write where nothing is permanent, and refuses what it cannot flush', async () => {
    const writes: unknown[] = []
    const database = {
      supports: { permanence: false, explicitSnapshots: true },
      batch: () => ({
        del: () => {},
        write: async (options?: object) => {
          writes.push(options)
        },
      }),
    }
    await flushLevel(database, marker)
    assert.deepEqual(writes, [{ sync: true }])
    const permanent = { ...database, supports: { permanence: true, explicitSnapshots: true } }
    await assert.rejects(flushLevel(permanent, marker), { code: 'UNSUPPORTED' })
    assert.throws(() => new LevelState(permanent as never, byte), { code: 'UNSUPPORTED' })
    assert.equal(writes.length, 1)
    await assert.rejects(flushLevel(database, 'marker' as never), { code: 'INVALID_ARGUMENT' })
    await assert.rejects(flushLevel({} as never, marker), { code: 'INVALID_ARGUMENT' })
  })
})
