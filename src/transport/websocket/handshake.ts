import { decodePlain, encodePlain, Fields } from '../../core/codec.ts'
import { KeelsonError } from '../../core/errors.ts'
import { decodeError, encodeError } from '../../core/wire-error.ts'
import type { PeerIdentity } from '../../interfaces/transport.ts'
import { type ClusterId, checkId, checkName, type FoundingId, type NodeId } from '../../model/ids.ts'

/** Versions of the protocol that this release speaks. */
export const protocolVersions: { readonly oldest: number; readonly newest: number } = Object.freeze({
  oldest: 1,
  newest: 1,
})

/** Names of the HTTP headers that carry the greeting: nothing of it needs a WebSocket, so nobody gets one unauthorized. */
export const greetingHeaders: { readonly hello: string; readonly welcome: string; readonly refusal: string } =
  Object.freeze({
    hello: 'x-keelson-hello',
    welcome: 'x-keelson-welcome',
    refusal: 'x-keelson-refusal',
  })

/** Path of the upgrade request. */
export const upgradePath = '/keelson'

/** Longest greeting in characters. */
const maximumGreetingLength = 4_096

/** Who greets, in both directions. */
export interface Greeter {
  /** Undefined for a client that takes any cluster. */
  readonly clusterId: ClusterId | undefined
  /** Undefined while it is not known. */
  readonly founding: FoundingId | undefined
  readonly identity: PeerIdentity
  /** Drawn when the transport was opened: tells two lives of a process apart that share an incarnation. */
  readonly processId: number
  /** Largest frame that it takes. */
  readonly maximumFrameBytes: number
}

/** What the dialling side says first. */
export interface Hello extends Greeter {
  readonly oldest: number
  readonly newest: number
  /** The node that it wants to reach; undefined when it does not know. */
  readonly wanted: NodeId | undefined
  /** Grows with each dial of this process: which of two connections is the later one. */
  readonly attempt: number
  /** For the bulk connection of a link: the token of its welcome. */
  readonly token: Uint8Array | undefined
  /** Only wants to know who is there, if they are connected already. */
  readonly asking: boolean
}

/** What the accepting side answers. */
export interface Welcome extends Greeter {
  readonly version: number
  /** Whatever the accepting side itself dialled up to this number has come to an end, or is given up now. */
  readonly attempt: number
  /** What the bulk connection names to belong to this link. */
  readonly token: Uint8Array
  /** They are connected already; this connection is closed again. */
  readonly connected: boolean
}

function greeterFields(greeter: Greeter): (string | number | null)[] {
  const { nodeId, incarnation, role } = greeter.identity
  return [
    greeter.clusterId ?? null,
    nodeId,
    incarnation,
    role === 'node' ? 0 : 1,
    greeter.processId,
    greeter.maximumFrameBytes,
    greeter.founding ?? null,
  ]
}

function readGreeter(fields: Fields): Greeter {
  const clusterId = fields.optional((f) => checkName(f.string('cluster id'), 'the cluster id'))
  const nodeId = checkName(fields.string('node id'), 'the node id')
  const incarnation = checkId(fields.uint('incarnation'), 'the incarnation')
  const role = fields.oneOf('role', [0, 1]) === 0 ? 'node' : 'client'
  return {
    clusterId,
    identity: { nodeId, incarnation, role },
    processId: fields.uint('process'),
    maximumFrameBytes: fields.uint('largest frame'),
    founding: fields.optional((f) => checkId(f.uint('founding'), 'the founding')),
  }
}

/** As the value of an HTTP header. */
export function encodeHello(hello: Hello): string {
  return base64(
    encodePlain([
      hello.oldest,
      hello.newest,
      greeterFields(hello),
      hello.wanted ?? null,
      hello.attempt,
      hello.token ?? null,
      hello.asking,
    ]),
  )
}

/** @throws KeelsonError `MALFORMED`, `PROTOCOL_VERSION` */
export function decodeHello(header: string | undefined): Hello {
  const fields = open(header, 'hello')
  const oldest = fields.uint('oldest version')
  const newest = fields.uint('newest version')
  // What follows may look different in a version that we do not know.
  if (oldest > protocolVersions.newest || newest < protocolVersions.oldest) {
    const { oldest: from, newest: to } = protocolVersions
    throw new KeelsonError(
      'PROTOCOL_VERSION',
      `the peer speaks protocol versions ${oldest} to ${newest}, this node ${from} to ${to}; upgrade the older one`,
      { details: { oldest: from, newest: to } },
    )
  }
  return malformed('hello', () => ({
    oldest,
    newest,
    ...readGreeter(fields.nested('greeter')),
    wanted: fields.optional((f) => f.string('wanted')),
    attempt: fields.uint('attempt'),
    token: fields.optional((f) => f.bytes('token')),
    asking: fields.boolean('asking'),
  }))
}

/** As the value of an HTTP header. */
export function encodeWelcome(welcome: Welcome): string {
  return base64(
    encodePlain([welcome.version, greeterFields(welcome), welcome.attempt, welcome.token, welcome.connected]),
  )
}

/** @throws KeelsonError `MALFORMED`, `PROTOCOL_VERSION` */
export function decodeWelcome(header: string | undefined): Welcome {
  const fields = open(header, 'welcome')
  const version = fields.uint('version')
  if (version < protocolVersions.oldest || version > protocolVersions.newest) {
    throw new KeelsonError(
      'PROTOCOL_VERSION',
      `the peer answered in protocol version ${version}, which was not offered; upgrade the older one`,
    )
  }
  return malformed('welcome', () => ({
    version,
    ...readGreeter(fields.nested('greeter')),
    attempt: fields.uint('attempt'),
    token: fields.bytes('token'),
    connected: fields.boolean('connected'),
  }))
}

/** As the value of an HTTP header. */
export function encodeRefusal(error: KeelsonError): string {
  return base64(encodeError(error))
}

/** Undefined when the header holds no refusal of ours. */
export function decodeRefusal(header: string | undefined): KeelsonError | undefined {
  if (header === undefined || header.length > maximumGreetingLength * 8) return undefined
  try {
    return decodeError(Buffer.from(header, 'base64url'))
  } catch {
    return undefined
  }
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url')
}

function open(header: string | undefined, what: string): Fields {
  if (header === undefined) throw new KeelsonError('MALFORMED', `the ${what} is missing`)
  if (header.length > maximumGreetingLength) throw new KeelsonError('MALFORMED', `the ${what} is too long`)
  return new Fields(decodePlain(Buffer.from(header, 'base64url'), what, { depth: 3, values: 64 }), what)
}

/** Names of the wrong form are the peer's fault, not an argument of ours. */
function malformed<T>(what: string, read: () => T): T {
  try {
    return read()
  } catch (cause) {
    if (KeelsonError.hasCode(cause, 'MALFORMED')) throw cause
    throw new KeelsonError('MALFORMED', `the ${what} does not decode`, { cause })
  }
}
