import {
  close,
  constants,
  fdatasync,
  fsync,
  mkdir,
  open,
  read,
  readdir,
  rename,
  stat,
  unlink,
  write,
} from 'node:fs'
import { platform } from 'node:process'
import { promisify } from 'node:util'
import type { FileStatus, FileSystem, OpenFile } from '../interfaces/file-system.ts'
import { lockDirectory } from './directory-lock.ts'
import { ioError } from './file-system.ts'

const openFile = promisify(open)
const closeFile = promisify(close)
const syncAll = promisify(fsync)

/** The file system of the machine. */
export const nodeFileSystem: FileSystem = Object.freeze({
  async status(path: string): Promise<FileStatus | undefined> {
    try {
      const found = await promisify(stat)(path)
      return {
        kind: found.isFile() ? 'file' : found.isDirectory() ? 'directory' : 'other',
        mode: found.mode & 0o7777,
        size: found.size,
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw ioError(error, `looking at ${path}`)
    }
  },

  async makeDirectory(path: string, mode: number): Promise<void> {
    await promisify(mkdir)(path, { mode }).catch((error: unknown) => {
      throw ioError(error, `making the directory ${path}`)
    })
  },

  async list(path: string): Promise<string[]> {
    return promisify(readdir)(path).catch((error: unknown) => {
      throw ioError(error, `listing ${path}`)
    })
  },

  async open(path: string, how: 'existing' | 'new'): Promise<OpenFile> {
    const flags = how === 'new' ? constants.O_CREAT | constants.O_EXCL : 0
    try {
      return new NodeFile(path, await openFile(path, constants.O_RDWR | flags, 0o600))
    } catch (error) {
      throw ioError(error, `opening ${path}`)
    }
  },

  async rename(from: string, to: string): Promise<void> {
    await promisify(rename)(from, to).catch((error: unknown) => {
      throw ioError(error, `renaming ${from} to ${to}`)
    })
  },

  async remove(path: string): Promise<void> {
    await promisify(unlink)(path).catch((error: unknown) => {
      throw ioError(error, `removing ${path}`)
    })
  },

  async syncDirectory(path: string): Promise<void> {
    try {
      const directory = await openFile(path, constants.O_RDONLY | constants.O_DIRECTORY)
      try {
        await syncAll(directory)
      } finally {
        await closeFile(directory)
      }
    } catch (error) {
      throw ioError(error, `syncing the directory ${path}`)
    }
  },

  lock: lockDirectory,
})

/**
 * Opens the file of a descriptor once more, with `O_DSYNC`: by the descriptor, as the file may have another name by now.
 * Linux alone has `/proc`, and elsewhere a sync may go further than `O_DSYNC` does: macOS empties the cache of the drive.
 */
async function openDurable(descriptor: number): Promise<number | undefined> {
  if (platform !== 'linux') return undefined
  try {
    return await openFile(`/proc/self/fd/${descriptor}`, constants.O_RDWR | constants.O_DSYNC)
  } catch {
    return undefined
  }
}

class NodeFile implements OpenFile {
  readonly #path: string
  readonly #descriptor: number
  /** Of the same file, for writes that return when they are durable; undefined where there is no such thing. */
  #durableDescriptor: Promise<number | undefined> | undefined
  #closed = false

  constructor(path: string, descriptor: number) {
    this.#path = path
    this.#descriptor = descriptor
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    let done = 0
    while (done < into.length) {
      const count = await this.#call<number>('reading', (callback) =>
        read(this.#descriptor, into, done, into.length - done, position + done, callback),
      )
      if (count === 0) break
      done += count
    }
    return done
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    await this.#write(this.#descriptor, bytes, position)
  }

  /** One trip to the thread pool instead of two. */
  async writeThrough(bytes: Uint8Array, position: number): Promise<void> {
    this.#durableDescriptor ??= openDurable(this.#descriptor)
    const descriptor = await this.#durableDescriptor
    await this.#write(descriptor ?? this.#descriptor, bytes, position)
    if (descriptor === undefined) await this.sync()
  }

  async #write(descriptor: number, bytes: Uint8Array, position: number): Promise<void> {
    let done = 0
    // The system may take a part and leave the reason for the next call to tell.
    while (done < bytes.length) {
      done += await this.#call<number>('writing', (callback) =>
        write(descriptor, bytes, done, bytes.length - done, position + done, callback),
      )
    }
  }

  async sync(): Promise<void> {
    await this.#call<void>('syncing', (callback) => fdatasync(this.#descriptor, callback))
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    const durable = await this.#durableDescriptor
    try {
      if (durable !== undefined) await closeFile(durable)
    } finally {
      await closeFile(this.#descriptor).catch((error: unknown) => {
        throw ioError(error, `closing ${this.#path}`)
      })
    }
  }

  #call<T>(
    doing: string,
    start: (callback: (error: NodeJS.ErrnoException | null, result?: T) => void) => void,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      start((error, result) => {
        if (error === null) resolve(result as T)
        else reject(ioError(error, `${doing} ${this.#path}`))
      })
    })
  }
}
