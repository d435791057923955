import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { ReplicaId } from '../../../src/model/ids.ts'
import { replicaOf } from '../../../src/raft/core/configuration.ts'
import type { MembershipChange } from '../../../src/raft/core/membership-types.ts'
import { Cluster, type ClusterOptions } from '../support/cluster.ts'

/** A group that 1 leads, whose members have these priorities. */
function prefers(priorities: readonly number[], options: ClusterOptions = {}): Cluster {
  const cluster = new Cluster(priorities.length, options)
  cluster.awaits = true
  cluster.elect(1)
  const changes = priorities.flatMap((priority, i): MembershipChange[] =>
    priority === 0 ? [] : [{ type: 'setPriority', replicaId: i + 1, priority }],
  )
  const answer = cluster.change(1, changes)
  assert.ok(answer.accepted)
  assert.equal(answer.configuration.joint, undefined)
  cluster.settle()
  return cluster
}

const leads = (cluster: Cluster): ReplicaId => cluster.leader().replicaId

suite('priorities', () => {
  test('a leader makes way for a voter of higher priority, once it has settled in', () => {
    const cluster = prefers([1, 0, 2])
    assert.equal(leads(cluster), 1)
    cluster.advance(1000)
    assert.equal(leads(cluster), 3)
    const { term } = cluster.core(3)
    cluster.advance(5000)
    assert.equal(cluster.core(3).term, term)
    assert.deepEqual(cluster.replica(1).transfers, ['done'])
  })

  test('it does so for nobody who is a learner, behind, or not there', () => {
    const cluster = new Cluster(6, { learners: [4] })
    cluster.elect(1)
    cluster.settle()
    cluster.crash(2)
    cluster.deliver = (m) => m.kind !== 'append' || m.to !== 3
    cluster.propose(1, 'a')
    cluster.advance(1000)
    const wishes = [1, 3, 2, 9].map(
      (priority, i) => ({ type: 'setPriority', replicaId: i + 1, priority }) as const,
    )
    assert.ok(cluster.change(1, wishes).accepted)
    cluster.advance(2000)
    assert.equal(leads(cluster), 1)
    assert.equal(cluster.core(1).isChangePending(), false)
    assert.deepEqual(cluster.replica(1).transfers, [])
    cluster.heal()
    cluster.advance(1000)
    assert.equal(leads(cluster), 3)
    cluster.restart(2)
    cluster.advance(1000)
    assert.equal(leads(cluster), 2)
  })

  test('a voter of lower priority lets the others go first', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const cluster = prefers([0, 1, 3, 0, 2], { seed })
      cluster.advance(1000)
      assert.equal(leads(cluster), 3)
      cluster.crash(3)
      cluster.log = []
      while (!cluster.log.some(({ kind }) => kind === 'preVote')) cluster.advance(10)
      assert.equal(cluster.log.find(({ kind }) => kind === 'preVote')?.from, 5)
      cluster.advance(3000)
      assert.equal(leads(cluster), 5)
    }
  })

  test('one of high priority that cannot win keeps nobody from winning', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const cluster = prefers([0, 9, 0], { seed, options: { preVote: false } })
      cluster.advance(1000)
      assert.equal(leads(cluster), 2)
      // What 1 and 3 have committed without 2, which led before.
      cluster.crash(2)
      cluster.advance(3000)
      cluster.propose(leads(cluster), 'a')
      cluster.advance(100)
      for (const id of [1, 3]) cluster.crash(id)
      for (const id of [2, 1, 3]) cluster.restart(id)
      cluster.deliver = (m) => m.from !== 2 || m.kind !== 'appendReply'
      cluster.advance(6000)
      assert.notEqual(leads(cluster), 2)
    }
  })

  test('nobody is waited for who does not come', () => {
    const cluster = prefers([1, 9, 9, 9, 2])
    cluster.advance(1000)
    const first = leads(cluster)
    assert.ok([2, 3, 4].includes(first))
    const gone = [2, 3, 4].slice(0, 2)
    for (const id of gone) cluster.crash(id)
    cluster.advance(3000)
    assert.equal(leads(cluster), 4)
    // Of those that are left nobody has a high priority; a quorum is enough.
    cluster.restart(2)
    cluster.crash(4)
    cluster.crash(2)
    cluster.restart(3)
    cluster.advance(200)
    cluster.crash(3)
    cluster.restart(2)
    cluster.advance(5000)
    cluster.propose(leads(cluster), 'a')
    cluster.advance(100)
    assert.ok(cluster.applied(leads(cluster)).includes('a'))
  })

  test('a hand-over that fails costs the group less and less of its time', () => {
    const cluster = prefers([0, 0, 5])
    cluster.deliver = (message) => message.kind !== 'timeoutNow'
    let frozen = 0
    const steps = 6000
    for (let i = 0; i < steps; i++) {
      cluster.advance(10)
      assert.equal(leads(cluster), 1)
      if (cluster.core(1).isHandingOver()) frozen++
    }
    assert.ok(cluster.replica(1).transfers.length > 3)
    assert.ok(frozen / steps < 0.1, `${((100 * frozen) / steps).toFixed(1)} % of the time`)
    cluster.heal()
    cluster.advance(20_000)
    assert.equal(leads(cluster), 3)
  })

  test('an heir that cannot hold on to leadership does not get it all the time', () => {
    // 3 can be elected, but nobody hears it afterwards.
    const cluster = prefers([0, 0, 5])
    cluster.deliver = (m) =>
      m.from !== 3 || ['vote', 'preVote', 'appendReply', 'heartbeatReply'].includes(m.kind)
    let led = 0
    const steps = 12_000
    for (let i = 0; i < steps; i++) {
      cluster.advance(10)
      const others = [1, 2].some((id) => cluster.core(id).role === 'leader')
      if (others) led++
    }
    assert.ok(led / steps > 0.75, `only ${((100 * led) / steps).toFixed(1)} % of the time`)
  })

  test('those of higher priority are quickest when the socket to the leader closes', () => {
    const cluster = prefers([0, 1, 2, 1], { options: { roundTripMs: 2 } })
    cluster.advance(1000)
    assert.equal(leads(cluster), 3)
    for (const id of [1, 2, 4]) cluster.on(id, (core) => core.forgetLeader(cluster.now))
    cluster.elect(1)
    cluster.crash(1)
    const from = cluster.now
    for (const id of [2, 3, 4]) {
      cluster.core(id).leaderHeardMs = -Infinity
      cluster.on(id, (core) => core.peerDown(1, cluster.now))
    }
    cluster.settle()
    assert.equal(leads(cluster), 3)
    assert.equal(cluster.now, from)
  })

  test('are part of the configuration, and 0 is none', () => {
    const cluster = prefers([0, 7])
    assert.equal(replicaOf(cluster.core(2).configuration, 2)?.priority, 7)
    assert.ok(cluster.change(1, { type: 'setPriority', replicaId: 2, priority: 0 }).accepted)
    cluster.settle()
    assert.equal(replicaOf(cluster.core(2).configuration, 2)?.priority, undefined)
    const refused = cluster.change(1, { type: 'setPriority', replicaId: 2, priority: 1001 })
    assert.equal(refused.accepted ? '' : refused.reason, 'invalidChange')
    const added = cluster.change(1, { type: 'addLearner', nodeId: 'n9', incarnation: 1, priority: -1 })
    assert.equal(added.accepted ? '' : added.reason, 'invalidChange')
    cluster.awaits = true
    const voter = cluster.change(1, {
      type: 'addLearner',
      nodeId: 'n9',
      incarnation: 1,
      priority: 4,
      autoPromote: true,
    })
    assert.ok(voter.accepted)
    cluster.advance(3000)
    assert.equal(leads(cluster), voter.index)
  })
})

suite('a leader that is forgotten', () => {
  test('is not protected any more, until it is heard again', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.isolate(1)
    cluster.on(2, (core) => core.campaign(cluster.now))
    cluster.settle()
    assert.notEqual(cluster.core(2).role, 'leader')
    cluster.on(3, (core) => core.forgetLeader(cluster.now))
    assert.equal(cluster.core(3).leader, 0)
    cluster.on(2, (core) => core.campaign(cluster.now))
    cluster.settle()
    assert.equal(cluster.core(2).role, 'leader')
  })

  test('leads on when it is there after all', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    for (const id of [1, 2, 3]) cluster.on(id, (core) => core.forgetLeader(cluster.now))
    assert.equal(cluster.core(1).role, 'leader')
    const { term } = cluster.core(1)
    cluster.advance(3000)
    assert.equal(cluster.core(1).term, term)
    assert.equal(cluster.core(2).leader, 1)
  })
})

suite('PreVote and CheckQuorum, each on or off on each replica:', () => {
  const combinations = [0, 1, 2, 3].map((bits) => ({
    preVote: (bits & 1) !== 0,
    checkQuorum: (bits & 2) !== 0,
  }))
  for (const [i, a] of combinations.entries()) {
    for (const b of combinations) {
      test(`${JSON.stringify(a)} with ${JSON.stringify(b)}`, () => {
        for (let seed = 1; seed <= 3; seed++) {
          // Two of three, then one of three, run with the first combination.
          const cluster = new Cluster(3, { seed: seed + i, optionsOf: (id) => (id <= seed ? a : b) })
          cluster.advance(2000)
          const first = cluster.leader().replicaId
          cluster.propose(first, 'a')
          cluster.settle()
          // The leader is cut off, comes back with a term of its own or the others', and its successor dies.
          cluster.isolate(first)
          cluster.advance(4000)
          cluster.heal()
          cluster.advance(4000)
          const second = cluster.leader().replicaId
          cluster.propose(second, 'b')
          cluster.settle()
          cluster.crash(second)
          cluster.advance(6000)
          const third = cluster.leader().replicaId
          assert.notEqual(third, second)
          cluster.propose(third, 'c')
          cluster.settle()
          cluster.restart(second)
          cluster.advance(3000)
          const { term } = cluster.leader()
          assert.deepEqual(cluster.applied(second), ['a', 'b', 'c'])
          cluster.advance(3000)
          assert.equal(cluster.leader().term, term, 'nobody disturbs a group that is well')
        }
      })
    }
  }
})
