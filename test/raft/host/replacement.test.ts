import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { ReplicaId } from '../../../src/model/ids.ts'
import { votesInIncoming, votesInOutgoing } from '../../../src/model/replica-roles.ts'
import type { Configuration } from '../../../src/raft/core/membership-types.ts'
import type { Replacement } from '../../../src/raft/group/replacement.ts'
import { isolate } from '../../../src/simulation/partitions.ts'
import { Cluster, type ClusterNode } from '../support/host-cluster.ts'

const names = ['n1', 'n2', 'n3']

/** Three members, and a node that waits for a replica. */
async function start(cluster: Cluster): Promise<ClusterNode> {
  await cluster.bootstrap(names)
  await cluster.add('n4')
  await cluster.propose('a+1')
  const spare = cluster.node('n4')
  await spare.host.awaitGroup(1, { stateMachine: spare.machine() })
  return spare
}

function follower(cluster: Cluster, leader: ClusterNode): ClusterNode {
  return names.map((name) => cluster.node(name)).find((node) => node !== leader) as ClusterNode
}

function idOf(node: ClusterNode): ReplicaId {
  return node.group().status().replicaId
}

function replacementOf(replicaId: ReplicaId, { name, store }: ClusterNode): Replacement {
  return { replicaId, nodeId: name, incarnation: store.incarnation }
}

function members({ replicas }: Configuration): string {
  return replicas.map(({ nodeId, role }) => (role === 'voter' ? nodeId : `${nodeId} ${role}`)).join(', ')
}

suite('the replacement of a replica', () => {
  test('is one call, and the group never has a voter more or less', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      const spare = await start(cluster)
      const leader = await cluster.leader()
      const victim = follower(cluster, leader)
      const victimId = idOf(victim)
      const seen: Configuration[] = []
      leader.group().on('configuration', (configuration) => seen.push(configuration))
      const after = await leader.group().replace(replacementOf(victimId, spare))
      const staying = names.filter((name) => name !== victim.name)
      assert.equal(members(after), [...staying, 'n4'].join(', '))
      assert.equal(after.generation, 4)
      for (const { replicas } of seen) {
        assert.equal(replicas.filter(votesInIncoming).length, 3)
        assert.equal(replicas.filter(votesInOutgoing).length, 3)
      }
      await cluster.until(() => victim.group().status().removed, 'the one that is replaced knows it')
      await victim.host.destroyGroup(1)
      await cluster.propose('a+1')
      await cluster.converged([...staying, 'n4'])
      // Asked for again, it has nothing to do.
      assert.deepEqual(await leader.group().replace(replacementOf(victimId, spare)), after)
    })
  })

  test('replaces a dead voter, while another one may fail the moment after', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      const spare = await start(cluster)
      const leader = await cluster.leader()
      const dead = follower(cluster, leader)
      const deadId = idOf(dead)
      dead.crash()
      await leader.group().replace(replacementOf(deadId, spare))
      const other = names.map((name) => cluster.node(name)).find((node) => node !== leader && node !== dead)
      other?.crash()
      await cluster.propose('a+1')
    })
  })

  test('goes on under the next leader from where it was', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      const spare = await start(cluster)
      const leader = await cluster.leader()
      const victimId = idOf(follower(cluster, leader))
      // The learner is added, and cannot be reached.
      const heal = cluster.conditions.partition(isolate('n4', [...names, 'n4']))
      const first = leader.group().replace(replacementOf(victimId, spare))
      const failed = assert.rejects(first, (error) =>
        KeelsonError.hasCode(error, 'NOT_LEADER', 'OUTCOME_UNKNOWN', 'CLOSED', 'TIMEOUT'),
      )
      await cluster.until(
        () => leader.group().status().configuration?.generation === 2,
        'the learner is in the configuration',
      )
      const heir = names.map((name) => cluster.node(name)).find((node) => node !== leader) as ClusterNode
      await leader.group().transferLeadership(idOf(heir))
      heal()
      await failed
      const next = await cluster.leader()
      assert.notEqual(next, leader)
      const after = await next.group().replace(replacementOf(victimId, spare))
      assert.equal(after.generation, 4)
      assert.ok(after.replicas.every(({ replicaId }) => replicaId !== victimId))
    })
  })

  test('takes the leader itself out', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      const spare = await start(cluster)
      const leader = await cluster.leader()
      const after = await leader.group().replace(replacementOf(idOf(leader), spare))
      assert.ok(after.replicas.every(({ nodeId }) => nodeId !== leader.name))
      await cluster.until(() => leader.group().status().removed, 'it knows that it is out')
      assert.notEqual(await cluster.leader(), leader)
      await cluster.propose('a+1')
    })
  })

  test('gives a learner for a learner', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      const spare = await start(cluster)
      const leader = await cluster.leader()
      const learnerId = idOf(follower(cluster, leader))
      await leader.group().changeMembership({ type: 'demote', replicaId: learnerId })
      const after = await leader.group().replace(replacementOf(learnerId, spare))
      assert.deepEqual(after.replicas.map(({ role }) => role).sort(), ['learner', 'voter', 'voter'])
      assert.equal(after.joint, undefined)
    })
  })

  test('ends with what it has when the new replica does not catch up in time', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      const spare = await start(cluster)
      const leader = await cluster.leader()
      const victim = follower(cluster, leader)
      const replacement = replacementOf(idOf(victim), spare)
      spare.crash()
      const options = { catchUpTimeoutMs: 2_000 }
      await assert.rejects(leader.group().replace(replacement, options), { code: 'TIMEOUT' })
      assert.equal(members(leader.group().status().configuration as Configuration), 'n1, n2, n3, n4 learner')
      const controller = new AbortController()
      const aborted = leader.group().replace(replacement, { signal: controller.signal })
      controller.abort()
      await assert.rejects(aborted, { code: 'ABORTED' })
    })
  })

  test('is refused for good reasons', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      const spare = await start(cluster)
      const leader = await cluster.leader()
      const other = follower(cluster, leader)
      const group = leader.group()
      const replacement = replacementOf(idOf(other), spare)
      await assert.rejects(other.group().replace(replacement), { code: 'NOT_LEADER' })
      await assert.rejects(group.replace({ ...replacement, replicaId: 99 }), { code: 'NOT_FOUND' })
      // To take it away first would leave the group a voter short, and nobody in its place.
      await assert.rejects(group.replace(replacementOf(idOf(other), other)), {
        code: 'CONFLICT',
        retryable: false,
      })
      // The third one votes already: without the other one there would be two.
      const third = names
        .map((name) => cluster.node(name))
        .find((node) => ![leader, other].includes(node)) as ClusterNode
      for (const leaving of [other, leader]) {
        await assert.rejects(group.replace(replacementOf(idOf(leaving), third)), {
          code: 'CONFLICT',
          message: /has a voter of group 1 already/,
          retryable: false,
        })
      }
      assert.equal(members(group.status().latestConfiguration as Configuration), 'n1, n2, n3')
      const learner = { type: 'addLearner', nodeId: 'n4', incarnation: replacement.incarnation + 1 } as const
      await group.changeMembership(learner)
      await assert.rejects(group.replace(replacement), { code: 'CONFLICT', retryable: false })
    })
  })
})

suite('a leader that is forgotten', () => {
  test('is not protected any more, and makes itself known again', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await start(cluster)
      const leader = await cluster.leader()
      const other = follower(cluster, leader)
      await cluster.until(() => other.group().status().leader !== undefined, 'it knows its leader')
      other.group().forgetLeader()
      assert.equal(other.group().status().leader, undefined)
      await cluster.until(() => other.group().status().leader !== undefined, 'it knows its leader again')
      leader.group().forgetLeader()
      assert.equal((await cluster.leader()).name, leader.name)
    })
  })
})
