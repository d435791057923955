import { ByteReader, ByteWriter } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { NodeId } from '../../model/ids.ts'
import { type MessageKind, readMessage, writeMessage } from './message-codec.ts'
import type { DecodedPacket, PacketSender, SwimMessage } from './messages.ts'
import { ownProtocols } from './statement.ts'
import type { ProtocolRange } from './types.ts'

/** Longest cluster label in bytes. */
export const maximumLabelBytes = 64

/** A packet must hold at least this much, so that the longest header and the longest record fit into one. */
export const minimumPacketBytes = 1_150

/** Numbers of the message kinds on the wire; never reused. */
const tags: Readonly<Record<MessageKind, number>> = {
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
  event: 11,
  query: 12,
  answer: 13,
  hello: 14,
  refusal: 15,
  fetch: 16,
  chunk: 17,
  recall: 18,
  contest: 19,
  ballot: 20,
  challenge: 21,
  proof: 22,
}
const kindOfTag: ReadonlyMap<number, MessageKind> = new Map(
  Object.entries(tags).map(([kind, tag]) => [tag, kind as MessageKind]),
)
const namePattern = /^[a-z0-9][a-z0-9._-]{0,63}$/

/** Bytes before a message's content: its tag, and its length as a varint. */
export const messageOverheadBytes = 4

/** The start of every packet of one sender in one version of the protocol. */
export function encodeHeader(
  label: string,
  sender: PacketSender,
  version: number = ownProtocols.minimum,
): Uint8Array {
  const out = new ByteWriter(64)
  out.u8(version).ascii(label)
  return out.ascii(sender.nodeId).varint(sender.incarnation).varint(sender.version).finish()
}

/** One message by itself, to be put behind a header and other messages later. */
export function encodeMessage(message: SwimMessage): Uint8Array {
  const out = new ByteWriter(64)
  putMessage(out, message)
  return out.finish()
}

/**
 * Writes one message behind a header and other messages: its tag, its length, its content. A release that does not know the
 * tag goes past it, and what a later release appends to the content is not read by an earlier one.
 */
export function putMessage(out: ByteWriter, message: SwimMessage): void {
  const from = out.u8(tags[message.kind]).beginSized()
  writeMessage(out, message)
  out.endSized(from)
}

/** A packet from its parts. */
export function encodePacket(
  label: string,
  sender: PacketSender,
  messages: readonly SwimMessage[],
): Uint8Array {
  const out = new ByteWriter(256).raw(encodeHeader(label, sender))
  for (const message of messages) putMessage(out, message)
  return out.finish()
}

/**
 * Decodes a packet from the network. Nothing in the result refers to `bytes`.
 *
 * @throws KeelsonError `PROTOCOL_VERSION`, `FOREIGN_CLUSTER`, `MALFORMED`
 */
export function decodePacket(
  bytes: Uint8Array,
  label: string,
  spoken: ProtocolRange = ownProtocols,
): DecodedPacket {
  const reader = new ByteReader(bytes, 'a SWIM packet')
  const version = reader.u8()
  if (version < spoken.minimum || version > spoken.maximum) {
    throw new KeelsonError(
      'PROTOCOL_VERSION',
      `a SWIM packet has protocol version ${version}, and this node speaks ${spoken.minimum} to ${spoken.maximum}; upgrade the older one`,
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
  const sender = { nodeId: readSender(reader), incarnation: reader.varint(), version: reader.varint() }
  const messages: SwimMessage[] = []
  while (reader.remaining > 0) {
    const kind = kindOfTag.get(reader.u8())
    const length = reader.varint()
    if (kind === undefined) {
      reader.skip(length)
      continue
    }
    if (length > reader.remaining) reader.fail('holds a message that is longer than the packet')
    const end = reader.offset + length
    messages.push(readMessage(reader, kind, end))
    if (reader.offset > end) reader.fail(`holds a '${kind}' that is longer than it says`)
    reader.skip(end - reader.offset)
  }
  return { sender, messages }
}

function readSender(reader: ByteReader): NodeId {
  const name = reader.ascii(64)
  return namePattern.test(name) ? name : reader.fail('holds something that is no node id')
}

/** Labels are names, so their bytes are their characters. */
function equalsAscii(bytes: Uint8Array, text: string): boolean {
  if (bytes.length !== text.length) return false
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== text.charCodeAt(i)) return false
  return true
}
