import { parseArgs } from 'node:util'
import { closest } from 'keelson/core'

interface NumberFlag<T extends number | undefined = number | undefined> {
  readonly type: 'number'
  readonly fallback: T
  readonly kind: 'whole' | 'any' | 'positive'
  readonly least: number
  readonly help: string
}

/** What a program may be told with `--name VALUE`, or with `--name` alone. */
export type Flag =
  | NumberFlag
  | {
      readonly type: 'word'
      readonly fallback: string | undefined
      readonly takes: string
      readonly help: string
    }
  | { readonly type: 'toggle'; readonly help: string }
  | ChoiceFlag<string, string | undefined>
  | ListFlag

interface ChoiceFlag<Word extends string, T extends Word | undefined> {
  readonly type: 'choice'
  readonly words: readonly Word[]
  readonly fallback: T
  readonly help: string
}

interface ListFlag {
  readonly type: 'list'
  /** The words that may be said; none for numbers of at least 1. */
  readonly words: readonly string[]
  readonly fallback: string
  readonly help: string
}

type ValueOf<F> =
  F extends NumberFlag<infer Fallback>
    ? number | Exclude<Fallback, number>
    : F extends { readonly type: 'toggle' }
      ? boolean
      : F extends { readonly type: 'list' }
        ? readonly string[]
        : F extends ChoiceFlag<infer Word, infer Fallback>
          ? Word | Fallback
          : F extends { readonly fallback: infer Fallback }
            ? string | Exclude<Fallback, string>
            : never

/** What was said, or left to its default, by name. */
export type Values<F extends Record<string, Flag>> = { readonly [K in keyof F]: ValueOf<F[K]> }

/** A whole number of at least `least`. */
export function wholeNumber<T extends number | undefined>(
  fallback: T,
  help: string,
  least = 1,
): NumberFlag<T> {
  return { type: 'number', kind: 'whole', fallback, least, help }
}

/** Any number of at least 0. */
export function amount<T extends number | undefined>(fallback: T, help: string): NumberFlag<T> {
  return { type: 'number', kind: 'any', fallback, least: 0, help }
}

/** Any number above 0. */
export function positive<T extends number | undefined>(fallback: T, help: string): NumberFlag<T> {
  return { type: 'number', kind: 'positive', fallback, least: 0, help }
}

/** One of these words. */
export function choice<const Word extends string, const T extends Word | undefined>(
  words: readonly Word[],
  fallback: T,
  help: string,
): ChoiceFlag<Word, T> {
  return { type: 'choice', words, fallback, help }
}

/** A text; `takes` says of what kind, as in `--out FILE`. */
export function word<T extends string | undefined>(
  fallback: T,
  takes: string,
  help: string,
): { readonly type: 'word'; readonly fallback: T; readonly takes: string; readonly help: string } {
  return { type: 'word', fallback, takes, help }
}

/** Some of these words, with commas in between; without words whole numbers of at least 1. */
export function list(words: readonly string[], fallback: string, help: string): ListFlag {
  return { type: 'list', words, fallback, help }
}

/** On, or off unless it is said. */
export function toggle(help: string): { readonly type: 'toggle'; readonly help: string } {
  return { type: 'toggle', help }
}

/** A program that is started from a shell. */
export interface Program<F extends Record<string, Flag>> {
  /** How it is called, without options. */
  readonly call: string
  /** What it does, in a few lines. */
  readonly about: string
  readonly flags: F
}

/**
 * Reads what a program was told. With `--help` it prints what could be said and ends with code 0; what nobody understands ends
 * it with code 2 and one line that says why.
 */
export function commandLine<const F extends Record<string, Flag>>(
  program: Program<F>,
  args: readonly string[] = process.argv.slice(2),
): Values<F> {
  const read = readCommandLine(program, args)
  if (typeof read !== 'string') return read
  const asked = args.includes('--help')
  if (asked) console.log(read)
  else console.error(read)
  process.exit(asked ? 0 : 2)
}

/** The same without an end: a text is what to print, the help or what is wrong. */
export function readCommandLine<const F extends Record<string, Flag>>(
  program: Program<F>,
  args: readonly string[],
): Values<F> | string {
  const names = [...Object.keys(program.flags), 'help']
  const { tokens } = parseArgs({ args: [...args], strict: false, tokens: true, options: optionsOf(program) })
  if (args.includes('--help')) return helpOf(program)
  const values: Record<string, string | number | boolean | readonly string[] | undefined> = {}
  for (const [name, known] of Object.entries(program.flags))
    values[name] =
      known.type === 'toggle' ? false : known.type === 'list' ? partsOf(known.fallback) : known.fallback
  for (const token of tokens) {
    if (token.kind === 'positional') return wrong(program, `what is '${token.value}' to say?`)
    if (token.kind !== 'option') continue
    const known = program.flags[token.name]
    if (known === undefined) {
      const suggestion = closest(token.name, names)
      const hint = suggestion === undefined ? '' : `; did you mean --${suggestion}?`
      return wrong(program, `there is no option --${token.name}${hint}`)
    }
    const value = valueOf(token.name, known, token.value)
    if (value instanceof Error) return wrong(program, value.message)
    values[token.name] = value
  }
  return values as Values<F>
}

function optionsOf(program: Program<Record<string, Flag>>): Record<string, { type: 'string' | 'boolean' }> {
  const entries = Object.entries(program.flags).map(
    ([name, { type }]) => [name, { type: type === 'toggle' ? 'boolean' : 'string' }] as const,
  )
  return Object.fromEntries(entries)
}

function valueOf(
  name: string,
  known: Flag,
  given: string | undefined,
): string | number | boolean | readonly string[] | Error {
  if (known.type === 'toggle') return given === undefined ? true : new Error(`--${name} takes no value`)
  // A value that begins with a dash belongs to the next option.
  if (given === undefined) return new Error(`--${name} takes a value`)
  if (known.type === 'word') return given
  if (known.type === 'list') return listOf(name, known, given)
  if (known.type === 'choice') {
    if (known.words.includes(given)) return given
    return new Error(`--${name} takes ${known.words.join('|')}, not '${given}'`)
  }
  const { kind, least } = known
  const value = Number(given)
  const fits = kind === 'whole' ? Number.isSafeInteger(value) : Number.isFinite(value)
  if (given.trim() !== '' && fits && (kind === 'positive' ? value > least : value >= least)) return value
  const asked = kind === 'positive' ? `number above ${least}` : `number of at least ${least}`
  return new Error(`--${name} takes a ${kind === 'whole' ? 'whole ' : ''}${asked}, not '${given}'`)
}

function listOf(name: string, { words }: ListFlag, given: string): readonly string[] | Error {
  const parts = partsOf(given)
  for (const part of parts) {
    if (words.length === 0) {
      if (!/^[1-9]\d{0,14}$/.test(part))
        return new Error(`--${name} takes whole numbers of at least 1, not '${part}'`)
    } else if (!words.includes(part)) return new Error(`--${name} takes ${words.join(',')}, not '${part}'`)
  }
  return parts.length > 0 ? parts : new Error(`--${name} takes a value`)
}

function partsOf(given: string): string[] {
  return given.split(',').filter((part) => part !== '')
}

function wrong({ call }: Program<Record<string, Flag>>, problem: string): string {
  return `${problem} \`${call} --help\` lists what can be said`
}

function takesOf(known: Flag): string {
  if (known.type === 'toggle') return ''
  if (known.type === 'number') return ' N'
  if (known.type === 'word') return ` ${known.takes}`
  if (known.type === 'choice') return ` ${known.words.join('|')}`
  return known.words.length === 0 ? ' N,…' : ' WORD,…'
}

function helpOf({ call, about, flags }: Program<Record<string, Flag>>): string {
  const rows = Object.entries(flags).map(([name, known]) => {
    const takes = takesOf(known)
    const fallback = known.type === 'toggle' || (known.fallback ?? '') === '' ? '' : ` (${known.fallback})`
    const among = known.type === 'list' && known.words.length > 0 ? `: ${known.words.join(', ')}` : ''
    return [`--${name}${takes}`, `${known.help}${among}${fallback}`] as const
  })
  const width = Math.max(...rows.map(([option]) => option.length))
  return [
    `${call} [options]`,
    '',
    about,
    '',
    ...rows.map(([option, help]) => `  ${option.padEnd(width)}  ${help}`),
  ].join('\n')
}
