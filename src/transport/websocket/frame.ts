import { ByteReader, ByteWriter, text, utf8 } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { StreamRecord } from '../../core/streams/stream-wire.ts'
import { decodeError, encodeError } from '../../core/wire-error.ts'

/*
 * A frame is a row of records. A message names its channel by a number, which a definition has tied to the protocol's name
 * earlier on the same socket.
 */
const kinds = {
  define: 0,
  message: 1,
  open: 2,
  data: 3,
  end: 4,
  reset: 5,
  credit: 6,
  done: 7,
  fail: 8,
} as const

const maximumProtocolBytes = 64
const maximumDefinitions = 1_024

/** Something to be put into a frame: its head is encoded, its body is copied at the last moment. */
export interface OutgoingRecord {
  /** Protocol whose number stands between head and body; undefined for records of streams. */
  readonly protocol: string | undefined
  /** Everything before the body of a stream record. */
  readonly head: Uint8Array | undefined
  readonly body: Uint8Array
}

/** A record of a stream, ready to be packed. */
export function streamRecord(record: StreamRecord): OutgoingRecord {
  const writer = new ByteWriter(24).u8(kinds[record.type]).varint(record.id)
  let body: Uint8Array = empty
  if (record.type === 'open') {
    writer.string(record.protocol)
    body = record.header
  } else if (record.type === 'data') body = record.bytes
  else if (record.type === 'credit') writer.varint(record.limit)
  else if (record.type === 'fail') body = encodeError(record.error)
  if (record.type === 'open' || record.type === 'data' || record.type === 'fail') writer.varint(body.length)
  return { protocol: undefined, head: writer.view(), body }
}

const empty = new Uint8Array(0)

function varintSize(value: number): number {
  let size = 1
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) size++
  return size
}

/** Packs records into frames for one socket. */
export class FrameWriter {
  readonly #numbers = new Map<string, number>()

  /**
   * One frame with as many of `records` from `from` on as fit, one at least. Returns the frame and the position behind the
   * last record that is in it.
   */
  pack(
    records: readonly OutgoingRecord[],
    from: number,
    maximumBytes: number,
    maximumRecords: number,
  ): { readonly frame: Uint8Array; readonly next: number } {
    let size = 0
    let next = from
    const first = this.#numbers.size
    const fresh: string[] = []
    while (next < records.length && next - from < maximumRecords) {
      const record = records[next] as OutgoingRecord
      let needed = this.#size(record)
      const isNew = record.protocol !== undefined && !this.#numbers.has(record.protocol)
      if (isNew) needed += 10 + record.protocol.length
      if (next > from && size + needed > maximumBytes) break
      if (isNew) {
        this.#numbers.set(record.protocol, this.#numbers.size)
        fresh.push(record.protocol)
      }
      size += needed
      next++
    }
    const writer = new Writer(size)
    fresh.forEach((protocol, i) => {
      const name = utf8(protocol)
      writer.u8(kinds.define)
      writer.varint(first + i)
      writer.varint(name.length)
      writer.raw(name)
    })
    for (let i = from; i < next; i++) {
      const record = records[i] as OutgoingRecord
      if (record.head !== undefined) writer.raw(record.head)
      else {
        writer.u8(kinds.message)
        writer.varint(this.#numbers.get(record.protocol as string) as number)
        writer.varint(record.body.length)
      }
      writer.raw(record.body)
    }
    return { frame: writer.finish(), next }
  }

  #size(record: OutgoingRecord): number {
    const { length } = record.body
    // A channel's number takes two bytes at most.
    return record.head === undefined ? 3 + varintSize(length) + length : record.head.length + length
  }
}

/** Writes into a buffer whose size is known to suffice. */
class Writer {
  readonly #buffer: Buffer
  #at = 0

  constructor(size: number) {
    this.#buffer = Buffer.allocUnsafe(size)
  }

  u8(value: number): void {
    this.#buffer[this.#at++] = value
  }

  varint(value: number): void {
    let rest = value
    while (rest >= 0x80) {
      this.#buffer[this.#at++] = (rest % 0x80) | 0x80
      rest = Math.floor(rest / 0x80)
    }
    this.#buffer[this.#at++] = rest
  }

  raw(bytes: Uint8Array): void {
    this.#buffer.set(bytes, this.#at)
    this.#at += bytes.length
  }

  finish(): Uint8Array {
    return this.#buffer.subarray(0, this.#at)
  }
}

/** Who takes the records of a frame. */
export interface FrameSink {
  message(protocol: string, bytes: Uint8Array): void
  stream(record: StreamRecord): void
}

/** Takes apart the frames of one socket. */
export class FrameReader {
  readonly #protocols: string[] = []
  readonly #maximumRecords: number

  constructor(maximumRecords: number) {
    this.#maximumRecords = maximumRecords
  }

  /**
   * Hands out the records of a frame and returns how many there were. Bodies are views into `frame`.
   *
   * @throws KeelsonError `MALFORMED`; what came before the fault was handed out
   */
  read(frame: Uint8Array, sink: FrameSink): number {
    const reader = new ByteReader(frame, 'frame')
    // A frame of the largest number of messages may define each of their channels.
    const limit = this.#maximumRecords * 2
    let records = 0
    while (reader.remaining > 0) {
      if (++records > limit) reader.fail(`holds more than ${this.#maximumRecords} messages`)
      const kind = reader.u8()
      if (kind === kinds.message) {
        const protocol = this.#protocols[reader.varint()]
        if (protocol === undefined) return reader.fail('names a channel that was not defined')
        sink.message(protocol, reader.bytes())
      } else if (kind === kinds.define) this.#define(reader)
      else sink.stream(readStreamRecord(reader, kind))
    }
    return records
  }

  #define(reader: ByteReader): void {
    if (reader.varint() !== this.#protocols.length) reader.fail('defines channels out of order')
    if (this.#protocols.length >= maximumDefinitions) reader.fail('defines too many channels')
    this.#protocols.push(protocolName(reader))
  }
}

function readStreamRecord(reader: ByteReader, kind: number): StreamRecord {
  const id = reader.varint()
  switch (kind) {
    case kinds.open:
      return { type: 'open', id, protocol: protocolName(reader), header: reader.bytes() }
    case kinds.data:
      return { type: 'data', id, bytes: reader.bytes() }
    case kinds.end:
      return { type: 'end', id }
    case kinds.reset:
      return { type: 'reset', id }
    case kinds.credit:
      return { type: 'credit', id, limit: reader.varint() }
    case kinds.done:
      return { type: 'done', id }
    case kinds.fail:
      return { type: 'fail', id, error: decodeError(reader.bytes()) }
    default:
      throw new KeelsonError('MALFORMED', `a frame holds a record of unknown kind ${kind}`)
  }
}

function protocolName(reader: ByteReader): string {
  const length = reader.varint()
  if (length > maximumProtocolBytes) reader.fail(`names a protocol of ${length} bytes`)
  return text(reader.raw(length))
}
