import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { emptyBytes, utf8 } from '../../../src/core/bytes.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { entryKinds, type LogEntry } from '../../../src/interfaces/log-store.ts'
import { encodeConfiguration, makeConfiguration } from '../../../src/raft/core/configuration.ts'
import { type RaftInvariantName, RaftInvariants } from '../../../src/raft/core/invariants.ts'
import type { Message } from '../../../src/raft/core/messages.ts'
import type { RaftCore } from '../../../src/raft/core/raft.ts'
import { Cluster, descriptor } from '../support/cluster.ts'

/** Three replicas, of which 1 leads and has committed something: each test judges them anew and then breaks one. */
function group(): { readonly cluster: Cluster; readonly judge: RaftInvariants; readonly leader: RaftCore } {
  const cluster = new Cluster(3)
  cluster.elect(1)
  cluster.propose(1, 'a')
  cluster.advance(100)
  cluster.judged = false
  return { cluster, judge: new RaftInvariants(), leader: cluster.core(1) }
}

function breaks(name: RaftInvariantName, act: () => void): void {
  assert.throws(act, (thrown) => {
    assert.ok(KeelsonError.hasCode(thrown, 'INVARIANT_VIOLATED'), String(thrown))
    assert.equal(thrown.details.invariant, name)
    return true
  })
}

function entry(index: number, term: number, data = ''): LogEntry {
  return { index, term, kind: entryKinds.command, data: utf8(data) }
}

function vote(voter: number, candidate: number, term: number): Message {
  return { kind: 'voteReply', from: voter, to: candidate, term, granted: true }
}

suite('the invariants of a group', () => {
  test('let a group be that is right', () => {
    const { cluster, judge } = group()
    for (let turn = 0; turn < 2; turn++) for (const id of [1, 2, 3]) judge.observe(cluster.core(id))
    assert.equal(judge.committedIndex, cluster.core(1).commitIndex)
    assert.equal(judge.elections, 1)
  })

  test('terms never regress', () => {
    const { judge, leader } = group()
    judge.observe(leader)
    leader.term--
    breaks('terms never regress', () => judge.observe(leader))
  })

  suite('one vote a term', () => {
    test('in what a replica says', () => {
      const { judge } = group()
      judge.sent(vote(3, 2, 9))
      judge.sent(vote(3, 2, 9))
      breaks('one vote a term', () => judge.sent(vote(3, 1, 9)))
    })

    test('in what it holds', () => {
      const { judge, cluster } = group()
      const core = cluster.core(2)
      judge.observe(core)
      core.votedFor = 3
      breaks('one vote a term', () => judge.observe(core))
    })

    test('across a restart', () => {
      const { judge, cluster } = group()
      const core = cluster.core(2)
      const hardState = { term: core.term, votedFor: 3, commit: 0 }
      judge.issued(2, { writeId: 1, hardState })
      judge.durable(2, 1)
      breaks('one vote a term', () => judge.restarted(core))
      judge.issued(3, { writeId: 1, hardState: { ...hardState, term: core.term + 1 } })
      judge.durable(3, 1)
      breaks('one vote a term', () => judge.restarted(cluster.core(3)))
    })

    test('under another id of the same disk, and not of another disk under the same id', () => {
      const { judge } = group()
      judge.issued(7, { writeId: 1, hardState: { term: 9, votedFor: 2, commit: 0 } })
      judge.durable(7, 1)
      judge.sent(vote(7, 2, 9))
      judge.sent(vote(8, 2, 9))
      judge.renamed(7, 8)
      judge.sent(vote(8, 2, 9))
      breaks('one vote a term', () => judge.sent(vote(8, 1, 9)))
      judge.reminted(8)
      judge.sent(vote(8, 1, 9))
    })
  })

  suite('promises are durable', () => {
    test('votes', () => {
      const { judge } = group()
      judge.issued(3, { writeId: 1, hardState: { term: 9, votedFor: 2, commit: 0 } })
      breaks('promises are durable', () => judge.sent(vote(3, 2, 9)))
      judge.durable(3, 1)
      judge.sent(vote(3, 2, 9))
    })

    test('acknowledgements', () => {
      const { judge } = group()
      const hardState = { term: 2, votedFor: 1, commit: 0 }
      judge.issued(3, { writeId: 1, hardState, entries: [entry(1, 1), entry(2, 2)] })
      const reply = {
        kind: 'appendReply',
        from: 3,
        to: 1,
        accepted: true,
        hintIndex: 0,
        hintTerm: 0,
      } as const
      breaks('promises are durable', () => judge.sent({ ...reply, term: 2, index: 2 }))
      judge.durable(3, 1)
      judge.sent({ ...reply, term: 2, index: 2 })
      // A leader of a later term may have cut it off.
      judge.sent({ ...reply, term: 1, index: 3 })
    })

    test('of a disk that crashes with writes under way', () => {
      const { judge, cluster } = group()
      const core = cluster.core(3)
      judge.restarted(core)
      const { lastIndex } = core
      judge.issued(3, {
        writeId: 1,
        entries: [entry(lastIndex + 1, core.term), entry(lastIndex + 2, core.term)],
      })
      judge.durable(3, 1)
      judge.issued(3, { writeId: 2, entries: [entry(lastIndex + 2, core.term + 1)] })
      judge.crashed(3)
      breaks('promises are durable', () => judge.restarted(core))
    })

    test('but what waited to be written may be lost', () => {
      const { judge, cluster } = group()
      const core = cluster.core(3)
      judge.restarted(core)
      judge.issued(3, { writeId: 1, entries: [entry(core.lastIndex + 1, core.term)] })
      judge.crashed(3)
      judge.restarted(core)
    })
  })

  test('the quarantined promise nothing', () => {
    const { judge, cluster } = group()
    const core = cluster.core(3)
    const header = { from: 3, to: 1, term: core.term }
    const promises: Message[] = [
      { ...header, kind: 'voteReply', granted: true },
      { ...header, kind: 'vote', lastIndex: 1, lastTerm: 1, transfer: false },
      { ...header, kind: 'heartbeatReply', round: 1, pledgeMs: 0 },
      { ...header, kind: 'appendReply', index: 1, accepted: true, hintIndex: 0, hintTerm: 0 },
    ]
    judge.observe(core)
    judge.sent({ ...header, kind: 'heartbeatReply', round: 1, pledgeMs: 0 })
    core.quarantine()
    for (const message of promises) breaks('the quarantined promise nothing', () => judge.sent(message))
    judge.sent({ ...header, kind: 'voteReply', granted: false })
    judge.sent({ ...header, kind: 'appendReply', index: 1, accepted: false, hintIndex: 0, hintTerm: 0 })
    judge.sent({ ...header, kind: 'superseded' } as never)
  })

  test('the quarantined promise nothing by the signs of life of their nodes either', () => {
    const { judge, cluster } = group()
    const core = cluster.core(3)
    judge.observe(core)
    const header = { from: 3, to: 1, term: core.term }
    judge.sent({ ...header, kind: 'heartbeatReply', round: 1, pledgeMs: 0 })
    judge.pledged(3, 300)
    judge.sent({ ...header, kind: 'heartbeatReply', round: 2, pledgeMs: 0, epoch: 300 })
    judge.pledged(3, 300)
    core.quarantine()
    judge.pledged(3, 301)
    judge.pledged(2, 300)
    breaks('the quarantined promise nothing', () => judge.pledged(3, 300))
    judge.reminted(3)
    judge.observe(core)
    judge.pledged(3, 300)
  })

  test('leader append-only', () => {
    const { judge, leader } = group()
    judge.observe(leader)
    leader.log.truncateFrom(leader.lastIndex)
    breaks('leader append-only', () => judge.observe(leader))
  })

  suite('log matching', () => {
    const other = (change: (held: LogEntry) => LogEntry): void => {
      const { judge, cluster } = group()
      judge.observe(cluster.core(1))
      const { log } = cluster.core(2)
      log.entries[log.entries.length - 1] = change(log.entries.at(-1) as LogEntry)
      judge.observe(cluster.core(2))
    }

    test('holds for equal entries', () => {
      other((held) => ({ ...held, data: held.data.slice() }))
    })

    test('breaks with another content', () => {
      breaks('log matching', () => other((held) => ({ ...held, data: utf8('b') })))
      breaks('log matching', () => other((held) => ({ ...held, kind: entryKinds.noop })))
    })

    test('breaks with another entry before', () => {
      const { judge, cluster } = group()
      judge.observe(cluster.core(1))
      const core = cluster.core(2)
      core.log.runs = [
        { index: 1, term: 1 },
        { index: core.lastIndex, term: core.term },
      ]
      breaks('log matching', () => judge.observe(core))
    })
  })

  suite('commit never regresses', () => {
    test('within a life', () => {
      const { judge, cluster } = group()
      const core = cluster.core(2)
      judge.observe(core)
      core.commitIndex--
      breaks('commit never regresses', () => judge.observe(core))
    })

    test('beyond the log', () => {
      const { judge, cluster } = group()
      const core = cluster.core(2)
      core.commitIndex = core.lastIndex + 1
      breaks('commit never regresses', () => judge.observe(core))
    })
  })

  suite('state machine safety', () => {
    test('of what is committed', () => {
      const { judge, cluster } = group()
      judge.observe(cluster.core(1))
      const core = cluster.core(2)
      const last = core.lastIndex
      core.log.truncateFrom(last)
      core.term++
      core.log.append([entry(last, core.term)])
      core.log.durableIndex = last
      breaks('state machine safety', () => judge.observe(core))
    })

    test('of what is applied, in order and equal', () => {
      const { judge, cluster } = group()
      judge.observe(cluster.core(1))
      const [first, second] = cluster.core(1).log.entries as [LogEntry, LogEntry]
      judge.applied(1, first)
      judge.applied(1, second)
      breaks('state machine safety', () => judge.applied(1, second))
      judge.applied(2, { ...first, data: first.data.slice() })
      breaks('state machine safety', () => judge.applied(2, { ...second, data: utf8('another') }))
    })

    test('of snapshots', () => {
      const { judge, cluster } = group()
      const { commitIndex, term } = cluster.core(1)
      breaks('state machine safety', () => judge.snapshotInstalled(3, { index: commitIndex, term }))
      judge.observe(cluster.core(1))
      judge.snapshotInstalled(3, { index: commitIndex, term })
      breaks('state machine safety', () => judge.snapshotInstalled(3, { index: commitIndex, term: term + 1 }))
      // What it covers counts as durable.
      judge.issued(2, { writeId: 1, entries: [entry(1, 1)] })
      judge.snapshotInstalled(2, { index: commitIndex, term })
      judge.durable(2, 1)
      judge.sent({
        kind: 'appendReply',
        from: 2,
        to: 1,
        term,
        accepted: true,
        hintIndex: 0,
        hintTerm: 0,
        index: commitIndex,
      })
    })
  })

  suite('applied is committed and durable', () => {
    test('committed', () => {
      const { judge, leader } = group()
      breaks('applied is committed and durable', () => judge.applied(1, entry(1, 1)))
      const again = new RaftInvariants()
      again.observe(leader)
      breaks('applied is committed and durable', () => again.applied(1, entry(leader.commitIndex, 1)))
    })

    test('durable', () => {
      const { judge, leader } = group()
      judge.observe(leader)
      judge.issued(1, { writeId: 1 })
      const first = leader.log.entries[0] as LogEntry
      breaks('applied is committed and durable', () => judge.applied(1, first))
    })

    test('in what the core believes', () => {
      const { judge, cluster } = group()
      const core = cluster.core(2)
      core.appliedIndex = core.handedIndex + 1
      breaks('applied is committed and durable', () => judge.observe(core))
    })
  })

  suite('election safety', () => {
    test('two leaders', () => {
      const { judge, leader } = group()
      judge.observe(leader)
      const second = leader.clone()
      second.replicaId = 2
      breaks('election safety', () => judge.observe(second))
    })

    test('one leader twice', () => {
      const { judge, leader } = group()
      judge.observe(leader)
      leader.role = 'follower'
      judge.observe(leader)
      leader.role = 'leader'
      breaks('election safety', () => judge.observe(leader))
    })
  })

  suite('leader completeness', () => {
    test('of one that is elected', () => {
      const { judge, cluster } = group()
      judge.observe(cluster.core(2))
      const core = cluster.core(1)
      core.term++
      core.log.truncateFrom(core.lastIndex)
      core.commitIndex = core.handedIndex = core.appliedIndex = core.lastIndex
      breaks('leader completeness', () => judge.observe(core))
    })

    test('of one that leads while an earlier one commits', () => {
      const { judge, cluster, leader } = group()
      const { term } = leader
      leader.term += 5
      judge.observe(leader)
      const core = cluster.core(2)
      core.log.append([entry(core.lastIndex + 1, term)])
      core.commitIndex = core.lastIndex
      breaks('leader completeness', () => judge.observe(core))
    })

    test('not of one whose votes were long on their way', () => {
      const { judge, cluster, leader } = group()
      const core = cluster.core(2)
      judge.observe(core)
      core.term += 5
      core.log.append([entry(core.lastIndex + 1, core.term)])
      core.commitIndex = core.lastIndex
      judge.observe(core)
      judge.observe(leader)
    })
  })

  suite('configurations overlap', () => {
    const disjoint = makeConfiguration(2, [descriptor(7), descriptor(8), descriptor(9)])

    const withDisjoint = (judge: RaftInvariants, core: RaftCore): void => {
      const data = encodeConfiguration(disjoint)
      const index = core.lastIndex + 1
      core.appendToLog([{ index, term: core.term, kind: entryKinds.configuration, data }])
      judge.observe(core)
    }

    test('one and the next', () => {
      const { judge, cluster } = group()
      breaks('configurations overlap', () => withDisjoint(judge, cluster.core(2)))
    })

    test('but for the one by which a group goes on that lost its quorum', () => {
      const { cluster } = group()
      const core = cluster.core(2)
      const { lastIndex, term } = core
      withDisjoint(new RaftInvariants({ index: lastIndex + 1, term }), core)
      const other = cluster.core(3)
      const judge = new RaftInvariants({ index: lastIndex + 1, term: term + 1 })
      breaks('configurations overlap', () => withDisjoint(judge, other))
    })

    test('that of a new leader and the committed one', () => {
      const { judge, cluster, leader } = group()
      cluster.core(2).term--
      judge.observe(cluster.core(2))
      leader.configurations.reset(1, makeConfiguration(1, disjoint.replicas))
      breaks('configurations overlap', () => judge.observe(leader))
    })

    test('which is not asked of the time before a recovery', () => {
      const { cluster, leader } = group()
      const judge = new RaftInvariants({ index: leader.lastIndex + 1, term: leader.term })
      cluster.core(2).term--
      judge.observe(cluster.core(2))
      leader.configurations.reset(1, makeConfiguration(1, disjoint.replicas))
      judge.observe(leader)
    })
  })

  suite('configuration of the log', () => {
    test('one that was cut off', () => {
      const { judge, cluster } = group()
      const core = cluster.core(2)
      core.configurations.append(
        core.lastIndex + 1,
        encodeConfiguration(makeConfiguration(2, [descriptor(1)])),
      )
      breaks('configuration of the log', () => judge.observe(core))
    })

    test('another one than others have committed', () => {
      const { judge, cluster } = group()
      judge.observe(cluster.core(1))
      const core = cluster.core(2)
      core.configurations.reset(1, makeConfiguration(7, [descriptor(1), descriptor(2), descriptor(3)]))
      breaks('configuration of the log', () => judge.observe(core))
    })
  })

  suite('members', () => {
    test('have ids that never come back', () => {
      const { judge, cluster, leader } = group()
      judge.observe(leader)
      assert.ok(cluster.change(1, { type: 'remove', replicaId: 3 }).accepted)
      cluster.advance(200)
      judge.observe(leader)
      const again = makeConfiguration(3, [descriptor(1), descriptor(2), descriptor(3)])
      cluster.on(1, (core) => core.appendConfiguration(again))
      cluster.advance(200)
      breaks('replica ids are minted once', () => judge.observe(leader))
    })

    test('get a vote when they have caught up', () => {
      const cluster = new Cluster(4, { learners: [4], options: { caughtUpEntries: 1 } })
      cluster.elect(1)
      cluster.advance(100)
      const judge = new RaftInvariants()
      const leader = cluster.core(1)
      judge.observe(leader)
      // Whatever it says, its disk has nothing.
      judge.issued(4, { writeId: 1 })
      cluster.judged = false
      assert.ok(cluster.change(1, { type: 'promote', replicaId: 4 }).accepted)
      breaks('promoted replicas have caught up', () => judge.observe(leader))
      judge.reminted(4)
      judge.issued(4, { writeId: 1 })
      judge.observe(leader)
    })
  })

  suite('a leader commits', () => {
    /** What it proposes is written nowhere. */
    const proposes = ({ cluster, judge, leader }: ReturnType<typeof group>): void => {
      judge.observe(leader)
      for (const id of [1, 2, 3]) judge.issued(id, { writeId: 1 })
      cluster.propose(1, 'b')
      cluster.settle()
    }

    test('what a majority has', () => {
      const unwritten = group()
      proposes(unwritten)
      breaks('committed is durable on a majority', () => unwritten.judge.observe(unwritten.leader))
      const minority = group()
      for (const id of [2, 3]) minority.judge.restarted(minority.cluster.core(id))
      minority.judge.restarted(minority.leader)
      minority.cluster.propose(1, 'b')
      minority.cluster.settle()
      const last = minority.leader.log.entries.at(-1) as LogEntry
      minority.judge.issued(1, { writeId: 1, entries: [last] })
      minority.judge.durable(1, 1)
      breaks('committed is durable on a majority', () => minority.judge.observe(minority.leader))
      // A snapshot that covers it counts.
      minority.judge.observe(minority.cluster.core(2))
      minority.judge.snapshotInstalled(3, last)
      minority.judge.observe(minority.leader)
    })

    test('directly only what is of its own term', () => {
      const { judge, leader } = group()
      leader.commitIndex -= 2
      leader.handedIndex = leader.appliedIndex = leader.commitIndex
      judge.observe(leader)
      assert.notEqual(leader.log.termAt(leader.commitIndex + 1), undefined)
      leader.log.runs = [{ index: 1, term: 1 }]
      leader.commitIndex++
      breaks('direct commit only of own term', () => judge.observe(leader))
    })
  })

  suite('linearizable reads', () => {
    test('see what was committed before they were asked', () => {
      const { judge, leader } = group()
      judge.observe(leader)
      judge.readAsked(2, 1)
      judge.readAsked(2, 2)
      judge.readServed(2, 1, leader.commitIndex)
      breaks('linearizable reads', () => judge.readServed(2, 2, leader.commitIndex - 1))
    })

    test('of a replica that crashed are forgotten, and nobody asked for them', () => {
      const { judge, leader } = group()
      judge.observe(leader)
      judge.readAsked(2, 1)
      judge.readAsked(3, 1)
      judge.crashed(2)
      judge.readServed(2, 1, 0)
      breaks('linearizable reads', () => judge.readServed(3, 1, 0))
    })
  })

  suite('nothing is left to do at rest', () => {
    const rested = (): ReturnType<typeof group> => {
      const judged = group()
      judged.leader.atRest = true
      judged.leader.heartbeatDeadlineMs = Infinity
      judged.judge.observe(judged.leader)
      return judged
    }

    test('no timer', () => {
      const { judge, leader } = rested()
      leader.heartbeatDeadlineMs = leader.nowMs + 50
      breaks('nothing is left to do at rest', () => judge.observe(leader))
    })

    test('but for those of reads, which others were asked for', () => {
      const { judge, cluster } = group()
      const core = cluster.core(2)
      core.atRest = true
      core.electionDeadlineMs = Infinity
      assert.ok(core.requestRead(1, cluster.now, { from: 'any' }).accepted)
      core.askLeader()
      assert.ok(core.nextDeadlineMs < Infinity)
      judge.observe(core)
    })

    test('no campaign', () => {
      const { judge, cluster } = group()
      const core = cluster.core(2)
      core.atRest = true
      core.electionDeadlineMs = Infinity
      judge.observe(core)
      core.role = 'candidate'
      breaks('nothing is left to do at rest', () => judge.observe(core))
    })

    test('nothing to commit, to apply or to write', () => {
      const uncommitted = rested()
      uncommitted.cluster.propose(1, 'b')
      uncommitted.leader.atRest = true
      breaks('nothing is left to do at rest', () => uncommitted.judge.observe(uncommitted.leader))
      const unapplied = rested()
      unapplied.leader.appliedIndex--
      breaks('nothing is left to do at rest', () => unapplied.judge.observe(unapplied.leader))
      const unwritten = rested()
      unwritten.leader.log.append([entry(unwritten.leader.lastIndex + 1, unwritten.leader.term)])
      unwritten.leader.commitIndex++
      unwritten.leader.log.durableIndex++
      unwritten.leader.handedIndex = unwritten.leader.appliedIndex = unwritten.leader.commitIndex
      breaks('nothing is left to do at rest', () => unwritten.judge.observe(unwritten.leader))
    })

    test('no replica that lacks something, but for one whose node is gone', () => {
      const { judge, leader } = rested()
      const progress = leader.progress.get(3)
      assert.ok(progress !== undefined)
      progress.matchIndex--
      progress.down = true
      judge.observe(leader)
      progress.down = false
      breaks('nothing is left to do at rest', () => judge.observe(leader))
    })
  })

  suite('nobody votes against a lease', () => {
    /** A leader that has a lease, by what both others pledged to it just now. */
    const leased = (): ReturnType<typeof group> => {
      const cluster = new Cluster(3, { options: { leaseMs: 100, clockDriftBound: 0.1 } })
      cluster.wallOffsetMs = 1_000_000
      cluster.advance(120)
      cluster.elect(1)
      cluster.propose(1, 'a')
      cluster.advance(60)
      cluster.judged = false
      const judge = new RaftInvariants()
      for (const id of [1, 2, 3]) judge.observe(cluster.core(id))
      assert.ok(cluster.core(1).holdsLease())
      return { cluster, judge, leader: cluster.core(1) }
    }
    /** A replica goes on to a higher term, and votes for somebody there. */
    const votes = ({ cluster, judge }: ReturnType<typeof group>, voter: number, votedFor: number): void => {
      const core = cluster.core(voter)
      core.term += 1
      core.votedFor = votedFor
      judge.observe(core)
    }

    test('of those that it counts on', () => {
      const judged = leased()
      judged.judge.lease(judged.leader)
      votes(judged, 2, 3)
      breaks('nobody votes against a lease', () => judged.judge.lease(judged.leader))
    })

    test('but a term without a vote takes nothing from it', () => {
      const judged = leased()
      votes(judged, 2, 0)
      judged.judge.lease(judged.leader)
    })

    test('nor does the vote of one whose pledge has run out while others keep theirs', () => {
      const judged = leased()
      const progress = judged.leader.progress.get(2)
      assert.ok(progress !== undefined)
      progress.leaseUntilMs = judged.leader.nowMs
      assert.ok(judged.leader.holdsLease())
      votes(judged, 2, 3)
      judged.judge.lease(judged.leader)
    })

    test('nor are those judged whose lives have ended, or a leader without a lease', () => {
      const judged = leased()
      judged.judge.crashed(2)
      judged.judge.lease(judged.leader)
      votes(judged, 3, 2)
      judged.leader.giveUpLease()
      judged.judge.lease(judged.leader)
    })
  })

  test('the whole history of a log that was compacted meanwhile', () => {
    const { judge, cluster } = group()
    const core = cluster.core(2)
    judge.observe(core)
    core.compact(core.appliedIndex)
    judge.observe(core)
    cluster.propose(1, 'b')
    cluster.propose(1, 'c')
    cluster.settle()
    judge.observe(core)
    assert.equal(judge.committedIndex, core.commitIndex)
    assert.deepEqual(core.log.entries.at(-1)?.data, utf8('c'))
    assert.notDeepEqual(core.log.entries.at(-1)?.data, emptyBytes)
  })
})
