import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { utf8 } from '../../src/core/bytes.ts'
import { type Environment, type KeelsonError, sleep } from '../../src/core/index.ts'
import type { MetadataStore } from '../../src/interfaces/index.ts'
import { ControllerEpoch, memoryStore, prefixSelector } from '../../src/metadata/index.ts'
import type { NodeDescriptor } from '../../src/model/index.ts'
import {
  decodeNodeReport,
  encodeNodeRecord,
  encodeNodeReport,
  NodeController,
  type NodeRecord,
  NodeReporter,
  NodeSession,
  Nodes,
} from '../../src/nodes/index.ts'
import { FaultyStore, type StoreFault } from '../support/faulty-store.ts'
import { VirtualTime } from '../support/virtual-time.ts'

interface World {
  readonly time: VirtualTime
  readonly env: Environment
  readonly store: MetadataStore
  readonly nodes: Nodes
  readonly replicas: Map<string, number>
}

function newWorld(): World {
  const time = new VirtualTime(3)
  const { env } = time
  const store = memoryStore({ env })
  const replicas = new Map<string, number>()
  const nodes = new Nodes({ store, env, replicasOf: async (nodeId) => replicas.get(nodeId) ?? 0 })
  return { time, env, store, nodes, replicas }
}

function descriptor(nodeId: string, incarnation: number): NodeDescriptor {
  return {
    nodeId,
    incarnation,
    addresses: [`${nodeId}:1`],
    locality: [],
    capacity: { bytes: 10 },
    labels: {},
  }
}

const credential = (nodeId: string, incarnation: number): string => `the secret of ${nodeId} ${incarnation}`

async function join(world: World, nodeId: string, incarnation: number): Promise<void> {
  const token = await world.nodes.createToken({ reason: 'a test' })
  await world.nodes.join({
    descriptor: descriptor(nodeId, incarnation),
    credential: credential(nodeId, incarnation),
    token,
  })
}

async function controller(world: World): Promise<NodeController> {
  const { env, store, replicas } = world
  const epoch = await ControllerEpoch.acquire(store, 'controllers', 'a test')
  const replicasOf = async (nodeId: string): Promise<number> => replicas.get(nodeId) ?? 0
  const started = NodeController.start({ env, store, epoch, replicasOf })
  await started.ready()
  return started
}

suite('joining', () => {
  test('a token admits one node, once', async () => {
    const { time, nodes, store } = newWorld()
    const token = await nodes.createToken({ reason: 'db1', validForMs: 1000 })
    const stored = await store.range(prefixSelector(utf8('/nodes/token/')))
    assert.equal(stored.count, 1)
    for (const { key, value } of stored.entries) {
      assert.ok(
        !Buffer.from(key).includes(token) && !Buffer.from(value).includes(token),
        'the token is stored',
      )
    }
    const request = { descriptor: descriptor('db1', 7), credential: credential('db1', 7), token }
    assert.equal((await nodes.join(request)).life, 'first')
    assert.equal((await nodes.join(request)).life, 'same', 'a repeated call')
    await assert.rejects(
      nodes.join({ ...request, descriptor: descriptor('db2', 8), credential: credential('db2', 8) }),
      { code: 'UNAUTHORIZED' },
    )
    const late = await nodes.createToken({ reason: 'db3', validForMs: 1000 })
    await time.advance(1001)
    await assert.rejects(
      nodes.join({ descriptor: descriptor('db3', 9), credential: credential('db3', 9), token: late }),
      { code: 'UNAUTHORIZED' },
    )
    await nodes.createToken({ reason: 'another' })
    assert.equal(
      (await store.range(prefixSelector(utf8('/nodes/token/')))).count,
      1,
      'expired ones are dropped',
    )
    assert.deepEqual(
      (await nodes.list()).map((record) => record.descriptor.nodeId),
      ['db1'],
    )
  })

  test('two nodes that race for one token: one gets in', async () => {
    const { nodes } = newWorld()
    const token = await nodes.createToken({ reason: 'a race' })
    const results = await Promise.allSettled(
      ['db1', 'db2', 'db3'].map((nodeId, i) =>
        nodes.join({ descriptor: descriptor(nodeId, i + 1), credential: credential(nodeId, i + 1), token }),
      ),
    )
    assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1)
    assert.equal((await nodes.list()).length, 1)
  })

  test('a lost answer at any call of a join is healed by the retry', async () => {
    for (const fault of ['lost', 'unknown'] satisfies StoreFault[]) {
      const { time, env, store } = newWorld()
      let faults = 2
      const faulty = new FaultyStore(store, (_, what) => (what === 'txn' && faults-- > 0 ? fault : undefined))
      const nodes = new Nodes({ store: faulty, env, replicasOf: async () => 0 })
      const token = await time.until(nodes.createToken({ reason: 'a test' }))
      faults = 1
      const request = { descriptor: descriptor('db1', 7), credential: credential('db1', 7), token }
      await time.until(nodes.join(request))
      assert.equal((await nodes.get('db1'))?.descriptor.incarnation, 7)
      assert.equal((await store.range(prefixSelector(utf8('/nodes/token/')))).count, 0, fault)
    }
  })

  test('a wiped node comes back as a new life, once the old one is dead', async () => {
    const world = newWorld()
    const { time, env, store, nodes } = world
    await join(world, 'db1', 7)
    const old = await NodeSession.open({ env, store, nodeId: 'db1', incarnation: 7 })
    const token = await nodes.createToken({ reason: 'db1 again' })
    const request = { descriptor: descriptor('db1', 8), credential: credential('db1', 8), token }
    await assert.rejects(nodes.join(request), { code: 'CONFLICT', retryable: true })
    await old.close()
    assert.equal((await nodes.join(request)).life, 'new')
    await assert.rejects(NodeSession.open({ env, store, nodeId: 'db1', incarnation: 7 }), {
      code: 'UNAUTHORIZED',
    })
    const now = await NodeSession.open({ env, store, nodeId: 'db1', incarnation: 8 })
    assert.ok(now.epoch > old.epoch)
    await now.close()
    await time.settle()
  })

  test('bad input is refused', async () => {
    const { nodes, env, store } = newWorld()
    const good = { descriptor: descriptor('db1', 7), credential: credential('db1', 7), token: 'x'.repeat(64) }
    await assert.rejects(nodes.join(good), { code: 'UNAUTHORIZED' })
    await assert.rejects(nodes.join({ ...good, credential: 'short' }), { code: 'INVALID_ARGUMENT' })
    await assert.rejects(nodes.join({ ...good, descriptor: { ...good.descriptor, nodeId: '../x' } }), {
      code: 'INVALID_ARGUMENT',
    })
    await assert.rejects(nodes.join({ ...good, descriptor: { ...good.descriptor, capacity: { cpu: -1 } } }), {
      code: 'INVALID_ARGUMENT',
    })
    await assert.rejects(nodes.createToken({ reason: 'x', validForMs: 1e12 }), { code: 'INVALID_ARGUMENT' })
    await assert.rejects(nodes.drain('db9', 'x'), { code: 'NOT_FOUND' })
    await assert.rejects(NodeSession.open({ env, store, nodeId: 'db9', incarnation: 1 }), {
      code: 'NOT_FOUND',
    })
    await assert.rejects(
      NodeSession.open({ env, store, nodeId: 'db9', incarnation: 1, ttlMs: 100, renewIntervalMs: 90 }),
      { code: 'INVALID_OPTION' },
    )
  })
})

suite('sessions', () => {
  test('a session is renewed for as long as it is open', async () => {
    const world = newWorld()
    const { time, env, store } = world
    await join(world, 'db1', 7)
    const session = await NodeSession.open({ env, store, nodeId: 'db1', incarnation: 7 })
    const events: string[] = []
    session.on('suspended', () => events.push('suspended'))
    session.on('lost', () => events.push('lost'))
    await time.advance(100_000)
    assert.equal(session.isLive(), true)
    assert.equal((await store.sessions())[0]?.sessionId, session.sessionId)
    assert.ok(session.remainingMs() > 3_000)
    await session.close()
    assert.equal(session.isLive(), false)
    assert.equal(session.remainingMs(), 0)
    assert.equal((await store.sessions()).length, 0)
    assert.equal((await store.range(prefixSelector(utf8('/nodes/live/')))).count, 0)
    await session.close()
    assert.deepEqual(events, [])
  })

  test('the holder stops before the store lets go, whatever happens to its renewals', async () => {
    for (const cutAt of [0, 700, 1499, 1500, 1501, 3100]) {
      for (const answerLost of [false, true]) {
        const world = newWorld()
        const { time, env, store } = world
        await join(world, 'db1', 7)
        let cut = false
        const faulty = new FaultyStore(store, (_, what) =>
          cut && what === 'renewSession' ? (answerLost ? 'unknown' : 'lost') : undefined,
        )
        const session = await NodeSession.open({ env, store: faulty, nodeId: 'db1', incarnation: 7 })
        await time.advance(cutAt)
        cut = true
        let suspended = false
        session.on('suspended', () => {
          suspended = true
        })
        for (let i = 0; i < 400; i++) {
          await time.advance(25)
          const held = (await store.sessions()).length > 0
          assert.ok(!session.isLive() || held, `live after the store let go (cut at ${cutAt})`)
        }
        assert.equal(session.isLive(), false)
        assert.equal(suspended, true)
        await session.close()
      }
    }
  })

  test('answers that take long shorten what is left, they do not extend it', async () => {
    const world = newWorld()
    const { time, env, store } = world
    await join(world, 'db1', 7)
    let cut = false
    const slow = new FaultyStore(store, (_, what) => (cut && what === 'renewSession' ? 'lost' : undefined))
    slow.after = (what) => (what.endsWith('Session') ? sleep(env.timers, 2500) : Promise.resolve())
    const session = await time.until(NodeSession.open({ env, store: slow, nodeId: 'db1', incarnation: 7 }))
    await time.advance(20_000)
    assert.equal(session.isLive(), true)
    cut = true
    for (let i = 0; i < 400; i++) {
      await time.advance(25)
      assert.ok(!session.isLive() || (await store.sessions()).length > 0, 'live after the store let go')
    }
    assert.equal(session.isLive(), false)
    const closing = session.close()
    await time.until(closing)
  })

  test('a new life cannot begin while the old one is just opening its session', async () => {
    const world = newWorld()
    const { time, env, store } = world
    await join(world, 'db1', 7)
    const token = await world.nodes.createToken({ reason: 'db1 again' })
    const faulty = new FaultyStore(store, () => undefined)
    const nodes = new Nodes({ store: faulty, env, replicasOf: async () => 0 })
    let session: NodeSession | undefined
    faulty.before = async (what) => {
      if (what === 'txn') session ??= await NodeSession.open({ env, store, nodeId: 'db1', incarnation: 7 })
    }
    const request = { descriptor: descriptor('db1', 8), credential: credential('db1', 8), token }
    await assert.rejects(time.until(nodes.join(request)), { code: 'CONFLICT' })
    assert.equal((await nodes.get('db1'))?.descriptor.incarnation, 7)
    await session?.close()
  })

  test('after an outage that the session survived it goes on with the same epoch', async () => {
    const world = newWorld()
    const { time, env, store } = world
    await join(world, 'db1', 7)
    let cut = false
    // The store keeps the session alive although no answer arrives: what the holder cannot know.
    const faulty = new FaultyStore(store, (_, what) =>
      cut && what === 'renewSession' ? 'unknown' : undefined,
    )
    const session = await NodeSession.open({ env, store: faulty, nodeId: 'db1', incarnation: 7 })
    const events: string[] = []
    session.on('suspended', () => events.push(`suspended ${session.isLive()}`))
    session.on('resumed', () => events.push(`resumed ${session.isLive()}`))
    cut = true
    await time.advance(20_000)
    cut = false
    await time.advance(2000)
    assert.deepEqual(events, ['suspended false', 'resumed true'])
    await session.close()
  })

  test('a session that was ended is lost at the next renewal, and for good', async () => {
    const world = newWorld()
    const { time, env, store } = world
    await join(world, 'db1', 7)
    const session = await NodeSession.open({ env, store, nodeId: 'db1', incarnation: 7 })
    const lost: KeelsonError[] = []
    session.on('lost', (error) => lost.push(error))
    await store.revokeSession(session.epoch)
    session.verify()
    await time.settle()
    assert.deepEqual(
      lost.map((error) => error.code),
      ['EPOCH_ENDED'],
    )
    assert.equal(session.isLive(), false)
    assert.equal(session.isLost, true)
    await time.advance(60_000)
    assert.equal(session.isLive(), false)
    const next = await NodeSession.open({ env, store, nodeId: 'db1', incarnation: 7 })
    assert.ok(next.epoch > session.epoch)
    await next.close()
    await session.close()
  })

  test('a machine that was suspended is not live, although its monotonic clock stood still', async () => {
    const world = newWorld()
    const { time, store } = world
    await join(world, 'db1', 7)
    let asleepMs = 0
    const env = {
      ...world.env,
      clock: {
        monotonicMs: () => world.env.clock.monotonicMs(),
        wallMs: () => world.env.clock.wallMs() + asleepMs,
      },
    }
    const session = await NodeSession.open({ env, store, nodeId: 'db1', incarnation: 7 })
    assert.equal(session.isLive(), true)
    asleepMs = 10_000
    assert.equal(session.isLive(), false)
    asleepMs = -10_000
    assert.equal(session.isLive(), true, 'a wall clock that goes back extends nothing and ends nothing')
    await time.advance(10)
    await session.close()
  })

  test('a restarted process ends the session of the one before', async () => {
    const world = newWorld()
    const { time, env, store } = world
    await join(world, 'db1', 7)
    const first = await NodeSession.open({ env, store, nodeId: 'db1', incarnation: 7 })
    const second = await NodeSession.open({ env, store, nodeId: 'db1', incarnation: 7 })
    assert.ok(second.epoch > first.epoch)
    await time.advance(3000)
    assert.equal(first.isLost, true)
    assert.equal(second.isLive(), true)
    await first.close()
    await second.close()
  })
})

suite('the controller', () => {
  test('sees nodes live and die', async () => {
    const world = newWorld()
    const { time, env, store } = world
    await using nodesController = await controller(world)
    const changes: string[] = []
    nodesController.on('changed', (nodeId) => {
      const node = nodesController.node(nodeId)
      changes.push(`${nodeId} ${node?.state} ${node?.liveness}`)
    })
    await join(world, 'db1', 7)
    await time.settle()
    const session = await NodeSession.open({ env, store, nodeId: 'db1', incarnation: 7 })
    await time.settle()
    assert.equal(nodesController.node('db1')?.epoch, session.epoch)
    nodesController.hint('db1', 7, true)
    nodesController.hint('db1', 7, false)
    await session.close()
    await time.settle()
    assert.deepEqual(changes, [
      'db1 active dead',
      'db1 active live',
      'db1 active suspect',
      'db1 active live',
      'db1 active dead',
    ])
    await time.advance(5000)
    assert.equal(nodesController.node('db1')?.forMs, 5000)
    assert.equal(nodesController.nodes().length, 1)
  })

  test('a node is drained when it holds nothing, then it may go', async () => {
    const world = newWorld()
    const { time, env, store, nodes, replicas } = world
    await using nodesController = await controller(world)
    await join(world, 'db1', 7)
    const session = await NodeSession.open({ env, store, nodeId: 'db1', incarnation: 7 })
    replicas.set('db1', 2)
    await assert.rejects(nodes.decommission('db1', 'broken'), { code: 'CONFLICT' })
    await nodes.drain('db1', 'broken')
    await time.advance(5000)
    assert.equal((await nodes.get('db1'))?.state, 'draining')
    await assert.rejects(nodes.decommission('db1', 'broken'), /still has 2 replicas/)
    replicas.delete('db1')
    await time.advance(2000)
    assert.equal((await nodes.get('db1'))?.state, 'drained')
    assert.equal((await nodes.get('db1'))?.reason, 'broken')
    await nodes.undrain('db1', 'repaired')
    await nodes.drain('db1', 'broken again')
    await time.advance(2000)
    await nodes.decommission('db1', 'sold')
    await time.advance(4000)
    assert.equal(session.isLost, true, 'a decommissioned node loses its session')
    await assert.rejects(NodeSession.open({ env, store, nodeId: 'db1', incarnation: 7 }), {
      code: 'UNAUTHORIZED',
    })
    await assert.rejects(nodes.undrain('db1', 'oops'), { code: 'CONFLICT' })
    assert.equal(nodesController.node('db1')?.state, 'decommissioned')
    await session.close()
  })

  test('a deposed controller changes nothing and stops', async () => {
    const world = newWorld()
    const { time, nodes } = world
    const first = await controller(world)
    await join(world, 'db1', 7)
    await time.settle()
    const second = await controller(world)
    await nodes.drain('db1', 'x')
    const error = await time.until(first.stopped)
    assert.equal(error?.code, 'STALE_EPOCH')
    await time.advance(2000)
    assert.equal((await nodes.get('db1'))?.state, 'drained')
    await second.close()
  })

  test('reports arrive, and those of an ended epoch do not', async () => {
    const world = newWorld()
    const { time, env, store } = world
    await using nodesController = await controller(world)
    await join(world, 'db1', 7)
    const rare = { ttlMs: 60_000, renewIntervalMs: 30_000 }
    const session = await NodeSession.open({ env, store, nodeId: 'db1', incarnation: 7, ...rare })
    let reachable = true
    const sent: Uint8Array[] = []
    const reporter = NodeReporter.start({
      env,
      session,
      observe: () => [],
      load: () => ({ cpu: 1 }),
      capacity: () => ({ cpu: 8 }),
      send: async (bytes, { signal }) => {
        if (!reachable) await sleep(env.timers, 60_000, signal)
        sent.push(bytes)
        nodesController.takeReport(bytes)
      },
    })
    await time.advance(10_500)
    const sequence = nodesController.reports.report('db1')?.sequence ?? 0
    assert.ok(sequence >= 9 && sequence <= 13, `${sequence} reports in 10 s`)
    assert.ok(nodesController.reports.ageMs('db1', env.clock.monotonicMs()) < 1200)
    reporter.reportSoon()
    await time.settle()
    assert.equal(nodesController.reports.report('db1')?.sequence, sequence + 1)
    reachable = false
    await time.advance(4000)
    reachable = true
    await time.advance(5000)
    assert.ok(nodesController.reports.ageMs('db1', env.clock.monotonicMs()) < 1200, 'a hanging report ends')
    const last = decodeNodeReport(sent[sent.length - 1] as Uint8Array)
    assert.throws(() => nodesController.takeReport(encodeNodeReport({ ...last, incarnation: 8 })), {
      code: 'UNAUTHORIZED',
    })
    assert.throws(() => nodesController.takeReport(encodeNodeReport({ ...last, nodeId: 'db9' })), {
      code: 'UNAUTHORIZED',
    })
    assert.throws(() => nodesController.takeReport(new Uint8Array([1, 2, 3])), { code: 'MALFORMED' })
    await store.revokeSession(session.epoch)
    await time.settle()
    assert.equal(nodesController.reports.report('db1'), undefined)
    await time.advance(2000)
    assert.equal(session.isLost, true, 'told by the leader that its epoch has ended, it asks the store')
    await reporter.close()
    await session.close()
  })
})

suite('what cannot be', () => {
  test('is refused towards the host that reports it, at once and not again and again', async () => {
    const world = newWorld()
    const { time, env, store } = world
    await using nodesController = await controller(world)
    await join(world, 'db1', 7)
    await using session = await NodeSession.open({ env, store, nodeId: 'db1', incarnation: 7 })
    let cpu = -0.001
    const told: KeelsonError[] = []
    await using reporter = NodeReporter.start({
      env,
      session,
      observe: () => [],
      load: () => ({ cpu }),
      capacity: () => ({}),
      send: async (bytes) => void nodesController.takeReport(bytes),
      refused: (error) => {
        told.push(error)
        throw error
      },
    })
    await time.advance(10_000)
    assert.equal(nodesController.reports.report('db1'), undefined)
    assert.deepEqual(
      told.map(({ code }) => code),
      ['INVALID_ARGUMENT'],
    )
    assert.match(told[0]?.message ?? '', /cpu in the load of node db1/)
    cpu = 1
    reporter.reportSoon()
    await time.advance(2000)
    assert.equal(nodesController.reports.report('db1')?.load['cpu'], 1)
  })

  test('is refused of a node that joins, and what earlier releases stored is read as the largest amount', async () => {
    const world = newWorld()
    const { nodes, store, time } = world
    await using nodesController = await controller(world)
    await join(world, 'db1', 7)
    const token = await nodes.createToken({ reason: 'a test' })
    for (const bytes of [-1, 2 ** 60, Number.NaN]) {
      const bad = { ...descriptor('db2', 8), capacity: { bytes } }
      await assert.rejects(nodes.join({ descriptor: bad, credential: credential('db2', 8), token }), {
        code: 'INVALID_ARGUMENT',
      })
    }
    const record = (await nodes.get('db1')) as NodeRecord
    const put = async (nodeId: string, bytes: number): Promise<void> => {
      const change = {
        nodeId,
        capacity: { bytes },
        stores: [{ storeId: 'd1', capacity: { bytes }, labels: {} }],
      }
      const value = encodeNodeRecord({ ...record, descriptor: { ...record.descriptor, ...change } })
      await store.txn({ then: [{ type: 'put', key: utf8(`/nodes/record/${nodeId}`), value }] })
      await time.settle()
    }
    const capacityOf = (nodeId: string): number | undefined =>
      nodesController.node(nodeId)?.descriptor.capacity['bytes']
    await put('db1', 2 ** 60)
    assert.equal(capacityOf('db1'), Number.MAX_SAFE_INTEGER)
    assert.equal((await nodes.get('db1'))?.descriptor.stores?.[0]?.capacity['bytes'], Number.MAX_SAFE_INTEGER)
    // What no release has ever written leaves the node as it was, and the others are followed.
    await put('db1', -1)
    assert.equal(capacityOf('db1'), Number.MAX_SAFE_INTEGER)
    await put('db2', 5)
    assert.equal(capacityOf('db2'), 5)
    await assert.rejects(nodes.get('db1'), { code: 'MALFORMED', message: /node db1 has -1 of bytes/ })
  })
})
