import { invariant } from '../../core/invariant.ts'
import type { LogEntry, LogPosition } from '../../interfaces/log-store.ts'
import type { ReplicaId } from '../../model/ids.ts'
import { RaftFollower } from './follower.ts'
import { added, noneOf } from './none.ts'
import type { Progress } from './progress.ts'
import type { Fetch, NeededSnapshot } from './types.ts'

/** Entries that were cut from the log for a message, so that equal messages to several replicas share them. */
interface SharedSlice {
  readonly from: number
  readonly maximumBytes: number
  readonly entries: LogEntry[]
}

/** Of one that does not lead. */
export const noProgress: ReadonlyMap<ReplicaId, Progress> = new Map()

/** So many entries are worth a message of their own, see {@link RaftReplication.noticeCommits}. */
const fewCommits = 16

/**
 * What a leader sends to each of the others, and when: appends that are pipelined (section 10.2 of Ongaro's thesis) within limits in
 * messages and bytes, offers of snapshots, and notices of commits. Entries that left memory are fetched first.
 */
export abstract class RaftReplication extends RaftFollower {
  /** Every other replica of the configuration in force; empty unless this replica leads. */
  progress: ReadonlyMap<ReplicaId, Progress> = noProgress
  /** The last round of heartbeats. Grows for as long as the process lives and is never used twice. */
  round = 0
  /** When replicas that were not told of a small commit are told. Infinity when there are none. */
  noticeDeadlineMs: number = Infinity
  lastFetchId = 0
  fetches: readonly Fetch[] = noneOf()
  neededSnapshots: readonly NeededSnapshot[] = noneOf()
  sharedSlice: SharedSlice | undefined = undefined

  /** Round 0 wants no answer: it only tells of the commit index. */
  sendHeartbeat(to: ReplicaId, progress: Progress, round: number, idle = false): void {
    if (!idle) this.disturb(progress)
    const match = progress.matchIndex
    const commit = Math.min(match, this.commitIndex)
    progress.commitTold = commit
    this.send({
      kind: 'heartbeat',
      ...this.header(to),
      round,
      commit,
      match,
      ...(idle ? { idle } : {}),
    })
  }

  /**
   * Something is about to be sent that wakes the replica: from now on its node speaks for it no more, and what it has answered
   * before says nothing of its rest.
   */
  disturb(progress: Progress): void {
    if (!this.options.quiescence) return
    if (progress.epoch !== 0) progress.lastHeardMs = this.nowMs
    progress.epoch = 0
    progress.restsFromRound = this.round + 1
  }

  /** Sends to each replica what it can take now. Called once per Ready, so that a whole turn's proposals travel as one. */
  replicate(): void {
    let untold = 0
    for (const [replicaId, progress] of this.progress) {
      if (progress.state === 'probe') this.probe(replicaId, progress)
      else if (progress.state === 'replicate') this.stream(replicaId, progress)
      untold = Math.max(untold, this.untoldCommits(progress))
    }
    this.noticeCommits(untold)
  }

  /** Entries that a replica has and does not know to be committed. */
  untoldCommits(progress: Progress): number {
    return Math.min(this.commitIndex, progress.matchIndex) - progress.commitTold
  }

  /**
   * Tells of commits that no other message told of. With few entries that can wait a little: where one proposal follows
   * another, the next append tells, and nobody is woken twice. Many are told of at once, because a replica that applies
   * them together with the next append answers that one late.
   */
  noticeCommits(untold: number): void {
    if (untold <= 0) {
      this.noticeDeadlineMs = Infinity
      return
    }
    const delayMs = untold < fewCommits ? this.options.commitNoticeMs : 0
    this.noticeDeadlineMs = Math.min(this.noticeDeadlineMs, this.nowMs + delayMs)
    if (this.nowMs < this.noticeDeadlineMs) return
    this.noticeDeadlineMs = Infinity
    for (const [replicaId, progress] of this.progress) {
      if (this.untoldCommits(progress) > 0) this.sendHeartbeat(replicaId, progress, 0)
    }
  }

  probe(replicaId: ReplicaId, progress: Progress): void {
    if (progress.paused) return
    const { nextIndex } = progress
    const inMemory = nextIndex >= this.log.memoryFirst && nextIndex <= this.log.lastIndex
    const entries = inMemory ? this.entriesFrom(nextIndex, this.options.maximumAppendBytes) : []
    if (this.sendAppend(replicaId, progress, entries)) progress.paused = true
  }

  /** Pipelines: sends on without waiting, within the limits in flight. */
  stream(replicaId: ReplicaId, progress: Progress): void {
    while (progress.nextIndex <= this.log.lastIndex && progress.fetchId === 0) {
      const room = this.roomInFlight(progress)
      if (room <= 0) return
      if (progress.nextIndex < this.log.memoryFirst) {
        if (this.log.termAt(progress.nextIndex - 1) === undefined) this.needSnapshot(replicaId, progress)
        else this.fetchFor(replicaId, progress, room)
        return
      }
      const entries = this.entriesFrom(progress.nextIndex, Math.min(room, this.options.maximumAppendBytes))
      if (!this.fitsInFlight(progress, entries)) return
      this.sendEntries(replicaId, progress, entries)
    }
  }

  /** Bytes that may still be sent to a replica; 0 when it must acknowledge something first. */
  roomInFlight(progress: Progress): number {
    const { inFlight } = progress
    if (inFlight.messages >= this.options.maximumInFlightMessages) return 0
    return Math.max(0, this.options.maximumInFlightBytes - inFlight.bytes)
  }

  /** A message larger than what is left waits, unless it is alone. */
  fitsInFlight(progress: Progress, entries: readonly LogEntry[]): boolean {
    return progress.inFlight.messages === 0 || sizeOf(entries) <= this.roomInFlight(progress)
  }

  entriesFrom(from: number, maximumBytes: number): LogEntry[] {
    const shared = this.sharedSlice
    if (shared !== undefined && shared.from === from && shared.maximumBytes === maximumBytes)
      return shared.entries
    const entries = this.log.slice(from, this.log.lastIndex, maximumBytes, this.options.maximumAppendEntries)
    this.sharedSlice = { from, maximumBytes, entries }
    return entries
  }

  /** Sends entries from `nextIndex` on to a replica in state replicate. */
  sendEntries(replicaId: ReplicaId, progress: Progress, entries: readonly LogEntry[]): void {
    const sent = this.sendAppend(replicaId, progress, entries)
    invariant(sent, 'what precedes entries that are there is known')
    const last = progress.nextIndex + entries.length - 1
    progress.inFlight.add(last, sizeOf(entries))
    progress.nextIndex = last + 1
  }

  /** Sends one append that begins at `nextIndex`; a replica that needs what was compacted is offered a snapshot. */
  sendAppend(to: ReplicaId, progress: Progress, entries: readonly LogEntry[]): boolean {
    const prevIndex = progress.nextIndex - 1
    const prevTerm = this.log.termAt(prevIndex)
    if (prevTerm === undefined) {
      this.needSnapshot(to, progress)
      return false
    }
    this.disturb(progress)
    this.send({ kind: 'append', ...this.header(to), prevIndex, prevTerm, entries, commit: this.commitIndex })
    if (entries.length > 0) {
      progress.commitTold = Math.max(progress.commitTold, Math.min(this.commitIndex, progress.matchIndex))
    }
    return true
  }

  needSnapshot(replicaId: ReplicaId, progress: Progress, index: number = this.log.compacted.index): void {
    progress.becomeSnapshot(index, this.nowMs)
    const position = this.offerSnapshot(replicaId, progress)
    this.neededSnapshots = added(this.neededSnapshots, { replicaId, position })
  }

  /** Offers what it was offered before, or a later one when that was compacted since. */
  offerSnapshot(to: ReplicaId, progress: Progress): LogPosition {
    const term = this.log.termAt(progress.snapshotIndex)
    const position = term === undefined ? this.log.compacted : { index: progress.snapshotIndex, term }
    this.disturb(progress)
    progress.offeredAtMs = this.nowMs
    progress.snapshotIndex = position.index
    this.send({ kind: 'snapshotOffer', ...this.header(to), position })
    return position
  }

  /** The offer or its answer may have been lost; a replica that is busy with it ignores another one. */
  offerIsOverdue(progress: Progress): boolean {
    return this.nowMs >= progress.offeredAtMs + this.options.electionTimeoutMs
  }

  /** What the host knows of a snapshot's stream: sent, it is probed from there; failed, it is offered again. */
  snapshotReported(progress: Progress, outcome: 'sent' | 'failed'): void {
    if (progress.state !== 'snapshot') return
    const { snapshotIndex } = progress
    progress.becomeProbe(outcome === 'sent' ? snapshotIndex + 1 : progress.matchIndex + 1)
    // Not at once: its acknowledgement is on the way, or the cause of the failure is still there.
    progress.paused = true
  }

  // Entries that left memory

  fetchFor(replicaId: ReplicaId, progress: Progress, room: number): void {
    const to = Math.min(this.log.memoryFirst - 1, progress.nextIndex + this.options.maximumAppendEntries - 1)
    const maximumBytes = Math.min(room, this.options.maximumAppendBytes)
    progress.fetchId = this.requestFetch(replicaId, progress.nextIndex, to, maximumBytes)
  }

  requestFetch(replicaId: ReplicaId, from: number, to: number, maximumBytes: number): number {
    const fetchId = ++this.lastFetchId
    this.fetches = added(this.fetches, {
      fetchId,
      replicaId,
      from,
      to,
      maximumBytes,
      term: this.term,
      truncations: this.log.truncations,
      snapshotIndex: this.log.compacted.index,
    })
    return fetchId
  }

  /** True when nothing that could change the meaning of the range has happened since it was asked for. */
  isFetchValid(fetch: Fetch): boolean {
    return (
      fetch.term === this.term &&
      fetch.truncations === this.log.truncations &&
      fetch.snapshotIndex === this.log.compacted.index
    )
  }

  /** The entries are what this log has at these places. */
  isFetchedRight(fetch: Fetch, entries: readonly LogEntry[]): boolean {
    return (
      entries.length > 0 &&
      entries.every((entry, i) => entry.index === fetch.from + i && this.log.matches(entry.index, entry.term))
    )
  }

  fetchedForReplica(fetch: Fetch, entries: readonly LogEntry[]): void {
    const progress = this.progress.get(fetch.replicaId)
    if (progress === undefined || progress.fetchId !== fetch.fetchId) return
    progress.fetchId = 0
    if (!this.isFetchValid(fetch) || !this.isFetchedRight(fetch, entries)) return
    if (progress.state === 'replicate' && progress.nextIndex === fetch.from) {
      this.sendEntries(fetch.replicaId, progress, entries)
    }
  }

  /** A read that failed says nothing about where the log ends: it is tried again after the next heartbeat. */
  fetchFailedForReplica(fetch: Fetch, reason: 'compacted' | 'other'): void {
    const progress = this.progress.get(fetch.replicaId)
    if (progress === undefined || progress.fetchId !== fetch.fetchId) return
    progress.becomeProbe(progress.nextIndex)
    progress.paused = true
    // The store is ahead of what was reported with compact(): the first entry in memory is what is left for certain.
    if (reason === 'compacted' && this.isFetchValid(fetch)) {
      this.needSnapshot(fetch.replicaId, progress, this.log.memoryFirst - 1)
    }
  }
}

function sizeOf(entries: readonly LogEntry[]): number {
  let bytes = 0
  for (const entry of entries) bytes += entry.data.length
  return bytes
}
