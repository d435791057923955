import assert from 'node:assert/strict'
import { test } from 'node:test'
import { errorTraits, KeelsonError, toKeelsonError } from '../../src/core/errors.ts'

test('a code brings its traits, and a single error may override them', () => {
  const usual = new KeelsonError('OUTCOME_UNKNOWN', 'no answer in time; retry with the same command id')
  assert.equal(usual.retryable, true)
  assert.equal(usual.outcome, 'unknown')
  const special = new KeelsonError('IO', 'the file was never opened', { outcome: 'none', retryable: false })
  assert.equal(special.outcome, 'none')
  assert.equal(special.retryable, false)
})

test('an error keeps its meaning over the wire, and its cause stays at home', () => {
  const cause = new Error('secret path')
  const sent = new KeelsonError('NOT_LEADER', 'ask db2', { details: { leader: 'db2', term: 7 }, cause })
  const text = JSON.stringify(sent)
  assert.ok(!text.includes('secret'))
  const received = KeelsonError.fromJSON(JSON.parse(text))
  assert.deepEqual(received.toJSON(), sent.toJSON())
  assert.ok(KeelsonError.hasCode(received, 'CLOSED', 'NOT_LEADER'))
})

test('the code of a newer peer becomes IO and keeps message and traits', () => {
  const received = KeelsonError.fromJSON({
    code: 'INVENTED_LATER',
    message: 'new',
    retryable: false,
    outcome: 'none',
    details: {},
  })
  assert.equal(received.code, 'IO')
  assert.equal(received.retryable, false)
  assert.equal(received.outcome, 'none')
})

test('the brand tells our errors from others, whatever copy of the library made them', () => {
  assert.ok(KeelsonError.is(new KeelsonError('CLOSED', 'closed')))
  assert.ok(!KeelsonError.is(Object.assign(new Error('no'), { code: 'CLOSED' })))
  assert.ok(!KeelsonError.is(undefined))
})

test('what was thrown becomes ours once, with the original as cause', () => {
  const own = new KeelsonError('CLOSED', 'closed')
  assert.equal(toKeelsonError(own), own)
  const foreign = new RangeError('far')
  const wrapped = toKeelsonError(foreign, 'MALFORMED')
  assert.equal(wrapped.code, 'MALFORMED')
  assert.equal(wrapped.cause, foreign)
  assert.equal(toKeelsonError('text').message, 'text')
})

test('what is retryable with an unknown outcome is never called harmless', () => {
  for (const [code, traits] of Object.entries(errorTraits)) {
    if (code.startsWith('INVALID') || code === 'MALFORMED') assert.equal(traits.retryable, false, code)
  }
})

test('what is no error of ours is not made into one', () => {
  for (const value of [undefined, null, 5, 'x', {}, { message: 5 }])
    assert.throws(() => KeelsonError.fromJSON(value as never), { code: 'MALFORMED' })
})
