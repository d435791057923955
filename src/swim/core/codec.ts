import { ByteReader, ByteWriter } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { Incarnation, NodeId } from '../../model/ids.ts'
import { bucketCount } from './digest.ts'
import type { MemberState } from './types.ts'

/** First byte of every packet. */
export const protocolVersion = 1

/** Longest cluster label in bytes. */
export const maximumLabelBytes = 64

/** Longest metadata of a member. */
export const maximumMetadataBytes = 512

/** A packet must hold at least this much, so that the longest header and the longest record fit into one. */
export const minimumPacketBytes = 1_100

/** Who sent a packet, in its own words. */
export interface PacketSender {
  /** Whom it is about: in a packet's head, the node that sends it. */
  readonly nodeId: NodeId
  /** Life of its data directory. */
  readonly incarnation: Incarnation
  /** Number of its newest statement about itself. */
  readonly version: number
}

/** What a member says about itself. */
export interface AliveMessage extends PacketSender {
  /** The member is there, with this address and metadata: its own statement. */
  readonly kind: 'alive'
  /** `host:port` at which it takes datagrams. */
  readonly address: string
  /** What it tells about itself, in the host's own encoding; at most 512 bytes. */
  readonly metadata: Uint8Array
}

/** What a member says about another one. */
export interface AccusationMessage {
  /** `suspect`: it does not answer the accuser. `dead`: nobody refuted the suspicion in time. */
  readonly kind: 'suspect' | 'dead'
  /** The member that is accused. */
  readonly nodeId: NodeId
  /** Statement of the member that is in doubt; a higher one refutes it. */
  readonly version: number
  /** Who got no answer from it. */
  readonly accuser: NodeId
}

/** A member's goodbye. */
export interface LeftMessage {
  /** The member left of its own accord: nobody suspects it. */
  readonly kind: 'left'
  /** The member that went. */
  readonly nodeId: NodeId
  /** Number of its last statement about itself. */
  readonly version: number
}

/** What spreads through the cluster on the back of other messages. */
export type UpdateMessage = AliveMessage | AccusationMessage | LeftMessage

/** A member as it stands in one node's view, for anti-entropy. */
export interface SyncRecord extends PacketSender {
  /** What the sender takes it to be. */
  readonly state: MemberState
  /** `host:port` at which it takes datagrams. */
  readonly address: string
  /** What it tells about itself, in the host's own encoding; at most 512 bytes. */
  readonly metadata: Uint8Array
  /** Statement that is in doubt; equals `version` unless the member is suspect. */
  readonly accusedVersion: number
  /** How long it has been dead or gone, so that all forget it at the same time; 0 for the others. */
  readonly ageMs: number
}

/** All messages. A packet holds several. */
export type SwimMessage =
  | {
      /** Asks the receiver to answer. */
      readonly kind: 'ping'
      /** Names the probe: its answers repeat it. */
      readonly sequence: number
      /** Whom the sender means; anybody else at that address stays silent. */
      readonly target: NodeId
    }
  | {
      /** Answers a ping, or passes an answer on. */
      readonly kind: 'ack'
      /** Names the probe that it answers. */
      readonly sequence: number
      /** Whose answer it is. */
      readonly responder: NodeId
    }
  | {
      /**
       * Asks the receiver to ping `target`. It does so at the address that it knows itself, so that nobody can make
       * members send packets to a third party.
       */
      readonly kind: 'indirectPing'
      /** Names the probe: its answers repeat it. */
      readonly sequence: number
      /** The member to ping. */
      readonly target: NodeId
    }
  | {
      /** The receiver of an indirect ping is there, but has had no answer from the target (Lifeguard). */
      readonly kind: 'nack'
      /** Names the probe that it answers. */
      readonly sequence: number
    }
  | UpdateMessage
  | {
      /** Asks whether the receiver's view is another than the sender's. */
      readonly kind: 'offer'
      /** Digests of the sender's view, one for each bucket of members. */
      readonly buckets: Uint32Array
    }
  | {
      /** Tells what the sender knows of some buckets. */
      readonly kind: 'state'
      /** The buckets, a bit for each. */
      readonly mask: number
      /** Asks the receiver for its own members in the same buckets. */
      readonly wantReturn: boolean
      /** Members of those buckets, as many as fit. */
      readonly records: readonly SyncRecord[]
    }

/** A decoded packet. */
export interface DecodedPacket {
  /** Who sent it. */
  readonly sender: PacketSender
  /** In the order in which they were packed. */
  readonly messages: readonly SwimMessage[]
}

const states: readonly MemberState[] = ['alive', 'suspect', 'dead', 'left']
const tags = {
  ping: 1,
  ack: 2,
  indirectPing: 3,
  nack: 4,
  alive: 5,
  suspect: 6,
  dead: 7,
  left: 8,
  offer: 9,
  state: 10,
} as const
const kindOfTag = new Map(
  Object.entries(tags).map(([kind, tag]) => [tag as number, kind as keyof typeof tags]),
)
const namePattern = /^[a-z0-9][a-z0-9._-]{0,63}$/
const addressPattern = /^[\x21-\x7e]{1,240}:[0-9]{1,5}$/

/** The start of every packet of one sender. */
export function encodeHeader(label: string, sender: PacketSender): Uint8Array {
  const out = new ByteWriter(64)
  out.u8(protocolVersion).string(label)
  return out.string(sender.nodeId).varint(sender.incarnation).varint(sender.version).finish()
}

/** One message by itself, to be put behind a header and other messages later. */
export function encodeMessage(message: SwimMessage): Uint8Array {
  const out = new ByteWriter(64)
  writeMessage(out, message)
  return out.finish()
}

/** Writes one message behind a header and other messages. */
export function writeMessage(out: ByteWriter, message: SwimMessage): void {
  out.u8(tags[message.kind])
  switch (message.kind) {
    case 'ping':
    case 'indirectPing':
      out.varint(message.sequence).string(message.target)
      break
    case 'ack':
      out.varint(message.sequence).string(message.responder)
      break
    case 'nack':
      out.varint(message.sequence)
      break
    case 'alive':
      out.string(message.nodeId).varint(message.incarnation).varint(message.version)
      out.string(message.address).bytes(message.metadata)
      break
    case 'suspect':
    case 'dead':
      out.string(message.nodeId).varint(message.version).string(message.accuser)
      break
    case 'left':
      out.string(message.nodeId).varint(message.version)
      break
    case 'offer':
      for (const bucket of message.buckets) out.u32(bucket)
      break
    case 'state':
      out
        .u32(message.mask)
        .u8(message.wantReturn ? 1 : 0)
        .varint(message.records.length)
      for (const record of message.records) out.raw(encodeRecord(record))
      break
  }
}

/** One record of a `state` message. */
export function encodeRecord(record: SyncRecord): Uint8Array {
  const out = new ByteWriter(96)
  out.u8(states.indexOf(record.state)).string(record.nodeId).varint(record.incarnation)
  out.varint(record.version).varint(record.accusedVersion).string(record.address)
  return out.bytes(record.metadata).varint(record.ageMs).finish()
}

/** A packet from its parts. */
export function encodePacket(
  label: string,
  sender: PacketSender,
  messages: readonly SwimMessage[],
): Uint8Array {
  const out = new ByteWriter(256).raw(encodeHeader(label, sender))
  for (const message of messages) writeMessage(out, message)
  return out.finish()
}

/**
 * Decodes a packet from the network. Nothing in the result refers to `bytes`.
 *
 * @throws KeelsonError `PROTOCOL_VERSION`, `FOREIGN_CLUSTER`, `MALFORMED`
 */
export function decodePacket(bytes: Uint8Array, label: string): DecodedPacket {
  const reader = new ByteReader(bytes, 'a SWIM packet')
  const version = reader.u8()
  if (version !== protocolVersion) {
    throw new KeelsonError(
      'PROTOCOL_VERSION',
      `a SWIM packet has protocol version ${version}, and this node speaks ${protocolVersion}; upgrade the older one`,
    )
  }
  const theirs = reader.bytes()
  if (theirs.length > maximumLabelBytes) reader.fail(`has a label of more than ${maximumLabelBytes} bytes`)
  if (!equalsAscii(theirs, label)) {
    throw new KeelsonError(
      'FOREIGN_CLUSTER',
      'a SWIM packet carries the label of another cluster; check the addresses of the seeds',
    )
  }
  const sender = { nodeId: readName(reader), incarnation: reader.varint(), version: reader.varint() }
  const messages: SwimMessage[] = []
  while (reader.remaining > 0) messages.push(readMessage(reader))
  return { sender, messages }
}

/** Labels are names, so their bytes are their characters. */
function equalsAscii(bytes: Uint8Array, text: string): boolean {
  if (bytes.length !== text.length) return false
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== text.charCodeAt(i)) return false
  return true
}

function readMessage(reader: ByteReader): SwimMessage {
  const tag = reader.u8()
  const kind = kindOfTag.get(tag) ?? reader.fail(`holds an unknown message (tag ${tag})`)
  switch (kind) {
    case 'ping':
    case 'indirectPing':
      return { kind, sequence: reader.varint(), target: readName(reader) }
    case 'ack':
      return { kind, sequence: reader.varint(), responder: readName(reader) }
    case 'nack':
      return { kind, sequence: reader.varint() }
    case 'alive':
      return {
        kind,
        nodeId: readName(reader),
        incarnation: reader.varint(),
        version: reader.varint(),
        address: readAddress(reader),
        metadata: readMetadata(reader),
      }
    case 'suspect':
    case 'dead':
      return { kind, nodeId: readName(reader), version: reader.varint(), accuser: readName(reader) }
    case 'left':
      return { kind, nodeId: readName(reader), version: reader.varint() }
    case 'offer': {
      const raw = reader.raw(bucketCount * 4)
      const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength)
      return {
        kind,
        buckets: Uint32Array.from({ length: bucketCount }, (_, i) => view.getUint32(i * 4, true)),
      }
    }
    case 'state': {
      const mask = reader.u32()
      const flags = reader.u8()
      if (flags > 1) reader.fail(`holds unknown flags ${flags}`)
      const count = reader.varint()
      const records: SyncRecord[] = []
      for (let i = 0; i < count; i++) records.push(readRecord(reader))
      return { kind, mask, wantReturn: flags === 1, records }
    }
  }
}

function readRecord(reader: ByteReader): SyncRecord {
  const tag = reader.u8()
  const state = states[tag] ?? reader.fail(`holds an unknown member state ${tag}`)
  const nodeId = readName(reader)
  const incarnation = reader.varint()
  const version = reader.varint()
  const accusedVersion = reader.varint()
  const live = state === 'alive' || state === 'suspect'
  const address = live ? readAddress(reader) : readAddressOrNone(reader)
  return {
    state,
    nodeId,
    incarnation,
    version,
    accusedVersion,
    address,
    metadata: readMetadata(reader),
    ageMs: reader.varint(),
  }
}

function readName(reader: ByteReader): NodeId {
  const name = reader.string()
  return namePattern.test(name) ? name : reader.fail('holds something that is no node id')
}

function readAddressOrNone(reader: ByteReader): string {
  const address = reader.string()
  return address === '' || isAddress(address) ? address : reader.fail('holds something that is no address')
}

function readAddress(reader: ByteReader): string {
  const address = reader.string()
  return isAddress(address) ? address : reader.fail('holds something that is no address')
}

/** True for `host:port`. */
export function isAddress(address: string): boolean {
  return addressPattern.test(address) && Number(address.slice(address.lastIndexOf(':') + 1)) <= 65_535
}

function readMetadata(reader: ByteReader): Uint8Array {
  const bytes = reader.bytes()
  if (bytes.length > maximumMetadataBytes) reader.fail('holds metadata above the limit')
  return bytes.slice()
}
