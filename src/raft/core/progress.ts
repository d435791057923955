import { added, noneOf, without } from './none.ts'
import type { ProgressState } from './types.ts'

/**
 * Append messages on their way to a replica, oldest first. Bytes are kept with each message and given back with it, so
 * that the sum cannot drift.
 */
export class InFlight {
  /** Last index of each message, ascending. */
  indexes: readonly number[] = noneOf()
  /** Data bytes of each message. */
  sizes: readonly number[] = noneOf()
  /** Sum of `sizes`. */
  bytes = 0

  get messages(): number {
    return this.indexes.length
  }

  add(lastIndex: number, bytes: number): void {
    this.indexes = added(this.indexes, lastIndex)
    this.sizes = added(this.sizes, bytes)
    this.bytes += bytes
  }

  /** Everything up to `index` has arrived. */
  freeThrough(index: number): void {
    let done = 0
    while (done < this.indexes.length && (this.indexes[done] as number) <= index) {
      this.bytes -= this.sizes[done] as number
      done++
    }
    if (done === 0) return
    this.indexes = without(this.indexes, done)
    this.sizes = without(this.sizes, done)
  }

  clear(): void {
    this.indexes = noneOf()
    this.sizes = noneOf()
    this.bytes = 0
  }

  clone(): InFlight {
    const copy = new InFlight()
    copy.indexes = this.indexes.slice()
    copy.sizes = this.sizes.slice()
    copy.bytes = this.bytes
    return copy
  }
}

/**
 * What a leader knows of one other replica, for one term.
 *
 * - probe: it is not known where the logs part. One message at a time, until an answer or a heartbeat's answer comes.
 * - replicate: the logs agree at `matchIndex`; messages are sent ahead of their acknowledgements.
 * - snapshot: what it needs next was compacted. Nothing is sent until it has a snapshot.
 */
export class Progress {
  state: ProgressState = 'probe'
  /**
   * Up to here the replica's durable log equals this leader's: the highest index that it acknowledged in this term. It
   * never goes back within the term.
   */
  matchIndex = 0
  /** The first entry of the next message. Always above `matchIndex`. */
  nextIndex: number
  /** In probe: a message is on its way, so nothing is sent before an answer. */
  paused = false
  /** In snapshot: the position that the offer named. */
  snapshotIndex = 0
  /** When the snapshot was last offered. */
  offeredAtMs = 0
  /** When the last answer of this term came; when this leader was elected or the replica was added, before the first. */
  lastHeardMs: number
  /** The highest heartbeat round that it answered in this term. */
  ackedRound = 0
  /**
   * Until then, by this leader's monotonic clock, it is certain to vote for nobody else: by the pledge of this term that
   * lasts longest. And the wall time at which a clock that had not slept would show it.
   */
  leaseUntilMs: number = -Infinity
  leaseUntilWallMs: number = -Infinity
  /** It rests, and its node pledges itself for it under this epoch; 0 when it is awake, as far as is known. */
  epoch = 0
  /** Answers to earlier rounds of heartbeats do not tell whether it rests: something was sent since that wakes it. */
  restsFromRound = 0
  /** Its node is gone, and this replica is told when it is back. */
  down = false
  /** The highest commit index that was sent to it. Never above `matchIndex`. */
  commitTold = 0
  /** The fetch that is under way for it; 0 for none. At most one. */
  fetchId = 0
  /** When it was last looked at whether messages on their way make headway, and `matchIndex` then. */
  checkedAtMs: number
  checkedMatch = 0
  /** It has acknowledged all that this leader's log had at this time. */
  coveredAtMs: number = -Infinity
  /** When the round of catching up that is under way began, and where the log ended then. */
  catchUpStartedMs: number
  catchUpIndex: number
  inFlight: InFlight = new InFlight()

  constructor(nextIndex: number, nowMs: number) {
    this.nextIndex = nextIndex
    this.catchUpIndex = nextIndex - 1
    this.catchUpStartedMs = nowMs
    this.lastHeardMs = nowMs
    this.checkedAtMs = nowMs
  }

  /**
   * Catching up goes in rounds (Ongaro's thesis, section 4.2.1): each ends when the replica has what the log had when it
   * began, and the next one begins with what was appended meanwhile. A replica that keeps up with its leader has short ones.
   */
  continueCatchUp(lastIndex: number, nowMs: number): void {
    if (this.matchIndex < this.catchUpIndex) return
    this.coveredAtMs = this.catchUpStartedMs
    this.catchUpStartedMs = nowMs
    this.catchUpIndex = lastIndex
  }

  becomeProbe(nextIndex: number): void {
    this.state = 'probe'
    this.nextIndex = Math.max(nextIndex, this.matchIndex + 1)
    this.paused = false
    this.snapshotIndex = 0
    this.fetchId = 0
    this.inFlight.clear()
  }

  becomeReplicate(): void {
    this.becomeProbe(this.matchIndex + 1)
    this.state = 'replicate'
  }

  becomeSnapshot(snapshotIndex: number, nowMs: number): void {
    this.becomeProbe(this.nextIndex)
    this.state = 'snapshot'
    this.snapshotIndex = snapshotIndex
    this.offeredAtMs = nowMs
  }

  clone(): Progress {
    const copy = new Progress(this.nextIndex, this.lastHeardMs)
    copy.state = this.state
    copy.matchIndex = this.matchIndex
    copy.paused = this.paused
    copy.snapshotIndex = this.snapshotIndex
    copy.offeredAtMs = this.offeredAtMs
    copy.ackedRound = this.ackedRound
    copy.leaseUntilMs = this.leaseUntilMs
    copy.leaseUntilWallMs = this.leaseUntilWallMs
    copy.epoch = this.epoch
    copy.restsFromRound = this.restsFromRound
    copy.down = this.down
    copy.commitTold = this.commitTold
    copy.fetchId = this.fetchId
    copy.checkedAtMs = this.checkedAtMs
    copy.checkedMatch = this.checkedMatch
    copy.coveredAtMs = this.coveredAtMs
    copy.catchUpStartedMs = this.catchUpStartedMs
    copy.catchUpIndex = this.catchUpIndex
    copy.inFlight = this.inFlight.clone()
    return copy
  }
}

/** The largest value that a majority of `values` reaches; 0 of none. Sorts `values`, by insertion: there are few. */
export function majorityValue(values: number[]): number {
  if (values.length === 0) return 0
  for (let i = 1; i < values.length; i++) {
    const value = values[i] as number
    let at = i
    while (at > 0 && (values[at - 1] as number) > value) {
      values[at] = values[at - 1] as number
      at--
    }
    values[at] = value
  }
  return values[(values.length - 1) >>> 1] as number
}
