import { ByteReader, ByteWriter, concatBytes, copyBytes } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import { checkNumbers } from './limits.ts'
import { MvccState } from './mvcc-state.ts'
import { decodeSession, encodeSession, type SessionRecord } from './session-record.ts'
import type { StateView } from './state-types.ts'
import { decodeVersion, type StoredVersion } from './version.ts'

// A stream of records, cut into chunks anywhere: each a kind, a length and its bytes. One header, sessions, versions, one end.
const kindHeader = 1
const kindSession = 2
const kindVersion = 3
const kindEnd = 4
const formatVersion = 1
/** Longest record that is believed: a value of the largest size with its key, and some room. */
const maximumRecordBytes = 2 * 1024 * 1024

/** The state of a view as chunks of at most about `chunkBytes`, made one at a time. */
export function* encodeState(view: StateView, chunkBytes: number): Iterable<Uint8Array> {
  let out = new ByteWriter(chunkBytes)
  for (const [kind, record] of records(view)) {
    let at = 0
    out.u8(kind).varint(record.length)
    while (at < record.length) {
      const part = record.subarray(at, at + Math.max(0, chunkBytes - out.length))
      out.raw(part)
      at += part.length
      if (out.length < chunkBytes) continue
      yield out.finish()
      out = new ByteWriter(chunkBytes)
    }
    if (out.length < chunkBytes - 16) continue
    yield out.finish()
    out = new ByteWriter(chunkBytes)
  }
  if (out.length > 0) yield out.finish()
}

function* records(view: StateView): Iterable<[kind: number, record: Uint8Array]> {
  yield [
    kindHeader,
    new ByteWriter(64)
      .u8(formatVersion)
      .varint(view.revision)
      .varint(view.compactRevision)
      .varint(view.historyFrom)
      .string(view.digest)
      .finish(),
  ]
  for (const session of view.sessions) yield [kindSession, encodeSession(session)]
  for (const version of view.versions()) yield [kindVersion, version.record]
  yield [kindEnd, new Uint8Array(0)]
}

/** What {@link StateDecoder} hands out beside the state that it builds. */
export interface RestoreSink {
  session(session: SessionRecord, record: Uint8Array): void
  version(version: StoredVersion): void
}

/**
 * Builds a state from the chunks of {@link encodeState}. The source is not trusted: sizes, order and the hash of the
 * whole are checked.
 */
export class StateDecoder {
  readonly #sink: RestoreSink
  #rest: Uint8Array = new Uint8Array(0)
  #state: MvccState | undefined
  #digest = ''
  #ended = false

  constructor(sink: RestoreSink) {
    this.#sink = sink
  }

  /** @throws KeelsonError `CORRUPTION`, `FORMAT_VERSION`, `MALFORMED` */
  push(chunk: Uint8Array): void {
    const bytes = this.#rest.length === 0 ? chunk : concatBytes([this.#rest, chunk])
    let at = 0
    for (;;) {
      const record = nextRecord(bytes.subarray(at))
      if (record === undefined) break
      this.#take(record.kind, record.bytes)
      at += record.length
    }
    this.#rest = copyBytes(bytes.subarray(at))
  }

  /** The whole state. @throws KeelsonError `CORRUPTION` when something is missing */
  finish(): MvccState {
    if (!this.#ended || this.#state === undefined || this.#rest.length > 0)
      throw new KeelsonError('CORRUPTION', 'a snapshot of the metadata store ends early or holds too much')
    this.#state.checkLoaded(this.#digest)
    return this.#state
  }

  #take(kind: number, record: Uint8Array): void {
    if (this.#ended) throw new KeelsonError('CORRUPTION', 'a snapshot goes on behind its end')
    if (kind === kindHeader && this.#state === undefined) {
      const header = decodeHeader(record)
      this.#digest = header.digest
      this.#state = new MvccState(header)
      return
    }
    const state = this.#state
    if (state === undefined) throw new KeelsonError('CORRUPTION', 'a snapshot starts without its header')
    if (kind === kindSession) {
      const session = decodeSession(record)
      state.loadSession(session, record)
      this.#sink.session(session, record)
    } else if (kind === kindVersion) {
      const version = decodeVersion(record)
      state.loadVersion(version)
      this.#sink.version(version)
    } else if (kind === kindEnd) this.#ended = true
    else throw new KeelsonError('CORRUPTION', `a snapshot holds a record of unknown kind ${kind}`)
  }
}

function nextRecord(
  bytes: Uint8Array,
): { readonly kind: number; readonly bytes: Uint8Array; readonly length: number } | undefined {
  // A kind and a length of at most eight bytes; what is shorter may be cut in the middle of the length.
  let headLength = 1
  while (headLength < bytes.length && ((bytes[headLength] as number) & 0x80) !== 0) headLength++
  if (headLength >= bytes.length) return undefined
  const reader = new ByteReader(bytes, 'a snapshot of the metadata store')
  const kind = reader.u8()
  const length = reader.varint()
  if (length > maximumRecordBytes) reader.fail(`announces a record of ${length} bytes`)
  if (reader.remaining < length) return undefined
  return { kind, bytes: reader.raw(length), length: reader.offset }
}

function decodeHeader(record: Uint8Array): {
  readonly revision: number
  readonly compactRevision: number
  readonly historyFrom: number
  readonly digest: string
} {
  const reader = new ByteReader(record, 'the header of a snapshot')
  const format = reader.u8()
  if (format !== formatVersion) {
    throw new KeelsonError(
      'FORMAT_VERSION',
      `a snapshot of the metadata store has format ${format}, but this release knows ${formatVersion}: run a newer release`,
    )
  }
  const revision = reader.varint()
  const compactRevision = reader.varint()
  const historyFrom = reader.varint()
  const digest = reader.string()
  checkNumbers(revision, compactRevision, historyFrom)
  return { revision, compactRevision, historyFrom, digest }
}
