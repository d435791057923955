import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  checkArray,
  checkBytes,
  checkInteger,
  checkMembers,
  checkObject,
  checkText,
} from '../../src/core/arguments.ts'
import { Events } from '../../src/core/events.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { checkCall, closest, showValue, signalOption } from '../../src/core/options.ts'

const argument = { code: 'INVALID_ARGUMENT' } as const
const option = { code: 'INVALID_OPTION' } as const

test('what a message shows of a value is short, and never fails', () => {
  const circle: { self?: unknown } = {}
  circle.self = circle
  const values = [undefined, null, 5n, Symbol('x'), circle, [circle], () => 1, Number.NaN, new Uint8Array(9)]
  assert.deepEqual(values.map(showValue), [
    'undefined',
    'null',
    '5n',
    'Symbol(x)',
    'an object',
    'an array',
    'a function',
    'NaN',
    '9 bytes',
  ])
  assert.equal(showValue('a"b'), '"a\\"b"')
  assert.ok(showValue('x'.repeat(10_000_000)).length < 130)
})

test('arguments say what they must be', () => {
  assert.throws(() => checkBytes('text', 'a key'), {
    ...argument,
    message: /a key must be a Uint8Array, not "text"; utf8\(\)/,
  })
  assert.throws(() => checkText('', 'a name'), argument)
  assert.throws(() => checkText('xx', 'a name', 1), argument)
  assert.throws(() => checkInteger(-1, 'a count'), argument)
  assert.throws(() => checkInteger(2 ** 53, 'a count'), argument)
  assert.throws(() => checkObject([], 'a port'), argument)
  assert.throws(() => checkObject({ a: 1 }, 'a port', ['a', 'b']), { ...argument, message: /b missing/ })
  assert.throws(() => checkArray({} as never, 'a list'), argument)
  assert.throws(() => checkArray([1, 2], 'a list', 1), { code: 'LIMIT_EXCEEDED' })
  assert.throws(() => checkMembers({ sesion: 1 }, 'a put', ['key', 'session']), {
    ...argument,
    message: 'a put has no "sesion"; did you mean \'session\'?',
  })
  assert.equal(checkBytes(Buffer.from('x'), 'a key').length, 1)
})

test('the options of a call are those that it knows, and a signal is one', () => {
  checkCall('get', {})
  checkCall('get', { signal: undefined })
  checkCall('get', { signal: new AbortController().signal, limit: 5 }, ['limit'])
  assert.throws(() => checkCall('get', null), option)
  assert.throws(() => checkCall('get', { singal: 1 }), {
    ...option,
    message: "get has no option 'singal'; did you mean 'signal'?",
  })
  assert.throws(() => checkCall('get', { limt: 1 }, ['limit']), { message: /did you mean 'limit'/ })
  assert.throws(() => checkCall('get', { signal: new AbortController() }), {
    ...option,
    message: /give the signal of the controller/,
  })
  for (const wrong of [null, {}, { aborted: true }, new EventTarget()])
    assert.throws(() => signalOption(wrong, 'signal'), option)
})

test('a long word is no typing mistake, and costs no time', () => {
  assert.equal(closest('x'.repeat(10_000_000), ['x']), undefined)
})

test('an event that nobody emits is not listened for', () => {
  const events = new Events<{ leadership: () => void }>(silentLogger, ['leadership'])
  assert.throws(() => events.on('leadreship' as never, (() => {}) as never), {
    ...argument,
    message: /did you mean 'leadership'/,
  })
  assert.throws(() => events.on('leadership', 'listener' as never), argument)
})
