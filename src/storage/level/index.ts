/**
 * Storage in an ordered database: a log store on any abstract-level, and a classic-level opened with fitting options.
 *
 * @module
 */
export type {
  ByteEncodings,
  ByteLevel,
  LevelBatch,
  LevelDatabase,
  LevelIterator,
  LevelRange,
  LevelReadOptions,
  LevelSnapshot,
} from './database.ts'
export { type FlushableLevel, flushLevel } from './durability.ts'
export {
  LevelState,
  type LevelStateBatch,
  type LevelStatePair,
  type LevelStateRange,
  type LevelStateReader,
} from './level-state.ts'
export { type LevelLogOptions, levelLog, levelLogDefaults } from './log.ts'
export { type OpenLevelOptions, openLevel, openLevelDefaults } from './open.ts'
