import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { utf8 } from '../../../src/core/bytes.ts'
import type { MembershipChange } from '../../../src/raft/core/membership-types.ts'
import { Cluster, type ClusterNode } from '../support/host-cluster.ts'

async function led(body: (cluster: Cluster, leader: ClusterNode) => Promise<void>): Promise<void> {
  const cluster = new Cluster()
  await cluster.run(async () => {
    await cluster.bootstrap()
    await cluster.propose('a+1')
    await body(cluster, await cluster.leader())
  })
}

suite('what callers of a group give it', () => {
  test('forward is true or false', async () => {
    await led(async (cluster, leader) => {
      for (const node of cluster.nodes.values()) {
        const group = node.group()
        for (const forward of ['yes', 1, null]) {
          const options = { forward } as never
          await assert.rejects(group.propose(utf8('a+1'), options), { code: 'INVALID_OPTION' })
          await assert.rejects(group.openSession(options), { code: 'INVALID_OPTION' })
        }
      }
      assert.equal(await cluster.propose('a+0'), '1')
      assert.ok(leader.group().token())
    })
  })

  test('acknowledgedBelow comes with a command id', async () => {
    await led(async (cluster, leader) => {
      await assert.rejects(leader.group().propose(utf8('a+1'), { acknowledgedBelow: 7 }), {
        code: 'INVALID_ARGUMENT',
        message: /commandId/,
      })
      assert.equal(await cluster.propose('a+0'), '1')
    })
  })

  test('a change of the members has no other members than its own', async () => {
    await led(async (_, leader) => {
      const group = leader.group()
      const learner = { type: 'addLearner', nodeId: 'n9', incarnation: 5 }
      const refused = async (change: object, message: RegExp): Promise<void> => {
        for (const changes of [change, [change]]) {
          await assert.rejects(group.changeMembership(changes as unknown as MembershipChange), {
            code: 'INVALID_ARGUMENT',
            message,
          })
        }
      }
      await refused({ ...learner, autopromote: true }, /did you mean 'autoPromote'\?/)
      await refused({ type: 'remove', replicaId: 2, autoLeave: false }, /has type, replicaId/)
      await refused({ type: 'leaveJoint', replicaId: 2 }, /a change leaveJoint has no "replicaId"/)
      assert.equal(group.status().latestConfiguration?.generation, 1)
    })
  })
})

test('leadership is not handed to a voter that is down, and writes go on', async () => {
  await led(async (cluster, leader) => {
    const victim = [...cluster.nodes.values()].find((node) => node !== leader) as ClusterNode
    const { replicaId } = victim.group().status()
    victim.crash()
    await cluster.propose('a+1')
    await cluster.sleep(2_000)
    const fromMs = cluster.simulation.nowMs
    await assert.rejects(leader.group().transferLeadership(replicaId), {
      code: 'UNREACHABLE',
      retryable: true,
      outcome: 'none',
    })
    assert.equal(cluster.simulation.nowMs, fromMs)
    await leader.group().propose(utf8('a+1'))
    await victim.restart()
    await cluster.until(
      () => leader.group().status().progress.get(replicaId)?.recentlyActive === true,
      'it answers again',
    )
    await leader.group().transferLeadership(replicaId)
    await cluster.until(() => cluster.serving() === victim, 'the heir leads')
  })
})
