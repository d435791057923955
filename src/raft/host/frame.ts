import { ByteReader, ByteWriter } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { GroupId, Incarnation } from '../../model/ids.ts'
import type { Beat, BeatReply, GroupMessage, HostMessage, LifeMark, Marks } from './host-messages.ts'
import { readMessage, writeFields } from './message-fields.ts'

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

/** Most bytes that a sign of life takes in a frame. */
export const beatBytes = 48

/**
 * Lives of a node's disk that the others keep, those that got furthest, and tell it of: all of them, since only the node can
 * tell which of them had something that is missing now.
 */
export const maximumKnownMarks = 8

/** Of so many a receiver takes note, whatever a frame may hold. */
const maximumReadMarks = 16

/** Most bytes that these take in a frame. */
export const marksBytes = 192

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

function readBeat(kind: (Beat | BeatReply)['kind'], bytes: Uint8Array): Beat | BeatReply {
  const reader = new ByteReader(bytes, 'a sign of life of a node')
  const beat = { stream: reader.varint(), sequence: reader.varint() }
  if (kind === 'beat') return { kind, ...beat }
  return { kind, ...beat, epoch: reader.varint(), pledgeMs: reader.varint() }
}
