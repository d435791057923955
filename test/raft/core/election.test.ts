import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { entryKinds, type LogEntry } from '../../../src/interfaces/log-store.ts'
import { checkRaftOptions } from '../../../src/raft/core/options.ts'
import { Cluster } from '../support/cluster.ts'

suite('elections', () => {
  for (const size of [1, 2, 3, 5]) {
    test(`${size} replicas elect one leader and commit`, () => {
      const cluster = new Cluster(size)
      cluster.advance(2000)
      const leader = cluster.leader()
      cluster.propose(leader.replicaId, 'a', 'b')
      cluster.settle()
      for (const id of cluster.replicas.keys()) {
        assert.deepEqual(cluster.applied(id), ['a', 'b'])
        assert.equal(cluster.core(id).leader, leader.replicaId)
        assert.equal(cluster.core(id).term, leader.term)
      }
      assert.equal([...cluster.replicas.values()].filter((r) => r.core.role === 'leader').length, 1)
    })
  }

  test('come within the range that the options give, and the later the narrower it is', () => {
    for (const [electionTimeoutRange, shortest, longest] of [
      [0.3, 1.14, 1.44],
      [1, 1, 2],
    ] as const) {
      const core = new Cluster(3, { options: { electionTimeoutRange, electionTimeoutMs: 1000 } }).core(1)
      const drawn = Array.from({ length: 500 }, () => core.drawElectionTimeout() / 1000)
      assert.ok(Math.min(...drawn) >= shortest - 1e-9 && Math.max(...drawn) <= longest)
      const range = longest - shortest
      assert.ok(Math.min(...drawn) < shortest + range / 20 && Math.max(...drawn) > longest - range / 20)
    }
  })

  test('come from a narrow range only where pre-votes keep candidates apart', () => {
    assert.throws(() => checkRaftOptions({ electionTimeoutRange: 0.9, preVote: false }), {
      code: 'INVALID_OPTION',
    })
    assert.equal(checkRaftOptions({ electionTimeoutRange: 1, preVote: false }).preVote, false)
  })

  test('leave a candidate as long for its votes as ever: on slow disks a round outlasts the narrow range', () => {
    const core = new Cluster(3, { options: { electionTimeoutRange: 0.3, electionTimeoutMs: 1000 } }).core(1)
    const drawn = Array.from({ length: 500 }, () => {
      core.startCampaign()
      return core.electionTimeoutMs / 1000
    })
    assert.ok(Math.min(...drawn) >= 1.14 - 1e-9)
    assert.ok(Math.max(...drawn) > 2)
  })

  test('a stopped leader of a group at rest is replaced within 1.5 election timeouts of its last sign of life', () => {
    for (let seed = 1; seed <= 40; seed++) {
      const cluster = new Cluster(3, { seed, options: { electionTimeoutRange: 0.3 } })
      cluster.elect(1)
      cluster.advance(1000)
      cluster.crash(1)
      const { electionTimeoutMs } = cluster.core(2).options
      // The host says that the node is silent: see `NodeLiveness`.
      cluster.advance(1.2 * electionTimeoutMs)
      for (const id of [2, 3]) {
        cluster.on(id, (core) => {
          core.coverEnded(core.coverEpoch, cluster.now, cluster.now - 1.2 * electionTimeoutMs, cluster.now)
        })
      }
      cluster.advance(0.32 * electionTimeoutMs)
      assert.ok(cluster.leader().replicaId > 1)
    }
  })

  test('a stale log cannot win', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.isolate(3)
    cluster.propose(1, 'a')
    cluster.settle()
    cluster.crash(1)
    cluster.heal()
    cluster.on(3, (core) => core.campaign(cluster.now))
    cluster.settle()
    assert.notEqual(cluster.core(3).role, 'leader')
    cluster.elect(2)
    cluster.settle()
    assert.deepEqual(cluster.applied(3), ['a'])
  })

  test('a shorter log with a later term beats a longer one (term before index)', () => {
    const cluster = new Cluster(3, { options: { preVote: false } })
    cluster.elect(1)
    // 1 appends many entries of term 2 that nobody gets.
    cluster.isolate(1)
    cluster.propose(1, 'x', 'y', 'z')
    cluster.settle()
    cluster.crash(1)
    cluster.heal()
    cluster.elect(2)
    cluster.crash(2)
    cluster.restart(1)
    cluster.on(1, (core) => core.campaign(cluster.now))
    cluster.settle()
    assert.ok(cluster.core(1).lastIndex > cluster.core(3).lastIndex)
    assert.notEqual(cluster.core(1).role, 'leader')
    cluster.elect(3)
    assert.deepEqual(cluster.entries(1), cluster.entries(3))
  })

  test('duelling candidates: the votes split, and a later campaign settles it', () => {
    const cluster = new Cluster(4, { options: { preVote: false } })
    const meet = (candidate: number, voter: number): void => {
      cluster.on(candidate, (core) => core.campaign(cluster.now))
      cluster.deliver = (message) =>
        (message.from === candidate && message.to === voter) ||
        (message.to === candidate && message.from === voter)
      cluster.settle()
    }
    meet(1, 2)
    meet(3, 4)
    assert.deepEqual(
      [1, 2, 3, 4].map((id) => [cluster.core(id).role, cluster.core(id).term, cluster.core(id).votedFor]),
      [
        ['candidate', 2, 1],
        ['follower', 2, 1],
        ['candidate', 2, 3],
        ['follower', 2, 3],
      ],
    )
    cluster.heal()
    cluster.advance(3000)
    assert.ok(cluster.leader().term > 2)
  })

  test('a replica votes once a term, and the same candidate may ask again', () => {
    const cluster = new Cluster(3)
    const ask = (from: number): void => {
      const header = { from, to: 3, term: 5, lastIndex: 3, lastTerm: 1 }
      cluster.on(3, (core) => core.step({ kind: 'vote', ...header, transfer: false }, cluster.now))
      cluster.drain(3)
    }
    const answers = (): [number, boolean][] => cluster.sent('voteReply').map((m) => [m.to, m.granted])
    ask(1)
    ask(2)
    ask(1)
    cluster.crash(3)
    cluster.restart(3)
    ask(2)
    ask(1)
    assert.deepEqual(answers(), [
      [1, true],
      [2, false],
      [1, true],
      [2, false],
      [1, true],
    ])
  })

  test('a candidate that follows another keeps its vote within the term', () => {
    const cluster = new Cluster(3, { options: { preVote: false } })
    cluster.isolate(1)
    cluster.on(1, (core) => core.campaign(cluster.now))
    cluster.settle()
    assert.equal(cluster.core(1).votedFor, 1)
    cluster.on(1, (core) =>
      core.step({ kind: 'heartbeat', from: 2, to: 1, term: 2, round: 1, commit: 0, match: 0 }, cluster.now),
    )
    assert.equal(cluster.core(1).role, 'follower')
    assert.equal(cluster.core(1).votedFor, 1)
    cluster.on(1, (core) =>
      core.step(
        { kind: 'vote', from: 3, to: 1, term: 2, lastIndex: 9, lastTerm: 1, transfer: true },
        cluster.now,
      ),
    )
    assert.equal(cluster.core(1).votedFor, 1)
  })

  test('a vote and a request for votes leave only once they are durable', () => {
    const cluster = new Cluster(3, { options: { preVote: false } })
    for (const { disk } of cluster.replicas.values()) assert.equal(disk.hardState?.term, 1)
    cluster.replica(1).stalled = true
    cluster.replica(2).stalled = true
    cluster.on(1, (core) => core.campaign(cluster.now))
    cluster.settle()
    assert.equal(cluster.sent('vote').length, 0)
    cluster.replica(1).stalled = false
    cluster.deliver = (message) => message.to !== 3 && message.from !== 3
    cluster.settle()
    assert.equal(cluster.sent('vote', 2).length, 1)
    assert.equal(cluster.sent('voteReply').length, 0)
    assert.equal(cluster.core(1).role, 'candidate')
    cluster.replica(2).stalled = false
    cluster.settle()
    assert.equal(cluster.core(1).role, 'leader')
    assert.deepEqual(cluster.replica(2).disk.hardState?.votedFor, 1)
  })

  test('a single voter leads only once its own vote is durable', () => {
    const cluster = new Cluster(1)
    cluster.replica(1).stalled = true
    cluster.on(1, (core) => core.campaign(cluster.now))
    cluster.settle()
    assert.equal(cluster.core(1).role, 'candidate')
    cluster.persist(1)
    assert.equal(cluster.core(1).role, 'leader')
  })

  test('timeouts are random between one and two times the least', () => {
    const timeouts = new Set<number>()
    for (let seed = 1; seed <= 50; seed++) {
      const cluster = new Cluster(3, { seed })
      for (const { core } of cluster.replicas.values()) {
        assert.ok(core.nextDeadlineMs >= 300 && core.nextDeadlineMs < 600)
        timeouts.add(core.nextDeadlineMs)
      }
    }
    assert.ok(timeouts.size > 140)
  })

  test('a quiet follower has one deadline, and asks for nothing in between', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.advance(1000)
    const follower = cluster.core(2)
    assert.ok(follower.nextDeadlineMs >= cluster.now + 200)
    assert.equal(follower.takeReady(), undefined)
  })
})

suite('PreVote and CheckQuorum', () => {
  test('a replica that was cut off disturbs nobody when it comes back', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    const { term } = cluster.core(1)
    cluster.isolate(3)
    cluster.advance(5000)
    assert.equal(cluster.core(3).role, 'preCandidate')
    assert.equal(cluster.core(3).term, term)
    cluster.heal()
    cluster.advance(2000)
    assert.equal(cluster.leader().replicaId, 1)
    assert.equal(cluster.core(1).term, term)
    assert.equal(cluster.core(3).leader, 1)
  })

  test('without PreVote the one that was cut off has a higher term, and the group still heals', () => {
    const cluster = new Cluster(3, { options: { preVote: false } })
    cluster.elect(1)
    cluster.isolate(3)
    cluster.advance(5000)
    assert.ok(cluster.core(3).term > cluster.core(1).term)
    cluster.heal()
    cluster.advance(3000)
    // The leader learned of the higher term from the answer to its own message.
    for (const { core } of cluster.replicas.values()) assert.equal(core.leader, cluster.leader().replicaId)
    cluster.propose(cluster.leader().replicaId, 'a')
    cluster.settle()
    assert.deepEqual(cluster.applied(3), ['a'])
  })

  test('a leader without a quorum steps down within two election timeouts', () => {
    const cluster = new Cluster(5)
    cluster.elect(1)
    cluster.advance(500)
    cluster.partition([1, 2], [3, 4, 5])
    cluster.advance(600)
    assert.equal(cluster.core(1).role === 'leader', false)
    cluster.advance(1500)
    assert.ok(cluster.leader().replicaId >= 3)
  })

  test('without CheckQuorum it stays, but commits nothing', () => {
    const cluster = new Cluster(3, { options: { checkQuorum: false } })
    cluster.elect(1)
    cluster.isolate(1)
    cluster.advance(2000)
    assert.equal(cluster.core(1).role, 'leader')
    cluster.propose(1, 'lost')
    cluster.advance(500)
    assert.deepEqual(cluster.applied(1), [])
    cluster.heal()
    cluster.advance(1000)
    assert.deepEqual(cluster.applied(1), [])
  })

  test('votes are refused while the leader is heard, but not when it hands over', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    const { term } = cluster.core(1)
    for (const transfer of [false, true]) {
      const header = { from: 3, to: 2, term: term + 1, lastIndex: 99, lastTerm: term }
      cluster.on(2, (core) => core.step({ kind: 'vote', ...header, transfer }, cluster.now))
      assert.equal(cluster.core(2).term, transfer ? term + 1 : term)
    }
    assert.equal(cluster.core(2).votedFor, 3)
  })

  test('a pre-candidate with a low term learns of the higher one and wins', () => {
    // 3 has the shorter log and a term far ahead.
    const behind = new Cluster(3)
    behind.deliver = (message) => message.from !== 3 && message.to !== 3
    behind.elect(1)
    behind.propose(1, 'a')
    behind.settle()
    behind.on(3, (core) => core.adoptTerm(50))
    behind.crash(1)
    behind.heal()
    behind.advance(3000)
    assert.equal(behind.leader().replicaId, 2)
    assert.ok(behind.leader().term > 50)
    assert.deepEqual(behind.applied(3), ['a'])
  })

  test('a partial partition: the leader that still has a quorum stays', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    const cut = (a: number, b: number): void => {
      cluster.deliver = (message) =>
        !((message.from === a && message.to === b) || (message.from === b && message.to === a))
    }
    const { term } = cluster.core(1)
    cut(1, 3)
    cluster.advance(5000)
    assert.equal(cluster.leader().replicaId, 1)
    assert.equal(cluster.core(1).term, term)
    cluster.propose(1, 'a')
    cluster.settle()
    assert.deepEqual(cluster.applied(2), ['a'])
  })

  test('a partial partition: a quorum that is connected gets a leader', () => {
    const cluster = new Cluster(5)
    cluster.elect(1)
    cluster.advance(300)
    // 1 reaches 2 only; all others reach each other.
    cluster.deliver = (message) =>
      ![message.from, message.to].includes(1) || [message.from, message.to].includes(2)
    cluster.advance(4000)
    assert.notEqual(cluster.leader().replicaId, 1)
    cluster.propose(cluster.leader().replicaId, 'a')
    cluster.settle()
    assert.deepEqual(cluster.applied(5), ['a'])
  })

  test('a leader that slept steps down before it acts, when nobody was heard meanwhile', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.isolate(1)
    cluster.now += 15_000
    cluster.on(1, (core) => core.advanceTo(cluster.now))
    assert.equal(cluster.core(1).role, 'follower')
  })
})

suite('a leader whose socket closes', () => {
  const fail = (cluster: Cluster, ids: readonly number[]): void => {
    cluster.crash(1)
    for (const id of ids) cluster.on(id, (core) => core.peerDown(1, cluster.now))
    cluster.settle()
  }

  test('is replaced at once', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.advance(1000)
    const before = cluster.now
    fail(cluster, [3, 2])
    cluster.advance(10)
    assert.ok(cluster.leader().replicaId !== 1)
    assert.equal(cluster.now, before + 10)
  })

  test('is replaced by the voters in turn, two round trips apart', () => {
    const cluster = new Cluster(5, { options: { roundTripMs: 7 } })
    cluster.elect(1)
    cluster.advance(1000)
    cluster.deliver = () => false
    fail(cluster, [2, 3, 4, 5])
    assert.equal(cluster.core(2).role, 'preCandidate')
    const waits = [3, 4, 5].map((id) => cluster.core(id).nextDeadlineMs - cluster.now)
    assert.deepEqual(waits, [14, 28, 42])
  })

  test('is replaced at once although the pre-votes of the others cross', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.advance(1000)
    const { term } = cluster.core(1)
    cluster.crash(1)
    for (const id of [2, 3]) cluster.on(id, (core) => core.campaign(cluster.now))
    for (const id of [2, 3]) assert.equal(cluster.core(id).role, 'preCandidate')
    cluster.settle()
    assert.equal(cluster.leader().replicaId, 2)
    assert.equal(cluster.core(2).term, term + 1)
  })

  test('is replaced by the one with the better log when pre-votes cross, whatever the ids', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.advance(1000)
    cluster.isolate(2)
    cluster.propose(1, 'a')
    cluster.settle()
    cluster.crash(1)
    cluster.heal()
    const { term } = cluster.core(3)
    for (const id of [2, 3]) cluster.on(id, (core) => core.campaign(cluster.now))
    cluster.settle()
    assert.equal(cluster.leader().replicaId, 3)
    assert.equal(cluster.core(3).term, term + 1)
  })

  test('keeps leading when only one follower lost it', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.advance(1000)
    const { term } = cluster.core(1)
    cluster.on(2, (core) => core.peerDown(1, cluster.now))
    cluster.settle()
    cluster.advance(1000)
    assert.equal(cluster.leader().replicaId, 1)
    assert.equal(cluster.core(1).term, term)
    assert.equal(cluster.core(2).leader, 1)
  })

  test('is not hurried away without PreVote', () => {
    const cluster = new Cluster(3, { options: { preVote: false } })
    cluster.elect(1)
    cluster.advance(1000)
    cluster.on(2, (core) => core.peerDown(1, cluster.now))
    assert.equal(cluster.core(2).role, 'follower')
    assert.ok(cluster.core(2).nextDeadlineMs > cluster.now + 100)
  })
})

suite('replicas that may not campaign', () => {
  test('an uninitialised replica votes, follows and never campaigns', () => {
    const cluster = new Cluster(3)
    const empty = cluster.startEmpty(9).core
    assert.equal(empty.nextDeadlineMs, Infinity)
    cluster.on(9, (core) => core.campaign(0))
    assert.equal(empty.role, 'follower')
    cluster.on(9, (core) =>
      core.step(
        { kind: 'vote', from: 1, to: 9, term: 4, lastIndex: 3, lastTerm: 1, transfer: false },
        cluster.now,
      ),
    )
    cluster.drain(9)
    assert.deepEqual(
      cluster.sent('voteReply', 1).map((m) => m.granted),
      [true],
    )
    cluster.advance(5000)
    assert.equal(empty.role, 'follower')
  })

  test('a learner never campaigns, and its vote does not count', () => {
    const cluster = new Cluster(3, { learners: [3] })
    cluster.crash(2)
    cluster.advance(5000)
    assert.equal(cluster.core(1).role === 'leader' || cluster.core(3).role === 'leader', false)
    assert.equal(cluster.core(3).role, 'follower')
    cluster.restart(2)
    cluster.advance(2000)
    assert.ok(cluster.leader().replicaId <= 2)
  })

  test('a message to another replica id is dropped, so a wiped disk answers for nobody', () => {
    const cluster = new Cluster(3)
    const before = cluster.core(2).fingerprint()
    cluster.on(2, (core) =>
      core.step(
        { kind: 'vote', from: 1, to: 7, term: 9, lastIndex: 99, lastTerm: 1, transfer: false },
        cluster.now,
      ),
    )
    assert.equal(cluster.core(2).fingerprint(), before)
    assert.equal(cluster.core(2).status().dropped.get('otherReceiver'), 1)
  })

  test('a leader whose disk forgot something leads no more, and takes part in nothing', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.propose(1, 'a')
    cluster.settle()
    cluster.on(1, (core) => {
      core.quarantine()
      core.quarantine()
    })
    cluster.settle()
    assert.equal(cluster.core(1).role, 'follower')
    assert.equal(cluster.replica(1).quarantined, true)
    cluster.advance(3_000)
    assert.notEqual(cluster.leader().replicaId, 1)
    cluster.log = []
    cluster.crash(cluster.leader().replicaId)
    cluster.advance(3_000)
    assert.ok(cluster.sent('voteReply').every(({ from, granted }) => from !== 1 || !granted))
    for (const { up, core } of cluster.replicas.values()) assert.ok(!up || core.role !== 'leader')
  })

  test('a replica that is quarantined says nothing of what it promised just before', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.replica(3).stalled = true
    cluster.propose(1, 'a')
    cluster.settle()
    cluster.log = []
    cluster.on(3, (core) => {
      core.step(
        { kind: 'heartbeat', from: 1, to: 3, term: core.term, round: 1, commit: 0, match: 0 },
        cluster.now,
      )
      core.quarantine()
    })
    cluster.replica(3).stalled = false
    cluster.advance(200)
    for (const kind of ['appendReply', 'heartbeatReply'] as const) {
      assert.deepEqual(
        cluster.sent(kind).filter(({ from }) => from === 3),
        [],
      )
    }
  })

  test('a disk that forgot what it acknowledged is quarantined, and stays so', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.propose(1, 'a', 'b')
    cluster.settle()
    // An old copy of the disk is put back; the hard state happens to be right.
    const { disk } = cluster.replica(3)
    cluster.crash(3)
    cluster.judged = false
    disk.entries = disk.entries.filter((entry: LogEntry) => entry.kind !== entryKinds.command)
    disk.applied = []
    disk.appliedIndex = 0
    disk.configuration = undefined
    disk.hardState = { ...(disk.hardState as NonNullable<typeof disk.hardState>), commit: 3 }
    cluster.restart(3)
    cluster.advance(200)
    assert.equal(cluster.replica(3).quarantined, true)
    cluster.crash(1)
    cluster.advance(5000)
    // 2 alone has what was committed; 3 must not help anybody to win, not even 2.
    assert.notEqual(cluster.core(2).role, 'leader')
    assert.notEqual(cluster.core(3).role, 'leader')
    cluster.crash(3)
    assert.equal(cluster.restart(3).core.quarantined, true)
  })
})
