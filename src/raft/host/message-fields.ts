import { ByteReader, type ByteWriter, copyBytes } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import { decodeError, encodeError } from '../../core/wire-error.ts'
import type { EntryKind, LogEntry } from '../../interfaces/log-store.ts'
import type { MessageHeader } from '../core/messages.ts'
import type { HostMessage } from './host-messages.ts'

/** Most entries that a receiver takes in one append; what a sender puts there is an option below it. */
export const maximumEntriesPerMessage: number = 1 << 17

const messageOverheadBytes = 176
const entryOverheadBytes = 24

/** Most bytes that a message takes in a frame. */
export function messageBytes(message: HostMessage): number {
  let bytes = messageOverheadBytes
  if (message.kind === 'append' || message.kind === 'entriesReply') {
    for (const entry of message.entries) bytes += entryOverheadBytes + entry.data.length
  } else if (message.kind === 'forward') bytes += message.data.length
  else if (message.kind === 'forwardReply') {
    bytes += KeelsonError.is(message.outcome) ? encodeError(message.outcome).length : message.outcome.length
  }
  return bytes
}

/** What a message says beyond its header. */
export function writeFields(out: ByteWriter, message: HostMessage): void {
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
      out.varint(message.epoch ?? 0)
      return
    case 'heartbeatReply':
      out
        .varint(message.round)
        .varint(message.pledgeMs)
        .varint(message.epoch ?? 0)
      return
    case 'askLeading':
    case 'notLeading':
      out.varint(message.ledTerm)
      return
    case 'readIndex':
      out.varint(message.requestId).u8(message.lease ? 1 : 0)
      return
    case 'readIndexReply':
      out.varint(message.requestId).varint(message.index)
      return
    case 'snapshotOffer':
      out.varint(message.position.index).varint(message.position.term)
      return
    case 'timeoutNow':
    case 'superseded':
      return
    case 'snapshotRequest':
      out.varint(message.position.index).varint(message.position.term).varint(message.requestId)
      out.varint(message.snapshotId).varint(message.nextPiece)
      return
    case 'entriesRequest':
      out.varint(message.first).varint(message.last).varint(message.requestId)
      return
    case 'entriesReply':
      out.varint(message.requestId).varint(message.first)
      writeEntries(out, 0, message.entries)
      return
    case 'forward':
      out.varint(message.forwardId).u8(message.entryKind).bytes(message.data)
      return
    case 'forwardReply': {
      const { outcome } = message
      const failed = KeelsonError.is(outcome)
      out
        .varint(message.forwardId)
        .varint(message.index)
        .u8(failed ? 1 : 0)
      out.bytes(failed ? encodeError(outcome) : outcome)
    }
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

/** @throws KeelsonError `MALFORMED` */
export function readMessage(kind: HostMessage['kind'], bytes: Uint8Array): HostMessage {
  const reader = new ByteReader(bytes, `a Raft message of kind ${kind}`)
  const header: MessageHeader = { from: reader.varint(), to: reader.varint(), term: reader.varint() }
  if (header.from === 0 || header.to === 0) reader.fail('is from or to nobody')
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
    case 'heartbeat': {
      const beat = { round: reader.varint(), commit: reader.varint(), match: reader.varint() }
      const epoch = added(reader)
      return epoch === 0 ? { ...header, kind, ...beat } : { ...header, kind, ...beat, idle: true, epoch }
    }
    case 'heartbeatReply': {
      const answer = { round: reader.varint(), pledgeMs: added(reader) }
      const epoch = added(reader)
      return epoch === 0 ? { ...header, kind, ...answer } : { ...header, kind, ...answer, epoch }
    }
    case 'askLeading':
    case 'notLeading':
      return { ...header, kind, ledTerm: reader.varint() }
    case 'readIndex':
      return { ...header, kind, requestId: reader.varint(), lease: reader.u8() === 1 }
    case 'readIndexReply':
      return { ...header, kind, requestId: reader.varint(), index: reader.varint() }
    case 'snapshotOffer':
      return { ...header, kind, position: { index: reader.varint(), term: reader.varint() } }
    case 'timeoutNow':
    case 'superseded':
      return { ...header, kind }
    case 'snapshotRequest': {
      const position = { index: reader.varint(), term: reader.varint() }
      const requestId = reader.varint()
      return { ...header, kind, position, requestId, snapshotId: added(reader), nextPiece: added(reader) }
    }
    case 'entriesRequest':
      return {
        ...header,
        kind,
        first: reader.varint(),
        last: reader.varint(),
        requestId: reader.varint(),
      }
    case 'entriesReply': {
      const requestId = reader.varint()
      const first = reader.varint()
      if (first === 0) reader.fail('holds an entry 0')
      return { ...header, kind, requestId, first, entries: readEntries(bytes, reader, first - 1, 0) }
    }
    case 'forward': {
      const forwardId = reader.varint()
      const entryKind = reader.u8() as EntryKind
      return { ...header, kind, forwardId, entryKind, data: copyBytes(reader.bytes()) }
    }
    case 'forwardReply': {
      const forwardId = reader.varint()
      const index = reader.varint()
      const failed = reader.u8() === 1
      const outcome = failed ? decodeError(reader.bytes()) : copyBytes(reader.bytes())
      return { ...header, kind, forwardId, index, outcome }
    }
  }
}

/** A number that an older release does not write: 0 there. */
function added(reader: ByteReader): number {
  return reader.remaining > 0 ? reader.varint() : 0
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
    const length = reader.varint()
    bounds.push(reader.offset - start, reader.offset - start + length)
    reader.raw(length)
    terms.push(term)
    // One that only a later release knows is not for the wire to judge: it stops its replica, which says so.
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
