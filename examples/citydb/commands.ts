import { decodePlain, type ErrorCode, encodePlain, Fields, KeelsonError, type Plain } from 'keelson'
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
    }
  | {
      readonly type: 'backfill'
      readonly tableId: number
      readonly index: IndexPlan
      readonly resumeAt: Uint8Array | undefined
      readonly maximumRows: number
      readonly epoch: number
    }
  | {
      readonly type: 'purge'
      readonly tableId: number
      readonly indexId: number
      readonly maximumRows: number
      readonly epoch: number
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
      return encodePlain([version, 2, command.tableId, command.minimumVersion, command.epoch])
    case 'backfill':
      return encodePlain([
        version,
        3,
        command.tableId,
        encodeIndex(command.index),
        command.resumeAt ?? null,
        command.maximumRows,
        command.epoch,
      ])
    case 'purge':
      return encodePlain([version, 4, command.tableId, command.indexId, command.maximumRows, command.epoch])
  }
}

/** @throws KeelsonError `MALFORMED` */
export function decodeCommand(bytes: Uint8Array): RangeCommand {
  const fields = new Fields(decodePlain(bytes, 'a range command'), 'a range command')
  fields.oneOf('version', [version])
  switch (fields.oneOf('type', [0, 1, 2, 3, 4])) {
    case 0:
      return {
        type: 'write',
        tableId: fields.uint('table id'),
        version: fields.uint('schema version'),
        sequence: fields.uint('sequence'),
        indexes: fields.list('indexes', decodeIndex),
        writes: fields.list('writes', (f): RowWrite => {
          const type = f.oneOf('type', [0, 1])
          const key = f.bytes('key')
          const row = decodeRow(f.bytes('row'))
          return type === 0 ? { type: 'upsert', key, columns: row } : { type: 'replace', key, row }
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
      }
    case 3:
      return {
        type: 'backfill',
        tableId: fields.uint('table id'),
        index: decodeIndex(fields.nested('index')),
        resumeAt: fields.optional((f) => f.bytes('resume at')),
        maximumRows: fields.uint('maximum rows'),
        epoch: fields.uint('epoch'),
      }
    case 4:
      return {
        type: 'purge',
        tableId: fields.uint('table id'),
        indexId: fields.uint('index id'),
        maximumRows: fields.uint('maximum rows'),
        epoch: fields.uint('epoch'),
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
