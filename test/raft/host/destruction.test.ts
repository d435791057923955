import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Replica } from '../../../src/raft/group/replica.ts'
import { Cluster, type ClusterNode } from '../support/host-cluster.ts'

const confirm = 'destroy group 1'
const refused = { code: 'INVALID_ARGUMENT', message: /was not removed/ }

async function twoVoters(
  body: (cluster: Cluster, leader: ClusterNode, follower: ClusterNode) => Promise<void>,
): Promise<void> {
  const cluster = new Cluster()
  await cluster.run(async () => {
    await cluster.bootstrap(['n1', 'n2'])
    await cluster.propose('a+1')
    const leader = await cluster.leader()
    await body(cluster, leader, cluster.node(leader.name === 'n1' ? 'n2' : 'n1'))
  })
}

suite('the destruction of a replica', () => {
  test('is refused while its group counts on it, so the quorum stays', async () => {
    await twoVoters(async (cluster, leader, follower) => {
      for (const { host } of [leader, follower]) {
        await assert.rejects(host.destroyGroup(1), refused)
        await assert.rejects(host.destroyGroup(1, { confirm: 'destroy group 2' }), {
          code: 'INVALID_ARGUMENT',
        })
      }
      assert.equal(await cluster.propose('a+1'), '2')
    })
  })

  test('a host that took every replica for a removed one would take the quorum away', async () => {
    const rule = Object.getOwnPropertyDescriptor(Replica.prototype, 'removed') as PropertyDescriptor
    Object.defineProperty(Replica.prototype, 'removed', { ...rule, get: () => true })
    try {
      await assert.rejects(
        twoVoters(async (cluster, _, follower) => {
          await assert.rejects(follower.host.destroyGroup(1), refused)
          await cluster.propose('a+1')
        }),
        /Missing expected rejection/,
      )
    } finally {
      Object.defineProperty(Replica.prototype, 'removed', rule)
    }
  })

  test('of one that is lost on purpose wants that said, and then the group has one voter less', async () => {
    await twoVoters(async (cluster, leader, follower) => {
      await follower.host.destroyGroup(1, { confirm })
      assert.ok(follower.machines.get(1)?.destroyed)
      await cluster.sleep(2_000)
      assert.equal(leader.group().token(), undefined)
    })
  })

  test('needs no confirmation for one that knows of its removal, in this life or the next', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap(['n1', 'n2', 'n3', 'n4', 'n5'])
      const leader = await cluster.leader()
      const others = [...cluster.nodes.values()].filter((node) => node !== leader)
      const [first, second] = others as [ClusterNode, ClusterNode]
      for (const node of [first, second]) {
        const { replicaId } = node.group().status()
        await leader.group().changeMembership({ type: 'remove', replicaId })
        await cluster.until(() => node.group().status().removed, 'it knows of its removal')
      }
      await first.host.destroyGroup(1)
      await second.stop()
      await second.start()
      // Nobody has opened it, so nobody knows.
      await assert.rejects(second.host.destroyGroup(1, { stateMachine: second.machine() }), refused)
      await second.openAll()
      await cluster.until(() => second.group().status().removed, 'it hears of its removal')
      await second.host.destroyGroup(1)
      assert.equal(second.host.stored().get(1)?.destroyed, true)
      // What is left over of it can be deleted at any time.
      await second.host.destroyGroup(1, { stateMachine: second.machine() })
    })
  })

  test('needs none for one that waits empty', async () => {
    await twoVoters(async (cluster, leader) => {
      await cluster.add('n3')
      const { host } = cluster.node('n3')
      const stateMachine = cluster.node('n3').machine()
      await host.awaitGroup(1, { stateMachine })
      await host.destroyGroup(1)
      assert.ok(stateMachine.destroyed)
      assert.equal(host.stored().has(1), false)
      assert.ok(leader.group().token())
    })
  })
})
