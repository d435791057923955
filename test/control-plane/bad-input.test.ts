import assert from 'node:assert/strict'
import { join as joinPath } from 'node:path'
import { test } from 'node:test'
import { type LogRecord, recordLogger } from '../../src/core/logger.ts'
import {
  bootstrap,
  ControlPlane,
  type ControlPlaneOptions,
  devCluster,
  KeelsonError,
  nodeEnvironment,
  PlaneClient,
  utf8,
} from '../../src/index.ts'
import { MemoryLevel, memoryLog } from '../../src/storage/memory/index.ts'
import { segments } from '../../src/storage/segments/index.ts'
import { until } from '../../src/testing/index.ts'
import { memoryNetwork } from '../../src/transport/memory/index.ts'
import { webSocket } from '../../src/transport/websocket/index.ts'
import { temporaryDirectory } from '../support/temporary.ts'

const env = nodeEnvironment()
const secret = 'a secret of many characters'

async function newDatabase(): Promise<MemoryLevel<Uint8Array, Uint8Array>> {
  const database = new MemoryLevel<Uint8Array, Uint8Array>({ keyEncoding: 'view', valueEncoding: 'view' })
  await database.open()
  return database
}

async function options(changes: Partial<ControlPlaneOptions> = {}): Promise<ControlPlaneOptions> {
  return {
    env,
    clusterId: 'c',
    nodeId: 'cp1',
    cluster: bootstrap({ secret }),
    transport: memoryNetwork().transport(),
    log: memoryLog(),
    database: await newDatabase(),
    ...changes,
  }
}

test('a server whose log is lost does not begin its cluster a second time, and its state stays', async () => {
  const database = await newDatabase()
  const first = await ControlPlane.open(await options({ database }))
  await until(env, 'it leads', () => first.duties !== undefined)
  await first.store.txn({ then: [{ type: 'put', key: utf8('/a'), value: utf8('b') }] })
  await first.close()
  for (let attempt = 0; attempt < 2; attempt++) {
    await assert.rejects(ControlPlane.open(await options({ database })), {
      code: 'ALREADY_BOOTSTRAPPED',
      message: /its log is gone\. Restore the log/,
    })
  }
  const [kept] = await database.iterator({ limit: 1 }).all()
  assert.ok(kept !== undefined)
})

test('a server whose transport does not open gives its directory back', async () => {
  const { path, remove } = await temporaryDirectory()
  try {
    const taken = await webSocket({ listen: { host: '127.0.0.1', port: 0 } })({
      env,
      clusterId: 'c',
      self: { nodeId: 'other', incarnation: 1, role: 'node' },
      resolve: () => [],
    })
    const port = Number(taken.addresses[0]?.split(':')[1])
    const log = segments(joinPath(path, 'log'), { segmentBytes: 65_536 })
    const occupied = await options({ log, transport: webSocket({ listen: { host: '127.0.0.1', port } }) })
    await assert.rejects(ControlPlane.open(occupied), { code: 'IO', message: /name another host or port/ })
    await taken.close()
    const server = await ControlPlane.open(await options({ log }))
    await server.close()
  } finally {
    await remove()
  }
})

test('seeds that may not be dialled are no reason to wait', async () => {
  const connecting = PlaneClient.connect({
    env,
    clusterId: 'c',
    seeds: ['10.255.255.1:1'],
    transport: webSocket(),
  })
  await assert.rejects(connecting, { code: 'INVALID_OPTION', message: /plaintext/ })
})

test('an address that cannot be read stops nobody from learning the others', async () => {
  const records: LogRecord[] = []
  const loud = nodeEnvironment({ logger: recordLogger((record) => records.push(record), 'error') })
  await using cluster = await devCluster({ servers: 1, env: loud })
  const { store } = cluster.client
  for (const key of ['/servers/zz', '/servers/broken'])
    await store.txn({ then: [{ type: 'put', key: utf8(key), value: utf8('no server') }] })
  const { agent } = await cluster.addNode('n1')
  const server = cluster.leader()
  await until(loud, 'the node is known', () => server.status().nodes.some(({ nodeId }) => nodeId === 'n1'))
  await until(loud, 'the node is live', () => agent.live)
  assert.deepEqual(records, [])
})

test('a job that is not there any more is not waited for', async () => {
  await using cluster = await devCluster({ servers: 1 })
  const { admin } = cluster.client
  await assert.rejects(admin.finished({ jobId: 99 } as never), { code: 'NOT_FOUND', message: /no job 99/ })
})

test('a table with replicas that no range can have is not begun', async () => {
  await using cluster = await devCluster({ servers: 1 })
  const { admin } = cluster.client
  const table = {
    name: 't',
    columns: [{ name: 'id', valueType: 'string', required: true }],
    primaryKey: ['id'],
  } as const
  await assert.rejects(admin.createTable(table, { replicas: 16 }), { code: 'INVALID_ARGUMENT' })
  assert.deepEqual(await admin.catalog.list(), [])
  // The keys are those of the table that was made, so they come too late to leave no trace, and soon enough for no job.
  for (const splitKeys of [() => [utf8('z')], () => ['text'] as never, () => 5 as never])
    await assert.rejects(admin.createTable(table, { replicas: 1, splitKeys }), (error) =>
      KeelsonError.hasCode(error, 'INVALID_ARGUMENT'),
    )
  assert.deepEqual(await admin.jobs.list(), [])
})
