import {
  decodePlain,
  type ErrorCode,
  encodePlain,
  Fields,
  KeelsonError,
  type Plain,
  type RangeBounds,
} from 'keelson'
import { readBounds } from './range-layout.ts'
import { decodeRow, encodeRow, type IndexPlan, type Row } from './schema.ts'

/** One change of one row. */
export type RowWrite =
  /** Sets some columns and leaves the others; evaluated where it is applied. */
  | { readonly type: 'upsert'; readonly key: Uint8Array; readonly columns: Row }
  /** The whole row as the lease holder evaluated it; right only while that holder's sequence stands. */
  | { readonly type: 'replace'; readonly key: Uint8Array; readonly row: Row }

/** A command in a range's log. */
export type RangeCommand =
  | {
      readonly type: 'write'
      readonly tableId: number
      /** Schema version under which the indexes were planned. */
      readonly version: number
      /** Lease sequence under which whole rows were evaluated; 0 where nothing was. */
      readonly sequence: number
      readonly indexes: readonly IndexPlan[]
      readonly writes: readonly RowWrite[]
    }
  /** Bookkeeping of a lease holder: how many writes the range has taken, as an absolute figure. */
  | { readonly type: 'ledger'; readonly sequence: number; readonly writes: number }
  | {
      readonly type: 'barrier'
      readonly tableId: number
      readonly minimumVersion: number
      readonly epoch: number
      /** Where the range must lie for the work to count; as in the other schema work. */
      readonly within?: RangeBounds
    }
  | {
      readonly type: 'backfill'
      readonly tableId: number
      readonly index: IndexPlan
      readonly resumeAt: Uint8Array | undefined
      readonly maximumRows: number
      readonly epoch: number
      readonly within?: RangeBounds
    }
  | {
      readonly type: 'purge'
      readonly tableId: number
      readonly indexId: number
      readonly maximumRows: number
      readonly epoch: number
      readonly within?: RangeBounds
    }
  | BoundsCommand
  /** The first command of a new range: where it lies. Later ones have no effect. */
  | { readonly type: 'begin'; readonly bounds: RangeBounds }
  /** A part of a frozen neighbour, put aside until it is merged. */
  | {
      readonly type: 'absorb'
      readonly rightRangeId: number
      readonly rightGeneration: number
      /** Which attempt at the merge it belongs to. */
      readonly attempt: number
      /** The first of its attempt: whatever earlier ones have put aside goes. */
      readonly first: boolean
      readonly pairs: readonly (readonly [key: Uint8Array, value: Uint8Array])[]
    }

/** A change of where a range lies, meant for one generation of it. */
export type BoundsCommand = { readonly generation: number } & (
  | { readonly type: 'split'; readonly key: Uint8Array; readonly rightRangeId: number }
  | { readonly type: 'freeze'; readonly into: number; readonly intoGeneration: number }
  | { readonly type: 'thaw' }
  | { readonly type: 'touch' }
  | {
      readonly type: 'merge'
      readonly rightRangeId: number
      readonly rightGeneration: number
      readonly attempt: number
      /** Pairs that must have been put aside by this attempt. */
      readonly pairs: number
      /** What the neighbour knew of itself when it was frozen. */
      readonly facts: Uint8Array
      readonly layout: Uint8Array
    }
)

/** By their numbers in the encoding. */
const boundsTypes = ['split', 'freeze', 'thaw', 'touch', 'merge'] as const
const firstBoundsType = 7

/** Whether a command changes where its range lies. Read from the head alone, as every command is asked. */
export function changesBounds(bytes: Uint8Array): boolean {
  // An array of at most 15 fields, the version, the type.
  return (
    ((bytes[0] ?? 0) & 0xf0) === 0x90 &&
    bytes[1] === version &&
    (bytes[2] ?? 0) >= firstBoundsType &&
    (bytes[2] ?? 0) < firstBoundsType + boundsTypes.length
  )
}

const version = 1
const indexStates = ['deleteOnly', 'writeOnly', 'public'] as const

function encodeIndex(plan: IndexPlan): Plain {
  return [plan.indexId, [...plan.columns], indexStates.indexOf(plan.state)]
}

function decodeIndex(fields: Fields): IndexPlan {
  return {
    indexId: fields.uint('index id'),
    columns: fields.scalars('columns', (f) => f.string('column')),
    state: indexStates[fields.oneOf('state', [0, 1, 2])],
  }
}

export function encodeCommand(command: RangeCommand): Uint8Array {
  switch (command.type) {
    case 'write': {
      const writes = command.writes.map((write) =>
        write.type === 'upsert'
          ? [0, write.key, encodeRow(write.columns)]
          : [1, write.key, encodeRow(write.row)],
      )
      return encodePlain([
        version,
        0,
        command.tableId,
        command.version,
        command.sequence,
        command.indexes.map(encodeIndex),
        writes,
      ])
    }
    case 'ledger':
      return encodePlain([version, 1, command.sequence, command.writes])
    case 'barrier':
      return encodePlain([
        version,
        2,
        command.tableId,
        command.minimumVersion,
        command.epoch,
        plainBounds(command.within),
      ])
    case 'backfill':
      return encodePlain([
        version,
        3,
        command.tableId,
        encodeIndex(command.index),
        command.resumeAt ?? null,
        command.maximumRows,
        command.epoch,
        plainBounds(command.within),
      ])
    case 'purge':
      return encodePlain([
        version,
        4,
        command.tableId,
        command.indexId,
        command.maximumRows,
        command.epoch,
        plainBounds(command.within),
      ])
    case 'begin':
      return encodePlain([version, 5, plainBounds(command.bounds)])
    case 'absorb':
      return encodePlain([
        version,
        6,
        command.rightRangeId,
        command.rightGeneration,
        command.attempt,
        command.first,
        command.pairs.map(([key, value]) => [key, value]),
      ])
    case 'split':
    case 'freeze':
    case 'thaw':
    case 'touch':
    case 'merge':
      return encodePlain([
        version,
        firstBoundsType + boundsTypes.indexOf(command.type),
        command.generation,
        ...plainChange(command),
      ])
  }
}

function plainBounds(bounds: RangeBounds | undefined): Plain {
  return bounds === undefined ? null : [bounds.start, bounds.end ?? null]
}

function plainChange(command: BoundsCommand): Plain[] {
  switch (command.type) {
    case 'split':
      return [command.key, command.rightRangeId]
    case 'freeze':
      return [command.into, command.intoGeneration]
    case 'merge': {
      const { rightRangeId, rightGeneration, attempt, pairs, facts, layout } = command
      return [rightRangeId, rightGeneration, attempt, pairs, facts, layout]
    }
    default:
      return []
  }
}

function readChange(type: BoundsCommand['type'], fields: Fields): BoundsCommand {
  const generation = fields.uint('generation')
  switch (type) {
    case 'split':
      return { type, generation, key: fields.bytes('key').slice(), rightRangeId: fields.uint('range id') }
    case 'freeze':
      return { type, generation, into: fields.uint('into'), intoGeneration: fields.uint('into generation') }
    case 'merge':
      return {
        type,
        generation,
        rightRangeId: fields.uint('range id'),
        rightGeneration: fields.uint('right generation'),
        attempt: fields.uint('attempt'),
        pairs: fields.uint('pairs'),
        facts: fields.bytes('facts').slice(),
        layout: fields.bytes('layout').slice(),
      }
    default:
      return { type, generation }
  }
}

function readWithin(fields: Fields): { readonly within?: RangeBounds } {
  const within = fields.more ? fields.optional((f) => readBounds(f.nested('within'))) : undefined
  return within === undefined ? {} : { within }
}

/** @throws KeelsonError `MALFORMED` */
export function decodeCommand(bytes: Uint8Array): RangeCommand {
  const fields = new Fields(decodePlain(bytes, 'a range command'), 'a range command')
  fields.oneOf('version', [version])
  const type = fields.oneOf('type', [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
  const change = boundsTypes[type - firstBoundsType]
  if (change !== undefined) return readChange(change, fields)
  switch (type) {
    case 0:
      return {
        type: 'write',
        tableId: fields.uint('table id'),
        version: fields.uint('schema version'),
        sequence: fields.uint('sequence'),
        indexes: fields.list('indexes', decodeIndex),
        writes: fields.list('writes', (f): RowWrite => {
          const kind = f.oneOf('type', [0, 1])
          const key = f.bytes('key')
          const row = decodeRow(f.bytes('row'))
          return kind === 0 ? { type: 'upsert', key, columns: row } : { type: 'replace', key, row }
        }),
      }
    case 1:
      return { type: 'ledger', sequence: fields.uint('sequence'), writes: fields.uint('writes') }
    case 2:
      return {
        type: 'barrier',
        tableId: fields.uint('table id'),
        minimumVersion: fields.uint('minimum version'),
        epoch: fields.uint('epoch'),
        ...readWithin(fields),
      }
    case 3:
      return {
        type: 'backfill',
        tableId: fields.uint('table id'),
        index: decodeIndex(fields.nested('index')),
        resumeAt: fields.optional((f) => f.bytes('resume at')),
        maximumRows: fields.uint('maximum rows'),
        epoch: fields.uint('epoch'),
        ...readWithin(fields),
      }
    case 4:
      return {
        type: 'purge',
        tableId: fields.uint('table id'),
        indexId: fields.uint('index id'),
        maximumRows: fields.uint('maximum rows'),
        epoch: fields.uint('epoch'),
        ...readWithin(fields),
      }
    case 5:
      return { type: 'begin', bounds: readBounds(fields.nested('bounds')) }
    default:
      return {
        type: 'absorb',
        rightRangeId: fields.uint('range id'),
        rightGeneration: fields.uint('right generation'),
        attempt: fields.uint('attempt'),
        first: fields.boolean('first'),
        pairs: fields.list('pairs', (f) => [f.bytes('key').slice(), f.bytes('value').slice()] as const),
      }
  }
}

/** What applying a command gave: how far it came, or why it was refused. */
export interface CommandResult {
  /** Where a chunked command goes on; undefined when it is done. */
  readonly resumeAt: Uint8Array | undefined
  /** Rows or entries touched. */
  readonly rows: number
}

export function encodeResult(result: CommandResult): Uint8Array {
  return encodePlain([0, result.resumeAt ?? null, result.rows])
}

/** A refusal is a result like any other: every replica comes to the same one. */
export function encodeRefusal(code: ErrorCode, message: string): Uint8Array {
  return encodePlain([1, code, message])
}

/** @throws KeelsonError the refusal that the replicas came to */
export function decodeResult(bytes: Uint8Array): CommandResult {
  const fields = new Fields(decodePlain(bytes, 'a command result'), 'a command result')
  if (fields.oneOf('kind', [0, 1]) === 1) {
    const code = fields.string('code')
    const message = fields.string('message')
    const known = KeelsonError.fromJSON({ code, message, retryable: false, outcome: 'none', details: {} })
    // Under a command number it is kept like any result: only another number can come to another one.
    throw new KeelsonError(known.code, message, { retryable: false })
  }
  return { resumeAt: fields.optional((f) => f.bytes('resume at'))?.slice(), rows: fields.uint('rows') }
}
