import { KeelsonError } from '../core/errors.ts'
import { checkOptions, numberOption, optional } from '../core/options.ts'
import { chance, type SeededRandom } from '../core/random.ts'
import { FileTree, type WrittenLoss } from './disk-files.ts'
import type { FaultCounts } from './fault-counts.ts'
import type { CrashKind, SimulatedProcess } from './process.ts'
import type { Scheduler } from './scheduler.ts'
import { SimulatedFiles } from './simulated-files.ts'

/** How a disk fares. Times are in milliseconds, probabilities per operation. */
export interface DiskQuality {
  /** Least time of an operation that goes to the device. */
  readonly minimumDelayMs: number
  /** Mean of the additional time, exponentially distributed. */
  readonly meanExtraDelayMs: number
  /** An operation that is hit takes {@link DiskQuality.slowDelayMs} longer at most. */
  readonly slowProbability: number
  /** Longest additional time of an operation that is hit. */
  readonly slowDelayMs: number
  /** A sync that is hit fails, and what it should have made durable never will be by a later one. */
  readonly syncFailureProbability: number
  /** A read that is hit fails. */
  readonly readFailureProbability: number
  /** Bytes after which a write fails with `DISK_FULL`. */
  readonly capacityBytes: number
}

/** A good solid-state disk. */
export const diskDefaults: DiskQuality = Object.freeze({
  minimumDelayMs: 0.2,
  meanExtraDelayMs: 0.3,
  slowProbability: 0,
  slowDelayMs: 500,
  syncFailureProbability: 0,
  readFailureProbability: 0,
  capacityBytes: Number.POSITIVE_INFINITY,
})

/** @throws KeelsonError `INVALID_OPTION` */
function checkQuality(quality: Partial<DiskQuality>): Partial<DiskQuality> {
  const delay = optional(numberOption({ min: 0 }))
  const probability = optional(numberOption({ min: 0, max: 1 }))
  return checkOptions<{ readonly [K in keyof DiskQuality]: number | undefined }>(
    'the quality of a disk',
    quality,
    {
      minimumDelayMs: delay,
      meanExtraDelayMs: delay,
      slowProbability: probability,
      slowDelayMs: delay,
      syncFailureProbability: probability,
      readFailureProbability: probability,
      capacityBytes: (value, name) => (value === Number.POSITIVE_INFINITY ? value : delay(value, name)),
    },
  ) as Partial<DiskQuality>
}

/** What is asked of the device. */
export type DiskOperation = 'sync' | 'read'

/** What a disk needs of its simulation. */
export interface DiskContext {
  /** Virtual time, in which operations take theirs. */
  readonly scheduler: Scheduler
  /** Decides delays, failures, and what a power cut leaves. */
  readonly random: SeededRandom
  /** Where the faults that happen are counted. */
  readonly counts: FaultCounts
}

/**
 * The disk of one simulated process. Writing, syncing, renaming and syncing a directory are separate acts, as POSIX has
 * them: a write is visible at once, and survives a power cut for certain only when a sync that began after it has
 * succeeded. What was not synced is kept, lost or torn at a power cut, as the seed says; names survive only through a
 * sync of their directory. Killing the process alone loses nothing of this.
 *
 * Operations of a life that has ended never come back.
 */
export class SimulatedDisk {
  /** The process whose disk it is: its crash ends all operations under way. */
  readonly process: SimulatedProcess
  readonly #context: DiskContext
  readonly #files = new FileTree()
  readonly #stalled: (() => void)[] = []
  readonly #powerListeners = new Set<(random: SeededRandom) => void>()
  #quality: DiskQuality
  #stalls = 0

  /** Puts an empty disk into a process; `quality` overrides the defaults. */
  constructor(process: SimulatedProcess, context: DiskContext, quality: Partial<DiskQuality> = {}) {
    this.process = process
    this.#context = context
    this.#quality = { ...diskDefaults, ...checkQuality(quality) }
    process.onCrash((kind) => this.#onCrash(kind))
  }

  /** How the disk fares now. */
  get quality(): DiskQuality {
    return this.#quality
  }

  /** Changes how the disk fares from the next operation on; what is not given stays. */
  setQuality(quality: Partial<DiskQuality>): void {
    this.#quality = { ...this.#quality, ...checkQuality(quality) }
  }

  /** Makes every operation wait until the function that is returned is called. */
  stall(): () => void {
    this.#stalls++
    this.#context.counts.add('disk stalled')
    let over = false
    return () => {
      if (over) return
      over = true
      this.#stalls--
      if (this.#stalls > 0) return
      for (const start of this.#stalled.splice(0)) start()
    }
  }

  /**
   * Lets the device do something that takes its time and may fail; `done` gets the error, or nothing. The building block
   * of stores: what the operation means for their bytes they decide themselves.
   */
  perform(operation: DiskOperation, done: (error: KeelsonError | undefined) => void): void {
    const { life } = this.process
    const start = (): void => {
      if (this.process.life !== life) return
      const { random, counts, scheduler } = this.#context
      const quality = this.#quality
      let delayMs = quality.minimumDelayMs - Math.log(1 - random.float()) * quality.meanExtraDelayMs
      if (quality.slowProbability > 0 && chance(random, quality.slowProbability)) {
        counts.add(`disk slow ${operation}`)
        delayMs += random.float() * quality.slowDelayMs
      }
      const failure = operation === 'sync' ? quality.syncFailureProbability : quality.readFailureProbability
      const fails = failure > 0 && chance(random, failure)
      if (fails) counts.add(`disk failed ${operation}`)
      scheduler.schedule(
        delayMs,
        () => done(fails ? new KeelsonError('IO', `simulated failure of a ${operation}`) : undefined),
        this.process,
        life,
      )
    }
    if (this.#stalls > 0) this.#stalled.push(start)
    else start()
  }

  /** Calls `listener` at each power cut, with the generator that decides what survives. For stores built on `perform`. */
  onPowerCut(listener: (random: SeededRandom) => void): () => void {
    this.#powerListeners.add(listener)
    return () => this.#powerListeners.delete(listener)
  }

  /** The files, for the present life of the process: after a crash its programs reach nothing through it. */
  mount(): SimulatedFiles {
    return new SimulatedFiles(this, this.#files, this.#context.counts)
  }

  /** Flips one bit of a file, in the cache and on the device. @throws KeelsonError `NOT_FOUND` */
  flipBit(path: string, byte: number, bit: number): void {
    this.#context.counts.add('disk bit flipped')
    this.#files.get(path).flip(byte, bit)
  }

  #onCrash(kind: CrashKind): void {
    this.#stalled.length = 0
    if (kind === 'kill') return
    const { random, counts } = this.#context
    const loss: WrittenLoss = this.#files.cutPower(random)
    for (const [what, amount] of Object.entries(loss)) if (amount > 0) counts.add(`disk ${what}`, amount)
    for (const listener of this.#powerListeners) listener(random)
  }
}
