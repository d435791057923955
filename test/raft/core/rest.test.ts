import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { ReplicaId } from '../../../src/model/ids.ts'
import type { Message } from '../../../src/raft/core/messages.ts'
import type { RaftOptions } from '../../../src/raft/core/types.ts'
import { Cluster } from '../support/cluster.ts'

/** A cluster whose hosts let replicas rest: the epoch of each node is its replica's number times 100. */
class RestingCluster extends Cluster {
  readonly epochs = new Map<ReplicaId, number>()

  epochOf(id: ReplicaId): number {
    return this.epochs.get(id) ?? id * 100
  }

  override post(message: Message): void {
    const isIdle = message.kind === 'heartbeat' && message.idle === true
    super.post(isIdle ? { ...message, epoch: this.epochOf(message.to) } : message)
  }

  override receive(message: Message): void {
    const isOver =
      message.kind === 'heartbeat' &&
      message.epoch !== undefined &&
      message.epoch !== this.epochOf(message.to)
    super.receive(isOver ? { ...message, epoch: 0 } : message)
  }

  /** A node ends its epoch, as its host would that lost the leader's node. */
  endEpoch(id: ReplicaId, untilMs = this.now, heardMs = this.now - 300): void {
    const epoch = this.epochOf(id)
    this.epochs.set(id, epoch + 1)
    this.on(id, (core) => core.coverEnded(epoch, untilMs, heardMs, this.now))
  }

  resting(): ReplicaId[] {
    return [...this.replicas].filter(([, { core }]) => core.atRest).map(([id]) => id)
  }
}

function rested(options: Partial<RaftOptions> = {}, size = 3): RestingCluster {
  const cluster = new RestingCluster(size, { options })
  cluster.advance(120)
  cluster.elect(1)
  cluster.propose(1, 'a')
  cluster.advance(120)
  cluster.log = []
  return cluster
}

suite('a group with nothing to say', () => {
  test('goes to rest: no message, no timer', () => {
    const cluster = rested()
    assert.deepEqual(cluster.resting(), [1, 2, 3])
    for (const { core } of cluster.replicas.values()) assert.equal(core.nextDeadlineMs, Infinity)
    cluster.advance(3_600_000)
    assert.deepEqual(cluster.log, [])
    assert.equal(cluster.core(1).role, 'leader')
    assert.equal(cluster.core(1).status().atRest, true)
    assert.equal(cluster.core(1).status().progress.get(2)?.recentlyActive, true)
  })

  test('is nothing that a quarantined replica goes on with', () => {
    const cluster = rested()
    const core = cluster.core(3)
    cluster.on(3, () => core.quarantine())
    assert.deepEqual([core.atRest, core.coverEpoch], [false, 0])
    assert.ok(core.nextDeadlineMs < Infinity)
    cluster.advance(10_000)
    assert.deepEqual([core.role, core.nextDeadlineMs], ['follower', Infinity])
    assert.deepEqual(cluster.log, [])
  })

  test('is not woken by a late acknowledgement', () => {
    const cluster = rested()
    const { term } = cluster.core(1)
    const late = { kind: 'appendReply', from: 3, to: 1, term, index: 1, accepted: true } as const
    cluster.on(1, (core) => core.step({ ...late, hintIndex: 0, hintTerm: 0 }, cluster.now))
    cluster.settle()
    assert.deepEqual(cluster.resting(), [1, 2, 3])
    assert.deepEqual(cluster.log, [])
  })

  test('wakes up for a proposal, which commits, and goes to rest again', () => {
    const cluster = rested()
    cluster.advance(1_000_000)
    cluster.propose(1, 'b')
    assert.deepEqual(cluster.resting(), [2, 3])
    cluster.settle()
    assert.deepEqual(cluster.resting(), [])
    cluster.advance(120)
    assert.deepEqual(cluster.resting(), [1, 2, 3])
    for (const id of [1, 2, 3]) assert.deepEqual(cluster.applied(id), ['a', 'b'])
  })

  test('stays at rest when it is read, however it is read', () => {
    const cluster = rested({ clockDriftBound: 0.1 })
    cluster.advance(10_000)
    cluster.read(1)
    cluster.read(2, { from: 'any' })
    cluster.settle()
    assert.equal(cluster.replica(1).reads.length, 1)
    assert.equal(cluster.replica(2).reads.length, 1)
    assert.deepEqual(cluster.resting(), [1, 2, 3])
  })

  test('does not lose a read whose round was lost', () => {
    const cluster = rested()
    cluster.deliver = (message) => message.kind !== 'heartbeat'
    cluster.read(1)
    cluster.settle()
    assert.deepEqual(cluster.resting(), [2, 3])
    cluster.heal()
    cluster.advance(60)
    assert.equal(cluster.replica(1).reads.length, 1)
    cluster.advance(60)
    assert.deepEqual(cluster.resting(), [1, 2, 3])
  })

  test('goes to rest only with all of its replicas, and only when all is applied', () => {
    const cluster = new RestingCluster(3)
    cluster.elect(1)
    cluster.replica(3).idle = true
    cluster.propose(1, 'a')
    cluster.advance(500)
    assert.deepEqual(cluster.resting(), [2])
    cluster.replica(3).idle = false
    cluster.advance(120)
    assert.deepEqual(cluster.resting(), [1, 2, 3])
    cluster.replica(1).idle = true
    cluster.propose(1, 'b')
    cluster.advance(500)
    assert.deepEqual(cluster.resting(), [])
    cluster.replica(1).idle = false
    cluster.replica(3).stalled = true
    cluster.propose(1, 'c')
    cluster.advance(500)
    assert.deepEqual(cluster.resting(), [2], 'who has all may rest, its leader may not')
  })

  test('does not go to rest where the option says so, nor under an epoch that has ended', () => {
    const cluster = rested({ quiescence: false })
    assert.deepEqual(cluster.resting(), [])
    const other = new RestingCluster(3)
    other.elect(1)
    other.epochOf = () => 0
    other.advance(500)
    assert.deepEqual(other.resting(), [])
    assert.ok(other.sent('heartbeat').some(({ idle }) => idle === true))
  })

  test('rests while one of its nodes is gone, and wakes that one alone when it is back', () => {
    const cluster = rested()
    cluster.crash(3)
    cluster.on(1, (core) => core.peerDown(3, cluster.now, true))
    cluster.settle()
    assert.deepEqual(
      cluster.resting().filter((id) => id !== 3),
      [1, 2],
    )
    cluster.advance(10_000)
    assert.deepEqual(cluster.log, [])
    cluster.restart(3)
    cluster.epochs.set(3, 333)
    cluster.on(1, (core) => core.peerUp(3, 333, cluster.now))
    cluster.advance(110)
    assert.deepEqual(cluster.resting(), [1, 2, 3])
    assert.ok(cluster.log.every(({ from, to }) => from === 3 || to === 3))
    cluster.log = []
    cluster.on(1, (core) => core.peerUp(3, 333, cluster.now))
    cluster.settle()
    assert.deepEqual(cluster.log, [], 'there is nothing new in that')
  })

  test('wakes up when too few of its nodes are left, and its leader steps down', () => {
    const cluster = rested()
    cluster.crash(2)
    cluster.crash(3)
    cluster.on(1, (core) => core.peerDown(3, cluster.now, true))
    cluster.settle()
    assert.equal(cluster.core(1).atRest, true)
    cluster.on(1, (core) => core.peerDown(2, cluster.now, true))
    cluster.settle()
    assert.equal(cluster.core(1).atRest, false)
    cluster.advance(400)
    assert.equal(cluster.core(1).role === 'leader', false)
  })

  test('goes on with a replica that answers, though its node gives no sign of life any more', () => {
    const cluster = rested()
    cluster.epochs.set(3, 0)
    cluster.on(1, (core) => core.peerUnreachable(3, cluster.now))
    cluster.advance(60)
    cluster.on(1, (core) => core.peerDown(3, cluster.now, true))
    cluster.log = []
    cluster.advance(10_000)
    assert.equal(cluster.core(1).atRest, false)
    assert.ok(cluster.log.some(({ kind, to }) => kind === 'heartbeat' && to === 3))
    assert.equal(cluster.core(1).role, 'leader')
  })

  test('wakes up for a replica that asks for votes', () => {
    const cluster = rested({ preVote: false })
    cluster.crash(3)
    cluster.on(1, (core) => core.peerDown(3, cluster.now, true))
    cluster.settle()
    assert.equal(cluster.core(1).atRest, true)
    const vote = {
      kind: 'vote',
      from: 3,
      to: 1,
      term: 9,
      lastIndex: 9,
      lastTerm: 2,
      transfer: false,
    } as const
    cluster.on(1, (core) => core.step(vote, cluster.now))
    assert.equal(cluster.core(1).atRest, false)
  })

  test('wakes up for a peer that is marked unreachable', () => {
    const cluster = rested()
    cluster.on(1, (core) => core.peerUnreachable(2, cluster.now))
    cluster.settle()
    assert.equal(cluster.core(1).atRest, false)
    cluster.advance(110)
    assert.deepEqual(cluster.resting(), [1, 2, 3])
    assert.ok(cluster.log.every(({ from, to }) => from === 2 || to === 2))
  })

  test('is led by another soon after its leader is gone', () => {
    const cluster = rested()
    cluster.crash(1)
    cluster.advance(10_000)
    assert.deepEqual(
      cluster.resting().filter((id) => id !== 1),
      [2, 3],
      'nobody has told them',
    )
    for (const id of [2, 3]) {
      cluster.endEpoch(id)
      cluster.on(id, (core) => core.peerDown(1, cluster.now))
    }
    cluster.advance(30)
    assert.equal(cluster.leader().replicaId, 2)
    cluster.propose(2, 'b')
    cluster.settle()
  })

  test('is led by another when its leader falls silent', () => {
    const cluster = rested()
    cluster.crash(1)
    cluster.endEpoch(2)
    cluster.endEpoch(3)
    cluster.advance(700)
    assert.ok(cluster.leader().replicaId > 1)
  })

  test('is not at rest for a replica that was not told of what woke the others', () => {
    const cluster = rested()
    cluster.deliver = (message) => message.to !== 3
    cluster.propose(1, 'b')
    cluster.advance(200)
    assert.deepEqual(cluster.resting(), [2, 3])
    cluster.endEpoch(3)
    cluster.heal()
    cluster.advance(1_000)
    assert.deepEqual(cluster.applied(3), ['a', 'b'])
    assert.deepEqual(cluster.resting(), [1, 2, 3])
    assert.equal(cluster.leader().term, cluster.core(3).term)
  })

  test('hears of a leader that steps down', () => {
    const cluster = rested()
    cluster.on(1, (core) => {
      core.observeTime(cluster.now)
      core.becomeFollower(core.term, 0)
    })
    cluster.settle()
    assert.deepEqual(cluster.resting(), [])
    assert.equal(cluster.sent('notLeading').length, 2)
    assert.equal(cluster.core(2).coverEpoch, 0)
    cluster.advance(700)
    assert.ok(cluster.leader().term > 2)
  })

  test('asks, when it is awake and covered, whether it is still led; and is told', () => {
    const cluster = rested({ clockDriftBound: 0.1 })
    cluster.deliver = (message) => message.kind !== 'notLeading'
    cluster.on(1, (core) => core.becomeFollower(core.term, 0))
    cluster.settle()
    // A higher term that leads nobody on wakes a replica up, but does not set it free.
    const two = cluster.core(2)
    const term = two.term + 1
    cluster.on(2, (core) =>
      core.step({ kind: 'voteReply', from: 3, to: 2, term, granted: false }, cluster.now),
    )
    cluster.settle()
    assert.equal(two.atRest, false)
    assert.equal(two.coverEpoch, 200)
    assert.equal(cluster.sent('askLeading').length, 1)
    cluster.advance(620)
    assert.ok(cluster.sent('askLeading').length > 1, 'again with each timeout')
    assert.equal(two.role, 'follower')
    cluster.heal()
    cluster.advance(620)
    assert.equal(two.coverEpoch, 0)
  })

  test('asks a leader that wants to be elected, whose word that it leads no more was lost', () => {
    for (const preVote of [true, false]) {
      const cluster = rested({ clockDriftBound: 0.1, preVote })
      cluster.deliver = (message) => message.kind !== 'notLeading'
      cluster.on(1, (core) => core.becomeFollower(core.term, 0))
      cluster.settle()
      assert.deepEqual(cluster.resting(), [2, 3])
      cluster.heal()
      cluster.advance(2_000)
      assert.ok(cluster.leader().term > 2)
      assert.deepEqual(cluster.resting(), [1, 2, 3])
    }
  })

  test('goes on protecting a leader whose node was heard lately', () => {
    const cluster = rested()
    cluster.advance(5_000)
    const two = cluster.core(2)
    cluster.deliver = () => false
    cluster.endEpoch(2, cluster.now, cluster.now - 40)
    assert.equal(two.atRest, false)
    assert.ok(two.protectsLeader())
    assert.ok(two.electionDeadlineMs >= cluster.now + 260)
    cluster.on(2, (core) => core.advanceTo(cluster.now + 260))
    assert.equal(two.protectsLeader(), false)
  })

  test('keeps its cover while its leader may not be voted against anyway', () => {
    const unless = (options: Partial<RaftOptions>): RestingCluster => {
      const cluster = rested({ clockDriftBound: 0.1, ...options })
      cluster.advance(5_000)
      return cluster
    }
    const sticky = unless({})
    assert.equal(sticky.core(2).mayUncover(sticky.now), false)
    const free = unless({ checkQuorum: false })
    assert.equal(free.core(2).mayUncover(free.now), true)
    assert.equal(free.core(1).mayUncover(free.now), false, 'the leader has none')
    const two = free.core(2)
    two.pledgedUntilMs = free.now + 1
    assert.equal(two.mayUncover(free.now), false)
    assert.equal(two.mayUncover(free.now + 1), true)
    const without = unless({ checkQuorum: false, clockDriftBound: 0 })
    assert.equal(without.core(2).mayUncover(without.now), false, 'where there are no leases it binds nobody')
  })

  test('is spoken to when it asks a leader that leads', () => {
    const cluster = rested({ clockDriftBound: 0.1 })
    // A copy of an old message wakes it.
    const { term, commitIndex } = cluster.core(1)
    const beat = {
      kind: 'heartbeat',
      from: 1,
      to: 2,
      term,
      round: 0,
      commit: commitIndex,
      match: commitIndex,
    } as const
    cluster.on(2, (core) => core.step(beat, cluster.now))
    cluster.settle()
    assert.deepEqual(cluster.resting(), [1, 3])
    cluster.advance(650)
    assert.deepEqual(cluster.resting(), [1, 2, 3])
    assert.equal(cluster.leader().replicaId, 1)
  })

  test('speaks to a replica that answers although its node was given up', () => {
    const cluster = rested()
    const { term, round } = cluster.core(1)
    cluster.crash(3)
    cluster.on(1, (core) => core.peerDown(3, cluster.now, true))
    cluster.settle()
    assert.equal(cluster.core(1).atRest, true)
    cluster.restart(3)
    cluster.epochs.set(3, 333)
    // It was on its way for long, but somebody must have sent it.
    const answer = { kind: 'heartbeatReply', from: 3, to: 1, term, round, pledgeMs: 0, epoch: 300 } as const
    cluster.on(1, (core) => core.step(answer, cluster.now))
    assert.equal(cluster.core(1).atRest, false)
    cluster.advance(110)
    assert.deepEqual(cluster.resting(), [1, 2, 3])
    assert.ok(cluster.log.every(({ from, to }) => from === 3 || to === 3))
    assert.equal(cluster.core(1).progress.get(3)?.epoch, 333)
  })

  test('stays led when a connection to the leader breaks and the leader is well', () => {
    for (const clockDriftBound of [0, 0.1]) {
      const cluster = rested({ clockDriftBound })
      cluster.advance(10_000)
      const { term } = cluster.core(1)
      cluster.on(2, (core) => core.peerDown(1, cluster.now))
      assert.equal(cluster.core(2).atRest, false)
      cluster.advance(650)
      assert.deepEqual(cluster.resting(), [1, 2, 3])
      assert.deepEqual([cluster.leader().replicaId, cluster.leader().term], [1, term])
      assert.equal(cluster.sent('vote').length, 0)
    }
  })

  test('is led by another soon after its connections break, where there are no leases to wait for', () => {
    const cluster = rested()
    cluster.advance(10_000)
    cluster.crash(1)
    for (const id of [2, 3]) cluster.on(id, (core) => core.peerDown(1, cluster.now))
    assert.deepEqual([cluster.core(2).atRest, cluster.core(3).atRest], [false, false])
    // Once to ask the leader whether it leads, once to see that it does not say so.
    cluster.advance(1_250)
    assert.ok(cluster.leader().replicaId > 1)
  })

  test('wakes where it is told that its leader is gone, and votes unless there is a lease', () => {
    for (const [clockDriftBound, isFree] of [
      [0, true],
      [0.1, false],
    ] as const) {
      const cluster = rested({ clockDriftBound })
      cluster.advance(10_000)
      cluster.crash(1)
      const two = cluster.core(2)
      cluster.on(2, (core) => core.forgetLeader(cluster.now))
      assert.deepEqual([two.atRest, two.leader], [false, 0])
      assert.ok(two.electionDeadlineMs < Infinity, 'whoever is awake has a timer')
      assert.equal(cluster.core(3).atRest, true, 'nobody has told it')
      const { term, log } = two
      const base = { from: 3, to: 2, term: term + 1, lastIndex: log.lastIndex, lastTerm: log.lastTerm }
      cluster.on(2, (core) => core.step({ kind: 'vote', ...base, transfer: false }, cluster.now))
      assert.equal(two.votedFor, isFree ? 3 : 1)
    }
  })

  test('makes no election of a replica that lost its rest', () => {
    const cluster = rested()
    cluster.crash(2)
    cluster.restart(2)
    cluster.advance(2_000)
    assert.equal(cluster.leader().replicaId, 1)
    assert.deepEqual(cluster.resting(), [1, 2, 3])
    assert.equal(cluster.core(1).term, 2)
  })

  test('hands over as ever', () => {
    const cluster = rested({ clockDriftBound: 0.1 })
    assert.ok(cluster.on(1, (core) => core.transferLeadership(2, cluster.now)).accepted)
    cluster.settle()
    assert.equal(cluster.leader().replicaId, 2)
    cluster.advance(120)
    assert.deepEqual(cluster.resting(), [1, 2, 3])
    assert.deepEqual([cluster.core(1).coverLeader, cluster.core(2).coverEpoch], [2, 0])
  })
})

suite('a leader at rest', () => {
  test('holds a lease by what the nodes of its replicas pledge', () => {
    const cluster = rested({ clockDriftBound: 0.1 })
    cluster.advance(5_000)
    const read = (): number | undefined =>
      cluster.on(1, (core) => core.leaseReadIndex(cluster.now, cluster.now + cluster.wallOffsetMs))
    assert.equal(read(), undefined)
    const pledged = (id: ReplicaId, epoch: number, atMs: number): void =>
      cluster.on(1, (core) =>
        core.nodePledged(id, epoch, { atMs, wallMs: atMs + cluster.wallOffsetMs }, 100, cluster.now),
      )
    pledged(2, 201, cluster.now)
    assert.equal(read(), undefined, 'under another epoch')
    pledged(9, 900, cluster.now)
    pledged(2, 200, cluster.now - 50)
    assert.equal(read(), cluster.core(1).commitIndex)
    cluster.now += 40
    assert.equal(read(), undefined, 'it runs from when it was asked for')
    pledged(3, 300, cluster.now)
    assert.notEqual(read(), undefined)
    // What wakes a replica takes its node's word away from it.
    cluster.now += 100
    cluster.on(1, (core) => core.peerUnreachable(3, cluster.now))
    pledged(3, 300, cluster.now)
    assert.equal(read(), undefined)
  })

  test('is not voted against while the pledge lasts, nor before its epoch has ended', () => {
    const cluster = rested({ clockDriftBound: 0.1 })
    cluster.advance(5_000)
    const two = cluster.core(2)
    const vote = (transfer: boolean): void => {
      const { term, log } = two
      const base = { from: 3, to: 2, term: term + 1, lastIndex: log.lastIndex, lastTerm: log.lastTerm }
      cluster.on(2, (core) => core.step({ kind: 'vote', ...base, transfer }, cluster.now))
    }
    vote(false)
    assert.equal(two.votedFor, 1)
    assert.ok(two.isPledged())
    cluster.endEpoch(2, cluster.now + 70)
    assert.equal(two.coverEpoch, 0)
    vote(false)
    assert.equal(two.votedFor, 1)
    cluster.on(2, (core) => core.advanceTo(cluster.now + 70))
    cluster.now += 70
    vote(false)
    assert.equal(two.votedFor, 3)
  })

  test('keeps the cover that another epoch than its own has no part in', () => {
    const cluster = rested({ clockDriftBound: 0.1 })
    cluster.advance(5_000)
    const two = cluster.core(2)
    const before = two.fingerprint()
    // Of a former life of the leader's node, or of another node that led once.
    cluster.on(2, (core) => core.coverEnded(199, cluster.now, cluster.now, cluster.now))
    assert.deepEqual([two.atRest, two.coverEpoch], [true, 200])
    assert.equal(two.fingerprint(), before)
  })

  test('may be voted against when its epoch ends, by one that is awake as well; which does not wait anew', () => {
    const cluster = rested({ clockDriftBound: 0.1 })
    cluster.advance(5_000)
    cluster.deliver = () => false
    const two = cluster.core(2)
    const { term, log } = two
    // A message of a new term without a leader has woken it.
    cluster.on(2, (core) =>
      core.step({ kind: 'voteReply', from: 3, to: 2, term: term + 1, granted: false }, cluster.now),
    )
    assert.deepEqual([two.atRest, two.coverEpoch], [false, 200])
    const { electionDeadlineMs, leaderHeardMs } = two
    const vote = (): void => {
      const base = { from: 3, to: 2, term: term + 1, lastIndex: log.lastIndex, lastTerm: log.lastTerm }
      cluster.on(2, (core) => core.step({ kind: 'vote', ...base, transfer: false }, cluster.now))
    }
    cluster.endEpoch(2, cluster.now + 70, cluster.now)
    assert.equal(two.coverEpoch, 0)
    assert.deepEqual([two.electionDeadlineMs, two.leaderHeardMs], [electionDeadlineMs, leaderHeardMs])
    vote()
    assert.equal(two.votedFor, 0, 'what was pledged under it lasts')
    cluster.now += 70
    vote()
    assert.equal(two.votedFor, 3)
  })

  test('is voted against at once where there are no leases', () => {
    const cluster = rested({ checkQuorum: false })
    cluster.advance(5_000)
    const two = cluster.core(2)
    const { term, log } = two
    const base = { from: 3, to: 2, term: term + 1, lastIndex: log.lastIndex, lastTerm: log.lastTerm }
    cluster.on(2, (core) => core.step({ kind: 'vote', ...base, transfer: false }, cluster.now))
    assert.equal(two.votedFor, 3)
    assert.equal(two.atRest, false)
  })

  test('is not believed to lead by one who was told otherwise by somebody else', () => {
    const cluster = rested({ clockDriftBound: 0.1 })
    const { term } = cluster.core(1)
    const word = { kind: 'notLeading', to: 2, term, ledTerm: term } as const
    cluster.on(2, (core) => core.step({ ...word, from: 3 }, cluster.now))
    cluster.on(2, (core) => core.step({ ...word, from: 1, ledTerm: term - 1 }, cluster.now))
    assert.equal(cluster.core(2).atRest, true)
    cluster.on(2, (core) => core.step({ ...word, from: 1, term: term + 3 }, cluster.now))
    assert.deepEqual([cluster.core(2).atRest, cluster.core(2).coverEpoch], [false, 0])
    assert.equal(cluster.core(2).term, term + 3)
  })
})
