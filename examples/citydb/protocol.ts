import { decodePlain, encodePlain, Fields, type Plain } from 'keelson'
import { decodeRow, encodeRow, type Row } from './schema.ts'

/** Name of the channel on which nodes answer clients and each other. */
export const channelName = 'citydb'

/** Which command of a client: retries carry the same numbers, so the command takes effect once. */
export interface CommandNumber {
  /** The range in which the session was opened; another one may have taken over its keys since, and knows the session. */
  readonly rangeId: number
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
  /** Generation that the range must have; 0 for any. */
  readonly generation: number
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

/** A part of a frozen range, for its neighbour. */
export interface ExportRequest {
  readonly rangeId: number
  /** Generation that the range has since it is frozen. */
  readonly generation: number
  readonly resumeAt: Uint8Array | undefined
}

export interface ExportResponse {
  readonly pairs: readonly (readonly [key: Uint8Array, value: Uint8Array])[]
  readonly resumeAt: Uint8Array | undefined
  readonly facts: Uint8Array
  readonly layout: Uint8Array
}

/** Asks a range never to merge a neighbour that was frozen for this generation of it. */
export interface RuleOutRequest {
  readonly rangeId: number
  readonly generation: number
  /** The neighbour that was frozen. */
  readonly rightRangeId: number
}

/** What a node tells about one of its ranges. */
export interface RangeFacts {
  readonly ledger: number
  readonly staleEffects: number
  readonly sequence: number
  readonly generation: number
  /** First key of the range. */
  readonly start: Uint8Array
  /** First key behind the range; undefined: to the end. */
  readonly end: Uint8Array | undefined
}

const version = 2

function open(bytes: Uint8Array, what: string): Fields {
  const fields = new Fields(decodePlain(bytes, what), what)
  fields.oneOf('version', [version])
  return fields
}

const command = (fields: Fields): CommandNumber => ({
  rangeId: fields.uint('range of the session'),
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
      request.command.rangeId,
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
      request.command.rangeId,
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
    encodePlain([
      version,
      request.rangeId,
      request.index,
      request.resumeAt ?? null,
      request.limit,
      request.generation,
    ]),
  decode: (bytes: Uint8Array): PageRequest => {
    const fields = open(bytes, 'a page request')
    return {
      rangeId: fields.uint('range id'),
      index: fields.string('index'),
      resumeAt: fields.optional((f) => f.bytes('resume at'))?.slice(),
      limit: fields.uint('limit'),
      generation: fields.uint('generation'),
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
    encodePlain([
      version,
      facts.ledger,
      facts.staleEffects,
      facts.sequence,
      facts.generation,
      facts.start,
      facts.end ?? null,
    ]),
  decode: (bytes: Uint8Array): RangeFacts => {
    const fields = open(bytes, 'the facts of a range')
    return {
      ledger: fields.uint('ledger'),
      staleEffects: fields.uint('stale effects'),
      sequence: fields.uint('sequence'),
      generation: fields.uint('generation'),
      start: fields.bytes('start').slice(),
      end: fields.optional((f) => f.bytes('end'))?.slice(),
    }
  },
}

export const exportRequest = {
  encode: ({ rangeId, generation, resumeAt }: ExportRequest): Uint8Array =>
    encodePlain([version, rangeId, generation, resumeAt ?? null]),
  decode: (bytes: Uint8Array): ExportRequest => {
    const fields = open(bytes, 'a request for a part of a range')
    return {
      rangeId: fields.uint('range id'),
      generation: fields.uint('generation'),
      resumeAt: fields.optional((f) => f.bytes('resume at'))?.slice(),
    }
  },
}

export const exportResponse = {
  encode: ({ pairs, resumeAt, facts, layout }: ExportResponse): Uint8Array =>
    encodePlain([version, pairs.map(([key, value]) => [key, value]), resumeAt ?? null, facts, layout]),
  decode: (bytes: Uint8Array): ExportResponse => {
    const fields = open(bytes, 'a part of a range')
    return {
      pairs: fields.list('pairs', (f) => [f.bytes('key').slice(), f.bytes('value').slice()] as const),
      resumeAt: fields.optional((f) => f.bytes('resume at'))?.slice(),
      facts: fields.bytes('facts').slice(),
      layout: fields.bytes('layout').slice(),
    }
  },
}

export const ruleOutRequest = {
  encode: ({ rangeId, generation, rightRangeId }: RuleOutRequest): Uint8Array =>
    encodePlain([version, rangeId, generation, rightRangeId]),
  decode: (bytes: Uint8Array): RuleOutRequest => {
    const fields = open(bytes, 'a request to rule a merge out')
    return {
      rangeId: fields.uint('range id'),
      generation: fields.uint('generation'),
      rightRangeId: fields.uint('right range id'),
    }
  },
}
