import type { Timers } from '../../core/clock.ts'
import { KeelsonError } from '../../core/errors.ts'
import { checkOptions, functionOption, integerOption, objectOption, optional } from '../../core/options.ts'
import type { Random } from '../../core/random.ts'

/** Options of {@link MemoryDisk}. */
export interface MemoryDiskOptions {
  /** Where a sync waits. Without them a sync is done at the next microtask. */
  readonly timers?: Timers
  /** Milliseconds that one sync takes, asked anew each time. Needs `timers`. Default: 0. */
  readonly syncLatencyMs?: () => number
  /**
   * Bytes of one volume that may wait for a sync; beyond it the oldest become durable by themselves, as they do when a
   * system writes its cache back. Default: 4 MiB.
   */
  readonly maximumUnsyncedBytes?: number
}

/** Defaults of {@link MemoryDiskOptions}. */
export const memoryDiskDefaults: {
  /** See {@link MemoryDiskOptions.maximumUnsyncedBytes}. */
  readonly maximumUnsyncedBytes: number
} = Object.freeze({
  maximumUnsyncedBytes: 4 * 1024 * 1024,
})

/** Something that was written and not synced yet. */
interface Unsynced {
  readonly bytes: number
  readonly undo: () => void
}

/** What lives on a disk under one name. */
interface Volume {
  readonly state: object
  /** Oldest first. Undone from the back, so that a prefix of the writes is left. */
  readonly unsynced: Unsynced[]
  unsyncedBytes: number
  /** Writes ever recorded. */
  written: number
  mounted: MemoryMount<object> | undefined
}

/**
 * The disk of one simulated machine: named volumes that outlive the processes that use them. A volume forgets in a
 * {@link MemoryDisk.crash} what its process had not synced, but for a random prefix, which had reached the platter by
 * itself.
 */
export class MemoryDisk {
  /**
   * While set, every sync fails: with `IO` as after a broken write, with `DISK_FULL` as on a full disk. A store must
   * then stop, as what it wrote may be gone.
   */
  fault: 'IO' | 'DISK_FULL' | undefined = undefined
  readonly #options: MemoryDiskOptions & { readonly maximumUnsyncedBytes: number }
  readonly #volumes = new Map<string, Volume>()

  /** @throws KeelsonError `INVALID_OPTION` */
  constructor(options: MemoryDiskOptions = {}) {
    this.#options = checkOptions<MemoryDiskOptions & { readonly maximumUnsyncedBytes: number }>(
      'MemoryDisk',
      options,
      {
        timers: optional(objectOption<Timers>(['schedule'])),
        syncLatencyMs: optional(functionOption<() => number>()),
        maximumUnsyncedBytes: integerOption({ min: 0, fallback: memoryDiskDefaults.maximumUnsyncedBytes }),
      },
      (given, refuse) => {
        if (given.syncLatencyMs !== undefined && given.timers === undefined) {
          refuse("'syncLatencyMs' needs 'timers' to wait with")
        }
      },
    )
  }

  /**
   * The power fails, or the process is killed together with what the system had not written back: every volume goes
   * back to its last synced state plus a random prefix of what was written since. Whoever used the disk is dead: its
   * calls never settle and its writes change nothing; open everything anew.
   */
  crash(random: Random): void {
    for (const volume of this.#volumes.values()) {
      volume.mounted?.detach()
      volume.mounted = undefined
      const kept = random.integer(volume.unsynced.length + 1)
      while (volume.unsynced.length > kept) (volume.unsynced.pop() as Unsynced).undo()
      volume.unsynced.length = 0
      volume.unsyncedBytes = 0
    }
  }

  /** Forgets everything: the disk was replaced by an empty one. */
  wipe(): void {
    for (const volume of this.#volumes.values()) volume.mounted?.detach()
    this.#volumes.clear()
  }

  /**
   * Takes hold of a volume, which `create` makes when it is not there.
   *
   * @internal
   * @throws KeelsonError `DIRECTORY_LOCKED` while someone else holds it
   */
  mount<T extends object>(name: string, create: () => T): MemoryMount<T> {
    let volume = this.#volumes.get(name)
    if (volume === undefined) {
      volume = { state: create(), unsynced: [], unsyncedBytes: 0, written: 0, mounted: undefined }
      this.#volumes.set(name, volume)
    }
    if (volume.mounted !== undefined) {
      throw new KeelsonError(
        'DIRECTORY_LOCKED',
        `the volume '${name}' of this disk is open already; close it before it is opened again`,
      )
    }
    const mount = new MemoryMount<T>(this, this.#options, volume)
    volume.mounted = mount
    return mount
  }
}

/**
 * Hold of one volume, until it is released or the disk crashes.
 *
 * @internal
 */
export class MemoryMount<T extends object> {
  readonly state: T
  readonly #disk: MemoryDisk
  readonly #options: MemoryDiskOptions & { readonly maximumUnsyncedBytes: number }
  readonly #volume: Volume
  #detached = false

  constructor(
    disk: MemoryDisk,
    options: MemoryDiskOptions & { readonly maximumUnsyncedBytes: number },
    volume: Volume,
  ) {
    this.state = volume.state as T
    this.#disk = disk
    this.#options = options
    this.#volume = volume
  }

  /** False once the disk crashed below its user. */
  get attached(): boolean {
    return !this.#detached
  }

  /** Records a write that was made in the state, and how to take it back. */
  record(bytes: number, undo: () => void): void {
    const volume = this.#volume
    volume.written++
    volume.unsynced.push({ bytes, undo })
    volume.unsyncedBytes += bytes
    let written = 0
    while (volume.unsyncedBytes > this.#options.maximumUnsyncedBytes) {
      volume.unsyncedBytes -= (volume.unsynced[written++] as Unsynced).bytes
    }
    if (written > 0) volume.unsynced.splice(0, written)
  }

  /**
   * Makes everything recorded so far durable.
   *
   * @throws KeelsonError `IO`, `DISK_FULL` as {@link MemoryDisk.fault} says
   */
  sync(): Promise<void> {
    if (this.#detached) return neverSettles()
    const covered = this.#volume.written
    const { timers, syncLatencyMs } = this.#options
    if (timers === undefined || syncLatencyMs === undefined) {
      return Promise.resolve().then(() => (this.#detached ? neverSettles() : this.#finish(covered)))
    }
    return new Promise((resolve, reject) => {
      timers.schedule(syncLatencyMs(), () => {
        if (this.#detached) return
        this.#finish(covered).then(resolve, reject)
      })
    })
  }

  /** Lets go of the volume; what was written and not synced stays at risk. Idempotent. */
  release(): void {
    if (this.#volume.mounted === this) this.#volume.mounted = undefined
  }

  detach(): void {
    this.#detached = true
  }

  async #finish(covered: number): Promise<void> {
    if (this.#disk.fault !== undefined) {
      throw new KeelsonError(
        this.#disk.fault,
        this.#disk.fault === 'IO' ? 'the simulated disk failed a sync' : 'the simulated disk is full',
      )
    }
    const volume = this.#volume
    // Of several syncs under way an earlier one may end later; it then finds its share gone already.
    const done = covered - (volume.written - volume.unsynced.length)
    if (done <= 0) return
    for (const write of volume.unsynced.splice(0, done)) volume.unsyncedBytes -= write.bytes
  }
}

/** What a call of a dead process returns: nobody is there any more to be told. */
export function neverSettles<T>(): Promise<T> {
  return new Promise<T>(() => {})
}
