import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { text, utf8 } from '../../src/core/bytes.ts'
import { MetricsRegistry } from '../../src/core/metrics.ts'
import { SeededRandom } from '../../src/core/random.ts'
import { NetworkConditions, SimulatedDatagrams, Simulation } from '../../src/simulation/index.ts'
import { Swim, type SwimEvent, type SwimOptions } from '../../src/swim/index.ts'

/** Drivers in virtual time: processes, their timers and their network are simulated. */
class World {
  readonly simulation: Simulation
  readonly conditions: NetworkConditions
  readonly swims = new Map<string, Swim>()
  readonly events: (SwimEvent & { readonly observer: string })[] = []
  readonly #datagrams: SimulatedDatagrams

  constructor(seed: number) {
    this.simulation = new Simulation({ seed })
    this.conditions = new NetworkConditions(this.simulation.random('network'), this.simulation.faults)
    this.#datagrams = new SimulatedDatagrams(this.simulation.scheduler, this.conditions)
  }

  async start(nodeId: string, more: Partial<SwimOptions> = {}): Promise<Swim> {
    const process = this.simulation.process(nodeId)
    if (process.state === 'crashed') process.restart()
    const env = process.environment
    const socket = await this.#datagrams.factory(process)({ env, clusterId: 'test', nodeId })
    const swim = await Swim.open({
      env,
      socket,
      nodeId,
      incarnation: 1,
      label: 'test',
      seeds: ['n0:7946'],
      ...more,
    })
    swim.on('change', (event) => this.events.push({ ...event, observer: nodeId }))
    this.swims.set(nodeId, swim)
    return swim
  }

  async startMany(count: number): Promise<void> {
    for (let i = 0; i < count; i++) await this.start(`n${i}`)
    await this.simulation.runFor(10_000)
  }

  swim(nodeId: string): Swim {
    const swim = this.swims.get(nodeId)
    assert.ok(swim)
    return swim
  }

  allHold(nodeId: string, state: string): boolean {
    return [...this.swims].every(([other, swim]) => other === nodeId || swim.member(nodeId)?.state === state)
  }
}

suite('Swim in virtual time', () => {
  test('a process that was stopped for 15 s blames nobody, and is taken back', async () => {
    const world = new World(1)
    await world.startMany(8)
    assert.ok([...world.swims.values()].every((swim) => swim.status().members.alive === 8))
    world.events.length = 0
    const process = world.simulation.process('n3')
    process.pause()
    await world.simulation.runFor(15_000)
    assert.ok(world.events.some(({ type, member }) => type === 'failed' && member.nodeId === 'n3'))
    process.resume()
    await world.simulation.runFor(10_000)
    assert.deepEqual(
      world.events.filter(
        ({ observer, type }) => observer === 'n3' && (type === 'failed' || type === 'suspected'),
      ),
      [],
    )
    assert.equal(world.swim('n3').status().counters.stalls, 1)
    assert.ok(world.allHold('n3', 'alive'))
  })

  test('a crash is found by all, a restart is news, a goodbye is no failure', async () => {
    const world = new World(2)
    await world.startMany(6)
    world.simulation.process('n2').crash('kill')
    world.swims.delete('n2')
    await world.simulation.runFor(30_000)
    assert.ok(world.allHold('n2', 'dead'))
    assert.match(world.swim('n1').explain('n2')?.text ?? '', /^n2 was declared dead/)
    await world.start('n2', { incarnation: 2, metadata: new Uint8Array([5]) })
    await world.simulation.runFor(5_000)
    assert.ok(world.allHold('n2', 'alive'))
    assert.equal(world.swim('n1').member('n2')?.incarnation, 2)
    assert.deepEqual([...(world.swim('n1').member('n2')?.metadata ?? [])], [5])
    world.events.length = 0
    await world.simulation.until(world.swim('n4').leave(), 10_000)
    await world.swim('n4').close()
    world.swims.delete('n4')
    await world.simulation.runFor(40_000)
    assert.ok(world.allHold('n4', 'left'))
    assert.ok(!world.events.some(({ type }) => type === 'failed'))
  })

  test('a hint from outside is refuted within a round trip', async () => {
    const world = new World(3)
    await world.startMany(3)
    world.events.length = 0
    world.swim('n1').suspect('n2')
    await world.simulation.runFor(20)
    const ofN1 = world.events.filter(({ observer }) => observer === 'n1').map(({ type }) => type)
    assert.deepEqual(ofN1, ['suspected', 'alive'])
  })

  test('two living processes of one name notice each other, and the others stay whole', async () => {
    const world = new World(4)
    await world.startMany(4)
    await world.start('twin', { nodeId: 'n1', incarnation: 9 })
    await world.simulation.runFor(10_000)
    const conflicts = world.events.filter(({ type }) => type === 'conflict')
    assert.ok(conflicts.every(({ member }) => member.nodeId === 'n1'))
    const verdicts = conflicts.filter(({ reason }) => /votes/.test(reason ?? ''))
    assert.deepEqual(verdicts.map(({ observer }) => observer).sort(), ['n1', 'twin'])
    assert.ok(world.swim('twin').status().silent)
    assert.ok(!world.swim('n1').status().silent)
    for (const nodeId of ['n0', 'n2', 'n3']) {
      assert.equal(world.swim(nodeId).status().members.alive, 4)
      assert.equal(world.swim(nodeId).member('n1')?.incarnation, 1)
    }
    await world.swim('twin').leave()
    assert.ok(world.allHold('n1', 'alive'))
  })

  test('metrics say what was sent and who is there', async () => {
    const world = new World(5)
    await world.startMany(3)
    const { metrics } = world.simulation.process('n0').environment
    assert.ok(metrics instanceof MetricsRegistry)
    const shown = metrics.text()
    assert.match(shown, /keelson_swim_members\{node="n0"\} 3/)
    assert.match(shown, /keelson_swim_packets_sent_total\{node="n0"\} [1-9]/)
  })

  test('a closed instance says so, and closing twice is once', async () => {
    const world = new World(6)
    await world.startMany(2)
    const swim = world.swim('n1')
    const leaving = swim.leave()
    await swim.close()
    await swim.close()
    await assert.rejects(leaving, { code: 'CLOSED' })
    assert.throws(() => swim.setMetadata(new Uint8Array(1)), { code: 'CLOSED' })
    assert.throws(() => swim.join(['a:1']), { code: 'CLOSED' })
    assert.throws(() => swim.suspect('n0'), { code: 'CLOSED' })
    await assert.rejects(swim.leave(), { code: 'CLOSED' })
  })

  test('after its goodbye a node tells nothing more, and says so', async () => {
    const world = new World(14)
    await world.startMany(2)
    const swim = world.swim('n1')
    const leaving = swim.leave()
    assert.throws(() => swim.tell('x', new Uint8Array(0)), { code: 'CLOSED', retryable: false })
    assert.throws(() => swim.setMetadata(new Uint8Array(1)), { code: 'CLOSED' })
    assert.throws(() => swim.join(['n0:7946']), { code: 'CLOSED' })
    await assert.rejects(swim.ask('x', new Uint8Array(0)), { code: 'CLOSED' })
    await world.simulation.until(leaving, 10_000)
  })

  test('seeds that keep silent are named, once, and found when they speak', async () => {
    const world = new World(15)
    const swim = await world.start('n5', { seeds: ['n0:7946', 'n9:7946'] })
    await world.simulation.runFor(9_000)
    const unanswered = (): (string | undefined)[] =>
      world.events.filter(({ type }) => type === 'unanswered').map(({ reason }) => reason)
    assert.deepEqual(unanswered(), [])
    await world.simulation.runFor(100_000)
    assert.match(unanswered()[0] ?? '', /^no answer yet from n0:7946, n9:7946: check/)
    assert.equal(unanswered().length, 1)
    await world.start('n0', { seeds: [] })
    await world.simulation.runFor(60_000)
    assert.equal(swim.status().members.alive, 2)
    await world.simulation.runFor(60_000)
    assert.equal(unanswered().length, 1)
  })

  test('a handler or a listener that waits and fails is logged, and holds up nobody', async () => {
    const world = new World(16)
    await world.startMany(2)
    const told: string[] = []
    const careless = (): unknown => Promise.reject(new Error('on purpose'))
    for (const swim of world.swims.values()) {
      swim.on('told', careless)
      swim.on('told', ({ name }) => told.push(name))
      swim.answer('wait', careless as never)
      swim.answer('load', () => utf8('fine'))
    }
    world.swim('n0').tell('news', utf8(''))
    const none = await world.simulation.until(
      world.swim('n0').ask('wait', utf8(''), { timeoutMs: 1_000 }),
      20_000,
    )
    assert.deepEqual(none, [])
    const answers = await world.simulation.until(world.swim('n0').ask('load', utf8('')), 20_000)
    assert.equal(answers.length, 2)
    assert.deepEqual(told, ['news', 'news'])
  })

  test('what one tells reaches all once, and all are asked', async () => {
    const world = new World(8)
    await world.startMany(6)
    const told: string[] = []
    for (const [nodeId, swim] of world.swims) {
      swim.on('told', (event) => told.push(`${nodeId} ${event.nodeId} ${event.name}`))
      if (nodeId !== 'n5')
        swim.answer('load', (payload, asker) => utf8(`${nodeId} ${asker} ${text(payload)}`))
    }
    world.swim('n2').tell('deploy', utf8('v2'))
    await world.simulation.runFor(3_000)
    assert.deepEqual(
      told.sort(),
      ['n0', 'n1', 'n2', 'n3', 'n4', 'n5'].map((nodeId) => `${nodeId} n2 deploy`),
    )
    const answers = await world.simulation.until(world.swim('n1').ask('load', utf8('now')), 20_000)
    assert.deepEqual(
      answers.map(({ nodeId, payload }) => `${nodeId} ${text(payload)}`).sort(),
      ['n0', 'n1', 'n2', 'n3', 'n4'].map((nodeId) => `${nodeId} ${nodeId} n1 now`),
    )
    // A second handler of one name would answer twice; one that throws answers not at all.
    assert.throws(() => world.swim('n1').answer('load', () => undefined), { code: 'INVALID_ARGUMENT' })
    world.swim('n3').answer('broken', () => {
      throw new Error('on purpose')
    })
    world.swim('n4').answer('broken', () => utf8('fine'))
    const some = await world.simulation.until(
      world.swim('n3').ask('broken', utf8(''), { timeoutMs: 2_000 }),
      20_000,
    )
    assert.deepEqual(
      some.map(({ nodeId }) => nodeId),
      ['n4'],
    )
    const controller = new AbortController()
    const aborted = world.swim('n1').ask('nobody', utf8(''), { signal: controller.signal })
    controller.abort()
    await assert.rejects(aborted, { code: 'ABORTED' })
  })

  test('a node without a token is not let in, and hears why', async () => {
    const world = new World(9)
    const admit = (_: unknown, token: Uint8Array): string | undefined =>
      text(token) === 'secret' ? undefined : 'show the token'
    await world.start('n0', { admit, seeds: [] })
    await world.start('n1', { token: utf8('secret') })
    await world.start('n2', { token: utf8('wrong') })
    await world.simulation.runFor(10_000)
    assert.equal(world.swim('n0').status().members.alive, 2)
    assert.equal(world.swim('n2').status().members.alive, 1)
    const refused = world.events.find(({ type, observer }) => type === 'refused' && observer === 'n2')
    assert.equal(refused?.reason, 'show the token')
  })

  test('a node finds its cluster again by its snapshot, without seeds', async () => {
    const world = new World(10)
    let saved: Uint8Array | undefined
    const snapshots = {
      load: async () => saved,
      save: async (bytes: Uint8Array) => {
        saved = bytes
      },
    }
    await world.startMany(4)
    await world.start('back', { snapshots, snapshotIntervalMs: 1_000 })
    await world.simulation.runFor(10_000)
    world.simulation.process('back').crash('kill')
    await world.simulation.runFor(30_000)
    assert.ok(saved)
    const swim = await world.start('back', { snapshots, seeds: [] })
    await world.simulation.runFor(5_000)
    assert.equal(swim.status().members.alive, 5)
    assert.ok(world.allHold('back', 'alive'))
    // One that is damaged, or cannot be read, only costs the memory of it.
    world.simulation.process('back').crash('kill')
    saved = new Uint8Array([99])
    await world.start('back', { snapshots, incarnation: 3 })
    await world.simulation.runFor(10_000)
    assert.ok(world.allHold('back', 'alive'))
    world.simulation.process('back').crash('kill')
    const broken = { ...snapshots, load: async () => Promise.reject(new Error('no disk')) }
    await world.start('back', { snapshots: broken, incarnation: 4 })
  })

  test('changes come together', async () => {
    const world = new World(11)
    await world.startMany(5)
    const batches: string[][] = []
    world.swim('n0').on('changes', (events) => batches.push(events.map(({ member }) => member.nodeId)))
    for (const nodeId of ['n3', 'n4']) {
      world.simulation.process(nodeId).crash('kill')
      world.swims.delete(nodeId)
    }
    await world.simulation.runFor(40_000)
    assert.ok(batches.length > 0 && batches.every((batch) => new Set(batch).size === batch.length))
    assert.deepEqual(new Set(batches.flat()), new Set(['n3', 'n4']))
  })

  test('256 questions may be open; the next one is refused until there is room', async () => {
    const world = new World(17)
    await world.start('n0', { seeds: [] })
    const swim = world.swim('n0')
    const open = Array.from({ length: 256 }, () => swim.ask('x', utf8(''), { timeoutMs: 1_000 }))
    await assert.rejects(swim.ask('x', utf8('')), { code: 'OVERLOADED', retryable: true })
    await world.simulation.until(Promise.all(open), 5_000)
    assert.deepEqual(await world.simulation.until(swim.ask('x', utf8(''), { timeoutMs: 10 }), 5_000), [])
  })

  test('the nearest members are known without asking them', async () => {
    const world = new World(12)
    await world.startMany(4)
    await world.simulation.runFor(120_000)
    const swim = world.swim('n0')
    assert.ok((swim.estimatedRoundTripMs('n1') ?? 0) > 0)
    assert.equal(swim.nearest(10).length, 3)
    assert.equal(swim.nearest(2).length, 2)
    assert.ok(!swim.nearest(10).some(({ nodeId }) => nodeId === 'n0'))
    assert.equal(swim.explain('n1')?.estimatedRoundTripMs, swim.estimatedRoundTripMs('n1'))
  })

  test('an operator removes a member for good', async () => {
    const world = new World(13)
    await world.startMany(4)
    assert.ok(world.swim('n1').remove('n3'))
    assert.ok(!world.swim('n1').remove('n3'))
    assert.ok(!world.swim('n1').remove('nobody'))
    await world.simulation.runFor(20_000)
    assert.ok(world.events.some(({ type, observer }) => type === 'removed' && observer === 'n3'))
    assert.equal(world.swim('n0').member('n3')?.state, 'left')
    assert.match(world.swim('n0').explain('n3')?.text ?? '', /removed by an operator/)
  })

  test('bad options are refused by name', async () => {
    const world = new World(7)
    const refused: [options: Record<string, unknown>, message: RegExp][] = [
      [{ probeIntervallMs: 5 }, /no option 'probeIntervallMs'; did you mean 'probeIntervalMs'\?/],
      [{ probeIntervalMs: 200 }, /probeTimeoutMs \(500\) must be below probeIntervalMs \(200\)/],
      [{ nodeId: 'No Name' }, /'nodeId': a node id must be/],
      [{ incarnation: 0 }, /'incarnation': an incarnation must be a positive/],
      [{ label: '' }, /'label'/],
      [{ metadata: new Uint8Array(65_537) }, /at most 65536 bytes/],
      [{ metadata: 'text' }, /Uint8Array/],
      [{ seeds: ['nowhere'] }, /seeds.*'host:port'/],
      [{ seeds: ['::1:7946'] }, /seeds.*'\[host\]:port' for IPv6/],
      [{ seeds: ['n1:0'] }, /seeds.*a port of 1 to 65535/],
      [{ seeds: ['0.0.0.0:1'] }, /seeds.*stands for all interfaces/],
      [{ profile: 'moon' }, /one of lan, wan, local/],
      [{ maximumPacketBytes: 500 }, /maximumPacketBytes/],
      [{ indirectProbes: 1.5 }, /indirectProbes/],
      [{ socket: { address: 'a:1' } }, /socket.*missing/],
    ]
    for (const [options, message] of refused) {
      await assert.rejects(world.start('n0', options), (error: Error & { code?: string }) => {
        assert.equal(error.code, 'INVALID_OPTION')
        assert.match(error.message, message)
        return true
      })
      world.simulation.process('n0').crash()
    }
    await world.start('n0')
    const swim = world.swim('n0')
    assert.throws(() => swim.join(['nowhere']), { code: 'INVALID_ARGUMENT' })
    assert.throws(() => swim.join(['::1:7946']), { code: 'INVALID_ARGUMENT' })
    await assert.rejects(swim.ask('x', new Uint8Array(0), { timeoutMs: 1e12 }), {
      code: 'INVALID_ARGUMENT',
      message: /at most 86400000/,
    })
    assert.throws(() => swim.setMetadata(new SeededRandom(1).bytes(65_537)), { code: 'LIMIT_EXCEEDED' })
  })
})
