import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  arrayOption,
  booleanOption,
  checkOptions,
  functionOption,
  integerOption,
  numberOption,
  objectOption,
  optional,
  stringOption,
  wordOption,
} from '../../src/core/options.ts'

interface Timing {
  readonly heartbeatMs: number
  readonly electionTimeoutMs: number
  readonly ratio: number
  readonly mode: 'fast' | 'safe'
  readonly name: string
  readonly quiet: boolean
  readonly peers: readonly string[]
  readonly onEvent?: (() => void) | undefined
  readonly port?: { send(): void } | undefined
}

const check = (input: unknown): Timing =>
  checkOptions<Timing>(
    'timing',
    input,
    {
      heartbeatMs: integerOption({ min: 1, max: 60_000, fallback: 100 }),
      electionTimeoutMs: integerOption({ min: 1, fallback: 1_000 }),
      ratio: numberOption({ min: 0, max: 1, fallback: 0.5 }),
      mode: wordOption(['fast', 'safe'], 'safe'),
      name: stringOption({ fallback: 'x' }),
      quiet: booleanOption(false),
      peers: arrayOption(stringOption(), { max: 3, fallback: [] }),
      onEvent: optional(functionOption<() => void>()),
      port: optional(objectOption<{ send(): void }>(['send'])),
    },
    (options, refuse) => {
      if (options.heartbeatMs >= options.electionTimeoutMs) {
        refuse(
          `heartbeatMs (${options.heartbeatMs}) must be below electionTimeoutMs (${options.electionTimeoutMs})`,
        )
      }
    },
  )

test('defaults fill in, the result is frozen', () => {
  const options = check({ heartbeatMs: 50 })
  assert.equal(options.heartbeatMs, 50)
  assert.equal(options.electionTimeoutMs, 1_000)
  assert.ok(Object.isFrozen(options))
  assert.ok(!('onEvent' in options))
})

test('an unknown option is refused with a suggestion', () => {
  assert.throws(() => check({ hartbeatMs: 50 }), {
    code: 'INVALID_OPTION',
    message: "timing has no option 'hartbeatMs'; did you mean 'heartbeatMs'?",
  })
  assert.throws(() => check({ zzzzzzzzzzzzzzzzzz: 1 }), { message: /known options: heartbeatMs/ })
})

test('wrong types and ranges say what is taken', () => {
  for (const [input, message] of [
    [{ heartbeatMs: '5' }, /takes an integer from 1 to 60000, not "5"/],
    [{ heartbeatMs: 1.5 }, /takes an integer/],
    [{ ratio: 2 }, /takes a number from 0 to 1, not 2/],
    [{ ratio: Number.NaN }, /takes a number/],
    [{ mode: 'quick' }, /takes one of fast, safe, not "quick"/],
    [{ name: '' }, /takes a string of 1 to 4096/],
    [{ quiet: 1 }, /takes true or false/],
    [{ peers: 'a' }, /takes an array/],
    [{ peers: ['a', 'b', 'c', 'd'] }, /takes 0 to 3 elements, not 4/],
    [{ peers: ['a', 2] }, /peers'\[1\] takes a string/],
    [{ onEvent: {} }, /takes a function, not an object/],
    [{ port: {} }, /takes an object with send; send missing/],
    [{ port: [] }, /takes an object, not an array/],
    [{ heartbeatMs: null }, /takes an integer from 1 to 60000, not null/],
    [{ quiet: null }, /takes true or false, not null/],
    [{ onEvent: null }, /takes a function, not null/],
    [null, /takes an options object, not null/],
    [[], /takes an options object, not an array/],
  ] as const) {
    assert.throws(() => check(input), { code: 'INVALID_OPTION', message })
  }
})

test('options are compared with each other', () => {
  assert.throws(() => check({ heartbeatMs: 500, electionTimeoutMs: 400 }), {
    message: 'timing: heartbeatMs (500) must be below electionTimeoutMs (400)',
  })
})
