import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { LogStore } from '../../../src/interfaces/log-store.ts'
import { MemoryFileSystem } from '../../../src/storage/memory/index.ts'
import { segments } from '../../../src/storage/segments/index.ts'
import { assertEntries, entry, lastIndex, newContext, put } from '../support/log.ts'

const directory = 'log'
const first = `${directory}/0000000000000001.segment`
const second = `${directory}/0000000000000002.segment`
const segmentBytes = 16 * 1024
const headerBytes = 64
const markBytes = 40

function open(fs: MemoryFileSystem, context = newContext()): Promise<LogStore> {
  return segments(directory, { fileSystem: fs.mount(), segmentBytes, cleanFromBytes: 2 ** 40 })(context)
}

/** A log of single entries whose writer crashed; `ends[i]` is the offset behind the batch of entry i. */
async function written(count: number): Promise<{ fs: MemoryFileSystem; ends: number[] }> {
  const fs = new MemoryFileSystem()
  const store = await open(fs)
  const ends = [headerBytes + markBytes]
  for (let i = 1; i <= count; i++) {
    await put(store, i)
    const bytes = fs.contents(first)
    let end = bytes.length
    while (bytes[end - 1] === 0) end--
    ends.push(Math.ceil(end / 8) * 8)
  }
  return { fs: fs.copy(), ends }
}

/** Opens a copy of the files, the first segment of which was changed. */
async function changed(fs: MemoryFileSystem, change: (bytes: Uint8Array) => void): Promise<LogStore> {
  const copy = fs.copy()
  const bytes = copy.contents(first)
  change(bytes)
  copy.setContents(first, bytes)
  return open(copy)
}

async function refused(fs: MemoryFileSystem, change: (bytes: Uint8Array) => void): Promise<KeelsonError> {
  const error = await changed(fs, change).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  assert.ok(KeelsonError.hasCode(error, 'CORRUPTION'), `should be refused, but ${String(error)}`)
  return error
}

suite('a segment that a crash cut short', () => {
  test('is cut at any byte of its last batch', async () => {
    const { fs, ends } = await written(5)
    for (let at = ends[4] as number; at < (ends[5] as number); at++) {
      const bytes = fs.contents(first)
      // The last bytes of a batch may be zeros anyway: what was written is then whole.
      const whole = bytes.subarray(at, ends[5]).every((byte) => byte === 0)
      const store = await changed(fs, (image) => image.fill(0, at))
      assert.equal(lastIndex(store), whole ? 5 : 4, `cut at ${at}`)
      await assertEntries(store, 1, lastIndex(store))
      await put(store, lastIndex(store) + 1)
      await store.close()
    }
  })

  test('is cut when any byte of its last batch is wrong, as nothing confirms it', async () => {
    const { fs, ends } = await written(4)
    for (let at = ends[3] as number; at < (ends[4] as number); at++) {
      const store = await changed(fs, (bytes) => {
        bytes[at] = (bytes[at] as number) ^ 0x40
      })
      assert.equal(lastIndex(store), 3, `damaged at ${at}`)
      await store.close()
    }
  })

  test('leaves nothing behind that could be taken for a batch later', async () => {
    const { fs, ends } = await written(3)
    const copy = fs.copy()
    const bytes = copy.contents(first)
    const start = ends[2] as number
    // The header of the batch did not reach the disk, its body did.
    bytes.fill(0, start, start + 16)
    copy.setContents(first, bytes)
    const context = newContext()
    const store = await open(copy, context)
    assert.equal(lastIndex(store), 2)
    assert.equal(context.records.length, 1)
    assert.deepEqual(context.records[0]?.fields.offset, start)
    assert.ok(
      copy
        .contents(first)
        .subarray(start)
        .every((byte) => byte === 0),
    )
    await store.close()
  })

  test('is cut where garbage follows', async () => {
    const { fs, ends } = await written(3)
    for (const distance of [0, 1, 7, 8, 100, 9_000]) {
      const store = await changed(fs, (bytes) =>
        bytes.fill(0xa5, (ends[3] as number) + distance, (ends[3] as number) + distance + 50),
      )
      assert.equal(lastIndex(store), 3)
      await put(store, 4)
      await assertEntries(store, 1, 4)
      await store.close()
    }
  })
})

suite('a segment that the disk damaged', () => {
  test('is refused at any byte before what a later batch confirms, by file and offset', async () => {
    const { fs, ends } = await written(4)
    for (let at = 0; at < (ends[3] as number); at++) {
      // Bytes of the header behind its checksum are not used.
      if (at >= 44 && at < headerBytes) continue
      const error = await refused(fs, (bytes) => {
        bytes[at] = (bytes[at] as number) ^ 0x01
      })
      const start = at < headerBytes ? 0 : ends.findLast((end) => end <= at)
      assert.equal(
        error.details.offset,
        at < headerBytes + markBytes && at >= headerBytes ? headerBytes : start,
        `damaged at ${at}`,
      )
      assert.equal(error.details.file, '0000000000000001.segment')
      assert.match(error.message, /0000000000000001\.segment is damaged at offset/)
    }
  })

  test('is refused when a whole batch is missing', async () => {
    const { fs, ends } = await written(4)
    const error = await refused(fs, (bytes) => bytes.fill(0, ends[1], ends[2]))
    assert.equal(error.details.offset, ends[1])
  })

  test('is refused when everything is zero but a later batch', async () => {
    const { fs, ends } = await written(4)
    await refused(fs, (bytes) => bytes.fill(0, 0, ends[3]))
  })

  test('is left as it was', async () => {
    const { fs } = await written(4)
    const copy = fs.copy()
    const bytes = copy.contents(first)
    bytes[200] = (bytes[200] as number) ^ 1
    copy.setContents(first, bytes)
    const before = copy.names(directory)
    await assert.rejects(open(copy), { code: 'CORRUPTION' })
    assert.deepEqual(copy.names(directory), before)
    assert.deepEqual(copy.contents(first), bytes)
  })

  test('is refused to the end once it was closed', async () => {
    const fs = new MemoryFileSystem()
    const store = await open(fs)
    await put(store, 1)
    await store.close()
    const closed = fs.contents(first)
    let end = closed.length
    while (closed[end - 1] === 0) end--
    // The closing mark itself may go, as nothing is behind it.
    for (let at = headerBytes; at < end - markBytes; at++) {
      await refused(fs, (bytes) => {
        bytes[at] = (bytes[at] as number) ^ 0x80
      })
    }
  })

  test('is not served when it is damaged while it is open', async () => {
    const fs = new MemoryFileSystem()
    const store = await open(fs)
    for (let i = 1; i <= 3; i++) await put(store, i)
    const bytes = fs.contents(first)
    const at = Buffer.from(bytes).indexOf(entry(2).data)
    assert.ok(at > 0)
    bytes[at] = 0
    fs.setContents(first, bytes)
    await assertEntries(store, 1, 1)
    await assert.rejects(store.read(1, 2, 2, 100), (error: KeelsonError) => {
      assert.equal(error.code, 'CORRUPTION')
      assert.match(error.message, /entries 2 to 2 of group 1 in log\/0000000000000001\.segment at offset \d+/)
      return true
    })
    await assertEntries(store, 3, 3)
    await store.close()
  })
})

suite('a log of several segments', () => {
  /** Three segments, the writer of which crashed. */
  async function several(): Promise<MemoryFileSystem> {
    const fs = new MemoryFileSystem()
    const store = await open(fs)
    for (let i = 1; i <= 11; i++) await put(store, i, 4_000)
    return fs.copy()
  }

  test('goes on from one to the next', async () => {
    const fs = await several()
    const store = await open(fs)
    await assertEntries(store, 1, 11, 4_000)
    for (let i = 12; i <= 30; i++) await put(store, i, 4_000)
    await store.close()
    const again = await open(fs)
    await assertEntries(again, 1, 30, 4_000)
    await again.close()
  })

  for (const [which, name] of [
    ['first', first],
    ['second', second],
  ] as const) {
    test(`is refused when its ${which} file is missing`, async () => {
      const fs = await several()
      fs.delete(name)
      await assert.rejects(open(fs), (error: KeelsonError) => {
        assert.equal(error.code, 'CORRUPTION')
        assert.equal(error.details.file, name.slice(directory.length + 1))
        return true
      })
    })
  }

  test('is refused when all files are missing', async () => {
    const fs = await several()
    for (const name of fs.names(directory)) {
      if (name.endsWith('.segment')) fs.delete(`${directory}/${name}`)
    }
    await assert.rejects(open(fs), { code: 'CORRUPTION' })
  })

  test('is refused when an earlier file is damaged at its end', async () => {
    const fs = await several()
    const bytes = fs.contents(second)
    let end = bytes.length
    while (bytes[end - 1] === 0) end--
    bytes[end - 1] = (bytes[end - 1] as number) ^ 1
    fs.setContents(second, bytes)
    await assert.rejects(open(fs), { code: 'CORRUPTION' })
  })

  test('does not mind garbage where an earlier file was never used', async () => {
    const fs = await several()
    const bytes = fs.contents(first)
    bytes[bytes.length - 9] = 1
    fs.setContents(first, bytes)
    const store = await open(fs)
    await assertEntries(store, 1, 11, 4_000)
    await store.close()
  })

  test('drops a segment whose first write was cut short', async () => {
    const fs = await several()
    const names = fs
      .names(directory)
      .filter((name) => name.endsWith('.segment'))
      .sort()
    const spare = `${directory}/${names.at(-1) as string}`
    const bytes = fs.contents(spare)
    bytes.fill(0x33, 20, 40)
    fs.setContents(spare, bytes)
    const store = await open(fs)
    await assertEntries(store, 1, 11, 4_000)
    for (let i = 12; i <= 20; i++) await put(store, i, 4_000)
    await store.close()
  })

  test('refuses a segment of another store, of another number and of another version', async () => {
    const other = await several()
    const fs = await several()
    fs.setContents(second, other.contents(second))
    await assert.rejects(open(fs), { code: 'CORRUPTION' })

    const swapped = await several()
    swapped.setContents(second, swapped.contents(first))
    await assert.rejects(open(swapped), { code: 'CORRUPTION' })
  })
})
