import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { emptyBytes } from '../../../src/core/bytes.ts'
import { encodePlain } from '../../../src/core/codec.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { SeededRandom } from '../../../src/core/random.ts'
import { entryKinds, type LogEntry } from '../../../src/interfaces/log-store.ts'
import { encodeConfiguration, makeConfiguration } from '../../../src/raft/core/configuration.ts'
import { RaftCore } from '../../../src/raft/core/raft.ts'
import type { RestoredState } from '../../../src/raft/core/types.ts'
import { descriptor } from '../support/cluster.ts'

const configuration = makeConfiguration(3, [descriptor(1), descriptor(2), descriptor(3)])

function entry(index: number, term: number, data?: Uint8Array): LogEntry {
  return data === undefined
    ? { index, term, kind: entryKinds.noop, data: emptyBytes }
    : { index, term, kind: entryKinds.configuration, data }
}

/** A log from 11 to 14 after a snapshot of 10. */
const whole: RestoredState = {
  hardState: { term: 5, votedFor: 2, commit: 12 },
  compacted: { index: 10, term: 3 },
  configuration,
  configurationIndex: 10,
  appliedIndex: 10,
  entries: [entry(11, 3), entry(12, 4), entry(13, 4), entry(14, 5)],
}

function start(change: Partial<RestoredState> = {}): RaftCore {
  return new RaftCore({
    replicaId: 1,
    restored: { ...whole, ...change },
    random: new SeededRandom(1),
    nowMs: 0,
  })
}

suite('a replica that starts with what the disk has', () => {
  test('goes on where it was', () => {
    const core = start()
    assert.deepEqual(
      [core.term, core.votedFor, core.commitIndex, core.appliedIndex, core.lastIndex, core.quarantined],
      [5, 2, 12, 10, 14, false],
    )
    assert.equal(core.configuration, configuration)
  })

  test('needs only the end of a log whose beginning it knows the terms of', () => {
    const core = start({
      appliedIndex: 12,
      configurationIndex: 12,
      entries: [entry(13, 4), entry(14, 5)],
      earlierTerms: [
        { index: 11, term: 3 },
        { index: 12, term: 4 },
      ],
    })
    assert.deepEqual(
      [10, 11, 12, 13, 14].map((index) => core.log.termAt(index)),
      [3, 3, 4, 4, 5],
    )
  })

  test('goes by the term of its log where the hard state is older', () => {
    const core = start({ hardState: { term: 4, votedFor: 2, commit: 12 } })
    assert.deepEqual([core.term, core.votedFor], [5, 0])
  })

  test('takes the latest configuration from the log, and skips those that its own is newer than', () => {
    const next = makeConfiguration(4, [descriptor(1)])
    const entries = [entry(11, 3, encodeConfiguration(next)), ...whole.entries.slice(1)]
    assert.deepEqual(start({ entries }).configuration, next)
    assert.equal(start({ entries, configurationIndex: 11, appliedIndex: 11 }).configuration, configuration)
  })

  test('cuts off what it cannot have committed when it was quarantined', () => {
    const core = start({ quarantined: true, hardState: { term: 5, votedFor: 2, commit: 99 } })
    assert.deepEqual([core.quarantined, core.commitIndex], [true, 14])
  })

  test('refuses what contradicts itself', () => {
    const { entries } = whole
    const cases: [Partial<RestoredState>, RegExp][] = [
      [{ entries: [entry(10, 3), ...entries] }, /entry 10 is there although 10 is compacted/],
      [{ entries: entries.slice(1) }, /the terms between 10 and 12 are not known/],
      [
        { entries: entries.slice(1), earlierTerms: [{ index: 12, term: 3 }] },
        /the terms between 10 and 12 are not known/,
      ],
      [{ entries: [entry(11, 3), entry(13, 3)] }, /entry 13 stands where 12 belongs/],
      [{ entries: [entry(11, 2)] }, /entry 11 has term 2 after 3/],
      [
        { compacted: { index: 0, term: 0 }, configurationIndex: 0, appliedIndex: 0, entries: [entry(1, 0)] },
        /entry 1 has term 0 after 0/,
      ],
      [{ appliedIndex: 9 }, /10 is compacted, but only 9 applied/],
      [
        { compacted: whole.compacted, configurationIndex: 9 },
        /the configuration is of 9, but 10 is compacted/,
      ],
      [{ configurationIndex: 11 }, /the configuration is of 11, but only 10 is applied/],
      [{ entries: [], earlierTerms: [{ index: 11, term: 3 }] }, /the last entry is missing/],
      [
        {
          appliedIndex: 12,
          configurationIndex: 10,
          entries: entries.slice(2),
          earlierTerms: [{ index: 11, term: 3 }],
        },
        /entries between 10 and 13 were not looked through/,
      ],
      [{ hardState: { term: 5, votedFor: 2, commit: 15 } }, /the log ends at 14, but 15 was committed/],
      [{ entries: [entry(11, 3, new Uint8Array(3))] }, /the configuration in entry 11 does not decode/],
    ]
    for (const [change, pattern] of cases) {
      assert.throws(
        () => start(change),
        (thrown) => KeelsonError.hasCode(thrown, 'CORRUPTION') && pattern.test(thrown.message),
        String(pattern),
      )
    }
    const { configuration: _configuration, configurationIndex: _index, ...bare } = whole
    assert.throws(
      () => new RaftCore({ replicaId: 1, restored: bare, random: new SeededRandom(1), nowMs: 0 }),
      /a compacted log has no configuration/,
    )
  })

  test('says that a configuration is of a later release, which is no damage', () => {
    const later = encodePlain([99])
    assert.throws(() => start({ entries: [entry(11, 3, later)] }), { code: 'FORMAT_VERSION' })
  })
})

suite('an empty replica', () => {
  const empty = (): RaftCore =>
    new RaftCore({
      replicaId: 7,
      restored: { compacted: { index: 0, term: 0 }, appliedIndex: 0, entries: [] },
      random: new SeededRandom(1),
      nowMs: 0,
    })

  test('takes another id, and nobody waits for what the old one had to say', () => {
    const core = empty()
    assert.ok(core.isEmpty)
    core.step({ kind: 'vote', from: 1, to: 7, term: 3, lastIndex: 0, lastTerm: 0, transfer: false }, 0)
    core.takeId(9)
    assert.equal(core.replicaId, 9)
    assert.ok(core.isEmpty)
    assert.deepEqual(core.takeReady()?.messagesAfter, [])
  })

  test('keeps its id once it has anything', () => {
    const core = empty()
    core.step(
      {
        kind: 'append',
        from: 1,
        to: 7,
        term: 1,
        prevIndex: 0,
        prevTerm: 0,
        commit: 0,
        entries: [entry(1, 1)],
      },
      0,
    )
    assert.equal(core.isEmpty, false)
    assert.throws(() => core.takeId(9), { code: 'INVARIANT_VIOLATED' })
  })

  test('has no configuration to roll back', () => {
    const core = empty()
    const append = { kind: 'append', from: 1, to: 7, prevIndex: 0, prevTerm: 0, commit: 0 } as const
    core.step({ ...append, term: 1, entries: [entry(1, 1)] }, 0)
    core.step({ ...append, from: 2, term: 2, entries: [entry(1, 2)] }, 0)
    assert.equal(core.log.termAt(1), 2)
    assert.deepEqual(core.voters(), [])
    const first = entry(1, 3, encodeConfiguration(makeConfiguration(1, [descriptor(1), descriptor(7)])))
    core.step({ ...append, term: 3, entries: [first] }, 0)
    assert.deepEqual(core.voters(), [1, 7])
    core.step({ ...append, from: 2, term: 4, entries: [entry(1, 4)] }, 0)
    assert.deepEqual(core.voters(), [])
  })
})
