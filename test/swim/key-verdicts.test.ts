import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { hex } from '../../src/core/bytes.ts'
import type { SwimMember } from '../../src/swim/core/types.ts'
import { answerOf, failure, judge } from '../../src/swim/key-verdicts.ts'

const members = ['a', 'b', 'c', 'd', 'e', 'f'].map((nodeId) => ({ nodeId }) as SwimMember)

suite('what members answer to a change of keys', () => {
  test('keeps its bytes', () => {
    // Never changed: members of other releases read them.
    const golden = { done: '01', overtaken: '0001', unknown: '0002', refused: '0003' } as const
    for (const verdict of ['done', 'overtaken', 'unknown', 'refused'] as const)
      assert.equal(hex(answerOf(verdict)), golden[verdict])
  })

  test('is told apart by a stable code and by members', () => {
    const said = (nodeId: string, payload: Uint8Array) => ({ nodeId, payload })
    const missing = judge(members.slice(0, 2), [said('a', answerOf('done'))])
    const unreachable = failure('add', missing)
    assert.equal(unreachable.code, 'UNREACHABLE')
    assert.ok(unreachable.retryable)
    assert.deepEqual(unreachable.details, { missing: 'b', phase: 'add' })

    const overtaken = failure('use', judge(members.slice(0, 1), [said('a', answerOf('overtaken'))]))
    assert.deepEqual([overtaken.code, overtaken.retryable], ['CONFLICT', true])

    const answers = [
      said('a', answerOf('done')),
      said('b', answerOf('unknown')),
      said('c', answerOf('refused')),
      // Of an older release.
      said('d', new Uint8Array([0])),
      said('e', answerOf('overtaken')),
    ]
    const error = failure('remove', judge(members, answers))
    assert.equal(error.code, 'NOT_FOUND')
    assert.equal(error.outcome, 'unknown')
    assert.deepEqual(error.details, {
      unknown: 'b',
      refused: 'c,d',
      overtaken: 'e',
      missing: 'f',
      phase: 'remove',
    })
    assert.match(error.message, /could not be removed everywhere: b do not know/)
  })

  test('names few of many', () => {
    const many = Array.from({ length: 300 }, (_, i) => ({ nodeId: `m${i}` }) as SwimMember)
    const { message, details } = failure('add', judge(many, []))
    assert.match(message, /m0, m1, m2, m3, m4 and 295 others did not answer/)
    assert.equal(String(details['missing']).split(',').length, 100)
  })
})
