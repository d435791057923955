import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { KeelsonError } from '../../../src/core/errors.ts'
import { SeededRandom } from '../../../src/core/random.ts'
import type { LogStore, LogStoreContext } from '../../../src/interfaces/log-store.ts'
import { type FileOperation, MemoryFileSystem } from '../../../src/storage/memory/index.ts'
import { segments } from '../../../src/storage/segments/index.ts'
import { logStoreCompliance } from '../../../src/testing/index.ts'
import { assertEntries, entry, lastIndex, newContext, put } from '../support/log.ts'

const segmentBytes = 16 * 1024

function open(fs: MemoryFileSystem, options = {}): Promise<LogStore> {
  return segments('log', { fileSystem: fs.mount(), segmentBytes, ...options })(newContext())
}

const broken = (): KeelsonError => new KeelsonError('IO', 'the disk broke')
const full = (): KeelsonError => new KeelsonError('DISK_FULL', 'no room')

function failing(operation: FileOperation, error: () => KeelsonError, pattern = /segment/) {
  return (asked: FileOperation, path: string): KeelsonError | undefined =>
    asked === operation && pattern.test(path) ? error() : undefined
}

suite('segments on a file system that forgets', () => {
  let seed = 0
  const create = async () => {
    const fs = new MemoryFileSystem()
    return {
      open: (context: LogStoreContext) =>
        segments('log', {
          fileSystem: fs.mount(),
          segmentBytes: 2 * 1024 * 1024,
          cleanFromBytes: 0,
        })(context),
      crash: async () => fs.crash(new SeededRandom(seed++)),
    }
  }
  for (const { name, run } of logStoreCompliance({ create })) test(name, run)
})

suite('a failed operation', () => {
  for (const operation of ['write', 'sync'] as const) {
    test(`${operation} poisons the store, and what was acknowledged is there after a restart`, async () => {
      for (let seed = 0; seed < 20; seed++) {
        const fs = new MemoryFileSystem()
        const store = await open(fs)
        await put(store, 1)
        fs.fault = failing(operation, broken)
        const failed = put(store, 2)
        const behind = Promise.resolve().then(() => put(store, 3))
        await assert.rejects(failed, { code: 'IO' })
        await assert.rejects(behind, (error: KeelsonError) => {
          assert.ok(error.code === 'STORE_POISONED' || error.code === 'IO', error.code)
          return true
        })
        fs.fault = undefined
        for (const call of [
          () => put(store, 4),
          () => store.read(1, 1, 1, 1),
          () => store.compact(1, { index: 1, term: 1 }),
          () => store.destroy(1, new Uint8Array(0)),
        ]) {
          await assert.rejects(call, (error: KeelsonError) => {
            assert.equal(error.code, 'STORE_POISONED')
            assert.equal((error.cause as KeelsonError).message, 'the disk broke')
            return true
          })
        }
        await store.close()
        fs.crash(new SeededRandom(seed))
        const again = await open(fs)
        assert.ok(lastIndex(again) >= 1)
        await assertEntries(again, 1, lastIndex(again))
        await again.close()
      }
    })
  }

  test('leaves in the cache what the disk never got, and only what is on the disk counts', async () => {
    for (const batchesBefore of [0, 1, 20]) {
      const fs = new MemoryFileSystem()
      const store = await open(fs)
      for (let i = 1; i <= batchesBefore; i++) await put(store, i, 3_000)
      fs.fault = failing('sync', broken)
      await assert.rejects(put(store, batchesBefore + 1, 3_000), { code: 'IO' })
      await store.close()
      await assert.rejects(open(fs), { code: 'IO' }, 'a disk that still fails')
      fs.fault = undefined
      const again = await open(fs)
      const last = lastIndex(again)
      assert.equal(last, batchesBefore + 1, 'it can be read')
      fs.crash({ float: () => 1, integer: () => 0, uint32: () => 0, bytes: (n) => new Uint8Array(n) })
      const third = await open(fs)
      assert.equal(lastIndex(third), last, 'so it has to stay')
      await assertEntries(third, 1, last, 3_000)
      await third.close()
    }
  })

  test('of a write that waits behind the failed one is told as poisoned', async () => {
    const fs = new MemoryFileSystem()
    const store = await open(fs)
    fs.fault = failing('sync', broken)
    const first = put(store, 1)
    // The first is under way, so the second is in the next batch.
    await Promise.resolve()
    await Promise.resolve()
    const second = put(store, 2)
    await assert.rejects(first, { code: 'IO' })
    await assert.rejects(second, { code: 'STORE_POISONED' })
    await store.close()
  })

  test('while opening leaves the directory free for the next attempt', async () => {
    for (const operation of ['open', 'write', 'sync', 'rename', 'syncDirectory'] as const) {
      const fs = new MemoryFileSystem()
      fs.fault = failing(operation, broken, /./)
      await assert.rejects(open(fs), { code: 'IO' })
      fs.fault = undefined
      const store = await open(fs)
      await put(store, 1)
      await store.close()
    }
  })
})

suite('a full disk', () => {
  test('refuses writes that do not fit any more, and takes them when there is room', async () => {
    const fs = new MemoryFileSystem()
    const store = await open(fs)
    fs.fault = failing('open', full)
    let index = 1
    let refused: unknown
    while (refused === undefined && index < 100) {
      await put(store, index, 1_000).then(
        () => index++,
        (error: unknown) => {
          refused = error
        },
      )
    }
    assert.ok(KeelsonError.hasCode(refused, 'DISK_FULL'), String(refused))
    assert.ok(index > 10, `the first segment holds more than ${index} entries`)
    assert.equal(refused.outcome, 'none')
    await assertEntries(store, 1, index - 1, 1_000)
    fs.fault = undefined
    // Another refusal starts another attempt to make a segment.
    await assert.rejects(put(store, index, 1_000), { code: 'DISK_FULL' })
    for (let attempt = 0; attempt < 100; attempt++) await Promise.resolve()
    for (let i = 0; i < 30; i++, index++) await put(store, index, 1_000)
    await store.close()
    const again = await open(fs)
    await assertEntries(again, 1, index - 1, 1_000)
    await again.close()
  })

  test('is helped by a compaction alone, as what it gives up is used again', async () => {
    const fs = new MemoryFileSystem()
    const store = await open(fs)
    let index = 1
    for (; index <= 60; index++) await put(store, index, 1_000)
    await put(store, 1, 3_000, 7)
    fs.fault = failing('open', full)
    let refused: unknown
    while (refused === undefined && index < 200) {
      await put(store, index, 1_000).then(
        () => index++,
        (error: unknown) => {
          refused = error
        },
      )
    }
    assert.ok(KeelsonError.hasCode(refused, 'DISK_FULL'), String(refused))
    await store.compact(1, { index: index - 2, term: 1 })
    for (let attempt = 0; attempt < 500; attempt++) await Promise.resolve()
    const before = index
    for (; index < before + 10; index++) await put(store, index, 1_000)
    await store.close()
    fs.fault = undefined
    const again = await open(fs)
    await assertEntries(again, before - 1, index - 1, 1_000)
    await assertEntries(again, 1, 1, 3_000, 7)
    await again.close()
  })

  test('that shows in the middle of a write poisons the store', async () => {
    const fs = new MemoryFileSystem()
    const store = await open(fs)
    await put(store, 1)
    fs.fault = failing('write', full)
    await assert.rejects(put(store, 2), { code: 'DISK_FULL' })
    await assert.rejects(put(store, 3), { code: 'STORE_POISONED' })
    await store.close()
  })
})

suite('limits', () => {
  test('a write that fits into no segment is refused before anything is done', async () => {
    const fs = new MemoryFileSystem()
    const store = await open(fs)
    await put(store, 1)
    await assert.rejects(put(store, 2, segmentBytes), { code: 'LIMIT_EXCEEDED' })
    await put(store, 2, segmentBytes - 1_000)
    await assertEntries(store, 2, 2, segmentBytes - 1_000)
    await store.close()
  })

  test('writes beyond the queue are refused, and welcome later', async () => {
    const fs = new MemoryFileSystem()
    const store = await open(fs, { maximumQueuedBytes: segmentBytes })
    const writes = [1, 2, 3].map((index) => put(store, index, 4_000))
    await assert.rejects(put(store, 4, 4_000), { code: 'OVERLOADED' })
    await Promise.all(writes)
    await put(store, 4, 4_000)
    await assertEntries(store, 1, 4, 4_000)
    await store.close()
  })

  for (const [what, options] of [
    ['an unknown option', { segmentSize: 1 }],
    ['a small segment', { segmentBytes: 1024 }],
    ['a crooked segment', { segmentBytes: 16 * 1024 + 1 }],
    ['a queue below a segment', { segmentBytes: 64 * 1024, maximumQueuedBytes: 32 * 1024 }],
  ] as const) {
    test(`${what} is refused`, () => {
      assert.throws(() => segments('log', options as object), { code: 'INVALID_OPTION' })
    })
  }
})

suite('a power cut at any moment', () => {
  test('leaves what was acknowledged and nothing that was not written', async () => {
    for (let seed = 0; seed < 40; seed++) await torture(seed)
  })
})

/**
 * Writes, truncates, compacts and cleans over several crashes. Group 1 counts its writes in its commit index, and each
 * write appends one entry to group 2, so that a batch that was torn apart would show.
 */
async function torture(seed: number): Promise<void> {
  const random = new SeededRandom(seed)
  const fs = new MemoryFileSystem()
  // Large ones fill a batch, so that several wait.
  const dataBytes = random.integer(2) === 0 ? 300 : 3_000
  const patience = random.float()
  let acknowledged = 0
  let written = 0
  let compacted = 0
  for (let round = 0; round < 6; round++) {
    const store = await open(fs, { cleanFromBytes: random.integer(2) * 16 * 1024 })
    const found = store.recovered()
    const count = found.get(1)?.hardState?.commit ?? 0
    const last = found.get(2)?.last.index ?? 0
    assert.equal(last, count, `seed ${seed}: a batch was torn apart`)
    assert.ok(
      count >= acknowledged,
      `seed ${seed}: write ${acknowledged} was acknowledged, ${count} are left`,
    )
    assert.ok(count <= written, `seed ${seed}: ${count} writes are there, ${written} were made`)
    compacted = found.get(2)?.compacted.index ?? 0
    await assertEntries(store, compacted + 1, last, dataBytes, 2)
    assert.equal(found.get(3)?.last.index ?? 1, 1, 'the group that is rewritten all the time')
    // And one that is written once, and moved from segment to segment from then on.
    if (round === 0) {
      await store.write([{ groupId: 4, entries: [entry(1), entry(2)], metadata: Uint8Array.of(4) }])
    } else {
      assert.deepEqual(found.get(4)?.metadata, Uint8Array.of(4), `seed ${seed}`)
      await assertEntries(store, 1, 2, 40, 4)
    }
    acknowledged = count
    written = count
    const writes = random.integer(120)
    for (let i = 0; i < writes; i++) {
      const commit = ++written
      const done = store
        .write([
          { groupId: 1, hardState: { term: 1, votedFor: 0, commit } },
          { groupId: 2, entries: [entry(commit, 1, dataBytes)] },
          { groupId: 3, entries: [entry(1, 1, 50)], metadata: Uint8Array.of(round) },
        ])
        .then(
          () => {
            acknowledged = commit
          },
          () => {},
        )
      if (random.float() < patience) await done
      if (random.float() < 0.2 && acknowledged > compacted) {
        compacted += 1 + random.integer(acknowledged - compacted)
        await store.compact(2, { index: compacted, term: 1 })
      }
    }
    if (random.float() < 0.2) await store.close()
    // At some point of what is under way.
    for (let turn = random.integer(40); turn > 0; turn--) await Promise.resolve()
    fs.crash(random)
  }
}

suite('a process that is killed', () => {
  test('leaves writes that were not synced, and they count only when they are', async () => {
    // Nothing is ever synced by this one.
    const never = { schedule: () => ({ cancel() {} }), defer() {} }
    const none = {
      float: () => 1,
      integer: () => 0,
      uint32: () => 0,
      bytes: (n: number) => new Uint8Array(n),
    }
    let latent = false
    const timers = {
      ...never,
      schedule: (_delayMs: number, callback: () => void) => {
        if (!latent) callback()
        return never.schedule()
      },
    }
    const fs = new MemoryFileSystem({ timers, syncLatencyMs: () => 1 })
    const store = await open(fs)
    await put(store, 1)
    latent = true
    void put(store, 2)
    for (let turn = 0; turn < 20; turn++) await Promise.resolve()
    fs.kill()
    latent = false
    const second = await open(fs)
    assert.equal(lastIndex(second), 2)
    fs.crash(none)
    const third = await open(fs)
    assert.equal(lastIndex(third), 2, 'what was recovered once is durable')
    await third.close()
  })
})

suite('cleaning', () => {
  test('gives space back, keeps what lives, and survives a restart', async () => {
    const fs = new MemoryFileSystem()
    const store = await open(fs, { cleanFromBytes: 0 })
    // Written once, and alive for ever, in the oldest segment.
    await store.write([
      {
        groupId: 7,
        reset: { index: 10, term: 1 },
        entries: [entry(11, 1, 500)],
        hardState: { term: 5, votedFor: 2, commit: 11 },
        metadata: Uint8Array.of(1, 2, 3),
      },
    ])
    await store.write([{ groupId: 8, entries: [entry(1), entry(2), entry(3)] }])
    await store.destroy(9, Uint8Array.of(9))
    for (let i = 1; i <= 400; i++) {
      await put(store, i, 1_000)
      if (i % 10 === 0) await store.compact(1, { index: i - 5, term: 1 })
    }
    for (let attempt = 0; attempt < 2_000; attempt++) await Promise.resolve()
    const names = fs
      .names('log')
      .filter((name) => name.endsWith('.segment'))
      .sort()
    assert.ok(names.length <= 6, `${names.length} segments are left of 25`)
    assert.ok(!names.includes('0000000000000001.segment'))
    const check = async (from: LogStore): Promise<void> => {
      await assertEntries(from, 11, 11, 500, 7)
      await assertEntries(from, 1, 3, 40, 8)
      await assertEntries(from, 396, 400, 1_000, 1)
      await assert.rejects(from.read(7, 10, 11, 1), { code: 'COMPACTED' })
      await assert.rejects(from.read(1, 395, 396, 1), { code: 'COMPACTED' })
    }
    await check(store)
    await store.close()
    const again = await open(fs)
    await check(again)
    const seven = again.recovered().get(7)
    assert.deepEqual(seven?.hardState, { term: 5, votedFor: 2, commit: 11 })
    assert.deepEqual(seven?.metadata, Uint8Array.of(1, 2, 3))
    assert.deepEqual(seven?.compacted, { index: 10, term: 1 })
    assert.deepEqual(again.recovered().get(9)?.metadata, Uint8Array.of(9))
    await again.close()
  })

  test('uses files again, and what they held before means nothing', async () => {
    const fs = new MemoryFileSystem()
    const store = await open(fs, { cleanFromBytes: 0 })
    let made = 0
    fs.fault = (operation, path) => {
      if (operation === 'open' && path.endsWith('.segment')) made++
      return undefined
    }
    for (let i = 1; i <= 300; i++) {
      await put(store, i, 1_000)
      if (i % 10 === 0) await store.compact(1, { index: i - 5, term: 1 })
    }
    fs.fault = undefined
    assert.ok(made < 10, `${made} files were made for 20 segments`)
    for (let turn = 0; turn < 8; turn++) {
      const copy = fs.copy()
      const context = newContext()
      const again = await segments('log', { fileSystem: copy.mount(), segmentBytes })(context)
      assert.deepEqual(context.records, [], 'old content is no torn write')
      await assertEntries(again, 296 + turn, 300 + turn, 1_000)
      await put(again, 301 + turn, 1_000)
      await again.close()
      assert.ok(copy.names('log').every((name) => !name.endsWith('.free')))
      await put(store, 301 + turn, 1_000)
    }
    await store.close()
  })

  test('can be repeated for as long as one likes', async () => {
    const fs = new MemoryFileSystem()
    let store = await open(fs, { cleanFromBytes: 0 })
    await put(store, 1, 700, 5)
    for (let round = 0; round < 5; round++) {
      for (let i = 1; i <= 200; i++) {
        await store.write([{ groupId: 1, entries: [entry(1, 200 * round + i, 600)] }])
      }
      await assertEntries(store, 1, 1, 700, 5)
      await store.close()
      store = await open(fs, { cleanFromBytes: 0 })
    }
    const names = fs.names('log').filter((name) => name.endsWith('.segment'))
    assert.ok(names.length <= 5, `${names.length} segments are left`)
    await store.close()
  })
})
