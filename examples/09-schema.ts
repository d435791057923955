// An index is added while rows are written: a job moves it through the states of F1, and nobody waits.
import assert from 'node:assert/strict'
import { nodeEnvironment, type SchemaHost, sleep, type TableDescriptor } from 'keelson'
import { JobRunner, Jobs } from 'keelson/jobs'
import { ControllerEpoch, memoryStore, SessionHolder } from 'keelson/metadata'
import { initialChangeState, SchemaCatalog, SchemaChangeJob, SchemaFence, SchemaLeases } from 'keelson/schema'

const env = nodeEnvironment()
const store = memoryStore({ env })
const catalog = new SchemaCatalog({ env, store })
const columns = [{ name: 'id', valueType: 'number', required: true } as const]
const { tableId } = await catalog.createTable({ name: 'city', columns, primaryKey: ['id'] })
const openSession = () => SessionHolder.open({ env, store, holder: 'db1', ttlMs: 300_000 })
const leases = await SchemaLeases.open({ env, store, nodeId: 'db1', openSession })

/** The rows of the one range, and its index entries: the host's business. */
const rows = new Set<number>()
const entries = new Set<number>()
const states = new Set<string>()
/** What a range that is replicated keeps in its state, and compares where commands are applied. */
let fence = new SchemaFence()
const indexOf = (table: TableDescriptor) => table.elements.find(({ type }) => type === 'index')

function insert(id: number): void {
  using pin = leases.pin(tableId) // the version that this write is planned under
  fence.check(pin.table.version)
  const state = indexOf(pin.table)?.state ?? 'absent'
  states.add(state)
  rows.add(id)
  if (state === 'writeOnly' || state === 'public') entries.add(id)
}

const host: SchemaHost = {
  barrier: async ({ table, epoch }) => {
    fence = fence.raised({ minimumVersion: table.version, epoch })
    await sleep(env.timers, 20)
  },
  backfill: async () => {
    for (const id of rows) entries.add(id)
    return { resumeAt: undefined, rows: rows.size }
  },
  validate: async () => ({
    resumeAt: undefined,
    rows: rows.size,
    missing: [...rows].filter((id) => !entries.has(id)).length,
    orphans: [...entries].filter((id) => !rows.has(id)).length,
  }),
  purge: async () => ({ resumeAt: undefined, rows: 0 }),
}
const ranges = async () => [{ rangeId: 1, start: new Uint8Array(0), end: undefined }]
const job = new SchemaChangeJob({ env, store, ranges, host, isLive: () => true })
const epoch = await ControllerEpoch.acquire(store, 'jobs', 'leader 1')
const runner = JobRunner.start({ env, store, epoch, types: [job] })

for (let id = 0; id < 100; id++) insert(id)
const change = { type: 'addIndex', name: 'by_id', columns: ['id'] } as const
const { job: added } = await new Jobs({ env, store }).create(job, initialChangeState(tableId, change), {
  reason: 'slow queries',
})
let ended = false
const end = new Jobs({ env, store }).ended(added.jobId).finally(() => {
  ended = true
})
for (let id = 100; !ended; id++) {
  insert(id)
  await sleep(env.timers, 1)
}
insert(-1)
console.log(`${(await end).outcome}; writes were planned while it was ${[...states].join(', ')}`)
console.log(`${rows.size} rows, ${entries.size} entries`)
assert.deepEqual(entries, rows)
assert.deepEqual([...states], ['absent', 'deleteOnly', 'writeOnly', 'public'])

await runner.close()
await leases.close()
await store.close()
