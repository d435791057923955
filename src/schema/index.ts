/**
 * Online schema changes by the states of Google's F1: a catalog of tables, leases on schema versions, and jobs that
 * move one element at a time through its states.
 *
 * @module
 */
export type {
  ColumnElement,
  ElementState,
  IndexElement,
  SchemaChunk,
  SchemaChunkResult,
  SchemaElement,
  SchemaHost,
  SchemaValidation,
  TableDescriptor,
} from '../interfaces/schema-host.ts'
export { type NewTable, SchemaCatalog, type StoredTable } from './catalog.ts'
export {
  checkSchemaChangeTuning,
  defaultSchemaChangeTuning,
  SchemaChangeJob,
  type SchemaChangePorts,
  type SchemaChangeTuning,
  type SchemaRange,
  schemaChangeForm,
} from './change-job.ts'
export { type ChangePhase, type ChangeState, initialChangeState, type RangeProgress } from './change-state.ts'
export { SchemaFence } from './core/fence.ts'
export { decodeTable, encodeTable, tableFromPlain, tableToPlain } from './core/records.ts'
export type { Spans } from './core/spans.ts'
export {
  areAdjacent,
  checkSchemaChange,
  nextState,
  type SchemaChange,
  stepElement,
} from './core/transitions.ts'
export {
  type HeldSession,
  SchemaLeases,
  type SchemaLeasesEvents,
  type SchemaLeasesOptions,
  type SchemaPin,
} from './leases.ts'
