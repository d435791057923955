import type { SeededRandom } from '../../../src/core/random.ts'
import type { GroupWrite, LogEntry, LogPosition } from '../../../src/interfaces/log-store.ts'
import type { GroupMetadata } from '../../../src/raft/group/metadata.ts'
import type { SimulatedDisk } from '../../../src/simulation/disk.ts'
import {
  applyGroupWrite,
  checkGroupWrite,
  compactGroup,
  copyGroup,
  copyWrite,
  emptyGroup,
  type GroupLog,
} from '../../../src/simulation/group-log.ts'

/** Who this replica is, and what happened to it: stored with the log. */
export type ReplicaRecord = GroupMetadata

type Change =
  | { readonly type: 'write'; readonly write: GroupWrite; readonly record: ReplicaRecord | undefined }
  | { readonly type: 'record'; readonly record: ReplicaRecord }
  | { readonly type: 'compact'; readonly through: LogPosition }
  | { readonly type: 'destroy'; readonly record: ReplicaRecord }

interface Pending {
  readonly change: Change
  readonly done: (() => void) | undefined
}

/** What a backup of a disk has. */
export interface StoreImage {
  readonly durable: GroupLog
  readonly record: ReplicaRecord | undefined
  readonly position: number
}

/** The durable log of one replica on a simulated disk, with callbacks: group commit, in order, poisoned by a failed sync. */
export class Store {
  /** What a crash leaves for certain. */
  durable: GroupLog = emptyGroup()
  durableRecord: ReplicaRecord | undefined
  /** How many changes the device ever took. */
  position = 0
  /** With everything that was started. */
  current: GroupLog = emptyGroup()
  record: ReplicaRecord | undefined
  readonly disk: SimulatedDisk
  #pending: Pending[] = []
  #syncing = 0
  /** Called when a sync failed: nothing can be trusted until the process has started again. */
  onPoisoned: () => void = () => {}
  /** Called before and after a sync, where a crash is of interest. Returns whether the process lives on. */
  onBoundary: (where: string) => boolean = () => true
  #poisoned = false
  /** What the device has in the place of durable records that were damaged: another record, or nothing that can be read. */
  readonly #damaged = new Map<number, LogEntry | undefined>()

  constructor(disk: SimulatedDisk) {
    this.disk = disk
  }

  /** The record, where there is one, becomes durable in the same act. */
  write(write: Omit<GroupWrite, 'groupId'>, done: () => void, record?: ReplicaRecord): void {
    const copy = copyWrite({ ...write, groupId: 1 })
    checkGroupWrite(this.current, copy)
    this.#submit({ type: 'write', write: copy, record }, done)
  }

  writeRecord(record: ReplicaRecord, done: () => void): void {
    this.#submit({ type: 'record', record }, done)
  }

  /** Log and hard state go, the tombstone stays, in one act. */
  destroy(record: ReplicaRecord, done: () => void): void {
    this.#submit({ type: 'destroy', record }, done)
  }

  /** Durable with the next write at the latest. */
  compact(through: LogPosition): void {
    const change: Change = { type: 'compact', through }
    this.apply('current', change)
    this.#pending.push({ change, done: undefined })
  }

  /** Entries as the store has them, or why not. */
  read(from: number, to: number, maximumBytes: number): LogEntry[] | 'compacted' | 'missing' {
    const { current } = this
    if (from <= current.compacted.index) return 'compacted'
    if (to > current.last.index) return 'missing'
    const entries: LogEntry[] = []
    let bytes = 0
    for (let index = from; index <= to; index++) {
      const entry = current.entries[index - current.compacted.index - 1] as LogEntry
      bytes += entry.data.length
      if (entries.length > 0 && bytes > maximumBytes) break
      entries.push(entry)
    }
    return entries
  }

  /** A crash: of what was started and not synced, the first `kept` changes reached the device. */
  crash(kept: number): void {
    for (const { change } of this.#pending.slice(0, kept)) this.apply('durable', change)
    this.#pending = []
    this.#syncing = 0
    this.#poisoned = false
    this.current = copyGroup(this.durable)
    this.record = this.durableRecord
  }

  /** Other groups of the node write, too. */
  writeElsewhere(changes: number): void {
    this.position += changes
  }

  get pendingChanges(): number {
    return this.#pending.length
  }

  wipe(): void {
    this.restore({ durable: emptyGroup(), record: undefined, position: 0 })
  }

  /** What the device has now, without what was not synced. */
  image(): StoreImage {
    return { durable: copyGroup(this.durable), record: this.durableRecord, position: this.position }
  }

  /** An earlier image, or none, comes in the place of everything. To be called while the process is down. */
  restore({ durable, record, position }: StoreImage): void {
    this.durable = copyGroup(durable)
    this.position = position
    this.durableRecord = record
    this.#damaged.clear()
    this.crash(0)
  }

  /** A durable record is destroyed, or overwritten by one that belongs elsewhere. To be called while the process is down. */
  damage(index: number, instead: LogEntry | undefined): void {
    this.#damaged.set(index, instead)
  }

  /** The first record that is not what was written there, as its checksum, its index and its group tell. */
  get firstDamaged(): number | undefined {
    return this.#damaged.size === 0 ? undefined : Math.min(...this.#damaged.keys())
  }

  /** Only a mutant takes damage for a torn tail. */
  cutAt(index: number): void {
    this.durable.entries.length = Math.max(0, index - this.durable.compacted.index - 1)
    this.restore(this.image())
  }

  /** Only a mutant takes each record for what belongs in its place. */
  believe(): void {
    for (const [index, instead] of this.#damaged) {
      const at = index - this.durable.compacted.index - 1
      const lost = this.durable.entries[at]
      if (instead !== undefined && lost !== undefined)
        this.durable.entries[at] = { ...lost, data: instead.data }
    }
    this.restore(this.image())
  }

  drawKept(random: SeededRandom): number {
    return random.integer(this.#pending.length + 1)
  }

  #submit(change: Change, done: () => void): void {
    if (this.#poisoned) return
    this.apply('current', change)
    this.#pending.push({ change, done })
    if (this.#syncing === 0) this.sync()
  }

  /** Starts the sync of everything that waits. */
  sync(): void {
    const count = this.#pending.length
    this.#syncing = count
    this.disk.perform('sync', (error) => {
      if (error === undefined) this.synced(count)
      else this.failed(count)
    })
  }

  /** Nobody knows what the device has of the first `count` changes. */
  failed(_count: number): void {
    this.#poisoned = true
    this.onPoisoned()
  }

  /** The device has the first `count` of the changes. `really` is false only where a mutant pretends. */
  synced(count: number, really = true): void {
    if (!this.onBoundary('before the write is noted')) return
    const settled = this.#pending.splice(0, count)
    if (really) for (const { change } of settled) this.apply('durable', change)
    this.#syncing = 0
    if (!this.onBoundary('after the write is noted')) return
    for (const { done } of settled) done?.()
    if (this.#syncing === 0 && this.#pending.some(({ done }) => done !== undefined)) this.sync()
  }

  apply(side: 'durable' | 'current', change: Change): void {
    if (side === 'durable') this.position++
    const group = this[side]
    switch (change.type) {
      case 'write':
        applyGroupWrite(group, change.write)
        if (change.record !== undefined) this.#setRecord(side, change.record)
        return
      case 'compact':
        compactGroup(group, change.through)
        return
      case 'record':
      case 'destroy':
        if (change.type === 'destroy') this[side] = emptyGroup()
        this.#setRecord(side, change.record)
    }
  }

  #setRecord(side: 'durable' | 'current', record: ReplicaRecord): void {
    if (side === 'durable') this.durableRecord = record
    else this.record = record
  }
}
