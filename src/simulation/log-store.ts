import { checkInteger, checkObject } from '../core/arguments.ts'
import type { Deferred } from '../core/async.ts'
import { deferred } from '../core/async.ts'
import { copyBytes } from '../core/bytes.ts'
import { KeelsonError } from '../core/errors.ts'
import type { SeededRandom } from '../core/random.ts'
import {
  type GroupWrite,
  groupWriteBytes,
  type LogEntry,
  type LogPosition,
  type LogStore,
  type LogStoreContext,
  type LogStoreFactory,
  type LogStoreLimits,
  type RecoveredGroup,
} from '../interfaces/log-store.ts'
import type { GroupId, Incarnation } from '../model/ids.ts'
import type { SimulatedDisk } from './disk.ts'
import {
  applyGroupWrite,
  checkGroupWrite,
  compactGroup,
  copyGroup,
  copyWrite,
  emptyGroup,
  type GroupLog,
  type LogBounds,
} from './group-log.ts'

type Change =
  | { readonly type: 'write'; readonly batch: readonly GroupWrite[] }
  | { readonly type: 'compact'; readonly groupId: GroupId; readonly through: LogPosition }
  | { readonly type: 'destroy'; readonly groupId: GroupId; readonly tombstone: Uint8Array }

interface Pending {
  readonly change: Change
  readonly bytes: number
  readonly done: Deferred<void> | undefined
}

/** What a simulated log store takes where nothing else is said. */
const defaultLimits: LogStoreLimits = Object.freeze({ writeBytes: 16 << 20, queuedBytes: 64 << 20 })

/** What the device has. */
interface Image {
  readonly clusterId: string
  readonly nodeId: string
  readonly incarnation: Incarnation
  readonly groups: Map<GroupId, GroupLog>
  /** Changes that the device ever took. */
  changes: number
}

/**
 * Log stores on a simulated disk, by directory. They live through crashes as their contract says: `write` resolves when
 * a sync has succeeded, a power cut keeps a prefix of the batches that were not synced, and after a failed sync the
 * store is poisoned until it is opened again.
 */
export class SimulatedLogs {
  readonly #disk: SimulatedDisk
  readonly #images = new Map<string, Image>()
  readonly #open = new Map<string, SimulatedLogStore>()

  /** Keeps the log stores of one process on its disk. */
  constructor(disk: SimulatedDisk) {
    this.#disk = disk
    disk.process.onCrash((kind) => {
      // Killing the process alone loses nothing: the operating system still has the writes.
      if (kind === 'kill') for (const store of this.#open.values()) store.keep(Number.POSITIVE_INFINITY)
      this.#open.clear()
    })
  }

  /** An adapter for a directory of this disk, whose stores take no more than `limits`. */
  factory(directory: string, limits: LogStoreLimits = defaultLimits): LogStoreFactory {
    checkObject(limits, 'the limits of a simulated log')
    checkInteger(limits.writeBytes, 'writeBytes', 1)
    checkInteger(limits.queuedBytes, 'queuedBytes', limits.writeBytes)
    return async (context) => this.#openStore(directory, limits, context)
  }

  #openStore(directory: string, limits: LogStoreLimits, context: LogStoreContext): LogStore {
    if (this.#open.has(directory)) {
      throw new KeelsonError(
        'DIRECTORY_LOCKED',
        `the directory ${directory} is open already in this process; close it first`,
      )
    }
    let image = this.#images.get(directory)
    if (image === undefined) {
      image = {
        clusterId: context.clusterId,
        nodeId: context.nodeId,
        incarnation: 1 + context.env.random.integer(2 ** 52),
        groups: new Map(),
        changes: 0,
      }
      this.#images.set(directory, image)
    }
    if (image.clusterId !== context.clusterId) {
      throw new KeelsonError(
        'FOREIGN_CLUSTER',
        `the directory ${directory} belongs to cluster ${image.clusterId}; name another one`,
      )
    }
    if (image.nodeId !== context.nodeId) {
      throw new KeelsonError(
        'FOREIGN_NODE',
        `the directory ${directory} belongs to node ${image.nodeId}; name another one`,
      )
    }
    const store = new SimulatedLogStore(this.#disk, image, limits, () => {
      if (this.#open.get(directory) === store) this.#open.delete(directory)
    })
    this.#open.set(directory, store)
    return store
  }
}

class SimulatedLogStore implements LogStore {
  readonly incarnation: Incarnation
  readonly limits: LogStoreLimits
  readonly #disk: SimulatedDisk
  readonly #image: Image
  readonly #release: () => void
  readonly #recovered: ReadonlyMap<GroupId, RecoveredGroup>
  readonly #groups = new Map<GroupId, GroupLog>()
  readonly #stopListening: () => void
  readonly #life: number
  /** Not durable yet, in order. The first `#syncing` of them are under way to the device. */
  #pending: Pending[] = []
  #syncing = 0
  #poison: KeelsonError | undefined
  #closed = false
  /** Changes that the image holds, as far as this store knows: the next life goes on with the same image. */
  #durable: number
  readonly #idle: Deferred<void>[] = []

  constructor(disk: SimulatedDisk, image: Image, limits: LogStoreLimits, release: () => void) {
    this.limits = limits
    this.#disk = disk
    this.#image = image
    this.#release = release
    this.#life = disk.process.life
    this.incarnation = image.incarnation
    this.#durable = image.changes
    const recovered = new Map<GroupId, RecoveredGroup>()
    for (const [groupId, group] of image.groups) {
      this.#groups.set(groupId, copyGroup(group))
      recovered.set(groupId, {
        groupId,
        hardState: group.hardState,
        metadata: group.metadata && copyBytes(group.metadata),
        compacted: group.compacted,
        last: group.last,
      })
    }
    this.#recovered = recovered
    this.#stopListening = disk.onPowerCut((random) => this.#onPowerCut(random))
  }

  durablePosition(): number {
    return this.#durable
  }

  recovered(): ReadonlyMap<GroupId, RecoveredGroup> {
    return this.#recovered
  }

  async write(batch: readonly GroupWrite[]): Promise<void> {
    this.#check()
    // All or nothing: the whole batch is judged before any of it is taken.
    const bounds = new Map<GroupId, LogBounds>()
    for (const write of batch) {
      const before = bounds.get(write.groupId) ?? this.#groups.get(write.groupId) ?? emptyGroup()
      bounds.set(write.groupId, checkGroupWrite(before, write))
    }
    const bytes = batch.reduce((sum, write) => sum + groupWriteBytes(write), 0)
    this.#checkSize(bytes)
    return this.#submit({ type: 'write', batch: batch.map(copyWrite) }, bytes)
  }

  async read(groupId: GroupId, from: number, to: number, maximumBytes: number): Promise<LogEntry[]> {
    this.#check()
    if (!Number.isSafeInteger(from) || !Number.isSafeInteger(to) || from < 1 || from > to) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `a log is read from 1 on and forwards, not from ${from} to ${to}`,
      )
    }
    await new Promise<void>((resolve, reject) => {
      this.#disk.perform('read', (error) => (error === undefined ? resolve() : reject(error)))
    })
    this.#check()
    const group = this.#groups.get(groupId) ?? emptyGroup()
    if (from <= group.compacted.index) {
      throw new KeelsonError(
        'COMPACTED',
        `the log of group ${groupId} begins after ${group.compacted.index}`,
        {
          details: { compacted: group.compacted.index },
        },
      )
    }
    if (to > group.last.index) {
      throw new KeelsonError('NOT_FOUND', `the log of group ${groupId} ends at ${group.last.index}`)
    }
    const entries: LogEntry[] = []
    let bytes = 0
    for (let index = from; index <= to; index++) {
      const entry = group.entries[index - group.compacted.index - 1] as LogEntry
      bytes += entry.data.length
      if (entries.length > 0 && bytes > maximumBytes) break
      entries.push({ ...entry, data: copyBytes(entry.data) })
    }
    return entries
  }

  async compact(groupId: GroupId, through: LogPosition): Promise<void> {
    this.#check()
    const group = this.#groups.get(groupId)
    if (group === undefined || through.index > group.last.index) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `group ${groupId} has no entry ${through.index} to compact through`,
      )
    }
    const change: Change = { type: 'compact', groupId, through }
    this.#apply(this.#groups, change)
    this.#pending.push({ change, bytes: 0, done: undefined })
  }

  async destroy(groupId: GroupId, tombstone: Uint8Array): Promise<void> {
    this.#check()
    return this.#submit({ type: 'destroy', groupId, tombstone: copyBytes(tombstone) }, tombstone.length)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    if (this.#disk.process.life !== this.#life) return
    if (this.#pending.some(({ done }) => done !== undefined) && this.#poison === undefined) {
      const idle = deferred<void>()
      this.#idle.push(idle)
      await idle.promise
    }
    this.#stopListening()
    this.#release()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** @internal The first `count` of the pending changes reached the device after all. */
  keep(count: number): void {
    for (const { change } of this.#pending.slice(0, count)) this.#settle(change)
    this.#pending = []
  }

  #check(): void {
    if (this.#poison !== undefined) {
      throw new KeelsonError(
        'STORE_POISONED',
        'an earlier sync failed, so nobody knows what is on the disk; open the store again',
        { cause: this.#poison },
      )
    }
    if (this.#closed || this.#disk.process.life !== this.#life) {
      throw new KeelsonError('CLOSED', 'the log store is closed; open it again')
    }
  }

  #checkSize(bytes: number): void {
    const { writeBytes, queuedBytes } = this.limits
    if (bytes > writeBytes) {
      throw new KeelsonError(
        'LIMIT_EXCEEDED',
        `a write of ${bytes} bytes exceeds the ${writeBytes} that one may hold; split it`,
      )
    }
    const queued = this.#pending.reduce((sum, pending) => sum + pending.bytes, 0)
    if (queued + bytes > queuedBytes) {
      throw new KeelsonError(
        'OVERLOADED',
        `${queued} bytes wait already to be written; wait for some of them`,
      )
    }
  }

  async #submit(change: Change, bytes: number): Promise<void> {
    this.#apply(this.#groups, change)
    const done = deferred<void>()
    this.#pending.push({ change, bytes, done })
    if (this.#syncing === 0) this.#sync()
    return done.promise
  }

  /** Group commit: one sync at a time takes all that came meanwhile. */
  #sync(): void {
    this.#syncing = this.#pending.length
    this.#disk.perform('sync', (error) => {
      if (error !== undefined) {
        this.#fail(error)
        return
      }
      const settled = this.#pending.splice(0, this.#syncing)
      this.#syncing = 0
      for (const { change } of settled) this.#settle(change)
      if (this.#pending.some(({ done }) => done !== undefined)) this.#sync()
      else for (const idle of this.#idle.splice(0)) idle.resolve()
      for (const { done } of settled) done?.resolve()
    })
  }

  #fail(error: KeelsonError): void {
    this.#poison = error
    const failed = this.#pending
    this.#syncing = 0
    // Nobody knows what reached the device: some prefix did.
    this.keep(this.#disk.process.environment.random.integer(failed.length + 1))
    for (const idle of this.#idle.splice(0)) idle.resolve()
    for (const { done } of failed) done?.reject(error)
  }

  /** The disk cuts before anybody forgets who was open: its listener was registered first. */
  #onPowerCut(random: SeededRandom): void {
    this.#stopListening()
    if (this.#poison === undefined) this.keep(random.integer(this.#pending.length + 1))
  }

  /** The device has it. */
  #settle(change: Change): void {
    this.#apply(this.#image.groups, change)
    this.#durable = ++this.#image.changes
  }

  #apply(groups: Map<GroupId, GroupLog>, change: Change): void {
    switch (change.type) {
      case 'write':
        for (const write of change.batch) {
          const group = groups.get(write.groupId) ?? emptyGroup()
          applyGroupWrite(group, write)
          groups.set(write.groupId, group)
        }
        return
      case 'compact': {
        const group = groups.get(change.groupId)
        if (group !== undefined) compactGroup(group, change.through)
        return
      }
      case 'destroy': {
        if (change.tombstone.length === 0) {
          groups.delete(change.groupId)
          return
        }
        const destroyed = emptyGroup()
        destroyed.metadata = change.tombstone
        groups.set(change.groupId, destroyed)
      }
    }
  }
}
