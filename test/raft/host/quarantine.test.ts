import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { utf8 } from '../../../src/core/bytes.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { MembershipChange } from '../../../src/raft/core/membership-types.ts'
import type { Peer } from '../../../src/raft/group/peers.ts'
import { DiskMarks } from '../../../src/raft/host/disk-marks.ts'
import type { Marks } from '../../../src/raft/host/host-messages.ts'
import { isolate } from '../../../src/simulation/partitions.ts'
import { Cluster, type ClusterNode } from '../support/host-cluster.ts'

const names = ['n1', 'n2', 'n3']

async function setUp(cluster: Cluster): Promise<{ victim: ClusterNode; replicaId: number }> {
  await cluster.bootstrap()
  for (let i = 0; i < 10; i++) await cluster.propose('a+1')
  await cluster.converged(names)
  const leader = await cluster.leader()
  const victim = [...cluster.nodes.values()].find((node) => node !== leader) as ClusterNode
  return { victim, replicaId: victim.group().status().replicaId }
}

async function change(cluster: Cluster, wanted: MembershipChange): Promise<void> {
  for (;;) {
    try {
      await (await cluster.leader()).group().changeMembership(wanted)
      return
    } catch (error) {
      if (!KeelsonError.is(error) || !error.retryable) throw error
      await cluster.sleep(30)
    }
  }
}

/** What an operator does: the lost replica goes, its node gets a new one, which is promoted. */
async function replace(cluster: Cluster, victim: ClusterNode, lost: number): Promise<void> {
  await change(cluster, { type: 'remove', replicaId: lost })
  if (victim.host.groups().has(1)) await victim.host.destroyGroup(1)
  await victim.host.awaitGroup(1, { stateMachine: victim.machine() })
  const { incarnation } = victim.store
  await change(cluster, { type: 'addLearner', nodeId: victim.name, incarnation })
  const added = (await cluster.leader()).group().status().configuration?.replicas.at(-1)?.replicaId ?? 0
  assert.ok(added > lost)
  await change(cluster, { type: 'promote', replicaId: added })
  await cluster.converged(names)
  // It counts again: without another one it makes the majority.
  const other = names.find((name) => name !== victim.name && name !== cluster.serving()?.name) as string
  cluster.node(other).crash('power')
  assert.equal(await cluster.propose('a+100'), '111')
  assert.equal(victim.group().status().quarantined, false)
}

suite('a disk that lost what it had acknowledged', () => {
  test('quarantines its replica, which says so everywhere, until it is replaced', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      const { victim, replicaId } = await setUp(cluster)
      const older = await victim.saveLog()
      await cluster.propose('a+1')
      await cluster.converged(names)
      victim.crash('kill')
      victim.restoreLog(older)
      victim.process.restart()
      await victim.start()
      const group = await victim.host.openGroup(1, { stateMachine: victim.machine() })
      const events: string[] = []
      group.on('quarantined', () => events.push('quarantined'))
      await cluster.until(() => group.status().quarantined, 'the leader tells')
      assert.deepEqual(events, ['quarantined'])
      assert.equal(victim.host.stored().get(1)?.quarantined, true)
      const refused = { code: 'QUARANTINED', retryable: false, outcome: 'none' }
      await assert.rejects(group.propose(utf8('a+1')), refused)
      await assert.rejects(group.propose(utf8('a+1'), { forward: true }), refused)
      await assert.rejects(group.read(), refused)
      // It neither votes nor acknowledges: with it alone nobody leads.
      const leader = await cluster.leader()
      const third = names.find((name) => name !== victim.name && name !== leader.name) as string
      cluster.node(third).crash('power')
      await cluster.until(() => cluster.serving() === undefined, 'the leader has no majority')
      await cluster.sleep(2_000)
      assert.equal(cluster.serving(), undefined)
      await cluster.node(third).restart()
      await cluster.leader()
      await replace(cluster, victim, replicaId)
    })
  })

  test('is another life of its node when it is empty: nobody speaks for the old replica', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      const { victim, replicaId } = await setUp(cluster)
      await cluster.propose('a+1')
      victim.crash('power')
      victim.wipe()
      victim.process.restart()
      await victim.start()
      assert.equal(victim.host.stored().size, 0)
      const leader = await cluster.leader()
      await cluster.until(
        () => leader.group().status().progress.get(replicaId)?.recentlyActive === false,
        'the leader hears nothing of it',
      )
      const metrics = (victim.env.metrics as unknown as { text(): string }).text()
      assert.match(metrics, /dropped_total\{reason="otherIncarnation"\}/)
      // A bootstrap with what it was would make a second history.
      const replicas = cluster.replicas(names).map((replica) => ({ ...replica, incarnation: 7 }))
      await assert.rejects(victim.host.bootstrap(1, { replicas, stateMachine: victim.machine() }), {
        code: 'INVALID_ARGUMENT',
      })
      await replace(cluster, victim, replicaId)
    })
  })
})

suite('a replica that is quarantined while its group rests', () => {
  for (const quiescence of [true, false]) {
    test(`${quiescence ? 'is' : 'as one whose group never rests, is'} not counted on any more`, async (t) => {
      // A node that leads nothing of it knows how far the disk of the follower was.
      let tells = false
      const { heard } = DiskMarks.prototype
      t.mock.method(DiskMarks.prototype, 'heard', function (this: DiskMarks, peer: Peer, marks: Marks) {
        return tells && peer.nodeId === 'n4' ? { life: 1, position: 2 ** 40 } : heard.call(this, peer, marks)
      })
      const cluster = new Cluster({ seed: 3, raft: { clockDriftBound: 0.01, quiescence } })
      await cluster.run(async () => {
        await cluster.add(...names, 'n4')
        await cluster.bootstrap(names)
        await cluster.propose('a+1')
        await cluster.converged(names)
        const leader = await cluster.leader()
        const [victim, third] = names.map((name) => cluster.node(name)).filter((node) => node !== leader) as [
          ClusterNode,
          ClusterNode,
        ]
        await cluster.bootstrap([victim.name, 'n4'], 2)
        await cluster.propose('a+1', { groupId: 2 })
        cluster.conditions.partition(isolate(third.name, names))
        await cluster.sleep(3_000)
        const status = () => leader.group().status()
        assert.deepEqual([status().role, status().atRest], ['leader', quiescence])
        await leader.group().read({ readMode: 'lease' })
        tells = true
        await cluster.until(() => victim.group().status().quarantined, 'it is told', 60_000)
        await cluster.sleep(2_000)
        assert.notEqual(status().role, 'leader')
        assert.equal(victim.group().status().atRest, false)
        await assert.rejects(leader.group().read({ readMode: 'lease' }), { code: 'NOT_LEADER' })
      })
    })
  }
})
