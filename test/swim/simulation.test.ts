import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type Mutant, SimulatedCluster } from './support/cluster.ts'
import { runScenario } from './support/scenario.ts'

/** A cluster that has formed and in which nobody may be declared dead. */
function healthyCluster(size: number, seed: number, mutant?: Mutant): SimulatedCluster {
  const cluster = new SimulatedCluster({ seed, ...(mutant === undefined ? {} : { mutant }) })
  cluster.startMany(size, 12_000)
  cluster.checkQuiet()
  cluster.invariants.healthy = true
  return cluster
}

function suspicions(cluster: SimulatedCluster): number {
  return cluster.events.filter(({ type }) => type === 'suspected').length
}

suite('a cluster in virtual time', () => {
  test('30 runs under faults keep every invariant and settle on one view', () => {
    for (let seed = 1; seed <= 30; seed++) runScenario({ seed })
  })

  test('one seed is one run', () => {
    assert.equal(runScenario({ seed: 77 }).trace, runScenario({ seed: 77 }).trace)
    assert.notEqual(runScenario({ seed: 77 }).trace, runScenario({ seed: 78 }).trace)
  })

  test('128 members find each other, cost two packets a second each, and all find 8 crashes', (context) => {
    const cluster = healthyCluster(128, 1)
    const before = cluster.packetsDelivered
    const bytesBefore = cluster.bytesDelivered
    cluster.run(20_000)
    const packets = (cluster.packetsDelivered - before) / 128 / 20
    const bytes = (cluster.bytesDelivered - bytesBefore) / 128 / 20
    assert.ok(packets < 2.2, `${packets} packets per member and second`)
    const killed = Array.from({ length: 8 }, (_, i) => `n${i * 11 + 3}`)
    const crashedAtMs = cluster.nowMs
    for (const nodeId of killed) cluster.crash(nodeId)
    const tookMs = cluster.runUntil(() => killed.every((nodeId) => cluster.allHold(nodeId, 'dead')), 60_000)
    assert.ok(tookMs !== undefined && tookMs < 30_000, `${tookMs}`)
    const first = killed.map((nodeId) => {
      const found = cluster.events.find(({ type, member }) => type === 'failed' && member.nodeId === nodeId)
      return (found?.atMs ?? Number.NaN) - crashedAtMs
    })
    const median = first.sort((a, b) => a - b)[4] ?? Number.NaN
    context.diagnostic(
      `${packets.toFixed(2)} packets and ${bytes.toFixed(0)} B per member and second; first detection: median ${(median / 1_000).toFixed(1)} s; all by all: ${(tookMs / 1_000).toFixed(1)} s`,
    )
    cluster.run(60_000)
    cluster.checkQuiet()
  })

  test('the halves of a long partition become one cluster again by themselves', (context) => {
    const cluster = healthyCluster(48, 2)
    cluster.invariants.healthy = false
    const all = cluster.nodeIds
    cluster.partition(all.slice(0, 20), all.slice(20))
    cluster.run(120_000)
    for (const core of cluster.runningCores()) {
      const alive = core.members().filter(({ state }) => state === 'alive').length
      assert.ok(alive === 20 || alive === 28, `${core.self.nodeId} holds ${alive} alive`)
    }
    cluster.heal()
    const tookMs = cluster.runUntil(() => all.every((nodeId) => cluster.allHold(nodeId, 'alive')), 120_000)
    assert.ok(tookMs !== undefined)
    context.diagnostic(`merged after ${(tookMs / 1_000).toFixed(1)} s`)
    cluster.run(90_000)
    cluster.checkQuiet()
  })

  test('members without a direct path are reached through others', () => {
    const run = (mutant?: Mutant): number => {
      const cluster = healthyCluster(8, 3, mutant)
      cluster.cut('n1', 'n2')
      cluster.cut('n3', 'n2')
      cluster.run(60_000)
      return suspicions(cluster)
    }
    assert.equal(run(), 0)
    const neverAsks: Mutant = ({ prober }) => {
      prober.askOthers = (probe) => {
        probe.silentHelpers = new Set()
      }
    }
    assert.ok(run(neverAsks) > 0)
  })

  test('members that hear little harm none of the healthy', () => {
    const cluster = healthyCluster(32, 4)
    for (const nodeId of ['n5', 'n6']) cluster.deafness.set(nodeId, 0.8)
    cluster.invariants.healthy = false
    cluster.run(180_000)
    const sick = new Set(['n5', 'n6'])
    const harmed = cluster.events.filter(
      ({ type, member, observer }) => type === 'failed' && !sick.has(member.nodeId) && !sick.has(observer),
    )
    assert.deepEqual(
      harmed.map(({ observer, member }) => `${observer} declared ${member.nodeId} dead`),
      [],
    )
    assert.ok(cluster.core('n5').localHealth > 0, 'it knows that it is unwell')
  })

  test('a node that left and comes back is taken in, and not before', () => {
    const cluster = healthyCluster(12, 5)
    cluster.leave('n4')
    cluster.run(20_000)
    assert.ok(cluster.allHold('n4', 'left'))
    // Late news of the life that ended.
    const stale = cluster.core('n4').self
    assert.equal(stale.state, 'left')
    cluster.start('n4', [cluster.address('n0')])
    cluster.run(20_000)
    assert.ok(cluster.allHold('n4', 'alive'))
    assert.ok(cluster.core('n4').self.version > stale.version)
    cluster.checkQuiet()
  })

  test('200 members that start at once find each other', (context) => {
    const cluster = new SimulatedCluster({ seed: 6 })
    cluster.startMany(200, 1_000)
    const tookMs = cluster.runUntil(
      () => cluster.runningCores().every((core) => core.members().length === 200),
      60_000,
      500,
    )
    assert.ok(tookMs !== undefined)
    const suspected = suspicions(cluster)
    context.diagnostic(
      `complete views ${(tookMs / 1_000).toFixed(1)} s after the last start, ${suspected} suspicions`,
    )
    assert.equal(suspected, 0)
  })
})
