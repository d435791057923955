import { KeelsonError } from '../../core/errors.ts'
import type { Logger } from '../../core/logger.ts'
import type { FileSystem, OpenFile } from '../../interfaces/file-system.ts'
import type { Incarnation } from '../../model/ids.ts'
import {
  batchAlignment,
  batchHeaderBytes,
  checkPayload,
  checksumSeed,
  findBatch,
  logFormatVersion,
  oldestLogFormat,
  readBatchHeader,
} from '../batch-format.ts'
import type { Replay } from '../log-medium.ts'
import {
  decodeSegmentHeader,
  isFree,
  isZeroFrom,
  segmentHeaderBytes,
  segmentName,
  segmentNumber,
  writeZeros,
} from './segment-file.ts'
import { type Candidate, SegmentLoader } from './segment-loader.ts'

/** A segment that was found to belong to the log. */
export interface FoundSegment {
  readonly number: number
  readonly file: OpenFile
  /** Size of the file. */
  readonly size: number
  /** Positions of its first batch and behind its last one. */
  readonly start: number
  end: number
}

/** What {@link recoverSegments} found. */
export interface FoundSegments {
  /** Oldest first; the last one takes further batches. */
  readonly segments: FoundSegment[]
  readonly end: number
  readonly first: number
  /** One that was prepared, and not used yet. */
  readonly spare: { readonly number: number; readonly file: OpenFile; readonly size: number } | undefined
}

/**
 * Reads all segments of a directory and hands their batches to `replay`.
 *
 * A batch says in its header up to which position everything was durable when it was written. So what does not read is
 * one of two things. If any intact batch or segment beyond says that the place was durable, the disk has damaged what it
 * had confirmed: that is refused, by file and offset, and nothing is changed. If none does, a crash has cut a write
 * short that nobody was told of: it is cut off.
 *
 * @throws KeelsonError `CORRUPTION`, `FORMAT_VERSION`, `IO`
 */
export async function recoverSegments(
  fs: FileSystem,
  directory: string,
  incarnation: Incarnation,
  logger: Logger,
  replay: Replay,
): Promise<FoundSegments> {
  return new Recovery(fs, directory, incarnation, logger, replay).run()
}

class Recovery {
  readonly #fs: FileSystem
  readonly #directory: string
  readonly #incarnation: Incarnation
  readonly #seed: number
  readonly #logger: Logger
  readonly #replay: Replay
  readonly #loader: SegmentLoader
  readonly #segments: FoundSegment[] = []
  readonly #free: string[] = []
  /** Bytes behind the end of the last segment may be left of an earlier use. */
  #used = false
  #spare: FoundSegments['spare'] = undefined
  /** What the last batch said. */
  #first = 0
  /** Where the log ends, as far as it was read. */
  #end = 0
  /** Offset of the last batch in the last segment; 0 when it is the first one there, or there is none. */
  #lastBatch = 0

  constructor(fs: FileSystem, directory: string, incarnation: Incarnation, logger: Logger, replay: Replay) {
    this.#fs = fs
    this.#directory = directory
    this.#incarnation = incarnation
    this.#seed = checksumSeed(incarnation)
    this.#logger = logger
    this.#replay = replay
    this.#loader = new SegmentLoader(fs, directory)
  }

  async run(): Promise<FoundSegments> {
    try {
      const candidates = await this.#candidates()
      let next = 0
      let torn: number | undefined
      while (next < candidates.length && torn === undefined) {
        torn = await this.#readSegment(candidates[next] as Candidate, candidates.slice(next + 1))
        next++
      }
      this.#checkBeginning()
      await this.#loader.settle()
      await this.#cut(torn, candidates.slice(this.#segments.length))
      return { segments: this.#segments, end: this.#end, first: this.#first, spare: this.#spare }
    } catch (error) {
      await this.#loader.settle()
      for (const file of this.#loader.opened) await file.close()
      throw error
    }
  }

  /** The segment files in their order, without a gap. */
  async #candidates(): Promise<Candidate[]> {
    const found: Candidate[] = []
    for (const name of await this.#fs.list(this.#directory)) {
      // Of what size and content it is, nobody knows any more.
      if (isFree(name)) this.#free.push(name)
      const number = segmentNumber(name)
      if (number === undefined) continue
      const status = await this.#fs.status(`${this.#directory}/${name}`)
      if (status !== undefined) found.push({ number, name, size: status.size })
    }
    found.sort((a, b) => a.number - b.number)
    found.forEach(({ number }, i) => {
      const before = found[i - 1]?.number
      if (before === undefined || before + 1 === number) return
      throw this.#corruption(segmentName(before + 1), 0, 'the file is missing')
    })
    return found
  }

  /** Returns the offset at which the segment is torn, 0 for all of it, or undefined when the next one may go on. */
  async #readSegment(candidate: Candidate, later: readonly Candidate[]): Promise<number | undefined> {
    const { number, name } = candidate
    const { file, bytes } = await this.#loader.load(candidate, later[0])
    const header = decodeSegmentHeader(bytes)
    if (header !== undefined && !isKnown(header.version)) {
      throw new KeelsonError(
        'FORMAT_VERSION',
        `${this.#directory}/${name} is in format ${header.version}, and this release reads ${oldestLogFormat} to ` +
          `${logFormatVersion}; open the directory with the release that wrote it`,
      )
    }
    if (header === undefined || header.number !== number || header.incarnation !== this.#incarnation) {
      // Prepared and not used yet, or its first write was cut short.
      if (later.length === 0 && isZeroFrom(bytes, 0)) this.#spare = { number, file, size: bytes.length }
      else await this.#refuseIfConfirmed(candidate, bytes, 0, this.#end, later)
      return 0
    }
    if (this.#segments.length === 0) this.#end = header.start
    if (header.start !== this.#end) {
      const last = this.#segments.at(-1) as FoundSegment
      const offset = segmentHeaderBytes + last.end - last.start
      throw this.#corruption(segmentName(last.number), offset, `${name} begins at another position`)
    }
    const segment: FoundSegment = { number, file, size: bytes.length, start: header.start, end: header.start }
    this.#segments.push(segment)
    this.#used = header.used
    this.#lastBatch = 0
    const offset = this.#readBatches(bytes, segment)
    this.#end = segment.end
    if (isZeroFrom(bytes, offset)) return undefined
    // Where the next segment goes on exactly here, the rest of this one was never used, whatever became of it.
    if (await this.#goesOn(later[0])) return undefined
    await this.#refuseIfConfirmed(candidate, bytes, offset, segment.end, later)
    return offset
  }

  /** Replays the batches of a segment up to the first that does not read; returns its offset. */
  #readBatches(bytes: Uint8Array, segment: FoundSegment): number {
    let offset = segmentHeaderBytes
    for (;;) {
      const header = readBatchHeader(bytes, offset, this.#seed)
      const end = offset + batchHeaderBytes + (header?.payloadBytes ?? 0)
      if (header === undefined || header.position !== segment.end || end > bytes.length) return offset
      const payload = bytes.subarray(offset + batchHeaderBytes, end)
      try {
        this.#replay(payload, segment.end + batchHeaderBytes, checkPayload(payload, header, this.#seed))
      } catch (error) {
        if (KeelsonError.hasCode(error, 'MALFORMED')) return offset
        throw error
      }
      this.#first = header.first
      this.#lastBatch = offset === segmentHeaderBytes ? 0 : offset
      segment.end += end - offset
      offset = end
    }
  }

  /** True when the next segment begins where this one ends. */
  async #goesOn(next: Candidate | undefined): Promise<boolean> {
    if (next === undefined) return false
    const header = decodeSegmentHeader((await this.#loader.peek(next)).bytes)
    const ours = header?.incarnation === this.#incarnation && header.number === next.number
    return ours && header.start === this.#end
  }

  /** Throws when anything behind a place that does not read confirms that the place was durable once. */
  async #refuseIfConfirmed(
    { name }: Candidate,
    bytes: Uint8Array,
    offset: number,
    position: number,
    later: readonly Candidate[],
  ): Promise<void> {
    // Reading other files overwrites the buffer: this one comes first.
    const confirmed = (content: Uint8Array, from: number): boolean => {
      for (let at = findBatch(content, from); at >= 0; at = findBatch(content, at + batchAlignment)) {
        if ((readBatchHeader(content, at, this.#seed)?.synced ?? 0) > position) return true
      }
      return false
    }
    let witness = confirmed(bytes, align(offset)) ? name : undefined
    for (const candidate of later) {
      if (witness !== undefined) break
      const { bytes: content } = await this.#loader.load(candidate)
      const header = decodeSegmentHeader(content)
      const ours = header?.incarnation === this.#incarnation && header.number === candidate.number
      // A segment is begun only when the one before is durable.
      if ((ours && header.start > position) || confirmed(content, segmentHeaderBytes))
        witness = candidate.name
    }
    if (witness === undefined) return
    throw this.#corruption(name, offset, `what follows in ${witness} shows that this place had been durable`)
  }

  /** What the last batch says of where the log begins must be there. */
  #checkBeginning(): void {
    const oldest = this.#segments[0]
    if (oldest === undefined || oldest.start <= this.#first) return
    throw this.#corruption(segmentName(oldest.number - 1), 0, 'the file is missing')
  }

  /** Removes what a crash left behind the end, and makes durable what is kept. */
  async #cut(torn: number | undefined, rest: readonly Candidate[]): Promise<void> {
    const last = this.#segments.at(-1)
    if (torn !== undefined && torn > 0 && last !== undefined) {
      if (!this.#used) {
        this.#logger.warn(
          { directory: this.#directory, file: segmentName(last.number), offset: torn, position: this.#end },
          'a write was cut short by a crash; nobody was told of it, and it is removed',
        )
      }
      await writeZeros(last.file, torn, last.size)
    }
    if (last !== undefined) await this.#makeDurable(last)
    for (const file of this.#loader.opened.splice(this.#segments.length)) {
      if (file !== this.#spare?.file) await file.close()
    }
    for (const { name, number } of rest) {
      if (number !== this.#spare?.number) await this.#fs.remove(`${this.#directory}/${name}`)
    }
    for (const name of this.#free) await this.#fs.remove(`${this.#directory}/${name}`)
    if (rest.length + this.#free.length > 0) await this.#fs.syncDirectory(this.#directory)
  }

  /**
   * Nothing confirms the last batch, so it may be in the system's cache alone: its writer was killed before the sync, or
   * the sync failed, after which the cache takes for clean what the disk never got. It is written once more.
   */
  async #makeDurable(last: FoundSegment): Promise<void> {
    const bytes = new Uint8Array(segmentHeaderBytes + last.end - last.start - this.#lastBatch)
    const count = await last.file.read(bytes, this.#lastBatch)
    await last.file.write(bytes.subarray(0, count), this.#lastBatch)
    await last.file.sync()
  }

  #corruption(name: string, offset: number, problem: string): KeelsonError {
    return new KeelsonError(
      'CORRUPTION',
      `${this.#directory}/${name} is damaged at offset ${offset}: ${problem}. Nothing was changed: restore the ` +
        'directory, or replace this node, so that it comes back as a new incarnation',
      { details: { file: name, offset } },
    )
  }
}

function align(offset: number): number {
  return Math.ceil(offset / batchAlignment) * batchAlignment
}

function isKnown(version: number): boolean {
  return version >= oldestLogFormat && version <= logFormatVersion
}
