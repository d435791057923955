import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type CallOptions, sleep } from '../../src/core/async.ts'
import type { Environment } from '../../src/core/environment.ts'
import { KeelsonError } from '../../src/core/errors.ts'
import { between } from '../../src/core/random.ts'
import type { MetadataStore } from '../../src/interfaces/metadata-store.ts'
import type { TableDescriptor } from '../../src/interfaces/schema-host.ts'
import { type Job, JobRunner, Jobs } from '../../src/jobs/index.ts'
import { ControllerEpoch, memoryStore } from '../../src/metadata/index.ts'
import {
  type HeldSession,
  initialChangeState,
  SchemaCatalog,
  type SchemaChange,
  SchemaChangeJob,
  SchemaLeases,
} from '../../src/schema/index.ts'
import { Simulation } from '../../src/simulation/index.ts'
import { indexesOf, MemoryPlane, type PlantedBugs } from './support/memory-plane.ts'

const ttlMs = 300_000

/** A session that is renewed until it is told to stop. */
async function holdSession(
  env: Environment,
  store: MetadataStore,
  nodeId: string,
  options: CallOptions,
): Promise<HeldSession> {
  const sessionId = await store.grantSession(`schema:${nodeId}`, ttlMs, options)
  return {
    sessionId,
    isLive: () => true,
    [Symbol.asyncDispose]: () => store.revokeSession(sessionId),
  }
}

interface World {
  readonly sim: Simulation
  readonly env: Environment
  readonly store: MetadataStore
  readonly plane: MemoryPlane
  readonly leases: readonly SchemaLeases[]
  readonly table: TableDescriptor
  readonly jobs: Jobs
  readonly job: SchemaChangeJob
  /** Nodes that have lost their epoch. */
  readonly dead: Set<string>
  /** Runs the job to its end, under a new owner now and then. */
  change(change: SchemaChange, options?: { owners?: number; cancelAfterMs?: number }): Promise<Job>
}

async function withWorld(
  seed: number,
  body: (world: World) => Promise<void>,
  bugs: PlantedBugs = {},
): Promise<void> {
  const sim = new Simulation({ seed })
  const env = sim.environment('world')
  const store = memoryStore({ env })
  const random = sim.random('plane')
  const plane = new MemoryPlane(env, random, 4, 40, bugs)
  const dead = new Set<string>()
  const stop = new AbortController()
  const run = async (): Promise<void> => {
    const table = await new SchemaCatalog({ store, env }).createTable({
      name: 'cities',
      columns: [
        { name: 'id', valueType: 'string', required: true },
        { name: 'population', valueType: 'number', required: false },
      ],
      primaryKey: ['id'],
    })
    const leases = await Promise.all(
      ['db1', 'db2', 'db3'].map((nodeId) =>
        SchemaLeases.open({
          env,
          store,
          nodeId,
          openSession: (options) => holdSession(env, store, nodeId, options),
        }),
      ),
    )
    const writers = leases.map(async (lease, i) => {
      while (!stop.signal.aborted) {
        if (!dead.has(`db${i + 1}`)) await plane.work(lease, table.tableId, 20)
        await sleep(env.timers, between(random, 0, 10))
      }
    })
    const jobs = new Jobs({ store, env })
    const job = new SchemaChangeJob(
      {
        env,
        store,
        ranges: async () =>
          [...plane.ranges.keys()].map((rangeId) => ({
            rangeId,
            start: Uint8Array.of(rangeId),
            end: Uint8Array.of(rangeId + 1),
          })),
        host: plane,
        isLive: (nodeId) => !dead.has(nodeId),
      },
      { chunkRows: 7, parallelChunks: 2, laggardGraceMs: 500, pollIntervalMs: 20 },
    )
    const change: World['change'] = async (wanted, { owners = 1, cancelAfterMs } = {}) => {
      const created = await jobs.create(job, initialChangeState(table.tableId, wanted), { reason: 'test' })
      if (cancelAfterMs !== undefined) {
        env.timers.schedule(cancelAfterMs, () => {
          // A change that has ended by then cannot be cancelled any more.
          jobs.cancel(created.job.jobId, 'test').catch((error: unknown) => {
            if (!KeelsonError.hasCode(error, 'CONFLICT')) throw error
          })
        })
      }
      for (let owner = 1; ; owner++) {
        const epoch = await ControllerEpoch.acquire(store, 'schema', `cp${owner}`)
        const runner = JobRunner.start({ env, store, epoch, types: [job] })
        const untilMs = owner < owners ? env.clock.monotonicMs() + between(random, 50, 400) : Infinity
        for (;;) {
          await sleep(env.timers, 20)
          const now = (await jobs.get(created.job.jobId)) as Job
          if (now.status === 'succeeded' || now.status === 'failed' || now.status === 'cancelled') {
            await runner.close()
            return now
          }
          if (env.clock.monotonicMs() >= untilMs) break
        }
        // The old owner is not told: it finds out when its next step is refused.
        if (random.integer(2) === 0) void runner.close()
      }
    }
    await body({ sim, env, store, plane, leases, table, jobs, job, dead, change })
    stop.abort()
    await Promise.all(writers)
    await Promise.all(leases.map((lease) => lease.close()))
    await store.close()
  }
  await sim.until(run())
}

const addIndex: SchemaChange = { type: 'addIndex', name: 'by_population', columns: ['population'] }

function assertExact(world: World, elementId: number): void {
  for (const [rangeId, range] of world.plane.ranges) {
    assert.deepEqual(range.compare(elementId), { missing: 0, orphans: 0 }, `range ${rangeId}`)
  }
}

test('an index added under writes, over several owners, is the exact projection of its rows', async () => {
  for (let seed = 1; seed <= 15; seed++) {
    await withWorld(seed, async (world) => {
      const job = await world.change(addIndex, { owners: 4 })
      assert.equal(job.status, 'succeeded', `seed ${seed}: ${job.lastError?.message}`)
      const index = indexesOf(world.leases[0]?.current(world.table.tableId) as TableDescriptor)[0]
      assert.equal(index?.state, 'public')
      await sleep(world.env.timers, 200)
      assertExact(world, index?.elementId ?? 0)
      assert.equal(world.plane.staleChunks, 0)
      assert.ok(world.plane.writes > 50)
    })
  }
})

test('a cancelled change walks back and leaves nothing behind', async () => {
  for (let seed = 1; seed <= 10; seed++) {
    await withWorld(seed, async (world) => {
      const job = await world.change(addIndex, { owners: 3, cancelAfterMs: 30 + seed * 60 })
      const table = (await new SchemaCatalog(world).byName('cities'))?.table as TableDescriptor
      if (job.status === 'succeeded') return
      assert.equal(job.status, 'cancelled', `seed ${seed}: ${job.lastError?.message}`)
      assert.deepEqual(indexesOf(table), [])
      await sleep(world.env.timers, 200)
      for (const range of world.plane.ranges.values()) {
        for (const entries of range.entries.values()) assert.equal(entries.size, 0, `seed ${seed}`)
      }
    })
  }
})

test('an index is dropped the same way, and may be added again', async () => {
  await withWorld(3, async (world) => {
    assert.equal((await world.change(addIndex)).status, 'succeeded')
    assert.equal(
      (await world.change({ type: 'dropIndex', name: 'by_population' }, { owners: 2 })).status,
      'succeeded',
    )
    assert.equal((await world.change(addIndex)).status, 'succeeded')
    const index = indexesOf((await new SchemaCatalog(world).byName('cities'))?.table as TableDescriptor)[0]
    assertExact(world, index?.elementId ?? 0)
  })
})

test('a node that lost its epoch is fenced, not waited for; a live laggard is named and waited for', async () => {
  await withWorld(5, async (world) => {
    const [first] = world.leases
    // Holds the first version, and writes under it long after everybody has moved on.
    const pin = (first as SchemaLeases).pin(world.table.tableId)
    const changing = world.change(addIndex)
    await sleep(world.env.timers, 1_000)
    const waiting = (await world.jobs.list())[0] as Job
    assert.deepEqual(waiting.waitingFor, ['db1'])
    world.dead.add('db1')
    assert.equal((await changing).status, 'succeeded')
    const range = world.plane.ranges.get(1)
    assert.throws(
      () => range?.write({ key: '1/0000', population: 6, version: pin.table.version, indexes: [] }),
      (error) => KeelsonError.hasCode(error, 'STALE_SCHEMA'),
    )
    pin.release()
    const index = indexesOf((await new SchemaCatalog(world).byName('cities'))?.table as TableDescriptor)[0]
    assertExact(world, index?.elementId ?? 0)
  })
})

test('a fenced node that does not know it reads no index that nobody maintains any more', async () => {
  await withWorld(5, async (world) => {
    assert.equal((await world.change(addIndex)).status, 'succeeded')
    const lease = world.leases[0] as SchemaLeases
    // Long after its lease is revoked it reads under this version, as the TTL says that it may.
    const pin = lease.pin(world.table.tableId)
    const [index] = indexesOf(pin.table)
    assert.ok(index !== undefined)
    world.dead.add('db1')
    const dropped = await world.change({ type: 'dropIndex', name: 'by_population' })
    assert.equal(dropped.status, 'succeeded')
    const range = world.plane.ranges.get(1)
    assert.ok(range !== undefined)
    const version = Math.max(...world.leases.map((each) => each.current(world.table.tableId)?.version ?? 0))
    range.write({ key: '1/0000', population: 6, version, indexes: [] })
    assert.throws(() => range.scan(pin.table.version, index.elementId, 6), { code: 'STALE_SCHEMA' })
    assert.ok(!range.scan(pin.table.version, index.elementId, 6, true).includes('1/0000'), 'unchecked')
    pin.release()
  })
})

test('without the barrier a fenced node’s late write is caught by the comparison of rows and entries', async () => {
  await assert.rejects(
    withWorld(
      5,
      async (world) => {
        const pin = (world.leases[0] as SchemaLeases).pin(world.table.tableId)
        world.dead.add('db1')
        assert.equal((await world.change(addIndex)).status, 'succeeded')
        world.plane.ranges
          .get(1)
          ?.write({ key: '1/0000', population: 60, version: pin.table.version, indexes: [] })
        const index = indexesOf(
          (await new SchemaCatalog(world).byName('cities'))?.table as TableDescriptor,
        )[0]
        assertExact(world, index?.elementId ?? 0)
      },
      { noBarrier: true },
    ),
    /range 1/,
  )
})

test('a range that trusts every coordinator takes chunks of deposed ones, and the count shows it', async () => {
  let taken = 0
  for (let seed = 1; seed <= 15; seed++) {
    await withWorld(
      seed,
      async (world) => {
        await world.change(addIndex, { owners: 6 })
        await sleep(world.env.timers, 500)
        taken += world.plane.staleChunks
      },
      { noEpoch: true },
    )
  }
  assert.ok(taken > 0)
})
