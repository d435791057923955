import { parseArgs } from 'node:util'
import { closest } from '../core/options.ts'

/** Where a command reads and writes. */
export interface Terminal {
  readonly out: (text: string) => void
  readonly err: (text: string) => void
  /** All that comes in by standard input. */
  readonly input: () => string
}

/** Every option of every command. */
const options = {
  cluster: { type: 'string' },
  node: { type: 'string' },
  log: { type: 'string' },
  database: { type: 'string' },
  survivors: { type: 'string' },
  'accept-data-loss': { type: 'boolean' },
  confirm: { type: 'string' },
  seeds: { type: 'string' },
  ca: { type: 'string' },
  cert: { type: 'string' },
  key: { type: 'string' },
  insecure: { type: 'boolean' },
  name: { type: 'string' },
  timeout: { type: 'string' },
  json: { type: 'boolean' },
  all: { type: 'boolean' },
  limit: { type: 'string' },
  change: { type: 'string' },
  seed: { type: 'string' },
  rounds: { type: 'string' },
  help: { type: 'boolean' },
} as const

/** Options as they were given. */
export type Flags = ReturnType<typeof parseArgs<{ options: typeof options; strict: true }>>['values']
/** Name of an option. */
export type FlagName = keyof typeof options

/** One word that `keelson` takes first. */
export interface Command {
  /** What it does, in a line. */
  readonly about: string
  /** How it is called, and what its own options mean. */
  readonly help: string
  readonly flags: readonly FlagName[]
  /** `words` are those that follow the command. */
  readonly run: (words: readonly string[], flags: Flags, terminal: Terminal) => Promise<void>
}

/** Somebody has to read the help again. */
export class Usage extends Error {}

/** Takes options and words apart. @throws {Usage} */
export function readWords(words: readonly string[]): {
  readonly flags: Flags
  readonly positionals: readonly string[]
} {
  const args = [...words]
  const { tokens } = parseArgs({ args, strict: false, tokens: true, options })
  for (const token of tokens) {
    if (token.kind !== 'option' || Object.hasOwn(options, token.name)) continue
    throw new Usage(`there is no option --${token.name}${suggestion(token.name, Object.keys(options), '--')}`)
  }
  try {
    const { values, positionals } = parseArgs({ args, options, allowPositionals: true })
    return { flags: values, positionals }
  } catch (error) {
    throw new Usage((error as Error).message)
  }
}

/** Refuses options that a command would not look at. @throws {Usage} */
export function checkFlags(name: string, { flags: known }: Command, flags: Flags): void {
  for (const flag of Object.keys(flags)) {
    if (flag !== 'help' && !known.includes(flag as FlagName))
      throw new Usage(
        `${name} has no option --${flag}; it has ${known.map((each) => `--${each}`).join(', ')}`,
      )
  }
}

/** What may have been meant, as the end of a sentence; empty when nothing is near. */
export function suggestion(word: string, known: readonly string[], dashes = ''): string {
  const near = closest(word, known)
  return near === undefined ? '' : `; did you mean ${dashes}${near}?`
}

/** An option that must be there. @throws {Usage} */
export function said(
  flags: Flags,
  name: Exclude<FlagName, 'accept-data-loss' | 'insecure' | 'json' | 'all' | 'help'>,
): string {
  const value = flags[name]
  if (value === undefined || value === '') throw new Usage(`--${name} is missing`)
  return value
}

/** An option that is a whole number, where it is given. @throws {Usage} */
export function wholeNumber(
  flags: Flags,
  name: 'timeout' | 'limit' | 'seed' | 'rounds',
  least: number,
): number | undefined {
  const value = flags[name]
  if (value === undefined) return undefined
  return wholeWord(value, `--${name}`, least)
}

/** A word that is a whole number. @throws {Usage} */
export function wholeWord(word: string, what: string, least: number): number {
  const number = /^\d{1,16}$/.test(word) ? Number(word) : Number.NaN
  if (Number.isSafeInteger(number) && number >= least) return number
  throw new Usage(`${what} takes a whole number from ${least}, not '${word}'`)
}

/** The word that says what is to be done, of a few. @throws {Usage} */
export function oneOf<const T extends string>(
  word: string | undefined,
  known: readonly T[],
  what: string,
): T {
  if (word === undefined) throw new Usage(`${what} takes one of ${known.join(', ')}`)
  if (known.includes(word as T)) return word as T
  throw new Usage(`${what} takes one of ${known.join(', ')}, not '${word}'${suggestion(word, known)}`)
}

/** Refuses words that nobody would look at. @throws {Usage} */
export function noMore(words: readonly string[]): void {
  if (words.length > 0) throw new Usage(`what is '${words[0]}' to say?`)
}
