import { KeelsonError } from '../../core/errors.ts'
import type { Logger } from '../../core/logger.ts'
import type { FileSystem, OpenFile } from '../../interfaces/file-system.ts'
import type { Incarnation } from '../../model/ids.ts'
import {
  batchHeaderBytes,
  checkPayload,
  checksumSeed,
  logFormatVersion,
  oldestLogFormat,
  readBatchHeader,
} from '../batch-format.ts'
import { readWholeFile } from '../file-system.ts'
import type { LogReplay } from '../log-medium.ts'
import {
  claimedEntries,
  type DamagedEntries,
  damagedEntries,
  examine,
  findWitness,
  highestStray,
  inWords,
  type Place,
} from './damage.ts'
import { checkEndMark, removeEndMark } from './end-mark.ts'
import {
  digestName,
  digestNumber,
  isUnfinishedDigest,
  readDigest,
  type SegmentDigest,
} from './segment-digest.ts'
import {
  decodeSegmentHeader,
  isFree,
  isZeroFrom,
  type SegmentHeader,
  segmentHeaderBytes,
  segmentName,
  segmentNumber,
  writeZeros,
} from './segment-file.ts'
import { type Candidate, type LoadedSegment, SegmentLoader } from './segment-loader.ts'

/** A segment that was found to belong to the log. */
export interface FoundSegment {
  readonly number: number
  readonly file: OpenFile
  /** Size of the file. */
  readonly size: number
  /** Positions of its first batch and behind its last one. */
  readonly start: number
  end: number
  /** A file beside it tells what is in it. */
  digested: boolean
}

/** What {@link SegmentRecovery.run} found. */
export interface FoundSegments {
  /** Oldest first; the last one takes further batches. */
  readonly segments: FoundSegment[]
  readonly end: number
  readonly first: number
  /** One that was prepared, and not used yet. */
  readonly spare: { readonly number: number; readonly file: OpenFile; readonly size: number } | undefined
}

/** A digest is far smaller than its segment. */
const maximumDigestBytes = 2 ** 30

/** What a recovery works on. */
export interface RecoveryParts {
  readonly fs: FileSystem
  readonly directory: string
  readonly incarnation: Incarnation
  readonly logger: Logger
  /** Goes on without the entries that the disk has damaged, as long as it is known which they are. */
  readonly contain: boolean
  readonly replay: LogReplay
}

/**
 * Reads all segments of a directory and hands over their batches.
 *
 * A batch says in its header up to which position everything was durable when it was written. So what does not read is
 * one of two things. If any intact batch or segment beyond says that the place was durable, the disk has damaged what it
 * had confirmed: that is refused, by file and offset, and nothing is changed; or it is contained, where the segment's
 * digest tells what is gone. If none does, a crash has cut a write short that nobody was told of: it is cut off.
 */
export class SegmentRecovery {
  readonly #parts: RecoveryParts
  readonly #seed: number
  readonly #loader: SegmentLoader
  readonly #segments: FoundSegment[] = []
  /** Files that are of no use to anybody. */
  readonly #waste: string[] = []
  readonly #digests = new Set<number>()
  /** Bytes behind the end of the last segment may be left of an earlier use. */
  #used = false
  #spare: FoundSegments['spare'] = undefined
  /** What the last batch said. */
  #first = 0
  /** Where the log ends, as far as it was read. */
  #end = 0
  /** Offset of the last batch in the last segment; 0 when it is the first one there, or there is none. */
  #lastBatch = 0
  /** The highest position of a batch that lies where none should be. */
  #stray = -1

  constructor(parts: RecoveryParts) {
    this.#parts = parts
    this.#seed = checksumSeed(parts.incarnation)
    this.#loader = new SegmentLoader(parts.fs, parts.directory)
  }

  /** @throws KeelsonError `CORRUPTION`, `FORMAT_VERSION`, `IO` */
  async run(): Promise<FoundSegments> {
    try {
      const candidates = await this.#candidates()
      let next = 0
      let torn: number | undefined
      while (next < candidates.length && torn === undefined) {
        torn = await this.#readSegment(candidates[next] as Candidate, candidates.slice(next + 1))
        next++
      }
      await this.#loader.settle()
      this.checkEnds()
      await checkEndMark(this.#parts, this.#end)
      await this.#cut(torn, candidates.slice(this.#segments.length))
      await removeEndMark(this.#parts)
      return { segments: this.#segments, end: this.#end, first: this.#first, spare: this.#spare }
    } catch (error) {
      await this.#loader.settle()
      for (const file of this.#loader.opened) await file.close()
      throw error
    }
  }

  /** The segment files in their order, without a gap. */
  async #candidates(): Promise<Candidate[]> {
    const { fs, directory } = this.#parts
    const found: Candidate[] = []
    for (const name of await fs.list(directory)) {
      // Of what size and content it is, nobody knows any more.
      if (isFree(name) || isUnfinishedDigest(name)) this.#waste.push(name)
      const digest = digestNumber(name)
      if (digest !== undefined) this.#digests.add(digest)
      const number = segmentNumber(name)
      if (number === undefined) continue
      const status = await fs.status(`${directory}/${name}`)
      if (status !== undefined) found.push({ number, name, size: status.size })
    }
    found.sort((a, b) => a.number - b.number)
    found.forEach(({ number }, i) => {
      const before = found[i - 1]?.number
      if (before !== undefined && before + 1 !== number) throw this.#missing(before + 1)
    })
    await this.checkDigests(found.at(-1)?.number)
    return found
  }

  /**
   * A digest is made when the next segment is there, and goes before any segment does: so it tells of its own and of the next.
   * One that does not read tells of nothing.
   *
   * @internal
   */
  async checkDigests(newest: number | undefined): Promise<void> {
    if (newest === undefined) return
    for (const number of this.#digests) {
      if (number < newest || (await this.#readDigest(number)) === undefined) continue
      const lost = segmentName(number === newest ? number + 1 : number)
      throw this.#corruption(
        { name: lost, offset: 0, position: this.#end },
        `the file is missing, and ${digestName(number)} tells of it`,
      )
    }
  }

  /** Returns the offset at which the segment is torn, 0 for all of it, or undefined when the next one may go on. */
  async #readSegment(candidate: Candidate, later: readonly Candidate[]): Promise<number | undefined> {
    const { number, name } = candidate
    const { file, bytes } = await this.#loader.load(candidate, later[0])
    const header = this.#headerOf({ candidate, file, bytes })
    if (header === undefined) {
      // Prepared and not used yet, or its first write was cut short.
      if (later.length === 0 && isZeroFrom(bytes, 0)) {
        this.#spare = { number, file, size: bytes.length }
        return 0
      }
      return this.#judge(candidate, bytes, { name, offset: 0, position: this.#end }, later)
    }
    if (this.#segments.length === 0) this.#end = header.start
    if (header.start !== this.#end) {
      throw this.#corruption({ name, offset: 0, position: this.#end }, 'it begins at another position')
    }
    const segment = {
      number,
      file,
      size: bytes.length,
      start: header.start,
      end: header.start,
      digested: this.#digests.has(number),
    }
    this.#segments.push(segment)
    this.#used = header.used
    this.#lastBatch = 0
    const offset = this.#readBatches(bytes, segment)
    this.#end = segment.end
    const next = later[0] === undefined ? undefined : this.#headerOf(await this.#loader.peek(later[0]))
    // Where the next segment goes on exactly here, the rest of this one was never used, whatever became of it.
    if (next?.start === segment.end) {
      if (!isZeroFrom(bytes, offset)) this.#stray = Math.max(this.#stray, this.#highestStray(bytes, offset))
      return undefined
    }
    if (next === undefined && isZeroFrom(bytes, offset)) return undefined
    return this.#judge(candidate, bytes, { name, offset, position: segment.end }, later)
  }

  /** The header of a segment, if it is one of this store and of this number. */
  #headerOf({ candidate, bytes }: LoadedSegment): SegmentHeader | undefined {
    const header = decodeSegmentHeader(bytes)
    if (header === undefined) return undefined
    if (header.version < oldestLogFormat || header.version > logFormatVersion) {
      throw new KeelsonError(
        'FORMAT_VERSION',
        `${this.#parts.directory}/${candidate.name} is in format ${header.version}, and this release reads ` +
          `${oldestLogFormat} to ${logFormatVersion}; open the directory with the release that wrote it`,
      )
    }
    const ours = header.number === candidate.number && header.incarnation === this.#parts.incarnation
    return ours ? header : undefined
  }

  /** Where a segment begins, as it says itself or, where it is damaged, its digest does. */
  async #startOf(candidate: Candidate): Promise<number | undefined> {
    const header = this.#headerOf(await this.#loader.load(candidate))
    return header?.start ?? (await this.#readDigest(candidate.number))?.start
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
        const verified = checkPayload(payload, header, this.#seed)
        this.#parts.replay.batch(payload, segment.end + batchHeaderBytes, verified)
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

  #highestStray(bytes: Uint8Array, offset: number): number {
    return highestStray(bytes, offset, this.#seed)
  }

  /** Decides what a place is at which no batch reads: returns its offset where it is torn, undefined to go on. */
  async #judge(
    candidate: Candidate,
    bytes: Uint8Array,
    place: Place,
    later: readonly Candidate[],
  ): Promise<number | undefined> {
    const witness = await this.witness(candidate, bytes, place, later)
    if (witness === undefined) return place.offset
    const next = later[0] === undefined ? undefined : await this.#startOf(later[0])
    // Reading other files has overwritten the buffer.
    const loaded = await this.#loader.load(candidate, later[0])
    await this.#contain(loaded, place, witness, next)
    return undefined
  }

  /**
   * What shows that a place had been durable, in words; undefined when nothing does.
   *
   * @internal
   */
  async witness(
    { number }: Candidate,
    bytes: Uint8Array,
    place: Place,
    later: readonly Candidate[],
  ): Promise<string | undefined> {
    const begin = Math.max(place.offset, segmentHeaderBytes)
    const own = findWitness(bytes, begin, place, this.#seed, begin)
    if (own !== undefined) return own
    for (const candidate of later) {
      const loaded = await this.#loader.load(candidate)
      // A segment is begun only when the one before is durable.
      if ((this.#headerOf(loaded)?.start ?? 0) > place.position) {
        return `${candidate.name} goes on behind this place, which therefore had been durable`
      }
      // The first batch of a segment whose header was lost, as neither was synced, belongs there.
      const found = findWitness(loaded.bytes, segmentHeaderBytes, place, this.#seed, segmentHeaderBytes)
      if (found !== undefined) return `in ${candidate.name} ${found}`
    }
    // It is made of what is durable, and removed before its segment goes on.
    const digest = await this.#readDigest(number)
    if (digest !== undefined && digest.start <= place.position && digest.end > place.position) {
      return `${digestName(number)} tells of what was here, which therefore had been durable`
    }
    return undefined
  }

  /** Goes on behind a damaged segment, if that is wanted, and if it is known what was in it. */
  async #contain(
    { candidate, file, bytes }: LoadedSegment,
    place: Place,
    witness: string,
    next: number | undefined,
  ): Promise<void> {
    const { contain, replay, directory, logger } = this.#parts
    const { number, name } = candidate
    const digest = await this.#digest(number)
    if (digest === undefined) {
      const claimed = claimedEntries(bytes, place.offset, this.#seed)
      throw this.#corruption(place, witness, claimed, ', as far as it can be read')
    }
    const examined = examine(bytes, digest, place.position, this.#seed)
    const entries = damagedEntries(examined)
    if (!contain || next !== digest.end) throw this.#corruption(place, witness, entries)
    for (const { record, whole } of examined) {
      if (whole) replay.record(record, record.position)
      else replay.damaged(record, record.position)
    }
    const known = this.#segments.at(-1)
    if (known?.number === number) known.end = digest.end
    else {
      const { start, end } = digest
      this.#segments.push({ number, file, size: bytes.length, start, end, digested: true })
    }
    this.#end = digest.end
    this.#first = Math.max(this.#first, digest.first)
    logger.error(
      {
        directory,
        file: name,
        offset: place.offset,
        witness,
        damaged: inWords(entries),
        stretches: entries.length,
      },
      'the disk has damaged what it had confirmed; the log goes on without it',
    )
  }

  async #readDigest(number: number): Promise<SegmentDigest | undefined> {
    if (!this.#digests.has(number)) return undefined
    const { fs, directory, incarnation } = this.#parts
    const bytes = await readWholeFile(fs, `${directory}/${digestName(number)}`, maximumDigestBytes)
    return bytes === undefined ? undefined : readDigest(bytes, number, incarnation)
  }

  /** The digest of the segment that is being read, if it fits to what was read before. */
  async #digest(number: number): Promise<SegmentDigest | undefined> {
    const digest = await this.#readDigest(number)
    const current = this.#segments.at(-1)
    if (digest === undefined || current === undefined) return digest
    const start = current.number === number ? current.start : this.#end
    return digest.start === start && digest.end >= this.#end ? digest : undefined
  }

  /**
   * What the last batch says of where the log begins must be there, and nothing may tell of a later end.
   *
   * @internal
   */
  checkEnds(): void {
    const oldest = this.#segments[0]
    if (oldest === undefined) return
    if (oldest.start > this.#first) throw this.#missing(oldest.number - 1)
    if (this.#stray < this.#end) return
    const { number, start } = this.#segments.at(-1) as FoundSegment
    throw this.#corruption(
      { name: segmentName(number), offset: segmentHeaderBytes + this.#end - start, position: this.#end },
      'the batch that belongs here lies behind the end of another segment, where the disk has put it',
    )
  }

  /** Removes what a crash left behind the end, and makes durable what is kept. */
  async #cut(torn: number | undefined, rest: readonly Candidate[]): Promise<void> {
    const { directory, logger } = this.#parts
    const last = this.#segments.at(-1)
    if (torn !== undefined && torn > 0 && last !== undefined) {
      if (!this.#used) {
        logger.warn(
          { directory, file: segmentName(last.number), offset: torn, position: this.#end },
          'a write was cut short by a crash; nobody was told of it, and it is removed',
        )
      }
      await writeZeros(last.file, torn, last.size)
    }
    if (last !== undefined) await this.makeDurable(last)
    const kept = new Set([...this.#segments.map(({ file }) => file), this.#spare?.file])
    for (const file of this.#loader.opened) if (!kept.has(file)) await file.close()
    for (const { name, number } of rest) if (number !== this.#spare?.number) this.#waste.push(name)
    // Of a segment that goes on a digest tells too little. Before any segment goes, of which it would tell.
    const oldest = this.#segments[0]?.number ?? 0
    const digests = [...this.#digests].filter((number) => number < oldest || number >= (last?.number ?? 0))
    await this.#remove(digests.map(digestName))
    if (last !== undefined) last.digested = false
    await this.#remove(this.#waste)
  }

  async #remove(names: readonly string[]): Promise<void> {
    const { fs, directory } = this.#parts
    for (const name of names) await fs.remove(`${directory}/${name}`)
    if (names.length > 0) await fs.syncDirectory(directory)
  }

  /**
   * Nothing confirms the last batch, so it may be in the system's cache alone: its writer was killed before the sync, or
   * the sync failed, after which the cache takes for clean what the disk never got. It is written once more.
   *
   * @internal
   */
  async makeDurable(last: FoundSegment): Promise<void> {
    const bytes = new Uint8Array(segmentHeaderBytes + last.end - last.start - this.#lastBatch)
    const count = await last.file.read(bytes, this.#lastBatch)
    await last.file.write(bytes.subarray(0, count), this.#lastBatch)
    await last.file.sync()
  }

  #missing(number: number): KeelsonError {
    return this.#corruption(
      { name: segmentName(number), offset: 0, position: this.#end },
      'the file is missing',
    )
  }

  #corruption(
    { name, offset }: Place,
    problem: string,
    entries: readonly DamagedEntries[] = [],
    reservation = '',
  ): KeelsonError {
    const [first] = entries
    return new KeelsonError(
      'CORRUPTION',
      `${this.#parts.directory}/${name} is damaged at offset ${offset}: ${problem}. ` +
        (first === undefined ? '' : `Damaged${reservation}: ${inWords(entries)}. `) +
        'Nothing was changed: restore the directory, or replace this node, so that it comes back as a new incarnation',
      {
        details: {
          file: name,
          offset,
          ...(first === undefined ? {} : { groupId: first.groupId, first: first.first, last: first.last }),
          ...(first === undefined ? {} : { stretches: entries.length }),
        },
      },
    )
  }
}
