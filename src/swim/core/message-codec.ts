import { type ByteReader, type ByteWriter, copyBytes } from '../../core/bytes.ts'
import type { NodeId } from '../../model/ids.ts'
import { type Coordinate, coordinateDimensions } from './coordinates.ts'
import { bucketCount } from './digest.ts'
import type { SwimMessage, SyncRecord } from './messages.ts'
import { inlineMetadataBytes, Statement } from './statement.ts'
import type { MemberState } from './types.ts'

/** Names of the messages. */
export type MessageKind = SwimMessage['kind']

/** Longest name of a user event or a query. */
export const maximumEventNameLength = 64

/** Longest payload of a user event, a query or an answer. */
export const maximumPayloadBytes = 512

/** Longest token of a hello. */
export const maximumTokenBytes = 256

/** Longest reason of a refusal in bytes. */
const maximumReasonLength = 256

/** Longest metadata that any release may announce: what a decoder believes before its own limit is applied. */
const largestMetadataBytes = 2 ** 30

const states: readonly MemberState[] = ['alive', 'suspect', 'dead', 'left']
const namePattern = /^[a-z0-9][a-z0-9._-]{0,63}$/
const addressPattern = /^[\x21-\x7e]{1,240}:[0-9]{1,5}$/
export const maximumAddressLength = 246

/** Writes the content of a message. */
export function writeMessage(out: ByteWriter, message: SwimMessage): void {
  switch (message.kind) {
    case 'ping':
      out.varint(message.sequence).ascii(message.target)
      break
    case 'ack':
      out.varint(message.sequence).ascii(message.responder)
      if (message.coordinate !== undefined) writeCoordinate(out, message.coordinate)
      break
    case 'indirectPing':
      out.varint(message.sequence).ascii(message.target).varint(Math.round(message.patienceMs))
      break
    case 'nack':
    case 'contest':
      out.varint(message.sequence)
      break
    case 'alive':
      writeStatement(out, message.statement)
      break
    case 'suspect':
    case 'dead':
      out.ascii(message.nodeId).varint(message.version).ascii(message.accuser)
      break
    case 'left':
      out.ascii(message.nodeId).varint(message.incarnation).varint(message.version)
      break
    case 'offer':
      for (const bucket of message.buckets) out.u32(bucket)
      out.varint(message.clock).u32(message.news)
      break
    case 'state':
      out
        .u32(message.mask)
        .u8(message.wantReturn ? 1 : 0)
        .varint(message.records.length)
      for (const record of message.records) writeRecord(out, record)
      break
    case 'event':
      out.ascii(message.origin).varint(message.time).varint(message.id)
      out.ascii(message.name).bytes(message.payload)
      break
    case 'query':
      out.ascii(message.origin).varint(message.time).varint(message.id)
      out.ascii(message.name).bytes(message.payload)
      if (message.leftMs !== undefined) out.varint(message.leftMs)
      break
    case 'answer':
      out.varint(message.id).bytes(message.payload)
      break
    case 'hello':
      out.bytes(message.token)
      break
    case 'recall':
      break
    case 'refusal':
      out.ascii(message.reason.replace(/[^\x20-\x7e]/g, '?').slice(0, maximumReasonLength))
      break
    case 'fetch':
      out.ascii(message.nodeId).varint(message.version).varint(message.offset)
      break
    case 'ballot':
      out.varint(message.sequence).varint(message.incarnation).ascii(message.address)
      break
    case 'challenge':
    case 'proof':
      out.u32(message.number)
      break
    case 'chunk':
      out.ascii(message.nodeId).varint(message.version).varint(message.offset).bytes(message.bytes)
      break
  }
}

/** Reads the content of a message, which ends at `end`. */
export function readMessage(reader: ByteReader, kind: MessageKind, end: number): SwimMessage {
  switch (kind) {
    case 'ping':
      return { kind, sequence: reader.varint(), target: readName(reader) }
    case 'ack': {
      const sequence = reader.varint()
      const responder = readName(reader)
      // An answer that was passed on ends here.
      if (end - reader.offset < coordinateBytes) return { kind, sequence, responder }
      return { kind, sequence, responder, coordinate: readCoordinate(reader) }
    }
    case 'indirectPing':
      return { kind, sequence: reader.varint(), target: readName(reader), patienceMs: reader.varint() }
    case 'nack':
      return { kind, sequence: reader.varint() }
    case 'alive':
      return { kind, statement: readStatement(reader, readAddress) }
    case 'suspect':
    case 'dead':
      return { kind, nodeId: readName(reader), version: reader.varint(), accuser: readName(reader) }
    case 'left':
      return { kind, nodeId: readName(reader), incarnation: reader.varint(), version: reader.varint() }
    case 'offer': {
      const raw = reader.raw(bucketCount * 4)
      const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength)
      const buckets = new Uint32Array(bucketCount)
      for (let i = 0; i < bucketCount; i++) buckets[i] = view.getUint32(i * 4, true)
      return { kind, buckets, clock: reader.varint(), news: reader.u32() }
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
    case 'event':
      return {
        kind,
        origin: readName(reader),
        time: reader.varint(),
        id: reader.varint(),
        name: readEventName(reader),
        payload: readPayload(reader),
      }
    case 'query': {
      const query = {
        kind,
        origin: readName(reader),
        time: reader.varint(),
        id: reader.varint(),
        name: readEventName(reader),
        payload: readPayload(reader),
      }
      // Before protocol 5 it ends here.
      return reader.offset < end ? { ...query, leftMs: reader.varint() } : query
    }
    case 'answer':
      return { kind, id: reader.varint(), payload: readPayload(reader) }
    case 'hello':
      return { kind, token: readBytes(reader, maximumTokenBytes, 'a token') }
    case 'recall':
      return { kind }
    case 'contest':
      return { kind, sequence: reader.varint() }
    case 'challenge':
    case 'proof':
      return { kind, number: reader.u32() }
    case 'ballot':
      return { kind, sequence: reader.varint(), incarnation: reader.varint(), address: readAddress(reader) }
    case 'refusal':
      return { kind, reason: reader.ascii(maximumReasonLength) }
    case 'fetch':
      return { kind, nodeId: readName(reader), version: reader.varint(), offset: reader.varint() }
    case 'chunk':
      return {
        kind,
        nodeId: readName(reader),
        version: reader.varint(),
        offset: reader.varint(),
        bytes: copyBytes(reader.bytes()),
      }
  }
}

/** One record of a `state` message. */
export function writeRecord(out: ByteWriter, record: SyncRecord): void {
  out.u8(states.indexOf(record.state)).varint(record.version).varint(record.accusedVersion)
  out.varint(record.ageMs).ascii(record.accuser)
  writeStatement(out, record.statement)
}

function readRecord(reader: ByteReader): SyncRecord {
  const tag = reader.u8()
  const state = states[tag] ?? reader.fail(`holds an unknown member state ${tag}`)
  const version = reader.varint()
  const accusedVersion = reader.varint()
  const ageMs = reader.varint()
  const accuser = readNameOrNone(reader)
  const live = state === 'alive' || state === 'suspect'
  const statement = readStatement(reader, live ? readAddress : readAddressOrNone)
  return { statement, state, version, accusedVersion, ageMs, accuser }
}

function writeStatement(out: ByteWriter, said: Statement): void {
  const { metadata, metadataBytes, protocols } = said
  out.ascii(said.nodeId).varint(said.incarnation).varint(said.version).ascii(said.address)
  out.u8(protocols.minimum).u8(protocols.maximum).varint(metadataBytes)
  if (metadataBytes <= inlineMetadataBytes) out.raw(metadata)
  else out.u32(said.metadataChecksum)
}

function readStatement(reader: ByteReader, address: (reader: ByteReader) => string): Statement {
  const fields = {
    nodeId: readName(reader),
    incarnation: reader.varint(),
    version: reader.varint(),
    address: address(reader),
    protocols: { minimum: reader.u8(), maximum: reader.u8() },
  }
  const { minimum, maximum } = fields.protocols
  if (minimum === 0 || maximum < minimum) reader.fail('holds a member that speaks no protocol')
  const metadataBytes = reader.varint()
  if (metadataBytes <= inlineMetadataBytes) {
    return new Statement({ ...fields, metadata: copyBytes(reader.raw(metadataBytes)) })
  }
  if (metadataBytes > largestMetadataBytes) reader.fail('holds metadata above the limit')
  const metadataChecksum = reader.u32()
  return new Statement({ ...fields, metadata: new Uint8Array(0), metadataBytes, metadataChecksum })
}

/** Fixed-point numbers of 1/32 ms keep a coordinate below 20 bytes; no path is longer than a second. */
const coordinateUnits = 32
const coordinateBytes = coordinateDimensions * 2 + 3
const errorUnits = 100

function writeCoordinate(out: ByteWriter, { vector, heightMs, error }: Coordinate): void {
  for (let i = 0; i < coordinateDimensions; i++) {
    const units = Math.round((vector[i] ?? 0) * coordinateUnits)
    out.u16(Math.max(-0x7fff, Math.min(0x7fff, units)) & 0xffff)
  }
  out.u16(Math.max(0, Math.min(0xffff, Math.round(heightMs * coordinateUnits))))
  out.u8(Math.max(0, Math.min(0xff, Math.round(error * errorUnits))))
}

function readCoordinate(reader: ByteReader): Coordinate {
  const vector: number[] = []
  for (let i = 0; i < coordinateDimensions; i++) {
    const units = reader.u16()
    vector.push((units > 0x7fff ? units - 0x1_0000 : units) / coordinateUnits)
  }
  return { vector, heightMs: reader.u16() / coordinateUnits, error: reader.u8() / errorUnits }
}

/** The name of a node. */
export function readName(reader: ByteReader): NodeId {
  const name = reader.ascii(64)
  return namePattern.test(name) ? name : reader.fail('holds something that is no node id')
}

function readNameOrNone(reader: ByteReader): NodeId {
  const name = reader.ascii(64)
  return name === '' || namePattern.test(name) ? name : reader.fail('holds something that is no node id')
}

function readAddressOrNone(reader: ByteReader): string {
  const address = reader.ascii(maximumAddressLength)
  return address === '' || isAddress(address) ? address : reader.fail('holds something that is no address')
}

function readAddress(reader: ByteReader): string {
  const address = reader.ascii(maximumAddressLength)
  return isAddress(address) ? address : reader.fail('holds something that is no address')
}

/** True for `host:port`. */
export function isAddress(address: string): boolean {
  return addressPattern.test(address) && Number(address.slice(address.lastIndexOf(':') + 1)) <= 65_535
}

function readEventName(reader: ByteReader): string {
  const name = reader.ascii(maximumEventNameLength)
  return name.length > 0 ? name : reader.fail('holds an event without a name')
}

function readPayload(reader: ByteReader): Uint8Array {
  return readBytes(reader, maximumPayloadBytes, 'a payload')
}

function readBytes(reader: ByteReader, limit: number, what: string): Uint8Array {
  const bytes = reader.bytes()
  if (bytes.length > limit) reader.fail(`holds ${what} above the limit`)
  return copyBytes(bytes)
}
