import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import {
  decodeAnswer,
  decodeQuestion,
  encodeAnswer,
  encodeQuestion,
  type ImaginedChange,
  maximumQuestionBytes,
  type PlacementQuestion,
} from '../../src/control-plane/placement-questions.ts'
import { utf8 } from '../../src/core/bytes.ts'
import { encodePlain, type Plain } from '../../src/core/codec.ts'

const whatIf = (change: unknown, options: unknown = {}): PlacementQuestion =>
  ({ type: 'whatIf', change, options }) as PlacementQuestion

suite('questions about placement', () => {
  test('come back from the wire as they were', () => {
    const change: ImaginedChange = {
      addNodes: [{ nodeId: 'db9', locality: 'zone=a', capacity: { bytes: 7 }, labels: { disk: 'ssd' } }],
      loseNodes: ['db1'],
      loseDomain: { tier: 'zone', value: 'b' },
      drainNodes: ['db2'],
      overloadStores: { db3: 'strained' },
      growLoad: { bytes: 1.5 },
    }
    const questions: readonly PlacementQuestion[] = [
      { type: 'explain', rangeId: 7 },
      { type: 'explainNode', nodeId: 'db1' },
      { type: 'plan', moves: 0, bounds: true },
      whatIf(change, { seed: 3, limits: { moves: 2 }, maximumRounds: 4 }),
      { type: 'lostSight' },
    ]
    for (const question of questions) assert.deepEqual(decodeQuestion(encodeQuestion(question)), question)
  })

  for (const [question, code, problem] of [
    [{ type: 'explian' }, 'UNSUPPORTED', /explian/],
    [{ type: '__proto__' }, 'UNSUPPORTED', /__proto__/],
    [{ type: 'explain', rangeId: 0 }, 'INVALID_ARGUMENT', /range/],
    [{ type: 'explain', rangeId: 2 ** 53 }, 'INVALID_ARGUMENT', /range/],
    [{ type: 'explain', rangeId: 1, rangId: 1 }, 'INVALID_ARGUMENT', /did you mean 'rangeId'/],
    [{ type: 'explainNode', nodeId: '' }, 'INVALID_ARGUMENT', /node/],
    [{ type: 'plan', moves: 501, bounds: true }, 'INVALID_ARGUMENT', /at most 500/],
    [{ type: 'plan', moves: 1, bounds: 1 }, 'INVALID_ARGUMENT', /bounds/],
    [whatIf({ loseNode: ['a'] }), 'INVALID_ARGUMENT', /did you mean 'loseNodes'/],
    [whatIf({ policy: {} }), 'INVALID_ARGUMENT', /policy/],
    [whatIf({ loseNodes: 'db1' }), 'INVALID_ARGUMENT', /array/],
    [whatIf({ drainNodes: [7] }), 'INVALID_ARGUMENT', /empty/],
    [whatIf({ loseDomain: { tier: 'zone' } }), 'INVALID_ARGUMENT', /value/],
    [whatIf({ loseDomain: { tier: 'zone', value: 'a', vlaue: 'b' } }), 'INVALID_ARGUMENT', /vlaue/],
    [whatIf({ growLoad: { bytes: null } }), 'INVALID_ARGUMENT', /growLoad.bytes/],
    [whatIf({ growLoad: { bytes: -1 } }), 'INVALID_ARGUMENT', /growLoad.bytes/],
    [whatIf({ overloadStores: 'all' }), 'INVALID_ARGUMENT', /overloadStores/],
    [whatIf({ addNodes: [{ nodeId: 'a', capcity: {} }] }), 'INVALID_ARGUMENT', /did you mean 'capacity'/],
    [whatIf({ addNodes: [{ nodeId: 'a', capacity: { bytes: '7' } }] }), 'INVALID_ARGUMENT', /capacity/],
    [whatIf({ addNodes: [{ nodeId: 'a', labels: { disk: 7 } }] }), 'INVALID_ARGUMENT', /label/],
    [
      whatIf({ addNodes: Array.from({ length: 1001 }, (_, i) => ({ nodeId: `n${i}` })) }),
      'LIMIT_EXCEEDED',
      /1000/,
    ],
    [whatIf({}, { round: 1 }), 'INVALID_ARGUMENT', /round/],
    [[], 'INVALID_ARGUMENT', /object/],
    [null, 'INVALID_ARGUMENT', /object/],
  ] as const) {
    test(`are refused at both ends: ${JSON.stringify(question).slice(0, 80)}`, () => {
      const sent = isPlain(question) ? { version: 1, ...question } : question
      assert.throws(() => decodeQuestion(utf8(JSON.stringify(sent))), { code, message: problem })
      assert.throws(() => encodeQuestion(question as never), { message: problem })
    })
  }

  test('are refused when they are no JSON, too large, or of another version', () => {
    assert.throws(() => decodeQuestion(utf8('{')), { code: 'MALFORMED' })
    assert.throws(() => decodeQuestion(utf8('['.repeat(100_000))), { code: 'MALFORMED' })
    assert.throws(() => decodeQuestion(new Uint8Array(maximumQuestionBytes + 1)), { code: 'LIMIT_EXCEEDED' })
    assert.throws(() => decodeQuestion(utf8('{"version":2,"type":"lostSight"}')), { code: 'UNSUPPORTED' })
    const many = Array.from({ length: 1000 }, (_, i) => ({
      nodeId: `n${i}`,
      labels: { a: 'x'.repeat(256), b: 'x'.repeat(256), c: 'x'.repeat(100) },
    }))
    assert.throws(() => encodeQuestion(whatIf({ addNodes: many })), { code: 'LIMIT_EXCEEDED' })
  })
})

suite('answers about placement', () => {
  const madeBy = { leader: 'cp1', epoch: 1, plannedAtMs: 1 }

  test('keep what is infinite, whatever it is called, and what only reads so', () => {
    const labels = { ms: 'Infinity', gap: 'Infinity', ['__proto__']: 'a' }
    const answer = {
      madeBy,
      repair: { ms: Number.POSITIVE_INFINITY, why: 'Infinity' },
      stores: [{ used: { now: 7, Infinity: 1 }, capacity: { bytes: Number.POSITIVE_INFINITY }, labels }],
    }
    assert.deepEqual(decodeAnswer(encodeAnswer(answer, 1000)), answer)
  })

  test('leave out what is undefined', () => {
    const answer = { madeBy, explanation: { next: undefined, goals: [] } }
    const decoded = decodeAnswer<typeof answer>(encodeAnswer(answer, 1000))
    assert.deepEqual(decoded, { madeBy, explanation: { goals: [] } })
    assert.deepEqual(Object.keys(decoded.explanation), ['goals'])
  })

  test('are bounded in bytes, in values and in depth', () => {
    const answer = { madeBy, parts: [] }
    const bytes = encodeAnswer(answer, 1000)
    assert.throws(() => encodeAnswer(answer, bytes.length - 1), { code: 'LIMIT_EXCEEDED' })
    assert.throws(() => encodeAnswer({ madeBy, parts: Array.from({ length: 250_000 }, () => 1) }, 1e9), {
      code: 'LIMIT_EXCEEDED',
    })
    const tooMany = encodePlain([1, [1, 'madeBy', Array.from({ length: 250_000 }, () => 1)]])
    assert.throws(() => decodeAnswer(tooMany), { code: 'MALFORMED', message: /more than/ })
    let nested: Plain = 1
    for (let i = 0; i < 17; i++) nested = [0, nested]
    assert.throws(() => decodeAnswer(encodePlain([1, nested])), { code: 'MALFORMED', message: /deeper/ })
  })

  test('are refused when they are none, or of another version', () => {
    const made = [1, 'madeBy', 1]
    assert.deepEqual(decodeAnswer(encodePlain([1, made])), { madeBy: 1 })
    for (const wrong of [
      [],
      [1],
      [1, null],
      [1, 7],
      [1, [0, 'madeBy']],
      [1, [1, 'plan', 1]],
      [-1, made],
      made,
    ]) {
      assert.throws(() => decodeAnswer(encodePlain(wrong)), { code: 'MALFORMED' }, JSON.stringify(wrong))
    }
    assert.throws(() => decodeAnswer(utf8('{"madeBy":1}')), { code: 'MALFORMED' })
    assert.throws(() => decodeAnswer(encodePlain([2, made])), { code: 'UNSUPPORTED', message: /version 2/ })
  })
})

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
