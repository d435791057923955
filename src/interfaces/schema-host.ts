import type { CallOptions } from '../core/async.ts'
import type { RangeId, TableId } from '../model/ids.ts'

/** The states of Google's F1 (VLDB 2013) that an element goes through. */
export type ElementState = 'absent' | 'deleteOnly' | 'writeOnly' | 'public'

/** A column of a table. */
export interface ColumnElement {
  /** Tells a column from an index. */
  readonly type: 'column'
  /** Number of the element within its table, never reused. */
  readonly elementId: number
  /** Name of the column, unique among the table's elements. */
  readonly name: string
  /** Type of its values. */
  readonly valueType: 'string' | 'number' | 'boolean' | 'bytes'
  /** Whether every row must have a value for it. */
  readonly required: boolean
  /** How far nodes may use it (F1, VLDB 2013). */
  readonly state: ElementState
}

/** An index of a table, within each range. */
export interface IndexElement {
  /** Tells an index from a column. */
  readonly type: 'index'
  /** Number of the element within its table, never reused. */
  readonly elementId: number
  /** Name of the index, unique among the table's elements. */
  readonly name: string
  /** Names of the columns whose values make its keys, in their order. */
  readonly columns: readonly string[]
  /** How far nodes may use it (F1, VLDB 2013). */
  readonly state: ElementState
}

/** What a table is made of, and what a schema change moves through its states. */
export type SchemaElement = ColumnElement | IndexElement

/** One version of a table. At any time all nodes use at most two adjacent ones. */
export interface TableDescriptor {
  /** Number of the table, never reused; all its keys begin with it. */
  readonly tableId: TableId
  /** Name of the table, unique in the cluster. */
  readonly name: string
  /** Grows by one with each change that is published. */
  readonly version: number
  /** Names of the columns whose values tell rows apart, in their order. */
  readonly primaryKey: readonly string[]
  /** Columns and indexes, those that are coming or going included. */
  readonly elements: readonly SchemaElement[]
}

/** A piece of work of a schema job on one range, fenced by its owner's epoch. */
export interface SchemaChunk {
  /** The version under which the work is done. */
  readonly table: TableDescriptor
  /** The element that is filled, validated or purged. */
  readonly elementId: number
  /** The range whose rows are gone through. */
  readonly rangeId: RangeId
  /** Where to go on; undefined at the start of the range. Opaque to the coordinator. */
  readonly resumeAt: Uint8Array | undefined
  /** Most rows to go through in this chunk. */
  readonly maximumRows: number
  /** Epoch of the job's owner. A range refuses lower ones than it has seen (`STALE_EPOCH`). */
  readonly epoch: number
}

/** Result of a chunk. */
export interface SchemaChunkResult {
  /** Where the next chunk starts; undefined when the range is done. */
  readonly resumeAt: Uint8Array | undefined
  /** Rows that this chunk went through. */
  readonly rows: number
}

/** Result of a validation chunk. */
export interface SchemaValidation extends SchemaChunkResult {
  /** Rows without their entry. */
  readonly missing: number
  /** Entries without their row. */
  readonly orphans: number
}

/** What a host program implements so that schema changes can run over its data. Every call goes to the range's holder. */
export interface SchemaHost {
  /**
   * Commits in the range's log that from now on no command planned under an older version than `table.version` is
   * accepted. It is called once every node has adopted the version, so it only stops what a node without a lease still
   * has under way.
   */
  barrier(chunk: SchemaChunk, options: CallOptions): Promise<void>
  /** Writes the element's data for rows that lack it. Idempotent. */
  backfill(chunk: SchemaChunk, options: CallOptions): Promise<SchemaChunkResult>
  /** Compares rows with the element's data, without changing either. */
  validate(chunk: SchemaChunk, options: CallOptions): Promise<SchemaValidation>
  /** Deletes the data of an element that is absent in `table`. Idempotent. */
  purge(chunk: SchemaChunk, options: CallOptions): Promise<SchemaChunkResult>
}
