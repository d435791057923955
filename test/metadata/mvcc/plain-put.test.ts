import assert from 'node:assert/strict'
import { test } from 'node:test'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { ByteReader, ByteWriter, concatBytes, hex, utf8 } from '../../../src/core/bytes.ts'
import { decodeCommand, encodeCommand, type MetadataCommand } from '../../../src/metadata/mvcc/commands.ts'
import { PlainPut } from '../../../src/metadata/mvcc/plain-put.ts'
import type { Version } from '../../../src/metadata/mvcc/version.ts'
import { Machine } from './machine.ts'

type Put = { readonly key: Uint8Array; readonly value: Uint8Array; readonly quotaBytes: number }
type Step =
  | { readonly type: 'put'; readonly put: Put }
  | { readonly type: 'command'; readonly command: MetadataCommand }
  | { readonly type: 'compact'; readonly back: number }
  | { readonly type: 'view' }
  | { readonly type: 'flush' }
  | { readonly type: 'again' }

const plenty = 2 ** 31
const key = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom('a', 'b', 'c', 'd', 'long'.padEnd(300, 'x')).map(utf8) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 40 }) },
  { weight: 1, arbitrary: fc.constant(new Uint8Array(4097)) },
)
const value = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc.integer({ min: 200, max: 1200 }).map((length) => new Uint8Array(length).fill(length)),
)
const put: fc.Arbitrary<Put> = fc.record({
  key,
  value,
  quotaBytes: fc.oneof({ weight: 9, arbitrary: fc.constant(plenty) }, { weight: 1, arbitrary: fc.nat(4000) }),
})
const transaction = (then: object): MetadataCommand =>
  ({ type: 'txn', quotaBytes: plenty, transaction: { then: [then] } }) as MetadataCommand
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 20, arbitrary: put.map((each) => ({ type: 'put' as const, put: each })) },
  {
    weight: 3,
    arbitrary: fc.constantFrom('a', 'b', 'c', 'd').map((each) => ({
      type: 'command' as const,
      command: transaction({ type: 'delete', select: { key: utf8(each) } }),
    })),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(fc.constantFrom('a', 'b'), fc.nat(3)).map(([each, session]) => ({
      type: 'command' as const,
      command: transaction({ type: 'put', key: utf8(each), value: utf8('of a session'), session }),
    })),
  },
  {
    weight: 1,
    arbitrary: fc.constant({
      type: 'command' as const,
      command: { type: 'grant' as const, holder: 'h', ttlMs: 5 },
    }),
  },
  {
    weight: 1,
    arbitrary: fc.constant({
      type: 'command' as const,
      command: { type: 'revoke' as const, sessionIds: [1, 2, 3] },
    }),
  },
  { weight: 2, arbitrary: fc.nat(8).map((back) => ({ type: 'compact' as const, back })) },
  { weight: 1, arbitrary: fc.constant({ type: 'view' as const }) },
  { weight: 1, arbitrary: fc.constant({ type: 'flush' as const }) },
  { weight: 1, arbitrary: fc.constant({ type: 'again' as const }) },
)

function command({ key: name, value: content, quotaBytes }: Put): MetadataCommand {
  return { type: 'txn', quotaBytes, transaction: { then: [{ type: 'put', key: name, value: content }] } }
}

/** The same command with lengths in four bytes, which means the same and is read in the thorough way. */
function atLength({ key: name, value: content, quotaBytes }: Put): Uint8Array {
  const sized = (bytes: Uint8Array): Uint8Array =>
    Uint8Array.of(0xc6, 0, 0, bytes.length >>> 8, bytes.length, ...bytes)
  const quota = [24, 16, 8, 0].map((shift) => quotaBytes >>> shift)
  const head = Uint8Array.of(0x94, 1, 0, 0xce, ...quota, 0x93, 0x90, 0x91, 0x94, 0)
  return concatBytes([head, sized(name), sized(content), Uint8Array.of(0, 0x90)])
}

function shown(version: Version | undefined): unknown {
  if (version === undefined) return undefined
  const { createRevision, modRevision, version: count, session, sub, deleted } = version
  return [hex(version.key), hex(version.value), createRevision, modRevision, count, session, sub, deleted]
}

/** All that the two can be told from: hash, sizes, and every event with what was there before. */
function world({ machine }: Machine): unknown {
  const { reader } = machine
  const events: unknown[] = []
  for (let revision = reader.historyFrom; revision <= reader.revision; revision++)
    for (const version of reader.eventsOf(revision))
      events.push([shown(version), shown(reader.previousOf(version))])
  const { versions } = reader.range({ key: new Uint8Array(0), end: null }, { entries: 1e6, bytes: 1e9 })
  const { revision, compactRevision, historyFrom } = reader
  return [
    machine.digest(),
    machine.bytes,
    revision,
    compactRevision,
    historyFrom,
    events,
    versions.map(shown),
  ]
}

async function snapshotOf({ machine }: Machine): Promise<string[]> {
  const parts: string[] = []
  await using snapshot = await machine.snapshot()
  for await (const chunk of snapshot.chunks()) parts.push(hex(chunk))
  return parts
}

/** The hash of a state from its snapshot alone: the sums of two hashes of each record, which no release may change. */
async function hashOf({ machine }: Machine): Promise<string> {
  const chunks: Uint8Array[] = []
  await using snapshot = await machine.snapshot()
  for await (const chunk of snapshot.chunks()) chunks.push(chunk)
  const reader = new ByteReader(concatBytes(chunks), 'a snapshot')
  const { revision, compactRevision, historyFrom } = machine.reader
  const hashed = [new ByteWriter().varint(revision).varint(compactRevision).varint(historyFrom).finish()]
  while (reader.remaining > 0) {
    const kind = reader.u8()
    const record = reader.bytes()
    if (kind === 2 || kind === 3) hashed.push(record)
  }
  let first = 0
  let second = 0
  for (const record of hashed) {
    let fnv = 0x811c9dc5
    for (const byte of record) fnv = Math.imul(fnv ^ byte, 0x01000193)
    first = (first + crc32(record)) >>> 0
    second = (second + fnv) >>> 0
  }
  return [first, second].map((lane) => lane.toString(16).padStart(8, '0')).join('')
}

async function imageOf({ machine, database }: Machine): Promise<[string, string][]> {
  await machine.flush()
  const views = { keyEncoding: 'view', valueEncoding: 'view' } as const
  const all = await database.iterator<Uint8Array, Uint8Array>(views).all()
  return all.map(([name, content]) => [hex(name), hex(content)])
}

test('a put that is read in one pass does what it does in the thorough way, to the last byte', async () => {
  let quickly = 0
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 80, size: 'max' }), async (steps) => {
      let quick = await new Machine().open()
      let thorough = await new Machine().open()
      const views: Promise<string[]>[][] = []
      for (const each of steps) {
        const both = [quick, thorough]
        if (each.type === 'put') {
          const encoded = encodeCommand(command(each.put))
          assert.equal(new PlainPut().read(atLength(each.put)), false)
          if (new PlainPut().read(encoded)) quickly++
          const [answer] = await quick.applyBytes(encoded)
          const [expected] = await thorough.applyBytes(atLength(each.put))
          assert.deepEqual(answer, expected)
        } else if (each.type === 'view') {
          // Read at the end, when much has changed.
          const snapshots = await Promise.all(both.map(async ({ machine }) => machine.snapshot()))
          views.push(
            snapshots.map(async (snapshot) => {
              await new Promise(setImmediate)
              const parts: string[] = []
              for await (const chunk of snapshot.chunks()) parts.push(hex(chunk))
              return parts
            }),
          )
        } else if (each.type === 'flush') for (const { machine } of both) await machine.flush()
        else if (each.type === 'again') {
          for (const one of both) await one.close()
          quick = await new Machine(quick.disk).open()
          thorough = await new Machine(thorough.disk).open()
        } else {
          const { revision } = quick.machine.reader
          const other: MetadataCommand =
            each.type === 'command'
              ? each.command
              : { type: 'compact', revision: Math.max(0, revision - each.back) }
          assert.deepEqual(await quick.one(other), await thorough.one(other))
        }
      }
      assert.deepEqual(world(quick), world(thorough))
      for (const pair of views) assert.deepEqual(await pair[0], await pair[1])
      assert.deepEqual(await snapshotOf(quick), await snapshotOf(thorough))
      assert.deepEqual(await imageOf(quick), await imageOf(thorough))
      assert.equal(await hashOf(quick), quick.machine.digest())
      await quick.machine.verify()
    }),
    { numRuns: 100, endOnFailure: true },
  )
  assert.ok(quickly > 1000, `${quickly} were read in one pass`)
})

test('what is read in one pass is what the thorough decoder reads, also of damaged bytes', () => {
  let read = 0
  const damage = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 2 })
  fc.assert(
    fc.property(put, damage, fc.nat(3), fc.maxSafeNat(), (given, changes, cut, quotaBytes) => {
      const whole = encodeCommand(command({ ...given, quotaBytes }))
      for (const [at, byte] of changes) whole[at % Math.min(whole.length, 40)] = byte
      const encoded = whole.subarray(0, whole.length - (cut === 3 ? 1 : 0))
      const quick = new PlainPut()
      if (!quick.read(encoded)) return
      read++
      const then = [{ type: 'put', key: quick.key, value: quick.value, session: 0 }]
      assert.deepEqual(decodeCommand(encoded), {
        type: 'txn',
        quotaBytes: quick.quotaBytes,
        transaction: { if: [], then, else: [] },
      })
    }),
    { numRuns: 2000 },
  )
  assert.ok(read > 200, `${read} were read`)
})
