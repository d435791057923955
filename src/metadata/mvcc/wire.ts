import { BytePool } from '../../core/byte-pool.ts'
import { ByteReader, ByteWriter, copyBytes } from '../../core/bytes.ts'
import type { Fields, Plain } from '../../core/codec.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { PlainWriter } from '../../core/plain-writer.ts'
import { putVarint, varintBytes } from '../../core/varint.ts'
import type {
  Compare,
  KeySelector,
  KeyValue,
  Operation,
  OperationResult,
  Revision,
  Transaction,
  TransactionResult,
} from '../../interfaces/metadata-store.ts'
import type { DeferredResult } from '../../interfaces/state-machine.ts'
import type { StoredVersion } from './version.ts'

// Positional encodings of the interface's types, for commands, requests and answers.

const compareTargets = ['createRevision', 'modRevision', 'version', 'session', 'value'] as const
const compareOperators = ['=', '!=', '<', '>'] as const

export function selectorToPlain(select: KeySelector): Plain {
  if (select.end === undefined) return [select.key]
  return [select.key, select.end]
}

export function selectorFromFields(fields: Fields): KeySelector {
  const key = fields.bytes('key')
  if (!fields.more) return { key }
  return { key, end: fields.optional((f) => f.bytes('end')) ?? null }
}

function compareToPlain(compare: Compare): Plain {
  const target = compareTargets.indexOf(compare.target)
  return [compare.key, target, compareOperators.indexOf(compare.is), compare.operand]
}

function compareFromFields(fields: Fields): Compare {
  const key = fields.bytes('key')
  const target = compareTargets[fields.oneOf('target', [0, 1, 2, 3, 4])]
  if (target === 'value') {
    const is = compareOperators[fields.oneOf('is', [0, 1])]
    return { key, target, is, operand: fields.bytes('operand') }
  }
  const is = compareOperators[fields.oneOf('is', [0, 1, 2, 3])]
  return { key, target, is, operand: fields.uint('operand') }
}

function operationToPlain(operation: Operation): Plain {
  if (operation.type === 'put') return [0, operation.key, operation.value, operation.session ?? 0]
  if (operation.type === 'delete') return [1, selectorToPlain(operation.select)]
  return [2, selectorToPlain(operation.select), operation.limit ?? null]
}

function operationFromFields(fields: Fields): Operation {
  const type = fields.oneOf('type', [0, 1, 2])
  if (type === 0) {
    return {
      type: 'put',
      key: fields.bytes('key'),
      value: fields.bytes('value'),
      session: fields.uint('session'),
    }
  }
  const select = selectorFromFields(fields.nested('select'))
  if (type === 1) return { type: 'delete', select }
  const limit = fields.optional((f) => f.uint('limit'))
  return limit === undefined ? { type: 'range', select } : { type: 'range', select, limit }
}

export function transactionToPlain(transaction: Transaction): Plain {
  return [
    (transaction.if ?? []).map(compareToPlain),
    (transaction.then ?? []).map(operationToPlain),
    (transaction.else ?? []).map(operationToPlain),
  ]
}

/** The same bytes as `encodePlain` makes of {@link transactionToPlain}. */
export function writeTransaction(out: PlainWriter, transaction: Transaction): PlainWriter {
  const { if: compares = none, then = none, else: otherwise = none } = transaction
  out.array(3).array(compares.length)
  for (const compare of compares) {
    out.array(4).bytes(compare.key).uint(compareTargets.indexOf(compare.target))
    out.uint(compareOperators.indexOf(compare.is))
    if (compare.target === 'value') out.bytes(compare.operand)
    else out.uint(compare.operand)
  }
  out.array(then.length)
  for (const operation of then) writeOperation(out, operation)
  out.array(otherwise.length)
  for (const operation of otherwise) writeOperation(out, operation)
  return out
}

function writeOperation(out: PlainWriter, operation: Operation): void {
  if (operation.type === 'put') {
    out
      .array(4)
      .uint(0)
      .bytes(operation.key)
      .bytes(operation.value)
      .uint(operation.session ?? 0)
    return
  }
  out.array(operation.type === 'delete' ? 2 : 3).uint(operation.type === 'delete' ? 1 : 2)
  const { key, end } = operation.select
  out.array(end === undefined ? 1 : 2).bytes(key)
  if (end === null) out.null()
  else if (end !== undefined) out.bytes(end)
  if (operation.type === 'delete') return
  if (operation.limit === undefined) out.null()
  else out.uint(operation.limit)
}

const none: readonly never[] = Object.freeze([])

export function transactionFromFields(fields: Fields): Required<Transaction> {
  return {
    if: fields.list('if', compareFromFields),
    then: fields.list('then', operationFromFields),
    else: fields.list('else', operationFromFields),
  }
}

export function writeKeyValue(out: ByteWriter, entry: KeyValue): void {
  out
    .bytes(entry.key)
    .bytes(entry.value)
    .varint(entry.createRevision)
    .varint(entry.modRevision)
    .varint(entry.version)
    .varint(entry.session)
}

export function readKeyValue(
  reader: ByteReader,
  copy: (bytes: Uint8Array) => Uint8Array = copyBytes,
): KeyValue {
  return {
    key: copy(reader.bytes()),
    value: copy(reader.bytes()),
    createRevision: reader.varint(),
    modRevision: reader.varint(),
    version: reader.varint(),
    session: reader.varint(),
  }
}

/** For what a put took the place of: hardly anybody keeps it. */
const previous = new BytePool()
const pooled = (bytes: Uint8Array): Uint8Array => previous.copy(bytes)

export function writeKeyValues(out: ByteWriter, entries: readonly KeyValue[]): void {
  out.varint(entries.length)
  for (const entry of entries) writeKeyValue(out, entry)
}

export function readKeyValues(reader: ByteReader): KeyValue[] {
  const count = reader.varint()
  const entries: KeyValue[] = []
  // Pushed one by one, so that a count that lies ends with the input and allocates nothing.
  for (let i = 0; i < count; i++) entries.push(readKeyValue(reader))
  return entries
}

function writeOperationResult(out: ByteWriter, result: OperationResult): void {
  if (result.type === 'put') {
    out.u8(0).u8(result.previous === undefined ? 0 : 1)
    if (result.previous !== undefined) writeKeyValue(out, result.previous)
  } else if (result.type === 'delete') {
    out.u8(1)
    writeKeyValues(out, result.deleted)
  } else {
    out.u8(2)
    writeKeyValues(out, result.entries)
    out.u8(result.more ? 1 : 0).varint(result.count)
  }
}

function readOperationResult(
  reader: ByteReader,
  previousOf: (bytes: Uint8Array) => Uint8Array,
): OperationResult {
  const type = reader.u8()
  if (type === 0)
    return { type: 'put', previous: reader.u8() === 1 ? readKeyValue(reader, previousOf) : undefined }
  if (type === 1) return { type: 'delete', deleted: readKeyValues(reader) }
  if (type !== 2) reader.fail(`holds a result of unknown type ${type}`)
  const entries = readKeyValues(reader)
  return { type: 'range', entries, more: reader.u8() === 1, count: reader.varint() }
}

export function writeTransactionResult(out: ByteWriter, result: TransactionResult): void {
  out
    .u8(result.succeeded ? 1 : 0)
    .varint(result.revision)
    .varint(result.results.length)
  for (const each of result.results) writeOperationResult(out, each)
}

/** `previousOf` makes a copy for the caller of what a put took the place of, unless the input is the caller's own. */
export function readTransactionResult(
  reader: ByteReader,
  previousOf: (bytes: Uint8Array) => Uint8Array = pooled,
): TransactionResult {
  const succeeded = reader.u8() === 1
  const revision = reader.varint()
  const count = reader.varint()
  const results: OperationResult[] = []
  for (let i = 0; i < count; i++) results.push(readOperationResult(reader, previousOf))
  return { succeeded, revision, results }
}

/** Its room is used again and again. Nothing that writes to it makes another outcome meanwhile. */
let scratch = new ByteWriter(1024)
const largestScratch = 64 * 1024
const outcomes = new BytePool()

/** What a command came to: its answer, or the error that it was refused with. A small array of a pool. */
export function encodeOutcome(write: (out: ByteWriter) => void): Uint8Array {
  const out = scratch.clear()
  out.u8(outcomeOk)
  write(out)
  const outcome = outcomes.copy(out.view())
  if (out.length > largestScratch) scratch = new ByteWriter(1024)
  return outcome
}

const outcomeOk = 1
const outcomeRefused = 2

/**
 * The answer to a transaction of one put: the same bytes as {@link encodeOutcome} and {@link writeTransactionResult} make. Not made
 * before they are asked for: all of what they are made of stays as it is.
 */
export class PutOutcome implements DeferredResult {
  readonly length: number
  readonly #revision: Revision
  readonly #before: StoredVersion | undefined

  /** Of the put that took this revision, and the place of the version before, if there was one. */
  constructor(revision: Revision, before: StoredVersion | undefined) {
    this.#revision = revision
    this.#before = before
    const headBytes = headBytesOf(revision)
    this.length = before === undefined ? headBytes : headBytes + before.entryBytes + numberBytes(before)
  }

  bytes(): Uint8Array {
    const revision = this.#revision
    const before = this.#before
    const outcome = outcomes.allocate(this.length)
    putHead(outcome, revision, before === undefined ? 0 : 1)
    if (before === undefined) return outcome
    const { entryBytes } = before
    const headBytes = headBytesOf(revision)
    before.copyEntry(outcome, headBytes, entryBytes)
    let at = putVarint(outcome, headBytes + entryBytes, before.createRevision)
    at = putVarint(outcome, at, before.modRevision)
    at = putVarint(outcome, at, before.version)
    putVarint(outcome, at, before.session)
    return outcome
  }
}

function numberBytes({ createRevision, modRevision, version, session }: StoredVersion): number {
  return varintBytes(createRevision) + varintBytes(modRevision) + varintBytes(version) + varintBytes(session)
}

function headBytesOf(revision: Revision): number {
  return 5 + varintBytes(revision)
}

/** Succeeded, the revision, and of one result that it is a put's and whether something was there before. */
function putHead(outcome: Uint8Array, revision: Revision, replaced: 0 | 1): void {
  outcome[0] = outcomeOk
  outcome[1] = 1
  const at = putVarint(outcome, 2, revision)
  outcome[at] = 1
  outcome[at + 1] = 0
  outcome[at + 2] = replaced
}

/** An error as the answer of a command. */
export function encodeRefusal(error: KeelsonError): Uint8Array {
  return new ByteWriter(128)
    .u8(outcomeRefused)
    .string(error.code)
    .string(error.message)
    .string(JSON.stringify(error.details))
    .finish()
}

/** A reader behind the mark of success. @throws KeelsonError the one that the command was refused with; `MALFORMED` */
export function openOutcome(bytes: Uint8Array): ByteReader {
  const reader = new ByteReader(bytes, 'the answer of a metadata command')
  const mark = reader.u8()
  if (mark === outcomeOk) return reader
  if (mark !== outcomeRefused) reader.fail(`starts with an unknown mark ${mark}`)
  const code = reader.string()
  const message = reader.string()
  const details: unknown = parseJson(reader.string())
  throw KeelsonError.fromJSON({
    code,
    message,
    retryable: false,
    outcome: 'none',
    details: (typeof details === 'object' && details !== null ? details : {}) as Record<string, string>,
  })
}

/**
 * What `read` makes of the answer to a command behind its mark.
 *
 * @throws KeelsonError the one that the command was refused with; `OUTCOME_UNKNOWN` for an answer that cannot be read: a refused command
 *   had no effect, any other may have had one
 */
export function readOutcome<T>(bytes: Uint8Array, read: (reader: ByteReader) => T): T {
  try {
    return read(openOutcome(bytes))
  } catch (cause) {
    if (bytes[0] === outcomeRefused) throw cause
    throw new KeelsonError(
      'OUTCOME_UNKNOWN',
      'the answer of a metadata command could not be read; look at what the store has, and see that the client and the servers have releases that go together',
      { cause, retryable: false },
    )
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new KeelsonError('MALFORMED', 'the details of a refusal are not JSON', { cause })
  }
}
