import assert from 'node:assert/strict'
import type { Environment } from '../core/environment.ts'
import type { ErrorCode } from '../core/errors.ts'
import { KeelsonError } from '../core/errors.ts'
import { nodeEnvironment } from '../core/node-environment.ts'
import { SeededRandom } from '../core/random.ts'
import type {
  EntryKind,
  GroupWrite,
  LogEntry,
  LogStore,
  LogStoreContext,
  LogStoreFactory,
  RecoveredGroup,
} from '../interfaces/log-store.ts'
import type { ComplianceCase } from './compliance.ts'

/** A place where a log can live: a directory, a database. Stores are opened on it one after the other. */
export interface LogStorePlace {
  readonly open: LogStoreFactory
  /**
   * Does to the open store what a power cut does: it is gone without being closed, and nothing that was not durable may
   * be relied on. Cases that need it are skipped where it is missing.
   */
  readonly crash?: () => Promise<void>
  /** Removes the place after the case. */
  readonly dispose?: () => Promise<void>
}

/** What the suite is run against: makes a new, empty place for each case. */
export interface LogStoreSubject {
  readonly create: () => Promise<LogStorePlace>
  /** Where the stores live. Default: the real world, for each store anew. */
  readonly env?: () => Environment
}

/** The context in which the suite opens stores. */
function contextOf(
  subject: LogStoreSubject,
  names: { clusterId?: string; nodeId?: string } = {},
): LogStoreContext {
  return {
    env: subject.env?.() ?? nodeEnvironment(),
    clusterId: names.clusterId ?? 'compliance',
    nodeId: names.nodeId ?? 'n1',
  }
}

/** Entries `from` to `to` of one term, with data that tells where it belongs. */
function entries(from: number, to: number, term = 1, dataBytes = 12): LogEntry[] {
  return Array.from({ length: to - from + 1 }, (_, i) => entry(from + i, term, dataBytes))
}

function entry(index: number, term: number, dataBytes = 12): LogEntry {
  const data = new Uint8Array(dataBytes)
  for (let i = 0; i < dataBytes; i++) data[i] = (index * 31 + term * 7 + i) & 0xff
  return { index, term, kind: (index % 4) as EntryKind, data }
}

async function refuses(code: ErrorCode, action: () => Promise<unknown>): Promise<KeelsonError> {
  let thrown: Error | undefined
  try {
    await action()
  } catch (error) {
    thrown = error as Error
  }
  assert.ok(
    KeelsonError.is(thrown),
    `should be refused with ${code}, but was ${thrown === undefined ? 'accepted' : String(thrown)}`,
  )
  assert.equal(thrown.code, code, thrown.message)
  return thrown
}

/** Plain objects and arrays, so that a Buffer equals the bytes it holds. */
function plain(found: readonly LogEntry[]): unknown[] {
  return found.map(({ index, term, kind, data }) => ({ index, term, kind, data: [...data] }))
}

async function assertLog(store: LogStore, groupId: number, expected: readonly LogEntry[]): Promise<void> {
  const first = expected[0] as LogEntry
  const last = expected.at(-1) as LogEntry
  const found: LogEntry[] = []
  while (found.length < expected.length) {
    found.push(...(await store.read(groupId, first.index + found.length, last.index, 64 * 1024)))
  }
  assert.deepEqual(plain(found), plain(expected))
  await refuses('NOT_FOUND', () => store.read(groupId, last.index + 1, last.index + 1, 1))
}

function recoveredOf(store: LogStore, groupId: number): RecoveredGroup {
  const found = store.recovered().get(groupId)
  assert.ok(found !== undefined, `group ${groupId} should have been recovered`)
  assert.equal(found.groupId, groupId)
  return found
}

const hardState = { term: 3, votedFor: 2, commit: 4 }

/** A body that gets a place and closes what it opened through `open`. */
function onPlace(
  body: (
    open: (names?: { clusterId?: string; nodeId?: string }) => Promise<LogStore>,
    place: LogStorePlace,
  ) => Promise<void>,
): (subject: LogStoreSubject) => Promise<void> {
  return async (subject) => {
    const place = await subject.create()
    const opened: LogStore[] = []
    try {
      await body(
        async (names) => {
          const store = await place.open(contextOf(subject, names))
          opened.push(store)
          return store
        },
        withCrash(place, opened),
      )
    } finally {
      for (const store of opened) await store.close()
      await place.dispose?.()
    }
  }
}

/** Who crashed cannot be closed any more. */
function withCrash(place: LogStorePlace, opened: LogStore[]): LogStorePlace {
  const { crash } = place
  if (crash === undefined) return place
  return {
    ...place,
    crash: async () => {
      opened.length = 0
      await crash()
    },
  }
}

/** Each check gets a store that was written to, then the same place opened again. */
function twice(
  write: (store: LogStore) => Promise<void>,
  check: (store: LogStore) => Promise<void>,
): (subject: LogStoreSubject) => Promise<void> {
  return onPlace(async (open) => {
    const store = await open()
    await write(store)
    await check(store)
    await store.close()
    await check(await open())
  })
}

function afterCrash(
  body: (open: () => Promise<LogStore>, crash: () => Promise<void>) => Promise<void>,
): (subject: LogStoreSubject) => Promise<void> {
  return onPlace(async (open, { crash }) => {
    if (crash !== undefined) await body(() => open(), crash)
  })
}

/**
 * What every {@link LogStore} must do, as cases for any test runner. Each case opens its own stores on a new place and
 * closes them.
 */
export function logStoreCompliance(subject: LogStoreSubject): readonly ComplianceCase[] {
  return cases.map(({ name, run }) => ({ name, run: () => run(subject) }))
}

interface Case {
  readonly name: string
  readonly run: (subject: LogStoreSubject) => Promise<void>
}

const cases: readonly Case[] = [
  {
    name: 'a new store is empty and has an incarnation',
    run: onPlace(async (open) => {
      const store = await open()
      assert.equal(store.recovered().size, 0)
      assert.ok(Number.isSafeInteger(store.incarnation) && store.incarnation > 0)
    }),
  },
  {
    name: 'the incarnation stays with the place and differs between places',
    run: async (subject) => {
      const seen = new Set<number>()
      for (let i = 0; i < 2; i++) {
        await onPlace(async (open) => {
          const store = await open()
          await store.close()
          assert.equal((await open()).incarnation, store.incarnation)
          seen.add(store.incarnation)
        })(subject)
      }
      assert.equal(seen.size, 2)
    },
  },
  {
    name: 'what was written is read back, now and after a restart',
    run: twice(
      (store) => store.write([{ groupId: 7, entries: entries(1, 20) }]),
      (store) => assertLog(store, 7, entries(1, 20)),
    ),
  },
  {
    name: 'hard state, metadata and positions are recovered',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([
        { groupId: 7, entries: entries(1, 5, 3), hardState, metadata: Uint8Array.of(1, 2, 3) },
        { groupId: 9, hardState: { term: 1, votedFor: 0, commit: 0 } },
      ])
      await store.write([{ groupId: 7, hardState: { term: 4, votedFor: 0, commit: 5 } }])
      assert.equal(store.recovered().size, 0, 'recovered() tells what was found on opening')
      await store.close()
      const again = await open()
      assert.equal(again.recovered().size, 2)
      const seven = recoveredOf(again, 7)
      assert.deepEqual(seven.hardState, { term: 4, votedFor: 0, commit: 5 })
      assert.deepEqual([...(seven.metadata as Uint8Array)], [1, 2, 3])
      assert.deepEqual(seven.compacted, { index: 0, term: 0 })
      assert.deepEqual(seven.last, { index: 5, term: 3 })
      const nine = recoveredOf(again, 9)
      assert.equal(nine.metadata, undefined)
      assert.deepEqual(nine.last, { index: 0, term: 0 })
    }),
  },
  {
    name: 'metadata is replaced and may be empty',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, metadata: Uint8Array.of(9) }])
      await store.write([{ groupId: 1, metadata: new Uint8Array(0) }])
      await store.close()
      assert.equal(recoveredOf(await open(), 1).metadata?.length, 0)
    }),
  },
  {
    name: 'a later write replaces the end of the log',
    run: twice(
      async (store) => {
        await store.write([{ groupId: 1, entries: entries(1, 10, 1) }])
        await store.write([{ groupId: 1, entries: entries(6, 7, 2) }])
        await store.write([{ groupId: 1, entries: entries(8, 8, 3) }])
      },
      (store) => assertLog(store, 1, [...entries(1, 5, 1), ...entries(6, 7, 2), ...entries(8, 8, 3)]),
    ),
  },
  {
    name: 'the whole log can be replaced',
    run: twice(
      async (store) => {
        await store.write([{ groupId: 1, entries: entries(1, 3, 1) }])
        await store.write([{ groupId: 1, entries: entries(1, 2, 2) }])
      },
      (store) => assertLog(store, 1, entries(1, 2, 2)),
    ),
  },
  {
    name: 'the last term is known after a replacement within one write',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 10, 1) }])
      await store.write([{ groupId: 1, entries: [...entries(4, 5, 2), ...entries(6, 6, 9)] }])
      await store.close()
      assert.deepEqual(recoveredOf(await open(), 1).last, { index: 6, term: 9 })
    }),
  },
  {
    name: 'a reset drops the log and the next entry follows it',
    run: twice(
      async (store) => {
        await store.write([{ groupId: 1, entries: entries(1, 10), hardState }])
        await store.write([{ groupId: 1, reset: { index: 100, term: 5 } }])
        await store.write([{ groupId: 1, entries: entries(101, 103, 6) }])
      },
      async (store) => {
        await assertLog(store, 1, entries(101, 103, 6))
        await refuses('COMPACTED', () => store.read(1, 100, 101, 1000))
        await refuses('COMPACTED', () => store.read(1, 1, 1, 1000))
      },
    ),
  },
  {
    name: 'a reset with entries and hard state in one write, also to a lower index',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 10), metadata: Uint8Array.of(5) }])
      await store.write([{ groupId: 1, reset: { index: 4, term: 8 }, entries: entries(5, 6, 9), hardState }])
      await store.close()
      const again = await open()
      const found = recoveredOf(again, 1)
      assert.deepEqual(found.compacted, { index: 4, term: 8 })
      assert.deepEqual(found.last, { index: 6, term: 9 })
      assert.deepEqual(found.hardState, hardState)
      assert.deepEqual([...(found.metadata as Uint8Array)], [5])
      await assertLog(again, 1, entries(5, 6, 9))
    }),
  },
  {
    name: 'one write may name a group twice',
    run: twice(
      (store) =>
        store.write([
          { groupId: 1, entries: entries(1, 4, 1) },
          { groupId: 1, entries: entries(3, 6, 2) },
        ]),
      (store) => assertLog(store, 1, [...entries(1, 2, 1), ...entries(3, 6, 2)]),
    ),
  },
  {
    name: 'many groups in one write are kept apart',
    run: twice(
      (store) =>
        store.write(
          Array.from({ length: 200 }, (_, i) => ({ groupId: i + 1, entries: entries(1, 3, i + 1) })),
        ),
      async (store) => {
        for (let i = 0; i < 200; i++) await assertLog(store, i + 1, entries(1, 3, i + 1))
      },
    ),
  },
  {
    name: 'large ids, indexes and terms survive',
    run: twice(
      (store) =>
        store.write([
          {
            groupId: Number.MAX_SAFE_INTEGER,
            reset: { index: 2 ** 52, term: 2 ** 51 },
            entries: [entry(2 ** 52 + 1, 2 ** 52)],
            hardState: { term: 2 ** 52, votedFor: 2 ** 40, commit: 2 ** 52 },
          },
        ]),
      (store) => assertLog(store, Number.MAX_SAFE_INTEGER, [entry(2 ** 52 + 1, 2 ** 52)]),
    ),
  },
  {
    name: 'entries without data and entries of a megabyte',
    run: twice(
      (store) =>
        store.write([
          {
            groupId: 1,
            entries: [entry(1, 1, 0), entry(2, 1, 1_000_000), entry(3, 1, 0), entry(4, 1, 70_000)],
          },
        ]),
      (store) =>
        assertLog(store, 1, [entry(1, 1, 0), entry(2, 1, 1_000_000), entry(3, 1, 0), entry(4, 1, 70_000)]),
    ),
  },
  {
    name: 'an empty write is welcome and changes nothing',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([])
      await store.write([{ groupId: 1, entries: [] }])
      await refuses('NOT_FOUND', () => store.read(1, 1, 1, 1))
    }),
  },
  {
    name: 'read stops at the byte limit, but gives at least one entry',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 10, 1, 100) }])
      const count = async (from: number, to: number, limit: number): Promise<number> =>
        (await store.read(1, from, to, limit)).length
      assert.equal(await count(1, 10, 1_000), 10)
      assert.equal(await count(1, 10, 999), 9)
      assert.equal(await count(1, 10, 350), 3)
      assert.equal(await count(1, 10, 0), 1)
      assert.equal(await count(4, 5, 10_000), 2)
      assert.equal(await count(10, 10, 10_000), 1)
    }),
  },
  {
    name: 'read refuses what is not there',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 3) }])
      await refuses('NOT_FOUND', () => store.read(1, 4, 4, 100))
      await refuses('NOT_FOUND', () => store.read(1, 2, 4, 100_000))
      await refuses('NOT_FOUND', () => store.read(2, 1, 1, 100))
      await refuses('INVALID_ARGUMENT', () => store.read(1, 3, 2, 100))
      await refuses('INVALID_ARGUMENT', () => store.read(1, 0, 2, 100))
      await refuses('INVALID_ARGUMENT', () => store.read(1, 1.5, 2, 100))
    }),
  },
  {
    name: 'read sees writes that were started, not only finished, before',
    run: onPlace(async (open) => {
      const store = await open()
      const first = store.write([{ groupId: 1, entries: entries(1, 3) }])
      const second = store.write([{ groupId: 1, entries: entries(3, 5, 2) }])
      assert.deepEqual(
        plain(await store.read(1, 1, 5, 10_000)),
        plain([...entries(1, 2), ...entries(3, 5, 2)]),
      )
      await Promise.all([first, second])
    }),
  },
  {
    name: 'the store keeps its own copy of what it was given',
    run: onPlace(async (open) => {
      const store = await open()
      const data = Buffer.from('unchanged')
      const metadata = Buffer.from('also')
      const written = store.write([{ groupId: 1, entries: [{ index: 1, term: 1, kind: 1, data }], metadata }])
      data.fill(0)
      metadata.fill(0)
      await written
      const [found] = await store.read(1, 1, 1, 100)
      assert.equal(Buffer.from((found as LogEntry).data).toString(), 'unchanged')
      ;(found as LogEntry).data.fill(0)
      const [again] = await store.read(1, 1, 1, 100)
      assert.equal(Buffer.from((again as LogEntry).data).toString(), 'unchanged')
      await store.close()
      assert.equal(Buffer.from(recoveredOf(await open(), 1).metadata as Uint8Array).toString(), 'also')
    }),
  },
  {
    name: 'overlapping writes resolve in their order',
    run: onPlace(async (open) => {
      const store = await open()
      const order: number[] = []
      const writes: Promise<void>[] = []
      for (let i = 1; i <= 100; i++) {
        // Sizes differ, so that batches are cut at odd places; turns pass, so that several syncs are needed.
        const write: GroupWrite = { groupId: 1 + (i % 3), hardState: { term: i, votedFor: 0, commit: 0 } }
        const large: GroupWrite[] = i % 10 === 0 ? [{ groupId: 9, entries: [entry(i / 10, 1, 100_000)] }] : []
        writes.push(store.write([write, ...large]).then(() => void order.push(i)))
        if (i % 7 === 0) await new Promise((resolve) => queueMicrotask(() => resolve(undefined)))
      }
      await Promise.all(writes)
      assert.deepEqual(
        order,
        Array.from({ length: 100 }, (_, i) => i + 1),
      )
    }),
  },
  {
    name: 'a refused write leaves no trace',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 3), hardState }])
      const bad: [string, readonly GroupWrite[]][] = [
        ['gap', [{ groupId: 1, entries: entries(5, 6) }]],
        ['hole within', [{ groupId: 1, entries: [entry(4, 1), entry(6, 1)] }]],
        ['falling term', [{ groupId: 1, entries: [entry(4, 2), entry(5, 1)] }]],
        ['group id', [{ groupId: 0, entries: entries(1, 1) }]],
        ['group id', [{ groupId: 1.5, entries: entries(1, 1) }]],
        ['index 0', [{ groupId: 1, entries: [entry(0, 1)] }]],
        [
          'second group',
          [
            { groupId: 2, entries: entries(1, 1) },
            { groupId: 1, entries: entries(9, 9) },
          ],
        ],
        [
          'same group again',
          [
            { groupId: 1, entries: entries(4, 4) },
            { groupId: 1, entries: entries(6, 6) },
          ],
        ],
        ['term', [{ groupId: 1, hardState: { term: -1, votedFor: 0, commit: 0 } }]],
        ['commit', [{ groupId: 1, hardState: { term: 1, votedFor: 0, commit: 2 ** 53 } }]],
        ['reset', [{ groupId: 1, reset: { index: Number.NaN, term: 1 } }]],
        ['behind its reset', [{ groupId: 1, reset: { index: 5, term: 1 }, entries: entries(7, 8) }]],
        ['no bytes', [{ groupId: 1, metadata: 'text' as unknown as Uint8Array }]],
        ['no data', [{ groupId: 1, entries: [{ ...entry(4, 1), data: [] as unknown as Uint8Array }] }]],
        ['kind', [{ groupId: 1, entries: [{ ...entry(4, 1), kind: 7 as EntryKind }] }]],
      ]
      for (const [, batch] of bad) await refuses('INVALID_ARGUMENT', () => store.write(batch))
      await assertLog(store, 1, entries(1, 3))
      await store.write([{ groupId: 1, entries: entries(4, 4) }])
      await store.close()
      const again = await open()
      assert.equal(again.recovered().size, 1)
      assert.deepEqual(recoveredOf(again, 1).hardState, hardState)
      await assertLog(again, 1, entries(1, 4))
    }),
  },
  {
    name: 'compaction hides entries at once and is durable with the next write of the group',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: [...entries(1, 5, 1), ...entries(6, 10, 2)] }])
      await store.compact(1, { index: 6, term: 2 })
      await refuses('COMPACTED', () => store.read(1, 6, 7, 1000))
      await assertLog(store, 1, entries(7, 10, 2))
      await store.compact(1, { index: 3, term: 1 })
      await refuses('COMPACTED', () => store.read(1, 6, 7, 1000))
      await store.write([{ groupId: 1, entries: entries(11, 11, 2) }])
      await store.close()
      const again = await open()
      assert.deepEqual(recoveredOf(again, 1).compacted, { index: 6, term: 2 })
      assert.deepEqual(recoveredOf(again, 1).last, { index: 11, term: 2 })
      await assertLog(again, 1, entries(7, 11, 2))
    }),
  },
  {
    name: 'a log that is compacted to its end goes on behind it',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 5, 4) }])
      await store.compact(1, { index: 5, term: 4 })
      await refuses('COMPACTED', () => store.read(1, 5, 5, 1000))
      await refuses('NOT_FOUND', () => store.read(1, 6, 6, 1000))
      await refuses('INVALID_ARGUMENT', () => store.write([{ groupId: 1, entries: entries(7, 7, 4) }]))
      await store.write([{ groupId: 1, entries: entries(6, 6, 4) }])
      await store.compact(1, { index: 6, term: 4 })
      await store.write([{ groupId: 1, hardState }])
      await store.close()
      const again = await open()
      assert.deepEqual(recoveredOf(again, 1).last, { index: 6, term: 4 })
      await again.write([{ groupId: 1, entries: entries(7, 8, 4) }])
      await assertLog(again, 1, entries(7, 8, 4))
    }),
  },
  {
    name: 'compaction beyond the end of the log is refused',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 3) }])
      await refuses('INVALID_ARGUMENT', () => store.compact(1, { index: 4, term: 1 }))
      await refuses('INVALID_ARGUMENT', () => store.compact(2, { index: 1, term: 1 }))
      await assertLog(store, 1, entries(1, 3))
    }),
  },
  {
    name: 'the end of a log can be replaced behind a compaction, not before it',
    run: twice(
      async (store) => {
        await store.write([{ groupId: 1, entries: entries(1, 10, 1) }])
        await store.compact(1, { index: 5, term: 1 })
        await refuses('INVALID_ARGUMENT', () => store.write([{ groupId: 1, entries: entries(5, 6, 2) }]))
        await store.write([{ groupId: 1, entries: entries(6, 6, 2) }])
      },
      (store) => assertLog(store, 1, entries(6, 6, 2)),
    ),
  },
  {
    name: 'destroy removes log and hard state and keeps the tombstone',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 5), hardState, metadata: Uint8Array.of(1) }])
      await store.write([{ groupId: 2, entries: entries(1, 2) }])
      await store.destroy(1, Uint8Array.of(7, 7))
      await refuses('NOT_FOUND', () => store.read(1, 1, 1, 100))
      await store.close()
      const again = await open()
      const found = recoveredOf(again, 1)
      assert.equal(found.hardState, undefined)
      assert.deepEqual([...(found.metadata as Uint8Array)], [7, 7])
      assert.deepEqual(found.last, { index: 0, term: 0 })
      await assertLog(again, 2, entries(1, 2))
    }),
  },
  {
    name: 'a destroyed group without a tombstone does not appear, and its id can be used again',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 5), hardState, metadata: Uint8Array.of(1) }])
      await store.destroy(1, new Uint8Array(0))
      await store.destroy(4, new Uint8Array(0))
      await store.close()
      const again = await open()
      assert.equal(again.recovered().size, 0)
      await again.write([{ groupId: 1, entries: entries(1, 2, 6) }])
      await again.close()
      const third = await open()
      assert.equal(recoveredOf(third, 1).hardState, undefined)
      await assertLog(third, 1, entries(1, 2, 6))
    }),
  },
  {
    name: 'much is written, truncated and compacted, and equals a model',
    run: onPlace(async (open) => {
      const random = new SeededRandom(42)
      const model = new Map<number, { compacted: number; entries: LogEntry[]; term: number }>()
      let store = await open()
      const check = async (): Promise<void> => {
        for (const [groupId, group] of model) {
          if (group.entries.length > 0) await assertLog(store, groupId, group.entries)
          else
            await refuses('NOT_FOUND', () => store.read(groupId, group.compacted + 1, group.compacted + 1, 1))
        }
      }
      for (let round = 0; round < 300; round++) {
        const pending: Promise<void>[] = []
        for (let i = 0; i < 4; i++) {
          const groupId = 1 + random.integer(6)
          const group = model.get(groupId) ?? { compacted: 0, entries: [], term: 1 }
          model.set(groupId, group)
          const last = group.compacted + group.entries.length
          const dice = random.float()
          if (dice < 0.1 && group.entries.length > 1) {
            const through = group.compacted + 1 + random.integer(group.entries.length)
            const { term } = group.entries[through - group.compacted - 1] as LogEntry
            group.entries.splice(0, through - group.compacted)
            group.compacted = through
            pending.push(store.compact(groupId, { index: through, term }))
          } else if (dice < 0.12) {
            group.compacted = last + 10
            group.entries = []
            pending.push(store.write([{ groupId, reset: { index: last + 10, term: group.term } }]))
          } else {
            const from =
              dice < 0.2 ? group.compacted + 1 + random.integer(group.entries.length + 1) : last + 1
            if (from <= last) group.term++
            const added = entries(from, from + random.integer(5), group.term, random.integer(2_000))
            group.entries.splice(from - group.compacted - 1)
            group.entries.push(...added)
            pending.push(store.write([{ groupId, entries: added }]))
          }
        }
        await Promise.all(pending)
        if (round % 100 === 99) {
          // A compaction is only promised to last with the group's next write.
          await store.write([...model.keys()].map((groupId) => ({ groupId, hardState })))
          await store.close()
          store = await open()
        }
        if (round % 50 === 49) await check()
      }
    }),
  },
  {
    name: 'a closed store refuses everything, and closing again does nothing',
    run: onPlace(async (open) => {
      const store = await open()
      const last = store.write([{ groupId: 1, entries: entries(1, 3) }])
      await store.close()
      await last
      await store.close()
      await store[Symbol.asyncDispose]()
      await refuses('CLOSED', () => store.write([]))
      await refuses('CLOSED', () => store.read(1, 1, 1, 1))
      await refuses('CLOSED', () => store.compact(1, { index: 1, term: 1 }))
      await refuses('CLOSED', () => store.destroy(1, new Uint8Array(0)))
      await assertLog(await open(), 1, entries(1, 3))
    }),
  },
  {
    name: 'a store that is open is not opened a second time',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 3) }])
      await refuses('DIRECTORY_LOCKED', () => open())
      await store.write([{ groupId: 1, entries: entries(4, 4) }])
      await store.close()
      await assertLog(await open(), 1, entries(1, 4))
    }),
  },
  {
    name: 'another cluster or node is refused and changes nothing',
    run: onPlace(async (open) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 3) }])
      await store.close()
      await refuses('FOREIGN_CLUSTER', () => open({ clusterId: 'other' }))
      await refuses('FOREIGN_NODE', () => open({ nodeId: 'n2' }))
      const again = await open()
      assert.equal(again.incarnation, store.incarnation)
      await assertLog(again, 1, entries(1, 3))
    }),
  },
  {
    name: 'what was acknowledged survives a crash',
    run: afterCrash(async (open, crash) => {
      const store = await open()
      await store.write([{ groupId: 1, entries: entries(1, 3), hardState }])
      await store.write([{ groupId: 1, entries: entries(3, 6, 2), metadata: Uint8Array.of(4) }])
      await crash()
      const again = await open()
      assert.equal(again.incarnation, store.incarnation)
      assert.deepEqual(recoveredOf(again, 1).hardState, hardState)
      assert.deepEqual([...(recoveredOf(again, 1).metadata as Uint8Array)], [4])
      await assertLog(again, 1, [...entries(1, 2), ...entries(3, 6, 2)])
    }),
  },
  {
    name: 'a crash leaves a prefix of the batches, each whole or not at all',
    run: afterCrash(async (open, crash) => {
      let acknowledged = 0
      let next = 1
      for (let round = 0; round < 20; round++) {
        const store = await open()
        const found = store.recovered()
        const a = found.get(1)?.last.index ?? 0
        assert.equal(found.get(2)?.last.index ?? 0, a * 2, 'a batch was torn apart')
        assert.ok(a >= acknowledged, `batch ${acknowledged} was acknowledged, but ${a} is the last one left`)
        assert.ok(a < next, 'a batch that was never written')
        next = a + 1
        acknowledged = a
        for (let i = 0; i < 5; i++, next++) {
          const index = next
          const written = store.write([
            { groupId: 1, entries: [entry(index, 1)] },
            { groupId: 2, entries: entries(index * 2 - 1, index * 2) },
          ])
          if (i < 2) await written
          // The others are under way when the power goes.
          else written.catch(() => {})
          if (i < 2) acknowledged = index
        }
        await crash()
      }
    }),
  },
]
