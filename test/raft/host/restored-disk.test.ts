import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { RaftCore } from '../../../src/raft/core/raft.ts'
import { DiskMarks } from '../../../src/raft/host/disk-marks.ts'
import { LogGate } from '../../../src/raft/host/log-gate.ts'
import { inspectGroup, recoverGroup } from '../../../src/raft/host/recover-group.ts'
import { isolate } from '../../../src/simulation/partitions.ts'
import {
  allQuarantined,
  fill,
  groups,
  makeCluster,
  names,
  overwritten,
  restart,
  restoredAndCutOff,
  restoredDisk,
} from '../support/restored-disk.ts'

suite('a disk of which an older image comes back', () => {
  test('is found out, whoever leads by then, and stays so', async () => {
    for (let seed = 0; seed < 6; seed++) {
      const cluster = makeCluster(seed)
      await cluster.run(async () => {
        const node = await restoredDisk(cluster, seed % 2 === 0)
        await allQuarantined(cluster, node)
        await fill(cluster, 2)
        node.crash()
        await restart(node)
        for (const groupId of groups) {
          assert.ok(node.group(groupId).status().quarantined)
          assert.notEqual(node.group(groupId).status().role, 'leader')
        }
      })
    }
  })

  test('is found out before it can vote a second time', async () => {
    const cluster = makeCluster(7)
    await cluster.run(async () => {
      const node = await restoredDisk(cluster, true)
      // The others cannot make a majority without it, and it must not help them to one that lacks what it acknowledged.
      cluster.node('n3').crash()
      await allQuarantined(cluster, node)
      await cluster.sleep(5_000)
      assert.equal(cluster.serving(1), undefined)
      await cluster.node('n3').restart()
      await fill(cluster, 1)
    })
  })

  test('is found out although it has written more since than it lost', async () => {
    const cluster = makeCluster(11)
    await cluster.run(async () => {
      const { position, node } = await restoredAndCutOff(cluster)
      // A group of its own, of which nobody else hears.
      await cluster.bootstrap(['n2'], 20)
      while ((node.store.durablePosition?.() ?? 0) <= position)
        await cluster.propose('own+1', { groupId: 20 })
      assert.ok(groups.every((groupId) => !node.group(groupId).status().quarantined))
      cluster.conditions.heal()
      await allQuarantined(cluster, node)
    })
  })

  test('makes nothing new: neither a group nor a replica', async () => {
    const cluster = makeCluster(8)
    await cluster.run(async () => {
      const node = await restoredDisk(cluster, true)
      await allQuarantined(cluster, node)
      const replicas = cluster.replicas(['n2'])
      await assert.rejects(node.host.bootstrap(9, { replicas, stateMachine: node.machine(9) }), {
        code: 'QUARANTINED',
      })
      await cluster.bootstrap(['n1', 'n3'], 10)
      await node.host.awaitGroup(10, { stateMachine: node.machine(10) })
      const leader = await cluster.leader(10)
      const { incarnation } = node.store
      await leader.group(10).changeMembership({ type: 'addLearner', nodeId: 'n2', incarnation })
      await cluster.sleep(2_000)
      assert.equal(node.group(10).status().replicaId, 0)
    })
  })

  test('has groups quarantined that are not open yet', async () => {
    const cluster = makeCluster(9)
    await cluster.run(async () => {
      const node = await restoredDisk(cluster, true, [1])
      await cluster.until(() => node.group(1).status().quarantined, 'it is found out', 10_000)
      for (const [, { quarantined }] of node.host.stored()) assert.ok(quarantined)
      await node.host.openGroup(2, { stateMachine: node.machine(2) })
      assert.ok(node.group(2).status().quarantined)
      // It is stored.
      await cluster.sleep(100)
      node.crash('power')
      cluster.node('n1').crash()
      cluster.node('n3').crash()
      await restart(node)
      for (const groupId of groups) assert.ok(node.group(groupId).status().quarantined)
    })
  })

  test('is not believed by its next life either, although nobody is left who knows', async () => {
    const cluster = makeCluster(12)
    await cluster.run(async () => {
      const node = await restoredDisk(cluster, true)
      await allQuarantined(cluster, node)
      await cluster.sleep(100)
      for (const name of names) cluster.node(name).crash('power')
      for (const name of names) await cluster.node(name).restart()
      const replicas = cluster.replicas(['n2'])
      await assert.rejects(node.host.bootstrap(9, { replicas, stateMachine: node.machine(9) }), {
        code: 'QUARANTINED',
      })
      await assert.rejects(node.host.adoptGroup(9, { stateMachine: node.machine(9) }), {
        code: 'QUARANTINED',
      })
      await cluster.bootstrap(['n1', 'n3'], 10)
      await node.host.awaitGroup(10, { stateMachine: node.machine(10) })
      const leader = await cluster.leader(10)
      const { incarnation } = node.store
      await leader.group(10).changeMembership({ type: 'addLearner', nodeId: 'n2', incarnation })
      await cluster.sleep(2_000)
      assert.equal(node.group(10).status().replicaId, 0)
      await fill(cluster, 1)
    })
  })

  test('has a group quarantined that was being opened when it was found out, and wrote that it is well', async () => {
    const cluster = makeCluster(13)
    await cluster.run(async () => {
      const node = await overwritten(cluster)
      assert.equal((await inspectGroup(node.offline(2))).quarantined, true)
      await node.startAgain()
      assert.equal(node.host.stored().size, groups.length)
      for (const groupId of groups) {
        assert.ok(node.host.stored().get(groupId)?.quarantined)
        assert.ok(node.group(groupId).status().quarantined)
      }
    })
  })

  test('would have that group believed again if it were not stored for all groups at once', async (t) => {
    const { recovered } = LogGate.prototype
    t.mock.method(LogGate.prototype, 'recovered', function broken(this: LogGate) {
      return new Map([...recovered.call(this)].filter(([groupId]) => groupId !== Number.MAX_SAFE_INTEGER))
    })
    const cluster = makeCluster(13)
    await cluster.run(async () => {
      const node = await overwritten(cluster)
      await node.startAgain()
      assert.equal(node.group(2).status().quarantined, false)
      await node.host.bootstrap(9, { replicas: cluster.replicas(['n2']), stateMachine: node.machine(9) })
    })
  })

  test('is told of under an id that no group has', async () => {
    const cluster = makeCluster(14)
    await cluster.run(async () => {
      await cluster.add(...names)
      const { host } = cluster.node('n1')
      const replicas = cluster.replicas(names)
      const groupId = Number.MAX_SAFE_INTEGER
      const refused = { code: 'INVALID_ARGUMENT', message: /less than 9007199254740991/ }
      const stateMachine = cluster.node('n1').machine(9)
      await assert.rejects(host.bootstrap(groupId, { replicas, stateMachine }), refused)
      await assert.rejects(host.adoptGroup(groupId, { stateMachine }), refused)
      await assert.rejects(host.openGroup(groupId, { stateMachine }), refused)
      await assert.rejects(host.awaitGroup(groupId, { stateMachine }), refused)
      await assert.rejects(host.destroyGroup(groupId), refused)
      await assert.rejects(inspectGroup({ ...cluster.node('n1').offline(1), groupId }), {
        code: 'INVALID_OPTION',
      })
    })
  })

  test('may be the last that a group has: recovered from its lost quorum, it is believed again', async () => {
    const cluster = makeCluster(10)
    await cluster.run(async () => {
      const node = await restoredDisk(cluster, true)
      await allQuarantined(cluster, node)
      const heal = cluster.conditions.partition(isolate('n2', names))
      await node.stop()
      const survivors = [await inspectGroup(node.offline(1))]
      const acknowledged = { acceptDataLoss: true, confirm: 'recover group 1' }
      await recoverGroup({ ...node.offline(1), survivors, ...acknowledged })
      await node.startAgain()
      await cluster.until(() => node.group(1).status().role === 'leader', 'it leads')
      // The others remember what its disk had before.
      heal()
      await cluster.until(
        () =>
          names.every((name) => name === 'n2' || cluster.node(name).group(1).status().stopped !== undefined),
        'they hear that the group goes on without them',
      )
      await cluster.sleep(1_000)
      assert.equal(node.group(1).status().role, 'leader')
      assert.ok(groups.slice(1).every((groupId) => node.group(groupId).status().quarantined))
    })
  })

  // Each of the two sees what the other cannot; without both nobody does.
  const bugs: [what: string, marks: boolean, acknowledgements: boolean, newLeaders: boolean][] = [
    ['by a leader of the same term alone', false, true, false],
    ['by what all nodes know of each other alone', true, false, false],
    ['over terms by what all nodes know of each other alone', true, false, true],
    ['not at all by a leader that is new', false, true, true],
    ['not at all without both', false, false, false],
  ]
  for (const [what, marks, acknowledgements, newLeaders] of bugs) {
    test(`is found out ${what}`, async (t) => {
      if (!marks) t.mock.method(DiskMarks.prototype, 'hasForgotten', () => false)
      if (!acknowledgements) t.mock.method(RaftCore.prototype, 'hasForgotten', () => false)
      const cluster = makeCluster(3)
      await cluster.run(async () => {
        const node = await restoredDisk(cluster, newLeaders)
        const found = acknowledgements && !newLeaders ? true : marks
        if (found) await allQuarantined(cluster, node)
        else {
          await cluster.sleep(5_000)
          assert.ok(groups.every((groupId) => !node.group(groupId).status().quarantined))
        }
      })
    })
  }
})
