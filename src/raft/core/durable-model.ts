import type { HardState, LogEntry, LogPosition } from '../../interfaces/log-store.ts'
import type { RaftWrite } from './types.ts'

/** What a replica's disk holds for certain, kept from the writes alone, without asking the core. */
export class DurableModel {
  hardState: HardState = { term: 0, votedFor: 0, commit: 0 }
  compacted: LogPosition = { index: 0, term: 0 }
  /** Terms of the entries after `compacted`. */
  terms: number[] = []
  readonly inFlight: RaftWrite[] = []

  get lastIndex(): number {
    return this.compacted.index + this.terms.length
  }

  /** The least last index that a crash now may leave: any first part of the writes under way may be durable. */
  get leastLastIndex(): number {
    let last = this.lastIndex
    let least = last
    for (const { reset, entries } of this.inFlight) {
      if (reset !== undefined) last = reset.index
      const final = entries?.at(-1)
      if (final !== undefined) last = final.index
      least = Math.min(least, last)
    }
    return least
  }

  /** True when the entry is there, or was covered by a snapshot. */
  has(index: number, term: number): boolean {
    if (index <= this.compacted.index) return true
    return this.terms[index - this.compacted.index - 1] === term
  }

  persist(writeId: number): void {
    for (
      let write = this.inFlight[0];
      write !== undefined && write.writeId <= writeId;
      write = this.inFlight[0]
    ) {
      this.inFlight.shift()
      if (write.reset !== undefined) this.reset(write.reset)
      this.replace(write.entries ?? [])
      if (write.hardState !== undefined) this.hardState = write.hardState
    }
  }

  /** A snapshot may have covered the first of the entries since their write was issued. */
  replace(entries: readonly LogEntry[]): void {
    const fresh = entries.filter((entry) => entry.index > this.compacted.index)
    const first = fresh[0]?.index
    if (first === undefined) return
    this.terms.length = Math.min(this.terms.length, first - this.compacted.index - 1)
    for (const entry of fresh) this.terms.push(entry.term)
  }

  reset(position: LogPosition): void {
    this.compacted = position
    this.terms = []
  }
}
