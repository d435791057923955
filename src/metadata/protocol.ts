import { BytePool } from '../core/byte-pool.ts'
import { ByteReader, ByteWriter, concatBytes, copyBytes } from '../core/bytes.ts'
import { decodePlain, encodePlain, Fields, type Plain } from '../core/codec.ts'
import { KeelsonError, type SerializedError } from '../core/errors.ts'
import { PlainWriter } from '../core/plain-writer.ts'
import type {
  ChangeEvent,
  KeySelector,
  RangeResult,
  Revision,
  SessionId,
  SessionStatus,
  Transaction,
  WatchResponse,
} from '../interfaces/metadata-store.ts'
import { type CanonicalCursor, ifCanonical } from './mvcc/canonical.ts'
import {
  readKeyValue,
  readKeyValues,
  selectorFromFields,
  selectorToPlain,
  transactionFromFields,
  writeKeyValue,
  writeKeyValues,
  writeTransaction,
} from './mvcc/wire.ts'

// What a client and a server of the metadata store say to each other, on a channel of their own.

const protocolVersion = 1

/** Names of the remote calls. */
export const methods: {
  /** Transactions, grants and linearizable reads of one turn, to the leader. */
  readonly batch: 'metadata.batch'
  /** Opens a client session of the Raft group, on the leader. */
  readonly open: 'metadata.open'
  /** A read, from any server. */
  readonly local: 'metadata.local'
  readonly compact: 'metadata.compact'
  readonly renew: 'metadata.renew'
  readonly revoke: 'metadata.revoke'
  readonly sessions: 'metadata.sessions'
  /** A stream of changes, from any server. */
  readonly watch: 'metadata.watch'
  /** The hash of the state at the last verification, from any server. */
  readonly verified: 'metadata.verified'
  /** Whether this server leads: 1 as soon as it does, 0 when it did not within so many milliseconds. */
  readonly leads: 'metadata.leads'
} = Object.freeze({
  batch: 'metadata.batch',
  open: 'metadata.open',
  local: 'metadata.local',
  compact: 'metadata.compact',
  renew: 'metadata.renew',
  revoke: 'metadata.revoke',
  sessions: 'metadata.sessions',
  watch: 'metadata.watch',
  verified: 'metadata.verified',
  leads: 'metadata.leads',
})

const decodeLimits = Object.freeze({ depth: 10, values: 200_000 })

/** Opens a message. @throws KeelsonError `MALFORMED`, `PROTOCOL_VERSION` */
function openMessage(bytes: Uint8Array, what: string): Fields {
  const fields = new Fields(decodePlain(bytes, what, decodeLimits), what)
  const version = fields.uint('version')
  if (version === protocolVersion) return fields
  throw new KeelsonError(
    'PROTOCOL_VERSION',
    `${what} is of version ${version}, but this release knows ${protocolVersion}; upgrade the older side`,
  )
}

/** A read as it travels. */
export interface ReadRequest {
  readonly select: KeySelector
  readonly revision?: Revision
  readonly limit?: number
}

function readToPlain(read: ReadRequest): Plain {
  return [selectorToPlain(read.select), read.revision ?? null, read.limit ?? null]
}

function readFromFields(fields: Fields): ReadRequest {
  const select = selectorFromFields(fields.nested('select'))
  const revision = fields.optional((f) => f.uint('revision'))
  const limit = fields.optional((f) => f.uint('limit'))
  return {
    select,
    ...(revision === undefined ? {} : { revision }),
    ...(limit === undefined ? {} : { limit }),
  }
}

export function encodeRead(read: ReadRequest): Uint8Array {
  return encodePlain([protocolVersion, readToPlain(read)])
}

export function decodeRead(bytes: Uint8Array): ReadRequest {
  return readFromFields(openMessage(bytes, 'a read').nested('read'))
}

export function encodeRangeResult(result: RangeResult): Uint8Array {
  const out = new ByteWriter(256)
  writeKeyValues(out, result.entries)
  return out
    .u8(result.more ? 1 : 0)
    .varint(result.count)
    .varint(result.revision)
    .finish()
}

export function decodeRangeResult(bytes: Uint8Array): RangeResult {
  const reader = new ByteReader(bytes, 'the result of a range')
  const entries = readKeyValues(reader)
  return { entries, more: reader.u8() === 1, count: reader.varint(), revision: reader.varint() }
}

/** What a request of a batch wants. */
export type BatchItemType = 'txn' | 'grant' | 'read'

const batchItemTypes: readonly BatchItemType[] = ['txn', 'grant', 'read']

/** One request of a batch. Writes have a sequence in the client session; reads have 0. */
export interface BatchItem {
  readonly type: BatchItemType
  readonly sequence: number
  /** Made once, when the caller asked, and sent unchanged however often. */
  readonly body: Uint8Array
}

/** Requests of one turn of a client. */
export interface Batch {
  /** 0 when there are only reads. */
  readonly clientSession: number
  /** The client has the results of all its writes below this sequence. */
  readonly acknowledgedBelow: number
  readonly items: readonly BatchItem[]
}

/** The same bytes as `encodePlain` would make. */
export function encodeBatch(batch: Batch): Uint8Array {
  const { clientSession, acknowledgedBelow, items } = batch
  const out = writer.begin().array(4).uint(protocolVersion).uint(clientSession).uint(acknowledgedBelow)
  out.array(items.length)
  for (const { type, sequence, body } of items)
    out.array(3).uint(batchItemTypes.indexOf(type)).uint(sequence).bytes(body)
  return out.end()
}

/** One message at a time is made with it. */
const writer = new PlainWriter()

export function decodeBatch(bytes: Uint8Array): Batch {
  return ifCanonical(bytes, 0, readBatch) ?? decodeAnyBatch(bytes)
}

function readBatch(cursor: CanonicalCursor): Batch {
  cursor.expect(4)
  if (cursor.uint() !== protocolVersion) return cursor.refuse()
  const clientSession = cursor.uint()
  const acknowledgedBelow = cursor.uint()
  const items = cursor.list((item): BatchItem => {
    item.expect(3)
    const type = batchItemTypes[item.uint()] ?? item.refuse()
    return { type, sequence: item.uint(), body: item.bytes() }
  })
  return { clientSession, acknowledgedBelow, items }
}

function decodeAnyBatch(bytes: Uint8Array): Batch {
  const fields = openMessage(bytes, 'a batch')
  return {
    clientSession: fields.uint('clientSession'),
    acknowledgedBelow: fields.uint('acknowledgedBelow'),
    items: fields.list('items', (item) => ({
      type: batchItemTypes[item.oneOf('type', [0, 1, 2])] as BatchItemType,
      sequence: item.uint('sequence'),
      body: item.bytes('body'),
    })),
  }
}

export function encodeTransaction(transaction: Transaction): Uint8Array {
  return writeTransaction(writer.begin(), transaction).end()
}

export function decodeTransaction(body: Uint8Array): Transaction {
  return transactionFromFields(new Fields(decodePlain(body, 'a transaction', decodeLimits), 'a transaction'))
}

export function encodeGrant(holder: string, ttlMs: number): Uint8Array {
  return encodePlain([holder, ttlMs])
}

export function decodeGrant(body: Uint8Array): { readonly holder: string; readonly ttlMs: number } {
  const fields = new Fields(decodePlain(body, 'a grant'), 'a grant')
  return { holder: fields.string('holder'), ttlMs: fields.uint('ttlMs') }
}

/** The answer to one item: bytes, or why there are none. */
export type BatchAnswer = Uint8Array | KeelsonError

/** About what an error takes. */
const room = 160

/** Answers in the order of the items. Those that do not fit are answered by `OVERLOADED`: ask again. */
export function encodeAnswers(answers: readonly BatchAnswer[], maximumBytes: number): Uint8Array {
  let bytes = 16
  for (const answer of answers) bytes += answer instanceof KeelsonError ? room : answer.length + 9
  const out = new ByteWriter(Math.min(bytes, maximumBytes))
  out.varint(answers.length)
  answers.forEach((answer, i) => {
    const encoded = answer instanceof KeelsonError ? encodeError(answer) : answer
    const left = maximumBytes - out.length - (answers.length - i) * room
    const fits = i === 0 || encoded.length <= left
    if (!fits) out.u8(2).bytes(encodeError(noRoom))
    else out.u8(answer instanceof KeelsonError ? 2 : 1).bytes(encoded)
  })
  return out.view()
}

const noRoom: KeelsonError = new KeelsonError('OVERLOADED', 'the answer had no room: ask again', {
  outcome: 'unknown',
})

const answersRead = new BytePool()

/** Each answer is an array of its own. */
export function decodeAnswers(bytes: Uint8Array): BatchAnswer[] {
  const reader = new ByteReader(bytes, 'the answers to a batch')
  const count = reader.varint()
  const answers: BatchAnswer[] = []
  for (let i = 0; i < count; i++) {
    const mark = reader.u8()
    const body = reader.bytes()
    if (mark !== 1 && mark !== 2) reader.fail(`holds an answer of unknown kind ${mark}`)
    // Each on its own: who keeps one must not keep them all.
    answers.push(mark === 1 ? answersRead.copy(body) : decodeError(body))
  }
  return answers
}

function encodeError(error: KeelsonError): Uint8Array {
  const { code, message, retryable, outcome, details } = error.toJSON()
  return encodePlain([code, message.slice(0, 1000), retryable, outcome, JSON.stringify(details)])
}

function decodeError(bytes: Uint8Array): KeelsonError {
  const fields = new Fields(decodePlain(bytes, 'an error'), 'an error')
  const code = fields.string('code')
  const message = fields.string('message')
  const retryable = fields.boolean('retryable')
  const outcome = fields.oneOf('outcome', ['none', 'unknown'])
  let details: SerializedError['details']
  try {
    details = JSON.parse(fields.string('details')) as SerializedError['details']
  } catch (cause) {
    throw new KeelsonError('MALFORMED', 'the details of an error are not JSON', { cause })
  }
  return KeelsonError.fromJSON({ code, message, retryable, outcome, details })
}

/** A number: a revision to compact to, a session to renew or revoke. */
export function encodeNumber(value: number): Uint8Array {
  return encodePlain([protocolVersion, value])
}

export function decodeNumber(bytes: Uint8Array): number {
  return openMessage(bytes, 'a request').uint('value')
}

/** A request that says nothing more, and an answer that says only that it was done. */
export const emptyMessage: Uint8Array = encodePlain([protocolVersion])

/** Checks a request without contents. @throws KeelsonError `MALFORMED`, `PROTOCOL_VERSION` */
export function checkEmpty(bytes: Uint8Array): void {
  openMessage(bytes, 'a request')
}

/** Sessions in one answer. */
const maximumSessionsShown = 10_000

export function encodeSessions(sessions: Iterable<SessionStatus>): Uint8Array {
  const shown: Plain[] = []
  for (const { sessionId, ttlMs, holder } of sessions) {
    if (shown.length === maximumSessionsShown) break
    shown.push([sessionId, ttlMs, holder])
  }
  return encodePlain([protocolVersion, shown])
}

export function decodeSessions(bytes: Uint8Array): SessionStatus[] {
  return openMessage(bytes, 'a list of sessions').list('sessions', (fields) => ({
    sessionId: fields.uint('sessionId') satisfies SessionId,
    ttlMs: fields.uint('ttlMs'),
    holder: fields.string('holder'),
  }))
}

/** What a watch asks for. The position is always explicit: it is the client that knows where it stands. */
export interface WatchRequest {
  readonly select: KeySelector
  readonly fromRevision: Revision
  readonly previous: boolean
}

export function encodeWatch(request: WatchRequest): Uint8Array {
  return encodePlain([
    protocolVersion,
    selectorToPlain(request.select),
    request.fromRevision,
    request.previous,
  ])
}

export function decodeWatch(bytes: Uint8Array): WatchRequest {
  const fields = openMessage(bytes, 'a watch')
  return {
    select: selectorFromFields(fields.nested('select')),
    fromRevision: fields.uint('fromRevision'),
    previous: fields.boolean('previous'),
  }
}

const watchPart = 1
const watchLast = 2

/** A response as items of a stream: one revision may be larger than an item, and is put together again at the other end. */
export function* encodeWatchResponse(response: WatchResponse, maximumBytes: number): Iterable<Uint8Array> {
  const out = new ByteWriter(256)
  if (response.type === 'progress') out.u8(0).varint(response.revision)
  else {
    out.u8(1).varint(response.revision).varint(response.events.length)
    for (const { type, entry, previous } of response.events) {
      out.u8(type === 'put' ? 0 : 1).u8(previous === undefined ? 0 : 1)
      writeKeyValue(out, entry)
      if (previous !== undefined) writeKeyValue(out, previous)
    }
  }
  const bytes = out.view()
  const step = maximumBytes - 1
  for (let at = 0; ; at += step) {
    const part = bytes.subarray(at, at + step)
    const last = at + step >= bytes.length
    yield concatBytes([Uint8Array.of(last ? watchLast : watchPart), part])
    if (last) return
  }
}

/** Largest response that is put together. */
const maximumResponseBytes = 256 * 1024 * 1024

/** Puts the items of a watch's stream together. */
export class WatchDecoder {
  #parts: Uint8Array[] = []
  #bytes = 0

  /** A response, when the item completes one. @throws KeelsonError `MALFORMED` */
  push(item: Uint8Array): WatchResponse | undefined {
    const mark = item[0]
    if (mark !== watchPart && mark !== watchLast)
      throw new KeelsonError('MALFORMED', 'an item of a watch is of no known kind')
    this.#bytes += item.length
    if (this.#bytes > maximumResponseBytes)
      throw new KeelsonError('MALFORMED', 'the response of a watch is larger than any revision can be')
    this.#parts.push(copyBytes(item.subarray(1)))
    if (mark === watchPart) return undefined
    const whole = this.#parts.length === 1 ? (this.#parts[0] as Uint8Array) : concatBytes(this.#parts)
    this.#parts = []
    this.#bytes = 0
    return decodeWatchResponse(whole)
  }
}

function decodeWatchResponse(bytes: Uint8Array): WatchResponse {
  const reader = new ByteReader(bytes, 'the response of a watch')
  if (reader.u8() === 0) return { type: 'progress', revision: reader.varint() }
  const revision = reader.varint()
  const count = reader.varint()
  const events: ChangeEvent[] = []
  for (let i = 0; i < count; i++) {
    const type = reader.u8() === 0 ? 'put' : 'delete'
    const hasPrevious = reader.u8() === 1
    const entry = readKeyValue(reader)
    events.push(hasPrevious ? { type, entry, previous: readKeyValue(reader) } : { type, entry })
  }
  return { type: 'changes', revision, events }
}

/** Where a replica stood when it applied the last verification, and the hash of its state there. */
export interface Verification {
  readonly index: number
  readonly digest: string
}

export function encodeVerification(verification: Verification | undefined): Uint8Array {
  return encodePlain([protocolVersion, verification?.index ?? 0, verification?.digest ?? ''])
}

export function decodeVerification(bytes: Uint8Array): Verification {
  const fields = openMessage(bytes, 'a verification')
  return { index: fields.uint('index'), digest: fields.string('digest') }
}
