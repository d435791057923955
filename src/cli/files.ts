import { readFileSync } from 'node:fs'
import { KeelsonError } from '../core/errors.ts'

/**
 * JSON from a file.
 *
 * @param path `-` for what `input` gives
 * @param what what the file has to be, for the message
 * @throws KeelsonError `NOT_FOUND`, `INVALID_ARGUMENT`
 */
export function readJson(path: string, input: () => string, what: string): unknown {
  let text: string
  try {
    text = path === '-' ? input() : readFileSync(path, 'utf8')
  } catch (cause) {
    throw new KeelsonError('NOT_FOUND', `${path} cannot be read`, { cause })
  }
  try {
    return JSON.parse(text) as unknown
  } catch (cause) {
    const name = path === '-' ? 'standard input' : path
    throw new KeelsonError('INVALID_ARGUMENT', `${name} is not ${what}`, { cause })
  }
}
