import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { crc32 } from '../../src/core/checksum.ts'
import { KeelsonError } from '../../src/core/errors.ts'
import { SeededRandom } from '../../src/core/random.ts'
import type { LogStore, LogStoreContext } from '../../src/interfaces/log-store.ts'
import { BatchBuffer } from '../../src/storage/batch-buffer.ts'
import { checkPayload, checksumSeed, readBatchHeader } from '../../src/storage/batch-format.ts'
import { levelLog } from '../../src/storage/level/index.ts'
import { writeLost } from '../../src/storage/log-format.ts'
import { MemoryFileSystem, MemoryLevel } from '../../src/storage/memory/index.ts'
import { RecordCursor } from '../../src/storage/record-cursor.ts'
import { decodeEndMark, encodeEndMark } from '../../src/storage/segments/end-mark.ts'
import { segments } from '../../src/storage/segments/index.ts'
import { makeDigest, readDigest } from '../../src/storage/segments/segment-digest.ts'
import { assertEntries, entry, newContext } from './support/log.ts'

/** A context whose incarnation is always the same. */
function fixedContext(): LogStoreContext {
  const context = newContext()
  return { ...context, env: { ...context.env, random: new SeededRandom(1) } }
}

async function writeSample(store: LogStore): Promise<void> {
  await store.write([
    {
      groupId: 300,
      reset: { index: 1_000_000, term: 7 },
      entries: [
        { index: 1_000_001, term: 7, kind: 0, data: new Uint8Array(0) },
        { index: 1_000_002, term: 300, kind: 1, data: Uint8Array.of(1, 2, 3) },
      ],
      hardState: { term: 300, votedFor: 2, commit: 1_000_001 },
      metadata: Uint8Array.of(0xaa, 0xbb),
    },
    { groupId: Number.MAX_SAFE_INTEGER, entries: [entry(1, 1, 5)] },
  ])
  await store.compact(300, { index: 1_000_001, term: 7 })
  await store.destroy(5, Uint8Array.of(9))
}

async function assertSample(store: LogStore, groups = 3): Promise<void> {
  const found = store.recovered()
  assert.equal(found.size, groups)
  assert.deepEqual(found.get(300), {
    groupId: 300,
    hardState: { term: 300, votedFor: 2, commit: 1_000_001 },
    metadata: Uint8Array.of(0xaa, 0xbb),
    compacted: { index: 1_000_001, term: 7 },
    last: { index: 1_000_002, term: 300 },
  })
  assert.deepEqual(found.get(5)?.metadata, Uint8Array.of(9))
  const [read] = await store.read(300, 1_000_002, 1_000_002, 10)
  assert.deepEqual(
    { ...read, data: [...(read?.data ?? [])] },
    { index: 1_000_002, term: 300, kind: 1, data: [1, 2, 3] },
  )
  await assertEntries(store, 1, 1, 5, Number.MAX_SAFE_INTEGER)
}

function identity(version: number): string {
  const checksum = version === 1 ? 'dd58dfa2' : '668cd1b1'
  return `keelson store
format segments ${version}
cluster c
node n
incarnation 824785018181815
state ready
checksum ${checksum}
`
}

// What version 1 wrote. It must be read for ever, or refused by name.
const oldSegment = `
  4b45454c5345470a010000000000000001000000000000000000000000000000b758063a23ee020045a230ee00000000
  000000000000000000000000000000004b4c423100000000000000000000000000000000000000000000000000000000
  c38c01c8000000004b4c4231680000002800000000000000280000000000000000000000000000003da699d600000000
  f6f448f20700000006ac02c0843d074a27e2ab1300000001ac02c1843d02ac02070000ac0201030102033e40e3720900
  000003ac02ac0202c1843d5f7732830500000004ac02aabb0370dbbf1400000001ffffffffffffff0f01010101010526
  2728292a000000004b4c423120000000b800000000000000b8000000000000000000000000000000a850413e00000000
  0e891c7b0700000005ac02c1843d07c583621003000000070509000000000000
`

const oldBatches = [
  '620000000000000000 4b4c423100000000000000000000000000000000000000000000000000000000c38c01c800000000',
  '620000000000000028 4b4c4231680000002800000000000000280000000000000000000000000000003da699d600000000f6f448f20700000006ac02c0843d074a27e2ab1300000001ac02c1843d02ac02070000ac0201030102033e40e3720900000003ac02ac0202c1843d5f7732830500000004ac02aabb0370dbbf1400000001ffffffffffffff0f010101010105262728292a00000000',
  '6200000000000000b8 4b4c423120000000b800000000000000b8000000000000000000000000000000a850413e000000000e891c7b0700000005ac02c1843d07c583621003000000070509000000000000',
  '6964656e74697479 6b65656c736f6e2073746f72650a666f726d6174206c6576656c20310a636c757374657220630a6e6f6465206e0a696e6361726e6174696f6e203832343738353031383138313831350a73746174652072656164790a636865636b73756d2061353639313562390a',
]

function trimmed(bytes: Uint8Array): Uint8Array {
  let end = bytes.length
  while (bytes[end - 1] === 0) end--
  return bytes.subarray(0, Math.ceil(end / 8) * 8)
}

function fromHex(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'))
}

// What version 2 writes. A change here is a new version of the format, and an old one must still be read or refused.
const goldenSegment = `
  4b45454c5345470a020000000000000001000000000000000000000000000000b758063a23ee0200faaa2f2700000000
  000000000000000000000000000000004b4c423200000000000000000000000000000000000000000000000000000000
  94b6043a215eb12b4b4c4232680000002800000000000000280000000000000000000000000000006927e7d1904613f1
  f6f448f20700000006ac02c0843d074a27e2ab1300000001ac02c1843d02ac02070000ac0201030102033e40e3720900
  000003ac02ac0202c1843d5f7732830500000004ac02aabb0370dbbf1400000001ffffffffffffff0f01010101010526
  2728292a000000004b4c423220000000b800000000000000b800000000000000000000000000000051562e6414846bec
  0e891c7b0700000005ac02c1843d07c583621003000000070509000000000000
`

const goldenBatches = [
  '620000000000000000 4b4c42320000000000000000000000000000000000000000000000000000000094b6043a215eb12b',
  '620000000000000028 4b4c4232680000002800000000000000280000000000000000000000000000006927e7d1904613f1f6f448f20700000006ac02c0843d074a27e2ab1300000001ac02c1843d02ac02070000ac0201030102033e40e3720900000003ac02ac0202c1843d5f7732830500000004ac02aabb0370dbbf1400000001ffffffffffffff0f010101010105262728292a00000000',
  '6200000000000000b8 4b4c423220000000b800000000000000b800000000000000000000000000000051562e6414846bec0e891c7b0700000005ac02c1843d07c583621003000000070509000000000000',
  '6964656e74697479 6b65656c736f6e2073746f72650a666f726d6174206c6576656c20320a636c757374657220630a6e6f6465206e0a696e6361726e6174696f6e203832343738353031383138313831350a73746174652072656164790a636865636b73756d2031656264316261610a',
]

/** A directory as an earlier release left it. */
function directoryOf(segment: string, version: number): MemoryFileSystem {
  const fs = new MemoryFileSystem()
  fs.setContents('log/IDENTITY', new Uint8Array(Buffer.from(identity(version))))
  const image = new Uint8Array(16 * 1024)
  image.set(fromHex(segment))
  fs.setContents('log/0000000000000001.segment', image)
  return fs
}

const encodings = { keyEncoding: 'view', valueEncoding: 'view' }

async function databaseOf(pairs: readonly string[]): Promise<MemoryLevel<Uint8Array, Uint8Array>> {
  const database = new MemoryLevel<Uint8Array, Uint8Array>(encodings)
  for (const pair of pairs) {
    const [key, value] = pair.split(' ') as [string, string]
    await database.put(fromHex(key), fromHex(value))
  }
  return database
}

suite('version 2 of the format', () => {
  test('is what segments write, and read', async () => {
    const fs = new MemoryFileSystem()
    const store = await segments('log', { fileSystem: fs.mount(), segmentBytes: 16 * 1024 })(fixedContext())
    await writeSample(store)
    const bytes = fs.contents('log/0000000000000001.segment')
    assert.equal(Buffer.from(fs.contents('log/IDENTITY')).toString(), identity(2))
    assert.equal(Buffer.from(trimmed(bytes)).toString('hex'), goldenSegment.replaceAll(/\s/g, ''))

    const old = directoryOf(goldenSegment, 2)
    const again = await segments('log', { fileSystem: old.mount(), segmentBytes: 16 * 1024 })(newContext())
    await assertSample(again)
    await again.close()
  })

  test('is what a level holds, and reads', async () => {
    const database = new MemoryLevel<Uint8Array, Uint8Array>(encodings)
    const store = await levelLog(database)(fixedContext())
    await writeSample(store)
    const pairs = await database.iterator().all()
    assert.deepEqual(
      pairs.map(
        ([key, value]) => `${Buffer.from(key).toString('hex')} ${Buffer.from(value).toString('hex')}`,
      ),
      goldenBatches,
    )
    const again = await levelLog(await databaseOf(goldenBatches))(newContext())
    await assertSample(again)
    await again.close()
  })
})

// What version 1 of a digest holds of the golden segment, and a record of entries that are lost.
const goldenDigest = `
  4b45454c4944580a01000000480000000100000000000000000000000000000000010000000000000000000000000000
  b758063a23ee0200c3d9108fa13c29f1500f06ac02c0843d07001b01ac02c1843d02010701a502001103ac02ac0202c1
  843d000d04ac0202aabb001c01ffffffffffffff0f010101012c0f05ac02c1843d07000b07050109
`
const goldenLost = '83a90a980d0000000807ac0204bc0502030201ba05'

suite('version 1 of a digest', () => {
  const incarnation = 824785018181815

  test('is what is made of a segment, and read', async () => {
    const bytes = fromHex(goldenSegment)
    const made = await makeDigest(bytes, { number: 1, start: 0 }, incarnation, async () => {})
    assert.equal(Buffer.from(made as Uint8Array).toString('hex'), goldenDigest.replaceAll(/\s/g, ''))
    const digest = readDigest(fromHex(goldenDigest), 1, incarnation)
    assert.ok(digest !== undefined)
    assert.deepEqual([digest.start, digest.end, digest.first], [0, bytes.length - 64, 0])
    const { records } = digest
    assert.deepEqual(
      records.map(({ type, groupId }) => [type, groupId]),
      [
        [6, 300],
        [1, 300],
        [3, 300],
        [4, 300],
        [1, Number.MAX_SAFE_INTEGER],
        [5, 300],
        [7, 5],
      ],
    )
    assert.deepEqual(records[1]?.runs(), [
      { first: 1_000_001, last: 1_000_001, term: 7 },
      { first: 1_000_002, last: 1_000_002, term: 300 },
    ])
    assert.deepEqual(records[3]?.content(), Uint8Array.of(0xaa, 0xbb))
  })

  test('is made of a segment of version 1, too, and of no damaged one', async () => {
    const bytes = fromHex(oldSegment)
    const make = () => makeDigest(bytes, { number: 1, start: 0 }, incarnation, async () => {})
    const made = readDigest((await make()) as Uint8Array, 1, incarnation)
    assert.equal(made?.records.length, 7)
    for (let at = 64; at < bytes.length; at++) {
      bytes[at] = (bytes[at] as number) ^ 1
      assert.equal(await make(), undefined, `damaged at ${at}`)
      bytes[at] = (bytes[at] as number) ^ 1
    }
  })

  test('is refused with any byte changed, cut off, of another number or store', () => {
    const good = fromHex(goldenDigest)
    for (let at = 0; at < good.length; at++) {
      const bad = good.slice()
      bad[at] = (bad[at] as number) ^ 2
      assert.equal(readDigest(bad, 1, incarnation), undefined, `changed at ${at}`)
      assert.equal(readDigest(good.slice(0, at), 1, incarnation), undefined, `cut at ${at}`)
    }
    assert.equal(readDigest(good, 2, incarnation), undefined)
    assert.equal(readDigest(good, 1, incarnation + 1), undefined)
  })

  test('notes entries that are lost in a record of the log', () => {
    const buffer = new BatchBuffer(64)
    const runs = [
      { first: 300, last: 302, term: 2 },
      { first: 303, last: 303, term: 700 },
    ]
    writeLost(buffer, 7, runs, checksumSeed(incarnation))
    assert.equal(Buffer.from(buffer.content()).toString('hex'), goldenLost)
    const cursor = new RecordCursor()
    assert.ok(cursor.read(fromHex(goldenLost), 0, checksumSeed(incarnation)))
    assert.deepEqual([cursor.type, cursor.first, cursor.last, cursor.lastTerm], [8, 300, 303, 700])
    assert.deepEqual(cursor.runs(), runs)
  })
})

suite('version 1 of the format', () => {
  test('is read by segments, which go on in version 2', async () => {
    const fs = directoryOf(oldSegment, 1)
    const open = () => segments('log', { fileSystem: fs.mount(), segmentBytes: 16 * 1024 })(newContext())
    for (let next = 6; next < 9; next++) {
      const store = await open()
      assert.equal(Buffer.from(fs.contents('log/IDENTITY')).toString(), identity(2))
      if (next === 6) await assertSample(store)
      else await assertSample(store, 4)
      await store.write([{ groupId: 77, entries: [entry(next - 5)] }])
      await store.close()
    }
    const last = await open()
    await assertEntries(last, 1, 3, 40, 77)
    await last.close()
  })

  test('is left as it was when it is damaged', async () => {
    const fs = directoryOf(oldSegment, 1)
    const bytes = fs.contents('log/0000000000000001.segment')
    bytes[150] = (bytes[150] as number) ^ 1
    fs.setContents('log/0000000000000001.segment', bytes)
    const opening = segments('log', { fileSystem: fs.mount(), segmentBytes: 16 * 1024 })(newContext())
    await assert.rejects(opening, { code: 'CORRUPTION' })
    assert.equal(Buffer.from(fs.contents('log/IDENTITY')).toString(), identity(1))
  })

  test('is read from a level, which goes on in version 2', async () => {
    const old = await databaseOf(oldBatches)
    const store = await levelLog(old)(newContext())
    await assertSample(store)
    await store.write([{ groupId: 77, entries: [entry(1)] }])
    await store.close()
    const stored = (await old.get(Buffer.from('identity'))) as Uint8Array
    assert.match(Buffer.from(stored).toString(), /^keelson store\nformat level 2\n/)
    const again = await levelLog(old)(newContext())
    await assertSample(again, 4)
    await assertEntries(again, 1, 1, 40, 77)
    await again.close()
  })
})

suite('bytes that nobody vouches for', () => {
  const seed = checksumSeed(123)

  test('make no record and no header', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), (bytes, offset) => {
        assert.equal(readBatchHeader(bytes, offset, seed), undefined)
        try {
          assert.equal(new RecordCursor().read(bytes, Math.min(offset, bytes.length), seed), false)
        } catch (error) {
          assert.ok(KeelsonError.hasCode(error, 'MALFORMED'))
        }
      }),
    )
  })

  test('are refused by type even behind a right checksum', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 100 }),
        fc.constantFrom(undefined, 1, 2, 3, 4, 5, 6, 7, 8),
        (random, type) => {
          const body = type === undefined ? random : Uint8Array.of(type, ...random)
          const bytes = new Uint8Array(8 + body.length)
          const view = new DataView(bytes.buffer)
          view.setUint32(4, body.length, true)
          bytes.set(body, 8)
          view.setUint32(0, crc32(bytes.subarray(4), seed), true)
          try {
            const record = new RecordCursor()
            if (!record.read(bytes, 0, seed)) return
            if (record.type < 3) record.entries(record.first, record.last, 1_000, [])
            if (record.type === 8) record.runs()
          } catch (error) {
            assert.ok(KeelsonError.hasCode(error, 'MALFORMED'), String(error))
          }
        },
      ),
      { numRuns: 1_000 },
    )
  })

  test('are refused where a payload has another checksum', () => {
    const header = { payloadBytes: 3, position: 0, synced: 0, first: 0 }
    const payload = Uint8Array.of(1, 2, 3)
    assert.equal(checkPayload(payload, { ...header, checksum: crc32(payload, seed) }, seed), true)
    assert.equal(checkPayload(payload, { ...header, checksum: undefined }, seed), false)
    assert.throws(() => checkPayload(payload, { ...header, checksum: crc32(payload) }, seed), {
      code: 'MALFORMED',
    })
  })

  test('in a segment lead to an error by name or to a prefix', async () => {
    const fs = new MemoryFileSystem()
    const store = await segments('log', { fileSystem: fs.mount(), segmentBytes: 16 * 1024 })(newContext())
    for (let i = 1; i <= 10; i++) await store.write([{ groupId: 1, entries: [entry(i)] }])
    const image = fs.copy()
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(2_000), fc.uint8Array({ minLength: 1, maxLength: 60 })), {
          minLength: 1,
          maxLength: 4,
        }),
        async (patches) => {
          const copy = image.copy()
          const bytes = copy.contents('log/0000000000000001.segment')
          for (const [at, patch] of patches) bytes.set(patch, at)
          copy.setContents('log/0000000000000001.segment', bytes)
          try {
            const opened = await segments('log', { fileSystem: copy.mount(), segmentBytes: 16 * 1024 })(
              newContext(),
            )
            const last = opened.recovered().get(1)?.last.index ?? 0
            assert.ok(last <= 10)
            await assertEntries(opened, 1, last)
            await opened.close()
          } catch (error) {
            assert.ok(KeelsonError.hasCode(error, 'CORRUPTION', 'FORMAT_VERSION'), String(error))
          }
        },
      ),
      { numRuns: 200 },
    )
  })
})

suite('version 1 of the mark of where a log ended', () => {
  const goldenMark = '4b45454c454e440a01000000642d61e9b758063a23ee02000500000000010000'

  test('is what is written, and read', () => {
    const incarnation = 824785018181815
    const end = 2 ** 40 + 5
    assert.equal(Buffer.from(encodeEndMark(end, incarnation)).toString('hex'), goldenMark)
    assert.equal(decodeEndMark(fromHex(goldenMark), incarnation), end)
    assert.equal(decodeEndMark(fromHex(goldenMark), incarnation + 1), undefined)
    for (let at = 0; at < 32; at++) {
      const spoilt = fromHex(goldenMark)
      spoilt[at] = (spoilt[at] as number) ^ 4
      assert.equal(decodeEndMark(spoilt, incarnation), undefined)
    }
  })
})
