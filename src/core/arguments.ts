import { KeelsonError } from './errors.ts'
import { closest, showValue } from './options.ts'

function refuse(what: string, wanted: string, value: unknown, hint = ''): never {
  throw new KeelsonError('INVALID_ARGUMENT', `${what} must be ${wanted}, not ${showValue(value)}${hint}`)
}

/** Takes bytes, and nothing that only looks like them. @throws KeelsonError `INVALID_ARGUMENT` */
export function checkBytes(value: unknown, what: string): Uint8Array {
  if (value instanceof Uint8Array) return value
  return refuse(what, 'a Uint8Array', value, typeof value === 'string' ? '; utf8() makes bytes of text' : '')
}

/** Takes a string of 1 to `maximumLength` characters. @throws KeelsonError `INVALID_ARGUMENT` */
export function checkText(value: unknown, what: string, maximumLength = 4096): string {
  if (typeof value === 'string' && value.length > 0 && value.length <= maximumLength) return value
  return refuse(what, `a string of 1 to ${maximumLength} characters`, value)
}

/** Takes a function; its signature is trusted. @throws KeelsonError `INVALID_ARGUMENT` */
export function checkFunction<T>(value: T, what: string): T {
  return typeof value === 'function' ? value : refuse(what, 'a function', value)
}

/** Takes an object that has these members. @throws KeelsonError `INVALID_ARGUMENT` */
export function checkObject<T>(value: T, what: string, members: readonly string[] = []): T {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return refuse(what, 'an object', value)
  if (members.length === 0) return value
  const missing = members.filter((member) => !(member in value))
  if (missing.length === 0) return value
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `${what} must be an object with ${members.join(', ')}; ${missing.join(', ')} missing`,
  )
}

/** Takes an array of at most `maximum` elements. @throws KeelsonError `INVALID_ARGUMENT`, `LIMIT_EXCEEDED` */
export function checkArray<T>(value: readonly T[], what: string, maximum = 100_000): readonly T[] {
  if (!Array.isArray(value)) return refuse(what, 'an array', value)
  if (value.length <= maximum) return value
  throw new KeelsonError('LIMIT_EXCEEDED', `${what} has at most ${maximum} elements, not ${value.length}`)
}

/** Takes a safe integer of at least `least`. @throws KeelsonError `INVALID_ARGUMENT` */
export function checkInteger(value: unknown, what: string, least = 0): number {
  if (Number.isSafeInteger(value) && (value as number) >= least) return value as number
  return refuse(what, `a safe integer of at least ${least}`, value)
}

/** Refuses members that nobody would look at: most are typing mistakes. @throws KeelsonError `INVALID_ARGUMENT` */
export function checkMembers(value: unknown, what: string, known: readonly string[]): void {
  checkObject(value, what)
  for (const key in value as object) {
    if (known.includes(key)) continue
    const suggestion = closest(key, known)
    const hint = suggestion === undefined ? `it has ${known.join(', ')}` : `did you mean '${suggestion}'?`
    throw new KeelsonError('INVALID_ARGUMENT', `${what} has no ${showValue(key)}; ${hint}`)
  }
}
