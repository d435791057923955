import assert from 'node:assert/strict'
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { ClassicLevel } from 'classic-level'
import { type LogRecord, recordLogger } from '../../../src/core/logger.ts'
import { SeededRandom } from '../../../src/core/random.ts'
import { levelLog, openLevel } from '../../../src/storage/level/index.ts'
import { cutAtGap } from '../../../src/storage/level/log-gap.ts'
import { nodeFileSystem } from '../../../src/storage/node-file-system.ts'
import { temporaryDirectory } from '../../support/temporary.ts'
import { fileNumbers, LevelLogFile, logPath, type Put, writeLogs } from '../support/leveldb-files.ts'
import { newContext } from '../support/log.ts'

let root: string
let remove: () => Promise<void>
let places = 0

/** A new database that is closed, with these log files. */
async function databaseWith(...logs: readonly (LevelLogFile | Uint8Array)[]): Promise<string> {
  const directory = join(root, `db${places++}`)
  await cp(join(root, 'empty'), directory, { recursive: true })
  await writeLogs(
    directory,
    logs.map((log) => (log instanceof LevelLogFile ? log.bytes : log)),
  )
  return directory
}

/** What a database holds, as `key=value`s. */
async function content(directory: string, how: 'openLevel' | 'LevelDB' = 'openLevel'): Promise<string> {
  const database =
    how === 'openLevel'
      ? await openLevel(directory)
      : new ClassicLevel<Uint8Array, Uint8Array>(directory, { keyEncoding: 'view', valueEncoding: 'view' })
  const pairs = await database.iterator<string, string>({ keyEncoding: 'utf8', valueEncoding: 'utf8' }).all()
  await database.close()
  return pairs.map(([key, value]) => `${key}=${value}`).join(' ')
}

function numbered(from: number, to: number): Put[] {
  return Array.from({ length: to - from + 1 }, (_, i) => ({ key: `k${from + i}`, value: `${from + i}` }))
}

/** A log file with a batch of one for each number. */
function file(from: number, to: number): LevelLogFile {
  const log = new LevelLogFile()
  for (const put of numbered(from, to)) log.append(Number(put.value), [put])
  return log
}

suite('logs of LevelDB', () => {
  before(async () => {
    const directory = await temporaryDirectory()
    root = directory.path
    remove = directory.remove
    const database = await openLevel(join(root, 'empty'))
    await database.close()
  })
  after(() => remove())

  suite('a gap in the log of LevelDB', () => {
    test('between two files makes LevelDB show later writes without earlier ones, and openLevel does not', async () => {
      const first = file(1, 4)
      const logs = [first.bytes.subarray(0, first.ends[1]), file(5, 7).bytes]
      assert.equal(await content(await databaseWith(...logs), 'LevelDB'), 'k1=1 k2=2 k5=5 k6=6 k7=7')
      assert.equal(await content(await databaseWith(...logs)), 'k1=1 k2=2')
    })

    test('is none when both files are whole', async () => {
      assert.equal(await content(await databaseWith(file(1, 3), file(4, 5))), 'k1=1 k2=2 k3=3 k4=4 k5=5')
    })

    test('is behind an unfinished record that later files follow', async () => {
      const first = file(1, 4)
      const logs = [first.bytes.subarray(0, (first.ends[2] as number) + 9), file(5, 5).bytes]
      assert.equal(await content(await databaseWith(...logs)), 'k1=1 k2=2 k3=3')
    })

    test('is where a file is empty and a later one is not', async () => {
      assert.equal(await content(await databaseWith(new Uint8Array(0), file(1, 2))), '')
      assert.equal(await content(await databaseWith(file(1, 1), new Uint8Array(0), file(2, 2))), 'k1=1')
      assert.equal(await content(await databaseWith(file(1, 1), new Uint8Array(0))), 'k1=1')
    })

    test('is where the first file that is needed is missing', async () => {
      const directory = await databaseWith(file(1, 2), file(3, 3))
      await rm(logPath(directory, (await fileNumbers(directory, '.log'))[0] as number))
      assert.equal(await content(directory), '')
    })

    test('is a hole within a file with a record behind it', async () => {
      const log = new LevelLogFile()
      for (let i = 1; i <= 6; i++) log.append(i, [{ key: `k${i}`, value: 'x'.repeat(20_000) }])
      const keys = async (bytes: Uint8Array, how: 'openLevel' | 'LevelDB'): Promise<string> =>
        (await content(await databaseWith(bytes), how)).replace(/=x+/g, '')
      for (const hole of [0, 0x55]) {
        const bytes = log.bytes
        bytes.fill(hole, 32_768, 65_536)
        // The third and the fourth stand in the second block in part.
        assert.equal(await keys(bytes, 'LevelDB'), 'k1 k5 k6', String(hole))
        assert.equal(await keys(bytes, 'openLevel'), 'k1', String(hole))
      }
    })

    test('is no torn end, which LevelDB deals with itself', async () => {
      const log = file(1, 3)
      const torn = log.bytes
      torn.fill(0x55, log.ends[1])
      const directory = await databaseWith(torn)
      assert.equal(
        await cutAtGap(nodeFileSystem, directory, () => Promise.reject(new Error('asked'))),
        undefined,
      )
      assert.equal(await content(directory), 'k1=1 k2=2')
    })

    test('is told of', async () => {
      const records: LogRecord[] = []
      const logger = recordLogger((record) => records.push(record))
      const first = file(1, 2)
      const second = file(3, 4)
      const directory = await databaseWith(first.bytes.subarray(0, first.ends[0]), second)
      await (await openLevel(directory, { logger })).close()
      assert.deepEqual(
        records.map(({ level, fields }) => [level, fields['path'], fields['lostBytes']]),
        [['warn', directory, second.bytes.length]],
      )
      await (await openLevel(directory, { logger })).close()
      assert.equal(records.length, 1)
    })

    test('is cut before LevelDB writes on, so it never comes back', async () => {
      const first = file(1, 4)
      const directory = await databaseWith(first.bytes.subarray(0, first.ends[1]), file(5, 7))
      const database = await openLevel(directory)
      await database.put(Buffer.from('new'), Buffer.from('1'))
      await database.close()
      assert.equal(await content(directory), 'k1=1 k2=2 new=1')
    })

    test('is left alone while somebody has the database open', async () => {
      const directory = await databaseWith(file(1, 2))
      const owner = await openLevel(directory)
      await owner.put(Buffer.from('a'), Buffer.from('1'))
      const number = (await fileNumbers(directory, '.log')).at(-1) as number
      // To the other opener it looks like a gap: a living owner is at work between its looks.
      await writeFile(logPath(directory, number + 5), file(1000, 1001).bytes)
      const names = await readdir(directory)
      await assert.rejects(openLevel(directory), { code: 'DIRECTORY_LOCKED' })
      assert.deepEqual(await readdir(directory), names)
      await owner.close()
      assert.equal(await content(directory), 'a=1 k1=1 k2=2')
    })

    test('is not in a database whose process was killed', async () => {
      const directory = join(root, `db${places++}`)
      const database = await openLevel(directory, { writeBufferBytes: 64 * 1024 })
      const written = new Map<string, string>()
      const put = async (count: number): Promise<void> => {
        for (let i = 0; i < count; i++) {
          const key = `k${written.size}`
          written.set(key, key.repeat(500))
          await database.put(Buffer.from(key), Buffer.from(key.repeat(500)))
        }
      }
      await put(300)
      // All tables are made and merged: the directory stands still.
      await database.compactRange(Buffer.from(''), Buffer.from('z'))
      await put(10)
      const copy = join(root, `db${places++}`)
      await cp(directory, copy, { recursive: true })
      await database.close()
      let asked = false
      const claim = async (): Promise<void> => {
        asked = true
      }
      assert.equal(await cutAtGap(nodeFileSystem, copy, claim), undefined)
      assert.equal(asked, false)
      const pairs = [...written].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => `${key}=${value}`)
      assert.equal(await content(copy), pairs.join(' '))
    })

    test('in the MANIFEST is left to LevelDB, which refuses it', async () => {
      for (const damage of ['a byte', 'its end']) {
        const directory = await databaseWith(new Uint8Array(0), file(5, 6))
        const name = (await readdir(directory)).find((each) => each.startsWith('MANIFEST')) as string
        const manifest = await readFile(join(directory, name))
        manifest[10] = (manifest[10] as number) ^ 1
        await writeFile(join(directory, name), damage === 'a byte' ? manifest : manifest.subarray(0, 20))
        await assert.rejects(openLevel(directory), { code: 'CORRUPTION' })
        assert.equal((await fileNumbers(directory, '.log')).length, 2, damage)
      }
    })

    test('anywhere leaves a beginning, and LevelDB reads exactly that', async () => {
      let gaps = 0
      for (let seed = 0; seed < 60; seed++) {
        const random = new SeededRandom(seed)
        const batches: { puts: Put[]; sequence: number; file: number; end: number }[] = []
        const files: LevelLogFile[] = []
        let sequence = 1 + random.integer(3)
        for (let f = 0; f < 1 + random.integer(3); f++) {
          const log = new LevelLogFile()
          for (let b = 0; b < 1 + random.integer(8); b++) {
            const puts = Array.from({ length: 1 + random.integer(3) }, (_, i) => ({
              key: `k${random.integer(6)}`,
              value: `${sequence + i}${'.'.repeat(random.integer(2) * random.integer(30_000))}`,
            }))
            log.append(sequence, puts)
            batches.push({ puts, sequence, file: f, end: log.ends.at(-1) as number })
            sequence += puts.length
          }
          files.push(log)
        }
        // What the power cut does: files lose their ends, or a sector in the middle.
        const logs = files.map((log) => log.bytes)
        const intact = files.map((log) => log.bytes.length)
        for (const [f, bytes] of logs.entries()) {
          if (random.integer(2) === 0) continue
          const at = random.integer(bytes.length)
          intact[f] = at
          if (random.integer(2) === 0) logs[f] = bytes.subarray(0, at)
          else {
            bytes.fill(0, at, at + 512)
            if (at + 512 < bytes.length) gaps++
          }
        }
        const lost = batches.findIndex((batch) => batch.end > (intact[batch.file] as number))
        const state = (count: number): string => {
          const map = new Map(
            batches.slice(0, count).flatMap(({ puts }) => puts.map((put) => [put.key, put.value])),
          )
          return [...map.keys()]
            .sort()
            .map((key) => `${key}=${map.get(key)}`)
            .join(' ')
        }
        const directory = await databaseWith(...logs)
        assert.equal(await content(directory), state(lost < 0 ? batches.length : lost), `seed ${seed}`)
      }
      assert.ok(gaps > 5)
    })
  })

  suite('a database of openLevel', () => {
    test('is refused by a log store, which must not lose synced writes', async () => {
      const database = await openLevel(join(root, `db${places++}`))
      const sublevel = database.sublevel<Uint8Array, Uint8Array>('log', {
        keyEncoding: 'view',
        valueEncoding: 'view',
      })
      for (const each of [database, sublevel]) {
        await assert.rejects(levelLog(each)(newContext()), { code: 'UNSUPPORTED' })
      }
      await database.close()
    })
  })
})
