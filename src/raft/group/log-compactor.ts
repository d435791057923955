import { invariant } from '../../core/invariant.ts'
import type { LogStore } from '../../interfaces/log-store.ts'
import type { GroupId } from '../../model/ids.ts'
import type { RaftMachine } from '../core/types.ts'
import type { Applier } from './applier.ts'
import type { GroupLimits } from './limits.ts'

export interface LogCompactorOptions {
  readonly groupId: GroupId
  readonly core: RaftMachine
  readonly applier: Applier
  readonly log: LogStore
  readonly limits: GroupLimits
  readonly stopped: () => boolean
  readonly onFailure: (error: unknown) => void
}

/**
 * Keeps a replica's log short. No snapshot is made for it, as the state machine is durable by itself: it is flushed, and
 * what it has confirmed may go from the log. Never anything beyond that.
 */
export class LogCompactor {
  readonly #options: LogCompactorOptions
  #compactedIndex: number
  #bytes = 0
  #running = false

  constructor(options: LogCompactorOptions) {
    this.#options = options
    this.#compactedIndex = options.core.status().compacted.index
  }

  /** Bytes of entries came into the log. */
  add(bytes: number): void {
    this.#bytes += bytes
  }

  /** The log was reset to a snapshot's position. */
  reset(index: number): void {
    this.#compactedIndex = index
    this.#bytes = 0
  }

  /** Starts a compaction if it is time for one. */
  check(): void {
    const { limits, applier } = this.#options
    const entries = applier.applied.index - this.#compactedIndex
    if (this.#running) return
    if (entries < limits.compactAfterEntries && this.#bytes < limits.compactAfterBytes) return
    this.#running = true
    void this.#compact()
  }

  async #compact(): Promise<void> {
    const { applier, core, log, groupId, stopped, onFailure } = this.#options
    const bytes = this.#bytes
    try {
      const flushed = await applier.flush()
      if (stopped()) return
      // What came in while the state was flushed counts for the next time.
      this.#bytes = Math.max(0, this.#bytes - bytes)
      const index = this.#target(flushed.index)
      if (index <= this.#compactedIndex) return
      const position = core.compact(index)
      invariant(position.index <= flushed.index, 'the log is compacted up to what is flushed at most')
      this.#compactedIndex = position.index
      applier.compacted(position.index)
      await log.compact(groupId, position)
    } catch (error) {
      if (!stopped()) onFailure(error)
    } finally {
      this.#running = false
    }
  }

  /** A leader spares a follower that is at work a snapshot, as long as the log does not grow far beyond its limit. */
  #target(flushedIndex: number): number {
    const { core, limits } = this.#options
    const entries = flushedIndex - this.#compactedIndex
    let index = flushedIndex - Math.min(limits.keptEntries, Math.floor(entries / 2))
    if (core.role !== 'leader' || entries > 4 * limits.compactAfterEntries) return index
    for (const progress of core.status().progress.values()) {
      if (progress.recentlyActive && progress.state !== 'snapshot')
        index = Math.min(index, progress.matchIndex)
    }
    return index
  }
}
