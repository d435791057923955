import type { Environment } from '../../../src/core/environment.ts'
import type { LogStore, LogStoreContext } from '../../../src/interfaces/log-store.ts'
import { SimulatedDisk } from '../../../src/simulation/disk.ts'
import type { DiskQuality } from '../../../src/simulation/disk-quality.ts'
import type { CrashKind, SimulatedProcess } from '../../../src/simulation/process.ts'
import { Simulation } from '../../../src/simulation/simulation.ts'
import { type FileSystem, type SegmentsOptions, segments } from '../../../src/storage/segments/index.ts'

/** What is between a store and its disk. */
export interface MachineOptions {
  /** Breaks something on purpose. */
  readonly wrap?: (fs: FileSystem) => FileSystem
}

/** One machine in virtual time with a disk and a log of segments on it. */
export class Machine {
  readonly simulation: Simulation
  readonly process: SimulatedProcess
  readonly disk: SimulatedDisk
  readonly options: SegmentsOptions
  readonly #wrap: (fs: FileSystem) => FileSystem

  constructor(
    seed: number,
    options: SegmentsOptions = {},
    quality: Partial<DiskQuality> = {},
    { wrap = (fs) => fs }: MachineOptions = {},
  ) {
    this.#wrap = wrap
    this.simulation = new Simulation({ seed })
    this.process = this.simulation.process('n1')
    this.disk = new SimulatedDisk(
      this.process,
      {
        scheduler: this.simulation.scheduler,
        random: this.simulation.random('disk'),
        counts: this.simulation.faults,
      },
      quality,
    )
    this.options = { segmentBytes: 16 * 1024, ...options }
  }

  get env(): Environment {
    return this.process.environment
  }

  get context(): LogStoreContext {
    return { env: this.env, clusterId: 'c', nodeId: 'n' }
  }

  open(options: SegmentsOptions = {}, wrap: (fs: FileSystem) => FileSystem = this.#wrap): Promise<LogStore> {
    const fileSystem = wrap(this.disk.fileSystem())
    return segments('log', { ...this.options, ...options, fileSystem })(this.context)
  }

  /** Runs a scenario in virtual time. */
  run<T>(scenario: () => Promise<T>): Promise<T> {
    return this.simulation.until(scenario())
  }

  restart(kind: CrashKind = 'power'): void {
    this.process.crash(kind)
    this.process.restart()
  }

  /** Names of the segment files, oldest first. */
  segmentFiles(): string[] {
    return this.disk
      .mount()
      .list('log/')
      .filter((path) => path.endsWith('.segment'))
  }
}
