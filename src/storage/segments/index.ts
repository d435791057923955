/**
 * Storage in append-only segment files: the log store for a disk.
 *
 * @module
 */
export type { DirectoryLock, FileStatus, FileSystem, OpenFile } from '../file-system.ts'
export { nodeFileSystem } from '../node-file-system.ts'
export { type SegmentsOptions, segments, segmentsDefaults } from './segments.ts'
