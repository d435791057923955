import type { Timers } from '../../core/clock.ts'
import type { Environment } from '../../core/environment.ts'
import { KeelsonError } from '../../core/errors.ts'
import { checkOptions, functionOption, objectOption, optional } from '../../core/options.ts'
import type { Random } from '../../core/random.ts'
import type { DirectoryLock, FileStatus, FileSystem, OpenFile } from '../../interfaces/file-system.ts'
import { neverSettles } from './disk.ts'

/** Options of {@link MemoryFileSystem}. */
export interface MemoryFileSystemOptions {
  /** Where a sync waits. Without them a sync is done at the next microtask. */
  readonly timers?: Timers
  /** Milliseconds that one sync takes, asked anew each time. Needs `timers`. Default: 0. */
  readonly syncLatencyMs?: () => number
}

/** What a process does to a file system that can fail. */
export type FileOperation = 'open' | 'read' | 'write' | 'sync' | 'rename' | 'remove' | 'syncDirectory'

/** Smallest piece that a disk writes whole or not at all. */
const sectorBytes = 512

interface Inode {
  bytes: Uint8Array
  length: number
  /** What a crash leaves for sure. */
  durable: Uint8Array
  /** Written and not synced, oldest first. */
  pending: { readonly position: number; readonly bytes: Uint8Array }[]
}

interface Directory {
  readonly mode: number
  entries: Map<string, Inode>
  /** What a crash leaves for sure. */
  durable: Map<string, Inode>
  /** The entries after each change that is not synced, oldest first. */
  pending: Map<string, Inode>[]
}

/**
 * The files of one simulated machine. They outlive the processes that use them, each through a {@link
 * MemoryFileSystem.mount} of its own, and forget in a crash what a real file system may forget: written
 * bytes without a sync, sector by sector and in any order; created, renamed and removed names without a sync of their
 * directory. No native I/O is used, so that a store of files runs in virtual time.
 *
 * A failed sync loses what it should have made durable, although it can still be read: as the page cache does.
 */
export class MemoryFileSystem {
  /**
   * Asked before each operation; an error that it returns is thrown. A write that fails has written its first half.
   */
  fault: ((operation: FileOperation, path: string) => KeelsonError | undefined) | undefined = undefined
  readonly #options: MemoryFileSystemOptions
  readonly #directories = new Map<string, Directory>()
  readonly #locks = new Set<string>()
  /** Grows with each crash: what was opened before is dead. */
  #life = 1

  /** @throws KeelsonError `INVALID_OPTION` */
  constructor(options: MemoryFileSystemOptions = {}) {
    this.#options = checkOptions<MemoryFileSystemOptions>(
      'MemoryFileSystem',
      options,
      {
        timers: optional(objectOption<Timers>(['schedule'])),
        syncLatencyMs: optional(functionOption<() => number>()),
      },
      (given, refuse) => {
        if (given.syncLatencyMs !== undefined && given.timers === undefined) {
          refuse("'syncLatencyMs' needs 'timers' to wait with")
        }
      },
    )
    this.#directories.set('', newDirectory(0o700))
  }

  /**
   * The power fails: everything open is dead, its calls never settle, and what was not synced is there in part or not
   * at all, as chance has it.
   */
  crash(random: Random): void {
    this.#life++
    this.#locks.clear()
    const shares = [0, 0.5, 1] as const
    for (const directory of this.#directories.values()) {
      const kept = directory.pending[random.integer(directory.pending.length + 1) - 1]
      directory.entries = new Map(kept ?? directory.durable)
      directory.durable = new Map(directory.entries)
      directory.pending = []
      for (const inode of directory.entries.values()) {
        const share = shares[random.integer(shares.length)] as number
        crashFile(inode, () => random.float() < share)
      }
    }
  }

  /**
   * The process is killed and the machine lives on: everything open is dead, and what was written is still there, in a
   * cache that a later crash may lose.
   */
  kill(): void {
    this.#life++
    this.#locks.clear()
  }

  /** The content of a file as its readers see it. */
  contents(path: string): Uint8Array {
    const inode = this.#inode(path)
    return inode.bytes.slice(0, inode.length)
  }

  /** Replaces the content of a file, durably: what a disk does that damages it, or an operator. Makes it if need be. */
  setContents(path: string, bytes: Uint8Array): void {
    const known = this.#directories.get(parentOf(path))
    const directory = known ?? newDirectory(0o700)
    if (known === undefined) this.#directories.set(parentOf(path), directory)
    const inode = directory.entries.get(nameOf(path)) ?? newInode()
    Object.assign(inode, { bytes: bytes.slice(), length: bytes.length, durable: bytes.slice(), pending: [] })
    directory.entries.set(nameOf(path), inode)
    directory.durable.set(nameOf(path), inode)
  }

  /** A file system with the same files, apart from this one. */
  copy(): MemoryFileSystem {
    const other = new MemoryFileSystem(this.#options)
    for (const [path, directory] of this.#directories) {
      const entries = new Map(
        [...directory.entries].map(([name, inode]) => [
          name,
          {
            bytes: inode.bytes.slice(),
            length: inode.length,
            durable: inode.bytes.slice(0, inode.length),
            pending: [],
          },
        ]),
      )
      other.#directories.set(path, { mode: directory.mode, entries, durable: new Map(entries), pending: [] })
    }
    return other
  }

  /** The file system as one process sees it: until the next crash or kill, after which its calls never settle. */
  mount(): FileSystem {
    return new MountedFileSystem(this, this.#options, this.#directories)
  }

  /** Names in a directory, sorted. */
  names(directory: string): string[] {
    return [...(this.#directories.get(directory)?.entries.keys() ?? [])].sort()
  }

  /** Removes a file, durably, behind the back of whoever uses it. */
  delete(path: string): void {
    const directory = this.#directories.get(parentOf(path))
    directory?.entries.delete(nameOf(path))
    directory?.durable.delete(nameOf(path))
  }

  /** @internal */
  get life(): number {
    return this.#life
  }

  /** @internal */
  get locks(): Set<string> {
    return this.#locks
  }

  #inode(path: string): Inode {
    const inode = this.#directories.get(parentOf(path))?.entries.get(nameOf(path))
    if (inode === undefined) throw missing(path)
    return inode
  }
}

/** What one process holds of a {@link MemoryFileSystem}. */
class MountedFileSystem implements FileSystem {
  readonly #disk: MemoryFileSystem
  readonly #options: MemoryFileSystemOptions
  readonly #directories: Map<string, Directory>
  readonly #life: number

  constructor(disk: MemoryFileSystem, options: MemoryFileSystemOptions, directories: Map<string, Directory>) {
    this.#disk = disk
    this.#options = options
    this.#directories = directories
    this.#life = disk.life
  }

  async status(path: string): Promise<FileStatus | undefined> {
    if (this.#dead) return neverSettles()
    const directory = this.#directories.get(path)
    if (directory !== undefined) return { kind: 'directory', mode: directory.mode, size: 0 }
    const inode = this.#directories.get(parentOf(path))?.entries.get(nameOf(path))
    return inode === undefined ? undefined : { kind: 'file', mode: 0o600, size: inode.length }
  }

  async makeDirectory(path: string, mode: number): Promise<void> {
    if (this.#dead) return neverSettles()
    if (!this.#directories.has(parentOf(path))) throw missing(parentOf(path))
    if (this.#directories.has(path)) throw new KeelsonError('IO', `${path} exists already; name another one`)
    // That a directory itself is lost in a crash is left out: it would be empty.
    this.#directories.set(path, newDirectory(mode))
  }

  async list(path: string): Promise<string[]> {
    if (this.#dead) return neverSettles()
    const directory = this.#directories.get(path)
    if (directory === undefined) throw missing(path)
    return [...directory.entries.keys()]
  }

  async open(path: string, how: 'existing' | 'new'): Promise<OpenFile> {
    if (this.#dead) return neverSettles()
    this.#ask('open', path)
    const [directory, name] = this.#split(path)
    let inode = directory.entries.get(name)
    if (how === 'new') {
      if (inode !== undefined) throw new KeelsonError('IO', `${path} exists already; name another one`)
      inode = newInode()
      change(directory, (entries) => entries.set(name, inode as Inode))
    }
    if (inode === undefined) throw missing(path)
    return this.#file(path, inode)
  }

  async rename(from: string, to: string): Promise<void> {
    if (this.#dead) return neverSettles()
    this.#ask('rename', from)
    const [directory, name] = this.#split(from)
    const inode = this.#inode(from)
    if (parentOf(to) !== parentOf(from))
      throw new KeelsonError('IO', 'a rename stays in its directory; name one there')
    change(directory, (entries) => {
      entries.delete(name)
      entries.set(nameOf(to), inode)
    })
  }

  async remove(path: string): Promise<void> {
    if (this.#dead) return neverSettles()
    this.#ask('remove', path)
    this.#inode(path)
    const [directory, name] = this.#split(path)
    change(directory, (entries) => entries.delete(name))
  }

  async syncDirectory(path: string): Promise<void> {
    if (this.#dead) return neverSettles()
    const directory = this.#directories.get(path === '.' ? '' : path)
    if (directory === undefined) throw missing(path)
    await this.#wait()
    if (this.#dead) return neverSettles()
    this.#ask('syncDirectory', path)
    directory.durable = new Map(directory.entries)
    directory.pending = []
  }

  async lock(directory: string, _env: Environment): Promise<DirectoryLock> {
    if (this.#dead) return neverSettles()
    const { locks } = this.#disk
    if (locks.has(directory)) {
      throw new KeelsonError(
        'DIRECTORY_LOCKED',
        `${directory} is in use by another opener; close that one first`,
      )
    }
    locks.add(directory)
    return {
      release: async () => {
        if (!this.#dead) locks.delete(directory)
      },
    }
  }

  #file(path: string, inode: Inode): OpenFile {
    let closed = false
    const check = (): void => {
      if (closed) throw new KeelsonError('IO', `${path} is closed; open it again`)
    }
    // Each act is done in one go: a crash comes before it or after it.
    return {
      read: async (into, position) => {
        if (this.#dead) return neverSettles()
        check()
        this.#ask('read', path)
        const end = Math.min(position + into.length, inode.length)
        const found = inode.bytes.subarray(Math.min(position, end), end)
        into.set(found)
        return found.length
      },
      write: async (bytes, position) => {
        if (this.#dead) return neverSettles()
        check()
        try {
          this.#ask('write', path)
        } catch (error) {
          write(inode, bytes.subarray(0, bytes.length >>> 1), position)
          throw error
        }
        write(inode, bytes, position)
      },
      sync: async () => {
        check()
        const covered = inode.pending.length
        await this.#wait()
        if (this.#dead) return neverSettles()
        const written = inode.pending.splice(0, covered)
        // What a failed sync leaves in memory counts as clean from then on, and never reaches the disk.
        this.#ask('sync', path)
        for (const { position, bytes } of written) inode.durable = patched(inode.durable, bytes, position)
      },
      close: async () => {
        closed = true
      },
    }
  }

  get #dead(): boolean {
    return this.#life !== this.#disk.life
  }

  #wait(): Promise<void> {
    if (this.#dead) return neverSettles()
    const { timers, syncLatencyMs } = this.#options
    if (timers === undefined || syncLatencyMs === undefined) {
      return Promise.resolve()
    }
    return new Promise((resolve) => {
      timers.schedule(syncLatencyMs(), () => {
        if (!this.#dead) resolve()
      })
    })
  }

  #ask(operation: FileOperation, path: string): void {
    const error = this.#disk.fault?.(operation, path)
    if (error !== undefined) throw error
  }

  #split(path: string): [directory: Directory, name: string] {
    const directory = this.#directories.get(parentOf(path))
    if (directory === undefined) throw missing(path)
    return [directory, nameOf(path)]
  }

  #inode(path: string): Inode {
    const [directory, name] = this.#split(path)
    const inode = directory.entries.get(name)
    if (inode === undefined) throw missing(path)
    return inode
  }
}

function newInode(): Inode {
  return { bytes: new Uint8Array(0), length: 0, durable: new Uint8Array(0), pending: [] }
}

function newDirectory(mode: number): Directory {
  return { mode, entries: new Map(), durable: new Map(), pending: [] }
}

function change(directory: Directory, how: (entries: Map<string, Inode>) => void): void {
  how(directory.entries)
  directory.pending.push(new Map(directory.entries))
}

function write(inode: Inode, bytes: Uint8Array, position: number): void {
  inode.bytes = patched(inode.bytes, bytes, position, 2)
  inode.length = Math.max(inode.length, position + bytes.length)
  inode.pending.push({ position, bytes: bytes.slice() })
}

/** `into` with `bytes` at `position`; when it has to grow, by `factor` at once. */
function patched(into: Uint8Array, bytes: Uint8Array, position: number, factor = 1): Uint8Array {
  const end = position + bytes.length
  let target = into
  if (end > into.length) {
    target = new Uint8Array(Math.max(end, into.length * factor))
    target.set(into)
  }
  target.set(bytes, position)
  return target
}

/** Leaves of what was not synced the sectors that `survives` says. */
function crashFile(inode: Inode, survives: () => boolean): void {
  for (const { position, bytes } of inode.pending) {
    for (let from = 0; from < bytes.length; ) {
      const to = Math.min(bytes.length, from + sectorBytes - ((position + from) % sectorBytes))
      if (survives()) inode.durable = patched(inode.durable, bytes.subarray(from, to), position + from)
      from = to
    }
  }
  inode.pending = []
  inode.bytes = inode.durable.slice()
  inode.length = inode.durable.length
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf('/')
  return slash < 0 ? '' : path.slice(0, slash)
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

function missing(path: string): KeelsonError {
  return new KeelsonError('IO', `${path} does not exist; make it first`)
}
