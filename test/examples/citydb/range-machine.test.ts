import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { decodeResult, encodeCommand, type RangeCommand } from '../../../examples/citydb/commands.ts'
import { RangeMachine } from '../../../examples/citydb/range-machine.ts'
import { RangeReplica } from '../../../examples/citydb/range-replica.ts'
import { decodeRow, type IndexPlan, rowKey } from '../../../examples/citydb/schema.ts'
import { nodeEnvironment } from '../../../src/core/node-environment.ts'
import { SeededRandom } from '../../../src/core/random.ts'
import { MemoryDisk, MemoryLevel } from '../../../src/storage/memory/index.ts'
import { stateMachineCompliance } from '../../../src/testing/index.ts'

const env = nodeEnvironment()
const bounds = { start: rowKey(1, []), end: rowKey(2, []) }
const index = (state: IndexPlan['state']): IndexPlan => ({ indexId: 9, columns: ['population'], state })

class Applied {
  readonly machine: RangeMachine
  #index = 0
  term = 1

  constructor(db: MemoryLevel) {
    this.machine = new RangeMachine(db, 7, bounds)
  }

  async apply(...commands: readonly RangeCommand[]): Promise<Uint8Array[]> {
    let results: readonly Uint8Array[] = []
    await this.machine.apply(
      commands.map((command) => ({ index: ++this.#index, term: this.term, data: encodeCommand(command) })),
      (sealed) => {
        results = sealed
        return [{ key: 'applied', value: Uint8Array.of(this.#index) }]
      },
    )
    return [...results]
  }
}

async function open(db = new MemoryLevel()): Promise<Applied> {
  await db.open()
  const applied = new Applied(db)
  await applied.machine.open()
  return applied
}

function upsert(id: number, population: number, plans: readonly IndexPlan[] = [], version = 1): RangeCommand {
  return {
    type: 'write',
    tableId: 1,
    version,
    sequence: 0,
    indexes: plans,
    writes: [{ type: 'upsert', key: rowKey(1, ['XX', 'city', id]), columns: { population } }],
  }
}

const backfill = (plan: IndexPlan, resumeAt: Uint8Array | undefined, epoch = 1): RangeCommand => ({
  type: 'backfill',
  tableId: 1,
  index: plan,
  resumeAt,
  maximumRows: 3,
  epoch,
})

async function compare(machine: RangeMachine): Promise<{ missing: number; orphans: number }> {
  const total = { missing: 0, orphans: 0 }
  let resumeAt: Uint8Array | undefined
  do {
    const page = await machine.validate(index('public'), resumeAt, 4)
    total.missing += page.missing
    total.orphans += page.orphans
    resumeAt = page.resumeAt
  } while (resumeAt !== undefined)
  return total
}

test('an upsert sets its columns and leaves the others; a replaced row is taken as it is', async () => {
  const range = await open()
  const key = rowKey(1, ['XX', 'city', 1])
  const write = (columns: Record<string, number>): RangeCommand => ({
    ...(upsert(1, 0) as Extract<RangeCommand, { type: 'write' }>),
    writes: [{ type: 'upsert', key, columns }],
  })
  await range.apply(write({ population: 5 }), write({ visits: 2 }))
  assert.deepEqual({ ...(await range.machine.row(key)) }, { population: 5, visits: 2 })
  await range.apply({
    ...(upsert(1, 0) as Extract<RangeCommand, { type: 'write' }>),
    sequence: 1,
    writes: [{ type: 'replace', key, row: { visits: 3 } }],
  })
  assert.deepEqual({ ...(await range.machine.row(key)) }, { visits: 3 })
})

test('whatever is written in whatever states, a filled-in index is the exact projection of its rows', async () => {
  const write = fc.tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 0, max: 4 }))
  await fc.assert(
    fc.asyncProperty(fc.array(write), fc.array(write), fc.array(write), async (before, during, after) => {
      const range = await open()
      const each = async (writes: typeof before, plans: readonly IndexPlan[]): Promise<void> => {
        for (const [id, population] of writes) await range.apply(upsert(id, population, plans))
      }
      await each(before, [])
      await each(before.slice(0, 3), [index('deleteOnly')])
      await each(during.slice(0, 4), [index('writeOnly')])
      let resumeAt: Uint8Array | undefined
      let rest = during.slice(4)
      do {
        const [result] = await range.apply(backfill(index('writeOnly'), resumeAt))
        resumeAt = decodeResult(result as Uint8Array).resumeAt
        await each(rest.slice(0, 2), [index('writeOnly')])
        rest = rest.slice(2)
      } while (resumeAt !== undefined)
      await each([...rest, ...after], [index('public')])
      assert.deepEqual(await compare(range.machine), { missing: 0, orphans: 0 })
    }),
    { numRuns: 60 },
  )
})

test('the comparison finds entries that are missing and entries without a row', async () => {
  const range = await open()
  await range.apply(upsert(1, 10), upsert(2, 20))
  assert.deepEqual(await compare(range.machine), { missing: 2, orphans: 0 })
  await range.apply(backfill(index('writeOnly'), undefined))
  await range.apply(upsert(1, 11))
  assert.deepEqual(await compare(range.machine), { missing: 1, orphans: 1 })
})

test('old plans, old coordinators and foreign keys are refused, and change nothing', async () => {
  const range = await open()
  const [barrier] = await range.apply({ type: 'barrier', tableId: 1, minimumVersion: 3, epoch: 5 })
  assert.equal(decodeResult(barrier as Uint8Array).rows, 0)
  const [old, fresh, deposed, foreign] = await range.apply(
    upsert(1, 1, [], 2),
    upsert(1, 2, [], 3),
    backfill(index('writeOnly'), undefined, 4),
    {
      ...(upsert(1, 1, [], 3) as Extract<RangeCommand, { type: 'write' }>),
      writes: [{ type: 'upsert', key: rowKey(2, ['XX']), columns: {} }],
    },
  )
  assert.throws(() => decodeResult(old as Uint8Array), { code: 'STALE_SCHEMA' })
  assert.equal(decodeResult(fresh as Uint8Array).rows, 1)
  assert.throws(() => decodeResult(deposed as Uint8Array), { code: 'STALE_EPOCH' })
  assert.throws(() => decodeResult(foreign as Uint8Array), { code: 'STALE_GENERATION' })
  assert.deepEqual({ ...(await range.machine.row(rowKey(1, ['XX', 'city', 1]))) }, { population: 2 })
})

test('an effect evaluated under an older lease is counted when it was accepted', async () => {
  const range = await open()
  range.term = 4
  await range.apply({ type: 'ledger', sequence: 4, writes: 10 })
  assert.equal(range.machine.facts.staleEffects, 0)
  range.term = 6
  await range.apply({ type: 'ledger', sequence: 4, writes: 12 })
  assert.equal(range.machine.facts.staleEffects, 1)
})

test('facts and rows survive opening again, snapshot and restore; pages cover everything once', async () => {
  const db = new MemoryLevel()
  const range = await open(db)
  for (let id = 1; id <= 10; id++) await range.apply(upsert(id, id % 3, [index('public')]))
  await range.apply({ type: 'barrier', tableId: 1, minimumVersion: 2, epoch: 3 })
  const again = await open(db)
  assert.deepEqual(again.machine.facts, range.machine.facts)
  const snapshot = await range.machine.snapshot()
  const target = await open()
  await target.machine.restore(snapshot.bookkeeping, snapshot.chunks())
  await snapshot[Symbol.asyncDispose]()
  assert.deepEqual(target.machine.facts, range.machine.facts)
  const rows: number[] = []
  let resumeAt: Uint8Array | undefined
  do {
    const page = await target.machine.rows(resumeAt, 3)
    rows.push(...page.items.map(({ row }) => row['population'] as number))
    resumeAt = page.resumeAt
  } while (resumeAt !== undefined)
  assert.equal(rows.length, 10)
  const entries = await target.machine.entries(9, undefined, 100)
  assert.equal(entries.items.length, 10)
  const populations: number[] = []
  for (const [, key] of entries.items)
    populations.push((await target.machine.row(key))?.['population'] as number)
  assert.deepEqual(
    populations,
    [...populations].sort((a, b) => a - b),
  )
  const purge = { type: 'purge', tableId: 1, indexId: 9, maximumRows: 6, epoch: 3 } as const
  const [first] = await target.apply(purge)
  assert.notEqual(decodeResult(first as Uint8Array).resumeAt, undefined)
  await target.apply(purge)
  assert.equal((await target.machine.entries(9, undefined, 100)).items.length, 0)
})

test('a row of hostile bytes is refused', () => {
  assert.throws(() => decodeRow(new Uint8Array([0x93, 1, 2, 3])), { code: 'MALFORMED' })
})

test('a backfill of many rows in one batch with other commands fills every one of them in', async () => {
  const range = await open()
  for (let from = 0; from < 1000; from += 100) {
    await range.apply(...Array.from({ length: 100 }, (_, i) => upsert(from + i, i)))
  }
  const fill: RangeCommand = {
    ...(backfill(index('writeOnly'), undefined) as Extract<RangeCommand, { type: 'backfill' }>),
    maximumRows: 600,
  }
  const [, first] = await range.apply(
    upsert(5, 1, [index('writeOnly')]),
    fill,
    upsert(7, 2, [index('writeOnly')]),
  )
  const { resumeAt, rows } = decodeResult(first as Uint8Array)
  assert.equal(rows, 600)
  await range.apply({ ...fill, resumeAt })
  assert.deepEqual(await compare(range.machine), { missing: 0, orphans: 0 })
})

test('an index is read only under a version that the range still takes', async () => {
  const applied = await open()
  const group = { groupId: 7, read: async () => {}, status: () => ({}) } as never
  const replica = new RangeReplica(group, applied.machine, { env } as never)
  const plan = index('public')
  const request = { rangeId: 7, index: 'by_population', resumeAt: undefined, limit: 10, generation: 0 }
  await applied.apply(upsert(1, 10, [plan], 4))
  assert.equal((await replica.page(request, { plan, version: 4 }, {})).items.length, 1)
  // The coordinator gave up waiting for this node, and the index is on its way out.
  await applied.apply({ type: 'barrier', tableId: 1, minimumVersion: 5, epoch: 1 })
  await assert.rejects(replica.page(request, { plan, version: 4 }, {}), { code: 'STALE_SCHEMA' })
})

test('a refusal is what its command came to for good, so trying again is left to the caller', async () => {
  const applied = await open()
  await applied.apply({ type: 'barrier', tableId: 1, minimumVersion: 5, epoch: 1 })
  const [result] = await applied.apply(upsert(1, 10, [], 4))
  assert.ok(result !== undefined)
  assert.throws(() => decodeResult(result), { code: 'STALE_SCHEMA', retryable: false })
})

test('a restore that fails leaves rows and facts as they were; one that succeeds brings both', async () => {
  const source = await open()
  await source.apply(upsert(1, 10, [], 3), { type: 'barrier', tableId: 1, minimumVersion: 3, epoch: 5 })
  await using snapshot = await source.machine.snapshot()
  const chunks: Uint8Array[] = []
  for await (const chunk of snapshot.chunks()) chunks.push(new Uint8Array(chunk))
  async function* arriving(): AsyncIterable<Uint8Array> {
    yield* chunks
  }
  const db = new MemoryLevel()
  const range = await open(db)
  await range.apply(upsert(2, 20), { type: 'ledger', sequence: 0, writes: 1 })
  const before = range.machine.facts
  const getMany = db.getMany.bind(db)
  const get = db.get.bind(db)
  const unreadable = new Error('the disk does not answer')
  const failing = async (): Promise<never> => Promise.reject(unreadable)
  db.get = failing
  db.getMany = failing
  await assert.rejects(range.machine.restore(snapshot.bookkeeping, arriving()), unreadable)
  db.get = get
  db.getMany = getMany
  assert.deepEqual(range.machine.facts, before)
  assert.notEqual(await range.machine.row(rowKey(1, ['XX', 'city', 2])), undefined)
  assert.equal(await range.machine.row(rowKey(1, ['XX', 'city', 1])), undefined)
  await range.machine.restore(snapshot.bookkeeping, arriving())
  assert.deepEqual(range.machine.facts, { minimumVersion: 3, epoch: 5, ledger: 0, staleEffects: 0 })
  assert.equal(await range.machine.row(rowKey(1, ['XX', 'city', 2])), undefined)
})

suite('a range of citydb is a state machine like any other', () => {
  /** Writes, bookings, barriers and backfills in turn; every one of them changes the state. */
  const command = (number: number): RangeCommand => {
    switch (number % 4) {
      case 1:
        return upsert(number % 3, number, [index('public')], number)
      case 2:
        return { type: 'ledger', sequence: 0, writes: number }
      case 3:
        return { type: 'barrier', tableId: 1, minimumVersion: number, epoch: number }
      default:
        return backfill({ ...index('writeOnly'), indexId: 100 + number }, undefined, number)
    }
  }
  const describe = async (machine: RangeMachine): Promise<string> => {
    const { items } = await machine.rows(undefined, 1_000)
    const parts = [JSON.stringify(machine.facts)]
    for (const { key, row } of items) parts.push(`${Buffer.from(key).toString('hex')} ${JSON.stringify(row)}`)
    for (const indexId of [9, ...Array.from({ length: 100 }, (_, i) => 100 + i)]) {
      for (const [entry, key] of (await machine.entries(indexId, undefined, 1_000)).items) {
        parts.push(`${indexId} ${Buffer.from(entry).toString('hex')} ${Buffer.from(key).toString('hex')}`)
      }
    }
    return parts.join('\n')
  }
  let seed = 0
  const cases = stateMachineCompliance<RangeMachine>({
    create: async () => {
      const disk = new MemoryDisk()
      let database: MemoryLevel | undefined
      return {
        create: async () => {
          await database?.close()
          database = new MemoryLevel({ disk })
          await database.open()
          return new RangeMachine(database, 7, bounds)
        },
        crash: async () => {
          database = undefined
          disk.crash(new SeededRandom(seed++))
        },
      }
    },
    command: (number) => encodeCommand(command(number)),
    describe,
  })
  for (const { name, run } of cases) test(name, run)
})
