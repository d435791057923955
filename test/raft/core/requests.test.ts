import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Cluster } from '../support/cluster.ts'

suite('reads', () => {
  test('are served after a round of heartbeats, a turn of them together', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.propose(1, 'a')
    cluster.settle()
    cluster.log = []
    const contexts = [cluster.read(1), cluster.read(1), cluster.read(1)]
    cluster.settle()
    assert.deepEqual(
      cluster.replica(1).reads,
      contexts.map((context) => ({ context, index: cluster.core(1).commitIndex })),
    )
    assert.equal(cluster.sent('heartbeat').length, 2)
  })

  test('are refused by a follower, and when too many wait', () => {
    const cluster = new Cluster(3, { options: { maximumPendingReads: 2 } })
    cluster.elect(1)
    const ask = (id: number): string => {
      const result = cluster.on(id, (core) => core.requestRead(1, cluster.now))
      return result.accepted ? 'accepted' : `${result.reason} ${result.leader}`
    }
    assert.equal(ask(2), 'notLeader 1')
    assert.deepEqual([ask(1), ask(1), ask(1)], ['accepted', 'accepted', 'overloaded 0'])
  })

  test("wait for the first commit of the leader's term", () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.propose(1, 'a')
    cluster.deliver = (message) => message.kind !== 'heartbeat'
    cluster.settle()
    const acknowledged = cluster.core(1).commitIndex
    cluster.crash(1)
    // 2 has the entry and does not know that it is committed.
    assert.ok(cluster.core(2).commitIndex < acknowledged)
    cluster.deliver = (message) => message.kind !== 'append'
    cluster.elect(2)
    cluster.read(2)
    cluster.advance(100)
    assert.deepEqual(cluster.replica(2).reads, [])
    cluster.heal()
    cluster.advance(100)
    assert.equal(cluster.replica(2).reads.length, 1)
    assert.ok((cluster.replica(2).reads[0]?.index ?? 0) >= acknowledged)
  })

  test('of a leader that was replaced without knowing are not served', () => {
    const cluster = new Cluster(3, { options: { checkQuorum: false } })
    cluster.elect(1)
    cluster.isolate(1)
    cluster.elect(2)
    cluster.propose(2, 'a')
    cluster.settle()
    const context = cluster.read(1)
    cluster.advance(500)
    assert.deepEqual(cluster.replica(1).reads, [])
    cluster.heal()
    cluster.advance(500)
    assert.deepEqual(cluster.replica(1).reads, [])
    assert.deepEqual(cluster.replica(1).failedReads, [context])
  })

  test('an answer to an earlier round confirms nothing, and rounds are never used twice', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.advance(100)
    const { term, round } = cluster.core(1)
    cluster.deliver = (message) => message.to !== 1
    cluster.read(1)
    cluster.settle()
    const answer = (id: number): void =>
      cluster.on(1, (core) =>
        core.step({ kind: 'heartbeatReply', from: 2, to: 1, term, round: id, pledgeMs: 0 }, cluster.now),
      )
    answer(round)
    cluster.drain(1)
    assert.deepEqual(cluster.replica(1).reads, [])
    answer(round + 5)
    assert.equal(cluster.core(1).status().dropped.get('unknownRound'), 1)
    answer(round + 1)
    cluster.drain(1)
    assert.equal(cluster.replica(1).reads.length, 1)
    cluster.heal()
    cluster.elect(2)
    cluster.elect(1)
    assert.ok(cluster.core(1).round >= round + 1)
  })

  test('survive the loss of a round: a later one confirms them', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.deliver = (message) => message.kind !== 'heartbeatReply'
    cluster.read(1)
    cluster.settle()
    assert.equal(cluster.replica(1).reads.length, 0)
    cluster.heal()
    cluster.advance(100)
    assert.equal(cluster.replica(1).reads.length, 1)
  })

  test('fail when leadership is lost', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.isolate(1)
    const contexts = [cluster.read(1), cluster.read(1)]
    cluster.advance(1000)
    assert.deepEqual(cluster.replica(1).failedReads, contexts)
  })

  test('that keep coming do not keep a leader without a quorum in office', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.isolate(1)
    for (let i = 0; i < 100 && cluster.core(1).role === 'leader'; i++) {
      cluster.read(1)
      cluster.advance(10)
    }
    assert.equal(cluster.core(1).role === 'leader', false)
    assert.ok(cluster.replica(1).failedReads.length >= 30)
  })

  test('need no message in a group of one', () => {
    const cluster = new Cluster(1)
    cluster.elect(1)
    cluster.read(1)
    cluster.settle()
    assert.equal(cluster.replica(1).reads.length, 1)
    assert.equal(cluster.log.length, 0)
  })

  test("a learner's answer does not confirm", () => {
    const cluster = new Cluster(3, { learners: [3] })
    cluster.elect(1)
    cluster.crash(2)
    cluster.read(1)
    cluster.settle()
    assert.deepEqual(cluster.replica(1).reads, [])
  })
})

suite('handing over', () => {
  test('to a replica that is up to date takes one round trip, in spite of stickiness', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.advance(1000)
    const { term } = cluster.core(1)
    assert.ok(cluster.on(1, (core) => core.transferLeadership(3, cluster.now)).accepted)
    cluster.settle()
    assert.equal(cluster.leader().replicaId, 3)
    assert.equal(cluster.core(3).term, term + 1)
    assert.deepEqual(cluster.replica(1).transfers, ['done'])
  })

  test('to one that lags waits until it has everything', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.replica(3).stalled = true
    cluster.propose(1, 'a')
    cluster.settle()
    cluster.on(1, (core) => core.transferLeadership(3, cluster.now))
    cluster.settle()
    assert.equal(cluster.sent('timeoutNow').length, 0)
    cluster.replica(3).stalled = false
    cluster.settle()
    assert.equal(cluster.leader().replicaId, 3)
    assert.deepEqual(cluster.applied(3), ['a'])
  })

  test('refuses proposals and changes meanwhile, and for no longer than an election timeout', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.crash(3)
    cluster.on(1, (core) => core.transferLeadership(3, cluster.now))
    assert.equal(cluster.core(1).status().transferringTo, 3)
    const propose = (): string => {
      const result = cluster.core(1).propose([{ kind: 1, data: new Uint8Array(1) }], cluster.now)
      return result.accepted ? 'accepted' : result.reason
    }
    const change = cluster.change(1, { type: 'remove', replicaId: 3 })
    assert.equal(change.accepted ? '' : change.reason, 'transferring')
    const other = cluster.on(1, (core) => core.transferLeadership(2, cluster.now))
    assert.equal(other.accepted ? '' : other.reason, 'transferring')
    assert.ok(cluster.on(1, (core) => core.transferLeadership(3, cluster.now)).accepted)
    assert.equal(propose(), 'transferring')
    cluster.advance(300)
    assert.equal(propose(), 'accepted')
    assert.deepEqual(cluster.replica(1).transfers, ['failed'])
    assert.equal(cluster.leader().replicaId, 1)
  })

  test('is refused to a learner, to a stranger and on a follower; to oneself it is done', () => {
    const cluster = new Cluster(3, { learners: [3] })
    cluster.elect(1)
    const transfer = (id: number, to: number): string => {
      const result = cluster.on(id, (core) => core.transferLeadership(to, cluster.now))
      return result.accepted ? 'accepted' : result.reason
    }
    assert.equal(transfer(1, 3), 'unknownReplica')
    assert.equal(transfer(1, 9), 'unknownReplica')
    assert.equal(transfer(2, 1), 'notLeader')
    assert.equal(transfer(1, 1), 'accepted')
    cluster.settle()
    assert.deepEqual(cluster.replica(1).transfers, ['done'])
  })

  test('repeats a lost TimeoutNow', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.deliver = (message) => message.kind !== 'timeoutNow'
    cluster.on(1, (core) => core.transferLeadership(2, cluster.now))
    cluster.settle()
    cluster.heal()
    cluster.advance(100)
    assert.equal(cluster.leader().replicaId, 2)
  })

  test('is obeyed only when the leader asks for it', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    const { term } = cluster.core(1)
    cluster.on(2, (core) => core.step({ kind: 'timeoutNow', from: 3, to: 2, term }, cluster.now))
    assert.equal(cluster.core(2).role, 'follower')
    assert.equal(cluster.core(2).status().dropped.get('handOverByStranger'), 1)
  })

  test('that another replica wins has failed', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.deliver = (message) => message.kind !== 'timeoutNow'
    cluster.on(1, (core) => core.transferLeadership(3, cluster.now))
    cluster.settle()
    cluster.elect(2)
    assert.deepEqual(cluster.replica(1).transfers, ['failed'])
  })
})

suite('what the host sees', () => {
  test('leadership and configuration are reported when they change, once', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    const { core } = cluster.replica(2)
    cluster.on(1, (leader) => leader.transferLeadership(2, cluster.now))
    cluster.drain(1)
    const timeout = cluster.network.find((message) => message.kind === 'timeoutNow')
    assert.ok(timeout !== undefined)
    core.step(timeout, cluster.now)
    assert.deepEqual(core.takeReady()?.leadership, { role: 'candidate', term: 3, leader: 0 })
    assert.equal(core.takeReady(), undefined)
  })

  test('a refusal names the leader, and a leader that none is known', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    assert.deepEqual(cluster.core(3).propose([], 0), { accepted: false, reason: 'notLeader', leader: 1 })
  })

  test('a clone goes its own way, and fingerprints tell the two apart', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    const { core } = cluster.replica(1)
    const copy = core.clone()
    assert.equal(copy.fingerprint(), core.fingerprint())
    copy.propose([{ kind: 1, data: new Uint8Array(3) }], cluster.now)
    assert.notEqual(copy.fingerprint(), core.fingerprint())
    assert.equal(core.lastIndex, copy.lastIndex - 1)
    const before = core.fingerprint()
    while (copy.takeReady() !== undefined) continue
    copy.persisted(copy.log.lastWriteId, cluster.now)
    copy.becomeFollower(9, 2)
    assert.equal(core.fingerprint(), before)
    // Absolute time is not part of it.
    const later = core.clone()
    later.observeTime(cluster.now)
    assert.equal(later.fingerprint(), before)
  })
})
