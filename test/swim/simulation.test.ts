import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SimulatedCluster } from './support/cluster.ts'
import { runScenario } from './support/scenario.ts'

suite('a cluster in virtual time', () => {
  test('128 members find each other, stay quiet, and find 8 crashes', () => {
    const cluster = new SimulatedCluster({ seed: 1 })
    cluster.startMany(128, 10_000)
    cluster.checkQuiet()
    cluster.invariants.healthy = true
    const before = cluster.packetsDelivered
    cluster.run(20_000)
    const perMemberAndSecond = (cluster.packetsDelivered - before) / 128 / 20
    console.log('packets per member and second', perMemberAndSecond)
    assert.ok(perMemberAndSecond < 3, `${perMemberAndSecond} packets a second`)
    const killed = Array.from({ length: 8 }, (_, i) => `n${i * 11 + 3}`)
    for (const nodeId of killed) cluster.crash(nodeId)
    const tookMs = cluster.runUntil(() => killed.every((nodeId) => cluster.allHold(nodeId, 'dead')), 60_000)
    console.log('everywhere after', tookMs)
    assert.ok(tookMs !== undefined)
    cluster.run(90_000)
    cluster.checkQuiet()
  })

  test('40 runs under faults keep every invariant and settle on one view', () => {
    for (let seed = 1; seed <= 40; seed++) runScenario({ seed })
  })
})
