import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { ReplicaId } from '../../../src/model/ids.ts'
import type {
  Configuration,
  MembershipChange,
  MembershipOptions,
} from '../../../src/raft/core/membership-types.ts'
import type { ChangeAccepted } from '../../../src/raft/core/types.ts'
import { Cluster, type ClusterOptions } from '../support/cluster.ts'

const onDemand: MembershipOptions = { autoLeave: false }

function led(size: number, options: ClusterOptions = {}): Cluster {
  const cluster = new Cluster(size, options)
  cluster.awaits = true
  cluster.elect(1)
  return cluster
}

function remove(...replicaIds: ReplicaId[]): MembershipChange[] {
  return replicaIds.map((replicaId) => ({ type: 'remove', replicaId }))
}

function promote(...replicaIds: ReplicaId[]): MembershipChange[] {
  return replicaIds.map((replicaId) => ({ type: 'promote', replicaId }))
}

function add(...nodeIds: string[]): MembershipChange[] {
  return nodeIds.map((nodeId) => ({ type: 'addLearner', nodeId, incarnation: 7 }))
}

function change(
  cluster: Cluster,
  id: ReplicaId,
  changes: readonly MembershipChange[],
  options: MembershipOptions = {},
): ChangeAccepted {
  const answer = cluster.change(id, changes, options)
  assert.ok(answer.accepted, answer.accepted ? '' : answer.reason)
  return answer
}

function refusal(cluster: Cluster, id: ReplicaId, ...changes: MembershipChange[]): string {
  const answer = cluster.change(id, changes)
  return answer.accepted ? 'accepted' : answer.reason
}

/** `1 2+ 3- 4~ 5?`: voters of both halves, incoming, outgoing, demoting, learners. */
function members(configuration: Configuration | undefined): string {
  const marks = { voter: '', incoming: '+', outgoing: '-', demoting: '~', learner: '?' }
  return (configuration?.replicas ?? []).map(({ replicaId, role }) => `${replicaId}${marks[role]}`).join(' ')
}

const latest = (cluster: Cluster, id: ReplicaId): string => members(cluster.core(id).configuration)

suite('a joint configuration', () => {
  test('swaps two voters in one step, and is left by itself', () => {
    const cluster = led(4, { learners: [4] })
    const answer = change(cluster, 1, [...promote(4), ...remove(3)])
    assert.equal(members(answer.configuration), '1 2 3- 4+')
    assert.deepEqual(answer.configuration.joint, { autoLeave: true })
    assert.deepEqual(answer.configuration.changes, [
      { type: 'promote', replicaId: 4 },
      { type: 'remove', replicaId: 3 },
    ])
    cluster.advance(100)
    for (const id of [1, 2, 4]) assert.equal(latest(cluster, id), '1 2 4')
    const { configuration } = cluster.core(1)
    assert.equal(configuration?.generation, 3)
    assert.deepEqual(configuration?.changes, [{ type: 'leaveJoint', replicaId: 0 }])
    assert.equal(cluster.core(1).configurationState().committed, configuration)
    assert.equal(cluster.core(1).progress.has(3), false)
  })

  test('replaces all voters at once, and the one that led hands over', () => {
    const cluster = led(6, { learners: [4, 5, 6] })
    cluster.propose(1, 'a')
    change(cluster, 1, [...promote(4, 5, 6), ...remove(1, 2, 3)])
    assert.equal(latest(cluster, 1), '1- 2- 3- 4+ 5+ 6+')
    cluster.advance(1000)
    const leader = cluster.leader()
    assert.ok(leader.replicaId > 3)
    assert.equal(latest(cluster, leader.replicaId), '4 5 6')
    cluster.propose(leader.replicaId, 'b')
    cluster.advance(100)
    for (const id of [4, 5, 6]) assert.deepEqual(cluster.applied(id), ['a', 'b'])
    assert.equal(cluster.core(1).role, 'follower')
  })

  test('takes the only voter out for another one', () => {
    const cluster = led(2, { learners: [2] })
    change(cluster, 1, [...promote(2), ...remove(1)])
    cluster.advance(1000)
    assert.equal(cluster.leader().replicaId, 2)
    assert.equal(latest(cluster, 2), '2')
  })

  for (const autoLeave of [true, false]) {
    test(`adds two voters at once, and is left ${autoLeave ? 'by itself' : 'explicitly'}`, () => {
      const cluster = led(3)
      const { index } = change(cluster, 1, add('n7', 'n8'))
      cluster.advance(200)
      const answer = change(cluster, 1, promote(index, index + 1), { autoLeave })
      assert.equal(members(answer.configuration), `1 2 3 ${index}+ ${index + 1}+`)
      cluster.advance(2000)
      if (!autoLeave) {
        for (const id of [1, index]) assert.equal(latest(cluster, id), `1 2 3 ${index}+ ${index + 1}+`)
        change(cluster, 1, [{ type: 'leaveJoint' }])
        cluster.advance(200)
      }
      for (const id of [1, 2, 3, index, index + 1]) {
        assert.equal(latest(cluster, id), `1 2 3 ${index} ${index + 1}`)
      }
      for (const id of [2, 3]) cluster.crash(id)
      cluster.propose(1, 'a')
      cluster.advance(200)
      assert.deepEqual(cluster.applied(index + 1), ['a'])
    })
  }

  test('is not needed for one voter, nor for learners', () => {
    const cluster = led(5, { learners: [4, 5] })
    const answer = change(cluster, 1, [...remove(4, 5), ...add('n8', 'n9')])
    assert.equal(members(answer.configuration), `1 2 3 ${answer.index}? ${answer.index + 1}?`)
    assert.equal(answer.configuration.joint, undefined)
    cluster.advance(100)
    const one = change(cluster, 1, [...remove(answer.index), ...promote(answer.index + 1)])
    assert.equal(members(one.configuration), `1 2 3 ${answer.index + 1}`)
    assert.equal(one.configuration.joint, undefined)
  })

  test('stays until it is left on demand', () => {
    const cluster = led(3)
    assert.equal(refusal(cluster, 1, { type: 'leaveJoint' }), 'notJoint')
    const answer = change(cluster, 1, [{ type: 'demote', replicaId: 3 }], onDemand)
    assert.equal(members(answer.configuration), '1 2 3~')
    assert.equal(refusal(cluster, 1, { type: 'leaveJoint' }), 'changeInProgress')
    cluster.advance(5000)
    assert.equal(latest(cluster, 1), '1 2 3~')
    assert.equal(refusal(cluster, 1, ...add('n9')), 'joint')
    assert.equal(refusal(cluster, 1, { type: 'leaveJoint' }, ...remove(2)), 'joint')
    change(cluster, 1, [{ type: 'leaveJoint' }], { expectedGeneration: 2 })
    cluster.advance(100)
    for (const id of [1, 2, 3]) assert.equal(latest(cluster, id), '1 2 3?')
  })

  test('refuses lists that make no sense', () => {
    const cluster = led(4, { learners: [4] })
    const many = Array.from({ length: 65 }, (_, i) => `m${i}`)
    assert.equal(refusal(cluster, 1), 'invalidChange')
    assert.equal(refusal(cluster, 1, ...add(...many)), 'invalidChange')
    assert.equal(refusal(cluster, 1, ...remove(2, 2)), 'invalidChange')
    assert.equal(refusal(cluster, 1, ...promote(4), ...remove(4)), 'invalidChange')
    assert.equal(refusal(cluster, 1, { type: 'leaveJoint' }, ...remove(2)), 'invalidChange')
    assert.equal(refusal(cluster, 1, ...remove(1, 2, 3)), 'lastVoter')
    const lifeless = { type: 'addLearner', nodeId: 'n9', incarnation: 0 } as const
    assert.equal(refusal(cluster, 1, lifeless), 'invalidChange')
    assert.equal(refusal(cluster, 1, { type: 'demote', replicaId: 4 }), 'unknownReplica')
    assert.equal(refusal(cluster, 1, { type: 'promote', replicaId: 2 }), 'unknownReplica')
    assert.equal(refusal(cluster, 1, ...add('n2')), 'duplicateNode')
    assert.equal(refusal(cluster, 1, ...add('n8', 'n8')), 'duplicateNode')
    // An outgoing voter keeps its node until the joint configuration is left; a single voter goes at once.
    assert.equal(refusal(cluster, 1, ...promote(4), ...remove(2), ...add('n2')), 'duplicateNode')
    assert.equal(refusal(cluster, 1, ...remove(2), ...add('n2')), 'accepted')
  })

  test('refuses a swap with a learner that is behind', () => {
    const cluster = led(4, { learners: [4], options: { caughtUpEntries: 1 } })
    cluster.deliver = (m) => m.kind !== 'append' || m.to !== 4
    cluster.propose(1, 'a', 'b', 'c')
    cluster.advance(400)
    assert.equal(refusal(cluster, 1, ...promote(4), ...remove(3)), 'notCaughtUp')
  })
})

suite('a joint configuration decides by both halves:', () => {
  /** Outgoing 1 2 3, incoming 1 4 5. */
  function joint(options: ClusterOptions = {}): Cluster {
    const cluster = led(5, { learners: [4, 5], ...options })
    change(cluster, 1, [...promote(4, 5), ...remove(2, 3)], onDemand)
    cluster.advance(100)
    assert.equal(latest(cluster, 5), '1 2- 3- 4+ 5+')
    assert.equal(cluster.core(1).isChangePending(), false)
    return cluster
  }

  for (const [half, cut] of [
    ['incoming', [4, 5]],
    ['outgoing', [2, 3]],
  ] as const) {
    test(`commits without a majority of the ${half} voters are none`, () => {
      const cluster = joint({ options: { checkQuorum: false } })
      for (const id of cut) cluster.crash(id)
      cluster.propose(1, 'a')
      const read = cluster.read(1)
      cluster.advance(500)
      assert.deepEqual(cluster.applied(1), [])
      assert.ok(!cluster.replica(1).reads.some(({ context }) => context === read))
      cluster.restart(cut[0])
      cluster.advance(500)
      assert.deepEqual(cluster.applied(1), ['a'])
      assert.ok(cluster.replica(1).reads.some(({ context }) => context === read))
    })

    test(`a leader that hears of too few ${half} voters steps down`, () => {
      const cluster = joint()
      for (const id of cut) cluster.crash(id)
      cluster.advance(700)
      assert.notEqual(cluster.core(1).role, 'leader')
    })

    for (const preVote of [true, false]) {
      test(`nobody is elected without the ${half} voters, pre-vote ${preVote}`, () => {
        const cluster = joint({ options: { preVote } })
        cluster.crash(1)
        for (const id of cut) cluster.crash(id)
        cluster.advance(5000)
        assert.ok([...cluster.replicas.values()].every(({ up, core }) => !up || core.role !== 'leader'))
        cluster.restart(1)
        cluster.restart(cut[1])
        cluster.advance(5000)
        assert.equal(cluster.leader().configuration?.joint?.autoLeave, false)
      })
    }
  }

  test('a candidate counts its own vote in both of them', () => {
    const cluster = joint()
    // One more of each half makes two of three, with 1 itself.
    cluster.crash(3)
    cluster.crash(5)
    cluster.core(1).becomeFollower(cluster.core(1).term, 0)
    cluster.elect(1)
    cluster.propose(1, 'a')
    cluster.settle()
    assert.deepEqual(cluster.applied(1), ['a'])
  })

  test('an outgoing voter may lead, and counts itself in its half alone', () => {
    const cluster = joint()
    cluster.core(1).becomeFollower(cluster.core(1).term, 0)
    cluster.elect(2)
    assert.equal(refusal(cluster, 2, { type: 'leaveJoint' }), 'accepted')
    cluster.advance(1000)
    assert.ok([1, 4, 5].includes(cluster.leader().replicaId))
    assert.equal(cluster.core(2).role, 'follower')
    assert.ok(cluster.core(4).isRemoved(2))
  })
})

suite('a joint configuration that is left by itself', () => {
  /** 1 has committed the joint configuration and crashes before anybody has the entry that leaves it. */
  function orphaned(): Cluster {
    const cluster = led(4, { learners: [4] })
    const { index } = change(cluster, 1, [...promote(4), ...remove(3)])
    cluster.deliver = (m) => m.kind !== 'append' || m.entries.every((entry) => entry.index <= index)
    cluster.settle()
    assert.equal(cluster.core(1).commitIndex, index)
    assert.equal(latest(cluster, 1), '1 2 4')
    assert.equal(latest(cluster, 2), '1 2 3- 4+')
    cluster.crash(1)
    cluster.heal()
    return cluster
  }

  test('is left by the next leader (mistake 22)', () => {
    const cluster = orphaned()
    cluster.elect(2)
    cluster.advance(1000)
    assert.equal(latest(cluster, cluster.leader().replicaId), '1 2 4')
    assert.equal(cluster.leader().configuration?.generation, 3)
    cluster.restart(1)
    cluster.advance(1000)
    assert.equal(latest(cluster, 1), '1 2 4')
  })

  test('is left by a leader that finds it in its log after a restart, once it is committed (mistake 23)', () => {
    const cluster = led(4, { learners: [4] })
    const { index } = change(cluster, 1, [...promote(4), ...remove(3)])
    // Only 2 has it besides: no majority of the incoming voters 1, 2 and 4 is asked for more than what 1 and 2 have.
    cluster.partition([1, 2])
    cluster.deliver = (m) => m.kind === 'append' && m.to === 2
    cluster.settle()
    cluster.crash(1)
    cluster.crash(2)
    cluster.restart(2)
    assert.equal(latest(cluster, 2), '1 2 3- 4+')
    assert.ok(cluster.core(2).commitIndex < index)
    cluster.heal()
    cluster.deliver = (m) => m.kind !== 'appendReply'
    cluster.elect(2)
    cluster.advance(200)
    // It leads, and its acknowledgements are lost: nothing is committed, so nothing is left.
    assert.equal(latest(cluster, 2), '1 2 3- 4+')
    assert.ok(cluster.core(2).commitIndex < index)
    cluster.heal()
    cluster.advance(1000)
    assert.equal(latest(cluster, cluster.leader().replicaId), '1 2 4')
  })

  test('rolls back with its entry', () => {
    const cluster = led(4, { learners: [4] })
    cluster.isolate(1)
    change(cluster, 1, [...promote(4), ...remove(3)])
    cluster.settle()
    cluster.deliver = (m) => m.from !== 1 && m.to !== 1
    cluster.elect(2)
    cluster.propose(2, 'a')
    cluster.settle()
    cluster.heal()
    cluster.advance(1000)
    assert.equal(latest(cluster, 1), '1 2 3 4?')
    assert.equal(cluster.core(1).configuration?.generation, 1)
  })

  test('rolls back to the joint one when only the entry that left it is cut off', () => {
    const cluster = orphaned()
    assert.equal(latest(cluster, 1), '1 2 4')
    // 4 and 3 elect 2; what 1 appended last is nobody else's.
    cluster.deliver = (m) => m.kind !== 'append'
    cluster.elect(2)
    cluster.restart(1)
    assert.equal(latest(cluster, 1), '1 2 4')
    cluster.deliver = (m) => m.kind !== 'appendReply' && (m.kind !== 'append' || m.to === 1)
    cluster.advance(60)
    assert.equal(latest(cluster, 1), '1 2 3- 4+')
    cluster.heal()
    cluster.advance(1000)
    assert.equal(latest(cluster, 1), '1 2 4')
  })

  test('waits for a hand-over that is under way', () => {
    const cluster = led(5, { learners: [4] })
    cluster.crash(5)
    change(cluster, 1, [...promote(4), ...remove(3)])
    // 5 is not there: leadership is not handed over in time.
    assert.ok(cluster.on(1, (core) => core.transferLeadership(5, cluster.now)).accepted)
    cluster.settle()
    assert.equal(latest(cluster, 1), '1 2 3- 4+ 5')
    cluster.advance(700)
    assert.deepEqual(cluster.replica(1).transfers, ['failed'])
    assert.equal(latest(cluster, cluster.leader().replicaId), '1 2 4 5')
  })
})

suite('leaders and joint configurations', () => {
  test('a leader that is demoted goes on as a learner', () => {
    const cluster = led(4, { learners: [4] })
    change(cluster, 1, [{ type: 'demote', replicaId: 1 }, ...promote(4)])
    assert.equal(latest(cluster, 1), '1~ 2 3 4+')
    cluster.advance(1000)
    const leader = cluster.leader().replicaId
    assert.notEqual(leader, 1)
    cluster.propose(leader, 'a')
    cluster.advance(100)
    assert.equal(latest(cluster, 1), '1? 2 3 4')
    assert.deepEqual(cluster.applied(1), ['a'])
    assert.equal(cluster.core(1).isRemoved(1), false)
  })

  test('leadership is handed to an incoming voter, not to one that goes', () => {
    const cluster = led(5, { learners: [4, 5] })
    change(cluster, 1, [...promote(4), ...remove(1)], onDemand)
    cluster.settle()
    const to = (id: ReplicaId): string => {
      const answer = cluster.on(1, (core) => core.transferLeadership(id, cluster.now))
      return answer.accepted ? 'accepted' : answer.reason
    }
    assert.equal(to(9), 'unknownReplica')
    assert.equal(to(4), 'accepted')
    cluster.settle()
    assert.equal(cluster.leader().replicaId, 4)
    assert.equal(refusal(cluster, 4, { type: 'leaveJoint' }), 'accepted')
    cluster.settle()
    assert.equal(latest(cluster, 4), '2 3 4 5?')
    cluster.elect(2)
    change(cluster, 2, [...remove(3), ...promote(5)], onDemand)
    cluster.settle()
    const outgoing = cluster.on(2, (core) => core.transferLeadership(3, cluster.now))
    assert.deepEqual(outgoing, { accepted: false, reason: 'unknownReplica', leader: 0 })
  })

  test('an outgoing voter is not told that it is removed before the joint configuration is left', () => {
    const cluster = led(4, { learners: [4] })
    change(cluster, 1, [...promote(4), ...remove(3)], onDemand)
    cluster.advance(200)
    assert.equal(cluster.core(1).isRemoved(3), false)
    change(cluster, 1, [{ type: 'leaveJoint' }])
    cluster.advance(200)
    assert.equal(cluster.core(1).isRemoved(3), true)
    cluster.advance(5000)
    assert.equal(cluster.replica(3).removed, true)
    assert.equal(cluster.leader().replicaId, 1)
  })

  test('a follower that gets the joint configuration by a snapshot decides by both halves', () => {
    const cluster = led(5, { learners: [4, 5] })
    cluster.crash(2)
    change(cluster, 1, [...promote(4, 5), ...remove(2, 3)], onDemand)
    cluster.propose(1, 'a')
    cluster.advance(100)
    const position = cluster.on(1, (core) => core.compact(core.appliedIndex))
    const { disk } = cluster.replica(1)
    disk.compacted = position
    disk.entries = disk.entries.filter((entry) => entry.index > position.index)
    cluster.restart(2)
    cluster.advance(1000)
    assert.equal(latest(cluster, 2), '1 2- 3- 4+ 5+')
    assert.deepEqual(cluster.core(2).electorate().halves, [
      [1, 4, 5],
      [1, 2, 3],
    ])
  })
})

suite('several replicas that are added at once', () => {
  test('have the ids from the index of their entry on, which nothing else gets', () => {
    const cluster = led(3)
    const { index } = change(cluster, 1, add('n7', 'n8', 'n9'))
    assert.equal(latest(cluster, 1), `1 2 3 ${index}? ${index + 1}? ${index + 2}?`)
    assert.equal(cluster.core(1).lastIndex, index + 2)
    cluster.advance(200)
    const next = change(cluster, 1, add('n6'))
    assert.ok(next.index > index + 2)
    cluster.advance(300)
    change(cluster, 1, [...promote(index, index + 1), ...remove(1, 2)])
    cluster.advance(1000)
    assert.equal(
      latest(cluster, cluster.leader().replicaId),
      `3 ${index} ${index + 1} ${index + 2}? ${next.index}?`,
    )
  })

  test('keep their ids to themselves when the leader is lost before they are used up', () => {
    const cluster = led(3, { options: { maximumAppendEntries: 1 } })
    cluster.propose(1, 'a')
    cluster.settle()
    const { index } = change(cluster, 1, add('n7', 'n8', 'n9'))
    // Of the four entries only the configuration arrives.
    cluster.deliver = (m) => m.kind !== 'append' || (m.to === 2 && m.entries.every((e) => e.index <= index))
    cluster.settle()
    cluster.crash(1)
    cluster.heal()
    assert.equal(cluster.core(2).lastIndex, index)
    cluster.elect(2)
    assert.ok(cluster.core(2).lastIndex >= index + 2)
    change(cluster, 2, remove(index + 2))
    cluster.settle()
    const again = change(cluster, 2, add('n9'))
    assert.ok(again.index > index + 2)
    assert.equal(again.configuration.replicas.at(-1)?.replicaId, again.index)
  })
})
