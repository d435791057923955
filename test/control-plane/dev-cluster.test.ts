import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeServerJoin } from '../../src/control-plane/server-admission.ts'
import { bootstrap, ControlPlane, devCluster, join, nodeEnvironment, utf8 } from '../../src/index.ts'
import type { LogStoreFactory } from '../../src/interfaces/index.ts'
import type { Job } from '../../src/jobs/index.ts'
import { MemoryLevel, memoryLog } from '../../src/storage/memory/index.ts'
import { memoryNetwork } from '../../src/transport/memory/index.ts'
import { Rpc } from '../../src/transport/rpc.ts'

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
  const over = new AbortController()
  const waiting = admin.finished({ jobId: 404 } as Job, { signal: over.signal })
  over.abort()
  await assert.rejects(waiting, { code: 'ABORTED' })
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

test('a server is taken in under its own name and in its present life only', async () => {
  await using cluster = await devCluster({ servers: 1 })
  const env = nodeEnvironment()
  const [server] = cluster.servers
  assert.ok(server !== undefined)
  const self = { nodeId: 'cp8', incarnation: 5, role: 'node' } as const
  const resolve = (): readonly string[] => server.addresses
  await using transport = await cluster.network.transport()({ env, clusterId: 'dev', self, resolve })
  await using rpc = new Rpc({ env, channel: transport.channel('control', { traffic: 'control' }) })
  for (const [nodeId, incarnation] of [['cp9', 5] as const, ['cp8', 4] as const]) {
    const body = encodeServerJoin({ server: { nodeId, incarnation, addresses: [] }, secret: 'any' })
    await assert.rejects(rpc.call('cp1', 'join-server', body, { timeoutMs: 5_000 }), {
      code: 'UNAUTHORIZED',
      message: /joins under its own name, in its present life/,
    })
  }
})

test('a server that is only starting keeps another one from beginning the cluster a second time', async () => {
  const env = nodeEnvironment()
  const network = memoryNetwork()
  const secret = 'the secret of this cluster'
  const open = async (
    nodeId: string,
    cluster: Parameters<typeof ControlPlane.open>[0]['cluster'],
    log: LogStoreFactory,
    database: MemoryLevel<Uint8Array, Uint8Array>,
  ): Promise<ControlPlane> =>
    ControlPlane.open({
      env,
      clusterId: 'dev',
      nodeId,
      cluster,
      transport: network.transport(),
      log,
      database,
    })
  const memory = async (): Promise<MemoryLevel<Uint8Array, Uint8Array>> => {
    const database = new MemoryLevel<Uint8Array, Uint8Array>({ keyEncoding: 'view', valueEncoding: 'view' })
    await database.open()
    return database
  }
  const log = memoryLog()
  const database = await memory()
  const first = await open('cp1', bootstrap({ secret }), log, database)
  await first.close()
  let address = ''
  // It goes on from its history as soon as its state machine is open, and that takes a while.
  let goOn: () => void = () => {}
  const held = new Promise<void>((resolve) => {
    goOn = resolve
  })
  const get = database.get.bind(database) as (...args: unknown[]) => Promise<never>
  let reached: () => void = () => {}
  const starting = new Promise<void>((resolve) => {
    reached = resolve
  })
  database.get = async (...args: unknown[]) => {
    if (address === '') return get(...args)
    reached()
    await held
    return get(...args)
  }
  const again = ControlPlane.open({
    env,
    clusterId: 'dev',
    nodeId: 'cp1',
    cluster: bootstrap({ secret }),
    transport: async (context) => {
      const transport = await network.transport()(context)
      address = transport.addresses[0] as string
      return transport
    },
    log,
    database,
  })
  await starting
  await assert.rejects(open('cp2', bootstrap({ others: [address], secret }), memoryLog(), await memory()), {
    code: 'ALREADY_BOOTSTRAPPED',
  })
  goOn()
  await (await again).close()
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
