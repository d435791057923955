import type { DecodeLimits, Plain } from './codec.ts'
import { KeelsonError } from './errors.ts'
import { showValue } from './options.ts'

/** First in an array, so that a list and a record differ: a record goes on with a name and a value, and so on. */
const kinds = { list: 0, record: 1 } as const

/**
 * Data of named members as {@link Plain}, for messages of which nobody wants to fix every field: lists, records, strings, booleans,
 * null, byte arrays, and every number, those that are not finite included. Members that are undefined are left out, and
 * undefined in a list becomes null, as JSON has it; anything else is refused rather than lost.
 *
 * @param limits what the receiver decodes, of this part of the message alone
 * @throws KeelsonError `INVALID_ARGUMENT` for what no message carries, `LIMIT_EXCEEDED`
 */
export function dataToPlain(data: unknown, what: string, limits: DecodeLimits): Plain {
  let values = 0
  const count = (more: number): void => {
    values += more
    if (values <= limits.values) return
    throw new KeelsonError(
      'LIMIT_EXCEEDED',
      `${what} holds more than ${limits.values} values; ask for less at a time`,
    )
  }
  const enter = (depth: number): void => {
    count(2)
    if (depth <= limits.depth) return
    throw new KeelsonError('LIMIT_EXCEEDED', `${what} is nested deeper than ${limits.depth}`)
  }
  const toPlain = (value: unknown, depth: number): Plain => {
    if (Array.isArray(value)) {
      enter(depth)
      const list: Plain[] = [kinds.list]
      for (const item of value) list.push(toPlain(item, depth + 1))
      return list
    }
    if (isRecord(value)) {
      enter(depth)
      const record: Plain[] = [kinds.record]
      for (const name of Object.keys(value)) {
        const member = value[name]
        if (member === undefined) continue
        count(1)
        record.push(name, toPlain(member, depth + 1))
      }
      return record
    }
    count(1)
    if (isScalar(value)) return value ?? null
    throw new KeelsonError('INVALID_ARGUMENT', `${what} holds ${showValue(value)}, which no message carries`)
  }
  return toPlain(data, 1)
}

/** The inverse of {@link dataToPlain}, of what `decodePlain` has let pass. @throws KeelsonError `MALFORMED` */
export function plainToData(plain: Plain, what: string): unknown {
  if (plain instanceof Uint8Array) return plain.slice()
  if (!Array.isArray(plain)) return plain
  const parts = plain as readonly Plain[]
  if (parts[0] === kinds.list) {
    const list: unknown[] = []
    for (let at = 1; at < parts.length; at++) list.push(plainToData(parts[at] as Plain, what))
    return list
  }
  if (parts[0] !== kinds.record || parts.length % 2 === 0) refuse(`${what} has an array of no known kind`)
  const record: Record<string, unknown> = {}
  for (let at = 1; at < parts.length; at += 2) {
    const name = parts[at]
    if (typeof name !== 'string') return refuse(`${what} has a member whose name is no string`)
    if (Object.hasOwn(record, name)) refuse(`${what} has two members of one name`)
    const value = plainToData(parts[at + 1] as Plain, what)
    // To assign to this one would exchange the prototype.
    if (name === '__proto__')
      Object.defineProperty(record, name, { value, configurable: true, enumerable: true, writable: true })
    else record[name] = value
  }
  return record
}

function isScalar(value: unknown): value is undefined | null | boolean | number | string | Uint8Array {
  if (value === undefined || value === null || value instanceof Uint8Array) return true
  return typeof value === 'boolean' || typeof value === 'number' || typeof value === 'string'
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

function refuse(problem: string): never {
  throw new KeelsonError('MALFORMED', problem)
}
