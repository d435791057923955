/**
 * Storage in memory: a log store, an abstract-level database and a file system, on simulated disks that lose what was
 * not synced.
 *
 * @module
 */
export { MemoryDisk, type MemoryDiskOptions, memoryDiskDefaults } from './disk.ts'
export { type FileOperation, MemoryFileSystem, type MemoryFileSystemOptions } from './file-system.ts'
export { MemoryLevel, type MemoryLevelOptions, memoryLevel } from './level.ts'
export { type MemoryLogOptions, memoryLog, memoryLogDefaults } from './log.ts'
