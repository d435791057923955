import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { ReplicaId } from '../../../src/model/ids.ts'
import { longestPledgeMs } from '../../../src/raft/core/options.ts'
import type { RaftOptions } from '../../../src/raft/core/types.ts'
import { Cluster } from '../support/cluster.ts'

const options: Partial<RaftOptions> = { leaseMs: 100, clockDriftBound: 0.1 }
const wallAtZero = 1_000_000

/** Three replicas with leases, of which 1 leads and has committed something. */
function led(size = 3, more: Partial<RaftOptions> = {}): Cluster {
  const cluster = new Cluster(size, { options: { ...options, ...more } })
  cluster.wallOffsetMs = wallAtZero
  cluster.advance(110)
  cluster.elect(1)
  cluster.propose(1, 'a')
  cluster.settle()
  return cluster
}

/** What a read by lease gives at once. */
function leaseIndex(cluster: Cluster, id: ReplicaId): number | undefined {
  return cluster.on(id, (core) => core.leaseReadIndex(cluster.now, cluster.now + cluster.wallOffsetMs))
}

suite('a leader reads by its lease', () => {
  test('without a message, once a round was answered', () => {
    const cluster = led()
    assert.equal(leaseIndex(cluster, 1), undefined)
    cluster.advance(50)
    assert.equal(leaseIndex(cluster, 1), cluster.core(1).commitIndex)
    cluster.log = []
    const context = cluster.read(1, { mode: 'lease' })
    cluster.drain(1)
    assert.deepEqual(cluster.replica(1).reads, [{ context, index: cluster.core(1).commitIndex }])
    assert.deepEqual(cluster.log, [])
  })

  test('for leaseMs less the drift bound, from when the round was sent', () => {
    const cluster = led(3, { heartbeatIntervalMs: 50 })
    cluster.advance(50)
    const sentMs = cluster.now
    cluster.now += 20
    cluster.deliver = (message) => message.kind !== 'heartbeatReply'
    assert.notEqual(leaseIndex(cluster, 1), undefined)
    cluster.now = sentMs + 89
    assert.notEqual(leaseIndex(cluster, 1), undefined)
    cluster.now = sentMs + 90
    assert.equal(leaseIndex(cluster, 1), undefined)
  })

  test('not by an answer to a round that is older than the lease', () => {
    const cluster = led()
    cluster.isolate(2)
    cluster.advance(10)
    const held: { round: number; term: number }[] = []
    cluster.deliver = (message) => {
      if (message.kind === 'heartbeatReply') held.push(message)
      return message.kind !== 'heartbeatReply'
    }
    cluster.advance(200)
    const { round, term } = held[0] as { round: number; term: number }
    cluster.on(1, (core) =>
      core.step({ kind: 'heartbeatReply', from: 2, to: 1, term, round, pledgeMs: 100 }, cluster.now),
    )
    assert.equal(leaseIndex(cluster, 1), undefined)
  })

  test('not before the first commit of its term', () => {
    const cluster = led()
    cluster.deliver = (message) => message.kind !== 'appendReply'
    cluster.advance(110)
    cluster.crash(1)
    cluster.advance(250)
    cluster.elect(2)
    cluster.advance(60)
    assert.ok(cluster.core(2).holdsLease())
    assert.equal(leaseIndex(cluster, 2), undefined)
    const context = cluster.read(2, { mode: 'lease' })
    cluster.drain(2)
    assert.deepEqual(cluster.replica(2).reads, [])
    cluster.heal()
    cluster.advance(100)
    assert.equal(cluster.replica(2).reads[0]?.context, context)
  })

  test('not without a bound on the drift, and not without the wall time', () => {
    const unbounded = led(3, { clockDriftBound: 0 })
    unbounded.advance(60)
    assert.equal(leaseIndex(unbounded, 1), undefined)
    assert.equal(unbounded.sent('heartbeatReply').at(-1)?.pledgeMs, 0)
    assert.equal(unbounded.core(2).isPledged(), false)

    const cluster = led()
    cluster.wallOffsetMs = Number.NEGATIVE_INFINITY
    cluster.advance(200)
    assert.equal(leaseIndex(cluster, 1), undefined)
  })

  test('not when its majority promised nothing, or less', () => {
    const cluster = led()
    const { term } = cluster.core(1)
    cluster.deliver = (message) => message.kind !== 'heartbeatReply'
    cluster.advance(110)
    const answer = (pledgeMs: number): void => {
      const { round } = cluster.core(1)
      cluster.on(1, (core) =>
        core.step({ kind: 'heartbeatReply', from: 3, to: 1, term, round, pledgeMs }, cluster.now),
      )
    }
    answer(0)
    assert.equal(leaseIndex(cluster, 1), undefined)
    answer(50)
    assert.notEqual(leaseIndex(cluster, 1), undefined)
    cluster.now += 45
    assert.equal(leaseIndex(cluster, 1), undefined)
  })

  test("not by a learner's pledge", () => {
    const cluster = new Cluster(3, { options, learners: [3] })
    cluster.wallOffsetMs = wallAtZero
    cluster.advance(110)
    cluster.elect(1)
    cluster.crash(2)
    cluster.advance(200)
    assert.equal(leaseIndex(cluster, 1), undefined)
  })

  test('alone in its group, always', () => {
    const cluster = led(1)
    assert.equal(leaseIndex(cluster, 1), cluster.core(1).commitIndex)
  })

  test('not while wall time has outrun the monotonic clock: the machine slept', () => {
    const cluster = led()
    cluster.advance(50)
    assert.notEqual(leaseIndex(cluster, 1), undefined)
    cluster.wallOffsetMs += 91
    assert.equal(leaseIndex(cluster, 1), undefined)
    // The next round gives a new one.
    cluster.advance(50)
    assert.notEqual(leaseIndex(cluster, 1), undefined)
    // Going back it gives nothing.
    cluster.wallOffsetMs -= 10_000
    cluster.isolate(1)
    cluster.now += 100
    assert.equal(leaseIndex(cluster, 1), undefined)
  })

  test('never again in the term in which it told another to campaign', () => {
    const cluster = led()
    cluster.advance(50)
    cluster.deliver = (message) => message.kind !== 'timeoutNow'
    assert.ok(cluster.on(1, (core) => core.transferLeadership(2, cluster.now)).accepted)
    cluster.drain(1)
    assert.equal(leaseIndex(cluster, 1), undefined)
    cluster.advance(900)
    assert.deepEqual(cluster.replica(1).transfers, ['failed'])
    assert.equal(leaseIndex(cluster, 1), undefined)
    const context = cluster.read(1, { mode: 'lease' })
    cluster.settle()
    assert.equal(cluster.replica(1).reads.at(-1)?.context, context)
    cluster.heal()
    cluster.elect(3)
    cluster.elect(1)
    cluster.propose(1, 'b')
    cluster.advance(60)
    assert.notEqual(leaseIndex(cluster, 1), undefined)
  })
})

suite('a pledged replica', () => {
  test('votes for nobody until its pledge has ended, whatever its sockets say', () => {
    const cluster = led()
    cluster.advance(50)
    cluster.crash(1)
    cluster.on(2, (core) => core.peerDown(1, cluster.now))
    cluster.on(3, (core) => core.peerDown(1, cluster.now))
    cluster.settle()
    assert.equal(cluster.sent('preVote').length, 2, 'of the first election only')
    cluster.advance(109)
    assert.equal(cluster.core(2).role, 'follower')
    cluster.advance(10)
    assert.equal(cluster.leader().replicaId, 2)
  })

  test('refuses votes and pre-votes, but not those of a transfer', () => {
    const cluster = led()
    cluster.advance(50)
    const two = cluster.core(2)
    const { term, log } = two
    const base = { from: 3, to: 2, lastIndex: log.lastIndex, lastTerm: log.lastTerm }
    two.leader = 0
    cluster.on(2, (core) =>
      core.step({ kind: 'preVote', ...base, term, candidateTerm: term + 1 }, cluster.now),
    )
    cluster.on(2, (core) =>
      core.step({ kind: 'vote', ...base, term: term + 1, transfer: false }, cluster.now),
    )
    assert.equal(two.term, term)
    cluster.drain(2)
    assert.deepEqual(
      cluster
        .sent('preVoteReply')
        .slice(-1)
        .map(({ granted }) => granted),
      [false],
    )
    // Nor does a higher term, learned by the way, set it free.
    cluster.on(2, (core) =>
      core.step({ kind: 'voteReply', from: 3, to: 2, term: term + 1, granted: false }, cluster.now),
    )
    assert.equal(two.term, term + 1)
    cluster.on(2, (core) =>
      core.step({ kind: 'vote', ...base, term: term + 1, transfer: false }, cluster.now),
    )
    cluster.on(2, (core) => core.campaign(cluster.now))
    assert.equal(two.votedFor, 0)
    assert.equal(two.role, 'follower')
    assert.ok(two.nextDeadlineMs >= cluster.now + 110)
    cluster.on(2, (core) => core.step({ kind: 'vote', ...base, term: term + 2, transfer: true }, cluster.now))
    assert.equal(two.votedFor, 3)
  })

  test('keeps its word from its start on, as it may have given it before', () => {
    const cluster = led()
    cluster.advance(50)
    cluster.crash(2)
    cluster.restart(2)
    assert.ok(cluster.core(2).isPledged())
    cluster.on(2, (core) => core.campaign(cluster.now))
    cluster.drain(2)
    assert.equal(cluster.core(2).role, 'follower')
    cluster.now += longestPledgeMs(cluster.core(2).options)
    assert.equal(cluster.core(2).isPledged(), true)
    cluster.on(2, (core) => core.advanceTo(cluster.now))
    assert.equal(cluster.core(2).isPledged(), false)
  })

  test('keeps the longer word of a former life when it starts with a shorter lease, or with none', () => {
    for (const shorter of [{ leaseMs: 20 }, { leaseMs: 0 }, { clockDriftBound: 0 }]) {
      let second: Partial<RaftOptions> = {}
      const cluster = new Cluster(3, { options, optionsOf: (id) => (id === 2 ? second : {}) })
      cluster.wallOffsetMs = wallAtZero
      cluster.advance(120)
      cluster.elect(1)
      cluster.advance(50)
      const pledgedMs = longestPledgeMs(cluster.core(2).options)
      second = shorter
      cluster.crash(2)
      // Two lives without a pledge of their own do not make it shorter.
      for (let life = 0; life < 2; life++) cluster.restart(2)
      const two = cluster.core(2)
      const ask = (): void => {
        const { term, log } = two
        const base = { from: 3, to: 2, lastIndex: log.lastIndex, lastTerm: log.lastTerm }
        cluster.on(2, (core) =>
          core.step({ kind: 'vote', ...base, term: term + 1, transfer: false }, cluster.now),
        )
      }
      cluster.now += pledgedMs - 1
      ask()
      assert.equal(two.votedFor, 1)
      cluster.now += 1
      ask()
      assert.equal(two.votedFor, 3)
    }
  })

  test('has told for how long its word may last before it gave it', () => {
    for (const clockDriftBound of [0, 0.0001, 0.1, 0.2]) {
      for (const leaseMs of [1, 99, 100, 3_000]) {
        const core = led(3, { leaseMs, clockDriftBound }).core(2)
        const longestMs = longestPledgeMs(core.options)
        assert.ok(Number.isInteger(longestMs))
        assert.ok(core.pledgedUntilMs <= core.nowMs + longestMs)
        assert.equal(longestMs > 0, core.pledgedUntilMs > -Infinity)
      }
    }
  })

  test('does not let a late timer of its own elect it', () => {
    const cluster = led(3, { leaseMs: 1000 })
    cluster.advance(50)
    cluster.crash(1)
    cluster.advance(1090)
    assert.deepEqual([cluster.core(2).role, cluster.core(3).role], ['follower', 'follower'])
    cluster.advance(1000)
    assert.equal(cluster.leader().term, cluster.core(1).term + 1)
  })
})

suite('a follower reads', () => {
  test('what its leader says, all of a turn with one question', () => {
    const cluster = led()
    cluster.advance(60)
    cluster.log = []
    const contexts = [1, 2, 3].map(() => cluster.read(2, { from: 'any' }))
    cluster.settle()
    assert.deepEqual(
      cluster.replica(2).reads,
      contexts.map((context) => ({ context, index: cluster.core(1).commitIndex })),
    )
    assert.equal(cluster.sent('readIndex').length, 1)
    assert.equal(cluster.sent('heartbeat').length, 2, 'a round confirms it')
  })

  test('by the lease of its leader, if it agrees to that', () => {
    const cluster = led()
    cluster.advance(60)
    cluster.log = []
    cluster.read(2, { from: 'any', mode: 'lease' })
    cluster.read(2, { from: 'any', mode: 'readIndex' })
    cluster.settle()
    assert.equal(cluster.replica(2).reads.length, 2)
    assert.deepEqual(
      cluster.sent('readIndex').map(({ lease }) => lease),
      [true, false],
    )
    assert.notEqual(cluster.sent('readIndex')[0]?.requestId, cluster.sent('readIndex')[1]?.requestId)
    assert.equal(cluster.sent('heartbeat').length, 2)
  })

  test('and is told at once what it must have applied for that', () => {
    const cluster = led(3, { commitNoticeMs: 5 })
    cluster.advance(60)
    cluster.propose(1, 'b')
    cluster.settle()
    const { commitIndex } = cluster.core(1)
    assert.equal(cluster.core(2).commitIndex, commitIndex - 1)
    cluster.read(2, { from: 'any', mode: 'lease' })
    cluster.settle()
    assert.deepEqual(
      cluster.replica(2).reads.map(({ index }) => index),
      [commitIndex],
    )
    assert.equal(cluster.core(2).commitIndex, commitIndex)
  })

  test('and so does a learner', () => {
    const cluster = new Cluster(3, { learners: [3] })
    cluster.elect(1)
    cluster.propose(1, 'a')
    cluster.settle()
    cluster.read(3, { from: 'any' })
    cluster.settle()
    assert.equal(cluster.replica(3).reads[0]?.index, cluster.core(1).commitIndex)
  })

  test('only when asked to, and only while it knows a leader', () => {
    const cluster = new Cluster(3)
    const ask = (from: 'leader' | 'any'): boolean =>
      cluster.on(2, (core) => core.requestRead(1, cluster.now, { from })).accepted
    assert.equal(ask('any'), false)
    cluster.elect(1)
    assert.equal(ask('leader'), false)
    assert.equal(ask('any'), true)
  })

  test('fails when the leader does not answer, is gone, or has too much to do', () => {
    const cluster = led(3, { maximumPendingReads: 1 })
    cluster.deliver = (message) => message.kind !== 'readIndex'
    const lost = cluster.read(2, { from: 'any' })
    cluster.advance(310)
    assert.deepEqual(cluster.replica(2).failedReads, [lost])
    cluster.heal()

    const broken = cluster.read(2, { from: 'any' })
    cluster.drain(2)
    cluster.on(2, (core) => core.peerDown(1, cluster.now))
    cluster.network = []
    cluster.drain(2)
    assert.deepEqual(cluster.replica(2).failedReads, [lost, broken])
    cluster.advance(60)

    cluster.deliver = (message) => message.kind !== 'heartbeatReply'
    cluster.read(1)
    cluster.settle()
    const refused = cluster.read(2, { from: 'any' })
    cluster.settle()
    assert.deepEqual(cluster.replica(2).failedReads, [lost, broken, refused])
    const full = cluster.on(1, (core) => core.requestRead(99, cluster.now))
    assert.deepEqual(full, { accepted: false, reason: 'overloaded', leader: 0 })
  })

  test('fails with a new term, whose leader was not asked, and takes no answer twice', () => {
    const cluster = led()
    cluster.deliver = (message) => message.kind !== 'readIndexReply'
    const context = cluster.read(2, { from: 'any' })
    cluster.settle()
    const answer = cluster.sent('readIndexReply')[0]
    assert.ok(answer !== undefined)
    cluster.heal()
    cluster.elect(3)
    cluster.settle()
    assert.deepEqual(cluster.replica(2).failedReads, [context])
    cluster.elect(1)
    const term = cluster.core(1).term
    cluster.on(2, (core) => core.step({ ...answer, term }, cluster.now))
    assert.equal(cluster.core(2).status().dropped.get('unknownRead'), 1)
    assert.deepEqual(cluster.replica(2).reads, [])
  })

  test('under ids that a former life of it has not used', () => {
    const cluster = led()
    cluster.read(2, { from: 'any' })
    cluster.settle()
    cluster.crash(2)
    cluster.restart(2)
    cluster.advance(100)
    cluster.read(2, { from: 'any' })
    cluster.settle()
    const [before, after] = cluster.sent('readIndex').map(({ requestId }) => requestId)
    assert.ok(before !== undefined && after !== undefined && before !== after)
  })

  test('is answered although its replica was removed meanwhile, and hurries nobody', () => {
    const cluster = led(4, { commitNoticeMs: 5 })
    cluster.advance(60)
    cluster.deliver = ({ kind }) => kind !== 'heartbeatReply'
    const contexts = [cluster.read(4, { from: 'any' }), cluster.read(1)]
    cluster.settle()
    assert.ok(cluster.change(1, { type: 'remove', replicaId: 4 }).accepted)
    cluster.settle()
    assert.equal(cluster.core(1).configurationState().committed?.replicas.length, 3)
    assert.equal(cluster.sent('readIndexReply').length, 0, 'nobody has confirmed its round')
    cluster.heal()
    cluster.log = []
    cluster.now += 1
    const round = cluster.core(1).round
    for (const from of [2, 3]) {
      const { term } = cluster.core(from)
      const reply = { kind: 'heartbeatReply', from, to: 1, term, round, pledgeMs: 0 } as const
      cluster.on(1, (core) => core.step(reply, cluster.now))
    }
    cluster.settle()
    assert.equal(cluster.sent('readIndexReply', 4).length, 1)
    assert.equal(cluster.sent('heartbeat').length, 0)
    assert.equal(cluster.replica(1).reads[0]?.context, contexts[1])
    assert.equal(cluster.replica(4).reads[0]?.context, contexts[0])
  })

  test('is asked for in vain by one who is no member, and of one who does not lead', () => {
    const cluster = led()
    const { term } = cluster.core(1)
    cluster.on(1, (core) =>
      core.step({ kind: 'readIndex', from: 9, to: 1, term, requestId: 1, lease: false }, cluster.now),
    )
    cluster.on(2, (core) =>
      core.step({ kind: 'readIndex', from: 3, to: 2, term, requestId: 1, lease: true }, cluster.now),
    )
    cluster.settle()
    assert.equal(cluster.sent('readIndexReply').length, 0)
    assert.equal(cluster.core(1).status().dropped.get('notAMember'), 1)
    assert.equal(cluster.core(2).status().dropped.get('notLeading'), 1)
  })

  test('is not answered by a leader that was replaced without knowing', () => {
    const cluster = led(3, { checkQuorum: false, clockDriftBound: 0 })
    // 1 and 2 are cut off from 3, and 1 from the answers of 2: it goes on leading.
    cluster.isolate(1)
    cluster.elect(2)
    cluster.propose(2, 'b')
    cluster.settle()
    cluster.deliver = (message) =>
      (message.from === 3 && message.to === 1) || (message.from === 1 && message.to === 3)
    const three = cluster.core(3)
    assert.ok(three.term > cluster.core(1).term)
    cluster.read(3, { from: 'any', mode: 'lease' })
    cluster.settle()
    cluster.advance(400)
    assert.deepEqual(cluster.replica(3).reads, [])
  })
})
