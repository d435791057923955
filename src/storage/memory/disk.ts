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

/** Something that was written and may be lost. */
interface Unsynced {
  readonly bytes: number
  readonly undo: () => void
  /** Number of the log file that it stands in. */
  readonly file: number
  /** Its file was synced, but an earlier one was not, and without that one it counts for nothing. */
  synced: boolean
}

/** What lives on a disk under one name. */
interface Volume {
  readonly state: object
  /** Oldest first. Undone from the back, so that a prefix of the writes is left. */
  readonly unsynced: Unsynced[]
  unsyncedBytes: number
  /** Writes ever recorded. */
  written: number
  /** Number of the log file that is written now. */
  file: number
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

  /** @internal Whether a sync takes time. */
  get timed(): boolean {
    return this.#options.timers !== undefined && this.#options.syncLatencyMs !== undefined
  }

  /**
   * The power fails, or the process is killed together with what the system had not written back: every volume goes
   * back to its last synced state plus a random prefix of what was written since. If that does not reach the end of one
   * file of its log, what stands in later files is lost, synced or not. Whoever used the disk is dead: its
   * calls never settle and its writes change nothing; open everything anew.
   */
  crash(random: Random): void {
    for (const volume of this.#volumes.values()) {
      volume.mounted?.detach()
      volume.mounted = undefined
      const kept = survivors(volume.unsynced, random)
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
      volume = {
        state: create(),
        unsynced: [],
        unsyncedBytes: 0,
        written: 0,
        file: 0,
        mounted: undefined,
      }
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

/** How many of the writes, oldest first, a crash leaves. */
function survivors(unsynced: readonly Unsynced[], random: Random): number {
  let kept = 0
  do {
    const file = unsynced[kept]?.file
    let end = kept
    let synced = kept
    for (; end < unsynced.length && unsynced[end]?.file === file; end++)
      if (unsynced[end]?.synced) synced = end + 1
    kept = synced + random.integer(end - synced + 1)
    if (kept < end) break
  } while (kept < unsynced.length)
  return kept
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
    volume.unsynced.push({ bytes, undo, file: volume.file, synced: false })
    volume.unsyncedBytes += bytes
    let written = 0
    while (volume.unsyncedBytes > this.#options.maximumUnsyncedBytes) {
      volume.unsyncedBytes -= (volume.unsynced[written++] as Unsynced).bytes
    }
    if (written > 0) volume.unsynced.splice(0, written)
  }

  /**
   * Closes the log file, unsynced, and begins another one. Syncs cover the new file only. Returns the old one's number.
   */
  rotate(): number {
    return this.#volume.file++
  }

  /**
   * Makes everything durable that was recorded in the file that is written now. Together with what stands in earlier
   * files it survives only if that does.
   *
   * @throws KeelsonError `IO`, `DISK_FULL` as {@link MemoryDisk.fault} says
   */
  sync(): Promise<void> {
    const { written, file } = this.#volume
    return this.#later(() => this.#synced(written, (write) => write.file === file))
  }

  /**
   * Makes everything durable that was recorded in a file up to `file`, as a table.
   *
   * @throws KeelsonError `IO`, `DISK_FULL` as {@link MemoryDisk.fault} says
   */
  tabulate(file: number): Promise<void> {
    return this.#later(() => this.#synced(this.#volume.written, (write) => write.file <= file))
  }

  /** Makes everything durable that is there: it was found when the volume was mounted, and stands in a table now. */
  recovered(): void {
    this.#volume.unsynced.length = 0
    this.#volume.unsyncedBytes = 0
  }

  /** Lets go of the volume; what was written and not synced stays at risk. Idempotent. */
  release(): void {
    if (this.#volume.mounted === this) this.#volume.mounted = undefined
  }

  detach(): void {
    this.#detached = true
  }

  /** Does something when a sync that begins now has ended. */
  #later(finish: () => void): Promise<void> {
    if (this.#detached) return neverSettles()
    const { timers, syncLatencyMs } = this.#options
    const end = async (): Promise<void> => {
      if (this.#detached) return neverSettles()
      const { fault } = this.#disk
      if (fault === undefined) return finish()
      throw new KeelsonError(
        fault,
        fault === 'IO' ? 'the simulated disk failed a sync' : 'the simulated disk is full',
      )
    }
    if (timers === undefined || syncLatencyMs === undefined) return Promise.resolve().then(end)
    return new Promise((resolve, reject) => {
      timers.schedule(syncLatencyMs(), () => {
        end().then(resolve, reject)
      })
    })
  }

  /** Of the first `covered` writes, those that `which` says are where they survive. */
  #synced(covered: number, which: (write: Unsynced) => boolean): void {
    const volume = this.#volume
    const { unsynced } = volume
    // Of several syncs under way an earlier one may end later; it then finds its share gone already.
    const end = covered - (volume.written - unsynced.length)
    for (let i = 0; i < end; i++) {
      const write = unsynced[i] as Unsynced
      if (which(write)) write.synced = true
    }
    const open = unsynced.findIndex(({ synced }) => !synced)
    for (const write of unsynced.splice(0, open < 0 ? unsynced.length : open))
      volume.unsyncedBytes -= write.bytes
  }
}

/** What a call of a dead process returns: nobody is there any more to be told. */
export function neverSettles<T>(): Promise<T> {
  return new Promise<T>(() => {})
}
