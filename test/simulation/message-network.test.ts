import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom } from '../../src/core/random.ts'
import { MessageNetwork } from '../../src/simulation/message-network.ts'
import { type LinkQuality, NetworkConditions } from '../../src/simulation/network-conditions.ts'
import * as partitions from '../../src/simulation/partitions.ts'
import { Simulation } from '../../src/simulation/simulation.ts'

interface World {
  simulation: Simulation
  conditions: NetworkConditions
  network: MessageNetwork<Uint8Array>
  received: string[]
}

const names = ['a', 'b', 'c', 'd', 'e']

function world(quality: Partial<LinkQuality> = {}, seed = 1): World {
  const simulation = new Simulation({ seed })
  const conditions = new NetworkConditions(simulation.random('network'), simulation.faults, quality)
  const network = new MessageNetwork<Uint8Array>(simulation.scheduler, conditions, (bytes) => bytes.slice())
  const received: string[] = []
  for (const name of names) {
    network.attach(simulation.process(name), (from, bytes) => received.push(`${from}>${name} ${bytes[0]}`))
  }
  return { simulation, conditions, network, received }
}

/** Which links carry a message, as `a>b`. */
function reach({ simulation, network, received }: World): string[] {
  received.length = 0
  for (const a of names) for (const b of names) if (a !== b) network.send(a, b, new Uint8Array(1))
  simulation.runSync()
  return received.map((line) => line.slice(0, 3)).sort()
}

suite('MessageNetwork', () => {
  test('delivers copies, later, in order per link', () => {
    const { simulation, network, received } = world({ meanExtraDelayMs: 5 })
    const bytes = new Uint8Array(1)
    for (let i = 0; i < 100; i++) {
      bytes[0] = i
      network.send('a', 'b', bytes)
    }
    assert.equal(received.length, 0)
    simulation.runSync()
    assert.deepEqual(
      received,
      Array.from({ length: 100 }, (_, i) => `a>b ${i}`),
    )
    assert.ok(simulation.nowMs > 1)
  })

  test('loses, doubles and reorders, and counts each', () => {
    const { simulation, network, received } = world({
      lossProbability: 0.1,
      duplicateProbability: 0.1,
      reorderProbability: 0.1,
    })
    for (let i = 0; i < 250; i++) network.send('a', 'b', new Uint8Array([i]))
    simulation.runSync()
    const [lost, doubled, reordered] = ['message lost', 'message duplicated', 'message reordered'].map(
      (kind) => simulation.faults.get(kind),
    ) as [number, number, number]
    assert.ok(lost > 5 && doubled > 5 && reordered > 5, `${lost} ${doubled} ${reordered}`)
    assert.equal(received.length, 250 - lost + doubled)
    const numbers = received.map((line) => Number(line.slice(4)))
    assert.notDeepEqual(
      numbers,
      numbers.toSorted((x, y) => x - y),
    )
  })

  test('holds back what is sent on a clogged link', () => {
    const { simulation, conditions, network, received } = world()
    const unclog = conditions.clog([['a', 'b']])
    network.send('a', 'b', new Uint8Array([1]))
    network.send('a', 'b', new Uint8Array([2]))
    network.send('b', 'a', new Uint8Array([3]))
    simulation.runSync()
    assert.deepEqual(received, ['b>a 3'])
    unclog()
    unclog()
    simulation.runSync()
    assert.deepEqual(received, ['b>a 3', 'a>b 1', 'a>b 2'])
  })

  test('keeps messages from a paused process and drops those to a crashed one', () => {
    const { simulation, network, received } = world()
    simulation.process('b').pause()
    network.send('a', 'b', new Uint8Array([1]))
    simulation.runSync()
    assert.deepEqual(received, [])
    simulation.process('b').resume()
    simulation.runSync()
    assert.deepEqual(received, ['a>b 1'])
    network.send('a', 'b', new Uint8Array([2]))
    simulation.process('b').crash()
    simulation.runSync()
    network.send('a', 'b', new Uint8Array([3]))
    simulation.process('b').restart()
    simulation.runSync()
    assert.deepEqual(received, ['a>b 1', 'a>b 3'])
  })

  test('loses what is under way when a partition begins', () => {
    const { simulation, conditions, network, received } = world()
    network.send('a', 'b', new Uint8Array([1]))
    conditions.partition([['a', 'b']])
    simulation.runSync()
    assert.deepEqual(received, [])
    assert.equal(simulation.faults.get('message lost in a partition'), 1)
  })

  test('one link can be bad alone, and heal makes all good', () => {
    const w = world()
    w.conditions.setLinkQuality('a', 'b', { lossProbability: 1 })
    assert.equal(reach(w).length, 19)
    w.conditions.partition(partitions.isolate('c', names))
    w.conditions.heal()
    assert.equal(reach(w).length, 20)
  })
})

suite('partitions', () => {
  const all = names.flatMap((a) => names.filter((b) => b !== a).map((b) => `${a}>${b}`))
  const cases: [string, readonly partitions.BlockedLink[], string[]][] = [
    [
      'split',
      partitions.split(['a', 'b'], ['c', 'd', 'e']),
      all.filter((link) => /[ab]>[ab]|[cde]>[cde]/.test(link)),
    ],
    ['isolate', partitions.isolate('a', names), all.filter((link) => !link.includes('a'))],
    [
      'oneWay',
      partitions.oneWay(['a', 'b'], ['c', 'd', 'e']),
      all.filter((link) => !/[ab]>[cde]/.test(link)),
    ],
    ['partial', partitions.partial('a', 'b'), all.filter((link) => !/a>b|b>a/.test(link))],
    [
      'bridge',
      partitions.bridge(['a', 'b'], 'c', ['d', 'e']),
      all.filter((link) => !/[ab]>[de]|[de]>[ab]/.test(link)),
    ],
    [
      'ring',
      partitions.ring(names),
      all.filter((link) => /ab|ba|bc|cb|cd|dc|de|ed|ea|ae/.test(link.replace('>', ''))),
    ],
  ]
  for (const [shape, blocked, open] of cases) {
    test(`${shape} cuts what it should and heals`, () => {
      const w = world()
      const heal = w.conditions.partition(blocked)
      assert.deepEqual(reach(w), open.sort())
      heal()
      heal()
      assert.deepEqual(reach(w), all.sort())
    })
  }

  test('stack: a link works when the last one that cuts it is healed', () => {
    const w = world()
    const first = w.conditions.partition(partitions.partial('a', 'b'))
    const second = w.conditions.partition(partitions.isolate('a', names))
    second()
    assert.equal(reach(w).length, 18)
    first()
    assert.equal(reach(w).length, 20)
  })

  test('every drawn shape cuts something and leaves something', () => {
    const random = new SeededRandom(4)
    for (const shape of partitions.partitionShapes) {
      for (let i = 0; i < 20; i++) {
        const w = world()
        w.conditions.partition(partitions.drawPartition(random, shape, names))
        const links = reach(w).length
        assert.ok(links > 0 && links < 20, `${shape} leaves ${links} links`)
      }
    }
    for (const shape of partitions.partitionShapes) partitions.drawPartition(random, shape, ['a'])
    assert.ok(new Set(Array.from({ length: 100 }, () => partitions.drawPartitionShape(random))).size === 8)
  })
})
