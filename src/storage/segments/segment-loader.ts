import type { FileSystem, OpenFile } from '../../interfaces/file-system.ts'

/** A segment file that was found. */
export interface Candidate {
  readonly number: number
  readonly name: string
  readonly size: number
}

/** The content of a segment: valid until two others were loaded. */
export interface LoadedSegment {
  readonly candidate: Candidate
  readonly file: OpenFile
  readonly bytes: Uint8Array
}

/**
 * Reads segments into memory, one of them ahead, so that the disk is busy with the next one while this one is looked
 * through.
 */
export class SegmentLoader {
  readonly #fs: FileSystem
  readonly #directory: string
  #buffers: [Uint8Array, Uint8Array] = [new Uint8Array(0), new Uint8Array(0)]
  #ahead: { readonly candidate: Candidate; readonly loaded: Promise<LoadedSegment> } | undefined
  /** Everything that was opened, in order. */
  readonly opened: OpenFile[] = []

  constructor(fs: FileSystem, directory: string) {
    this.#fs = fs
    this.#directory = directory
  }

  /** The content of a segment; `next` is begun with as soon as it is there. */
  async load(candidate: Candidate, next?: Candidate): Promise<LoadedSegment> {
    const ahead = this.#ahead
    this.#ahead = undefined
    if (ahead !== undefined && ahead.candidate !== candidate) await ahead.loaded
    const loaded = await (ahead?.candidate === candidate ? ahead.loaded : this.#read(candidate))
    if (next !== undefined) this.#start(next)
    return loaded
  }

  /** What {@link SegmentLoader.load} will return next, if this is the one that was begun with. */
  async peek(candidate: Candidate): Promise<LoadedSegment> {
    return this.#ahead?.candidate === candidate ? this.#ahead.loaded : this.#read(candidate)
  }

  /** Waits for what is under way. */
  async settle(): Promise<void> {
    await this.#ahead?.loaded.catch(() => {})
    this.#ahead = undefined
  }

  #start(candidate: Candidate): void {
    const loaded = this.#read(candidate)
    // Whoever loads it next is told.
    loaded.catch(() => {})
    this.#ahead = { candidate, loaded }
  }

  async #read(candidate: Candidate): Promise<LoadedSegment> {
    const { name, size } = candidate
    let [, buffer] = this.#buffers
    if (buffer.length < size) buffer = new Uint8Array(size)
    this.#buffers = [buffer, this.#buffers[0]]
    const file = await this.#fs.open(`${this.#directory}/${name}`, 'existing')
    this.opened.push(file)
    const count = await file.read(buffer.subarray(0, size), 0)
    return { candidate, file, bytes: buffer.subarray(0, count) }
  }
}
