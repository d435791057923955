import { KeelsonError } from '../core/errors.ts'
import { invariant } from '../core/invariant.ts'
import { chance, type SeededRandom } from '../core/random.ts'
import type { WrittenLoss } from './disk-files.ts'
import { checkQuality, type DiskQuality, diskDefaults } from './disk-quality.ts'
import type { FaultCounts } from './fault-counts.ts'
import { FileDevice } from './file-device.ts'
import type { CrashKind, SimulatedProcess } from './process.ts'
import type { Scheduler } from './scheduler.ts'
import { SimulatedFileSystem } from './simulated-file-system.ts'
import { SimulatedFiles } from './simulated-files.ts'

/** What is asked of the device. */
export type DiskOperation = 'sync' | 'read'

/** The files of a disk as the device had them at some time. */
export interface DiskImage {
  /** Content by path. */
  readonly files: ReadonlyMap<string, Uint8Array>
}

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
  readonly #device: FileDevice
  readonly #stalled: (() => void)[] = []
  readonly #powerListeners = new Set<(random: SeededRandom) => void>()
  #quality: DiskQuality
  #stalls = 0

  /** Puts an empty disk into a process; `quality` overrides the defaults. */
  constructor(process: SimulatedProcess, context: DiskContext, quality: Partial<DiskQuality> = {}) {
    this.process = process
    this.#context = context
    this.#quality = { ...diskDefaults, ...checkQuality(quality) }
    this.#device = new FileDevice(this, context.random.child('files'), context.counts)
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
    return new SimulatedFiles(this.#device, this.process.life)
  }

  /** The files behind the port of stores such as `segments`, for the present life of the process. */
  fileSystem(): SimulatedFileSystem {
    return new SimulatedFileSystem(this.#device, this.process.life)
  }

  /** Flips one bit of a file, in the cache and on the device. @throws KeelsonError `NOT_FOUND` */
  flipBit(path: string, byte: number, bit: number): void {
    this.#context.counts.add('disk bit flipped')
    this.#device.tree.get(path).flip(byte, bit)
  }

  /** Overwrites a part of a file, in the cache and on the device: a page that was lost. @throws KeelsonError `NOT_FOUND` */
  overwrite(path: string, offset: number, bytes: Uint8Array): void {
    this.#context.counts.add('disk page lost')
    this.#device.tree.get(path).damage(offset, bytes)
  }

  /** Empties the page cache of what is clean: from now on programs see what the device has. */
  dropCaches(): void {
    this.#device.tree.evict()
  }

  /** The files as the device has them now, without what was not synced: a backup that knows nothing of programs. */
  image(): DiskImage {
    return { files: this.#device.tree.image() }
  }

  /** Puts an earlier image in the place of all files. The process must have crashed. */
  restore(image: DiskImage): void {
    invariant(this.process.state === 'crashed', 'a disk is restored while its process is down')
    this.#context.counts.add('disk restored')
    this.#device.tree.restore(image.files)
  }

  #onCrash(kind: CrashKind): void {
    this.#stalled.length = 0
    this.#device.locks.clear()
    if (kind === 'kill') return
    const { random, counts } = this.#context
    const loss: WrittenLoss = this.#device.tree.cutPower(random)
    for (const [what, amount] of Object.entries(loss)) if (amount > 0) counts.add(`disk ${what}`, amount)
    for (const listener of this.#powerListeners) listener(random)
  }
}
