import { checkBytes } from '../../core/arguments.ts'
import { type Deferred, deferred } from '../../core/async.ts'
import { KeelsonError } from '../../core/errors.ts'
import { checkOptions, integerOption, objectOption, optional, stringOption } from '../../core/options.ts'
import {
  type GroupWrite,
  groupWriteBytes,
  type HardState,
  type LogEntry,
  type LogPosition,
  type LogStore,
  type LogStoreContext,
  type LogStoreFactory,
  type LogStoreLimits,
  type RecoveredGroup,
} from '../../interfaces/log-store.ts'
import { type ClusterId, checkId, type GroupId, type Incarnation, type NodeId } from '../../model/ids.ts'
import { checkLogContext } from '../directory.ts'
import {
  checkBatch,
  checkCompaction,
  checkGroupWrite,
  checkRead,
  emptyBounds,
  type LogBounds,
  logOrigin,
} from '../log-checks.ts'
import { MemoryDisk, type MemoryMount, neverSettles } from './disk.ts'

/** Options of {@link memoryLog}. */
export interface MemoryLogOptions {
  /** The disk that the log lives on. Default: one of its own. */
  readonly disk?: MemoryDisk
  /** Name of the log on its disk. Default: `log`. */
  readonly name?: string
  /** Largest write; more is refused with `LIMIT_EXCEEDED`. */
  readonly maximumWriteBytes?: number
  /** Bytes that may wait to be written; more are refused with `OVERLOADED`. */
  readonly maximumQueuedBytes?: number
}

/** Defaults of {@link MemoryLogOptions}. */
export const memoryLogDefaults: Readonly<Required<Omit<MemoryLogOptions, 'disk'>>> = Object.freeze({
  name: 'log',
  maximumWriteBytes: 16 * 1024 * 1024,
  maximumQueuedBytes: 64 * 1024 * 1024,
})

interface Group {
  compacted: LogPosition
  /** Contiguous, the first one behind `compacted`. */
  entries: LogEntry[]
  hardState: HardState | undefined
  metadata: Uint8Array | undefined
}

/** Who waits for a sync, and with how much. */
interface Waiter {
  readonly done: Deferred<void>
  readonly bytes: number
}

interface State {
  clusterId: ClusterId | undefined
  nodeId: NodeId | undefined
  incarnation: Incarnation
  readonly groups: Map<GroupId, Group>
  /** Changes ever made, those that a crash took back not among them. */
  changes: number
  /** How many of them were synced. */
  durable: number
}

/**
 * A log store in memory: durable as long as its disk object lives, whatever happens to those who use it. On a
 * {@link MemoryDisk} with a latency it takes its time, and forgets in a crash what was not synced: the log store of
 * tests, development clusters and the simulator.
 */
export function memoryLog(options: MemoryLogOptions = {}): LogStoreFactory {
  const d = memoryLogDefaults
  const checked = checkOptions<Required<Omit<MemoryLogOptions, 'disk'>> & { disk: MemoryDisk | undefined }>(
    'memoryLog',
    options,
    {
      disk: optional(objectOption<MemoryDisk>(['mount', 'crash'])),
      name: stringOption({ fallback: d.name }),
      maximumWriteBytes: integerOption({ min: 4_096, fallback: d.maximumWriteBytes }),
      maximumQueuedBytes: integerOption({ min: 4_096, fallback: d.maximumQueuedBytes }),
    },
    ({ maximumWriteBytes, maximumQueuedBytes }, refuse) => {
      if (maximumQueuedBytes < maximumWriteBytes) {
        refuse("'maximumQueuedBytes' must be at least 'maximumWriteBytes'")
      }
    },
  )
  const own = checked.disk ?? new MemoryDisk()
  const limits = Object.freeze({
    writeBytes: checked.maximumWriteBytes,
    queuedBytes: checked.maximumQueuedBytes,
  })
  return async (context) => MemoryLogStore.open(own, checked.name, limits, checkLogContext(context))
}

class MemoryLogStore implements LogStore {
  readonly incarnation: Incarnation
  readonly limits: LogStoreLimits
  readonly #mount: MemoryMount<State>
  readonly #groups: Map<GroupId, Group>
  readonly #recovered: ReadonlyMap<GroupId, RecoveredGroup>
  #failure: KeelsonError | undefined
  #closed = false
  #syncing = false
  #waiting: Waiter[] = []
  #queuedBytes = 0
  /** As far as this store knows: when it is closed, or its disk has crashed, the state is somebody else's. */
  #durable: number

  static open(
    disk: MemoryDisk,
    name: string,
    limits: LogStoreLimits,
    context: LogStoreContext,
  ): MemoryLogStore {
    const mount = disk.mount<State>(name, () => ({
      clusterId: undefined,
      nodeId: undefined,
      incarnation: 1 + context.env.random.integer(Number.MAX_SAFE_INTEGER - 1),
      groups: new Map(),
      changes: 0,
      durable: 0,
    }))
    try {
      return new MemoryLogStore(mount, limits, context)
    } catch (error) {
      mount.release()
      throw error
    }
  }

  constructor(mount: MemoryMount<State>, limits: LogStoreLimits, { clusterId, nodeId }: LogStoreContext) {
    this.limits = limits
    const { state } = mount
    if (state.clusterId !== undefined && state.clusterId !== clusterId) {
      throw new KeelsonError(
        'FOREIGN_CLUSTER',
        `the log belongs to cluster ${state.clusterId}, not ${clusterId}; give this node a disk of its own`,
      )
    }
    if (state.nodeId !== undefined && state.nodeId !== nodeId) {
      throw new KeelsonError(
        'FOREIGN_NODE',
        `the log belongs to node ${state.nodeId}, not ${nodeId}; give this node a disk of its own`,
      )
    }
    state.clusterId = clusterId
    state.nodeId = nodeId
    this.incarnation = state.incarnation
    this.#mount = mount
    this.#groups = state.groups
    this.#durable = state.durable
    this.#recovered = new Map(
      [...state.groups].map(([groupId, group]) => [
        groupId,
        Object.freeze({
          groupId,
          hardState: group.hardState,
          metadata: group.metadata === undefined ? undefined : new Uint8Array(group.metadata),
          ...boundsOf(group),
        }),
      ]),
    )
  }

  durablePosition(): number {
    return this.#durable
  }

  recovered(): ReadonlyMap<GroupId, RecoveredGroup> {
    return this.#recovered
  }

  async write(batch: readonly GroupWrite[]): Promise<void> {
    this.#check()
    if (!this.#mount.attached) return neverSettles()
    const bounds = new Map<GroupId, LogBounds>()
    for (const write of checkBatch(batch)) {
      const before = bounds.get(write.groupId) ?? boundsOf(this.#groups.get(write.groupId))
      bounds.set(write.groupId, checkGroupWrite(write, before))
    }
    const bytes = batch.reduce((sum, write) => sum + groupWriteBytes(write), 0)
    this.#checkSize(bytes)
    this.#record(
      batch.map((write) => this.#apply(write)),
      bytes,
    )
    this.#queuedBytes += bytes
    await this.#synced(bytes)
  }

  async read(groupId: GroupId, from: number, to: number, maximumBytes: number): Promise<LogEntry[]> {
    this.#check()
    if (!this.#mount.attached) return neverSettles()
    const group = this.#groups.get(groupId)
    checkRead(groupId, boundsOf(group), from, to, maximumBytes)
    const { compacted, entries } = group as Group
    const found: LogEntry[] = []
    let bytes = 0
    for (let index = from; index <= to; index++) {
      const entry = entries[index - compacted.index - 1] as LogEntry
      bytes += entry.data.length
      if (found.length > 0 && bytes > maximumBytes) break
      found.push({ ...entry, data: new Uint8Array(entry.data) })
    }
    return found
  }

  async compact(groupId: GroupId, through: LogPosition): Promise<void> {
    this.#check()
    if (!this.#mount.attached) return neverSettles()
    const group = this.#groups.get(groupId)
    if (!checkCompaction(groupId, boundsOf(group), through) || group === undefined) return
    const { compacted } = group
    const dropped = group.entries.splice(0, through.index - compacted.index)
    group.compacted = Object.freeze({ index: through.index, term: through.term })
    this.#record([
      () => {
        group.compacted = compacted
        group.entries = dropped.concat(group.entries)
      },
    ])
  }

  async destroy(groupId: GroupId, tombstone: Uint8Array): Promise<void> {
    this.#check()
    if (!this.#mount.attached) return neverSettles()
    checkId(groupId, 'a group id')
    checkBytes(tombstone, 'a tombstone')
    const before = this.#groups.get(groupId)
    this.#groups.delete(groupId)
    if (tombstone.length > 0) this.#groups.set(groupId, newGroup(new Uint8Array(tombstone)))
    this.#record([
      () => {
        if (before === undefined) this.#groups.delete(groupId)
        else this.#groups.set(groupId, before)
      },
    ])
    await this.#synced()
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    if (this.#mount.attached && this.#failure === undefined) {
      // Who waits for a write is told of its failure there.
      await this.#synced().catch(() => {})
    }
    this.#mount.release()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #check(): void {
    if (this.#closed) throw new KeelsonError('CLOSED', 'the log store is closed; open it again')
    if (this.#failure !== undefined) {
      throw new KeelsonError(
        'STORE_POISONED',
        'an earlier write failed, so nothing that this store holds can be trusted; close it and open it again',
        { cause: this.#failure },
      )
    }
  }

  #checkSize(bytes: number): void {
    const { writeBytes, queuedBytes } = this.limits
    if (bytes > writeBytes) {
      throw new KeelsonError(
        'LIMIT_EXCEEDED',
        `a write of up to ${bytes} bytes exceeds the ${writeBytes} that one may hold; split it`,
        { details: { bytes, limit: writeBytes } },
      )
    }
    if (this.#queuedBytes + bytes > queuedBytes) {
      throw new KeelsonError(
        'OVERLOADED',
        `${this.#queuedBytes} bytes wait already to be written; wait for some of them`,
      )
    }
  }

  #record(undo: readonly (() => void)[], bytes = 0): void {
    const { state } = this.#mount
    state.changes++
    this.#mount.record(bytes, () => {
      state.changes--
      for (let i = undo.length - 1; i >= 0; i--) (undo[i] as () => void)()
    })
  }

  /**
   * Waits until everything recorded so far is durable. One sync at a time covers all that wait when it starts; they are
   * told in their order.
   */
  #synced(bytes = 0): Promise<void> {
    const done = deferred<void>()
    this.#waiting.push({ done, bytes })
    if (!this.#syncing) void this.#sync()
    return done.promise
  }

  async #sync(): Promise<void> {
    this.#syncing = true
    while (this.#waiting.length > 0) {
      const covered = this.#waiting
      this.#waiting = []
      try {
        if (this.#failure !== undefined) throw this.#failure
        const { state } = this.#mount
        const { changes } = state
        await this.#mount.sync()
        state.durable = Math.max(state.durable, changes)
        this.#durable = state.durable
        for (const { done, bytes } of covered) {
          this.#queuedBytes -= bytes
          done.resolve()
        }
      } catch (error) {
        this.#failure = error as KeelsonError
        for (const { done } of covered) done.reject(error)
      }
    }
    this.#syncing = false
  }

  /** Does a checked write to the state and returns how to take it back. */
  #apply(write: GroupWrite): () => void {
    const known = this.#groups.get(write.groupId)
    const group = write.reset === undefined && known !== undefined ? known : newGroup(known?.metadata)
    if (group !== known) {
      group.hardState = known?.hardState
      if (write.reset !== undefined) {
        group.compacted = Object.freeze({ index: write.reset.index, term: write.reset.term })
      }
      this.#groups.set(write.groupId, group)
    }
    const { hardState, metadata, compacted } = group
    const first = write.entries?.[0]?.index
    const kept = first === undefined ? group.entries.length : first - compacted.index - 1
    const removed = group.entries.splice(kept)
    for (const entry of write.entries ?? []) {
      group.entries.push(
        Object.freeze({
          index: entry.index,
          term: entry.term,
          kind: entry.kind,
          data: new Uint8Array(entry.data),
        }),
      )
    }
    if (write.hardState !== undefined) group.hardState = Object.freeze({ ...write.hardState })
    if (write.metadata !== undefined) group.metadata = new Uint8Array(write.metadata)
    return () => {
      group.hardState = hardState
      group.metadata = metadata
      group.entries = group.entries.slice(0, kept).concat(removed)
      if (known === undefined) this.#groups.delete(write.groupId)
      else this.#groups.set(write.groupId, known)
    }
  }
}

function newGroup(metadata: Uint8Array | undefined): Group {
  return { compacted: logOrigin, entries: [], hardState: undefined, metadata }
}

function boundsOf(group: Group | undefined): LogBounds {
  if (group === undefined) return emptyBounds
  const last = group.entries.at(-1)
  return {
    compacted: group.compacted,
    last: last === undefined ? group.compacted : { index: last.index, term: last.term },
  }
}
