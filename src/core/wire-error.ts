import { decodePlain, encodePlain, Fields, type Plain } from './codec.ts'
import { type ErrorDetails, KeelsonError, type SerializedError } from './errors.ts'

const maximumMessageLength = 2_000
const maximumDetails = 32
const maximumDetailLength = 1_000
const version = 1

/**
 * What a peer may learn of something that was thrown here. A {@link KeelsonError} is made for that, but its cause stays at
 * home; of anything else the peer learns only that `what` failed, because messages and stacks of strangers tell paths,
 * addresses and data.
 */
export function errorForPeer(thrown: unknown, what: string): KeelsonError {
  if (KeelsonError.is(thrown)) return thrown
  return new KeelsonError('IO', `${what} failed; the log of that node says why`)
}

/** An error in bytes, cut to bounded size. */
export function encodeError(error: KeelsonError): Uint8Array {
  const details: Plain[] = Object.entries(error.details)
    .slice(0, maximumDetails)
    .map(([name, value]) => [
      name.slice(0, maximumDetailLength),
      typeof value === 'string' ? value.slice(0, maximumDetailLength) : value,
    ])
  return encodePlain([
    version,
    error.code,
    error.message.slice(0, maximumMessageLength),
    error.retryable,
    error.outcome,
    details,
  ])
}

/** The inverse of {@link encodeError}. @throws KeelsonError `MALFORMED` */
export function decodeError(bytes: Uint8Array): KeelsonError {
  const fields = new Fields(decodePlain(bytes, 'error', { depth: 4, values: 200 }), 'error')
  fields.uint('version')
  const serialized: SerializedError = {
    code: fields.string('code'),
    message: fields.string('message'),
    retryable: fields.boolean('retryable'),
    outcome: fields.oneOf('outcome', ['none', 'unknown']),
    details: decodeDetails(fields),
  }
  return KeelsonError.fromJSON(serialized)
}

function decodeDetails(fields: Fields): ErrorDetails {
  const details: Record<string, string | number | boolean | null> = Object.create(null)
  fields.list('details', (pair) => {
    const name = pair.string('name')
    const value = pair.plain()
    if (
      value === null ||
      typeof value === 'boolean' ||
      typeof value === 'number' ||
      typeof value === 'string'
    ) {
      details[name] = value
    } else throw new KeelsonError('MALFORMED', `error: detail ${JSON.stringify(name)} is no plain value`)
  })
  return details
}
