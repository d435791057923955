import { KeelsonError } from '../core/errors.ts'
import type { DirectoryLock, FileStatus, FileSystem, OpenFile } from '../interfaces/file-system.ts'
import { directoryOf, type FileImage } from './disk-files.ts'
import type { FileDevice } from './file-device.ts'

/**
 * The files of a simulated disk behind the port that stores of files are written against, for one life of its process:
 * calls of a life that has ended never come back.
 */
export class SimulatedFileSystem implements FileSystem {
  readonly #device: FileDevice
  readonly #life: number

  /** @internal */
  constructor(device: FileDevice, life: number) {
    this.#device = device
    this.#life = life
  }

  async status(path: string): Promise<FileStatus | undefined> {
    const { directories, tree } = await this.#alive()
    if (directories.has(path)) return { kind: 'directory', mode: 0o700, size: 0 }
    const file = tree.find(path)
    return file === undefined ? undefined : { kind: 'file', mode: 0o600, size: file.current.length }
  }

  async makeDirectory(path: string): Promise<void> {
    const { directories } = await this.#alive()
    if (!directories.has(directoryOf(path))) throw missing(directoryOf(path))
    if (directories.has(path)) throw new KeelsonError('IO', `${path} exists already`)
    // That a power cut takes a directory itself is left out: it would be empty.
    directories.add(path)
  }

  async list(path: string): Promise<string[]> {
    const { directories, tree } = await this.#alive()
    if (!directories.has(path)) throw missing(path)
    const prefix = path === '' ? '' : `${path}/`
    const names = tree.list(prefix).map((file) => file.slice(prefix.length))
    return names.filter((name) => !name.includes('/'))
  }

  async open(path: string, how: 'existing' | 'new'): Promise<OpenFile> {
    const { directories, tree } = await this.#alive()
    if (!directories.has(directoryOf(path))) throw missing(directoryOf(path))
    const known = tree.find(path)
    if (how === 'existing' && known === undefined) throw missing(path)
    if (how === 'new' && known !== undefined) throw new KeelsonError('IO', `${path} exists already`)
    return this.#handle(path, known ?? tree.create(path))
  }

  async rename(from: string, to: string): Promise<void> {
    const { tree } = await this.#alive()
    if (tree.find(from) === undefined) throw missing(from)
    tree.rename(from, to)
  }

  async remove(path: string): Promise<void> {
    const { tree } = await this.#alive()
    if (tree.find(path) === undefined) throw missing(path)
    tree.remove(path)
  }

  async syncDirectory(path: string): Promise<void> {
    const device = await this.#alive()
    await device.syncDirectory(path)
  }

  async lock(directory: string): Promise<DirectoryLock> {
    const { locks } = await this.#alive()
    if (locks.has(directory)) {
      throw new KeelsonError(
        'DIRECTORY_LOCKED',
        `${directory} is in use by another opener; close that one first`,
      )
    }
    locks.add(directory)
    return {
      release: async () => {
        await this.#alive()
        locks.delete(directory)
      },
    }
  }

  #handle(path: string, file: FileImage): OpenFile {
    let closed = false
    const use = async (): Promise<FileDevice> => {
      if (closed) throw new KeelsonError('IO', `${path} is closed`)
      return this.#alive()
    }
    return {
      read: async (into, position) => {
        const device = await use()
        await device.performed('read')
        const found = file.current.subarray(position, position + into.length)
        into.set(found)
        return found.length
      },
      write: async (bytes, position) => (await use()).write(file, position, bytes),
      sync: async () => (await use()).sync(file),
      close: async () => {
        closed = true
      },
    }
  }

  /** The device, while the process lives that mounted it. */
  #alive(): FileDevice | Promise<FileDevice> {
    try {
      this.#device.check(this.#life)
      return this.#device
    } catch {
      return new Promise(() => {})
    }
  }
}

function missing(path: string): KeelsonError {
  return new KeelsonError('IO', `${path} does not exist`)
}
