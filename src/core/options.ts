import { KeelsonError } from './errors.ts'

/** Checks one option and returns its final value. `name` is for the message of the error. */
export type OptionCheck<T> = (value: unknown, name: string) => T

/** One check per option. */
export type OptionChecks<T> = { readonly [K in keyof T]-?: OptionCheck<T[K]> }

function fail(message: string): never {
  throw new KeelsonError('INVALID_OPTION', message)
}

/** Characters of a value that a message shows. */
const maximumShown = 80

/** A value as a message shows it: short, whatever it is, and never an error of its own. */
export function showValue(value: unknown): string {
  if (typeof value === 'function') return 'a function'
  if (value instanceof Uint8Array) return `${value.length} bytes`
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object'
  if (typeof value === 'string' && value.length > maximumShown) {
    return `${JSON.stringify(value.slice(0, maximumShown))}… (${value.length} characters)`
  }
  return typeof value === 'string'
    ? JSON.stringify(value)
    : `${String(value)}${typeof value === 'bigint' ? 'n' : ''}`
}

function unknownKey(where: string, key: string, known: readonly string[]): never {
  const suggestion = closest(key, known)
  const hint =
    suggestion !== undefined
      ? `did you mean '${suggestion}'?`
      : known.length === 0
        ? 'it has none'
        : `known options: ${known.join(', ')}`
  return fail(`${where} has no option '${key.slice(0, maximumShown)}'; ${hint}`)
}

/**
 * Validates the options object of a factory: unknown keys are refused with a suggestion, each known one goes through
 * its check, and `crossCheck` compares the final values with each other. The result is frozen.
 *
 * @param where the factory's name, for messages
 * @throws KeelsonError `INVALID_OPTION`
 */
export function checkOptions<T extends object>(
  where: string,
  input: unknown,
  checks: OptionChecks<T>,
  crossCheck?: (options: T, refuse: (problem: string) => never) => void,
): T {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    fail(`${where} takes an options object, not ${showValue(input)}`)
  }
  const known = Object.keys(checks)
  for (const key of Object.keys(input)) {
    if (known.includes(key)) continue
    unknownKey(where, key, known)
  }
  const result: Record<string, unknown> = {}
  for (const key of known) {
    const check = checks[key as keyof T] as OptionCheck<unknown>
    const value = check((input as Record<string, unknown>)[key], `${where}: option '${key}'`)
    if (value !== undefined) result[key] = value
  }
  crossCheck?.(result as T, (problem) => fail(`${where}: ${problem}`))
  return Object.freeze(result) as T
}

/** Bounds of a numeric option and the value used when it is not given. */
export interface NumberBounds {
  /** Smallest value that is allowed. */
  readonly min: number
  /** Largest value that is allowed. Default: the largest safe integer for integers, no bound for others. */
  readonly max?: number
  /** Used when the option is not given. Without it the option is required. */
  readonly fallback?: number
}

function numeric(value: unknown, name: string, bounds: NumberBounds, integer: boolean): number {
  const max = bounds.max ?? (integer ? Number.MAX_SAFE_INTEGER : Number.MAX_VALUE)
  const final = value === undefined ? bounds.fallback : value
  const fits = integer ? Number.isSafeInteger(final) : typeof final === 'number'
  if (fits && (final as number) >= bounds.min && (final as number) <= max) return final as number
  return fail(
    `${name} takes ${integer ? 'an integer' : 'a number'} from ${bounds.min} to ${max}, not ${showValue(value)}`,
  )
}

/** Takes an integer within bounds. */
export function integerOption(bounds: NumberBounds): OptionCheck<number> {
  return (value, name) => numeric(value, name, bounds, true)
}

/** Takes a finite number within bounds. */
export function numberOption(bounds: NumberBounds): OptionCheck<number> {
  return (value, name) => numeric(value, name, bounds, false)
}

/** Takes a string of at least one and at most `maxLength` (default 4,096) characters. */
export function stringOption(bounds: { fallback?: string; maxLength?: number } = {}): OptionCheck<string> {
  return (value, name) => {
    const final = value === undefined ? bounds.fallback : value
    const maxLength = bounds.maxLength ?? 4096
    if (typeof final === 'string' && final.length > 0 && final.length <= maxLength) return final
    return fail(`${name} takes a string of 1 to ${maxLength} characters, not ${showValue(value)}`)
  }
}

/** Takes true or false. */
export function booleanOption(fallback?: boolean): OptionCheck<boolean> {
  return (value, name) => {
    const final = value === undefined ? fallback : value
    return typeof final === 'boolean' ? final : fail(`${name} takes true or false, not ${showValue(value)}`)
  }
}

/** Takes one of a few words. */
export function wordOption<const T extends string>(words: readonly T[], fallback?: T): OptionCheck<T> {
  return (value, name) => {
    const final = (value === undefined ? fallback : value) as T
    return words.includes(final)
      ? final
      : fail(`${name} takes one of ${words.join(', ')}, not ${showValue(value)}`)
  }
}

/** Takes a function; its signature is trusted. */
export function functionOption<T>(fallback?: T): OptionCheck<T> {
  return (value, name) => {
    const final = value === undefined ? fallback : value
    return typeof final === 'function'
      ? (final as T)
      : fail(`${name} takes a function, not ${showValue(value)}`)
  }
}

/** Takes an object that has these members: a port that the host brings along. */
export function objectOption<T extends object>(
  members: readonly (keyof T & string)[] = [],
  fallback?: T,
): OptionCheck<T> {
  return (value, name) => {
    const final = (value === undefined ? fallback : value) as T
    if (typeof final !== 'object' || final === null || Array.isArray(final))
      return fail(`${name} takes an object, not ${showValue(value)}`)
    const missing = members.filter((member) => !(member in final))
    if (missing.length === 0) return final
    return fail(`${name} takes an object with ${members.join(', ')}; ${missing.join(', ')} missing`)
  }
}

/** Takes an array whose every element passes `element`; the result is a frozen copy. */
export function arrayOption<T>(
  element: OptionCheck<T>,
  bounds: { min?: number; max?: number; fallback?: readonly T[] } = {},
): OptionCheck<readonly T[]> {
  return (value, name) => {
    const final = value === undefined ? bounds.fallback : value
    if (!Array.isArray(final)) return fail(`${name} takes an array, not ${showValue(value)}`)
    const min = bounds.min ?? 0
    const max = bounds.max ?? 100_000
    if (final.length < min || final.length > max) {
      return fail(`${name} takes ${min} to ${max} elements, not ${final.length}`)
    }
    return Object.freeze(final.map((item, i) => element(item, `${name}[${i}]`)))
  }
}

/** Leaves an option out when it is not given. */
export function optional<T>(check: OptionCheck<T>): OptionCheck<T | undefined> {
  return (value, name) => (value === undefined ? undefined : check(value, name))
}

/** Takes an `AbortSignal`. */
export const signalOption: OptionCheck<AbortSignal> = (value, name) => {
  if (value instanceof EventTarget && typeof (value as Partial<AbortSignal>).aborted === 'boolean')
    return value as AbortSignal
  const hint = value instanceof AbortController ? '; give the signal of the controller' : ''
  return fail(`${name} takes an AbortSignal, not ${showValue(value)}${hint}`)
}

/**
 * Checks the options object of one call: unknown keys are refused with a suggestion, and a `signal` must be one. What else
 * there is of `known` is the caller's to check. Cheap enough for every call.
 *
 * @param where the method's name, for messages
 * @param known options that it takes beside `signal`
 * @throws KeelsonError `INVALID_OPTION`
 */
export function checkCall(where: string, options: unknown, known: readonly string[] = []): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    fail(`${where} takes an options object, not ${showValue(options)}`)
  }
  for (const key in options) {
    if (key !== 'signal' && !known.includes(key)) unknownKey(where, key, ['signal', ...known])
  }
  const { signal } = options as { readonly signal?: unknown }
  if (signal !== undefined) signalOption(signal, `${where}: option 'signal'`)
}

/** The known word nearest to `word`, when it is near enough to be a typing mistake. */
export function closest(word: string, known: readonly string[]): string | undefined {
  if (word.length > maximumShown) return undefined
  let best: string | undefined
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const current = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1)
      current.push(Math.min(substitution, (previous[j] as number) + 1, (current[j - 1] as number) + 1))
    }
    previous = current
  }
  return previous[b.length] as number
}
