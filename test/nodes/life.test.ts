import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { utf8 } from '../../src/core/bytes.ts'
import type { NodeDescriptor, NodeState } from '../../src/model/index.ts'
import {
  type Admission,
  type AdmissionFacts,
  admit,
  checkSuccession,
  type LifeChange,
  nextState,
} from '../../src/nodes/core/life.ts'
import { LivenessView } from '../../src/nodes/core/liveness.ts'
import type { NodeRecord } from '../../src/nodes/core/record.ts'

function descriptor(incarnation: number): NodeDescriptor {
  return { nodeId: 'db1', incarnation, addresses: ['db1:1'], locality: [], capacity: {}, labels: {} }
}

function record(incarnation: number, state: NodeState = 'active'): NodeRecord {
  return {
    descriptor: descriptor(incarnation),
    state,
    reason: 'a test',
    credentialHash: utf8(`secret ${incarnation}`),
    tokenHash: utf8(`token ${incarnation}`),
    joinedAtMs: 1,
    changedAtMs: 1,
  }
}

function asked(incarnation: number, change: Partial<Admission> = {}): Admission {
  return {
    descriptor: descriptor(incarnation),
    credentialHash: utf8(`secret ${incarnation}`),
    tokenHash: utf8('another token'),
    wallMs: 1000,
    ...change,
  }
}

const token = { expiresAtMs: 2000, reason: 'a test' }

suite('admission', () => {
  const cases: [string, AdmissionFacts, Admission, string][] = [
    ['a new node with a token', { record: undefined, token, live: undefined }, asked(7), 'first'],
    [
      'a new node without one',
      { record: undefined, token: undefined, live: undefined },
      asked(7),
      'UNAUTHORIZED',
    ],
    [
      'a token that has expired',
      { record: undefined, token, live: undefined },
      asked(7, { wallMs: 2001 }),
      'UNAUTHORIZED',
    ],
    ['a known life by its secret', { record: record(7), token: undefined, live: 7 }, asked(7), 'same'],
    [
      'a known life with a wrong secret, whatever its token',
      { record: record(7), token, live: undefined },
      asked(7, { credentialHash: utf8('guessed') }),
      'UNAUTHORIZED',
    ],
    ['a wiped node with a token', { record: record(7), token, live: undefined }, asked(8), 'new'],
    [
      'a wiped node without one',
      { record: record(7), token: undefined, live: undefined },
      asked(8),
      'UNAUTHORIZED',
    ],
    [
      'a second process under the name of a live node',
      { record: record(7), token, live: 7 },
      asked(8),
      'CONFLICT',
    ],
    [
      'a life that was decommissioned',
      { record: record(7, 'decommissioned'), token, live: undefined },
      asked(7),
      'UNAUTHORIZED',
    ],
    [
      'the machine of a node that was decommissioned, anew',
      { record: record(7, 'decommissioned'), token, live: undefined },
      asked(8),
      'new',
    ],
  ]
  for (const [what, facts, admission, expected] of cases) {
    test(`${what}: ${expected}`, () => {
      if (expected === 'UNAUTHORIZED' || expected === 'CONFLICT') {
        assert.throws(() => admit(facts, admission), { code: expected })
        return
      }
      const admitted = admit(facts, admission)
      assert.equal(admitted.life, expected)
      assert.equal(admitted.usesToken, expected !== 'same')
      checkSuccession(facts.record, admitted.record)
      if (expected !== 'same') assert.equal(admitted.record.state, 'active')
    })
  }

  test('a draining node that comes back goes on draining', () => {
    const { record: after } = admit(
      { record: record(7, 'draining'), token: undefined, live: undefined },
      asked(7),
    )
    assert.equal(after.state, 'draining')
  })
})

suite('states', () => {
  test('any sequence of changes keeps the rules of a life', () => {
    const change = fc.constantFrom<LifeChange>('drain', 'undrain', 'drained', 'decommission')
    fc.assert(
      fc.property(fc.array(fc.tuple(change, fc.nat(2), fc.boolean()), { maxLength: 20 }), (changes) => {
        let now = record(7)
        for (const [each, replicas, live] of changes) {
          let state: NodeState | undefined
          try {
            state = nextState('db1', now.state, each, { replicas, live })
          } catch (error) {
            assert.equal((error as { code: string }).code, 'CONFLICT')
            continue
          }
          if (state === undefined) continue
          const next = { ...now, state }
          checkSuccession(now, next)
          if (state === 'drained' || state === 'decommissioned') assert.equal(replicas, 0)
          now = next
        }
      }),
    )
  })

  test('what the rules forbid is found', () => {
    const broken: [NodeRecord | undefined, NodeRecord][] = [
      [undefined, record(7, 'draining')],
      [record(7), record(7, 'drained')],
      [record(7), record(7, 'decommissioned')],
      [record(7, 'decommissioned'), record(7)],
      [record(7), { ...record(8), tokenHash: record(7).tokenHash }],
      [record(7), { ...record(7), credentialHash: utf8('x') }],
    ]
    for (const [before, after] of broken) {
      assert.throws(() => checkSuccession(before, after), { code: 'INVARIANT_VIOLATED' })
    }
  })
})

suite('liveness', () => {
  test('the session decides, a hint makes suspect at most', () => {
    const view = new LivenessView()
    view.add('db1', 0)
    assert.equal(view.get('db1')?.liveness, 'dead')
    assert.equal(view.hint('db1', 7, false, 1), false, 'gossip alone makes nobody live')
    assert.equal(view.sessionBegan('db1', 10, 7, 2), true)
    assert.deepEqual(view.get('db1'), { liveness: 'live', epoch: 10, incarnation: 7, sinceMs: 2 })
    assert.equal(view.hint('db1', 7, true, 3), true)
    assert.deepEqual(view.get('db1'), { liveness: 'suspect', epoch: 10, incarnation: 7, sinceMs: 3 })
    assert.equal(view.hint('db1', 6, false, 4), false, 'of another incarnation')
    assert.equal(view.hint('db1', 7, false, 5), true)
    assert.equal(view.sessionEnded('db1', 6), true)
    assert.deepEqual(view.get('db1'), { liveness: 'dead', epoch: 0, incarnation: 0, sinceMs: 6 })
    assert.equal(view.sessionBegan('db1', 10, 7, 7), false, 'a dead epoch stays dead')
    assert.equal(view.get('db1')?.liveness, 'dead')
    assert.equal(view.sessionBegan('db1', 11, 8, 8), true)
    assert.equal(view.get('db1')?.liveness, 'live')
  })

  test('a suspicion ends with the session that it was about', () => {
    const view = new LivenessView()
    view.sessionBegan('db1', 10, 7, 0)
    view.hint('db1', 7, true, 1)
    view.sessionBegan('db1', 11, 7, 2)
    assert.equal(view.get('db1')?.liveness, 'live')
  })
})
