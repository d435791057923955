import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { crc32 } from '../../src/core/checksum.ts'
import { KeelsonError } from '../../src/core/errors.ts'
import { SeededRandom } from '../../src/core/random.ts'
import type { LogStore, LogStoreContext } from '../../src/interfaces/log-store.ts'
import { levelLog } from '../../src/storage/level/index.ts'
import {
  checksumSeed,
  readBatchHeader,
  readEntries,
  readEntriesHeader,
  readRecord,
} from '../../src/storage/log-format.ts'
import { MemoryFileSystem, MemoryLevel } from '../../src/storage/memory/index.ts'
import { segments } from '../../src/storage/segments/index.ts'
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

async function assertSample(store: LogStore): Promise<void> {
  const found = store.recovered()
  assert.equal(found.size, 3)
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

const identity = `keelson store
format segments 1
cluster c
node n
incarnation 824785018181815
state ready
checksum dd58dfa2
`

// What version 1 writes. A change here is a new version of the format, and an old one must still be read or refused.
const goldenSegment = `
  4b45454c5345470a010000000000000001000000000000000000000000000000b758063a23ee020045a230ee00000000
  000000000000000000000000000000004b4c423100000000000000000000000000000000000000000000000000000000
  c38c01c8000000004b4c4231680000002800000000000000280000000000000000000000000000003da699d600000000
  f6f448f20700000006ac02c0843d074a27e2ab1300000001ac02c1843d02ac02070000ac0201030102033e40e3720900
  000003ac02ac0202c1843d5f7732830500000004ac02aabb0370dbbf1400000001ffffffffffffff0f01010101010526
  2728292a000000004b4c423120000000b800000000000000b8000000000000000000000000000000a850413e00000000
  0e891c7b0700000005ac02c1843d07c583621003000000070509000000000000
`

const goldenBatches = [
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

suite('version 1 of the format', () => {
  test('is what segments write, and read', async () => {
    const fs = new MemoryFileSystem()
    const open = segments('log', { fileSystem: fs.mount(), segmentBytes: 16 * 1024 })
    const store = await open(fixedContext())
    await writeSample(store)
    const bytes = fs.contents('log/0000000000000001.segment')
    assert.equal(Buffer.from(fs.contents('log/IDENTITY')).toString(), identity)
    assert.equal(Buffer.from(trimmed(bytes)).toString('hex'), goldenSegment.replaceAll(/\s/g, ''))

    const old = new MemoryFileSystem()
    old.setContents('log/IDENTITY', new Uint8Array(Buffer.from(identity)))
    const image = new Uint8Array(16 * 1024)
    image.set(fromHex(goldenSegment))
    old.setContents('log/0000000000000001.segment', image)
    const again = await segments('log', { fileSystem: old.mount(), segmentBytes: 16 * 1024 })(newContext())
    await assertSample(again)
    await again.close()
  })

  test('is what a level holds, and reads', async () => {
    const options = { keyEncoding: 'view', valueEncoding: 'view' }
    const database = new MemoryLevel<Uint8Array, Uint8Array>(options)
    const store = await levelLog(database)(fixedContext())
    await writeSample(store)
    const pairs = await database.iterator().all()
    assert.deepEqual(
      pairs.map(
        ([key, value]) => `${Buffer.from(key).toString('hex')} ${Buffer.from(value).toString('hex')}`,
      ),
      goldenBatches,
    )
    const old = new MemoryLevel<Uint8Array, Uint8Array>(options)
    for (const pair of goldenBatches) {
      const [key, value] = pair.split(' ') as [string, string]
      await old.put(fromHex(key), fromHex(value))
    }
    const again = await levelLog(old)(newContext())
    await assertSample(again)
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
          const record = readRecord(bytes, Math.min(offset, bytes.length), seed)
          assert.equal(record, undefined)
        } catch (error) {
          assert.ok(KeelsonError.hasCode(error, 'MALFORMED'))
        }
      }),
    )
  })

  test('are refused by type even behind a right checksum', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (body) => {
        const bytes = new Uint8Array(8 + body.length)
        const view = new DataView(bytes.buffer)
        view.setUint32(4, body.length, true)
        bytes.set(body, 8)
        view.setUint32(0, crc32(bytes.subarray(4), seed), true)
        try {
          const record = readRecord(bytes, 0, seed)
          if (record === undefined) return
          const header = readEntriesHeader(record)
          readEntries(record, header, header.first, header.last, 1_000, [])
        } catch (error) {
          assert.ok(KeelsonError.hasCode(error, 'MALFORMED'), String(error))
        }
      }),
      { numRuns: 500 },
    )
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
