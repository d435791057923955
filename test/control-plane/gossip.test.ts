import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { text, utf8 } from '../../src/core/bytes.ts'
import { bootstrap, ControlPlane, NodeAgent } from '../../src/index.ts'
import { MemoryLevel, memoryLog } from '../../src/storage/memory/index.ts'
import { KeyRing } from '../../src/transport/datagram/index.ts'
import { memoryDatagrams, memoryNetwork } from '../../src/transport/memory/index.ts'
import { VirtualTime } from '../support/virtual-time.ts'

const secret = 'a secret of the servers alone'
const clusterId = 'city'
const key = (byte: number): Uint8Array => new Uint8Array(32).fill(byte)

type Database = MemoryLevel<Uint8Array, Uint8Array>

class World {
  readonly time = new VirtualTime(3)
  readonly network = memoryNetwork()
  /** Numbers its sockets as the network does its transports, so that one address serves for both. */
  readonly datagrams = memoryDatagrams()
  readonly databases = new Map<string, Database>()

  database(nodeId: string): Database {
    const known = this.databases.get(nodeId)
    if (known !== undefined) return known
    const made: Database = new MemoryLevel({ keyEncoding: 'view', valueEncoding: 'view' })
    this.databases.set(nodeId, made)
    return made
  }

  async server(keys: KeyRing): Promise<ControlPlane> {
    const nodeId = 'cp1'
    return this.time.until(
      ControlPlane.open({
        env: this.time.env,
        clusterId,
        nodeId,
        cluster: bootstrap({ secret }),
        transport: this.network.transport(),
        datagrams: this.datagrams.socket(),
        gossip: { keys, metadata: utf8('a server') },
        log: memoryLog(),
        database: this.database(nodeId),
      }),
    )
  }

  async node(
    nodeId: string,
    incarnation: number,
    seeds: readonly string[],
    keys: KeyRing,
    token?: string,
  ): Promise<NodeAgent> {
    const database = this.database(nodeId)
    await database.open()
    const joining = NodeAgent.join({
      env: this.time.env,
      clusterId,
      nodeId,
      incarnation,
      seeds,
      ...(token === undefined ? {} : { token }),
      transport: this.network.transport(),
      datagrams: this.datagrams.socket(),
      gossip: { keys, snapshotIntervalMs: 1_000 },
      database,
    })
    return this.time.until(joining)
  }
}

suite('gossip of servers and nodes', () => {
  test('is composed with streams, snapshots and keys', async () => {
    const world = new World()
    const { time } = world
    const rings = new Map(['cp1', 'db1', 'db2'].map((nodeId) => [nodeId, new KeyRing([key(1)])] as const))
    const ring = (nodeId: string): KeyRing => rings.get(nodeId) as KeyRing
    const plane = await world.server(ring('cp1'))
    const token = async (): Promise<string> => time.until(plane.admin.nodes.createToken({ reason: 'test' }))
    const db1 = await world.node('db1', 11, plane.addresses, ring('db1'), await token())
    const db2 = await world.node('db2', 12, plane.addresses, ring('db2'), await token())
    const alive = (...each: readonly (ControlPlane | NodeAgent)[]): boolean =>
      each.every(({ gossip }) => gossip?.swim.status().members.alive === each.length)
    await time.untilTrue('all know all', () => alive(plane, db1, db2))
    assert.equal(text(db1.gossip?.swim.member('cp1')?.metadata ?? utf8('')), 'a server')

    const told: string[] = []
    db2.gossip?.swim.on('told', ({ nodeId, name }) => told.push(`${nodeId} ${name}`))
    plane.gossip?.swim.tell('deploy', utf8('v2'))
    await time.untilTrue('what is told is heard', () => told.length > 0)
    assert.deepEqual(told, ['cp1 deploy'])

    await time.until(plane.gossip?.keys?.rotate(key(2)) as Promise<void>)
    const used = new KeyRing([key(2)]).ids[0]
    for (const each of rings.values()) assert.equal(each.ids[0], used)

    // Only streams reach db2: it is degraded, and not dead.
    const address = db2.gossip?.swim.self.address
    world.datagrams.filter((from, to) => from !== address && to !== address)
    const degraded: string[] = []
    plane.gossip?.swim.on('change', ({ type, member }) => degraded.push(`${type} ${member.nodeId}`))
    await time.untilTrue('db2 is degraded', () => degraded.includes('degraded db2'))
    await time.advance(60_000)
    assert.equal(plane.gossip?.swim.member('db2')?.state, 'alive')
    assert.ok(!degraded.includes('failed db2'))
    world.datagrams.filter(() => true)

    // A node that was a member finds the others by what its database remembers, whatever its seeds are.
    await time.until(db1.close())
    const again = await world.node('db1', 13, ['memory:999'], ring('db1'))
    await time.untilTrue('it is back', () => alive(plane, again, db2))
    assert.equal(plane.gossip?.swim.member('db1')?.incarnation, 13)
    for (const each of [again, db2, plane]) await time.until(each.close())
  })
})
