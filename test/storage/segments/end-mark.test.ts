import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { LogStore } from '../../../src/interfaces/log-store.ts'
import { MemoryFileSystem } from '../../../src/storage/memory/index.ts'
import { segments } from '../../../src/storage/segments/index.ts'
import { SegmentRecovery } from '../../../src/storage/segments/recovery.ts'
import { assertEntries, lastIndex, newContext, put } from '../support/log.ts'

const directory = 'log'
const endMark = `${directory}/END`
const entryBytes = 4_000

function open(fs: MemoryFileSystem, context = newContext()): Promise<LogStore> {
  return segments(directory, { fileSystem: fs.mount(), segmentBytes: 16 * 1024, cleanFromBytes: 2 ** 40 })(
    context,
  )
}

function files(fs: MemoryFileSystem, ending: string): string[] {
  const names = fs.names(directory).filter((name) => name.endsWith(ending))
  return names.sort().map((name) => `${directory}/${name}`)
}

/** Three segments in use, closed in order. A fourth may have been prepared. */
async function closed(): Promise<MemoryFileSystem> {
  const fs = new MemoryFileSystem()
  const store = await open(fs)
  for (let i = 1; i <= 9; i++) await put(store, i, entryBytes)
  await store.close()
  return fs
}

const inUse = (fs: MemoryFileSystem): string[] =>
  files(fs, '.segment').filter((name) => fs.contents(name).some((byte) => byte !== 0))

async function refused(fs: MemoryFileSystem): Promise<KeelsonError> {
  const before = new Map(fs.names(directory).map((name) => [name, fs.contents(`${directory}/${name}`)]))
  const error = await open(fs).then(
    () => undefined,
    (thrown: unknown) => thrown as KeelsonError,
  )
  assert.equal(error?.code, 'CORRUPTION')
  for (const [name, bytes] of before) {
    if (!name.startsWith('LOCK'))
      assert.deepEqual(fs.contents(`${directory}/${name}`), bytes, 'nothing was changed')
  }
  return error
}

suite('where a log ended when it was closed', () => {
  const losses: readonly [string, (fs: MemoryFileSystem, name: string) => void][] = [
    ['deleted', (fs, name) => fs.delete(name)],
    ['truncated to nothing', (fs, name) => fs.setContents(name, new Uint8Array(0))],
    ['overwritten with zeros', (fs, name) => fs.setContents(name, new Uint8Array(fs.contents(name).length))],
    ['cut in its first batch', (fs, name) => fs.setContents(name, fs.contents(name).fill(0, 64 + 40 + 100))],
  ]
  for (const [what, lose] of losses) {
    test(`tells that the newest file was ${what}`, async () => {
      const fs = await closed()
      lose(fs, inUse(fs).at(-1) as string)
      for (const name of files(fs, '.index')) fs.delete(name)
      const { message, details } = await refused(fs)
      assert.match(message, /ended at position \d+ when it was closed/)
      assert.equal(details['file'], 'END')
    })
  }

  test('is noted by each close, and taken away by each opening', async () => {
    const fs = await closed()
    for (let i = 10; i <= 13; i++) {
      const store = await open(fs)
      assert.ok(!fs.names(directory).includes('END'))
      await put(store, i, entryBytes)
      await assertEntries(store, 1, i, entryBytes)
      await store.close()
      assert.ok(fs.names(directory).includes('END'))
    }
  })

  test('counts no more once the log went on, also by a release that leaves it where it is', async () => {
    const fs = await closed()
    const stale = fs.contents(endMark)
    const store = await open(fs)
    for (let i = 10; i <= 13; i++) await put(store, i, entryBytes)
    const crashed = fs.copy()
    crashed.setContents(endMark, stale)
    const again = await open(crashed)
    assert.equal(lastIndex(again), 13)
    await again.close()
    await store.close()
  })

  test('is no reason to refuse a log when it cannot be read itself, or is that of another store', async () => {
    const other = (await closed()).contents(endMark)
    for (const spoil of [() => other, () => new Uint8Array(7), (bytes: Uint8Array) => bytes.fill(9, 24)]) {
      const fs = await closed()
      fs.setContents(endMark, spoil(fs.contents(endMark)))
      const context = newContext()
      const store = await open(fs, context)
      assert.equal(lastIndex(store), 9)
      assert.match(
        context.records.map(({ message }) => message).join(),
        /mark of where the log ended cannot be read/,
      )
      await store.close()
    }
  })

  test('is not noted after a write that failed', async () => {
    const fs = new MemoryFileSystem()
    const store = await open(fs)
    await put(store, 1)
    fs.fault = (operation, path) =>
      operation === 'sync' && path.endsWith('.segment') ? new KeelsonError('IO', 'it broke') : undefined
    await assert.rejects(put(store, 2))
    fs.fault = undefined
    await store.close()
    assert.ok(!fs.names(directory).includes('END'))
  })
})

suite('the digest of a segment', () => {
  /** The writer of this one crashed. */
  async function crashed(): Promise<MemoryFileSystem> {
    const fs = await closed()
    fs.delete(endMark)
    return fs
  }

  test('tells of the segment behind it', async () => {
    const fs = await crashed()
    const [, second, third] = files(fs, '.segment') as [string, string, string]
    for (const name of files(fs, '.segment').slice(2)) fs.delete(name)
    assert.ok(files(fs, '.index').includes(second.replace('.segment', '.index')))
    const { message, details } = await refused(fs)
    assert.equal(details['file'], third.slice(directory.length + 1))
    assert.match(message, /is missing, and 0000000000000002\.index tells of it/)
  })

  test('tells of its own segment', async () => {
    const fs = await crashed()
    for (const name of files(fs, '.segment').slice(1)) fs.delete(name)
    const { details } = await refused(fs)
    assert.match(String(details['file']), /000000000000000[23]\.segment/)
  })

  test('would leave a part of the log in its place if it told of nothing', async (t) => {
    t.mock.method(SegmentRecovery.prototype, 'checkDigests', async () => {})
    const fs = await crashed()
    for (const name of files(fs, '.segment').slice(1)) fs.delete(name)
    const store = await open(fs)
    assert.ok(lastIndex(store) < 9)
    await store.close()
  })
})
