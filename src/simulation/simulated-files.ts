import type { FileDevice } from './file-device.ts'

/**
 * The files of a simulated disk, as one life of its process sees them. Once that life has ended, every new call fails
 * with `CLOSED`, and those that wait never come back.
 */
export class SimulatedFiles {
  readonly #device: FileDevice
  readonly #life: number

  /** @internal */
  constructor(device: FileDevice, life: number) {
    this.#device = device
    this.#life = life
  }

  /** Bytes of all files. */
  get usedBytes(): number {
    return this.#open().tree.usedBytes()
  }

  /** True when the file exists. */
  exists(path: string): boolean {
    return this.#open().tree.find(path) !== undefined
  }

  /** Paths that start with `prefix`, sorted. */
  list(prefix = ''): string[] {
    return this.#open().tree.list(prefix)
  }

  /** @throws KeelsonError `NOT_FOUND` */
  size(path: string): number {
    return this.#open().tree.get(path).current.length
  }

  /**
   * Writes into the page cache, creating the file and extending it with zeros as needed.
   *
   * @throws KeelsonError `DISK_FULL`, `IO`
   */
  write(path: string, offset: number, bytes: Uint8Array): void {
    const device = this.#open()
    const file = device.tree.find(path) ?? device.tree.create(path)
    device.write(file, offset, bytes)
  }

  /** Cuts the file off, or extends it with zeros. @throws KeelsonError `NOT_FOUND` */
  truncate(path: string, length: number): void {
    this.#open().tree.get(path).change({ type: 'truncate', length })
  }

  /** Replaces what has the name `to`, if anything. @throws KeelsonError `NOT_FOUND` */
  rename(from: string, to: string): void {
    this.#open().tree.rename(from, to)
  }

  /** @throws KeelsonError `NOT_FOUND` */
  remove(path: string): void {
    this.#open().tree.remove(path)
  }

  /** Reads a copy: as many of `length` bytes as there are. @throws KeelsonError `NOT_FOUND`, `IO` */
  async read(path: string, offset: number, length: number): Promise<Uint8Array> {
    await this.#open().performed('read')
    return this.#open()
      .tree.get(path)
      .current.slice(offset, offset + length)
  }

  /**
   * Makes the content of a file durable, not its name. After a failure the content stays visible until the next power
   * cut, but no later sync makes it durable, as with the page cache of Linux.
   *
   * @throws KeelsonError `NOT_FOUND`, `IO`
   */
  async sync(path: string): Promise<void> {
    const device = this.#open()
    return device.sync(device.tree.get(path))
  }

  /** Makes the names in a directory (what stands before the last slash of a path) durable. @throws KeelsonError `IO` */
  async syncDirectory(directory: string): Promise<void> {
    return this.#open().syncDirectory(directory)
  }

  #open(): FileDevice {
    this.#device.check(this.#life)
    return this.#device
  }
}
