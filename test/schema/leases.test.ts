import assert from 'node:assert/strict'
import { test } from 'node:test'
import { deferred } from '../../src/core/async.ts'
import type { MetadataStore } from '../../src/interfaces/metadata-store.ts'
import type { TableDescriptor } from '../../src/interfaces/schema-host.ts'
import { memoryStore } from '../../src/metadata/index.ts'
import { encodeTable, schemaLeaseKey, tableKey } from '../../src/schema/core/records.ts'
import { type HeldSession, SchemaCatalog, SchemaLeases } from '../../src/schema/index.ts'
import { FaultyStore } from '../support/faulty-store.ts'
import { VirtualTime } from '../support/virtual-time.ts'

interface World {
  readonly time: VirtualTime
  readonly store: MetadataStore
  /** The store as the node sees it. */
  readonly seen: FaultyStore
  readonly table: TableDescriptor
  readonly leases: SchemaLeases
  /** Sessions of the node, oldest first. */
  readonly sessions: (HeldSession & { live: boolean })[]
}

async function world(mayOpen: () => Promise<void> = async () => {}): Promise<World> {
  const time = new VirtualTime(1)
  const { env } = time
  const store = memoryStore({ env })
  const seen = new FaultyStore(store, () => undefined)
  const column = { name: 'id', valueType: 'number', required: true } as const
  const table = await new SchemaCatalog({ store, env }).createTable({
    name: 'rows',
    columns: [column],
    primaryKey: ['id'],
  })
  const sessions: World['sessions'] = []
  const leases = await SchemaLeases.open({
    env,
    store: seen,
    nodeId: 'db1',
    openSession: async () => {
      if (sessions.length > 0) await mayOpen()
      const session = {
        sessionId: await store.grantSession('schema:db1', 300_000),
        live: true,
        isLive: () => session.live,
        [Symbol.asyncDispose]: async () => {
          session.live = false
          await store.revokeSession(session.sessionId)
        },
      }
      sessions.push(session)
      return session
    },
  })
  return { time, store, seen, table, leases, sessions }
}

async function publish({ store, table, time }: World, version: number): Promise<void> {
  const value = encodeTable({ ...table, version })
  await store.txn({ then: [{ type: 'put', key: tableKey(table.tableId), value }] })
  await time.settle()
}

test('a lease that was written under a session that is lost meanwhile counts for nothing', async () => {
  const opening = deferred<void>()
  const all = await world(() => opening.promise)
  const { time, seen, table, leases, sessions } = all
  const answer = deferred<void>()
  seen.after = async (what) => {
    if (what === 'txn') await answer.promise
  }
  await publish(all, 2)
  ;(sessions[0] as { live: boolean }).live = false
  const again = deferred<void>()
  seen.before = async (what) => {
    if (what === 'txn') await again.promise
  }
  await time.advance(250)
  answer.resolve()
  await time.settle()
  opening.resolve()
  await time.settle()
  assert.equal(sessions.length, 2)
  // The new session has no lease yet, and whatever was published meanwhile did not wait for this node.
  assert.throws(() => leases.pin(table.tableId), { code: 'STALE_SCHEMA' })
  again.resolve()
  await time.advance(500)
  leases.pin(table.tableId).release()
  await leases.close()
})

test('a node whose lease was revoked plans nothing new once it finds out, until it has a lease again', async () => {
  const all = await world()
  const { time, store, table, leases, sessions } = all
  leases.pin(table.tableId).release()
  await store.revokeSession(sessions[0]?.sessionId as number)
  await publish(all, 2)
  assert.throws(() => leases.pin(table.tableId), { code: 'STALE_SCHEMA' })
  await time.advance(1000)
  assert.equal(sessions.length, 2)
  assert.equal(sessions[0]?.live, false)
  using pin = leases.pin(table.tableId)
  assert.equal(pin.table.version, 2)
  assert.equal((await store.get(schemaLeaseKey('db1')))?.session, sessions[1]?.sessionId)
  await leases.close()
})

test('a table that cannot be read is passed over, and work on the others goes on', async () => {
  const w = await world()
  const { store, time, table, leases } = w
  for (const value of [
    new Uint8Array([0xc1]),
    encodeTable({ ...table, tableId: 2, elements: [{ ...table.elements[0], valueType: 'int' }] } as never),
  ])
    await store.txn({ then: [{ type: 'put', key: tableKey(2), value }] })
  await time.settle()
  await publish(w, 2)
  assert.equal(leases.current(table.tableId)?.version, 2)
  assert.equal(leases.current(2), undefined)
  await time.until(leases.close())
})
