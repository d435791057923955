import assert from 'node:assert/strict'
import { test } from 'node:test'
import { callLeader } from '../../src/control-plane/leader-calls.ts'
import { LeaderDuties } from '../../src/control-plane/leader-duties.ts'
import { ServerRoster } from '../../src/control-plane/server-roster.ts'
import { KeelsonError } from '../../src/core/errors.ts'
import { devCluster, text, utf8 } from '../../src/index.ts'
import type { MetadataStore } from '../../src/interfaces/index.ts'
import { ControllerEpoch, memoryStore, RangeDirectory } from '../../src/metadata/index.ts'
import { encodeNodeReport, NodeSession, Nodes } from '../../src/nodes/index.ts'
import { defaultSchemaChangeTuning } from '../../src/schema/index.ts'
import type { Rpc } from '../../src/transport/rpc.ts'
import { VirtualTime } from '../support/virtual-time.ts'

test('a leader whose epoch an earlier leader wrote over late takes its duties up again', async () => {
  await using cluster = await devCluster({ servers: 1 })
  const [leader] = cluster.servers
  assert.ok(leader !== undefined)
  const before = await new Promise<number>((resolve) => {
    if (leader.duties !== undefined) resolve(leader.duties.epoch.number)
    leader.on('leadership', (duties) => duties !== undefined && resolve(duties.epoch.number))
  })
  const renewed = new Promise<number>((resolve) => {
    leader.on('leadership', (duties) => duties !== undefined && resolve(duties.epoch.number))
  })
  // The earlier one's write was on its way for long, and its client found the new leader.
  const late = await ControllerEpoch.acquire(cluster.client.store, 'control-plane', 'cp9')
  assert.ok(late.number > before)
  const creation = cluster.client.admin.createTable(
    {
      name: 'rows',
      columns: [{ name: 'id', valueType: 'number', required: true }],
      primaryKey: ['id'],
    },
    { replicas: 1 },
  )
  creation.catch(() => {})
  assert.ok((await renewed) > late.number)
})

test('nobody is drained by a directory that was not read yet', async () => {
  const time = new VirtualTime(3)
  const { env } = time
  const inner = memoryStore({ env })
  const nodes = new Nodes({ store: inner, env, replicasOf: async () => 1 })
  const token = await nodes.createToken({ reason: 'a test' })
  const descriptor = {
    nodeId: 'db1',
    incarnation: 1,
    addresses: ['db1:1'],
    locality: [],
    capacity: {},
    labels: {},
  }
  await nodes.join({ descriptor, credential: 'the secret of db1, at length', token })
  await nodes.drain('db1', 'a test')
  const epoch = await ControllerEpoch.acquire(inner, 'control-plane', 'cp1')
  const replica = { replicaId: 1, nodeId: 'db1', incarnation: 1, role: 'voter' } as const
  const range = { rangeId: 1, start: utf8('a'), end: undefined, generation: 1, replicas: [replica] }
  await new RangeDirectory(inner).create(epoch, [range])
  let open: () => void = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  const store = new Proxy(inner, {
    get: (target, name) => {
      if (name === 'range') {
        return async (...args: Parameters<MetadataStore['range']>) => {
          if (text(args[0].key).startsWith('/ranges/descriptors')) await opened
          return inner.range(...args)
        }
      }
      const member: unknown = Reflect.get(target, name)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
  const duties = new LeaderDuties({
    env,
    store,
    epoch,
    rpc: {} as Rpc,
    placement: {},
    schemaTuning: defaultSchemaChangeTuning,
    jobTypes: [],
  })
  await time.advance(5000)
  assert.equal((await nodes.get('db1'))?.state, 'draining')
  open()
  await time.advance(5000)
  assert.equal((await nodes.get('db1'))?.state, 'draining')
  await duties.close()
})

test('stores that a node reports are counted, filled and judged by themselves', async () => {
  const time = new VirtualTime(4)
  const { env } = time
  const store = memoryStore({ env })
  const nodes = new Nodes({ store, env, replicasOf: async () => 0 })
  const token = await nodes.createToken({ reason: 'a test' })
  const descriptor = {
    nodeId: 'db1',
    incarnation: 1,
    addresses: ['db1:1'],
    locality: [],
    capacity: { bytes: 100 },
    labels: {},
    stores: [{ storeId: 'd1', capacity: { bytes: 60 }, labels: { disk: 'nvme' } }],
  }
  await nodes.join({ descriptor, credential: 'the secret of db1, at length', token })
  const epoch = await ControllerEpoch.acquire(store, 'control-plane', 'cp1')
  const replica = { replicaId: 1, nodeId: 'db1', incarnation: 1, role: 'voter' } as const
  const range = { rangeId: 1, start: utf8('a'), end: undefined, generation: 1, replicas: [replica] }
  await new RangeDirectory(store).create(epoch, [range])
  const duties = new LeaderDuties({
    env,
    store,
    epoch,
    rpc: {} as Rpc,
    placement: {},
    schemaTuning: defaultSchemaChangeTuning,
    jobTypes: [],
  })
  const session = await NodeSession.open({ env, store, nodeId: 'db1', incarnation: 1 })
  await time.advance(2000)
  const observed = {
    rangeId: 1,
    replicaId: 1,
    generation: 1,
    replicas: [replica],
    leaseHolder: true,
    sequence: 1,
    caughtUp: [1],
    load: { bytes: 7 },
    storeId: 'd2',
  }
  for (let sequence = 1; sequence <= 90; sequence++) {
    duties.takeReport(
      encodeNodeReport({
        nodeId: 'db1',
        incarnation: 1,
        epoch: session.epoch,
        sequence,
        load: {},
        capacity: {},
        replicas: [observed],
        stores: [
          { storeId: 'd1', load: { ioOverload: 0.2 }, capacity: {} },
          { storeId: 'd2', load: { ioOverload: 1.2 }, capacity: { bytes: 40 } },
        ],
      }),
    )
    await time.advance(1000)
  }
  const snapshot = duties.placement.snapshot()
  assert.deepEqual(
    snapshot.stores.map(({ storeId, capacity, overload }) => [storeId, capacity['bytes'], overload]),
    [
      ['d1', 60, undefined],
      ['d2', 40, 'overloaded'],
    ],
  )
  assert.equal(snapshot.table.nameOf(snapshot.range(1)?.store(0) as number), 'db1/d2')
  assert.match(duties.placement.explainNode('db1').takes.join(), /db1\/d1: it takes replicas/)
  // What a dead node reported before says nothing of it any more.
  await session.close()
  await time.advance(20_000)
  assert.equal(duties.placement.snapshot().nodes[0]?.liveness, 'dead')
  assert.equal(duties.overload.level('db1', 'd2'), undefined)
  await duties.close()
})

test('a server that is closing is not the last word: another one is asked', async () => {
  const time = new VirtualTime(3)
  const roster = new ServerRoster()
  for (const nodeId of ['cp1', 'cp2']) roster.learn({ nodeId, incarnation: 1, addresses: [] })
  const asked: string[] = []
  const rpc = {
    call: async (peer: string) => {
      asked.push(peer)
      if (asked.length === 1) throw new KeelsonError('CLOSED', 'the store was closed')
      return utf8('done')
    },
  } as unknown as Rpc
  const answer = callLeader({ env: time.env, rpc, roster }, 'join-node', utf8(''), { idempotent: true })
  answer.catch(() => {})
  await time.advance(2000)
  assert.equal(text(await answer), 'done')
  assert.deepEqual(asked, ['cp1', 'cp2'])
})

test('a leader that was cut off learns that its epoch has ended, and says so', async () => {
  const time = new VirtualTime(8)
  const cluster = await time.until(devCluster({ env: time.env, servers: 3 }))
  await time.untilTrue('a server leads', () => cluster.servers.some(({ duties }) => duties !== undefined))
  const leader = cluster.leader()
  const deposed: KeelsonError[] = []
  leader.on('deposed', (error) => deposed.push(error))
  const others = cluster.servers.filter((server) => server !== leader)
  for (const { nodeId } of others) cluster.network.cut(leader.nodeId, nodeId)
  await time.untilTrue('another one leads', () => others.some(({ duties }) => duties !== undefined), 60_000)
  for (const { nodeId } of others) cluster.network.heal(leader.nodeId, nodeId)
  await time.untilTrue('it was told', () => deposed.length > 0, 60_000)
  assert.equal(deposed[0]?.code, 'STALE_EPOCH')
  await time.until(cluster.close())
})
