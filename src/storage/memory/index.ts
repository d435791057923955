/**
 * Storage in memory: a log store and an abstract-level database, on a simulated disk that loses what was not synced.
 *
 * @module
 */
export { MemoryDisk, type MemoryDiskOptions, memoryDiskDefaults } from './disk.ts'
export { MemoryLevel, type MemoryLevelOptions, memoryLevel } from './level.ts'
export { type MemoryLogOptions, memoryLog } from './log.ts'
