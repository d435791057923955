import type { Environment } from '../../core/environment.ts'
import { KeelsonError, toKeelsonError } from '../../core/errors.ts'
import { invariant } from '../../core/invariant.ts'
import type { FileSystem, OpenFile } from '../../interfaces/file-system.ts'
import type { Incarnation } from '../../model/ids.ts'
import { writeFileAtomically } from '../file-system.ts'
import type { LogExtent, LogMedium, LogReplay, Stretch } from '../log-medium.ts'
import { leaveEndMark } from './end-mark.ts'
import { SegmentRecovery } from './recovery.ts'
import { digestName, makeDigest } from './segment-digest.ts'
import {
  encodeSegmentHeader,
  freeName,
  makeSegment,
  segmentHeaderBytes,
  segmentName,
} from './segment-file.ts'

interface Segment {
  readonly number: number
  readonly file: OpenFile
  /** Size of the file. */
  readonly size: number
  /** Positions of its first batch and behind its last one. */
  readonly start: number
  end: number
  /** Reads under way, which keep the file open. */
  reads: number
  /** Its file was removed under these reads; the last of them closes it. */
  orphaned: boolean
  /** A file beside it tells what is in it. */
  digested: boolean
}

interface Spare {
  readonly number: number
  readonly file: OpenFile
  readonly size: number
  readonly used: boolean
}

/** A file that was given up. */
interface Free {
  readonly name: string
  readonly file: OpenFile
}

/** What a medium of segments is made of. */
export interface SegmentMediumParts {
  readonly fs: FileSystem
  readonly directory: string
  readonly incarnation: Incarnation
  readonly segmentBytes: number
  /** The store was made before, so there must be segments. */
  readonly ready: boolean
  /** Goes on without the entries that the disk has damaged. */
  readonly contain: boolean
  readonly env: Environment
}

/** Reads that lie so close together are done as one. */
const readOverBytes = 4 * 1024

/** Files that are kept to be used again: to write zeros into a new one costs as much as to write the log. */
const maximumFree = 2

/**
 * A log in files of a fixed size, one after the other. A batch is one write and one sync into the zeros of the last
 * file; the next file is made in advance; whole files are given up at the other end.
 */
export class SegmentMedium implements LogMedium {
  readonly #parts: SegmentMediumParts
  /** Oldest first; the last one takes the batches. */
  readonly #segments: Segment[] = []
  #spare: Spare | undefined
  #preparing: Promise<void> | undefined
  readonly #free: Free[] = []
  /** Why the next segment could not be made. */
  #spareFailure: KeelsonError | undefined
  /** What is done beside the log, one thing after the other. */
  #chores: Promise<void> = Promise.resolve()
  #closed = false
  /** Where the log ends is known, and durable. */
  #certain = false

  constructor(parts: SegmentMediumParts) {
    this.#parts = parts
  }

  get maximumBatchBytes(): number {
    return this.#parts.segmentBytes - segmentHeaderBytes
  }

  get storedBytes(): number {
    const last = this.#segments.at(-1)
    if (last === undefined) return 0
    let bytes = last.end - last.start - last.size
    for (const segment of this.#segments) bytes += segment.size
    return bytes
  }

  async recover(replay: LogReplay): Promise<LogExtent> {
    const { fs, directory, incarnation, segmentBytes, ready, contain, env } = this.#parts
    const { logger } = env
    const recovery = new SegmentRecovery({ fs, directory, incarnation, logger, contain, replay })
    const found = await recovery.run()
    for (const segment of found.segments) this.#segments.push({ ...segment, reads: 0, orphaned: false })
    if (found.spare !== undefined) this.#spare = { ...found.spare, used: false }
    if (this.#segments.length === 0) {
      if (ready) {
        throw new KeelsonError(
          'CORRUPTION',
          `${directory} holds no segments any more, although it once did; replace this node, so that it comes back ` +
            'as a new incarnation, or restore the directory',
        )
      }
      await this.#roll(found.end, segmentBytes)
    } else {
      this.#drop(found.first)
      this.#digest()
    }
    this.#certain = true
    return { end: found.end, first: found.first }
  }

  get short(): boolean {
    return this.#spareFailure !== undefined
  }

  admit(bytes: number, purpose: 'write' | 'cleaning'): void {
    const failure = this.#spareFailure
    const kept = this.#parts.segmentBytes / (purpose === 'write' ? 8 : 32)
    if (failure === undefined || bytes <= this.#room() - kept) return
    // Perhaps there is room by now.
    this.#prepare()
    throw new KeelsonError(
      'DISK_FULL',
      `there is no room for another segment in ${this.#parts.directory}, and the last one is nearly full; free some ` +
        `space and try again (${failure.message})`,
      { cause: failure },
    )
  }

  async append(bytes: Uint8Array, position: number, first: number): Promise<void> {
    this.#certain = false
    if (bytes.length > this.#room()) await this.#roll(position, bytes.length)
    const active = this.#active()
    invariant(active.end === position, 'a batch begins where the one before ends')
    const at = segmentHeaderBytes + position - active.start
    // The first batch takes the header, which was written before it, along.
    if (position === active.start || active.file.writeThrough === undefined) {
      await active.file.write(bytes, at)
      await active.file.sync()
    } else await active.file.writeThrough(bytes, at)
    active.end += bytes.length
    this.#certain = true
    this.#drop(first)
    if (this.#room() < active.size / 2) this.#prepare()
  }

  async read(stretches: readonly Stretch[]): Promise<Uint8Array[]> {
    const pieces: Promise<Uint8Array[]>[] = []
    for (let from = 0; from < stretches.length; ) {
      const segment = this.#segmentOf((stretches[from] as Stretch).position)
      let to = from + 1
      while (to < stretches.length && follows(stretches[to - 1], stretches[to], segment.end)) to++
      pieces.push(this.#readPiece(segment, stretches.slice(from, to)))
      from = to
    }
    return (await Promise.all(pieces)).flat()
  }

  boundary(): number | undefined {
    return this.#segments.length > 1 ? (this.#segments[0] as Segment).end : undefined
  }

  locate(position: number): string {
    const { number, start } = this.#segmentOf(position)
    const offset = segmentHeaderBytes + position - start
    return `${this.#parts.directory}/${segmentName(number)} at offset ${offset}`
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#preparing
    await this.#chores
    await this.#leaveEndMark()
    await this.#spare?.file.close()
    for (const { file } of this.#free) await file.close()
    for (const { file } of this.#segments) await file.close()
  }

  /** Without it the next opening finds out less about the disk, and nothing else is lost. */
  async #leaveEndMark(): Promise<void> {
    if (!this.#certain) return
    try {
      await leaveEndMark(this.#parts, this.#active().end)
    } catch (error) {
      this.#warn(toKeelsonError(error), 'the end of the log could not be noted on closing')
    }
  }

  #active(): Segment {
    return this.#segments.at(-1) as Segment
  }

  #room(): number {
    const { size, start, end } = this.#active()
    return size - segmentHeaderBytes - (end - start)
  }

  #segmentOf(position: number): Segment {
    let low = 0
    let high = this.#segments.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#segments[middle] as Segment).start <= position) low = middle + 1
      else high = middle
    }
    const segment = this.#segments[low - 1]
    invariant(segment !== undefined && position < segment.end, 'what is read is there')
    return segment
  }

  /** Reads stretches that lie close together, in rising order, as one. */
  async #readPiece(segment: Segment, stretches: readonly Stretch[]): Promise<Uint8Array[]> {
    const from = (stretches[0] as Stretch).position
    const last = stretches.at(-1) as Stretch
    const bytes = new Uint8Array(last.position + last.bytes - from)
    segment.reads++
    try {
      const count = await segment.file.read(bytes, segmentHeaderBytes + from - segment.start)
      const there = bytes.subarray(0, count)
      return stretches.map(({ position, bytes: length }) =>
        there.subarray(position - from, position - from + length),
      )
    } finally {
      segment.reads--
      if (segment.orphaned && segment.reads === 0) await segment.file.close()
    }
  }

  /** Goes on in a new segment. */
  async #roll(start: number, needed: number): Promise<void> {
    if (this.#spare === undefined) this.#prepare()
    await this.#preparing
    let spare = this.#spare
    if (spare !== undefined && spare.size - segmentHeaderBytes < needed) {
      // It was made when segments were smaller.
      this.#spare = undefined
      await spare.file.close()
      await this.#parts.fs.remove(`${this.#parts.directory}/${segmentName(spare.number)}`)
      this.#prepare()
      await this.#preparing
      spare = this.#spare
    }
    if (spare === undefined) throw this.#spareFailure as KeelsonError
    this.#spare = undefined
    const { number, file, size, used } = spare
    const { incarnation } = this.#parts
    await file.write(encodeSegmentHeader({ number, start, incarnation, used }), 0)
    const counts = { start, end: start, reads: 0, orphaned: false, digested: false }
    this.#segments.push({ number, file, size, ...counts })
    this.#digest()
  }

  /** Makes the digests of the full segments that have none yet. */
  #digest(): void {
    this.#later('the digest of a segment cannot be made', async () => {
      for (const segment of this.#segments.slice(0, -1)) {
        if (this.#closed) return
        if (!segment.digested) await this.#makeDigest(segment)
      }
    })
  }

  async #makeDigest(segment: Segment): Promise<void> {
    const { fs, directory, incarnation, env } = this.#parts
    const { number, start, end, file } = segment
    const bytes = new Uint8Array(segmentHeaderBytes + end - start)
    const count = await file.read(bytes, 0)
    const turn = (): Promise<void> => new Promise((resolve) => env.timers.defer(resolve))
    const digest =
      count === bytes.length ? await makeDigest(bytes, { number, start }, incarnation, turn) : undefined
    segment.digested = true
    if (digest === undefined) {
      env.logger.error({ directory, file: segmentName(number) }, 'a full segment cannot be read back')
      return
    }
    await writeFileAtomically(fs, directory, digestName(number), digest)
  }

  /** Does something once all that came before is done. A failure is told, and harms nothing but its own purpose. */
  #later(failed: string, chore: () => Promise<void>): void {
    this.#chores = this.#chores
      .then(chore)
      .catch((error: unknown) => this.#warn(toKeelsonError(error), failed))
  }

  /** Makes the next segment in advance. */
  #prepare(): void {
    if (this.#spare !== undefined || this.#preparing !== undefined || this.#closed) return
    const number = (this.#segments.at(-1)?.number ?? 0) + 1
    this.#preparing = this.#makeSpare(number)
      .then(
        (spare) => {
          this.#spare = spare
          this.#spareFailure = undefined
        },
        (error: unknown) => {
          this.#spareFailure = toKeelsonError(error)
          this.#warn(this.#spareFailure, 'the next segment cannot be made')
        },
      )
      .finally(() => {
        this.#preparing = undefined
      })
  }

  async #makeSpare(number: number): Promise<Spare> {
    const { fs, directory, segmentBytes: size } = this.#parts
    const free = this.#free.pop()
    if (free === undefined) {
      return { number, file: await makeSegment(fs, directory, number, size), size, used: false }
    }
    try {
      await fs.rename(`${directory}/${free.name}`, `${directory}/${segmentName(number)}`)
      await fs.syncDirectory(directory)
    } catch (error) {
      await free.file.close()
      throw error
    }
    return { number, file: free.file, size, used: true }
  }

  /** Gives up the segments that lie wholly before a position, but for the last one. */
  #drop(first: number): void {
    while (this.#segments.length > 1 && (this.#segments[0] as Segment).end <= first) {
      const segment = this.#segments.shift() as Segment
      // Oldest first, so that a crash leaves no gap. Nothing waits for it: the log says by itself where it begins.
      this.#later(
        'a segment that is not needed any more cannot be removed; the next opening tries again',
        () => this.#remove(segment),
      )
    }
  }

  async #remove(segment: Segment): Promise<void> {
    const { fs, directory, segmentBytes } = this.#parts
    const path = `${directory}/${segmentName(segment.number)}`
    const digest = `${directory}/${digestName(segment.number)}`
    if (segment.digested && (await fs.status(digest)) !== undefined) await fs.remove(digest)
    // A read under way must not see what another use writes into the file.
    if (segment.reads === 0 && segment.size === segmentBytes && this.#free.length < maximumFree) {
      const name = freeName(segment.number)
      await fs.rename(path, `${directory}/${name}`)
      this.#free.push({ name, file: segment.file })
    } else {
      segment.orphaned = true
      if (segment.reads === 0) await segment.file.close()
      await fs.remove(path)
    }
    await fs.syncDirectory(directory)
  }

  #warn(error: KeelsonError, message: string): void {
    this.#parts.env.logger.warn({ directory: this.#parts.directory, error: error.toJSON() }, message)
  }
}

function follows(before: Stretch | undefined, next: Stretch | undefined, end: number): boolean {
  if (before === undefined || next === undefined) return false
  const gap = next.position - (before.position + before.bytes)
  return gap >= 0 && gap <= readOverBytes && next.position < end
}
