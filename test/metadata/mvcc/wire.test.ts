import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { KeelsonError } from '../../../src/core/errors.ts'
import { encodeOutcome, encodeRefusal, readOutcome } from '../../../src/metadata/mvcc/wire.ts'

suite('answers to commands', () => {
  test('a refused command had no effect, also where nobody can read why', () => {
    const refusal = encodeRefusal(new KeelsonError('LIMIT_EXCEEDED', 'full'))
    const read = (): never => assert.fail('there is nothing behind a refusal')
    assert.throws(() => readOutcome(refusal, read), { code: 'LIMIT_EXCEEDED', outcome: 'none' })
    assert.throws(() => readOutcome(refusal.subarray(0, 4), read), { code: 'MALFORMED', outcome: 'none' })
  })

  test('a command whose answer cannot be read may have had one', () => {
    const answer = encodeOutcome((out) => out.varint(300))
    assert.equal(
      readOutcome(answer, (reader) => reader.varint()),
      300,
    )
    for (const damaged of [answer.subarray(0, 2), Uint8Array.of(9), new Uint8Array(0)]) {
      assert.throws(() => readOutcome(damaged, (reader) => reader.varint()), {
        code: 'OUTCOME_UNKNOWN',
        outcome: 'unknown',
      })
    }
  })
})
