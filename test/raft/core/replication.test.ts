import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { emptyBytes, utf8 } from '../../../src/core/bytes.ts'
import { entryKinds, type LogEntry } from '../../../src/interfaces/log-store.ts'
import { Cluster } from '../support/cluster.ts'

const command = (index: number, term: number, data = `${index}/${term}`): LogEntry => ({
  index,
  term,
  kind: entryKinds.command,
  data: utf8(data),
})

/** Three replicas of which only 3 lives; the test speaks for leaders 1 and 2. */
function follower(): Cluster {
  const cluster = new Cluster(3)
  cluster.crash(1)
  cluster.crash(2)
  cluster.judged = false
  return cluster
}

function append(
  cluster: Cluster,
  from: number,
  term: number,
  prevIndex: number,
  prevTerm: number,
  entries: readonly LogEntry[],
  commit = 0,
): void {
  const message = { kind: 'append', from, to: 3, term, prevIndex, prevTerm, entries, commit } as const
  cluster.on(3, (core) => core.step(message, cluster.now))
}

function replies(cluster: Cluster): string[] {
  cluster.drain(3)
  const out = cluster.sent('appendReply').map((m) => `${m.accepted ? 'yes' : 'no'} ${m.index} in ${m.term}`)
  cluster.log = []
  return out
}

suite('a follower', () => {
  test('takes what follows, and says up to where once it is durable', () => {
    const cluster = follower()
    cluster.replica(3).stalled = true
    append(cluster, 1, 2, 3, 1, [command(4, 2), command(5, 2)])
    assert.deepEqual(replies(cluster), [])
    cluster.replica(3).stalled = false
    assert.deepEqual(replies(cluster), ['yes 5 in 2'])
  })

  test('answers all appends of a turn at once', () => {
    const cluster = follower()
    append(cluster, 1, 2, 3, 1, [command(4, 2)])
    append(cluster, 1, 2, 4, 2, [command(5, 2)])
    append(cluster, 1, 2, 3, 1, [command(4, 2)])
    assert.deepEqual(replies(cluster), ['yes 5 in 2'])
  })

  test('acknowledges only what the append proves', () => {
    const cluster = follower()
    append(cluster, 1, 2, 3, 1, [command(4, 2), command(5, 2), command(6, 2)])
    replies(cluster)
    append(cluster, 2, 3, 4, 2, [])
    assert.deepEqual(replies(cluster), ['yes 4 in 3'])
  })

  test('commits only what was proven equal, however high the leader has committed', () => {
    const cluster = follower()
    append(cluster, 1, 2, 3, 1, [command(4, 2), command(5, 2), command(6, 2)])
    append(cluster, 2, 3, 4, 2, [], 6)
    assert.equal(cluster.core(3).commitIndex, 4)
    const beat = { kind: 'heartbeat', from: 2, to: 3, term: 3, round: 1, commit: 6, match: 6 } as const
    cluster.on(3, (core) => core.step(beat, cluster.now))
    assert.equal(cluster.core(3).commitIndex, 4)
  })

  test('cuts nothing off for a delayed append that it has already, nor for an empty one', () => {
    const cluster = follower()
    append(cluster, 1, 2, 3, 1, [command(4, 2), command(5, 2), command(6, 2)])
    append(cluster, 1, 2, 3, 1, [command(4, 2)])
    append(cluster, 1, 2, 4, 2, [])
    assert.equal(cluster.core(3).lastIndex, 6)
    assert.equal(cluster.core(3).log.truncations, 0)
  })

  test('cuts off from the first contradiction on', () => {
    const cluster = follower()
    append(cluster, 1, 2, 3, 1, [command(4, 2), command(5, 2), command(6, 2)])
    append(cluster, 2, 3, 3, 1, [command(4, 2), command(5, 3)])
    assert.deepEqual(cluster.entries(3), ['1/1', '2/1', '3/1', '4/2', '5/3'])
  })

  test('names where the logs can still agree, a term at a time', () => {
    const cluster = follower()
    const entries = [4, 5, 6].map((i) => command(i, 2)).concat([7, 8, 9].map((i) => command(i, 4)))
    append(cluster, 1, 4, 3, 1, entries)
    cluster.drain(3)
    cluster.log = []
    append(cluster, 2, 5, 8, 3, [])
    append(cluster, 2, 5, 20, 5, [])
    cluster.drain(3)
    assert.deepEqual(
      cluster.sent('appendReply').map((m) => [m.index, m.accepted, m.hintIndex, m.hintTerm]),
      [
        [8, false, 6, 2],
        [20, false, 9, 4],
      ],
    )
  })

  test('tells the leader of an older term its own', () => {
    const cluster = follower()
    append(cluster, 2, 9, 3, 1, [])
    replies(cluster)
    append(cluster, 1, 4, 3, 1, [command(4, 4)])
    assert.deepEqual(replies(cluster), ['no 0 in 9'])
    assert.equal(cluster.core(3).lastIndex, 3)
  })

  test('does not follow a second leader in a term, and drops what contradicts the committed', () => {
    const cluster = follower()
    append(cluster, 1, 2, 3, 1, [command(4, 2)], 4)
    const before = cluster.core(3).fingerprint()
    append(cluster, 2, 2, 3, 1, [command(4, 2, 'other'), command(5, 2)])
    assert.equal(cluster.core(3).status().dropped.get('secondLeader'), 1)
    append(cluster, 1, 3, 2, 1, [command(3, 1), command(4, 3), command(5, 3)])
    assert.equal(cluster.core(3).status().dropped.get('contradictsCommitted'), 1)
    assert.equal(cluster.core(3).lastIndex, 4)
    assert.notEqual(cluster.core(3).fingerprint(), before)
  })
})

suite('writes under way', () => {
  test('an acknowledgement does not survive the truncation of what it spoke for', () => {
    const cluster = follower()
    append(cluster, 1, 2, 3, 1, [command(4, 2), command(5, 2)])
    append(cluster, 2, 3, 3, 1, [command(4, 3)])
    assert.deepEqual(replies(cluster), ['yes 4 in 3'])
  })

  test('a write does not make durable what was cut off and refilled meanwhile (ABA)', () => {
    const cluster = follower()
    const replica = cluster.replica(3)
    replica.stalled = true
    append(cluster, 1, 2, 3, 1, [command(4, 2), command(5, 2), command(6, 2)])
    cluster.drain(3)
    append(cluster, 2, 3, 4, 2, [command(5, 3), command(6, 3)], 6)
    cluster.drain(3)
    assert.deepEqual(
      replica.writes.map((write) => write.entries?.map((entry) => `${entry.index}/${entry.term}`)),
      [
        ['4/2', '5/2', '6/2'],
        ['5/3', '6/3'],
      ],
    )
    cluster.persist(3, 1)
    assert.equal(cluster.core(3).log.durableIndex, 4)
    cluster.drain(3)
    assert.deepEqual(cluster.applied(3), ['4/2'])
    cluster.persist(3, 1)
    assert.equal(cluster.core(3).log.durableIndex, 6)
    cluster.drain(3)
    assert.deepEqual(cluster.applied(3), ['4/2', '5/3', '6/3'])
  })

  test('nothing is applied before it is durable here, however committed', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.replica(3).stalled = true
    cluster.propose(1, 'a')
    cluster.advance(200)
    assert.deepEqual(cluster.applied(2), ['a'])
    assert.deepEqual(cluster.applied(3), [])
    assert.equal(cluster.core(3).lastIndex, cluster.core(1).lastIndex)
    cluster.replica(3).stalled = false
    cluster.advance(200)
    assert.deepEqual(cluster.applied(3), ['a'])
  })

  test('the leader replicates before its own write is durable, and counts itself only after', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.crash(3)
    cluster.replica(1).stalled = true
    cluster.propose(1, 'a')
    cluster.settle()
    const { lastIndex } = cluster.core(1)
    assert.equal(cluster.core(2).log.durableIndex, lastIndex)
    assert.equal(cluster.core(1).commitIndex, lastIndex - 1)
    cluster.replica(1).stalled = false
    cluster.settle()
    assert.deepEqual(cluster.applied(1), ['a'])
  })

  test('a majority of followers commits without the leader, which applies when it has it, too', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.replica(1).stalled = true
    cluster.propose(1, 'a')
    cluster.settle()
    assert.equal(cluster.core(1).commitIndex, cluster.core(1).lastIndex)
    assert.deepEqual(cluster.applied(2), ['a'])
    assert.deepEqual(cluster.applied(1), [])
    cluster.replica(1).stalled = false
    cluster.settle()
    assert.deepEqual(cluster.applied(1), ['a'])
  })

  test('a single voter commits only after its write', () => {
    const cluster = new Cluster(1)
    cluster.elect(1)
    cluster.replica(1).stalled = true
    cluster.propose(1, 'a')
    cluster.settle()
    assert.equal(cluster.core(1).commitIndex, cluster.core(1).lastIndex - 1)
    cluster.replica(1).stalled = false
    cluster.settle()
    assert.deepEqual(cluster.applied(1), ['a'])
  })

  test('several writes are under way at once, in order, and one may report for all before it', () => {
    const cluster = new Cluster(1)
    cluster.elect(1)
    cluster.replica(1).stalled = true
    for (const data of ['a', 'b', 'c']) {
      cluster.propose(1, data)
      cluster.settle()
    }
    const { writes } = cluster.replica(1)
    const first = writes[0]?.writeId as number
    assert.deepEqual(
      writes.map((write) => write.writeId),
      [first, first + 1, first + 2],
    )
    cluster.persist(1, 3)
    cluster.settle()
    assert.deepEqual(cluster.applied(1), ['a', 'b', 'c'])
  })

  test('term and vote are one record, and every write of entries carries it', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.replica(1).stalled = true
    cluster.propose(1, 'a')
    cluster.settle()
    const write = cluster.replica(1).writes[0]
    assert.deepEqual(write?.hardState, { term: 2, votedFor: 1, commit: 4 })
    assert.equal(write?.entries?.length, 1)
  })
})

suite('a leader', () => {
  test('brings logs of every shape of figure 7 in line: probe first, then stream', () => {
    // Terms of the followers' entries after the bootstrap's, as in the paper; the leader's own first.
    const shapes: readonly (readonly number[])[] = [
      [2, 2, 2, 5, 5, 6, 6, 7, 7, 7],
      [2, 2, 2, 5, 5, 6, 6, 7, 7],
      [2, 2, 2, 5],
      [2, 2, 2, 5, 5, 6, 6, 7, 7, 7, 7],
      [2, 2, 2, 5, 5, 6, 6, 7, 7, 7, 8, 8],
      [2, 2, 2, 5, 5, 5, 5],
      [2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4],
    ]
    const cluster = new Cluster(7)
    cluster.judged = false
    shapes.forEach((terms, i) => {
      const { disk } = cluster.replica(i + 1)
      terms.forEach((term, at) => {
        disk.entries.push(command(8 + at, term))
      })
      disk.hardState = { term: 8, votedFor: 0, commit: 7 }
      cluster.crash(i + 1)
      cluster.restart(i + 1)
    })
    cluster.elect(1)
    cluster.advance(500)
    const { progress } = cluster.core(1).status()
    for (const id of [2, 3, 4, 5, 6, 7]) {
      assert.deepEqual(cluster.entries(id), cluster.entries(1))
      assert.equal(progress.get(id)?.state, 'replicate')
      // At most one refusal per term that differs.
      const refusals = cluster.log.filter((m) => m.from === id && m.kind === 'appendReply' && !m.accepted)
      assert.ok(refusals.length <= 3, `${id} refused ${refusals.length} times`)
    }
  })

  test('figure 8: an entry of an earlier term on a majority is not committed by counting', () => {
    const cluster = new Cluster(5, {
      options: { preVote: false, checkQuorum: false, maximumAppendEntries: 1 },
    })
    const only = (...ids: number[]): void => cluster.partition(ids)
    // (a) 1 leads in term 2 and replicates its entry to 2 alone.
    cluster.elect(1)
    only(1, 2)
    cluster.propose(1, 'two')
    cluster.settle()
    const index = cluster.core(1).lastIndex
    // (b) 5 leads in a later term and has another entry there.
    cluster.crash(1)
    cluster.deliver = (m) => m.kind !== 'append' && ![m.from, m.to].some((id) => id < 3)
    cluster.elect(5)
    const { term } = cluster.core(5)
    only(5)
    cluster.propose(5, 'three')
    cluster.settle()
    assert.deepEqual(cluster.core(5).log.termAt(index), term)
    // (c) 1 is back, leads, and replicates the old entry to a majority; its own no-op reaches nobody.
    cluster.crash(5)
    cluster.restart(1)
    cluster.deliver = (m) =>
      [1, 2, 3].includes(m.from) &&
      [1, 2, 3].includes(m.to) &&
      !(
        m.kind === 'append' &&
        m.entries.some((entry) => entry.term > term) &&
        cluster.core(m.to).log.matches(m.prevIndex, m.prevTerm)
      )
    for (let i = 0; i < 3 && cluster.core(1).role !== 'leader'; i++) {
      cluster.on(1, (core) => core.campaign(cluster.now))
      cluster.settle()
    }
    assert.equal(cluster.core(1).role, 'leader')
    cluster.advance(200)
    for (const id of [1, 2, 3]) assert.equal(cluster.core(id).log.termAt(index), 2)
    assert.ok(cluster.core(1).commitIndex < index)
    // (e) once an entry of its own term is on a majority, both are committed.
    cluster.partition([1, 2, 3])
    cluster.advance(400)
    assert.ok(cluster.core(1).commitIndex > index)
    assert.deepEqual(cluster.applied(2), ['two'])
  })

  test('stops at the limits in flight, and goes on with each acknowledgement', () => {
    const cluster = new Cluster(2, {
      options: { maximumInFlightMessages: 2, maximumAppendEntries: 1, maximumInFlightBytes: 1000 },
    })
    cluster.elect(1)
    cluster.replica(2).stalled = true
    cluster.propose(1, 'a', 'b', 'c', 'd', 'e')
    cluster.settle()
    const progress = (): unknown => {
      const p = cluster.core(1).status().progress.get(2)
      return [p?.inFlightMessages, p?.inFlightBytes, p?.state]
    }
    assert.deepEqual(progress(), [2, 2, 'replicate'])
    cluster.persist(2, 1)
    cluster.settle()
    assert.deepEqual(progress(), [2, 2, 'replicate'])
    cluster.replica(2).stalled = false
    cluster.settle()
    assert.deepEqual(progress(), [0, 0, 'replicate'])
    assert.deepEqual(cluster.applied(2), ['a', 'b', 'c', 'd', 'e'])
  })

  test('stops at the bytes in flight, but lets a larger entry pass alone', () => {
    const cluster = new Cluster(2, { options: { maximumInFlightBytes: 4, maximumAppendBytes: 3 } })
    cluster.elect(1)
    cluster.replica(2).stalled = true
    cluster.propose(1, 'aa', 'bb', 'cc', 'too large for any of it', 'd')
    cluster.settle()
    assert.ok((cluster.core(1).status().progress.get(2)?.inFlightBytes ?? 99) <= 4)
    cluster.replica(2).stalled = false
    cluster.settle()
    assert.deepEqual(cluster.applied(2), ['aa', 'bb', 'cc', 'too large for any of it', 'd'])
    assert.equal(cluster.core(1).status().progress.get(2)?.inFlightBytes, 0)
  })

  test('notices lost messages by the answer to a heartbeat', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.deliver = (message) => message.kind !== 'append'
    cluster.propose(1, 'a')
    cluster.settle()
    cluster.heal()
    cluster.advance(200)
    assert.deepEqual(cluster.applied(2), ['a'])
    assert.deepEqual(cluster.applied(3), ['a'])
  })

  test('a heartbeat answer resumes a probe whose message was lost', () => {
    const cluster = new Cluster(3)
    cluster.deliver = (message) => message.kind !== 'append'
    cluster.elect(1)
    assert.equal(cluster.core(1).progress.get(2)?.paused, true)
    cluster.heal()
    cluster.advance(60)
    assert.equal(cluster.core(1).progress.get(2)?.state, 'replicate')
  })

  test('probes again from what is acknowledged when a peer is reported unreachable', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.deliver = (message) => message.to !== 2
    cluster.propose(1, 'a')
    cluster.settle()
    cluster.on(1, (core) => core.peerUnreachable(2, cluster.now))
    const progress = cluster.core(1).progress.get(2)
    assert.equal(progress?.state, 'probe')
    assert.equal(progress?.nextIndex, progress.matchIndex + 1)
    assert.equal(progress?.inFlight.bytes, 0)
  })

  test('tells followers of a commit at once, without asking for an answer', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.log = []
    cluster.propose(1, 'a')
    cluster.settle()
    assert.deepEqual(cluster.applied(3), ['a'])
    assert.ok(cluster.sent('heartbeat').every((message) => message.round === 0))
    assert.equal(cluster.sent('heartbeatReply').length, 0)
  })

  test('tells followers of a few commits with the next append, or a little later', () => {
    const cluster = new Cluster(3, { options: { commitNoticeMs: 5 } })
    cluster.elect(1)
    cluster.advance(1000)
    const before = cluster.core(3).commitIndex
    cluster.log = []
    cluster.propose(1, 'a')
    cluster.settle()
    assert.equal(cluster.core(1).commitIndex, before + 1)
    assert.equal(cluster.core(3).commitIndex, before)
    cluster.propose(1, 'b')
    cluster.settle()
    assert.equal(cluster.core(3).commitIndex, before + 1)
    assert.equal(cluster.sent('heartbeat').length, 0)
    assert.equal(cluster.core(1).nextDeadlineMs, cluster.now + 5)
    cluster.advance(4)
    assert.equal(cluster.core(3).commitIndex, before + 1)
    cluster.advance(1)
    assert.equal(cluster.core(3).commitIndex, before + 2)
    assert.equal(cluster.core(1).noticeDeadlineMs, Infinity)
  })

  test('tells followers of many commits at once', () => {
    const cluster = new Cluster(3, { options: { commitNoticeMs: 5 } })
    cluster.elect(1)
    cluster.advance(1000)
    const before = cluster.core(3).commitIndex
    cluster.propose(1, ...Array.from({ length: 16 }, (_, i) => `${i}`))
    cluster.settle()
    assert.equal(cluster.core(3).commitIndex, before + 16)
  })

  test('sends what was proposed in one turn in one message, the same array to all and to the disk', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    const { core } = cluster.replica(1)
    for (const data of ['a', 'b', 'c']) cluster.propose(1, data)
    const ready = core.takeReady()
    const appends = ready?.messages.filter((message) => message.kind === 'append') ?? []
    assert.equal(appends.length, 2)
    assert.equal(appends[0]?.entries.length, 3)
    assert.equal(appends[0]?.entries, appends[1]?.entries)
    assert.equal(appends[0]?.entries, ready?.write?.entries)
  })

  test('ignores acknowledgements of another term, of strangers and of what it never sent', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.isolate(1)
    cluster.propose(1, 'a')
    cluster.settle()
    cluster.judged = false
    const { term, lastIndex, commitIndex } = cluster.core(1)
    const reply = { kind: 'appendReply', to: 1, accepted: true, hintIndex: 0, hintTerm: 0 } as const
    const step = (from: number, replyTerm: number, index: number): void =>
      cluster.on(1, (core) => core.step({ ...reply, from, term: replyTerm, index }, cluster.now))
    step(2, term - 1, lastIndex)
    step(9, term, lastIndex)
    step(2, term, lastIndex + 1)
    assert.equal(cluster.core(1).commitIndex, commitIndex)
    const { dropped } = cluster.core(1).status()
    assert.deepEqual(
      ['lowerTerm', 'notAMember', 'beyondLog'].map((reason) => dropped.get(reason)),
      [1, 1, 1],
    )
    step(2, term, lastIndex)
    assert.equal(cluster.core(1).commitIndex, lastIndex)
  })

  test('refuses proposals when too much is uncommitted, too large, empty, or of a wrong kind', () => {
    const cluster = new Cluster(3, { options: { maximumUncommittedBytes: 138, maximumEntryBytes: 8 } })
    const propose = (...sizes: number[]): unknown => {
      const result = cluster.on(1, (core) =>
        core.propose(
          sizes.map((size) => ({ kind: entryKinds.command, data: new Uint8Array(size) })),
          cluster.now,
        ),
      )
      return result.accepted ? result.lastIndex - result.firstIndex + 1 : result.reason
    }
    assert.equal(propose(1), 'notLeader')
    cluster.elect(1)
    cluster.isolate(1)
    assert.equal(propose(), 'invalid')
    assert.equal(propose(9), 'invalid')
    assert.equal(propose(5, 5), 2)
    assert.equal(propose(1), 'overloaded')
    cluster.heal()
    cluster.advance(200)
    assert.equal(propose(8, 8), 2)
    const noop = cluster.on(1, (core) =>
      core.propose([{ kind: entryKinds.noop, data: emptyBytes }], cluster.now),
    )
    assert.equal(noop.accepted ? '' : noop.reason, 'invalid')
  })

  test('commits after a hiccup: a follower that lagged learns the commit with the next append', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.deliver = (message) => message.to !== 3
    for (let i = 0; i < 20; i++) {
      cluster.propose(1, `${i}`)
      cluster.settle()
    }
    cluster.heal()
    cluster.advance(200)
    assert.equal(cluster.applied(3).length, 20)
    assert.equal(cluster.core(3).commitIndex, cluster.core(1).commitIndex)
  })
})

suite('entries that left memory', () => {
  function lagging(): Cluster {
    const cluster = new Cluster(3, { options: { maximumTailBytes: 0, maximumAppendEntries: 3 } })
    cluster.elect(1)
    cluster.crash(3)
    for (let i = 0; i < 10; i++) {
      cluster.propose(1, `${i}`)
      cluster.settle()
    }
    assert.ok(cluster.core(1).log.memoryFirst > 10)
    cluster.restart(3)
    return cluster
  }

  test('are fetched from the store', () => {
    const cluster = lagging()
    cluster.advance(500)
    assert.equal(cluster.applied(3).length, 10)
    assert.equal(cluster.core(1).progress.get(3)?.state, 'replicate')
  })

  test('are dropped when term, truncations or snapshot changed since they were asked for', () => {
    for (const change of ['term', 'truncations', 'snapshotIndex'] as const) {
      const cluster = lagging()
      cluster.answersFetches = false
      cluster.advance(100)
      const fetch = cluster.replica(1).fetches.shift()
      assert.ok(fetch !== undefined)
      cluster.log = []
      const entries = cluster
        .replica(1)
        .disk.entries.filter((e) => e.index >= fetch.from && e.index <= fetch.to)
      cluster.on(1, (core) => core.fetched({ ...fetch, [change]: fetch[change] + 1 }, entries, cluster.now))
      cluster.drain(1)
      assert.equal(cluster.sent('append', 3).length, 0)
      // It asks again.
      assert.equal(cluster.replica(1).fetches[0]?.from, fetch.from)
    }
  })

  test('are not believed when they are not what the log has there', () => {
    const cluster = lagging()
    cluster.answersFetches = false
    cluster.advance(100)
    const fetch = cluster.replica(1).fetches.shift()
    assert.ok(fetch !== undefined)
    cluster.log = []
    cluster.on(1, (core) => core.fetched(fetch, [command(fetch.from, 1)], cluster.now))
    cluster.drain(1)
    assert.equal(cluster.sent('append', 3).length, 0)
  })

  test('a read error is not the end of the log: it is tried again', () => {
    const cluster = lagging()
    cluster.answersFetches = false
    cluster.advance(100)
    const fetch = cluster.replica(1).fetches.shift()
    assert.ok(fetch !== undefined)
    cluster.on(1, (core) => core.fetchFailed(fetch, 'other', cluster.now))
    cluster.answersFetches = true
    cluster.advance(500)
    assert.equal(cluster.applied(3).length, 10)
  })

  test('are fetched for application, too, when the state machine lags', () => {
    const cluster = new Cluster(1, { options: { maximumTailBytes: 0, maximumApplyingBytes: 200 } })
    cluster.elect(1)
    cluster.replica(1).idle = true
    for (let i = 0; i < 10; i++) {
      cluster.propose(1, `${i}`)
      cluster.settle()
    }
    // Handed out within the limit; the rest neither waits in memory nor is lost.
    assert.ok(cluster.replica(1).toApply.length < 6)
    assert.ok(cluster.core(1).log.memoryBytes <= 200)
    cluster.replica(1).idle = false
    cluster.settle()
    assert.equal(cluster.applied(1).length, 10)
  })
})

suite('restarts', () => {
  test('of the whole group lose nothing that was committed', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.propose(1, 'a', 'b')
    cluster.settle()
    for (const id of [1, 2, 3]) cluster.crash(id)
    for (const id of [1, 2, 3]) cluster.restart(id)
    cluster.advance(3000)
    cluster.propose(cluster.leader().replicaId, 'c')
    cluster.settle()
    for (const id of [1, 2, 3]) assert.deepEqual(cluster.applied(id), ['a', 'b', 'c'])
  })

  test('lose what was not durable, and nobody counted on it', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.isolate(1)
    cluster.replica(1).stalled = true
    cluster.propose(1, 'gone')
    cluster.settle()
    cluster.crash(1)
    cluster.replica(1).writes = []
    cluster.heal()
    cluster.restart(1)
    cluster.advance(3000)
    cluster.propose(cluster.leader().replicaId, 'kept')
    cluster.settle()
    for (const id of [1, 2, 3]) assert.deepEqual(cluster.applied(id), ['kept'])
  })

  test('that nobody noticed do not keep a follower from learning what is committed', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.advance(100)
    // It acknowledges an entry, and starts again before it hears that it is committed.
    cluster.deliver = ({ kind, to }) => to !== 3 || kind === 'append'
    cluster.propose(1, 'a')
    cluster.settle()
    assert.deepEqual(cluster.applied(1), ['a'])
    assert.deepEqual(cluster.applied(3), [])
    cluster.crash(3)
    cluster.heal()
    cluster.restart(3)
    cluster.log = []
    cluster.advance(200)
    assert.deepEqual(cluster.applied(3), ['a'])
    assert.equal(cluster.sent('append', 3).length, 1)
  })

  test('are not what a late answer tells of when an append is on its way', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    cluster.advance(100)
    const late = (): void => {
      cluster.log = []
      const { term } = cluster.core(1)
      const message = { kind: 'appendReply', from: 3, to: 1, term, index: 1, accepted: true } as const
      cluster.on(1, (core) => core.step({ ...message, hintIndex: 0, hintTerm: 0 }, cluster.now))
      cluster.drain(1)
    }
    late()
    assert.deepEqual(
      cluster.sent('append', 3).map(({ entries }) => entries.length),
      [0],
    )
    cluster.settle()
    cluster.deliver = ({ to }) => to !== 3
    cluster.propose(1, 'a')
    cluster.settle()
    late()
    assert.equal(cluster.sent('append', 3).length, 0)
  })

  test('refuse a disk that contradicts itself', () => {
    const cluster = new Cluster(1)
    const { disk } = cluster.replica(1)
    disk.hardState = { term: 1, votedFor: 0, commit: 5 }
    assert.throws(() => cluster.restart(1), { code: 'CORRUPTION' })
    disk.hardState = { term: 1, votedFor: 0, commit: 1 }
    disk.entries = [...disk.entries, command(3, 1)]
    assert.throws(() => cluster.restart(1), { code: 'CORRUPTION' })
    disk.entries = [{ index: 1, term: 1, kind: entryKinds.configuration, data: utf8('nonsense') }]
    assert.throws(() => cluster.restart(1), { code: 'CORRUPTION' })
  })
})
