import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { KeelsonError } from '../../../src/core/errors.ts'
import { encodeConfiguration, makeConfiguration } from '../../../src/raft/core/configuration.ts'
import type { Message } from '../../../src/raft/core/messages.ts'
import { validateMessage } from '../../../src/raft/core/validate.ts'
import { Cluster, descriptor } from '../support/cluster.ts'

const number = fc.oneof(
  { weight: 8, arbitrary: fc.nat(12) },
  { weight: 1, arbitrary: fc.constantFrom(2 ** 32, 2 ** 40, 2 ** 52, 2 ** 53, -1, 0.5, NaN, Infinity) },
  { weight: 1, arbitrary: fc.maxSafeInteger() },
)
const replica = fc.oneof(
  { weight: 9, arbitrary: fc.integer({ min: 1, max: 4 }) },
  { weight: 1, arbitrary: number },
)
const flag = fc.oneof({ weight: 9, arbitrary: fc.boolean() }, { weight: 1, arbitrary: fc.constant('yes') })
const entry = fc.record({
  index: number,
  term: number,
  kind: fc.oneof(fc.nat(3), number),
  data: fc.oneof(
    fc.uint8Array({ maxLength: 5 }),
    fc.constant(encodeConfiguration(makeConfiguration(2, [descriptor(1), descriptor(4)]))),
    fc.constant('text'),
  ),
})
/** Entries that fit together, more often than not. */
const entries = fc.oneof(
  fc.array(entry, { maxLength: 3 }),
  fc.constant([null]),
  fc.constant('no list'),
  fc.constant(undefined),
)

const fields = {
  from: replica,
  to: fc.oneof({ weight: 9, arbitrary: fc.constant(2) }, { weight: 1, arbitrary: replica }),
  term: number,
}
const asks: fc.Arbitrary<unknown>[] = [
  fc.record({
    kind: fc.constant('preVote'),
    ...fields,
    candidateTerm: number,
    lastIndex: number,
    lastTerm: number,
  }),
  fc.record({
    kind: fc.constant('preVoteReply'),
    ...fields,
    candidateTerm: number,
    granted: flag,
    removed: flag,
  }),
  fc.record({ kind: fc.constant('vote'), ...fields, lastIndex: number, lastTerm: number, transfer: flag }),
  fc.record({ kind: fc.constant('voteReply'), ...fields, granted: fc.constant(false) }),
  fc.record({
    kind: fc.constant('appendReply'),
    ...fields,
    index: number,
    accepted: fc.constant(false),
    hintIndex: number,
    hintTerm: number,
  }),
  fc.record({ kind: fc.constant('timeoutNow'), ...fields }),
  fc.record({ kind: fc.constantFrom('nonsense', undefined, 7), ...fields }),
]
/** An append whose parts fit together, at random places of the log. */
const fittingAppend = fc
  .record({
    ...fields,
    term: fc.integer({ min: 1, max: 12 }),
    prevIndex: fc.nat(8),
    rises: fc.array(fc.nat(2), { maxLength: 5 }),
    commit: fc.nat(12),
  })
  .map(({ rises, ...rest }) => {
    let term = rest.prevIndex === 0 ? 0 : Math.max(1, rest.term - 4)
    const prevTerm = term
    const data = encodeConfiguration(makeConfiguration(2, [descriptor(2), descriptor(3)]))
    const all = rises.map((rise, i) => {
      term = Math.max(1, term + rise)
      return { index: rest.prevIndex + 1 + i, term, kind: rise === 0 ? 1 : 2, data }
    })
    return { kind: 'append', ...rest, prevTerm, entries: all.filter((item) => item.term <= rest.term) }
  })

const leads: fc.Arbitrary<unknown>[] = [
  fittingAppend,
  fittingAppend,
  fc.record({
    kind: fc.constant('append'),
    ...fields,
    prevIndex: number,
    prevTerm: number,
    commit: number,
    entries,
  }),
  fc.record({ kind: fc.constant('heartbeat'), ...fields, round: number, commit: number, match: number }),
  fc.record({ kind: fc.constant('heartbeatReply'), ...fields, round: number, pledgeMs: number }),
  fc.record({
    kind: fc.constant('appendReply'),
    ...fields,
    index: number,
    accepted: flag,
    hintIndex: number,
    hintTerm: number,
  }),
  fc.record({ kind: fc.constant('voteReply'), ...fields, granted: flag }),
  fc.record({
    kind: fc.constant('snapshotOffer'),
    ...fields,
    position: fc.oneof(fc.record({ index: number, term: number }), fc.constant(null)),
  }),
]

/** Hands a message in; only MALFORMED may come back, and then nothing has changed. */
function throwAt(cluster: Cluster, id: number, message: unknown): void {
  const { core } = cluster.replica(id)
  const before = core.fingerprint()
  try {
    core.step(message as Message, cluster.now)
  } catch (thrown) {
    assert.ok(KeelsonError.hasCode(thrown, 'MALFORMED'), String(thrown))
    assert.equal(core.fingerprint(), before)
  }
  const { log } = core
  assert.ok(core.handedIndex <= core.commitIndex && core.commitIndex <= log.lastIndex)
  assert.ok(core.appliedIndex <= core.handedIndex && core.provenIndex <= log.lastIndex)
  while (core.takeReady() !== undefined) continue
}

suite('hostile messages', () => {
  test('of any kind throw nothing but MALFORMED, in every role', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(...asks, ...leads), { maxLength: 40 }),
        fc.constantFrom('follower', 'leader', 'empty'),
        (messages, role) => {
          const cluster = new Cluster(3)
          cluster.judged = false
          if (role === 'leader') cluster.elect(2)
          if (role === 'empty') cluster.replicas.delete(2)
          if (role === 'empty') cluster.startEmpty(2)
          for (const message of messages) {
            throwAt(cluster, 2, message)
            cluster.now += 40
            cluster.core(2).advanceTo(cluster.now)
          }
        },
      ),
      { numRuns: 400, seed: 1 },
    )
  })

  test('that claim no leadership and grant nothing leave a group that works', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(...asks), { maxLength: 25 }), (messages) => {
        const cluster = new Cluster(3)
        cluster.judged = false
        cluster.elect(1)
        for (const message of messages) {
          const { core } = cluster.replica(2)
          try {
            core.step(message as Message, cluster.now)
          } catch (thrown) {
            assert.ok(KeelsonError.hasCode(thrown, 'MALFORMED'))
          }
          cluster.advance(20)
        }
        cluster.advance(5000)
        cluster.propose(cluster.leader().replicaId, 'still here')
        cluster.advance(200)
        for (const id of [1, 2, 3]) assert.deepEqual(cluster.applied(id), ['still here'])
      }),
      { numRuns: 60, seed: 1 },
    )
  })

  test('with a term far ahead are not believed, and cannot use the terms up', () => {
    const cluster = new Cluster(3)
    cluster.elect(1)
    const { term } = cluster.core(1)
    const claim = (far: number): void =>
      cluster.on(2, (core) =>
        core.step(
          { kind: 'heartbeat', from: 3, to: 2, term: far, round: 1, commit: 0, match: 0 },
          cluster.now,
        ),
      )
    claim(term + 2 ** 40)
    assert.equal(cluster.core(2).term, term)
    assert.equal(cluster.core(2).status().dropped.get('termTooFar'), 1)
    for (let i = 0; i < 100; i++) claim(cluster.core(2).term + 2 ** 32)
    cluster.advance(5000)
    cluster.propose(cluster.leader().replicaId, 'a')
    cluster.advance(500)
    assert.deepEqual(cluster.applied(2), ['a'])
  })

  test('are named by what is wrong with them', () => {
    const base = { from: 1, to: 2, term: 3 } as const
    const beat = { ...base, kind: 'heartbeat', round: 1, commit: 0, match: 0 } as const
    const data = new Uint8Array(1)
    const append = { ...base, kind: 'append', prevIndex: 4, prevTerm: 2, commit: 0, entries: [] } as const
    const cases: [unknown, RegExp][] = [
      [{ ...beat, from: 0 }, /sender/],
      [{ ...beat, to: 1.5 }, /receiver/],
      [{ ...beat, term: 2 ** 52 + 1 }, /term out of range/],
      [{ ...beat, commit: 1 }, /beyond what the receiver acknowledged/],
      [{ ...beat, kind: 'beat' }, /unknown kind/],
      [{ ...base, kind: 'preVote', candidateTerm: 5, lastIndex: 0, lastTerm: 0 }, /not the next/],
      [{ ...base, kind: 'vote', lastIndex: 1, lastTerm: 3, transfer: false }, /above what/],
      [{ ...base, kind: 'vote', lastIndex: 1, lastTerm: 0, transfer: false }, /position/],
      [{ ...base, kind: 'vote', lastIndex: 1, lastTerm: 1, transfer: 1 }, /boolean/],
      [{ ...append, entries: [{ index: 6, term: 2, kind: 1, data }] }, /where 5 belongs/],
      [{ ...append, entries: [{ index: 5, term: 1, kind: 1, data }] }, /after one of term 2/],
      [{ ...append, entries: [{ index: 5, term: 4, kind: 1, data }] }, /term 4/],
      [{ ...append, entries: [{ index: 5, term: 3, kind: 256, data }] }, /unknown kind/],
      [{ ...append, entries: [{ index: 5, term: 3, kind: 1, data: 'x' }] }, /without data/],
      [{ ...append, entries: [{ index: 5, term: 3, kind: 2, data }] }, /configuration/],
      [
        { ...append, prevIndex: 2 ** 52, entries: [{ index: 2 ** 52 + 1, term: 3, kind: 1, data }] },
        /last index/,
      ],
      [{ ...base, kind: 'snapshotOffer', position: { index: 0, term: 0 } }, /snapshot index/],
      [{ ...base, kind: 'snapshotOffer' }, /no position/],
    ]
    for (const [message, pattern] of cases) {
      assert.throws(
        () => validateMessage(message as Message),
        (thrown) => KeelsonError.hasCode(thrown, 'MALFORMED') && pattern.test(thrown.message),
      )
    }
  })
})
