import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { MetricsRegistry } from '../../src/core/metrics.ts'
import type { LogStore } from '../../src/interfaces/log-store.ts'
import { MemoryFileSystem } from '../../src/storage/memory/index.ts'
import { type FileSystem, segments } from '../../src/storage/segments/index.ts'
import { assertEntries, entry, newContext, put } from './support/log.ts'

const segmentBytes = 16 * 1024

function open(fs: MemoryFileSystem, options = {}): Promise<LogStore> {
  return segments('log', { fileSystem: fs.mount(), segmentBytes, cleanFromBytes: 2 ** 40, ...options })(
    newContext(),
  )
}

/** A log whose entries take far more room than their data, so that a read comes in several parts. */
async function manySmall(fs: MemoryFileSystem, count: number): Promise<LogStore> {
  const store = await open(fs)
  await Promise.all(Array.from({ length: count }, (_, i) => put(store, i + 1, 1)))
  return store
}

suite('a read in several parts', () => {
  test('gives all that fits', async () => {
    const store = await manySmall(new MemoryFileSystem(), 4_000)
    const found = await store.read(1, 1, 4_000, 3_900)
    assert.equal(found.length, 3_900)
    assert.deepEqual(
      found.map(({ index }) => index),
      Array.from({ length: 3_900 }, (_, i) => i + 1),
    )
    await store.close()
  })

  test('never joins entries from before and after a truncation', async () => {
    const store = await manySmall(new MemoryFileSystem(), 4_000)
    const reading = store.read(1, 1, 4_000, 10_000)
    const entries = Array.from({ length: 400 }, (_, i) => entry(i + 1, 2, 1))
    const writing = store.write([{ groupId: 1, entries }])
    for (let i = 401; i <= 4_000; i++) void store.write([{ groupId: 1, entries: [entry(i, 2, 1)] }])
    const found = await reading
    assert.ok(found.length > 0)
    assert.equal(new Set(found.map(({ term }) => term)).size, 1)
    await writing
    await store.close()
  })

  test('leaves no gap where a compaction came in between', async () => {
    const store = await manySmall(new MemoryFileSystem(), 4_000)
    const reading = store.read(1, 1, 4_000, 10_000)
    await store.compact(1, { index: 3_900, term: 1 })
    const found = await reading
    assert.ok(found.length > 0)
    assert.deepEqual(
      found.map(({ index }) => index),
      Array.from({ length: found.length }, (_, i) => i + 1),
    )
    await store.close()
  })

  test('ends where the group was destroyed', async () => {
    const store = await manySmall(new MemoryFileSystem(), 4_000)
    const reading = store.read(1, 1, 4_000, 10_000)
    const destroying = store.destroy(1, new Uint8Array(0))
    const again = store.write([{ groupId: 1, entries: [entry(1, 9)] }])
    const found = await reading
    assert.ok(found.every(({ term }) => term === 1))
    await Promise.all([destroying, again])
    await store.close()
  })
})

suite('cleaning beside writes', () => {
  /** Changes the log at the moment at which the cleaner reads a block of group 5 that it is about to move. */
  async function interfere(change: (store: LogStore) => Promise<void>): Promise<MemoryFileSystem> {
    const fs = new MemoryFileSystem()
    const store = await open(fs, { cleanFromBytes: 0 })
    const entries = Array.from({ length: 10 }, (_, i) => entry(i + 1, 1, 100))
    await store.write([{ groupId: 5, entries }])
    for (let i = 1; i <= 8; i++) await put(store, i, 3_000)
    let changed: Promise<void> | undefined
    fs.fault = (operation) => {
      if (operation === 'read') changed ??= change(store)
      return undefined
    }
    await store.compact(1, { index: 8, term: 1 })
    for (let turn = 0; turn < 200; turn++) await Promise.resolve()
    assert.ok(changed !== undefined, 'the cleaner has read')
    await changed
    fs.fault = undefined
    const names = fs.names('log')
    assert.ok(!names.includes('0000000000000001.segment'), 'the first segment was given up')
    await store.close()
    return fs
  }

  test('moves no entry that was truncated meanwhile', async () => {
    const fs = await interfere((store) => store.write([{ groupId: 5, entries: [entry(6, 2, 100)] }]))
    const store = await open(fs)
    assert.deepEqual(store.recovered().get(5)?.last, { index: 6, term: 2 })
    const found = await store.read(5, 1, 6, 10_000)
    assert.deepEqual(
      found.map(({ index, term }) => [index, term]),
      [
        [1, 1],
        [2, 1],
        [3, 1],
        [4, 1],
        [5, 1],
        [6, 2],
      ],
    )
    await store.close()
  })

  test('moves no entry that was replaced as a whole', async () => {
    const fs = await interfere((store) => store.write([{ groupId: 5, entries: [entry(1, 2, 100)] }]))
    const store = await open(fs)
    assert.deepEqual(store.recovered().get(5)?.last, { index: 1, term: 2 })
    await store.close()
  })

  test('moves no entry that was compacted meanwhile', async () => {
    const fs = await interfere((store) => store.compact(5, { index: 4, term: 1 }))
    const store = await open(fs)
    assert.deepEqual(store.recovered().get(5)?.compacted, { index: 4, term: 1 })
    await assertEntries(store, 5, 10, 100, 5)
    await store.close()
  })

  test('moves nothing of a group that was destroyed meanwhile', async () => {
    const fs = await interfere((store) => store.destroy(5, new Uint8Array(0)))
    const store = await open(fs)
    assert.equal(store.recovered().get(5), undefined)
    await store.close()
  })
})

suite('a read that is slow', () => {
  test('gets what was there, although its file was given up and used again', async () => {
    const fs = new MemoryFileSystem()
    const mounted = fs.mount()
    let gate: Promise<void> | undefined
    const slow: FileSystem = {
      status: (path) => mounted.status(path),
      makeDirectory: (path, mode) => mounted.makeDirectory(path, mode),
      list: (path) => mounted.list(path),
      rename: (from, to) => mounted.rename(from, to),
      remove: (path) => mounted.remove(path),
      syncDirectory: (path) => mounted.syncDirectory(path),
      lock: (directory, env) => mounted.lock(directory, env),
      open: async (path, how) => {
        const file = await mounted.open(path, how)
        return {
          read: async (into, position) => {
            await gate
            return file.read(into, position)
          },
          write: (bytes, position) => file.write(bytes, position),
          sync: () => file.sync(),
          close: () => file.close(),
        }
      },
    }
    const options = { fileSystem: slow, segmentBytes, cleanFromBytes: 0 }
    const store = await segments('log', options)(newContext())
    for (let i = 1; i <= 4; i++) await put(store, i, 3_000)
    let release!: () => void
    gate = new Promise((resolve) => {
      release = resolve
    })
    const reading = assertEntries(store, 1, 4, 3_000)
    gate = undefined
    await store.compact(1, { index: 4, term: 1 })
    for (let i = 5; i <= 100; i++) {
      await put(store, i, 3_000)
      await store.compact(1, { index: i, term: 1 })
    }
    assert.ok(!fs.names('log').includes('0000000000000001.segment'))
    release()
    await reading
    await store.close()
  })
})

suite('a store of files', () => {
  test('counts what it commits', async () => {
    const context = newContext()
    const metrics = new MetricsRegistry()
    const store = await segments('log', { fileSystem: new MemoryFileSystem().mount(), segmentBytes })({
      ...context,
      env: { ...context.env, metrics },
    })
    await Promise.all([put(store, 1), put(store, 2)])
    const text = metrics.text()
    assert.match(
      text,
      /keelson_storage_batches_total\{adapter="segments"\} 2\n/,
      'the first mark and one commit',
    )
    assert.match(text, /keelson_storage_commit_seconds_count\{adapter="segments"\} 2\n/)
    await store.close()
  })
})
