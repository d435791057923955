import { decodePlain, encodePlain, Fields, type Plain } from 'keelson'
import { decodeRow, encodeRow, type Row } from './schema.ts'

/** Name of the channel on which nodes answer clients and each other. */
export const channelName = 'citydb'

/** Which command of a client: retries carry the same numbers, so the command takes effect once. */
export interface CommandNumber {
  readonly session: number
  readonly sequence: number
}

export interface WriteRequest {
  readonly rangeId: number
  readonly command: CommandNumber
  readonly rows: readonly { readonly key: Uint8Array; readonly columns: Row }[]
}

export interface IncrementRequest {
  readonly rangeId: number
  readonly command: CommandNumber
  readonly key: Uint8Array
  readonly column: string
  readonly amount: number
}

export interface PageRequest {
  readonly rangeId: number
  /** Name of an index; empty for the rows themselves. */
  readonly index: string
  readonly resumeAt: Uint8Array | undefined
  readonly limit: number
}

/** A page of rows, or of index entries with the keys of their rows. */
export interface PageResponse {
  readonly items: readonly { readonly key: Uint8Array; readonly value: Uint8Array }[]
  readonly resumeAt: Uint8Array | undefined
}

/** A proposal whose first proposer lost its leadership, passed on as it is to the leader after it. */
export interface ForwardRequest {
  readonly rangeId: number
  /** Lease sequence that it was evaluated under. */
  readonly sequence: number
  readonly command: Uint8Array
}

/** What a node tells about one of its ranges. */
export interface RangeFacts {
  readonly ledger: number
  readonly staleEffects: number
  readonly sequence: number
}

const version = 1

function open(bytes: Uint8Array, what: string): Fields {
  const fields = new Fields(decodePlain(bytes, what), what)
  fields.oneOf('version', [version])
  return fields
}

const command = (fields: Fields): CommandNumber => ({
  session: fields.uint('session'),
  sequence: fields.uint('sequence'),
})

export const rangeRequest = {
  encode: (rangeId: number): Uint8Array => encodePlain([version, rangeId]),
  decode: (bytes: Uint8Array): number => open(bytes, 'a range request').uint('range id'),
}

export const sessionResponse = {
  encode: (session: number): Uint8Array => encodePlain([version, session]),
  decode: (bytes: Uint8Array): number => open(bytes, 'a session response').uint('session'),
}

export const writeRequest = {
  encode: (request: WriteRequest): Uint8Array =>
    encodePlain([
      version,
      request.rangeId,
      request.command.session,
      request.command.sequence,
      request.rows.map(({ key, columns }) => [key, encodeRow(columns)]),
    ]),
  decode: (bytes: Uint8Array): WriteRequest => {
    const fields = open(bytes, 'a write request')
    return {
      rangeId: fields.uint('range id'),
      command: command(fields),
      rows: fields.list('rows', (f) => ({ key: f.bytes('key').slice(), columns: decodeRow(f.bytes('row')) })),
    }
  },
}

export const incrementRequest = {
  encode: (request: IncrementRequest): Uint8Array =>
    encodePlain([
      version,
      request.rangeId,
      request.command.session,
      request.command.sequence,
      request.key,
      request.column,
      request.amount,
    ]),
  decode: (bytes: Uint8Array): IncrementRequest => {
    const fields = open(bytes, 'an increment request')
    return {
      rangeId: fields.uint('range id'),
      command: command(fields),
      key: fields.bytes('key').slice(),
      column: fields.string('column'),
      amount: fields.number('amount'),
    }
  },
}

export const readRequest = {
  encode: (rangeId: number, key: Uint8Array): Uint8Array => encodePlain([version, rangeId, key]),
  decode: (bytes: Uint8Array): { rangeId: number; key: Uint8Array } => {
    const fields = open(bytes, 'a read request')
    return { rangeId: fields.uint('range id'), key: fields.bytes('key').slice() }
  },
}

export const readResponse = {
  encode: (row: Row | undefined): Uint8Array =>
    encodePlain([version, row === undefined ? null : encodeRow(row)]),
  decode: (bytes: Uint8Array): Row | undefined => {
    const row = open(bytes, 'a read response').optional((f) => f.bytes('row'))
    return row === undefined ? undefined : decodeRow(row)
  },
}

export const pageRequest = {
  encode: (request: PageRequest): Uint8Array =>
    encodePlain([version, request.rangeId, request.index, request.resumeAt ?? null, request.limit]),
  decode: (bytes: Uint8Array): PageRequest => {
    const fields = open(bytes, 'a page request')
    return {
      rangeId: fields.uint('range id'),
      index: fields.string('index'),
      resumeAt: fields.optional((f) => f.bytes('resume at'))?.slice(),
      limit: fields.uint('limit'),
    }
  },
}

export const pageResponse = {
  encode: (page: PageResponse): Uint8Array => {
    const items: Plain[] = page.items.map(({ key, value }) => [key, value])
    return encodePlain([version, items, page.resumeAt ?? null])
  },
  decode: (bytes: Uint8Array): PageResponse => {
    const fields = open(bytes, 'a page response')
    return {
      items: fields.list('items', (f) => ({ key: f.bytes('key').slice(), value: f.bytes('value').slice() })),
      resumeAt: fields.optional((f) => f.bytes('resume at'))?.slice(),
    }
  },
}

export const forwardRequest = {
  encode: (request: ForwardRequest): Uint8Array =>
    encodePlain([version, request.rangeId, request.sequence, request.command]),
  decode: (bytes: Uint8Array): ForwardRequest => {
    const fields = open(bytes, 'a forwarded proposal')
    return {
      rangeId: fields.uint('range id'),
      sequence: fields.uint('sequence'),
      command: fields.bytes('command').slice(),
    }
  },
}

export const factsResponse = {
  encode: (facts: RangeFacts): Uint8Array =>
    encodePlain([version, facts.ledger, facts.staleEffects, facts.sequence]),
  decode: (bytes: Uint8Array): RangeFacts => {
    const fields = open(bytes, 'the facts of a range')
    return {
      ledger: fields.uint('ledger'),
      staleEffects: fields.uint('stale effects'),
      sequence: fields.uint('sequence'),
    }
  },
}
