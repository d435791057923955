import { createHash } from 'node:crypto'
import { utf8 } from '../core/bytes.ts'
import { decodePlain, encodePlain, Fields } from '../core/codec.ts'
import { KeelsonError } from '../core/errors.ts'
import type { NodeDescriptor } from '../model/descriptors.ts'
import { checkNodeDescriptor, checkVersion, plainNodeDescriptor, readNodeDescriptor } from './core/record.ts'

/** What a node sends to be admitted. It goes over an encrypted connection only, since it carries secrets. */
export interface JoinRequest {
  /** The node that asks, in its own words. */
  readonly descriptor: NodeDescriptor
  /**
   * Secret of this incarnation, of at least 16 characters: drawn by the node itself and stored in its directory before
   * it first joins, so that a join whose answer is lost can be repeated.
   */
  readonly credential: string
  /** A join token; a node that is known already needs none. */
  readonly token?: string
}

const formatVersion = 1
const secretLength = { min: 16, max: 256 }

/** @throws KeelsonError `INVALID_ARGUMENT` */
export function checkSecret(value: string, what: string): string {
  if (typeof value === 'string' && value.length >= secretLength.min && value.length <= secretLength.max) {
    return value
  }
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `${what} is text of ${secretLength.min} to ${secretLength.max} characters; draw it at random`,
  )
}

/** What is stored of a secret: its SHA-256. Secrets are random, so a slow hash would gain nothing. */
export function hashSecret(secret: string): Uint8Array {
  return new Uint8Array(createHash('sha256').update(utf8(secret)).digest())
}

/** Encodes a request for the wire. @throws KeelsonError `INVALID_ARGUMENT` */
export function encodeJoinRequest(request: JoinRequest): Uint8Array {
  return encodePlain([
    formatVersion,
    plainNodeDescriptor(checkNodeDescriptor(request.descriptor)),
    checkSecret(request.credential, 'a node credential'),
    request.token === undefined ? null : checkSecret(request.token, 'a join token'),
  ])
}

/** The inverse of {@link encodeJoinRequest}. @throws KeelsonError `MALFORMED`, `INVALID_ARGUMENT`, `FORMAT_VERSION` */
export function decodeJoinRequest(bytes: Uint8Array): JoinRequest {
  const fields = new Fields(
    decodePlain(bytes, 'a join request', { depth: 8, values: 1000 }),
    'a join request',
  )
  checkVersion(fields.uint('version'), 'a join request')
  const descriptor = readNodeDescriptor(fields.nested('descriptor'))
  const credential = checkSecret(fields.string('credential'), 'a node credential')
  const token = fields.optional((f) => f.string('token'))
  return { descriptor, credential, ...(token === undefined ? {} : { token }) }
}
