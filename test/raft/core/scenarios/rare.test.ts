import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { emptyBytes } from '../../../../src/core/bytes.ts'
import type { EntryKind } from '../../../../src/interfaces/log-store.ts'
import {
  bootstrapState,
  configurationProblem,
  decodeConfiguration,
  encodeConfiguration,
  makeConfiguration,
  maximumReplicas,
} from '../../../../src/raft/core/configuration.ts'
import {
  changedConfiguration,
  checkMembershipChanges,
} from '../../../../src/raft/core/configuration-change.ts'
import { ConfigurationHistory } from '../../../../src/raft/core/configuration-history.ts'
import type { Configuration, MembershipChange } from '../../../../src/raft/core/membership-types.ts'
import type { Fetch } from '../../../../src/raft/core/types.ts'
import { validateMessage } from '../../../../src/raft/core/validate.ts'
import { Cluster, descriptor } from '../../support/cluster.ts'

/** Three replicas, 1 leads. */
function led(options: ConstructorParameters<typeof Cluster>[1] = {}): Cluster {
  const cluster = new Cluster(3, options)
  cluster.elect(1)
  return cluster
}

suite('what happens rarely: following', () => {
  test('a heartbeat of a second leader of the term is nonsense', () => {
    const cluster = led()
    const { term } = cluster.core(1)
    const beat = { kind: 'heartbeat', from: 3, to: 2, term, round: 1, commit: 0, match: 0 } as const
    cluster.on(2, (core) => core.step(beat, cluster.now))
    assert.equal(cluster.core(2).leader, 1)
    assert.equal(cluster.core(2).status().dropped.get('secondLeader'), 1)
  })

  test('a snapshot is offered of what is there: it is acknowledged, and known to be committed', () => {
    const cluster = led()
    cluster.deliver = ({ kind }) => kind !== 'heartbeat'
    cluster.propose(1, 'a')
    cluster.settle()
    const core = cluster.core(2)
    const { term, lastIndex } = core
    assert.ok(core.commitIndex < lastIndex)
    cluster.heal()
    cluster.log = []
    const position = { index: lastIndex, term }
    cluster.on(2, () => core.step({ kind: 'snapshotOffer', from: 1, to: 2, term, position }, cluster.now))
    cluster.settle()
    assert.equal(core.commitIndex, lastIndex)
    assert.equal(cluster.replica(2).offer, undefined)
    assert.deepEqual(
      cluster.sent('appendReply', 1).map(({ index, accepted }) => [index, accepted]),
      [[lastIndex, true]],
    )
  })

  test('a snapshot is restored that a later leader made: the term follows', () => {
    const cluster = led()
    cluster.judged = false
    const core = cluster.core(3)
    const position = { index: core.lastIndex + 5, term: core.term + 2 }
    const configuration = makeConfiguration(2, [descriptor(1), descriptor(2), descriptor(3)])
    core.snapshotRestored(position, configuration, cluster.now)
    assert.deepEqual([core.term, core.leader, core.commitIndex], [position.term, 0, position.index])
    assert.equal(core.configuration, configuration)
    assert.deepEqual(core.takeReady()?.write?.reset, position)
  })
})

suite('what happens rarely: elections', () => {
  test('a learner is told to take over, and does not', () => {
    const cluster = led({ learners: [3] })
    const { term } = cluster.core(1)
    cluster.on(3, (core) => core.step({ kind: 'timeoutNow', from: 1, to: 3, term }, cluster.now))
    cluster.settle()
    assert.deepEqual([cluster.core(3).role, cluster.core(3).term], ['follower', term])
  })

  test('the votes of those that were not asked do not count', () => {
    const cluster = led({ learners: [3] })
    cluster.isolate(2)
    cluster.advance(5_000)
    const { role, term } = cluster.core(2)
    assert.equal(role, 'preCandidate')
    cluster.on(2, (core) =>
      core.step(
        {
          kind: 'preVoteReply',
          from: 3,
          to: 2,
          term,
          candidateTerm: term + 1,
          granted: true,
          removed: false,
        },
        cluster.now,
      ),
    )
    assert.equal(cluster.core(2).status().dropped.get('notAVoter'), 1)
    assert.equal(cluster.core(2).role, 'preCandidate')
  })
})

suite('what happens rarely: leading', () => {
  test('a stream of a snapshot is reported that is needed no more', () => {
    const cluster = led()
    const progress = cluster.core(1).progress.get(2)
    assert.equal(progress?.state, 'replicate')
    cluster.on(1, (core) => core.reportSnapshot(2, 'failed', cluster.now))
    cluster.on(1, (core) => core.reportSnapshot(9, 'failed', cluster.now))
    assert.equal(cluster.core(1).progress.get(2)?.state, 'replicate')
  })

  test('what was read for a replica comes too late', () => {
    const cluster = led()
    const fetch: Fetch = {
      fetchId: 77,
      replicaId: 2,
      from: 1,
      to: 2,
      maximumBytes: 100,
      term: 2,
      truncations: 0,
      snapshotIndex: 0,
    }
    const before = cluster.core(1).fingerprint()
    cluster.on(1, (core) => core.fetchFailed(fetch, 'compacted', cluster.now))
    cluster.on(1, (core) => core.fetchFailed({ ...fetch, replicaId: 9 }, 'other', cluster.now))
    cluster.on(1, (core) => core.fetched(fetch, [], cluster.now))
    // Its own, for application.
    cluster.on(1, (core) => core.fetchFailed({ ...fetch, replicaId: 1 }, 'other', cluster.now))
    cluster.on(1, (core) => core.fetched({ ...fetch, replicaId: 1 }, [], cluster.now))
    assert.equal(cluster.core(1).fingerprint(), before)
  })

  test('what is to be applied cannot be read, and is asked for again', () => {
    const cluster = led({ options: { maximumTailBytes: 0, maximumApplyingBytes: 1 } })
    cluster.answersFetches = false
    cluster.replica(2).idle = true
    for (const data of ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']) cluster.propose(1, data)
    cluster.advance(200)
    cluster.replica(2).idle = false
    cluster.advance(200)
    const first = cluster.replica(2).fetches.at(-1)
    assert.equal(first?.replicaId, 2)
    cluster.replica(2).fetches = []
    cluster.on(2, (core) => core.fetchFailed(first, 'other', cluster.now))
    cluster.answersFetches = true
    cluster.advance(200)
    assert.deepEqual(cluster.applied(2), ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'])
  })

  test('who leadership is handed to loses its vote: the hand-over has failed', () => {
    const cluster = led()
    cluster.isolate(2)
    cluster.propose(1, 'a')
    cluster.on(1, (core) => {
      assert.ok(core.transferLeadership(2, cluster.now).accepted)
      const before = core.configuration as Configuration
      const after = changedConfiguration(before, [{ type: 'remove', replicaId: 2 }], 0, true)
      core.appendConfiguration(after as Configuration)
    })
    cluster.settle()
    assert.deepEqual(cluster.replica(1).transfers, ['failed'])
    assert.equal(cluster.core(1).role, 'leader')
    cluster.propose(1, 'b')
  })

  test('a group is full', () => {
    const members = Array.from({ length: maximumReplicas }, (_, i) =>
      descriptor(i + 1, i < 3 ? 'voter' : 'learner'),
    )
    const change = { type: 'addLearner', nodeId: 'one-more', incarnation: 1 } as const
    const after = (replicas: typeof members): unknown =>
      changedConfiguration(makeConfiguration(1, replicas), [change], 5_000, true)
    assert.equal(typeof after(members.slice(1)), 'object')
    assert.equal(after(members), 'groupFull')
  })
})

suite('what happens rarely: reads of followers', () => {
  test('count against the limit while the leader is asked', () => {
    const cluster = led({ options: { maximumPendingReads: 2 } })
    cluster.deliver = ({ kind }) => kind !== 'readIndex'
    cluster.read(2, { from: 'any' })
    cluster.settle()
    cluster.read(2, { from: 'any' })
    assert.equal(cluster.core(2).pendingReads, 2)
    const answer = cluster.on(2, (core) => core.requestRead(99, cluster.now, { from: 'any' }))
    assert.equal(!answer.accepted && answer.reason, 'overloaded')
  })

  test('fail when the leader goes before it was asked', () => {
    const cluster = led()
    const context = cluster.read(2, { from: 'any' })
    const { term } = cluster.core(2)
    cluster.on(2, (core) =>
      core.step(
        { kind: 'heartbeat', from: 3, to: 2, term: term + 1, round: 1, commit: 0, match: 0 },
        cluster.now,
      ),
    )
    cluster.drain(2)
    assert.deepEqual(cluster.replica(2).failedReads, [context])
  })
})

suite('what happens rarely: configurations', () => {
  const malformed = { code: 'MALFORMED' }

  test('have limits', () => {
    const many = Array.from({ length: maximumReplicas + 1 }, (_, i) => descriptor(i + 1))
    const problem = `has more than ${maximumReplicas} replicas`
    assert.equal(configurationProblem(makeConfiguration(1, many)), problem)
    assert.throws(() => decodeConfiguration(encodeConfiguration(makeConfiguration(1, many))), malformed)
    assert.throws(() => bootstrapState(many), { code: 'INVALID_ARGUMENT' })
    assert.throws(() => bootstrapState([descriptor(maximumReplicas + 1)]), /ids 1 to n/)
  })

  test('know five roles', () => {
    const replicas = [{ ...descriptor(1), role: 'witness' as 'voter' }]
    assert.match(configurationProblem(makeConfiguration(1, replicas)) ?? '', /a role that there is not/)
  })

  test('that are not known have no voters', () => {
    const cluster = new Cluster(3)
    cluster.startEmpty(9)
    assert.deepEqual(cluster.core(9).voters(), [])
  })

  test('are rolled back to none, where there was none', () => {
    const history = new ConfigurationHistory()
    history.append(4, encodeConfiguration(makeConfiguration(1, [descriptor(1)])))
    history.append(6, encodeConfiguration(makeConfiguration(2, [descriptor(1)])))
    assert.equal(history.latestIndex, 6)
    history.truncateFrom(5)
    assert.equal(history.latestIndex, 4)
    history.truncateFrom(1)
    assert.deepEqual([history.latest, history.latestIndex], [undefined, 0])
  })

  test('are changed in ways that make sense', () => {
    const good: MembershipChange[] = [
      { type: 'addLearner', nodeId: 'n9', incarnation: 4 },
      { type: 'promote', replicaId: 4 },
      { type: 'remove', replicaId: 4 },
    ]
    for (const change of good) checkMembershipChanges(change)
    const bad: unknown[] = [
      undefined,
      { type: 'addLearner', nodeId: '', incarnation: 4 },
      { type: 'addLearner', nodeId: 'n9', incarnation: 0 },
      { type: 'promote', replicaId: 0.5 },
      { type: 'demolish', replicaId: 4 },
    ]
    for (const change of bad) {
      assert.throws(() => checkMembershipChanges(change as MembershipChange), { code: 'INVALID_ARGUMENT' })
    }
  })
})

test('an entry of a kind that only a later release knows is not nonsense', () => {
  const entries = [{ index: 1, term: 1, kind: 77 as EntryKind, data: emptyBytes }]
  assert.throws(
    () =>
      validateMessage({
        kind: 'append',
        from: 1,
        to: 2,
        term: 1,
        prevIndex: 0,
        prevTerm: 0,
        commit: 0,
        entries,
      }),
    { code: 'FORMAT_VERSION', details: { index: 1, kind: 77 } },
  )
})
