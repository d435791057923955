import type { BytePool } from '../../core/byte-pool.ts'
import { ByteReader, ByteWriter, text } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import { showValue } from '../../core/options.ts'
import { decodeError, encodeError } from '../../core/wire-error.ts'

/** The messages of remote calls. Ids are the caller's; each side knows from the type whose they are. */
export type RpcFrame =
  | { readonly type: 'request'; readonly id: number; readonly method: string; readonly body: Uint8Array }
  | { readonly type: 'response'; readonly id: number; readonly body: Uint8Array }
  /** Ends a call or a stream. */
  | { readonly type: 'error'; readonly id: number; readonly error: KeelsonError }
  /** The caller does not wait any more, for a call or a stream. */
  | { readonly type: 'cancel'; readonly id: number }
  | { readonly type: 'open'; readonly id: number; readonly method: string; readonly body: Uint8Array }
  /** `sequence` counts the items of a stream from 1, so that a lost one is noticed. */
  | { readonly type: 'item'; readonly id: number; readonly sequence: number; readonly body: Uint8Array }
  | { readonly type: 'end'; readonly id: number; readonly sequence: number }
  /** The caller takes items that begin below `limit` units since the beginning of the stream. */
  | { readonly type: 'credit'; readonly id: number; readonly limit: number }
  /** The caller's open streams to this peer with their credit: [id, limit]. */
  | { readonly type: 'probe'; readonly streams: readonly (readonly [number, number])[] }
  /** The answer: [id, items sent so far + 1, or 0 for an unknown stream]. */
  | { readonly type: 'state'; readonly streams: readonly (readonly [number, number])[] }

const kinds = {
  request: 1,
  response: 2,
  error: 3,
  cancel: 4,
  open: 5,
  item: 6,
  end: 7,
  credit: 8,
  probe: 9,
  state: 10,
} as const

/** Longest method name in bytes. */
export const maximumMethodBytes = 128

const methodPattern = /^[a-zA-Z][\w./-]*$/

/** Checks the name of a method, on both sides: one that no peer could read would only be answered by silence. @throws KeelsonError `INVALID_ARGUMENT` */
export function checkMethodName(method: unknown): void {
  if (typeof method === 'string' && method.length <= maximumMethodBytes && methodPattern.test(method)) return
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `the name of a method is a letter and up to ${maximumMethodBytes - 1} letters, digits and '_', '.', '/', '-', not ${showValue(method)}`,
  )
}

/** Most bytes that a frame adds to a body. */
export const rpcOverheadBytes: number = maximumMethodBytes + 32

const maximumKnownMethods = 1_000

/** Encodes frames. */
export class RpcEncoder {
  readonly #pool: BytePool
  /** Names behind their lengths: programs call few methods many times. */
  readonly #methods = new Map<string, Uint8Array>()

  constructor(pool: BytePool) {
    this.#pool = pool
  }

  /** The result is an array of its own. */
  encode(frame: RpcFrame): Uint8Array {
    switch (frame.type) {
      case 'request':
      case 'open':
        return this.#call(kinds[frame.type], frame.id, this.#method(frame.method), frame.body)
      case 'response':
        return this.#call(kinds.response, frame.id, undefined, frame.body)
      case 'error': {
        const error = encodeError(frame.error)
        return start(frame.type, frame.id, error.length).raw(error).view()
      }
      case 'cancel':
        return start(frame.type, frame.id, 0).view()
      case 'item':
        return start(frame.type, frame.id, frame.body.length).varint(frame.sequence).raw(frame.body).view()
      case 'end':
        return start(frame.type, frame.id, 0).varint(frame.sequence).view()
      case 'credit':
        return start(frame.type, frame.id, 0).varint(frame.limit).view()
      case 'probe':
      case 'state': {
        const writer = start(frame.type, frame.streams.length, frame.streams.length * 10)
        for (const [id, value] of frame.streams) writer.varint(id).varint(value)
        return writer.view()
      }
    }
  }

  /** Requests and responses are most of the traffic: one array of the right size, and nothing else, for each. */
  #call(kind: number, id: number, method: Uint8Array | undefined, body: Uint8Array): Uint8Array {
    let idLength = 1
    for (let rest = id; rest >= 0x80; rest = Math.floor(rest / 0x80)) idLength++
    const methodLength = method === undefined ? 0 : method.length
    const out = this.#pool.allocate(1 + idLength + methodLength + body.length)
    out[0] = kind
    let at = 1
    let rest = id
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) out[at++] = (rest % 0x80) | 0x80
    out[at++] = rest
    if (method !== undefined) out.set(method, at)
    out.set(body, at + methodLength)
    return out
  }

  #method(name: string): Uint8Array {
    const known = this.#methods.get(name)
    if (known !== undefined) return known
    const encoded = new ByteWriter(name.length + 8).string(name).finish()
    if (this.#methods.size < maximumKnownMethods) this.#methods.set(name, encoded)
    return encoded
  }
}

function start(type: RpcFrame['type'], id: number, bytes: number): ByteWriter {
  return new ByteWriter(bytes + 24).u8(kinds[type]).varint(id)
}

/** Decodes a frame; bodies are views into it. @throws KeelsonError `MALFORMED` */
export function decodeRpc(bytes: Uint8Array): RpcFrame {
  const reader = new ByteReader(bytes, 'remote call')
  const kind = reader.u8()
  const id = reader.varint()
  switch (kind) {
    case kinds.request:
      return { type: 'request', id, method: method(reader), body: rest(reader) }
    case kinds.open:
      return { type: 'open', id, method: method(reader), body: rest(reader) }
    case kinds.response:
      return { type: 'response', id, body: rest(reader) }
    case kinds.error:
      return { type: 'error', id, error: decodeError(rest(reader)) }
    case kinds.cancel:
      reader.end()
      return { type: 'cancel', id }
    case kinds.item:
      return { type: 'item', id, sequence: reader.varint(), body: rest(reader) }
    case kinds.end:
      return { type: 'end', id, sequence: last(reader) }
    case kinds.credit:
      return { type: 'credit', id, limit: last(reader) }
    case kinds.probe:
      return { type: 'probe', streams: pairs(reader, id) }
    case kinds.state:
      return { type: 'state', streams: pairs(reader, id) }
    default:
      throw new KeelsonError('MALFORMED', `remote call of unknown kind ${kind}`)
  }
}

function method(reader: ByteReader): string {
  const length = reader.varint()
  if (length > maximumMethodBytes) reader.fail(`names a method of ${length} bytes`)
  return text(reader.raw(length))
}

function rest(reader: ByteReader): Uint8Array {
  return reader.raw(reader.remaining)
}

function last(reader: ByteReader): number {
  const value = reader.varint()
  reader.end()
  return value
}

function pairs(reader: ByteReader, count: number): [number, number][] {
  // Each pair takes two bytes at least: the count is checked before anything is allocated for it.
  if (count * 2 > reader.remaining) reader.fail(`announces ${count} streams`)
  const found: [number, number][] = []
  for (let i = 0; i < count; i++) found.push([reader.varint(), reader.varint()])
  reader.end()
  return found
}
