import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { sleep } from '../../src/core/async.ts'
import { KeelsonError } from '../../src/core/errors.ts'
import type { Channel, Transport } from '../../src/interfaces/transport.ts'
import { NetworkConditions } from '../../src/simulation/network-conditions.ts'
import * as partitions from '../../src/simulation/partitions.ts'
import { Simulation } from '../../src/simulation/simulation.ts'
import { SimulatedTransports } from '../../src/simulation/transport-network.ts'
import { transportCompliance } from '../../src/testing/index.ts'

suite('the simulated transport keeps the contract of transports', () => {
  let simulation = new Simulation({ seed: 1 })
  const cases = transportCompliance(async () => {
    const { scheduler } = simulation
    const conditions = new NetworkConditions(simulation.random('network'), simulation.faults)
    const network = new SimulatedTransports(scheduler, conditions, simulation.random('transports'))
    const opened: Transport[] = []
    return {
      env: simulation.environment('observer'),
      open: async ({ nodeId, incarnation = 1, clusterId = 'test', founding, role = 'node' }) => {
        // Each transport is a process of its own: two lives of a node may overlap.
        const process = simulation.process(`${nodeId}-${opened.length}`)
        const transport = await network.factory(process)({
          env: process.environment,
          clusterId,
          founding,
          self: { nodeId, incarnation, role },
          resolve: network.resolve,
        })
        opened.push(transport)
        return transport
      },
      close: async () => {
        for (const transport of opened) await transport.close()
      },
    }
  })
  for (const { name, run } of cases) {
    test(name, async () => {
      for (let seed = 0; seed < 3; seed++) {
        simulation = new Simulation({ seed })
        await simulation.until(run())
      }
    })
  }
})

test('a case of the suite that fails leaves no rejection that nobody handles', async () => {
  const simulation = new Simulation({ seed: 1 })
  const conditions = new NetworkConditions(simulation.random('network'), simulation.faults)
  const network = new SimulatedTransports(simulation.scheduler, conditions, simulation.random('transports'))
  const opened: Transport[] = []
  const cases = transportCompliance(async () => ({
    env: simulation.environment('observer'),
    open: async ({ nodeId, incarnation = 1, role = 'node' }) => {
      const process = simulation.process(`${nodeId}-${opened.length}`)
      const transport = await network.factory(process)({
        env: process.environment,
        clusterId: 'test',
        founding: undefined,
        self: { nodeId, incarnation, role },
        resolve: network.resolve,
      })
      opened.push(transport)
      const channel = transport.channel.bind(transport)
      // It loses every message, so the case fails while it writes to a stream that stands still.
      transport.channel = (protocol, options) =>
        Object.assign(channel(protocol, options), { send: () => true })
      return transport
    },
    close: async () => {
      for (const transport of opened) await transport.close()
    },
  }))
  const unhandled: unknown[] = []
  const note = (error: unknown): void => void unhandled.push(error)
  process.on('unhandledRejection', note)
  try {
    const broken = cases.find(({ name }) => name === 'carries messages past a stream that stands still')
    await assert.rejects(simulation.until((broken as (typeof cases)[number]).run(), 60_000), {
      code: 'TIMEOUT',
    })
    await new Promise((resolve) => setImmediate(resolve))
  } finally {
    process.off('unhandledRejection', note)
  }
  assert.deepEqual(unhandled, [])
})

interface World {
  readonly simulation: Simulation
  readonly conditions: NetworkConditions
  readonly network: SimulatedTransports
  readonly log: string[]
  open(name: string, incarnation?: number): Promise<Channel>
}

function world(seed = 1): World {
  const simulation = new Simulation({ seed })
  const conditions = new NetworkConditions(simulation.random('network'), simulation.faults)
  const network = new SimulatedTransports(simulation.scheduler, conditions, simulation.random('transports'))
  const log: string[] = []
  return {
    simulation,
    conditions,
    network,
    log,
    open: async (name, incarnation = 1) => {
      const process = simulation.process(name)
      const transport = await network.factory(process)({
        env: process.environment,
        clusterId: 'test',
        self: { nodeId: name, incarnation, role: 'node' },
        resolve: network.resolve,
      })
      transport.onPeer(({ peer, state }) => log.push(`${name}: ${peer.nodeId} ${state}`))
      const channel = transport.channel('test')
      channel.onMessage((peer, bytes) => log.push(`${name}: ${bytes[0]} from ${peer.nodeId}`))
      channel.onLost(({ peer, outcome }) => log.push(`${name}: lost ${peer} ${outcome}`))
      return channel
    },
  }
}

const byte = (value: number): Uint8Array => new Uint8Array([value])

suite('a simulated connection', () => {
  test('copies bytes, and one seed is one run', async () => {
    const run = async (seed: number): Promise<string[]> => {
      const w = world(seed)
      w.conditions.setQuality({ meanExtraDelayMs: 5 })
      const channels = [await w.open('a'), await w.open('b'), await w.open('c')]
      const bytes = byte(1)
      for (const from of channels) for (const to of ['a', 'b', 'c']) from.send(to, bytes)
      bytes[0] = 2
      await w.simulation.runFor(100)
      assert.equal(w.log.filter((line) => line.includes(': 1 from')).length, 6)
      assert.equal(w.log.filter((line) => line.includes(': 2 from')).length, 0)
      return w.log
    }
    assert.deepEqual(await run(3), await run(3))
    assert.notDeepEqual(await run(3), await run(4))
  })

  test('a killed process is missed at once, a dead machine after a while', async () => {
    for (const [kind, low, high] of [
      ['kill', 0, 10],
      ['power', 400, 1_600],
    ] as const) {
      const w = world()
      const a = await w.open('a')
      await w.open('b')
      a.send('b', byte(1))
      await w.simulation.runFor(100)
      w.simulation.process('b').crash(kind)
      const from = w.simulation.nowMs
      await w.simulation.run({ stop: () => w.log.includes('a: b down') })
      const tookMs = w.simulation.nowMs - from
      assert.ok(tookMs > low && tookMs < high, `${kind} was noticed after ${tookMs} ms`)
      assert.deepEqual(w.log.slice(-2), ['a: lost b unknown', 'a: b down'])
      await w.simulation.run()
      assert.equal(a.send('b', byte(2)), true)
      await w.simulation.run()
      // Nobody listens: what waited never left.
      assert.equal(w.log.at(-1), 'a: lost b none')
    }
  })

  test('a process that comes back is connected again, and replaces what it was', async () => {
    const w = world()
    const a = await w.open('a')
    const b = await w.open('b')
    a.send('b', byte(1))
    await w.simulation.runFor(100)
    w.simulation.process('b').crash('power')
    w.simulation.process('b').restart()
    const again = await w.open('b', 2)
    w.log.length = 0
    again.send('a', byte(3))
    assert.equal(b.send('a', byte(4)), false, 'a zombie has no network')
    await w.simulation.runFor(100)
    assert.deepEqual(w.log, ['a: lost b unknown', 'a: b down', 'a: b up', 'b: a up', 'a: 3 from b'])
    a.send('b', byte(5))
    await w.simulation.run()
    assert.equal(w.log.at(-1), 'b: 5 from a')
  })

  test('survives a short partition and breaks in a long one', async () => {
    const w = world()
    const [a] = [await w.open('a'), await w.open('b')]
    a.send('b', byte(0))
    await w.simulation.run()
    w.log.length = 0
    let heal = w.conditions.partition(partitions.oneWay(['a'], ['b']))
    a.send('b', byte(1))
    await w.simulation.runFor(300)
    assert.equal(w.log.length, 0)
    heal()
    await w.simulation.run()
    assert.deepEqual(w.log, ['b: 1 from a'])
    heal = w.conditions.partition(partitions.oneWay(['b'], ['a']))
    a.send('b', byte(2))
    await w.simulation.runFor(3_000)
    assert.deepEqual(w.log.slice(1).sort(), [
      'a: b down',
      'a: lost b unknown',
      'b: 2 from a',
      'b: a down',
      'b: lost a unknown',
    ])
    a.send('b', byte(3))
    await w.simulation.runFor(3_000)
    assert.ok(w.log.includes('a: lost b none'))
    heal()
    a.send('b', byte(4))
    await w.simulation.run()
    assert.equal(w.log.at(-1), 'b: 4 from a')
    assert.ok(w.simulation.faults.get('connection timed out') > 0)
  })

  test('a clog delays and keeps the order', async () => {
    const w = world()
    const [a] = [await w.open('a'), await w.open('b')]
    a.send('b', byte(0))
    await w.simulation.run()
    const unclog = w.conditions.clog([['a', 'b']])
    for (let i = 1; i < 5; i++) a.send('b', byte(i))
    await w.simulation.runFor(100)
    unclog()
    await w.simulation.run()
    assert.deepEqual(
      w.log.slice(-5),
      [0, 1, 2, 3, 4].map((i) => `b: ${i} from a`),
    )
  })

  test('a paused process loses its connections, and what was on them or what it had in its buffers', async () => {
    const outcomes = new Set<string>()
    for (let seed = 0; seed < 20; seed++) {
      const w = world(seed)
      const [a, b] = [await w.open('a'), await w.open('b')]
      a.send('b', byte(0))
      await w.simulation.run()
      w.simulation.process('b').pause()
      a.send('b', byte(1))
      await w.simulation.runFor(5_000)
      w.log.length = 0
      w.simulation.process('b').resume()
      await w.simulation.run()
      outcomes.add(w.log.join())
      b.send('a', byte(2))
      await w.simulation.run()
      assert.equal(w.log.at(-1), 'a: 2 from b')
    }
    assert.deepEqual(
      outcomes,
      new Set(['b: lost a unknown,b: a down', 'b: 1 from a,b: lost a unknown,b: a down']),
    )
  })

  test('can be broken on purpose', async () => {
    const w = world()
    const [a, , c] = [await w.open('a'), await w.open('b'), await w.open('c')]
    a.send('b', byte(1))
    a.send('c', byte(1))
    c.send('b', byte(1))
    await w.simulation.run()
    assert.equal(w.network.breakConnections('a', 'c'), 1)
    a.send('c', byte(2))
    await w.simulation.run()
    assert.ok(w.log.includes('c: 2 from a'), 'connected again')
    assert.equal(w.network.breakConnections('b'), 2)
    assert.equal(w.network.breakConnections(), 1)
    assert.equal(w.simulation.faults.get('connection broken'), 4)
  })

  test('both ends may dial at once', async () => {
    for (let seed = 0; seed < 10; seed++) {
      const w = world(seed)
      const [a, b] = [await w.open('a'), await w.open('b')]
      for (let i = 0; i < 100; i++) {
        a.send('b', byte(i))
        b.send('a', byte(i))
        await w.simulation.runFor(0.05)
      }
      await w.simulation.run()
      for (const [to, from] of ['ab', 'ba']) {
        const numbers = w.log.filter((line) => line.startsWith(`${to}: `) && line.endsWith(`from ${from}`))
        assert.deepEqual(
          numbers,
          Array.from({ length: 100 }, (_, i) => `${to}: ${i} from ${from}`),
        )
      }
      assert.equal(w.log.filter((line) => line.endsWith('up')).length, 2)
    }
  })

  test('dialing through a partition ends with an error in time, and works when it heals before', async () => {
    const w = world()
    await w.open('b')
    const process = w.simulation.process('a')
    const transport = await w.network.factory(process)({
      env: process.environment,
      clusterId: 'test',
      self: { nodeId: 'a', incarnation: 1, role: 'node' },
      resolve: w.network.resolve,
    })
    const heal = w.conditions.partition(partitions.partial('a', 'b'))
    await assert.rejects(w.simulation.until(transport.dial('b:7000')), (error) =>
      KeelsonError.hasCode(error, 'UNREACHABLE'),
    )
    assert.equal(w.simulation.nowMs, 1_000)
    const dialing = transport.dial('b:7000')
    void sleep(process.environment.timers, 500).then(heal)
    assert.equal((await w.simulation.until(dialing)).nodeId, 'b')
  })
})
