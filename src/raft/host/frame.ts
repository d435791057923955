import { ByteReader, ByteWriter, copyBytes } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import { decodeError, encodeError } from '../../core/wire-error.ts'
import type { EntryKind, LogEntry, LogPosition } from '../../interfaces/log-store.ts'
import type { GroupId, Incarnation } from '../../model/ids.ts'
import type { Message, MessageHeader } from '../core/messages.ts'
import type { ReplicaMessage } from '../group/forwarding.ts'

/** Asks the receiver's host to stream a snapshot of at least this position. The cores do not see it. */
export interface SnapshotRequest extends MessageHeader {
  readonly kind: 'snapshotRequest'
  readonly position: LogPosition
  /** Comes back in the stream's header, so that a late stream is told from the one that is waited for. */
  readonly requestId: number
  /** The view of which the rest is wanted, as a stream named it; 0 for a new one. */
  readonly snapshotId: number
  /** The number of the first piece that is wanted. */
  readonly nextPiece: number
}

/**
 * The answer to whoever speaks in an older recovery generation: the group was recovered from a lost quorum without the
 * receiver, in the generation that the message carries.
 */
export interface Superseded extends MessageHeader {
  readonly kind: 'superseded'
}

/** Asks the receiver's host for entries that the sender's disk has damaged. The cores do not see it. */
export interface EntriesRequest extends MessageHeader {
  readonly kind: 'entriesRequest'
  readonly first: number
  readonly last: number
  /** Comes back in the reply. */
  readonly requestId: number
}

/** Entries as the sender's log has them, from the first that was asked for; none if it does not have that one. */
export interface EntriesReply extends MessageHeader {
  readonly kind: 'entriesReply'
  readonly requestId: number
  readonly first: number
  readonly entries: readonly LogEntry[]
}

/** A node is there, and has replicas that lead some of the receiver's. See NodeLiveness. */
export interface Beat {
  readonly kind: 'beat'
  /** Changes whenever something that the sender sent before may have been lost. */
  readonly stream: number
  /** Grows within the stream. */
  readonly sequence: number
}

/** The answer to a {@link Beat}. */
export interface BeatReply {
  readonly kind: 'beatReply'
  /** Copied from the beat. */
  readonly stream: number
  readonly sequence: number
  /** Under which the sender pledges itself to the receiver for its replicas that rest. Another one ends the one before. */
  readonly epoch: number
  /** For how long, as in the answer to a heartbeat. */
  readonly pledgeMs: number
}

/** What hosts send to each other: the messages of the cores and their own. */
export type HostMessage =
  | Message
  | SnapshotRequest
  | Superseded
  | EntriesRequest
  | EntriesReply
  | ReplicaMessage

/**
 * The wire format between two hosts. One frame carries the messages of many groups:
 *
 *     version u8 · oldest reader u8 · receiver's incarnation u53 · messages…
 *     message: group varint · kind u8 · recovery generation varint · length u32 · body
 *     body: from, to, term varint · fields of the kind
 *
 * The receiver's incarnation is there because a node that comes back with a wiped disk must not answer for the replica
 * that it lost. Entries of an append are contiguous, so they carry no index, and terms only as differences.
 *
 * Releases differ while a cluster is upgraded. A frame names its own version and the oldest one that may read it: a reader
 * passes over kinds of messages that it does not know and over what follows the fields that it knows, so a later release
 * may add both and stay readable. What an older reader must not take lightly raises `oldestReader`, and the frame is
 * refused there.
 *
 * Version 3 added the pledge to the answer to a heartbeat, and questions for a read index; version 4 the place in a
 * snapshot from which it is asked for; version 5 the epoch to
 * heartbeats and their answers, and what nodes and groups that rest say. The signs of life of a node belong to no group:
 * they stand as messages of group 1 without the first three fields of a body. A node of an earlier version answers none of
 * them, so that no group with a replica there ever rests. Version 6 added, at the end and in the same place of a message, how
 * far the disks of the two have got: the life and position of the sender, then a count and as many pairs of them of the
 * receiver. Version 7 looks the same: its sender reads log entries of several commands.
 */
export const frameVersion = 7
const oldestReader = 2
const headerBytes = 10

/** Kinds by their number on the wire. Never reorder. */
const kinds: readonly (HostMessage | Beat | BeatReply | Marks)['kind'][] = [
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
  'superseded',
  'entriesRequest',
  'entriesReply',
  'forward',
  'forwardReply',
  'readIndex',
  'readIndexReply',
  'askLeading',
  'notLeading',
  'beat',
  'beatReply',
  'marks',
]
const numberOf: ReadonlyMap<(typeof kinds)[number], number> = new Map(kinds.map((kind, i) => [kind, i]))

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

/** Most bytes that a sign of life takes in a frame. */
export const beatBytes = 48

/** How far a disk had got in a life of its node's host. */
export interface LifeMark {
  /** Drawn at random when the life began. */
  readonly life: number
  readonly position: number
}

/** How far two disks have got, so that one of which an older image came back is found out. */
export interface Marks extends LifeMark {
  readonly kind: 'marks'
  /** Of the receiver, as far as the sender has heard: of the lives that got furthest. */
  readonly known: readonly LifeMark[]
}

/** So many lives of the receiver are told of: besides its present one there is the one that got furthest, then. */
export const maximumKnownMarks = 2

/** Of so many a receiver takes note, whatever a frame may hold. */
const maximumReadMarks = 16

/** Most bytes that these take in a frame. */
export const marksBytes = 64

/** A message with the group it is for. */
export interface GroupMessage {
  readonly groupId: GroupId
  /** The last recovery from a lost quorum that the sender goes along with. */
  readonly recoveryGeneration: number
  readonly message: HostMessage
}

/** What a frame holds. */
export interface Frame {
  /** The sender's. */
  readonly version: number
  readonly messages: readonly GroupMessage[]
  readonly beats: readonly (Beat | BeatReply)[]
  /** What the sender says of disks, if it does. */
  readonly marks: Marks | undefined
  /** Messages of kinds that only a later release knows. */
  readonly unknownMessages: number
}

const smallFrameBytes = 256
const largeFrameBytes = 256 * 1024

/** Collects the messages of one turn for one peer. */
export class FramePacker {
  readonly #out: ByteWriter
  readonly incarnation: Incarnation

  /** The frame begins with room for `expectedBytes`, within reason. */
  constructor(incarnation: Incarnation, expectedBytes = 0) {
    this.incarnation = incarnation
    this.#out = new ByteWriter(
      Math.max(smallFrameBytes, Math.min(expectedBytes + (expectedBytes >>> 2), largeFrameBytes)),
    )
    this.#out.u8(frameVersion).u8(oldestReader).u53(incarnation)
  }

  get length(): number {
    return this.#out.length
  }

  get empty(): boolean {
    return this.#out.length === headerBytes
  }

  add(groupId: GroupId, message: HostMessage, recoveryGeneration = 0): void {
    const out = this.#out
    out.varint(groupId).u8(numberOf.get(message.kind) as number)
    out.varint(recoveryGeneration).u32(0)
    const start = out.length
    out.varint(message.from).varint(message.to).varint(message.term)
    writeFields(out, message)
    out.patchU32(start - 4, out.length - start)
  }

  /** A sign of life, or the answer to one. */
  addBeat(beat: Beat | BeatReply): void {
    const out = this.#out
    out
      .varint(1)
      .u8(numberOf.get(beat.kind) as number)
      .varint(0)
      .u32(0)
    const start = out.length
    out.varint(beat.stream).varint(beat.sequence)
    if (beat.kind === 'beatReply') out.varint(beat.epoch).varint(beat.pledgeMs)
    out.patchU32(start - 4, out.length - start)
  }

  /** The frame. The packer is used up. Frames may wait long for a slow peer, and their room with them. */
  finish(marks?: Marks): Uint8Array {
    if (marks !== undefined) this.#addMarks(marks)
    const frame = this.#out.view()
    const room = frame.buffer.byteLength
    return room > smallFrameBytes && frame.length * 4 < room ? this.#out.finish() : frame
  }

  #addMarks({ kind, life, position, known }: Marks): void {
    const out = this.#out
    out
      .varint(1)
      .u8(numberOf.get(kind) as number)
      .varint(0)
      .u32(0)
    const start = out.length
    out.varint(life).varint(position).varint(known.length)
    for (const mark of known) out.varint(mark.life).varint(mark.position)
    out.patchU32(start - 4, out.length - start)
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

/**
 * Reads a frame from a peer that is not trusted. Nothing in the result refers to `bytes`, which belongs to the transport.
 *
 * @returns undefined for a frame to another incarnation of this node
 * @throws KeelsonError `MALFORMED`, `PROTOCOL_VERSION`
 */
export function decodeFrame(bytes: Uint8Array, self: Incarnation): Frame | undefined {
  const reader = new ByteReader(bytes, 'a Raft frame')
  const version = reader.u8()
  // Neither one that is too old for us, nor one that we are too old for.
  if (version < oldestReader || reader.u8() > frameVersion) throw unknownFrame(version)
  if (reader.u53() !== self) return undefined
  const messages: GroupMessage[] = []
  const beats: (Beat | BeatReply)[] = []
  let marks: Marks | undefined
  let unknownMessages = 0
  while (reader.remaining > 0) {
    const groupId = reader.varint()
    if (groupId === 0) reader.fail('names group 0')
    const kind = kinds[reader.u8()]
    const recoveryGeneration = reader.varint()
    const body = reader.raw(reader.u32())
    if (kind === undefined) unknownMessages++
    else if (kind === 'beat' || kind === 'beatReply') beats.push(readBeat(kind, body))
    else if (kind === 'marks') {
      if (marks !== undefined) reader.fail('says twice how far disks have got')
      marks = readMarks(body)
    } else messages.push({ groupId, recoveryGeneration, message: readMessage(kind, body) })
  }
  return { version, messages, beats, marks, unknownMessages }
}

function unknownFrame(version: number): KeelsonError {
  return new KeelsonError(
    'PROTOCOL_VERSION',
    `a Raft frame has version ${version}, but this release reads ${oldestReader} to ${frameVersion} and what later ones write for it; upgrade the older of the two nodes`,
    { details: { version, oldest: oldestReader, newest: frameVersion } },
  )
}

function readMarks(bytes: Uint8Array): Marks {
  const reader = new ByteReader(bytes, 'what a Raft frame says of disks')
  const own = { life: reader.varint(), position: reader.varint() }
  const count = reader.varint()
  // A later release may tell of more, which is passed over. Each takes at least two bytes.
  if (count * 2 > reader.remaining) reader.fail(`announces ${count} lives of a disk, more than it can hold`)
  const known: LifeMark[] = []
  while (known.length < Math.min(count, maximumReadMarks))
    known.push({ life: reader.varint(), position: reader.varint() })
  return { kind: 'marks', ...own, known }
}

function readMessage(kind: HostMessage['kind'], bytes: Uint8Array): HostMessage {
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

function readBeat(kind: (Beat | BeatReply)['kind'], bytes: Uint8Array): Beat | BeatReply {
  const reader = new ByteReader(bytes, 'a sign of life of a node')
  const beat = { stream: reader.varint(), sequence: reader.varint() }
  if (kind === 'beat') return { kind, ...beat }
  return { kind, ...beat, epoch: reader.varint(), pledgeMs: reader.varint() }
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
