import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { encodePlain } from '../../../src/core/codec.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { ReplicaDescriptor } from '../../../src/model/descriptors.ts'
import {
  bootstrapState,
  decodeConfiguration,
  encodeConfiguration,
  makeConfiguration,
} from '../../../src/raft/core/configuration.ts'
import { checkMembershipChanges } from '../../../src/raft/core/configuration-change.ts'
import { ConfigurationPool } from '../../../src/raft/core/configuration-pool.ts'
import type { Configuration, MembershipChange } from '../../../src/raft/core/membership-types.ts'
import { checkRaftOptions, defaultRaftOptions } from '../../../src/raft/core/options.ts'

const voter = (replicaId: number): ReplicaDescriptor => ({
  replicaId,
  nodeId: `n${replicaId}`,
  incarnation: 100 + replicaId,
  role: 'voter',
})

suite('changes that somebody asks for', () => {
  test('are checked before they can get into a log', () => {
    const right: MembershipChange[] = [
      { type: 'addLearner', nodeId: 'n4', incarnation: 1 },
      { type: 'addLearner', nodeId: 'n5', incarnation: 1, autoPromote: true, priority: 3 },
      { type: 'promote', replicaId: 4 },
      { type: 'promoteLater', replicaId: 5 },
      { type: 'demote', replicaId: 1 },
      { type: 'remove', replicaId: 2 },
      { type: 'setPriority', replicaId: 3, priority: 9 },
    ]
    checkMembershipChanges(right)
    checkMembershipChanges({ type: 'leaveJoint' })
    const wrong = [
      { type: 'addLearner', nodeId: 'n4', incarnation: 0 },
      { type: 'addLearner', nodeId: 'n4', incarnation: 1, autoPromote: 'yes' },
      { type: 'addLearner', nodeId: 'n4', incarnation: 1, priority: 0.5 },
      { type: 'promote', replicaId: '4' },
      { type: 'promote', replicaId: 4, role: 'voter' },
      { type: 'setPriority', replicaId: 3, priority: -1 },
      { type: 'setPriority', replicaId: 0, priority: 1 },
      { type: 'addVoter', nodeId: 'n4', incarnation: 1 },
      null,
    ]
    for (const change of wrong) {
      assert.throws(() => checkMembershipChanges(change as never), { code: 'INVALID_ARGUMENT' })
      assert.throws(() => checkMembershipChanges([change as never]), { code: 'INVALID_ARGUMENT' })
    }
  })
})

suite('configurations', () => {
  test('survive encoding', () => {
    const configuration = makeConfiguration(
      7,
      [voter(1), { ...voter(9), role: 'learner' }],
      [{ type: 'addLearner', replicaId: 9 }],
    )
    assert.deepEqual(decodeConfiguration(encodeConfiguration(configuration)), configuration)
  })

  test('are written in the first version as long as that can say all of it', () => {
    const members = [voter(1), voter(2)]
    const versionOf = (configuration: Configuration): number =>
      encodeConfiguration(configuration)[1] as number
    assert.equal(versionOf(makeConfiguration(1, members)), 1)
    assert.equal(versionOf(makeConfiguration(2, members, [{ type: 'remove', replicaId: 3 }])), 1)
    assert.equal(versionOf(makeConfiguration(2, members, [{ type: 'leaveJoint', replicaId: 0 }])), 2)
    const two = [
      { type: 'promote', replicaId: 1 },
      { type: 'promote', replicaId: 2 },
    ] as const
    assert.equal(versionOf(makeConfiguration(2, members, two)), 2)
    assert.equal(versionOf(makeConfiguration(2, [{ ...voter(1), priority: 1 }])), 2)
    assert.equal(versionOf(makeConfiguration(2, members, [], { autoLeave: false })), 2)
  })

  test('that make no sense are refused', () => {
    const bad: unknown[] = [
      [1, 0, [[1, 'n1', 1, 1]], null],
      [1, 1, [], null],
      [1, 1, [[1, 'n1', 1, 0]], null],
      [
        1,
        1,
        [
          [1, 'n1', 1, 1],
          [1, 'n2', 1, 1],
        ],
        null,
      ],
      [
        1,
        1,
        [
          [1, 'n1', 1, 1],
          [2, 'n1', 1, 1],
        ],
        null,
      ],
      [1, 1, [[0, 'n1', 1, 1]], null],
      [1, 1, [[1, '../n1', 1, 1]], null],
      [1, 1, [[1, 'n1', 1, 1]], [3, 1]],
      [1, 1, [[1, 'n1', 1, 2]], null],
      // The second version: a joint role without a joint phase, a phase without outgoing voters, marks out of range.
      [2, 1, [[1, 'n1', 1, 2, false, 0]], [], null],
      [2, 1, [[1, 'n1', 1, 2, false, 0]], [], true],
      [2, 1, [[1, 'n1', 1, 3, false, 0]], [], true],
      [2, 1, [[1, 'n1', 1, 1, true, 0]], [], null],
      [2, 1, [[1, 'n1', 1, 1, false, 1001]], [], null],
      [2, 1, [[1, 'n1', 1, 5, false, 0]], [], null],
      [2, 1, [[1, 'n1', 1, 1, false, 0]], [[8, 1]], null],
      'x',
    ]
    for (const value of bad) {
      assert.throws(
        () => decodeConfiguration(encodePlain(value as never)),
        (thrown) => KeelsonError.hasCode(thrown, 'MALFORMED'),
      )
    }
    const later = encodePlain([3, 1, [[1, 'n1', 1, 1]], null])
    assert.throws(() => decodeConfiguration(later), { code: 'FORMAT_VERSION' })
  })

  test('of a bootstrap use up the indexes of their replica ids', () => {
    const state = bootstrapState([voter(3), voter(1), voter(2)])
    assert.deepEqual(
      state.entries.map((entry) => [entry.index, entry.term, entry.kind]),
      [
        [1, 1, 2],
        [2, 1, 0],
        [3, 1, 0],
      ],
    )
    assert.deepEqual(state.hardState, { term: 1, votedFor: 0, commit: 3 })
    assert.throws(() => bootstrapState([]), /no voter/)
  })
})

suite('options', () => {
  test('have defaults and are checked against each other', () => {
    assert.deepEqual(checkRaftOptions(), defaultRaftOptions)
    assert.throws(() => checkRaftOptions({ electionTimeoutMs: 100 }), /third/)
    assert.throws(() => checkRaftOptions({ electionTimeout: 100 } as never), /electionTimeoutMs/)
  })
})

suite('configurations that many groups have', () => {
  const of = (generation: number, size = 3): Configuration =>
    makeConfiguration(
      generation,
      Array.from({ length: size }, (_, i) => ({
        ...voter(i + 1),
        role: i < 3 ? 'voter' : 'learner',
      })),
    )

  test('are there once, whether they were decoded or restored', () => {
    const pool = new ConfigurationPool()
    const known = pool.decode(encodeConfiguration(of(1)))
    assert.equal(pool.decode(encodeConfiguration(of(1))), known)
    assert.equal(pool.share(of(1)), known)
    assert.notEqual(pool.share(of(2)), known)
    assert.deepEqual(known.configuration, of(1))
  })

  test('are not kept when they are large, or there are too many of them', () => {
    const pool = new ConfigurationPool()
    const large = pool.share(of(1, 120))
    assert.notEqual(pool.share(of(1, 120)), large)
    assert.deepEqual(large.electorate.voters, [1, 2, 3])
    const first = pool.share(of(1))
    for (let generation = 2; generation <= 1025; generation++) pool.share(of(generation))
    assert.notEqual(pool.share(of(1)), first)
    assert.deepEqual(pool.share(of(1)), first)
  })
})
