import assert from 'node:assert/strict'
import { test } from 'node:test'
import { callLeader } from '../../src/control-plane/leader-calls.ts'
import { LeaderDuties } from '../../src/control-plane/leader-duties.ts'
import { ServerRoster } from '../../src/control-plane/server-roster.ts'
import { KeelsonError } from '../../src/core/errors.ts'
import { devCluster, text, utf8 } from '../../src/index.ts'
import type { MetadataStore } from '../../src/interfaces/index.ts'
import { ControllerEpoch, memoryStore, RangeDirectory } from '../../src/metadata/index.ts'
import { Nodes } from '../../src/nodes/index.ts'
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
