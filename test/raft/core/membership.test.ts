import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { ReplicaId } from '../../../src/model/ids.ts'
import { electorateOf } from '../../../src/raft/core/electorate.ts'
import type { Configuration, MembershipChange } from '../../../src/raft/core/membership-types.ts'
import { RaftCore } from '../../../src/raft/core/raft.ts'
import { Cluster, type ClusterOptions } from '../support/cluster.ts'
import { PrematureChange } from '../support/mutants.ts'

function votersOf(configuration: Configuration | undefined): readonly ReplicaId[] {
  return configuration === undefined ? [] : electorateOf(configuration).voters
}

function led(size: number, options: ClusterOptions = {}): Cluster {
  const cluster = new Cluster(size, options)
  cluster.awaits = true
  cluster.elect(1)
  return cluster
}

function add(cluster: Cluster, leader: ReplicaId, nodeId: string): ReplicaId {
  const result = cluster.change(leader, { type: 'addLearner', nodeId, incarnation: 7 })
  assert.ok(result.accepted)
  cluster.advance(200)
  assert.deepEqual(result.configuration.changes, [{ type: 'addLearner', replicaId: result.index }])
  return result.index
}

function refusal(cluster: Cluster, id: ReplicaId, change: MembershipChange, generation?: number): string {
  const options = generation === undefined ? {} : { expectedGeneration: generation }
  const result = cluster.change(id, change, options)
  return result.accepted ? 'accepted' : result.reason
}

suite('a member that is added', () => {
  test('has the index of its entry for an id, learns, is promoted and votes', () => {
    const cluster = led(3)
    cluster.propose(1, 'a')
    const id = add(cluster, 1, 'n9')
    assert.deepEqual(cluster.applied(id), ['a'])
    assert.deepEqual(votersOf(cluster.core(1).configuration), [1, 2, 3])
    const result = cluster.change(1, { type: 'promote', replicaId: id })
    assert.ok(result.accepted)
    assert.deepEqual(result.configuration.changes, [{ type: 'promote', replicaId: id }])
    cluster.advance(200)
    assert.deepEqual(votersOf(cluster.core(2).configuration), [1, 2, 3, id])
    assert.equal(cluster.core(id).configuration?.generation, 3)
    cluster.elect(id)
    assert.equal(cluster.core(1).leader, id)
  })

  test('does not count as a learner', () => {
    const cluster = led(2)
    const id = add(cluster, 1, 'n9')
    cluster.crash(2)
    cluster.propose(1, 'a')
    cluster.advance(100)
    assert.deepEqual(cluster.applied(id), [])
    assert.equal(cluster.core(1).progress.get(id)?.matchIndex, cluster.core(1).lastIndex)
    assert.ok(cluster.core(1).commitIndex < cluster.core(1).lastIndex)
  })

  test('answers for a vote although it has not heard of its promotion', () => {
    const cluster = led(3)
    const id = add(cluster, 1, 'n9')
    cluster.deliver = (message) => message.to !== id
    assert.ok(cluster.change(1, { type: 'promote', replicaId: id }).accepted)
    cluster.settle()
    // Two of four are left besides the learner that was promoted: its vote is needed.
    cluster.crash(1)
    cluster.crash(3)
    cluster.heal()
    cluster.core(2).leaderHeardMs = -Infinity
    cluster.advance(3000)
    assert.notEqual(cluster.core(2).role, 'leader')
    cluster.restart(3)
    cluster.advance(3000)
    assert.ok([2, 3].includes(cluster.leader().replicaId))
    assert.deepEqual(votersOf(cluster.core(id).configuration), [1, 2, 3, id])
  })

  test('is promoted only when it has caught up and answers', () => {
    const cluster = led(3, { options: { caughtUpEntries: 2 } })
    const id = add(cluster, 1, 'n9')
    cluster.crash(id)
    cluster.propose(1, 'a', 'b', 'c', 'd')
    cluster.advance(400)
    assert.equal(refusal(cluster, 1, { type: 'promote', replicaId: id }), 'notCaughtUp')
    cluster.restart(id)
    cluster.advance(200)
    assert.equal(cluster.core(1).status().progress.get(id)?.caughtUp, true)
    assert.equal(refusal(cluster, 1, { type: 'promote', replicaId: id }), 'accepted')
  })
})

suite('a change', () => {
  test('is refused for good reasons, by name', () => {
    const cluster = led(3, { learners: [3] })
    assert.equal(refusal(cluster, 2, { type: 'remove', replicaId: 3 }), 'notLeader')
    assert.equal(refusal(cluster, 1, { type: 'remove', replicaId: 9 }), 'unknownReplica')
    assert.equal(refusal(cluster, 1, { type: 'promote', replicaId: 2 }), 'unknownReplica')
    assert.equal(refusal(cluster, 1, { type: 'addLearner', nodeId: 'n2', incarnation: 5 }), 'duplicateNode')
    assert.equal(refusal(cluster, 1, { type: 'promote', replicaId: 3 }, 2), 'staleGeneration')
    assert.equal(refusal(cluster, 1, { type: 'remove', replicaId: 2 }, 1), 'accepted')
    cluster.settle()
    assert.equal(refusal(cluster, 1, { type: 'remove', replicaId: 3 }, 1), 'staleGeneration')
    assert.equal(refusal(cluster, 1, { type: 'remove', replicaId: 1 }, 2), 'lastVoter')
  })

  test('waits for the one before, which takes effect when it is appended', () => {
    const cluster = led(3)
    cluster.isolate(1)
    const first = cluster.change(1, { type: 'remove', replicaId: 3 }, { expectedGeneration: 1 })
    assert.ok(first.accepted)
    assert.deepEqual(votersOf(cluster.core(1).configuration), [1, 2])
    // The generation is compared with the latest appended one, and tells more than that a change is under way.
    assert.equal(refusal(cluster, 1, { type: 'remove', replicaId: 2 }, 1), 'staleGeneration')
    assert.equal(refusal(cluster, 1, { type: 'remove', replicaId: 2 }, 2), 'changeInProgress')
    cluster.heal()
    cluster.advance(100)
    assert.equal(refusal(cluster, 1, { type: 'remove', replicaId: 2 }, 2), 'accepted')
  })

  for (const Core of [RaftCore, PrematureChange]) {
    test(`waits for the first commit of the leader's term (Ongaro 2015): ${Core.name}`, () => {
      const cluster = new Cluster(5, { learners: [5], options: { preVote: false }, Core })
      cluster.elect(1)
      // 1 promotes 5, and only 1 and 5 know.
      cluster.partition([1, 5])
      assert.equal(refusal(cluster, 1, { type: 'promote', replicaId: 5 }), 'accepted')
      cluster.settle()
      cluster.crash(1)
      // 2 is elected by 3 and 4, and removes 1 at once.
      cluster.deliver = (m) => m.kind !== 'append' && m.to !== 5 && m.from !== 5
      cluster.elect(2)
      const removal: MembershipChange = { type: 'remove', replicaId: 1 }
      if (Core === RaftCore) {
        assert.equal(refusal(cluster, 2, removal), 'notReady')
        cluster.heal()
        cluster.advance(100)
        assert.equal(refusal(cluster, 2, removal), 'accepted')
        return
      }
      assert.equal(refusal(cluster, 2, removal), 'accepted')
      cluster.partition([2, 3])
      cluster.advance(100)
      assert.deepEqual(votersOf(cluster.core(2).configurationState().committed), [2, 3, 4])
      // Under the five voters of its own configuration, 1 needs none of the two that have committed without it.
      cluster.restart(1)
      cluster.partition([1, 4, 5])
      cluster.core(4).leaderHeardMs = -Infinity
      cluster.core(4).leader = 0
      assert.throws(() => {
        for (let i = 0; i < 5; i++) {
          cluster.on(1, (core) => core.campaign(cluster.now))
          cluster.settle()
        }
      }, /leader completeness/)
    })
  }

  test('rolls back when its entry is cut off', () => {
    const cluster = led(3)
    cluster.isolate(1)
    assert.ok(cluster.change(1, { type: 'addLearner', nodeId: 'n9', incarnation: 7 }).accepted)
    cluster.settle()
    assert.equal(cluster.core(1).configuration?.generation, 2)
    cluster.deliver = (message) => message.from !== 1 && message.to !== 1
    cluster.elect(2)
    cluster.propose(2, 'a')
    cluster.settle()
    cluster.heal()
    cluster.advance(1000)
    assert.equal(cluster.core(1).configuration?.generation, 1)
    assert.deepEqual(cluster.applied(1), ['a'])
    // The index that would have been the learner's id belongs to something else now; nothing was minted.
    assert.equal(cluster.core(1).configuration?.replicas.length, 3)
  })

  test('to fewer voters commits what the smaller majority has already', () => {
    const cluster = led(4)
    cluster.crash(3)
    cluster.crash(4)
    cluster.propose(1, 'a')
    cluster.settle()
    const before = cluster.core(1).commitIndex
    assert.ok(before < cluster.core(1).lastIndex)
    assert.equal(refusal(cluster, 1, { type: 'remove', replicaId: 4 }), 'accepted')
    cluster.settle()
    assert.deepEqual(cluster.applied(1), ['a'])
    assert.equal(cluster.core(1).commitIndex, cluster.core(1).lastIndex)
  })

  test('bumps the generation by one each time, and overlaps with the one before', () => {
    const cluster = led(3)
    const a = add(cluster, 1, 'n7')
    const changes: MembershipChange[] = [
      { type: 'promote', replicaId: a },
      { type: 'remove', replicaId: 2 },
      { type: 'addLearner', nodeId: 'n2', incarnation: 8 },
      { type: 'remove', replicaId: 3 },
    ]
    for (const change of changes) {
      assert.equal(refusal(cluster, 1, change), 'accepted')
      cluster.advance(300)
    }
    const state = cluster.core(a).configurationState()
    assert.equal(state.latest?.generation, 6)
    assert.deepEqual(state.committed, state.latest)
    // The node that came back has another id than before.
    assert.ok(state.latest?.replicas.every((replica) => replica.nodeId !== 'n2' || replica.replicaId > a))
  })
})

suite('a member that is removed', () => {
  test('as leader: leads until that is committed, steps down, and another takes over at once', () => {
    const cluster = led(3)
    assert.ok(cluster.change(1, { type: 'remove', replicaId: 1 }).accepted)
    assert.equal(cluster.core(1).role, 'leader')
    cluster.settle()
    assert.equal(cluster.core(1).role, 'follower')
    assert.notEqual(cluster.leader().replicaId, 1)
    cluster.log = []
    cluster.advance(5000)
    assert.equal(cluster.log.filter((message) => message.from === 1).length, 0)
    cluster.propose(cluster.leader().replicaId, 'a')
    cluster.settle()
    assert.deepEqual(cluster.applied(2), ['a'])
    assert.deepEqual(cluster.applied(3), ['a'])
  })

  test('as leader of two: does not count itself, and may campaign until it is committed', () => {
    const cluster = led(2)
    cluster.isolate(1)
    assert.ok(cluster.change(1, { type: 'remove', replicaId: 1 }).accepted)
    cluster.settle()
    assert.ok(cluster.core(1).commitIndex < cluster.core(1).lastIndex)
    cluster.crash(1)
    cluster.restart(1)
    cluster.heal()
    // Only 1 has the longer log: it must lead once more for the removal to be committed.
    cluster.advance(5000)
    assert.equal(cluster.leader().replicaId, 2)
    assert.deepEqual(votersOf(cluster.core(2).configuration), [2])
    cluster.propose(2, 'a')
    cluster.settle()
    assert.deepEqual(cluster.applied(2), ['a'])
  })

  test('disturbs nobody, and learns of its removal', () => {
    for (const preVote of [true, false]) {
      const cluster = led(3, { options: { preVote } })
      assert.ok(cluster.change(1, { type: 'remove', replicaId: 3 }).accepted)
      cluster.settle()
      const { term } = cluster.core(1)
      assert.equal(cluster.core(3).configuration?.generation, 1)
      cluster.advance(5000)
      assert.equal(cluster.leader().replicaId, 1)
      assert.equal(cluster.core(1).term, term)
      assert.equal(cluster.replica(3).removed, true)
    }
  })

  test('is not told so before that is committed, nor is a replica that is merely unknown', () => {
    const cluster = led(3)
    cluster.deliver = () => false
    assert.ok(cluster.change(1, { type: 'remove', replicaId: 3 }).accepted)
    cluster.settle()
    assert.equal(cluster.core(1).isRemoved(3), false)
    assert.equal(cluster.core(1).isRemoved(99), false)
    cluster.heal()
    cluster.advance(100)
    assert.equal(cluster.core(1).isRemoved(3), true)
    assert.equal(cluster.core(1).isRemoved(2), false)
  })

  test('as learner: is simply gone', () => {
    const cluster = led(3, { learners: [3] })
    assert.ok(cluster.change(1, { type: 'remove', replicaId: 3 }).accepted)
    cluster.log = []
    cluster.advance(1000)
    assert.equal(cluster.sent('heartbeat', 3).length, 0)
    assert.equal(cluster.core(1).progress.has(3), false)
  })
})

suite('a wiped disk', () => {
  test('comes back as a new member, and under its old id it is quarantined', () => {
    const cluster = led(3)
    cluster.propose(1, 'a')
    cluster.settle()
    cluster.crash(3)
    // Hosts tell incarnations apart; if one failed to, the core would notice what it has forgotten.
    cluster.judged = false
    cluster.startEmpty(3)
    cluster.advance(60)
    assert.equal(cluster.core(3).quarantined, true)
    cluster.judged = true
    cluster.crash(3)
    assert.equal(refusal(cluster, 1, { type: 'addLearner', nodeId: 'n3', incarnation: 99 }), 'duplicateNode')
    assert.equal(refusal(cluster, 1, { type: 'remove', replicaId: 3 }), 'accepted')
    cluster.settle()
    const id = add(cluster, 1, 'n3')
    assert.notEqual(id, 3)
    assert.equal(refusal(cluster, 1, { type: 'promote', replicaId: id }), 'accepted')
    cluster.advance(200)
    cluster.crash(2)
    cluster.propose(1, 'b')
    cluster.settle()
    assert.deepEqual(cluster.applied(id), ['a', 'b'])
  })
})

suite('a candidate', () => {
  test('campaigns under its latest appended configuration', () => {
    const cluster = led(3)
    const id = add(cluster, 1, 'n9')
    cluster.deliver = (message) => [1, 2].includes(message.from) && [1, 2].includes(message.to)
    assert.ok(cluster.change(1, { type: 'promote', replicaId: id }).accepted)
    cluster.settle()
    // 2 has appended the four voters, of which two are no majority.
    cluster.crash(3)
    cluster.core(2).leaderHeardMs = -Infinity
    cluster.core(1).becomeFollower(cluster.core(1).term, 0)
    cluster.on(2, (core) => core.campaign(cluster.now))
    cluster.settle()
    assert.equal(cluster.core(2).role, 'preCandidate')
    cluster.heal()
    cluster.core(id).leaderHeardMs = -Infinity
    cluster.on(2, (core) => core.campaign(cluster.now))
    cluster.settle()
    assert.equal(cluster.core(2).role, 'leader')
  })
})
