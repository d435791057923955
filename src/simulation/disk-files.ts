import { KeelsonError } from '../core/errors.ts'
import type { SeededRandom } from '../core/random.ts'

/** What a power cut did, by name and number. */
export interface WrittenLoss {
  readonly 'unsynced writes lost': number
  readonly 'unsynced writes torn': number
  readonly 'unsynced names lost': number
}

type PendingWrite =
  | { readonly type: 'write'; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly type: 'truncate'; readonly length: number }

/** A torn write ends at a multiple of this. */
const sectorBytes = 512

/** A file: what programs see, what the device has, and the difference in order. */
export class FileImage {
  current: Uint8Array = new Uint8Array(0)
  durable: Uint8Array = new Uint8Array(0)
  pending: PendingWrite[] = []

  change(change: PendingWrite): void {
    this.current = applied(this.current, change)
    this.pending.push(change)
  }

  /** These changes are on the device. */
  settle(changes: readonly PendingWrite[]): void {
    for (const change of changes) {
      if (!this.pending.includes(change)) continue
      this.durable = applied(this.durable, change)
    }
    this.forget(changes)
  }

  /** These changes will never reach the device by themselves. */
  forget(changes: readonly PendingWrite[]): void {
    this.pending = this.pending.filter((change) => !changes.includes(change))
  }

  flip(byte: number, bit: number): void {
    for (const image of [this.current, this.durable]) {
      if (byte < image.length) image[byte] = (image[byte] as number) ^ (1 << bit)
    }
  }
}

type NameChange =
  | { readonly type: 'link'; readonly path: string; readonly file: FileImage }
  | { readonly type: 'unlink'; readonly path: string }
  | { readonly type: 'rename'; readonly path: string; readonly to: string }

/** The files of a disk with their names. */
export class FileTree {
  readonly #names = new Map<string, FileImage>()
  readonly #durableNames = new Map<string, FileImage>()
  #pending: NameChange[] = []

  find(path: string): FileImage | undefined {
    return this.#names.get(path)
  }

  get(path: string): FileImage {
    const file = this.#names.get(path)
    if (file === undefined)
      throw new KeelsonError('NOT_FOUND', `there is no file ${path} on the simulated disk; write one first`)
    return file
  }

  list(prefix: string): string[] {
    return [...this.#names.keys()].filter((path) => path.startsWith(prefix)).sort()
  }

  usedBytes(): number {
    let bytes = 0
    for (const file of this.#names.values()) bytes += file.current.length
    return bytes
  }

  write(path: string, offset: number, bytes: Uint8Array): void {
    let file = this.#names.get(path)
    if (file === undefined) {
      file = new FileImage()
      this.#change({ type: 'link', path, file })
    }
    file.change({ type: 'write', offset, bytes })
  }

  truncate(path: string, length: number): void {
    this.get(path).change({ type: 'truncate', length })
  }

  rename(path: string, to: string): void {
    this.get(path)
    this.#change({ type: 'rename', path, to })
  }

  remove(path: string): void {
    this.get(path)
    this.#change({ type: 'unlink', path })
  }

  /** Changes of names in a directory that are not durable yet. */
  pendingNames(directory: string): readonly NameChange[] {
    return this.#pending.filter((change) => directoryOf(change.path) === directory)
  }

  settleNames(changes: readonly NameChange[]): void {
    for (const change of this.#pending) {
      if (changes.includes(change)) rename(this.#durableNames, change)
    }
    this.#pending = this.#pending.filter((change) => !changes.includes(change))
  }

  /**
   * Leaves what the device has: of each file's unsynced writes some, of the unsynced names a prefix, since file systems
   * keep a journal of names but none of contents.
   */
  cutPower(random: SeededRandom): WrittenLoss {
    let lost = 0
    let torn = 0
    // Swarm: a cut that loses everything and one that loses nothing find other bugs than one that tosses each coin.
    const keep = [0, 0.5, 1][random.integer(3)] as number
    const kept = this.#pending.length === 0 ? 0 : random.integer(this.#pending.length + 1)
    const names = this.#pending.length - kept
    for (const change of this.#pending.slice(0, kept)) rename(this.#durableNames, change)
    this.#pending = []
    this.#names.clear()
    for (const [path, file] of this.#durableNames) this.#names.set(path, file)
    for (const file of new Set(this.#names.values())) {
      for (const change of file.pending) {
        const draw = random.float()
        if (draw < keep) {
          file.durable = applied(file.durable, change)
        } else if (change.type === 'write' && draw < keep + (1 - keep) * 0.3 && change.bytes.length > 1) {
          torn++
          file.durable = applied(file.durable, { ...change, bytes: tornPart(random, change.bytes) })
        } else {
          lost++
        }
      }
      file.pending = []
      file.current = file.durable.slice()
    }
    return { 'unsynced writes lost': lost, 'unsynced writes torn': torn, 'unsynced names lost': names }
  }

  #change(change: NameChange): void {
    rename(this.#names, change)
    this.#pending.push(change)
  }
}

/** The part before the last slash; empty where there is none. */
function directoryOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')))
}

function rename(names: Map<string, FileImage>, change: NameChange): void {
  switch (change.type) {
    case 'link':
      names.set(change.path, change.file)
      return
    case 'unlink':
      names.delete(change.path)
      return
    case 'rename': {
      const file = names.get(change.path)
      if (file === undefined) return
      names.delete(change.path)
      names.set(change.to, file)
    }
  }
}

/** A prefix: whole sectors of a large write, some bytes of a small one. */
function tornPart(random: SeededRandom, bytes: Uint8Array): Uint8Array {
  const sectors = Math.floor(bytes.length / sectorBytes)
  const length =
    sectors > 0 ? random.integer(sectors + 1) * sectorBytes : 1 + random.integer(bytes.length - 1)
  return bytes.slice(0, length)
}

function applied(content: Uint8Array, change: PendingWrite): Uint8Array {
  const length =
    change.type === 'truncate' ? change.length : Math.max(content.length, change.offset + change.bytes.length)
  const out = new Uint8Array(length)
  out.set(content.subarray(0, length))
  if (change.type === 'write') out.set(change.bytes, change.offset)
  return out
}
