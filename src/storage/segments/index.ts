/**
 * Storage in append-only segment files: the log store for a disk. All groups of a node share one file at a time, so
 * that what they write together costs one sync.
 *
 * @module
 */
export type { DirectoryLock, FileStatus, FileSystem, OpenFile } from '../../interfaces/file-system.ts'
export { nodeFileSystem } from '../node-file-system.ts'
export { type SegmentsOptions, segments, segmentsDefaults } from './segments.ts'
