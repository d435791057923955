import { invariant } from '../../core/invariant.ts'
import type { LogEntry, LogStore } from '../../interfaces/log-store.ts'
import type { GroupId } from '../../model/ids.ts'
import type { ProgressStatus, RaftMachine } from '../core/types.ts'
import type { Applier } from './applier.ts'
import type { GroupLimits } from './limits.ts'
import { LogBytes } from './log-bytes.ts'

/** Whose log a {@link LogCompactor} keeps short: the replica. */
export interface LogCompactorOwner {
  readonly groupId: GroupId
  readonly core: RaftMachine
  readonly applier: Applier
  readonly log: LogStore
  readonly limits: CompactionLimits
  readonly stopped: boolean
  compactionFailed(error: unknown): void
}

const nothingPinned: readonly { readonly index: number }[] = Object.freeze([])

/** What bounds a log. */
export type CompactionLimits = Pick<
  GroupLimits,
  | 'compactAfterEntries'
  | 'compactAfterBytes'
  | 'keptEntries'
  | 'keptBytes'
  | 'maximumLagEntries'
  | 'maximumLagBytes'
>

/** What a log may be compacted by. */
export interface CompactionView {
  readonly limits: CompactionLimits
  /** What the state machine has confirmed to be durable. Nothing beyond it may go. */
  readonly flushedIndex: number
  /** Gone already. */
  readonly compactedIndex: number
  readonly bytes: LogBytes
  /** On a leader: the other replicas. */
  readonly progress: Iterable<ProgressStatus>
  /** Positions of snapshots on their way: whoever gets one needs what follows it. */
  readonly pinned: Iterable<number>
}

/**
 * Up to where a log is compacted now. Some of it stays for followers that are a little behind. A leader spares a follower
 * that is at work, or gets a snapshot just now, another snapshot by holding on to what it needs, but for no more than
 * the limits on the lag: one that falls further behind is given up to a snapshot, so that the log has a bound.
 */
export function compactionTarget(view: CompactionView): number {
  const { limits, flushedIndex, compactedIndex, bytes } = view
  const entries = flushedIndex - compactedIndex
  const kept = flushedIndex - Math.min(limits.keptEntries, Math.floor(entries / 2))
  let index = Math.max(kept, bytes.firstWithin(limits.keptBytes))
  for (const progress of view.progress) {
    if (progress.recentlyActive && progress.state !== 'snapshot') index = Math.min(index, progress.matchIndex)
  }
  for (const position of view.pinned) index = Math.min(index, position)
  const farthest = Math.max(
    flushedIndex - limits.maximumLagEntries,
    bytes.firstWithin(limits.maximumLagBytes),
  )
  return Math.min(Math.max(index, farthest), flushedIndex)
}

/**
 * Keeps a replica's log short. No snapshot is made for it, as the state machine is durable by itself: it is flushed, and
 * what it has confirmed may go from the log. Never anything beyond that.
 */
export class LogCompactor {
  readonly #owner: LogCompactorOwner
  readonly #bytes: LogBytes
  #pinned: readonly { readonly index: number }[] = nothingPinned
  #compactedIndex: number
  /** The applied index and the bytes at which it was tried last. Another try takes some more of either. */
  #triedIndex = 0
  #triedBytes = 0
  #running = false

  constructor(owner: LogCompactorOwner) {
    const { core, limits } = owner
    this.#owner = owner
    this.#compactedIndex = core.status().compacted.index
    this.#bytes = new LogBytes(this.#compactedIndex, limits.compactAfterBytes / 1024)
    // How large the entries are that an earlier life left behind is not known: they go with the first chance.
    const left = core.appliedIndex - this.#compactedIndex
    if (left > limits.keptEntries) this.#bytes.add(core.appliedIndex, limits.compactAfterBytes)
  }

  /** Committed entries came into the log. */
  add(entries: readonly LogEntry[]): void {
    for (const { index, data } of entries) this.#bytes.add(index, data.length)
  }

  /** The log was reset to a snapshot's position. */
  reset(index: number): void {
    this.#compactedIndex = index
    this.#bytes.forget(index)
  }

  /** A snapshot at this position is on its way to a follower, which will need what comes after it. @returns the end */
  pin(index: number): () => void {
    const pin = { index }
    this.#pinned = [...this.#pinned, pin]
    return () => {
      this.#pinned = this.#pinned.filter((other) => other !== pin)
    }
  }

  /** Starts a compaction if it is time for one. */
  check(): void {
    if (this.#running || !this.#isDue()) return
    this.#running = true
    void this.#compact()
  }

  #isDue(): boolean {
    const { limits, applier } = this.#owner
    const { index } = applier.applied
    // What was tried in vain, as somebody needs the log, is not tried again with every batch.
    const more = index - this.#triedIndex >= limits.compactAfterEntries / 8
    const moreBytes = this.#bytes.total - this.#triedBytes >= limits.compactAfterBytes / 8
    if (!more && !moreBytes) return false
    if (index - this.#compactedIndex >= limits.compactAfterEntries) return true
    return this.#bytes.held >= limits.compactAfterBytes
  }

  async #compact(): Promise<void> {
    const { applier, core, log, groupId, limits } = this.#owner
    try {
      this.#triedIndex = applier.applied.index
      this.#triedBytes = this.#bytes.total
      const flushed = await applier.flush()
      if (this.#owner.stopped) return
      const index = compactionTarget({
        limits,
        flushedIndex: flushed.index,
        compactedIndex: this.#compactedIndex,
        bytes: this.#bytes,
        progress: core.status().progress.values(),
        pinned: this.#pinned.map((pin) => pin.index),
      })
      if (index <= this.#compactedIndex) return
      const position = core.compact(index)
      invariant(position.index <= flushed.index, 'the log is compacted up to what is flushed at most')
      this.#compactedIndex = position.index
      this.#bytes.forget(position.index)
      applier.compacted(position.index)
      await log.compact(groupId, position)
    } catch (error) {
      if (!this.#owner.stopped) this.#owner.compactionFailed(error)
    } finally {
      this.#running = false
    }
  }
}
