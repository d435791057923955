import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bootstrap, ControlPlane, devCluster, join, nodeEnvironment, utf8 } from '../../src/index.ts'
import { MemoryLevel, memoryLog } from '../../src/storage/memory/index.ts'

test('a whole control plane in one process: servers, a client, nodes', async () => {
  await using cluster = await devCluster()
  const { store, admin } = cluster.client
  const { succeeded } = await store.txn({
    then: [{ type: 'put', key: utf8('/greeting'), value: utf8('hello') }],
  })
  assert.ok(succeeded)
  const node = await cluster.addNode('db1', { locality: 'zone=a' })
  assert.equal(node.agent.nodeId, 'db1')
  assert.deepEqual(
    (await admin.nodes.list()).map(({ descriptor }) => descriptor.nodeId),
    ['db1'],
  )
  const status = cluster.leader().status()
  assert.equal(status.group.configuration?.replicas.length, 3)
  assert.ok(status.group.configuration?.replicas.every(({ role }) => role === 'voter'))
  await cluster.close()
  await cluster.close()
})

test('a second bootstrap of a cluster that exists is refused, and so is a wrong secret', async () => {
  await using cluster = await devCluster({ servers: 1 })
  const env = nodeEnvironment()
  const seeds = cluster.servers.flatMap((server) => server.addresses)
  const open = async (
    nodeId: string,
    start: Parameters<typeof ControlPlane.open>[0]['cluster'],
  ): Promise<ControlPlane> => {
    const database = new MemoryLevel<Uint8Array, Uint8Array>({ keyEncoding: 'view', valueEncoding: 'view' })
    await database.open()
    return ControlPlane.open({
      env,
      clusterId: 'dev',
      nodeId,
      cluster: start,
      transport: cluster.network.transport(),
      log: memoryLog(),
      database,
    })
  }
  const secret = 'another secret entirely'
  await assert.rejects(open('cp9', bootstrap({ others: seeds, secret })), { code: 'ALREADY_BOOTSTRAPPED' })
  await assert.rejects(open('cp8', join({ seeds, secret })), { code: 'UNAUTHORIZED' })
})

test('what cannot be a cluster is refused at the edge', () => {
  assert.throws(() => bootstrap({ secret: 'short' }), {
    code: 'INVALID_OPTION',
    message: /16 to 256 characters/,
  })
  assert.throws(() => join({ seeds: [], secret: 'long enough for this' }), { code: 'INVALID_OPTION' })
})

test('a node without a valid token is not taken in', async () => {
  await using cluster = await devCluster({ servers: 1 })
  await cluster.addNode('db1')
  const token = await cluster.client.admin.nodes.createToken({ reason: 'test', validForMs: 60_000 })
  assert.match(token, /^[0-9a-f]{64}$/)
  await assert.rejects(devCluster({ servers: 0 }), { code: 'INVALID_OPTION' })
  await assert.rejects(devCluster({ serverz: 1 } as never), { message: /did you mean 'servers'/ })
})
