import { readFileSync } from 'node:fs'
import { KeelsonError } from '../core/errors.ts'

/** What a file holds. @throws KeelsonError `NOT_FOUND` */
export function readBytes(path: string): Buffer {
  return readable(path, () => readFileSync(path))
}

function readable<T>(name: string, read: () => T): T {
  try {
    return read()
  } catch (cause) {
    throw new KeelsonError('NOT_FOUND', `${name} cannot be read`, { cause })
  }
}

/**
 * JSON from a file.
 *
 * @param path `-` for what `input` gives
 * @param what what the file has to be, for the message
 * @throws KeelsonError `NOT_FOUND`, `INVALID_ARGUMENT`
 */
export function readJson(path: string, input: () => string, what: string): unknown {
  const name = path === '-' ? 'standard input' : path
  const text = path === '-' ? readable(name, input) : readBytes(path).toString('utf8')
  try {
    return JSON.parse(text) as unknown
  } catch (cause) {
    throw new KeelsonError('INVALID_ARGUMENT', `${name} is not ${what}`, { cause })
  }
}
