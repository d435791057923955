import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type Informed, type NodeEvent, NodeNews } from '../../../src/raft/host/node-news.ts'
import { Simulation } from '../../../src/simulation/simulation.ts'

const b = { nodeId: 'b', incarnation: 2 }

function ended(epoch: number): NodeEvent {
  return { type: 'coverEnded', epoch, untilMs: 0, heardMs: 0 }
}

/** A replica that is woken by what concerns it, and rests again when somebody lets it. */
class Sleeper implements Informed {
  news!: NodeNews<Sleeper>
  readonly concern: NodeEvent['type']
  readonly heard: NodeEvent[] = []
  newsHeard = 0
  rests = true

  constructor(concern: NodeEvent['type']) {
    this.concern = concern
  }

  hearNews(): boolean {
    const since = this.newsHeard
    this.newsHeard = this.news.lastNumber
    const events = [...this.news.since(since)]
    this.heard.push(...events)
    const isConcerned = events.some(({ type }) => type === this.concern)
    if (isConcerned) this.rests = false
    return isConcerned
  }
}

interface Limits {
  readonly tellsPerTurn?: number
  readonly concernedPerTurn?: number
  readonly maximumWoken?: number
}

function world(count: number, limits: Limits = {}, concern: NodeEvent['type'] = 'coverEnded') {
  const simulation = new Simulation({ seed: 1 })
  const sleepers = Array.from({ length: count }, () => new Sleeper(concern))
  const waiting: Sleeper[] = []
  const news = new NodeNews<Sleeper>({
    env: simulation.environment('n1'),
    replicas: () => sleepers,
    waiting: () => waiting,
    patienceMs: 1_000,
    ...limits,
  })
  for (const sleeper of sleepers) sleeper.news = news
  const awake = (): number => sleepers.filter(({ rests }) => !rests).length
  const told = (): number => sleepers.filter(({ newsHeard }) => newsHeard === news.lastNumber).length
  const allRest = (): void => {
    for (const sleeper of sleepers) sleeper.rests = true
  }
  return { simulation, news, sleepers, waiting, awake, told, allRest }
}

suite('news of other nodes', () => {
  test('are told to a few at once, and to all in the end', async () => {
    const { simulation, news, told } = world(1_000, { concernedPerTurn: 100 })
    news.publish([ended(1)])
    assert.equal(told(), 100)
    await simulation.runFor(10)
    assert.equal(told(), 1_000)
    assert.equal(news.isTelling, false)
    assert.deepEqual([...news.since(0)], [], 'nothing is kept that everybody has heard')
  })

  test('of no concern go round in larger parts', () => {
    const { news, told } = world(1_000, { tellsPerTurn: 400, concernedPerTurn: 10 }, 'peerLost')
    news.publish([ended(1)])
    assert.equal(told(), 400)
  })

  test('wake no more before those who were woken rest again', async () => {
    const { simulation, news, awake, told, allRest } = world(1_000, { maximumWoken: 50 })
    news.publish([ended(1)])
    await simulation.runFor(900)
    assert.equal(awake(), 50)
    assert.equal(told(), 50)
    allRest()
    await simulation.runFor(20)
    assert.equal(awake(), 50)
    assert.equal(told(), 100)
    for (let i = 0; i < 20; i++) {
      allRest()
      await simulation.runFor(20)
    }
    assert.equal(told(), 1_000)
  })

  test('go on, slower and slower, when those who were woken cannot rest', async () => {
    const { simulation, news, told } = world(1_000, { maximumWoken: 50 })
    news.publish([ended(1)])
    await simulation.runFor(1_100)
    assert.equal(told(), 100)
    await simulation.runFor(1_100)
    assert.equal(told(), 100, 'twice the time')
    await simulation.runFor(1_000)
    assert.equal(told(), 150)
    await simulation.runFor(200_000)
    assert.equal(told(), 1_000)
  })

  test('come first to those who wait for something, whoever was woken', async () => {
    const { simulation, news, sleepers, waiting, told } = world(1_000, { maximumWoken: 50 })
    news.publish([ended(1)])
    await simulation.runFor(100)
    assert.equal(told(), 50)
    const last = sleepers.at(-1) as Sleeper
    last.rests = false
    waiting.push(last)
    news.publish([ended(2)])
    await simulation.runFor(20)
    assert.deepEqual(
      last.heard.map((event) => (event.type === 'coverEnded' ? event.epoch : 0)),
      [1, 2],
    )
  })

  test('that come while others are told reach those who were told already', async () => {
    const { simulation, news, sleepers, told } = world(300, { concernedPerTurn: 100, maximumWoken: 1_000 })
    news.publish([ended(1)])
    news.publish([ended(2)])
    await simulation.runFor(10)
    assert.equal(told(), 300)
    for (const { heard } of sleepers) assert.deepEqual(heard, [ended(1), ended(2)])
  })

  test('of the same subject are told in short, but each epoch that ended', async () => {
    const { simulation, news, sleepers } = world(2, { concernedPerTurn: 1, maximumWoken: 1 }, 'supported')
    const back: NodeEvent = { type: 'supported', peer: b, epoch: 7 }
    const gone: NodeEvent = { type: 'supportLost', peer: b }
    news.publish([back])
    news.publish([gone, ended(1)])
    news.publish([ended(2), back])
    const [first, second] = sleepers as [Sleeper, Sleeper]
    assert.deepEqual(first.heard, [back])
    assert.deepEqual(second.heard, [])
    for (let i = 0; i < 4; i++) {
      first.rests = true
      second.rests = true
      await simulation.runFor(20)
    }
    assert.deepEqual(second.heard, [ended(1), ended(2), back])
    assert.deepEqual(first.heard, [back, ended(1), ended(2), back])
  })

  test('that pile up are told to all at once', () => {
    const { news, told } = world(500, { maximumWoken: 1 })
    for (let epoch = 1; epoch <= 1_024; epoch++) news.publish([ended(epoch)])
    assert.ok(told() < 500)
    news.publish([ended(2_000)])
    assert.equal(told(), 500)
    assert.deepEqual([...news.since(0)], [])
  })

  test('end with the host', async () => {
    const { simulation, news, told } = world(500, { maximumWoken: 1, concernedPerTurn: 1 })
    news.publish([ended(1)])
    const before = told()
    news.close()
    news.publish([ended(2)])
    await simulation.runFor(20_000)
    assert.equal(news.lastNumber, 1)
    assert.equal(told(), before)
  })
})
