import { copyBytes } from '../core/bytes.ts'
import { KeelsonError } from '../core/errors.ts'
import type { FileTree } from './disk-files.ts'
import type { FaultCounts } from './fault-counts.ts'
import type { SimulatedProcess } from './process.ts'

/** What a mounted file system needs of its disk. */
export interface FilesDevice {
  /** The process whose disk it is. */
  readonly process: SimulatedProcess
  /** What of the disk's quality concerns files. */
  readonly quality: {
    /** Bytes after which a write fails with `DISK_FULL`. */
    readonly capacityBytes: number
  }
  /** Does a sync or a read on the device, with its delay, and fails when the disk's quality says so. */
  perform(operation: 'sync' | 'read', done: (error: KeelsonError | undefined) => void): void
}

/**
 * The files of a simulated disk, as one life of its process sees them. Once that life has ended, every new call fails
 * with `CLOSED`, and those that wait never come back.
 */
export class SimulatedFiles {
  readonly #disk: FilesDevice
  readonly #shared: FileTree
  readonly #counts: FaultCounts
  readonly #life: number

  /** @internal */
  constructor(disk: FilesDevice, files: FileTree, counts: FaultCounts) {
    this.#disk = disk
    this.#shared = files
    this.#counts = counts
    this.#life = disk.process.life
  }

  /** Bytes of all files. */
  get usedBytes(): number {
    return this.#tree().usedBytes()
  }

  /** True when the file exists. */
  exists(path: string): boolean {
    return this.#tree().find(path) !== undefined
  }

  /** Paths that start with `prefix`, sorted. */
  list(prefix = ''): string[] {
    return this.#tree().list(prefix)
  }

  /** @throws KeelsonError `NOT_FOUND` */
  size(path: string): number {
    return this.#tree().get(path).current.length
  }

  /**
   * Writes into the page cache, creating the file and extending it with zeros as needed.
   *
   * @throws KeelsonError `DISK_FULL`
   */
  write(path: string, offset: number, bytes: Uint8Array): void {
    const growth = offset + bytes.length - (this.#tree().find(path)?.current.length ?? 0)
    if (growth > 0 && this.usedBytes + growth > this.#disk.quality.capacityBytes) {
      this.#counts.add('disk full')
      throw new KeelsonError('DISK_FULL', 'the simulated disk is full; give it more bytes')
    }
    this.#tree().write(path, offset, copyBytes(bytes))
  }

  /** Cuts the file off, or extends it with zeros. @throws KeelsonError `NOT_FOUND` */
  truncate(path: string, length: number): void {
    this.#tree().truncate(path, length)
  }

  /** Replaces what has the name `to`, if anything. @throws KeelsonError `NOT_FOUND` */
  rename(from: string, to: string): void {
    this.#tree().rename(from, to)
  }

  /** @throws KeelsonError `NOT_FOUND` */
  remove(path: string): void {
    this.#tree().remove(path)
  }

  /** Reads a copy: as many of `length` bytes as there are. @throws KeelsonError `NOT_FOUND`, `IO` */
  async read(path: string, offset: number, length: number): Promise<Uint8Array> {
    await this.#performed('read')
    return this.#tree()
      .get(path)
      .current.slice(offset, offset + length)
  }

  /**
   * Makes the content of a file durable, not its name. After a failure the content stays visible until the next power
   * cut, but no later sync makes it durable, as with the page cache of Linux.
   *
   * @throws KeelsonError `NOT_FOUND`, `IO`
   */
  async sync(path: string): Promise<void> {
    const file = this.#tree().get(path)
    const upTo = file.pending.length
    const taken = file.pending.slice(0, upTo)
    try {
      await this.#performed('sync')
    } catch (error) {
      file.forget(taken)
      throw error
    }
    file.settle(taken)
  }

  /** Makes the names in a directory (what stands before the last slash of a path) durable. @throws KeelsonError `IO` */
  async syncDirectory(directory: string): Promise<void> {
    const taken = this.#tree().pendingNames(directory)
    await this.#performed('sync')
    this.#tree().settleNames(taken)
  }

  async #performed(operation: 'sync' | 'read'): Promise<void> {
    this.#tree()
    return new Promise((resolve, reject) => {
      this.#disk.perform(operation, (error) => (error === undefined ? resolve() : reject(error)))
    })
  }

  #tree(): FileTree {
    if (this.#disk.process.life !== this.#life) {
      throw new KeelsonError(
        'CLOSED',
        `the life of ${this.#disk.process.name} that mounted these files has ended`,
      )
    }
    return this.#shared
  }
}
