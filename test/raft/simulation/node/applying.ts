import type { LogEntry } from '../../../../src/interfaces/log-store.ts'
import type { RaftCore } from '../../../../src/raft/core/raft.ts'
import { LogBytes } from '../../../../src/raft/group/log-bytes.ts'
import { type CompactionLimits, compactionTarget } from '../../../../src/raft/group/log-compactor.ts'
import { NodeClients } from './clients.ts'

/** Applies what is committed, makes the state durable, and lets the log forget what the state has. */
export abstract class NodeApplying extends NodeClients {
  #toApply: LogEntry[] = []
  #applying = false
  #flushing = false

  /** The state is being replaced by a snapshot. */
  protected abstract get restoringSnapshot(): boolean

  /** Where the snapshots are that go to others: what follows them in the log stays. */
  protected abstract get pinnedIndexes(): number[]

  protected override forget(): void {
    super.forget()
    this.#toApply = []
    this.#applying = false
    this.#flushing = false
  }

  protected enqueue(entries: readonly LogEntry[]): void {
    if (entries.length === 0) return
    this.#toApply.push(...entries)
    this.planApply()
  }

  protected planApply(): void {
    const { core } = this
    if (this.#applying || core === undefined || this.#toApply.length === 0 || this.restoringSnapshot) {
      return
    }
    this.#applying = true
    this.env.timers.schedule(this.random.float() * this.world.settings.applyDelayMs, () => {
      this.#applying = false
      if (this.core !== core) return
      this.#toApply = this.stillToApply(this.#toApply)
      const batch = this.#toApply.splice(0, this.world.settings.maximumApplyBatch)
      if (batch.length > 0) this.applyBatch(core, batch)
      this.planApply()
    })
  }

  /** A snapshot may have come in between, which has what waited to be applied, and more. */
  stillToApply(entries: readonly LogEntry[]): LogEntry[] {
    return entries.filter((entry) => entry.index > this.machine.applied.index)
  }

  applyBatch(core: RaftCore, batch: readonly LogEntry[]): void {
    if (!batch.every((entry) => this.knows(entry))) return this.stopAtUnknown()
    for (const entry of batch) {
      this.judge((invariants) => invariants.applied(core.replicaId, entry))
      const outcome = this.machine.apply(entry)
      this.world.applied(this, this.machine, entry)
      this.answer(entry, outcome)
    }
    this.machineDisk.applied(batch)
    this.input('applied', this.machine.applied.index)
    this.tellApplied(core)
    this.serveReads()
    this.maybeFlush(core)
    this.changed()
  }

  tellApplied(core: RaftCore): void {
    core.applied(this.machine.applied.index, this.nowMs)
  }

  // The log forgets what the state has

  /** Makes the state durable, then lets the log forget what it has. */
  maybeFlush(core: RaftCore): void {
    const { flushEvery } = this.world.settings
    if (this.#flushing || this.machine.applied.index - this.machineDisk.flushedIndex < flushEvery) return
    this.#flushing = true
    const { index } = this.machine.applied
    const state = this.machine.encode()
    this.disk.perform('sync', (error) => {
      this.#flushing = false
      if (this.core !== core) return
      if (error !== undefined) return this.world.count('flush failed')
      if (index < this.machineDisk.flushedIndex) return
      this.machineDisk.flush(state, index)
      this.compact(core)
    })
  }

  compactionLimits(): CompactionLimits {
    const { keepEntries, flushEvery, maximumLagEntries, maximumLagBytes } = this.world.settings
    return {
      compactAfterEntries: flushEvery,
      compactAfterBytes: maximumLagBytes,
      keptEntries: keepEntries,
      keptBytes: maximumLagBytes,
      maximumLagEntries,
      maximumLagBytes,
    }
  }

  compactionTarget(core: RaftCore): number {
    const { flushedIndex } = this.machineDisk
    if (!this.world.settings.sparesLaggards) return flushedIndex - this.world.settings.keepEntries
    const { compacted } = this.store.current
    return compactionTarget({
      limits: this.compactionLimits(),
      flushedIndex,
      compactedIndex: compacted.index,
      bytes: this.#logBytes(),
      progress: core.status().progress.values(),
      pinned: this.pinnedIndexes,
    })
  }

  #logBytes(): LogBytes {
    const { compacted, entries } = this.store.current
    const bytes = new LogBytes(compacted.index)
    for (const { index, data } of entries) {
      if (index <= this.machineDisk.flushedIndex) bytes.add(index, data.length)
    }
    return bytes
  }

  /** Whoever lags behind, the log has an end. */
  #checkLogBounded(): void {
    const { settings } = this.world
    if (!settings.sparesLaggards) return
    const held = this.machineDisk.flushedIndex - this.store.current.compacted.index
    const bytes = this.#logBytes().held
    if (held <= settings.maximumLagEntries && bytes <= settings.maximumLagBytes) return
    this.world.broken(
      `${this.name} holds ${held} entries of ${bytes} bytes that it does not need`,
      'the log is bounded',
    )
  }

  compact(core: RaftCore): void {
    const target = this.compactionTarget(core)
    if (target <= 0) return this.#checkLogBounded()
    const position = core.compact(target)
    if (position.index <= this.store.current.compacted.index) return this.#checkLogBounded()
    // What the store has of the log may lag behind by writes that were not taken from the core yet.
    if (position.index > this.store.current.last.index) return
    this.input('compacted through', position.index)
    this.world.count('compaction')
    this.store.compact(position)
    this.#checkLogBounded()
    this.changed()
  }
}
