import assert from 'node:assert/strict'
import { test } from 'node:test'
import { memoryStore } from '../../src/metadata/index.ts'
import { decodeUse, schemaLeaseKey, tableKey } from '../../src/schema/core/records.ts'
import { encodeTable, SchemaCatalog, SchemaLeases, stepElement } from '../../src/schema/index.ts'
import { VirtualTime } from '../support/virtual-time.ts'

test('a version that was adopted while the session stood still for a moment is written down when it goes on', async () => {
  const time = new VirtualTime(1)
  const { env } = time
  const store = memoryStore({ env })
  const table = await new SchemaCatalog({ env, store }).createTable({
    name: 'rows',
    columns: [{ name: 'id', valueType: 'number', required: true }],
    primaryKey: ['id'],
  })
  let live = true
  const sessionId = await store.grantSession('schema:db1', 300_000)
  const leases = await SchemaLeases.open({
    env,
    store,
    nodeId: 'db1',
    openSession: async () => ({ sessionId, isLive: () => live, [Symbol.asyncDispose]: async () => {} }),
  })
  const leased = async (): Promise<number | undefined> => {
    const entry = await store.get(schemaLeaseKey('db1'))
    return entry === undefined ? undefined : decodeUse(entry.value).get(table.tableId)
  }
  assert.equal(await leased(), 1)
  // Shorter than the time between two looks at the session.
  await time.advance(210)
  live = false
  const index = { type: 'index', elementId: 99, name: 'by_id', columns: ['id'], state: 'absent' } as const
  const next = stepElement({ ...table, elements: [...table.elements, index] }, 99, 'public')
  await store.txn({ then: [{ type: 'put', key: tableKey(table.tableId), value: encodeTable(next) }] })
  await time.advance(20)
  assert.equal(leases.current(table.tableId)?.version, 2)
  assert.equal(await leased(), 1)
  live = true
  await time.advance(1_000)
  assert.equal(await leased(), 2)
  await leases.close()
})
