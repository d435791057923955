/**
 * The metadata store: a replicated, watchable multi-version key-value store with sessions, and the range directory.
 *
 * @module
 */
export type {
  ChangeEvent,
  Compare,
  KeySelector,
  KeyValue,
  MetadataStore,
  Operation,
  OperationResult,
  RangeResult,
  ReadOptions,
  Revision,
  SessionId,
  SessionStatus,
  Transaction,
  TransactionResult,
  WatchOptions,
  WatchResponse,
} from '../interfaces/metadata-store.ts'
export * from './backup.ts'
export * from './client.ts'
export * from './directory.ts'
export * from './directory-cache.ts'
export {
  decodeRangeDescriptor,
  decodeWantedRange,
  encodeRangeDescriptor,
  encodeWantedRange,
} from './directory-codec.ts'
export * from './epoch.ts'
export * from './follow.ts'
export type { PendingImport } from './import-mark.ts'
export * from './keys.ts'
export * from './lost-numbers.ts'
export * from './memory-store.ts'
export { everything, prefixSelector, selects } from './mvcc/key-range.ts'
export type { ByteEncodings, KeyBounds, StateBatch, StateDatabase, StateIterator } from './mvcc/layout.ts'
export { commandLimits } from './mvcc/limits.ts'
export type { SessionRecord } from './mvcc/session-record.ts'
export { MetadataStateMachine, type MetadataStateMachineOptions } from './mvcc/state-machine.ts'
export type { MvccReader, PageLimits, StateNumbers, VersionPage } from './mvcc/state-types.ts'
export type { Version } from './mvcc/version.ts'
export {
  abandonImport,
  followPendingImport,
  pendingImport,
} from './pending-import.ts'
export * from './server.ts'
export type { HolderStatus } from './sessions/core/holder.ts'
export { defaultClockDriftBound, sessionTtlBounds } from './sessions/limits.ts'
export * from './sessions/session-holder.ts'
