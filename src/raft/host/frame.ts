import { ByteReader, ByteWriter, copyBytes } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import { type EntryKind, entryKinds, type LogEntry, type LogPosition } from '../../interfaces/log-store.ts'
import type { GroupId, Incarnation } from '../../model/ids.ts'
import type { Message, MessageHeader, MessageKind } from '../core/types.ts'

/** Asks the receiver's host to stream a snapshot of at least this position. The cores do not see it. */
export interface SnapshotRequest extends MessageHeader {
  readonly kind: 'snapshotRequest'
  readonly position: LogPosition
  /** Comes back in the stream's header, so that a late stream is told from the one that is waited for. */
  readonly requestId: number
}

/** What hosts send to each other: the messages of the cores and their own. */
export type HostMessage = Message | SnapshotRequest

/**
 * The wire format between two hosts. One frame carries the messages of many groups:
 *
 *     version u8 · receiver's incarnation u53 · messages…
 *     message: group varint · kind u8 · from, to, term varint · fields of the kind
 *
 * The receiver's incarnation is there because a node that comes back with a wiped disk must not answer for the replica
 * that it lost. Entries of an append are contiguous, so they carry no index, and terms only as differences.
 */
const version = 1
const headerBytes = 9

/** Kinds by their number on the wire. Never reorder. */
const kinds: readonly (MessageKind | 'snapshotRequest')[] = [
  'preVote',
  'preVoteReply',
  'vote',
  'voteReply',
  'append',
  'appendReply',
  'heartbeat',
  'heartbeatReply',
  'snapshotOffer',
  'timeoutNow',
  'snapshotRequest',
]
const numberOf: ReadonlyMap<HostMessage['kind'], number> = new Map(kinds.map((kind, i) => [kind, i]))

/** Most entries that a receiver takes in one append; what a sender puts there is an option below it. */
export const maximumEntriesPerMessage: number = 1 << 17

const messageOverheadBytes = 128
const entryOverheadBytes = 24

/** Most bytes that a message takes in a frame. */
export function messageBytes(message: HostMessage): number {
  let bytes = messageOverheadBytes
  if (message.kind === 'append') {
    for (const entry of message.entries) bytes += entryOverheadBytes + entry.data.length
  }
  return bytes
}

/** A message with the group it is for. */
export interface GroupMessage {
  readonly groupId: GroupId
  readonly message: HostMessage
}

/** Collects the messages of one turn for one peer. */
export class FramePacker {
  readonly #out: ByteWriter
  readonly incarnation: Incarnation

  constructor(incarnation: Incarnation) {
    this.incarnation = incarnation
    this.#out = new ByteWriter(1024)
    this.#out.u8(version).u53(incarnation)
  }

  get length(): number {
    return this.#out.length
  }

  get empty(): boolean {
    return this.#out.length === headerBytes
  }

  add(groupId: GroupId, message: HostMessage): void {
    const out = this.#out
    out.varint(groupId).u8(numberOf.get(message.kind) as number)
    out.varint(message.from).varint(message.to).varint(message.term)
    writeFields(out, message)
  }

  /** The frame. The packer is used up. */
  finish(): Uint8Array {
    return this.#out.view()
  }
}

function writeFields(out: ByteWriter, message: HostMessage): void {
  switch (message.kind) {
    case 'preVote':
      out.varint(message.candidateTerm).varint(message.lastIndex).varint(message.lastTerm)
      return
    case 'preVoteReply':
      out.varint(message.candidateTerm).u8((message.granted ? 1 : 0) | (message.removed ? 2 : 0))
      return
    case 'vote':
      out
        .varint(message.lastIndex)
        .varint(message.lastTerm)
        .u8(message.transfer ? 1 : 0)
      return
    case 'voteReply':
      out.u8(message.granted ? 1 : 0)
      return
    case 'append':
      out.varint(message.prevIndex).varint(message.prevTerm).varint(message.commit)
      writeEntries(out, message.prevTerm, message.entries)
      return
    case 'appendReply':
      out.varint(message.index).u8(message.accepted ? 1 : 0)
      out.varint(message.hintIndex).varint(message.hintTerm)
      return
    case 'heartbeat':
      out.varint(message.round).varint(message.commit).varint(message.match)
      return
    case 'heartbeatReply':
      out.varint(message.round)
      return
    case 'snapshotOffer':
      out.varint(message.position.index).varint(message.position.term)
      return
    case 'timeoutNow':
      return
    case 'snapshotRequest':
      out.varint(message.position.index).varint(message.position.term).varint(message.requestId)
      return
  }
}

function writeEntries(out: ByteWriter, prevTerm: number, entries: readonly LogEntry[]): void {
  out.varint(entries.length)
  let term = prevTerm
  for (const entry of entries) {
    out.varint(entry.term - term)
    out.u8(entry.kind)
    out.bytes(entry.data)
    term = entry.term
  }
}

/**
 * Reads a frame from a peer that is not trusted. Nothing in the result refers to `bytes`, which belongs to the transport.
 *
 * @returns the messages, or undefined for a frame to another incarnation of this node
 * @throws KeelsonError `MALFORMED`, `PROTOCOL_VERSION`
 */
export function decodeFrame(bytes: Uint8Array, self: Incarnation): GroupMessage[] | undefined {
  const reader = new ByteReader(bytes, 'a Raft frame')
  const found = reader.u8()
  if (found !== version) {
    throw new KeelsonError(
      'PROTOCOL_VERSION',
      `a Raft frame has version ${found}, but this release reads ${version}; upgrade the older node`,
    )
  }
  if (reader.u53() !== self) return undefined
  const messages: GroupMessage[] = []
  while (reader.remaining > 0) {
    const groupId = reader.varint()
    if (groupId === 0) reader.fail('names group 0')
    messages.push({ groupId, message: readMessage(bytes, reader) })
  }
  return messages
}

function readMessage(bytes: Uint8Array, reader: ByteReader): HostMessage {
  const kind = kinds[reader.u8()]
  const header: MessageHeader = { from: reader.varint(), to: reader.varint(), term: reader.varint() }
  if (header.from === 0 || header.to === 0) reader.fail('holds a message from or to nobody')
  switch (kind) {
    case 'preVote':
      return {
        ...header,
        kind,
        candidateTerm: reader.varint(),
        lastIndex: reader.varint(),
        lastTerm: reader.varint(),
      }
    case 'preVoteReply': {
      const candidateTerm = reader.varint()
      const flags = reader.u8()
      return { ...header, kind, candidateTerm, granted: (flags & 1) !== 0, removed: (flags & 2) !== 0 }
    }
    case 'vote':
      return {
        ...header,
        kind,
        lastIndex: reader.varint(),
        lastTerm: reader.varint(),
        transfer: reader.u8() === 1,
      }
    case 'voteReply':
      return { ...header, kind, granted: reader.u8() === 1 }
    case 'append': {
      const prevIndex = reader.varint()
      const prevTerm = reader.varint()
      const commit = reader.varint()
      return {
        ...header,
        kind,
        prevIndex,
        prevTerm,
        commit,
        entries: readEntries(bytes, reader, prevIndex, prevTerm),
      }
    }
    case 'appendReply':
      return {
        ...header,
        kind,
        index: reader.varint(),
        accepted: reader.u8() === 1,
        hintIndex: reader.varint(),
        hintTerm: reader.varint(),
      }
    case 'heartbeat':
      return { ...header, kind, round: reader.varint(), commit: reader.varint(), match: reader.varint() }
    case 'heartbeatReply':
      return { ...header, kind, round: reader.varint() }
    case 'snapshotOffer':
      return { ...header, kind, position: { index: reader.varint(), term: reader.varint() } }
    case 'timeoutNow':
      return { ...header, kind }
    case 'snapshotRequest': {
      const position = { index: reader.varint(), term: reader.varint() }
      return { ...header, kind, position, requestId: reader.varint() }
    }
    default:
      return reader.fail('holds a message of an unknown kind')
  }
}

function readEntries(bytes: Uint8Array, reader: ByteReader, prevIndex: number, prevTerm: number): LogEntry[] {
  const count = reader.varint()
  // An entry takes at least three bytes, so a count that cannot be true is found before anything is made for it.
  if (count > maximumEntriesPerMessage || count * 3 > reader.remaining) {
    reader.fail(`announces ${count} entries, more than it can hold`)
  }
  if (!Number.isSafeInteger(prevIndex + count)) reader.fail('holds a log index above the safe integers')
  if (count === 0) return []
  const start = reader.offset
  const terms: number[] = []
  const entryKindsRead: EntryKind[] = []
  const bounds: number[] = []
  let term = prevTerm
  for (let i = 0; i < count; i++) {
    term += reader.varint()
    if (!Number.isSafeInteger(term)) reader.fail('holds a term above the safe integers')
    const kind = reader.u8()
    if (kind > entryKinds.session) reader.fail(`holds an entry of the unknown kind ${kind}`)
    const length = reader.varint()
    bounds.push(reader.offset - start, reader.offset - start + length)
    reader.raw(length)
    terms.push(term)
    entryKindsRead.push(kind as EntryKind)
  }
  // One copy for all entries of the message.
  const block = copyBytes(bytes.subarray(start, reader.offset))
  return terms.map((entryTerm, i) => ({
    index: prevIndex + 1 + i,
    term: entryTerm,
    kind: entryKindsRead[i] as EntryKind,
    data: block.subarray(bounds[2 * i], bounds[2 * i + 1]),
  }))
}
