import { Fields, type Plain } from '../core/codec.ts'
import type { ElementState } from '../interfaces/schema-host.ts'
import { checkId, type RangeId, type TableId } from '../model/ids.ts'
import type { Spans } from './core/spans.ts'
import { checkSchemaChange, type SchemaChange } from './core/transitions.ts'

/**
 * What a schema change does next:
 *
 * - `plan`: nothing has happened yet.
 * - `publish`: move the element one state on, as a new version.
 * - `adopt`: wait until nobody uses an older version.
 * - `barrier`: have every range refuse commands planned under an older version.
 * - `backfill`: fill the element in for the rows that were there before it.
 * - `validate`: compare the whole element with the rows.
 * - `purge`: delete the data of an element that is absent.
 * - `remove`: take an element that is absent out of the descriptor.
 * - `done`: the element is where it was to go; nothing follows.
 */
export type ChangePhase =
  | 'plan'
  | 'publish'
  | 'adopt'
  | 'barrier'
  | 'backfill'
  | 'validate'
  | 'purge'
  | 'remove'
  | 'done'

const phases = [
  'plan',
  'publish',
  'adopt',
  'barrier',
  'backfill',
  'validate',
  'purge',
  'remove',
  'done',
] as const

/** How far the present phase has come over the ranges of the table. */
export interface RangeProgress {
  /** What is through with the phase: parts of the key space and not ranges, since ranges are split and merged meanwhile. */
  readonly done: Spans
  /** Ranges that are begun, with where they go on. */
  readonly cursors: ReadonlyMap<RangeId, Uint8Array>
  /** Rows done in this phase. */
  readonly rows: number
}

export const noProgress: RangeProgress = Object.freeze({ done: [], cursors: new Map(), rows: 0 })

/** Checkpoint of a schema change. */
export interface ChangeState {
  /** The table that is changed. */
  readonly tableId: TableId
  /** What was asked for. */
  readonly change: SchemaChange
  /** What it does next. */
  readonly phase: ChangePhase
  /** The element that moves; 0 before it is planned. */
  readonly elementId: number
  /** Where the element goes. A cancelled or failed change turns round. */
  readonly target: ElementState
  /** Version that the change published last. */
  readonly version: number
  /** Whether the element's data was deleted, or never was. */
  readonly purged: boolean
  /** How far the phase has come. */
  readonly progress: RangeProgress
}

/** The first had the ids of the ranges that were through: what they covered is not known, and is gone through again. */
const formatVersion = 2
const targets = ['absent', 'public'] as const
const changeTypes = ['addIndex', 'dropIndex', 'addColumn', 'dropColumn'] as const
const valueTypes = ['string', 'number', 'boolean', 'bytes'] as const

/** The state that a new change begins with. @throws KeelsonError `INVALID_ARGUMENT` */
export function initialChangeState(tableId: TableId, change: SchemaChange): ChangeState {
  checkId(tableId, 'a table id')
  checkSchemaChange(change)
  return {
    tableId,
    change,
    phase: 'plan',
    elementId: 0,
    target: change.type === 'addIndex' || change.type === 'addColumn' ? 'public' : 'absent',
    version: 0,
    purged: false,
    progress: noProgress,
  }
}

export function encodeChangeState(state: ChangeState): Plain {
  const { change, progress } = state
  return [
    formatVersion,
    state.tableId,
    changeTypes.indexOf(change.type),
    change.name,
    change.type === 'addIndex' ? [...change.columns] : [],
    change.type === 'addColumn' ? valueTypes.indexOf(change.valueType) : 0,
    phases.indexOf(state.phase),
    state.elementId,
    state.target === 'public' ? 1 : 0,
    state.version,
    state.purged,
    progress.done.map(({ start, end }) => [start, end ?? null]),
    [...progress.cursors].map(([rangeId, cursor]) => [rangeId, cursor]),
    progress.rows,
  ]
}

/** @throws KeelsonError `MALFORMED` */
export function decodeChangeState(value: Plain): ChangeState {
  const fields = new Fields(value, 'the state of a schema change')
  const format = fields.oneOf('format', [1, formatVersion])
  const tableId = fields.uint('table id')
  const type = changeTypes[fields.oneOf('change', [0, 1, 2, 3])]
  const name = fields.string('name')
  const columns = fields.scalars('columns', (f) => f.string('column'))
  const valueType = valueTypes[fields.oneOf('value type', [0, 1, 2, 3])]
  const change: SchemaChange =
    type === 'addIndex'
      ? { type, name, columns }
      : type === 'addColumn'
        ? { type, name, valueType }
        : { type, name }
  return {
    tableId,
    change,
    phase: phases[fields.oneOf('phase', [0, 1, 2, 3, 4, 5, 6, 7, 8])],
    elementId: fields.uint('element id'),
    target: targets[fields.oneOf('target', [0, 1])],
    version: fields.uint('version'),
    purged: fields.boolean('purged'),
    progress: format === formatVersion ? readProgress(fields) : noProgress,
  }
}

function readProgress(fields: Fields): RangeProgress {
  return {
    done: fields.list('done', (f) => ({
      start: f.bytes('start').slice(),
      end: f.optional((g) => g.bytes('end'))?.slice(),
    })),
    cursors: new Map(fields.list('cursors', (f) => [f.uint('range id'), f.bytes('cursor').slice()])),
    rows: fields.uint('rows'),
  }
}
