import { KeelsonError } from '../core/errors.ts'
import { chance, type SeededRandom } from '../core/random.ts'

/** What a power cut did, by name and number. */
export interface WrittenLoss {
  readonly 'unsynced writes lost': number
  readonly 'unsynced writes torn': number
  readonly 'unsynced names lost': number
}

type PendingChange =
  | {
      readonly type: 'write'
      readonly offset: number
      readonly bytes: Uint8Array
      /** Where the device puts it, if that is not where it belongs. */
      readonly astray?: { readonly file: FileImage; readonly offset: number }
    }
  | { readonly type: 'truncate'; readonly length: number }

/** The smallest part of a write that a power cut leaves whole or not at all. */
const sectorBytes = 512

/** Bytes that grow without being copied each time. */
class Content {
  #bytes: Uint8Array = new Uint8Array(0)
  #length = 0

  get length(): number {
    return this.#length
  }

  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#length)
  }

  set(content: Uint8Array): void {
    this.#bytes = content.slice()
    this.#length = content.length
  }

  write(offset: number, bytes: Uint8Array): void {
    this.resize(Math.max(this.#length, offset + bytes.length))
    this.#bytes.set(bytes, offset)
  }

  /** New bytes are zero. */
  resize(length: number): void {
    if (length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(length, this.#bytes.length * 2))
      grown.set(this.view())
      this.#bytes = grown
    } else if (length < this.#length) {
      this.#bytes.fill(0, length, this.#length)
    }
    this.#length = length
  }

  apply(change: PendingChange): void {
    if (change.type === 'truncate') this.resize(change.length)
    else this.write(change.offset, change.bytes)
  }
}

/** A file: what programs see, what the device has, and the difference in order. */
export class FileImage {
  readonly #current = new Content()
  readonly #durable = new Content()
  #pending: PendingChange[] = []

  /** What programs see. */
  get current(): Uint8Array {
    return this.#current.view()
  }

  /** What the device has. */
  get durable(): Uint8Array {
    return this.#durable.view()
  }

  get pending(): readonly PendingChange[] {
    return this.#pending
  }

  change(change: PendingChange): void {
    this.#current.apply(change)
    this.#pending.push(change)
  }

  /** These changes are on the device. */
  settle(changes: readonly PendingChange[]): void {
    for (const change of changes) if (this.#pending.includes(change)) this.#settle(change)
    this.forget(changes)
  }

  /** These changes will never reach the device by themselves. */
  forget(changes: readonly PendingChange[]): void {
    this.#pending = this.#pending.filter((change) => !changes.includes(change))
  }

  /** Replaces the content on the device by bytes that are there already. */
  replace(content: Uint8Array): void {
    this.#durable.set(content)
    this.#current.set(content)
    this.#pending = []
  }

  /** The device changes by itself what it had stored. */
  damage(offset: number, bytes: Uint8Array): void {
    for (const content of [this.#current, this.#durable]) {
      const fitting = bytes.subarray(0, Math.max(0, content.length - offset))
      if (fitting.length > 0) content.write(offset, fitting)
    }
  }

  flip(byte: number, bit: number): void {
    for (const image of [this.current, this.durable]) {
      if (byte < image.length) image[byte] = (image[byte] as number) ^ (1 << bit)
    }
  }

  /** What programs see comes from the device again, but for what it still has to write. */
  evict(): void {
    this.#current.set(this.durable)
    for (const change of this.#pending) this.#current.apply(change)
  }

  /** Of what was not synced each change is kept with a probability, or torn. */
  cutPower(random: SeededRandom, keep: number): { readonly lost: number; readonly torn: number } {
    let lost = 0
    let torn = 0
    for (const change of this.#pending) {
      const draw = random.float()
      if (draw < keep) {
        this.#settle(change)
      } else if (change.type === 'write' && draw < keep + (1 - keep) * 0.3 && change.bytes.length > 1) {
        torn++
        for (const part of tornParts(random, change.offset, change.bytes)) this.#durable.apply(part)
      } else {
        lost++
      }
    }
    this.#pending = []
    this.evict()
    return { lost, torn }
  }

  #settle(change: PendingChange): void {
    if (change.type === 'write' && change.astray !== undefined) {
      const { file, offset } = change.astray
      const room = file.#durable.length - offset
      if (room > 0) file.#durable.write(offset, change.bytes.subarray(0, room))
      return
    }
    this.#durable.apply(change)
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

  /** Makes an empty file, in place of one of that name. */
  create(path: string): FileImage {
    const file = new FileImage()
    this.#change({ type: 'link', path, file })
    return file
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

  /** What the device would have after a power cut that loses all that was not synced. */
  image(): ReadonlyMap<string, Uint8Array> {
    return new Map([...this.#durableNames].map(([path, file]) => [path, file.durable.slice()]))
  }

  /** Puts back what {@link FileTree.image} gave. */
  restore(image: ReadonlyMap<string, Uint8Array>): void {
    this.#names.clear()
    this.#durableNames.clear()
    this.#pending = []
    for (const [path, content] of image) {
      const file = new FileImage()
      file.replace(content)
      this.#names.set(path, file)
      this.#durableNames.set(path, file)
    }
  }

  /** Programs see from now on what the device has. */
  evict(): void {
    for (const file of this.#names.values()) file.evict()
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
      const loss = file.cutPower(random, keep)
      lost += loss.lost
      torn += loss.torn
    }
    return { 'unsynced writes lost': lost, 'unsynced writes torn': torn, 'unsynced names lost': names }
  }

  #change(change: NameChange): void {
    rename(this.#names, change)
    this.#pending.push(change)
  }
}

/** The part before the last slash; empty where there is none. */
export function directoryOf(path: string): string {
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

/**
 * What a power cut leaves of a write: of a large one some sectors, mostly the first ones, now and then any; of a small one
 * its first bytes.
 */
function tornParts(random: SeededRandom, offset: number, bytes: Uint8Array): PendingChange[] {
  const sectors = Math.floor(bytes.length / sectorBytes)
  const part = (from: number, to: number): PendingChange => ({
    type: 'write',
    offset: offset + from,
    bytes: bytes.slice(from, to),
  })
  if (sectors === 0) return [part(0, 1 + random.integer(bytes.length - 1))]
  if (chance(random, 0.6)) return [part(0, random.integer(sectors + 1) * sectorBytes)]
  const parts: PendingChange[] = []
  for (let from = 0; from < bytes.length; from += sectorBytes) {
    if (chance(random, 0.5)) parts.push(part(from, Math.min(bytes.length, from + sectorBytes)))
  }
  return parts
}
