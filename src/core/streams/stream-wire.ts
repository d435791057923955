import { type Deferred, deferred } from '../async.ts'
import { copyBytes } from '../bytes.ts'
import { KeelsonError } from '../errors.ts'

/**
 * What the two ends of a stream tell each other. Ids are the opener's; which end a record is for follows from its type,
 * so both ends number their streams from 1.
 */
export type StreamRecord =
  | { readonly type: 'open'; readonly id: number; readonly protocol: string; readonly header: Uint8Array }
  | { readonly type: 'data'; readonly id: number; readonly bytes: Uint8Array }
  /** The opener has sent everything. */
  | { readonly type: 'end'; readonly id: number }
  /** The opener breaks off. */
  | { readonly type: 'reset'; readonly id: number }
  /** The receiver allows chunks to begin below `limit` units since the beginning of the stream. */
  | { readonly type: 'credit'; readonly id: number; readonly limit: number }
  /** The receiver's handler returned. */
  | { readonly type: 'done'; readonly id: number }
  /** The receiver refused, or its handler threw. */
  | { readonly type: 'fail'; readonly id: number; readonly error: KeelsonError }

/** A record as the other end gets it: bytes of its own, and of an error what may travel. */
export function copyRecord(record: StreamRecord): StreamRecord {
  switch (record.type) {
    case 'open':
      return { ...record, header: copyBytes(record.header) }
    case 'data':
      return { ...record, bytes: copyBytes(record.bytes) }
    case 'fail':
      return { ...record, error: KeelsonError.fromJSON(record.error.toJSON()) }
    default:
      return record
  }
}

/** The connection below: it keeps order and loses nothing until it breaks. */
export interface StreamWire {
  send(record: StreamRecord): void
  /** Undefined while another chunk is welcome; otherwise resolves when it may be. */
  room(): Promise<void> | undefined
}

/** How much streams may hold. */
export interface StreamLimits {
  /** Streams in each direction of one connection. */
  readonly maximumStreams: number
  /** Bytes under way or waiting for the consumer, of one stream; one chunk may go beyond. */
  readonly streamWindowBytes: number
  readonly maximumChunkBytes: number
}

/** What a chunk costs of the window: its bytes and its bookkeeping, so that empty chunks are limited, too. */
export function chunkCost(bytes: Uint8Array): number {
  return bytes.length + 64
}

/** Wakes everybody who waits for a change, and then forgets them. */
export class Change {
  #waiting: Deferred<void> | undefined

  get next(): Promise<void> {
    this.#waiting ??= deferred<void>()
    return this.#waiting.promise
  }

  notify(): void {
    this.#waiting?.resolve()
    this.#waiting = undefined
  }
}
