import { ByteReader, ByteWriter, concatBytes, copyBytes } from '../../core/bytes.ts'
import { crc32 } from '../../core/checksum.ts'
import { decodePlain, encodePlain, Fields } from '../../core/codec.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { LogPosition } from '../../interfaces/log-store.ts'
import type { Bookkeeping, StateSnapshot } from '../../interfaces/state-machine.ts'
import type { GroupId, Incarnation, ReplicaId } from '../../model/ids.ts'

/**
 * A snapshot on its way: a stream whose header says whose it is, and chunks of
 *
 *     kind u8 · crc u32 · payload
 *
 * The checksum runs on from chunk to chunk, so each one vouches for itself, for all before it and for their order. The
 * bookkeeping comes first, then the state machine's own chunks, whose bounds are kept, then a chunk that says that
 * this was all.
 */
export interface SnapshotHeader {
  readonly groupId: GroupId
  readonly from: ReplicaId
  readonly to: ReplicaId
  /** The receiver's. */
  readonly incarnation: Incarnation
  readonly requestId: number
  readonly position: LogPosition
}

const version = 1
const kindBookkeeping = 1
const kindPart = 2
const kindLastPart = 3
const kindEnd = 4
const chunkHeaderBytes = 5

/** Most bytes of bookkeeping that a receiver takes. */
const maximumBookkeepingBytes = 512 << 20
/** Most bytes of one chunk of a state machine that a receiver takes: twice what the port allows. */
const maximumChunkBytes = 2 << 20

export function encodeSnapshotHeader(header: SnapshotHeader): Uint8Array {
  const { groupId, from, to, incarnation, requestId, position } = header
  return encodePlain([version, groupId, from, to, incarnation, requestId, position.index, position.term])
}

/** @throws KeelsonError `MALFORMED`, `PROTOCOL_VERSION` */
export function decodeSnapshotHeader(bytes: Uint8Array): SnapshotHeader {
  const fields = new Fields(decodePlain(bytes, 'the header of a snapshot'), 'the header of a snapshot')
  const found = fields.uint('version')
  if (found !== version) {
    throw new KeelsonError(
      'PROTOCOL_VERSION',
      `a snapshot has version ${found}, but this release reads ${version}; upgrade the older node`,
    )
  }
  return {
    groupId: fields.uint('groupId'),
    from: fields.uint('from'),
    to: fields.uint('to'),
    incarnation: fields.uint('incarnation'),
    requestId: fields.uint('requestId'),
    position: { index: fields.uint('index'), term: fields.uint('term') },
  }
}

/** The chunks of a snapshot, none larger than `maximumBytes`. */
export async function* encodeSnapshot(
  snapshot: StateSnapshot,
  maximumBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const room = maximumBytes - chunkHeaderBytes
  let crc = 0
  let count = 0
  const frame = (kind: number, payload: Uint8Array): Uint8Array => {
    const out = new ByteWriter(chunkHeaderBytes + payload.length).u8(kind).u32(0).raw(payload)
    crc = crc32(payload, crc32(Uint8Array.of(kind), crc))
    out.patchU32(1, crc)
    count++
    return out.view()
  }
  let pairs = new ByteWriter(Math.min(room, 64 << 10))
  for (const [key, value] of snapshot.bookkeeping) {
    pairs.string(key).bytes(value)
    if (pairs.length < room) continue
    for (const part of split(pairs.view(), room)) yield frame(kindBookkeeping, part)
    pairs = new ByteWriter(Math.min(room, 64 << 10))
  }
  if (pairs.length > 0) yield frame(kindBookkeeping, pairs.view())
  for await (const chunk of snapshot.chunks()) {
    const parts = split(chunk, room)
    for (const [i, part] of parts.entries()) {
      yield frame(i + 1 < parts.length ? kindPart : kindLastPart, part)
    }
  }
  yield frame(kindEnd, new ByteWriter(8).u53(count).finish())
}

function split(bytes: Uint8Array, size: number): Uint8Array[] {
  if (bytes.length <= size) return [bytes]
  const parts: Uint8Array[] = []
  for (let at = 0; at < bytes.length; at += size) parts.push(bytes.subarray(at, at + size))
  return parts
}

/** Reads what {@link encodeSnapshot} made, from a peer that is not trusted. First the bookkeeping, then the chunks. */
export class SnapshotReader {
  readonly #input: AsyncIterator<Uint8Array>
  #crc = 0
  #count = 0
  #next: { readonly kind: number; readonly payload: Uint8Array } | undefined

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#input = chunks[Symbol.asyncIterator]()
  }

  /** @throws KeelsonError `MALFORMED`, or what the stream throws */
  async bookkeeping(): Promise<Bookkeeping> {
    const parts: Uint8Array[] = []
    let bytes = 0
    for (;;) {
      const chunk = await this.#read()
      if (chunk.kind !== kindBookkeeping) {
        this.#next = chunk
        break
      }
      bytes += chunk.payload.length
      if (bytes > maximumBookkeepingBytes)
        malformed(`more than ${maximumBookkeepingBytes} bytes of bookkeeping`)
      parts.push(copyBytes(chunk.payload))
    }
    const reader = new ByteReader(concatBytes(parts), 'the bookkeeping of a snapshot')
    const bookkeeping = new Map<string, Uint8Array>()
    while (reader.remaining > 0) bookkeeping.set(reader.string(), reader.bytes())
    return bookkeeping
  }

  /** The state machine's chunks. Ends only after the end was confirmed; a stream that just stops is an error. */
  async *chunks(): AsyncGenerator<Uint8Array, void, undefined> {
    let parts: Uint8Array[] = []
    let bytes = 0
    for (;;) {
      const { kind, payload } = this.#next ?? (await this.#read())
      this.#next = undefined
      if (kind === kindEnd) {
        const reader = new ByteReader(payload, 'the end of a snapshot')
        if (parts.length > 0 || reader.u53() !== this.#count - 1) malformed('it ends in the middle')
        if ((await this.#input.next()).done !== true) malformed('it goes on after its end')
        return
      }
      if (kind !== kindPart && kind !== kindLastPart) malformed(`a chunk of kind ${kind} in the wrong place`)
      bytes += payload.length
      if (bytes > maximumChunkBytes) malformed(`a chunk of more than ${maximumChunkBytes} bytes`)
      parts.push(payload)
      if (kind === kindPart) continue
      yield parts.length === 1 ? payload : concatBytes(parts)
      parts = []
      bytes = 0
    }
  }

  /** Tells the sender that no more is wanted. */
  async close(): Promise<void> {
    await this.#input.return?.()
  }

  async #read(): Promise<{ kind: number; payload: Uint8Array }> {
    const { value, done } = await this.#input.next()
    if (done === true) return malformed('it stops before its end')
    const reader = new ByteReader(value, 'a chunk of a snapshot')
    const kind = reader.u8()
    const crc = reader.u32()
    const payload = reader.raw(reader.remaining)
    this.#crc = crc32(payload, crc32(Uint8Array.of(kind), this.#crc))
    this.#count++
    if (crc !== this.#crc) malformed(`the checksum of chunk ${this.#count} does not match`)
    return { kind, payload }
  }
}

function malformed(problem: string): never {
  throw new KeelsonError('MALFORMED', `a snapshot is damaged: ${problem}`)
}
