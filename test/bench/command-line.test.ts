import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  amount,
  choice,
  list,
  positive,
  readCommandLine,
  toggle,
  wholeNumber,
  word,
} from '../../bench/support/command-line.ts'

const program = {
  call: 'npm run thing --',
  about: 'Does a thing.',
  flags: {
    seeds: wholeNumber(100, 'how many'),
    hours: amount(1, 'how long'),
    pace: positive(undefined, 'how fast'),
    store: choice(['segments', 'level'], 'segments', 'where'),
    file: word(undefined, 'FILE', 'to write to'),
    record: toggle('keeps what was found'),
    only: list(['one', 'two'], 'one', 'what'),
    sizes: list([], '', 'of what'),
  },
}

describe('what a program is told', () => {
  it('is what was said, and the defaults of the rest', () => {
    const values = readCommandLine(program, ['--seeds', '7', '--record'])
    assert.deepEqual(values, {
      seeds: 7,
      hours: 1,
      pace: undefined,
      store: 'segments',
      file: undefined,
      record: true,
      only: ['one'],
      sizes: [],
    })
  })

  it('may be several things at once', () => {
    const values = readCommandLine(program, ['--only', 'one,two', '--sizes', '100,1000'])
    assert.ok(typeof values !== 'string')
    assert.deepEqual(
      [values.only, values.sizes],
      [
        ['one', 'two'],
        ['100', '1000'],
      ],
    )
  })

  for (const [args, problem] of [
    [['--seed', '7'], /no option --seed; did you mean --seeds\?/],
    [['--seeds', 'many'], /--seeds takes a whole number of at least 1, not 'many'/],
    [['--seeds', '0'], /at least 1/],
    [['--seeds', '1.5'], /a whole number/],
    [['--hours', '-1'], /--hours takes a/],
    [['--pace', '0'], /--pace takes a number above 0, not '0'/],
    [['--seeds'], /--seeds takes a value/],
    [['--only', 'one,three'], /--only takes one,two, not 'three'/],
    [['--only', ','], /--only takes a value/],
    [['--sizes', '100,0'], /--sizes takes whole numbers of at least 1, not '0'/],
    [['--record=yes'], /--record takes no value/],
    [['seven'], /what is 'seven' to say\?/],
  ] as const) {
    it(`is refused in one line: ${args.join(' ')}`, () => {
      const problems = readCommandLine(program, args)
      assert.equal(typeof problems, 'string')
      assert.match(problems as string, problem)
      assert.match(problems as string, /npm run thing -- --help/)
    })
  }

  it('can be asked for', () => {
    const help = readCommandLine(program, ['--help'])
    for (const words of [
      'Does a thing.',
      '--seeds N',
      'how many (100)',
      '--store segments|level',
      '--record',
    ])
      assert.ok((help as string).includes(words), words)
  })
})
