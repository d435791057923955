import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { ReplicaId } from '../../../src/model/ids.ts'
import { replicaOf } from '../../../src/raft/core/configuration.ts'
import type { MembershipChange } from '../../../src/raft/core/membership-types.ts'
import { Cluster, type ClusterOptions } from '../support/cluster.ts'

function led(size: number, options: ClusterOptions = {}): Cluster {
  const cluster = new Cluster(size, options)
  cluster.awaits = true
  cluster.elect(1)
  return cluster
}

function change(cluster: Cluster, id: ReplicaId, ...changes: MembershipChange[]): ReplicaId {
  const answer = cluster.change(id, changes)
  assert.ok(answer.accepted, answer.accepted ? '' : answer.reason)
  return answer.index
}

function marked(nodeId: string): MembershipChange {
  return { type: 'addLearner', nodeId, incarnation: 7, autoPromote: true }
}

const roleOf = (cluster: Cluster, id: ReplicaId): string | undefined =>
  replicaOf(cluster.leader().configuration, id)?.role

suite('a learner that is marked', () => {
  test('becomes a voter without anybody asking, once it has caught up', () => {
    const cluster = led(3, { options: { caughtUpEntries: 2 } })
    cluster.propose(1, 'a', 'b', 'c', 'd')
    cluster.settle()
    cluster.deliver = (message) => message.to <= 3
    const id = change(cluster, 1, marked('n9'))
    cluster.advance(2000)
    assert.equal(roleOf(cluster, id), 'learner')
    cluster.heal()
    cluster.advance(500)
    assert.equal(roleOf(cluster, id), 'voter')
    const { configuration } = cluster.leader()
    assert.deepEqual(configuration?.changes, [{ type: 'promote', replicaId: id }])
    assert.equal(replicaOf(configuration, id)?.autoPromote, undefined)
  })

  test('is promoted by the next leader, if the one that added it is gone', () => {
    const cluster = led(3)
    cluster.deliver = (message) => message.to <= 3
    const id = change(cluster, 1, marked('n9'))
    cluster.advance(200)
    cluster.crash(1)
    cluster.heal()
    cluster.advance(3000)
    assert.notEqual(cluster.leader().replicaId, 1)
    assert.equal(roleOf(cluster, id), 'voter')
  })

  test('waits for its turn among others, and for the end of a joint configuration', () => {
    const cluster = led(3)
    const id = change(cluster, 1, marked('n7'), marked('n8'), {
      type: 'addLearner',
      nodeId: 'n9',
      incarnation: 7,
    })
    assert.equal(roleOf(cluster, id), 'learner')
    cluster.advance(1000)
    assert.equal(roleOf(cluster, id), 'voter')
    assert.equal(roleOf(cluster, id + 1), 'voter')
    assert.equal(roleOf(cluster, id + 2), 'learner')
    // One after the other: no joint configuration was needed.
    assert.equal(cluster.leader().configuration?.generation, 4)
    const answer = cluster.change(1, { type: 'demote', replicaId: 3 }, { autoLeave: false })
    assert.ok(answer.accepted)
    cluster.advance(200)
    assert.equal(cluster.change(1, { type: 'promoteLater', replicaId: id + 2 }).accepted, false)
    change(cluster, 1, { type: 'leaveJoint' })
    cluster.advance(200)
    change(cluster, 1, { type: 'promoteLater', replicaId: id + 2 })
    assert.equal(roleOf(cluster, id + 2), 'learner')
    cluster.advance(200)
    assert.equal(roleOf(cluster, id + 2), 'voter')
    assert.equal(roleOf(cluster, 3), 'learner')
  })

  test('has caught up when it lacks only what came a short while ago, however much that is', () => {
    const cluster = led(3, { options: { caughtUpEntries: 0 } })
    const answer = cluster.change(1, { type: 'addLearner', nodeId: 'n9', incarnation: 7 })
    assert.ok(answer.accepted)
    const id = answer.index
    cluster.advance(200)
    for (const data of ['a', 'b']) {
      cluster.propose(1, data)
      cluster.settle()
    }
    cluster.deliver = (m) => m.kind !== 'append' || m.to !== id
    cluster.propose(1, ...Array.from({ length: 50 }, (_, i) => `${i}`))
    cluster.settle()
    const status = () => cluster.core(1).status()
    const behind = status().commitIndex - (status().progress.get(id)?.matchIndex ?? 0)
    assert.equal(behind, 50)
    assert.equal(status().progress.get(id)?.caughtUp, true)
    cluster.advance(400)
    assert.equal(status().progress.get(id)?.recentlyActive, true)
    assert.equal(status().progress.get(id)?.caughtUp, false)
    cluster.heal()
    cluster.advance(200)
    assert.equal(status().progress.get(id)?.caughtUp, true)
  })

  test('is not promoted while leadership is handed over, but afterwards', () => {
    const cluster = led(4)
    cluster.crash(4)
    cluster.deliver = (message) => message.to <= 4
    const id = change(cluster, 1, marked('n9'))
    cluster.settle()
    assert.ok(cluster.on(1, (core) => core.transferLeadership(4, cluster.now)).accepted)
    cluster.heal()
    cluster.advance(200)
    assert.equal(roleOf(cluster, id), 'learner')
    cluster.advance(400)
    assert.deepEqual(cluster.replica(1).transfers, ['failed'])
    assert.equal(roleOf(cluster, id), 'voter')
  })
})
