import type { CallOptions } from '../core/async.ts'
import type { RangeId, TableId } from '../model/ids.ts'
import type { RangeBounds } from './range-host.ts'

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
  /**
   * Where the range lies by the directory. A host whose ranges split and merge checks it where the work is done, in the order of
   * the log: a range that lies elsewhere refuses with `STALE_GENERATION`, retryable, and nothing done, or a part of the table
   * would be taken for done that is not.
   */
  readonly bounds?: RangeBounds
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

/**
 * What a host program implements so that schema changes can run over its data. Every call goes to the range's holder. What it
 * refuses with an error that is `retryable`, or with `CLOSED` because the replica went away meanwhile, is done again where the
 * range is then; any other error ends the change.
 *
 * A pin says under which version work is planned, not that its effect is still welcome. The coordinator waits for every
 * node that holds its epoch; of one that lags and has lost it, it revokes the schema lease in the store. That node may
 * hear of nothing, and goes on counting on the TTL of its lease: it pins, writes and reads under its old version for
 * minutes. So the host compares versions in the ranges, by three rules (`SchemaFence` of `keelson/schema` is the
 * comparison):
 *
 * 1. **Effects, where they are applied.** Every command carries the version of its pin. The state machine compares it, in
 *    the order of the log, with the highest version that a barrier has brought before it, and refuses an older one with
 *    `STALE_SCHEMA` and no effect. A look before the command is proposed proves nothing: the barrier may come in between.
 * 2. **Reads, against the state that was read.** Whoever reads by an index compares the version of its pin with the
 *    minimum in the same state (one view of it, or the minimum as it is *after* the last row was read), and throws
 *    `STALE_SCHEMA`. An older view is no danger, as its minimum is as old as its entries.
 * 3. **The minimum belongs to the rows**: durable with them, in snapshots, and in whatever a range is split or merged into,
 *    where the highest counts. A range that begins empty in a table that exists already begins with its version then.
 *
 * What that guarantees: version *v* + 1 is published only after the barrier of *v* is committed in every range of the table.
 * So all effects that a range accepts, and all index reads that succeed, are at any time of two adjacent versions, which
 * F1 has proven safe, however late a node that was given up wakes. Without rule 1 its writes lack the entries of a new
 * index, or leave some of a dropped one; without rule 2 it reads an index that nobody maintains any more.
 */
export interface SchemaHost {
  /**
   * Commits in the range's log that from now on no command planned under an older version than `table.version` is
   * accepted. It is called once no node holds a lease on an older version, so it only stops what a node without a lease
   * still has under way. Idempotent.
   */
  barrier(chunk: SchemaChunk, options: CallOptions): Promise<void>
  /** Writes the element's data for rows that lack it. Idempotent. */
  backfill(chunk: SchemaChunk, options: CallOptions): Promise<SchemaChunkResult>
  /** Compares rows with the element's data, without changing either. */
  validate(chunk: SchemaChunk, options: CallOptions): Promise<SchemaValidation>
  /** Deletes the data of an element that is absent in `table`. Idempotent. */
  purge(chunk: SchemaChunk, options: CallOptions): Promise<SchemaChunkResult>
}
