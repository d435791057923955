import { copyBytes } from '../core/bytes.ts'
import { KeelsonError } from '../core/errors.ts'
import { chance, type SeededRandom } from '../core/random.ts'
import { type FileImage, FileTree } from './disk-files.ts'
import type { DiskQuality } from './disk-quality.ts'
import type { FaultCounts } from './fault-counts.ts'
import type { SimulatedProcess } from './process.ts'

/** What the files need of their disk. */
export interface FilesDevice {
  /** The process whose disk it is. */
  readonly process: SimulatedProcess
  /** What of the disk's quality concerns files. */
  readonly quality: DiskQuality
  /** Does a sync or a read on the device, with its delay, and fails when the disk's quality says so. */
  perform(operation: 'sync' | 'read', done: (error: KeelsonError | undefined) => void): void
}

/** A write that goes astray lands at a multiple of this. */
const blockBytes = 512

/** The files of a disk and what can happen to them. It outlives the processes that use it. */
export class FileDevice {
  readonly tree: FileTree = new FileTree()
  readonly directories: Set<string> = new Set([''])
  readonly locks: Set<string> = new Set()
  readonly #disk: FilesDevice
  readonly #random: SeededRandom
  readonly #counts: FaultCounts

  constructor(disk: FilesDevice, random: SeededRandom, counts: FaultCounts) {
    this.#disk = disk
    this.#random = random
    this.#counts = counts
  }

  /** Refuses every call of a life that has ended. @throws KeelsonError `CLOSED` */
  check(life: number): void {
    const { process } = this.#disk
    if (process.life === life) return
    throw new KeelsonError('CLOSED', `the life of ${process.name} that mounted these files has ended`)
  }

  /** Writes into the page cache, extending the file with zeros as needed. @throws KeelsonError `DISK_FULL`, `IO` */
  write(file: FileImage, offset: number, bytes: Uint8Array): void {
    const { capacityBytes, writeFailureProbability, misdirectedWriteProbability } = this.#disk.quality
    const growth = offset + bytes.length - file.current.length
    if (growth > 0 && this.tree.usedBytes() + growth > capacityBytes) {
      this.#counts.add('disk full')
      throw new KeelsonError('DISK_FULL', 'the simulated disk is full')
    }
    const change = { type: 'write', offset, bytes: copyBytes(bytes) } as const
    if (this.#hits(writeFailureProbability)) {
      this.#counts.add('disk failed write')
      file.change({ ...change, bytes: change.bytes.subarray(0, bytes.length >>> 1) })
      throw new KeelsonError('IO', 'simulated failure of a write')
    }
    const astray = this.#hits(misdirectedWriteProbability) ? this.#elsewhere(file, offset) : undefined
    if (astray !== undefined) this.#counts.add('disk misdirected write')
    file.change(astray === undefined ? change : { ...change, astray })
  }

  /** Makes the content of a file durable. @throws KeelsonError `IO` */
  async sync(file: FileImage): Promise<void> {
    const taken = file.pending.slice()
    try {
      await this.performed('sync')
    } catch (error) {
      // What a failed sync leaves in the cache counts as clean from then on.
      file.forget(taken)
      throw error
    }
    if (this.#hits(this.#disk.quality.lostSyncProbability)) {
      // It is in the drive's own cache, which a power cut empties, until a sync does what it says.
      this.#counts.add('disk lost sync')
      return
    }
    file.settle(taken)
  }

  /** Makes the names in a directory durable. @throws KeelsonError `IO` */
  async syncDirectory(directory: string): Promise<void> {
    const taken = this.tree.pendingNames(directory)
    await this.performed('sync')
    this.tree.settleNames(taken)
  }

  /** @throws KeelsonError `IO` */
  async performed(operation: 'sync' | 'read'): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#disk.perform(operation, (error) => (error === undefined ? resolve() : reject(error)))
    })
  }

  #hits(probability: number): boolean {
    return probability > 0 && chance(this.#random, probability)
  }

  /** Another place for a write: in the same file, or in another one of its directory or below. */
  #elsewhere(file: FileImage, offset: number): { file: FileImage; offset: number } | undefined {
    const others = this.tree.list('').map((path) => this.tree.get(path))
    const target = chance(this.#random, 0.5) ? file : (others[this.#random.integer(others.length)] ?? file)
    const blocks = Math.floor(target.durable.length / blockBytes)
    if (blocks === 0) return undefined
    const at = this.#random.integer(blocks) * blockBytes + (offset % blockBytes)
    return target === file && at === offset ? undefined : { file: target, offset: at }
  }
}
