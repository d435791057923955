import { SerialExecutor } from '../../core/async.ts'
import { emptyBytes } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import { invariant } from '../../core/invariant.ts'
import { entryKinds, type LogEntry, type LogPosition } from '../../interfaces/log-store.ts'
import type {
  Bookkeeping,
  BookkeepingWrite,
  CommandOutput,
  StateMachine,
  StateSnapshot,
} from '../../interfaces/state-machine.ts'
import type { GroupId, ReplicaId } from '../../model/ids.ts'
import type { ConfigurationPool } from '../core/configuration-pool.ts'
import { commandsIn, decodeBatchEnvelope, isBatch } from './batch-envelope.ts'
import { BatchPlan } from './batch-plan.ts'
import {
  type AppliedConfiguration,
  checkOwner,
  configurationWrite,
  type GroupBookkeeping,
  mergeWrites,
  ownerWrites,
  positionWrite,
  readBookkeeping,
  termStartsWrite,
} from './bookkeeping.ts'
import { decodeEnvelope, unknownVersion } from './envelope.ts'
import { LeaseFence } from './lease-fence.ts'
import type { GroupLimits } from './limits.ts'
import type { Outcomes } from './outcomes.ts'
import { decodeSessionEntry } from './session-entry.ts'
import type { SessionTable } from './session-table.ts'
import { Transfer } from './transfer.ts'

const noEntries: LogEntry[] = Object.freeze([]) as never
const nothing: readonly BookkeepingWrite[] = Object.freeze([])
const nowhere: LogPosition = Object.freeze({ index: 0, term: 0 })

/** Bounds of one call of the state machine's `apply`. */
export type ApplierLimits = Pick<GroupLimits, 'maximumApplyEntries' | 'maximumApplyBytes'>

/** Whose entries an {@link Applier} applies: the replica. */
export interface ApplierOwner {
  readonly groupId: GroupId
  readonly machine: StateMachine
  readonly limits: ApplierLimits
  readonly configurations: ConfigurationPool
  /** Called after each batch was applied, with one outcome per entry. Must not throw. */
  applied(entries: readonly LogEntry[], outcomes: Outcomes): void
  /** The state machine threw or an entry cannot be understood: nothing is applied any more. */
  applyFailed(error: unknown): void
}

/** A snapshot under way, at the position that its own bookkeeping says. */
export interface PositionedSnapshot {
  readonly position: LogPosition
  readonly snapshot: StateSnapshot
}

/**
 * Feeds committed entries to the state machine, one batch after the other, with everything that must be atomic with the
 * state: applied position, configuration, lease sequence and client sessions. The one owner of its state machine.
 *
 * Invariant: the state is a function of the entries alone. How they fall into batches, which differs from replica to
 * replica, shows in nothing that the stored bookkeeping says, although results are stored as they came.
 */
export class Applier {
  readonly #owner: ApplierOwner
  #replicaId: ReplicaId
  /** While anything is done with the machine. */
  #serial: SerialExecutor | undefined
  #users = 0
  #queue: LogEntry[] = noEntries
  #head = 0
  #running = false
  #stopped = false
  #failure: KeelsonError | undefined
  #applied: LogPosition
  #flushed: LogPosition
  #sequence: number
  #fence: LeaseFence
  #sessions: SessionTable
  #configuration: AppliedConfiguration | undefined
  /** Never changed in place. */
  #termStarts: readonly LogPosition[]
  #compacted = 0
  /** The stored bookkeeping says whose state it is. */
  #ownerStored: boolean
  /** The machine asks for the bookkeeping when it stores it. */
  readonly #gathered: boolean
  /** A batch has its place in the bookkeeping, but not in the state yet. */
  #planned = false
  /** The last batch of which the position is not stored yet. */
  #sealed: LogPosition | undefined
  /** What else is to be stored. */
  #changed: readonly BookkeepingWrite[] = nothing

  /** `stored` is what the machine's `open` returned, read. */
  constructor(stored: GroupBookkeeping, replicaId: ReplicaId, owner: ApplierOwner) {
    this.#owner = owner
    this.#replicaId = replicaId
    this.#applied = stored.applied
    // What a machine brings back from its disk may still lack its sync.
    this.#flushed = nowhere
    this.#sequence = stored.sequence
    this.#fence = new LeaseFence(stored.sequence)
    this.#sessions = stored.sessions
    this.#configuration = this.#shared(stored.configuration)
    this.#termStarts = stored.termStarts
    this.#ownerStored = stored.replicaId === replicaId && stored.groupId === owner.groupId
    const { machine } = owner
    this.#gathered = machine.gatherBookkeeping !== undefined
    machine.gatherBookkeeping?.(() => this.#takeWrites())
  }

  /** The last entry whose effects the state machine has. */
  get applied(): LogPosition {
    return this.#applied
  }

  /** The last position that `flush` made durable. */
  get flushed(): LogPosition {
    return this.#flushed
  }

  /** The lease sequence as of {@link Applier.applied}. */
  get sequence(): number {
    return this.#sequence
  }

  get configuration(): AppliedConfiguration | undefined {
    return this.#configuration
  }

  get termStarts(): readonly LogPosition[] {
    return this.#termStarts
  }

  get sessions(): SessionTable {
    return this.#sessions
  }

  /** Entries that wait. */
  get queued(): number {
    return this.#queue.length - this.#head
  }

  /** The replica, of which nothing is stored here yet, has another id from now on. */
  takeId(replicaId: ReplicaId): void {
    invariant(this.#applied.index === 0, 'only a state of which nothing is stored yet is given to another id')
    this.#replicaId = replicaId
    this.#ownerStored = false
  }

  /** Takes committed entries, contiguous with those before. */
  enqueue(entries: readonly LogEntry[]): void {
    if (this.#stopped || entries.length === 0) return
    if (this.#queue === noEntries) this.#queue = entries.slice()
    else for (const entry of entries) this.#queue.push(entry)
    if (!this.#running) {
      this.#running = true
      void this.#run()
    }
  }

  /** Makes everything applied so far durable. */
  async flush(): Promise<LogPosition> {
    return this.#exclusive(async () => {
      const position = this.#applied
      await this.#owner.machine.flush()
      this.#flushed = position
      return position
    })
  }

  /** The log holds nothing up to `index` any more, so what is kept about it can go. */
  compacted(index: number): void {
    this.#compacted = Math.max(this.#compacted, index)
  }

  async snapshot(): Promise<PositionedSnapshot> {
    return this.#exclusive(async () => {
      const snapshot = await this.#owner.machine.snapshot()
      return { position: readBookkeeping(snapshot.bookkeeping).applied, snapshot }
    })
  }

  /**
   * Replaces the state by a snapshot's. Older entries that wait are dropped. When it throws, the old state is there
   * still and applying goes on. Unless the machine cannot tell which state it has: then the replica fails, and leaves
   * its durable mark of the restore as it is, since the next start needs it to tell a restore from a lost log.
   *
   * @returns false, with nothing changed, when the state is as new as the snapshot
   */
  async restore(bookkeeping: Bookkeeping, chunks: AsyncIterable<Uint8Array>): Promise<boolean> {
    return this.#exclusive(async () => {
      const incoming = readBookkeeping(bookkeeping)
      if (incoming.applied.index <= this.#applied.index) return false
      if (incoming.configuration === undefined) {
        throw new KeelsonError('MALFORMED', 'a snapshot comes without the configuration of its group')
      }
      checkOwner(this.#owner.groupId, incoming)
      const own = new Map(bookkeeping)
      for (const { key, value } of ownerWrites(this.#owner.groupId, this.#replicaId)) {
        own.set(key, value as Uint8Array)
      }
      const transfer = new Transfer(chunks)
      try {
        await this.#owner.machine.restore(own, transfer)
      } catch (error) {
        // What broke off a transfer says nothing of this machine, whatever its code.
        if (error !== transfer.error && KeelsonError.hasCode(error, 'STORE_POISONED')) this.#fail(error)
        throw error
      }
      this.#applied = incoming.applied
      this.#flushed = incoming.applied
      this.#sequence = incoming.sequence
      this.#fence = new LeaseFence(incoming.sequence)
      this.#sessions = incoming.sessions
      this.#configuration = this.#shared(incoming.configuration)
      this.#termStarts = incoming.termStarts
      this.#ownerStored = true
      this.#sealed = undefined
      this.#changed = nothing
      return true
    })
  }

  /** Ends: nothing is applied after what is under way now. Resolves when the machine is idle. The machine stays open. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#queue = noEntries
    this.#head = 0
    await this.#serial?.idle()
  }

  /** As most groups of the host have it. */
  #shared(applied: AppliedConfiguration | undefined): AppliedConfiguration | undefined {
    if (applied === undefined) return undefined
    const { index, configuration } = applied
    return { index, configuration: this.#owner.configurations.share(configuration).configuration }
  }

  async #exclusive<T>(task: () => Promise<T>): Promise<T> {
    this.#serial ??= new SerialExecutor()
    this.#users++
    try {
      return await this.#serial.run(async () => {
        if (this.#failure !== undefined) throw this.#failure
        if (this.#stopped) throw new KeelsonError('CLOSED', 'the group was closed; open it again')
        return task()
      })
    } finally {
      if (--this.#users === 0) this.#serial = undefined
    }
  }

  async #run(): Promise<void> {
    try {
      while (this.#head < this.#queue.length && !this.#stopped) {
        await this.#exclusive(async () => this.#applyNext())
      }
    } catch (error) {
      this.#fail(
        KeelsonError.is(error)
          ? error
          : new KeelsonError('INVARIANT_VIOLATED', 'the state machine failed to apply committed entries', {
              cause: error,
            }),
      )
    } finally {
      this.#running = false
    }
  }

  #fail(error: KeelsonError): void {
    if (this.#stopped) return
    this.#failure = error
    this.#stopped = true
    this.#owner.applyFailed(error)
  }

  async #applyNext(): Promise<void> {
    const entries = this.#takeEntries()
    const last = entries.at(-1)
    if (last === undefined) return
    const plan = this.#plan(entries)
    const { commands } = plan
    const position = { index: last.index, term: last.term }
    let results: readonly CommandOutput[] | undefined
    await this.#owner.machine.apply(commands, (given) => {
      invariant(results === undefined, 'a state machine seals a batch once')
      invariant(given.length === commands.length, 'a state machine returns one result per command')
      results = given
      return this.#seal(plan, given, position)
    })
    invariant(results !== undefined, 'a state machine seals the batch before apply resolves')
    this.#applied = position
    this.#sequence = this.#fence.sequence
    // What the machine gathers is in no block of the session's own yet.
    this.#owner.applied(entries, plan.outcomes(results, this.#gathered))
  }

  /**
   * The next entries, within limits. A session entry ends the batch before it if that has commands, because it must see
   * all their results. A command that the machine wants alone is a batch of its own.
   */
  #takeEntries(): LogEntry[] {
    const entries: LogEntry[] = []
    const { maximumApplyEntries, maximumApplyBytes } = this.#owner.limits
    let bytes = 0
    let size = 0
    let commands = 0
    while (this.#head < this.#queue.length && size < maximumApplyEntries) {
      const entry = this.#queue[this.#head] as LogEntry
      if (entry.index > this.#applied.index) {
        if (entry.kind === entryKinds.session && commands > 0) break
        if (bytes + entry.data.length > maximumApplyBytes && entries.length > 0) break
        const alone = this.wantsAlone(entry)
        if (alone && entries.length > 0) break
        invariant(
          entry.index === this.#applied.index + entries.length + 1,
          'committed entries are applied in order, without gaps',
        )
        const held = entry.kind === entryKinds.command ? commandsIn(entry.data) : 0
        commands += held
        size += Math.max(1, held)
        bytes += entry.data.length
        entries.push(entry)
        if (alone) {
          this.#head++
          break
        }
      }
      this.#head++
    }
    if (this.#head === this.#queue.length) {
      this.#queue = noEntries
      this.#head = 0
    } else if (this.#head > 4096) {
      this.#queue.splice(0, this.#head)
      this.#head = 0
    }
    return entries
  }

  /** @internal */
  wantsAlone({ kind, data }: LogEntry): boolean {
    const { machine } = this.#owner
    if (kind !== entryKinds.command || machine.alone === undefined) return false
    const alone = (command: Uint8Array): boolean => machine.alone?.(command) === true
    if (!isBatch(data)) return alone(decodeEnvelope(data).payload)
    const together = decodeBatchEnvelope(data).commands.some((command) => alone(command.data))
    invariant(!together, 'a command that is applied alone goes into the log alone')
    return false
  }

  #plan(entries: LogEntry[]): BatchPlan {
    this.#planned = true
    const plan = new BatchPlan(entries, this.#fence, this.#sessions)
    let newTerm = false
    let configured: LogEntry | undefined
    for (const entry of entries) {
      if (entry.term !== (this.#termStarts.at(-1)?.term ?? 0)) {
        this.#termStarts = this.#termStarts.concat({ index: entry.index, term: entry.term })
        newTerm = true
      }
      switch (entry.kind) {
        case entryKinds.noop:
          this.#fence.install(entry.term)
          plan.settled(emptyBytes)
          break
        case entryKinds.configuration:
          configured = entry
          plan.settled(emptyBytes)
          break
        case entryKinds.session:
          this.#sessions.apply(decodeSessionEntry(entry.data), entry.index)
          plan.settled(emptyBytes)
          break
        case entryKinds.command:
          plan.add(entry)
          break
        default:
          throw unknownVersion('a log entry of kind', entry.kind)
      }
    }
    if (newTerm) {
      this.#dropTermStarts()
      plan.writes.push(termStartsWrite(this.#termStarts))
    }
    if (configured !== undefined) {
      const { index, data } = configured
      this.#configuration = { index, configuration: this.#owner.configurations.decode(data).configuration }
      plan.writes.push(configurationWrite(index, data))
    }
    return plan
  }

  #seal(plan: BatchPlan, results: readonly CommandOutput[], last: LogPosition): readonly BookkeepingWrite[] {
    plan.record(results)
    this.#changed = mergeWrites(this.#changed, plan.writes)
    this.#sealed = last
    this.#planned = false
    return this.#gathered ? nothing : this.#takeWrites()
  }

  /**
   * What has changed in the bookkeeping since it was last stored. Not while a batch is planned: the sessions have seen its commands
   * then, and with them it would be stored as of a place in the log that the state has not reached.
   */
  #takeWrites(): readonly BookkeepingWrite[] {
    invariant(!this.#planned, 'bookkeeping is stored as of the end of a batch')
    if (this.#sealed === undefined) return nothing
    const writes = [...this.#changed, ...this.#sessions.takeWrites()]
    if (!this.#ownerStored) writes.push(...ownerWrites(this.#owner.groupId, this.#replicaId))
    writes.push(positionWrite(this.#sealed, this.#fence.sequence))
    this.#changed = nothing
    this.#sealed = undefined
    this.#ownerStored = true
    return writes
  }

  /** Of the terms that begin where the log is compacted, only the last matters. */
  #dropTermStarts(): void {
    const starts = this.#termStarts
    let keep = 0
    while (keep + 1 < starts.length && (starts[keep + 1] as LogPosition).index <= this.#compacted) keep++
    if (keep > 0) this.#termStarts = starts.slice(keep)
  }
}
