import { ByteReader, ByteWriter, concatBytes, copyBytes } from '../../core/bytes.ts'
import { crc32 } from '../../core/checksum.ts'
import { decodePlain, encodePlain, Fields } from '../../core/codec.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { LogPosition } from '../../interfaces/log-store.ts'
import type { Bookkeeping, StateSnapshot } from '../../interfaces/state-machine.ts'
import type { GroupId, Incarnation, ReplicaId } from '../../model/ids.ts'

/**
 * A snapshot on its way: pieces, numbered from 0, of
 *
 *     kind u8 · crc u32 · payload
 *
 * The checksum runs on from piece to piece, so each one vouches for itself, for all before it and for their order, and the
 * last one for the whole. The bookkeeping comes first, then the state machine's own chunks, whose bounds are kept, then a
 * piece that says how many and how much there was.
 *
 * The pieces travel in segments, each asked for by the receiver and each a stream of its own. What is asked for next is
 * what comes after the last piece that arrived, be it because a segment was over or because a connection broke.
 */
export interface SnapshotHeader {
  readonly groupId: GroupId
  /** Of the sender's replica. */
  readonly recoveryGeneration: number
  readonly from: ReplicaId
  readonly to: ReplicaId
  /** The receiver's. */
  readonly incarnation: Incarnation
  readonly requestId: number
  readonly position: LogPosition
  /** Names the view that the sender holds open. Another one is another snapshot, and begins with piece 0. */
  readonly snapshotId: number
  /** The number of the first piece of this stream. */
  readonly firstPiece: number
}

/** A piece whose checksum was right. */
export interface SnapshotPiece {
  readonly kind: number
  readonly payload: Uint8Array
}

/** 1 had all pieces in one stream, and no recovery generation. */
const version = 2
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
  const { groupId, recoveryGeneration, from, to, incarnation, requestId, position } = header
  return encodePlain([
    version,
    groupId,
    recoveryGeneration,
    from,
    to,
    incarnation,
    requestId,
    position.index,
    position.term,
    header.snapshotId,
    header.firstPiece,
  ])
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
    recoveryGeneration: fields.uint('recoveryGeneration'),
    from: fields.uint('from'),
    to: fields.uint('to'),
    incarnation: fields.uint('incarnation'),
    requestId: fields.uint('requestId'),
    position: { index: fields.uint('index'), term: fields.uint('term') },
    snapshotId: fields.uint('snapshotId'),
    firstPiece: fields.uint('firstPiece'),
  }
}

/** The pieces of a snapshot, none larger than `maximumBytes`. */
export async function* encodeSnapshot(
  snapshot: StateSnapshot,
  maximumBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const room = maximumBytes - chunkHeaderBytes
  let crc = 0
  let count = 0
  let bytes = 0
  const frame = (kind: number, payload: Uint8Array): Uint8Array => {
    const out = new ByteWriter(chunkHeaderBytes + payload.length).u8(kind).u32(0).raw(payload)
    crc = crc32(payload, crc32(Uint8Array.of(kind), crc))
    out.patchU32(1, crc)
    count++
    bytes += payload.length
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
  yield frame(kindEnd, new ByteWriter(16).u53(count).u53(bytes).finish())
}

function split(bytes: Uint8Array, size: number): Uint8Array[] {
  if (bytes.length <= size) return [bytes]
  const parts: Uint8Array[] = []
  for (let at = 0; at < bytes.length; at += size) parts.push(bytes.subarray(at, at + size))
  return parts
}

/** Looks at the pieces of a snapshot as they arrive, from a peer that is not trusted. */
export class PieceChecker {
  #crc = 0
  #count = 0

  /** Pieces that were right: the number of the next one. */
  get count(): number {
    return this.#count
  }

  /** @throws KeelsonError `MALFORMED` for one that is damaged, doubled or out of place: it does not count */
  check(bytes: Uint8Array): SnapshotPiece {
    const reader = new ByteReader(bytes, 'a piece of a snapshot')
    const kind = reader.u8()
    const found = reader.u32()
    const payload = reader.raw(reader.remaining)
    const crc = crc32(payload, crc32(Uint8Array.of(kind), this.#crc))
    if (!this.isIntact(crc, found)) malformed(`the checksum of piece ${this.#count} does not match`)
    this.#crc = crc
    this.#count++
    return { kind, payload }
  }

  /** @internal */
  isIntact(computed: number, found: number): boolean {
    return computed === found
  }
}

/** Whether this piece is the last one. */
export function isEnd({ kind }: Pick<SnapshotPiece, 'kind'>): boolean {
  return kind === kindEnd
}

/** Whether these are the bytes of the last piece. */
export function isEncodedEnd(piece: Uint8Array): boolean {
  return piece[0] === kindEnd
}

/** Puts the pieces together again: first the bookkeeping, then the state machine's chunks. */
export class SnapshotReader {
  readonly #input: AsyncIterator<SnapshotPiece>
  #count = 0
  #bytes = 0
  #next: SnapshotPiece | undefined

  constructor(pieces: AsyncIterable<SnapshotPiece>) {
    this.#input = pieces[Symbol.asyncIterator]()
  }

  /** @throws KeelsonError `MALFORMED`, or what the input throws */
  async bookkeeping(): Promise<Bookkeeping> {
    const parts: Uint8Array[] = []
    let bytes = 0
    for (;;) {
      const piece = await this.#read()
      if (piece.kind !== kindBookkeeping) {
        this.#next = piece
        break
      }
      bytes += piece.payload.length
      if (bytes > maximumBookkeepingBytes)
        malformed(`more than ${maximumBookkeepingBytes} bytes of bookkeeping`)
      parts.push(copyBytes(piece.payload))
    }
    const reader = new ByteReader(concatBytes(parts), 'the bookkeeping of a snapshot')
    const bookkeeping = new Map<string, Uint8Array>()
    while (reader.remaining > 0) bookkeeping.set(reader.string(), reader.bytes())
    return bookkeeping
  }

  /** The state machine's chunks. Ends only after the end was confirmed; an input that just stops is an error. */
  async *chunks(): AsyncGenerator<Uint8Array, void, undefined> {
    let parts: Uint8Array[] = []
    let bytes = 0
    for (;;) {
      const { kind, payload } = this.#next ?? (await this.#read())
      this.#next = undefined
      if (kind === kindEnd) {
        const reader = new ByteReader(payload, 'the end of a snapshot')
        const whole = reader.u53() === this.#count - 1 && reader.u53() === this.#bytes - payload.length
        if (parts.length > 0 || !whole) malformed('it ends in the middle')
        if ((await this.#input.next()).done !== true) malformed('it goes on after its end')
        return
      }
      if (kind !== kindPart && kind !== kindLastPart) malformed(`a piece of kind ${kind} in the wrong place`)
      bytes += payload.length
      if (bytes > maximumChunkBytes) malformed(`a chunk of more than ${maximumChunkBytes} bytes`)
      if (kind === kindPart) {
        // The next piece may take the place of this one in memory.
        parts.push(copyBytes(payload))
        continue
      }
      yield parts.length === 0 ? payload : concatBytes([...parts, payload])
      parts = []
      bytes = 0
    }
  }

  async #read(): Promise<SnapshotPiece> {
    const { value, done } = await this.#input.next()
    if (done === true) return malformed('it stops before its end')
    this.#count++
    this.#bytes += value.payload.length
    return value
  }
}

function malformed(problem: string): never {
  throw new KeelsonError('MALFORMED', `a snapshot is damaged: ${problem}`)
}
