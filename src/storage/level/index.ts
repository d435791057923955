/**
 * Storage in an ordered database: a log store on any abstract-level, and a classic-level opened with fitting options.
 *
 * @module
 */
export {
  type ByteLevel,
  LevelState,
  type LevelStatePair,
  type LevelStateRange,
  type LevelStateReader,
} from './level-state.ts'
export { type LevelLogOptions, levelLog, levelLogDefaults } from './log.ts'
export {
  type ByteEncodings,
  type LevelBatch,
  type LevelDatabase,
  type LevelIterator,
  type LevelRange,
  type OpenLevelOptions,
  openLevel,
  openLevelDefaults,
} from './open.ts'
