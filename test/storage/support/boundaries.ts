import type { FileSystem, OpenFile } from '../../../src/interfaces/file-system.ts'

/** Where in an operation the crash comes. */
export type CrashPhase = 'before' | 'during' | 'after'

/** Counts what changes the disk, and calls `crash` at the operation with the number `at`, from 1. */
export class Boundaries {
  readonly #at: number
  readonly #phase: CrashPhase
  readonly #crash: () => void
  /** Operations so far. */
  count = 0
  readonly kinds: Set<string> = new Set()

  constructor(at: number, phase: CrashPhase, crash: () => void) {
    this.#at = at
    this.#phase = phase
    this.#crash = crash
  }

  wrap(fs: FileSystem): FileSystem {
    return {
      status: (path) => fs.status(path),
      list: (path) => fs.list(path),
      lock: (directory, env) => fs.lock(directory, env),
      makeDirectory: (path, mode) => this.#step('makeDirectory', () => fs.makeDirectory(path, mode)),
      rename: (from, to) => this.#step('rename', () => fs.rename(from, to)),
      remove: (path) => this.#step('remove', () => fs.remove(path)),
      syncDirectory: (path) => this.#step('syncDirectory', () => fs.syncDirectory(path)),
      open: async (path, how) =>
        this.#wrapFile(
          how === 'new' ? await this.#step('create', () => fs.open(path, how)) : await fs.open(path, how),
        ),
    }
  }

  #wrapFile(file: OpenFile): OpenFile {
    return {
      read: (into, position) => file.read(into, position),
      close: () => file.close(),
      write: (bytes, position) => this.#step('write', () => file.write(bytes, position)),
      sync: () => this.#step('sync', () => file.sync()),
    }
  }

  async #step<T>(kind: string, operation: () => Promise<T>): Promise<T> {
    this.kinds.add(kind)
    if (++this.count !== this.#at) return operation()
    if (this.#phase === 'after') await operation()
    else if (this.#phase === 'during') operation().catch(() => {})
    this.#crash()
    // Whose process is gone never hears of it.
    return new Promise<never>(() => {})
  }
}
