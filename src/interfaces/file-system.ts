import type { Environment } from '../core/environment.ts'

/** What is known of a path without opening it. */
export interface FileStatus {
  /** What the path leads to. */
  readonly kind: 'file' | 'directory' | 'other'
  /** Permission bits. */
  readonly mode: number
  /** Length of a file, in bytes. */
  readonly size: number
}

/** An open file, read and written at positions. */
export interface OpenFile {
  /** Reads from `position` on; returns how many bytes came: fewer than asked for only at the end of the file. */
  read(into: Uint8Array, position: number): Promise<number>
  /** Writes all of `bytes`. They are durable only after {@link OpenFile.sync}. */
  write(bytes: Uint8Array, position: number): Promise<void>
  /** Makes what was written durable (`fdatasync`). After a failure nothing is known of what was written. */
  sync(): Promise<void>
  /**
   * Writes all of `bytes` and makes them, but nothing else, durable: one call of the system where there is one for it. After
   * a failure nothing is known of them. Where it is absent, a write and a sync do the same.
   */
  writeThrough?(bytes: Uint8Array, position: number): Promise<void>
  /** Idempotent. */
  close(): Promise<void>
}

/** A hold of a directory. */
export interface DirectoryLock {
  /** Idempotent. */
  release(): Promise<void>
}

/**
 * What the stores need of a file system. Creation, renaming and removal are durable only after
 * {@link FileSystem.syncDirectory} of the folder.
 *
 * Every method throws KeelsonError `IO`, or `DISK_FULL` when there is no room.
 */
export interface FileSystem {
  /** Undefined when nothing is there. */
  status(path: string): Promise<FileStatus | undefined>
  /** Makes one directory with these permissions; its parent must exist. */
  makeDirectory(path: string, mode: number): Promise<void>
  /** Names in a directory, in no order. */
  list(path: string): Promise<string[]>
  /** Opens an existing file for reading and writing, or makes a new one that must not exist, for its owner alone. */
  open(path: string, how: 'existing' | 'new'): Promise<OpenFile>
  /** Gives a file another name, in place of one that has it already. */
  rename(from: string, to: string): Promise<void>
  /** Removes a file. */
  remove(path: string): Promise<void>
  /** Makes creations, renamings and removals in a directory durable. */
  syncDirectory(path: string): Promise<void>
  /**
   * Takes a directory for this opener alone, until it lets go or its process is gone, however it ended.
   *
   * @throws KeelsonError `DIRECTORY_LOCKED` while another one, in this process or elsewhere, holds it
   */
  lock(directory: string, env: Environment): Promise<DirectoryLock>
}
