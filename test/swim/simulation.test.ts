import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { runScenario } from './swarm/scenario.ts'
import { type Alteration, Swarm, type SwarmOptions } from './swarm/swarm.ts'

interface Observed {
  readonly type: string
  readonly about: string
  readonly observer: string
  readonly atMs: number
}

/** A swarm whose events are kept. */
class Watched extends Swarm {
  readonly seen: Observed[]

  constructor(options: SwarmOptions) {
    const seen: Observed[] = []
    super({
      ...options,
      onEvent: ({ type, member }, { nodeId }, atMs) => {
        seen.push({ type, about: member.nodeId, observer: nodeId, atMs })
      },
    })
    this.seen = seen
  }

  count(type: string): number {
    return this.seen.filter((event) => event.type === type).length
  }
}

/** A cluster that has formed and in which nobody may be declared dead. */
function healthy(size: number, options: SwarmOptions): Watched {
  const swarm = new Watched(options)
  swarm.startMany(size)
  swarm.run(12_000)
  assert.notEqual(
    swarm.runUntil(() => isComplete(swarm, size), 60_000),
    undefined,
  )
  swarm.run(3_000)
  swarm.invariants.healthy = true
  swarm.seen.length = 0
  return swarm
}

function isComplete(swarm: Swarm, size: number): boolean {
  return swarm.runningCores().every((core) => core.membership.table.live === size)
}

/**
 * Runs of 9 to 26 members: together they catch what `mutants.ts` plants, most mistakes by more than half of them. Large ones take
 * 5 to 15 s each and find nothing that these do not: `npm run simulate:swim` draws them too.
 */
const drawn = [10, 11, 14, 15, 18, 19, 20, 22, 23, 24]

suite('a cluster in virtual time', () => {
  test(`${drawn.length} runs under faults keep every invariant and settle on one view`, () => {
    for (const seed of drawn) runScenario({ seed })
  })

  test('one seed is one run', () => {
    const trace = (seed: number): string => {
      const lines: string[] = []
      const { packetsSent, bytesSent } = runScenario({ seed, onLine: (line) => lines.push(line) })
      return `${packetsSent} ${bytesSent}\n${lines.join('\n')}`
    }
    const once = trace(14)
    assert.equal(trace(14), once)
    assert.notEqual(trace(15), once)
  })

  test('128 members find each other, cost two packets a second each, and all find 8 crashes', (context) => {
    const swarm = healthy(128, { seed: 1 })
    swarm.run(30_000)
    const { packetsSent, bytesSent } = swarm
    swarm.run(20_000)
    const packets = (swarm.packetsSent - packetsSent) / 128 / 20
    const bytes = (swarm.bytesSent - bytesSent) / 128 / 20
    assert.ok(packets < 2.2, `${packets} packets per member and second`)
    const killed = Array.from({ length: 8 }, (_, i) => `n${i * 11 + 3}`)
    const crashedAtMs = swarm.nowMs
    for (const nodeId of killed) swarm.crash(nodeId)
    const tookMs = swarm.runUntil(() => killed.every((nodeId) => swarm.allHold(nodeId, 'dead')), 60_000)
    assert.ok(tookMs !== undefined && tookMs < 30_000, `${tookMs}`)
    const first = killed.map((nodeId) => {
      const found = swarm.seen.find(({ type, about }) => type === 'failed' && about === nodeId)
      return (found?.atMs ?? Number.NaN) - crashedAtMs
    })
    const median = first.sort((a, b) => a - b)[4] ?? Number.NaN
    context.diagnostic(
      `${packets.toFixed(2)} packets and ${bytes.toFixed(0)} B per member and second; first detection: median ${(median / 1_000).toFixed(1)} s; all by all: ${(tookMs / 1_000).toFixed(1)} s`,
    )
    swarm.run(60_000)
    swarm.checkQuiet()
  })

  test('the halves of a long partition become one cluster again by themselves', (context) => {
    const swarm = healthy(48, { seed: 2 })
    swarm.invariants.healthy = false
    const all = [...swarm.processes()].map(({ index }) => index)
    swarm.network.partition(all.slice(0, 20), all.slice(20))
    swarm.run(120_000)
    for (const core of swarm.runningCores()) {
      const alive = core.members().filter(({ state }) => state === 'alive').length
      assert.ok(alive === 20 || alive === 28, `${core.self.nodeId} holds ${alive} alive`)
    }
    swarm.network.heal()
    const tookMs = swarm.runUntil(() => isComplete(swarm, 48), 120_000)
    assert.ok(tookMs !== undefined)
    context.diagnostic(`merged after ${(tookMs / 1_000).toFixed(1)} s`)
    swarm.run(90_000)
    swarm.checkQuiet()
  })

  test('members without a direct path are reached through others', () => {
    const run = (alter?: Alteration): number => {
      const swarm = healthy(8, { seed: 3, alter })
      const [, n1, n2, n3] = swarm.nodeIds.map((nodeId) => swarm.process(nodeId).index)
      for (const other of [n1, n3] as number[]) {
        swarm.network.loseLink(other, n2 as number, 1)
        swarm.network.loseLink(n2 as number, other, 1)
      }
      swarm.run(60_000)
      return swarm.count('suspected')
    }
    assert.equal(run(), 0)
    const neverAsks: Alteration = ({ prober }) => {
      prober.askOthers = (probe) => {
        probe.silentHelpers = new Set()
      }
    }
    assert.ok(run(neverAsks) > 0)
  })

  test('a member that only streams reach is degraded, and not dead', () => {
    const swarm = healthy(8, { seed: 9, core: { streamPacketBytes: 60_000 } })
    swarm.network.datagramLoss.set(swarm.process('n2').index, 1)
    swarm.run(60_000)
    assert.equal(swarm.count('suspected'), 0)
    assert.ok(swarm.count('degraded') >= 5)
    const observer = swarm.core('n1')
    assert.equal(observer.member('n2')?.state, 'alive')
    const local = swarm.localMs(swarm.process('n1'))
    assert.match(observer.explain('n2', local)?.text ?? '', /answered by streams only for/)
    swarm.network.heal()
    swarm.run(60_000)
    assert.ok(swarm.count('restored') >= 5)
    assert.equal(observer.explain('n2', local + 60_000)?.degradedForMs, undefined)
  })

  test('members that hear little harm none of the healthy', () => {
    const swarm = healthy(32, { seed: 4, tuning: { expelRefutations: 0 } })
    for (const nodeId of ['n5', 'n6']) swarm.network.incomingLoss.set(swarm.process(nodeId).index, 0.8)
    swarm.invariants.healthy = false
    swarm.run(180_000)
    const sick = new Set(['n5', 'n6'])
    const harmed = swarm.seen.filter(
      ({ type, about, observer }) => type === 'failed' && !sick.has(about) && !sick.has(observer),
    )
    assert.deepEqual(harmed, [])
    assert.ok(swarm.core('n5').localHealth > 0, 'it knows that it is unwell')
  })

  test('members that hear little are expelled, stay away while it lasts, and come back', () => {
    for (const way of ['incomingLoss', 'outgoingLoss'] as const) {
      const swarm = healthy(48, { seed: 5 })
      const sick = ['n5', 'n40']
      for (const nodeId of sick) {
        swarm.network[way].set(swarm.process(nodeId).index, 0.8)
        swarm.invariants.setUnreliable(nodeId, true)
      }
      swarm.invariants.healthy = false
      const tookMs = swarm.runUntil(() => sick.every((nodeId) => swarm.allHold(nodeId, 'dead')), 120_000)
      assert.ok(tookMs !== undefined, way)
      // News of it may still be on its way to those who are out themselves.
      swarm.run(20_000)
      swarm.seen.length = 0
      swarm.run(300_000)
      const back = swarm.seen.filter(
        ({ type, about, observer }) => type === 'joined' && sick.includes(about) && !sick.includes(observer),
      )
      assert.deepEqual(back, [], way)
      assert.ok(sick.every((nodeId) => swarm.core(nodeId).expelled))
      const others = swarm.runningCores().filter(({ self }) => !sick.includes(self.nodeId))
      for (const core of others) assert.equal(core.membership.table.live, 46)
      assert.match(
        others[0]?.explain('n5', swarm.nowMs)?.text ?? '',
        /it is up, and cannot be reached reliably/,
      )
      swarm.network.heal()
      assert.notEqual(
        swarm.runUntil(() => isComplete(swarm, 48), 200_000),
        undefined,
        way,
      )
    }
  })

  test('a member that hears nothing every other 20 s is expelled at its second return', () => {
    const swarm = healthy(48, { seed: 10 })
    const { index } = swarm.process('n7')
    swarm.invariants.healthy = false
    for (let cycle = 0; cycle < 12; cycle++) {
      swarm.at(cycle * 40_000, () => swarm.network.incomingLoss.set(index, 1))
      swarm.at(cycle * 40_000 + 20_000, () => swarm.network.incomingLoss.delete(index))
    }
    swarm.run(110_000)
    swarm.seen.length = 0
    swarm.run(370_000)
    assert.ok(swarm.allHold('n7', 'dead'))
    const back = swarm.seen.filter(
      ({ type, about, observer }) => type === 'joined' && about === 'n7' && observer !== 'n7',
    )
    assert.deepEqual(back, [])
    swarm.run(200_000)
    assert.ok(swarm.allHold('n7', 'alive'), 'it came back when it was well')
  })

  test("a bad network is nobody's fault: nobody is expelled", () => {
    const swarm = healthy(32, { seed: 8 })
    swarm.network.faults.loss = 0.35
    swarm.invariants.healthy = false
    swarm.run(160_000)
    assert.ok(swarm.count('suspected') > 0)
    assert.equal(swarm.count('expelled'), 0)
    swarm.network.heal()
    swarm.run(120_000)
    swarm.checkQuiet()
  })

  test('a node that left and comes back is taken in, and not before', () => {
    const swarm = healthy(12, { seed: 5 })
    swarm.leave('n4')
    swarm.run(20_000)
    assert.ok(swarm.allHold('n4', 'left'))
    const stale = swarm.core('n4').self
    assert.equal(stale.state, 'left')
    swarm.start('n4', [swarm.process('n0').address])
    swarm.run(20_000)
    assert.ok(swarm.allHold('n4', 'alive'))
    assert.ok(swarm.core('n4').self.version > stale.version)
    swarm.checkQuiet()
  })

  test('of two processes of one name the newcomer falls silent, under loss too', () => {
    for (const seed of [1, 2, 3]) {
      const swarm = new Watched({ seed, judged: false })
      swarm.startMany(32)
      swarm.run(40_000)
      swarm.network.faults.loss = 0.05
      const { core: first } = swarm.process('n7')
      const second = swarm.start('n7', [swarm.process('n0').address])
      swarm.run(30_000)
      assert.ok(second.silent && !first.silent)
      swarm.network.heal()
      swarm.run(30_000)
      for (const core of swarm.runningCores()) {
        if (core === second) continue
        assert.equal(core.member('n7')?.state, 'alive')
        assert.equal(core.member('n7')?.address, first.self.address)
      }
    }
  })

  test('a removed node stays away, in this life', () => {
    const swarm = healthy(12, { seed: 6 })
    swarm.input('n1', (core, nowMs) => assert.ok(core.remove('n4', nowMs)))
    swarm.input('n1', (core, nowMs) => assert.equal(core.remove('n4', nowMs), false))
    swarm.invariants.setFate('n4', 'removed')
    swarm.run(30_000)
    assert.ok(swarm.allHold('n4', 'left'))
    assert.equal(swarm.count('removed'), 1)
    const { incarnation } = swarm.core('n4').self
    swarm.crash('n4')
    swarm.invariants.setFate('n4', 'removed')
    const seeds = [swarm.process('n0').address]
    // The same data directory: it is told, and stays out.
    swarm.start('n4', seeds, { incarnation })
    swarm.run(60_000)
    assert.ok(swarm.allHold('n4', 'left'))
    assert.equal(swarm.core('n4').membership.voice.state, 'removed')
    swarm.crash('n4')
    // A new one is another node.
    swarm.start('n4', seeds)
    swarm.run(60_000)
    assert.ok(swarm.allHold('n4', 'alive'))
    swarm.checkQuiet()
  })

  test('200 members that start at once find each other', (context) => {
    const swarm = new Watched({ seed: 6 })
    swarm.startMany(200)
    swarm.run(1_000)
    const tookMs = swarm.runUntil(() => isComplete(swarm, 200), 60_000, 500)
    assert.ok(tookMs !== undefined)
    const suspected = swarm.count('suspected')
    context.diagnostic(
      `complete views ${(tookMs / 1_000).toFixed(1)} s after the last start, ${suspected} suspicions`,
    )
    assert.equal(suspected, 0)
  })

  test('members of two releases work together as long as their protocols overlap', () => {
    const swarm = healthy(6, { seed: 7, decodeEvery: 1 })
    const seeds = [swarm.process('n0').address]
    const speaking = (minimum: number, maximum: number): SwarmOptions['core'] => ({
      protocols: { minimum, maximum },
    })
    swarm.start('newer', seeds, { core: speaking(3, 6) })
    swarm.start('newer-too', seeds, { core: speaking(2, 6) })
    swarm.start('newest', seeds, { core: speaking(6, 6) })
    swarm.invariants.setFate('newest', 'crashed')
    swarm.run(30_000)
    for (const nodeId of ['n0', 'n5', 'newer'])
      assert.equal(swarm.core(nodeId).membership.table.live, 8, nodeId)
    assert.deepEqual(swarm.core('newer').member('newer-too')?.protocols, { minimum: 2, maximum: 6 })
    assert.equal(swarm.core('newest').membership.table.live, 1, 'it speaks nothing that its seed understands')
    assert.ok(swarm.core('n0').counters.unknownProtocol > 0)
  })
})
