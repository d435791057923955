import { sleep } from '../../core/async.ts'
import { KeelsonError, toKeelsonError } from '../../core/errors.ts'
import { entryKinds, type GroupWrite, type LogEntry } from '../../interfaces/log-store.ts'
import type { ReplicaId } from '../../model/ids.ts'
import { replicaOf } from '../core/configuration.ts'
import type { Message } from '../core/messages.ts'
import type { Fetch, Ready } from '../core/types.ts'
import { encodeGroupMetadata } from './metadata.ts'
import type { Outcomes } from './outcomes.ts'
import type { TurnSink } from './replica-port.ts'
import { ReplicaSnapshots } from './replica-snapshots.ts'
import { nothingWithheld } from './replica-state.ts'
import { encodeSessionEntry } from './session-entry.ts'

/** Pause after a read of the log that failed, before it is tried again. */
const fetchRetryMs = 100

/**
 * Drives the core of one replica: feeds it what comes in, carries out what it wants, and connects callers, state machine
 * and log. All of it happens in turns that the host gives; nothing here waits but for the state machine and the store.
 */
export class Replica extends ReplicaSnapshots {
  #removed = false
  #lastLeader: ReplicaId = 0
  #appliedSinceTrim = 0
  /** When the pledges of earlier lives, which were longer than those of this one, are over; Infinity for none. */
  #formerPledgesEndMs = Number.POSITIVE_INFINITY

  constructor(...setup: ConstructorParameters<typeof ReplicaSnapshots>) {
    super(...setup)
    if (this.stored.pledgeMs > this.port.pledgeMs)
      this.#formerPledgesEndMs = this.now() + this.stored.pledgeMs
  }

  get removed(): boolean {
    return this.#removed
  }

  /** Lets time pass. A turn should follow. */
  advance(nowMs: number): void {
    this.hearNews(nowMs)
    if (this.failed !== undefined) return
    this.guarded(() => {
      this.requests?.advance(nowMs)
      this.core.observeWall(this.port.env.clock.wallMs())
      this.core.advanceTo(nowMs)
    })
  }

  /** Takes what the core wants done and does it. */
  turn(nowMs: number, sink: TurnSink<Replica>): void {
    this.hearNews(nowMs)
    if (this.failed !== undefined) return
    this.guarded(() => {
      if (nowMs >= this.#formerPledgesEndMs) this.#forgetFormerPledges()
      if (this.core.atRest) this.rest.takeNodePledges(false)
      this.requests?.submit(nowMs)
      this.core.observeWall(this.port.env.clock.wallMs())
      const ready = this.core.takeReady()
      if (ready !== undefined) this.#carryOut(ready, nowMs, sink)
      else this.#writeMetadata(sink)
      this.rest.turnEnds(nowMs)
      this.#forgetCallers()
    })
  }

  /** All that callers have asked for is answered. */
  #forgetCallers(): void {
    if (!this.core.atRest || this.requests?.isIdle !== true) return
    this.lastReadContext = this.requests.lastReadContext
    this.requests = undefined
  }

  /** The next life need not wait for them any more. */
  #forgetFormerPledges(): void {
    this.#formerPledgesEndMs = Number.POSITIVE_INFINITY
    this.stored = { ...this.stored, pledgeMs: this.port.pledgeMs }
    this.metadataDirty = true
  }

  /** Everything up to this write is durable. A turn should follow. */
  persisted(writeId: number, nowMs: number, sink: TurnSink<Replica>): void {
    if (this.failed !== undefined || writeId === 0) return
    this.guarded(() => {
      this.core.persisted(writeId, nowMs)
      if (this.breaksPromises()) this.withheld = nothingWithheld
      let sent = 0
      for (const { writeId: needed, message } of this.withheld) {
        if (needed > writeId) break
        this.#send(message, sink)
        sent++
      }
      if (sent > 0) this.withheld = sent < this.withheld.length ? this.withheld.slice(sent) : nothingWithheld
    })
  }

  /**
   * What was promised before this replica was quarantined, and waits for the disk still, is not said any more: nobody may
   * rely on it.
   *
   * @internal
   */
  breaksPromises(): boolean {
    return this.core.quarantined
  }

  #carryOut(ready: Ready, nowMs: number, sink: TurnSink<Replica>): void {
    if (ready.quarantined === true) {
      this.stored = { ...this.stored, quarantined: true }
      this.metadataDirty = true
    }
    // Before anything is sent: a message may go to a replica that only the new configuration names.
    if (ready.configuration !== undefined) this.peers.configuration = ready.configuration
    if (ready.write !== undefined) {
      const { writeId, reset, entries, hardState } = ready.write
      const write: { -readonly [K in keyof GroupWrite]: GroupWrite[K] } = { groupId: this.groupId }
      if (reset !== undefined) write.reset = reset
      if (entries !== undefined) write.entries = entries
      if (hardState !== undefined) write.hardState = hardState
      if (this.metadataDirty) write.metadata = this.#takeMetadata()
      sink.write(this, write, writeId)
    } else {
      this.#writeMetadata(sink)
    }
    for (const message of ready.messages) this.#send(message, sink)
    if (ready.messagesAfter.length > 0) this.withheld = [...this.withheld, ...ready.messagesAfter]
    this.compactor.add(ready.committed)
    this.applier.enqueue(ready.committed)
    for (const fetch of ready.fetches) void this.#fetch(fetch)
    if (ready.offeredSnapshot !== undefined) this.port.snapshotOffered(this, ready.offeredSnapshot)
    this.requests?.answer(ready, this.applier.applied.index, nowMs)
    this.#announce(ready)
  }

  #announce(ready: Ready): void {
    if (ready.leadership !== undefined) {
      this.updateToken()
      this.port.metrics.leadership(ready.leadership, this.#lastLeader)
      this.#lastLeader = ready.leadership.leader || this.#lastLeader
      this.listener.leadership(ready.leadership)
    }
    if (ready.configuration !== undefined) this.listener.configuration(ready.configuration)
    if (ready.quarantined === true) {
      this.port.env.logger.error(
        { groupId: this.groupId, replicaId: this.replicaId },
        'a replica lost what it had acknowledged and is quarantined; remove it and add a new one',
      )
      this.port.metrics.quarantined(this, true)
      this.listener.quarantined()
    }
    if ((ready.removed === true || this.#isRemoved()) && !this.#removed) {
      this.#removed = true
      this.listener.removed()
    }
  }

  /** Its own committed configuration does not name this replica: it did once, as its id is not above the index. */
  #isRemoved(): boolean {
    const { committed, committedIndex } = this.configuration
    if (committed === undefined || committedIndex < this.replicaId) return false
    return replicaOf(committed, this.replicaId) === undefined
  }

  #takeMetadata(): Uint8Array {
    this.metadataDirty = false
    return encodeGroupMetadata(this.stored)
  }

  #writeMetadata(sink: TurnSink<Replica>): void {
    if (this.metadataDirty) sink.write(this, { groupId: this.groupId, metadata: this.#takeMetadata() }, 0)
  }

  #send(message: Message, sink: TurnSink<Replica>): void {
    const peer = this.peerOf(message.to)
    if (peer === undefined) return
    sink.send(this, peer, this.rest.withEpoch(peer, message))
  }

  async #fetch(fetch: Fetch): Promise<void> {
    try {
      const { from, to, maximumBytes } = fetch
      const entries = await this.port.log.read(this.groupId, from, to, maximumBytes)
      if (this.failed !== undefined) return
      this.guarded(() => this.core.fetched(fetch, entries, this.now()))
    } catch (error) {
      if (this.failed !== undefined) return
      const compacted = KeelsonError.hasCode(error, 'COMPACTED')
      // A log that cannot be read is not a log that ends here: such a replica must not lead, nor follow.
      if (KeelsonError.hasCode(error, 'CORRUPTION', 'STORE_POISONED')) {
        this.stop(error)
        return
      }
      this.port.env.logger.warn({ groupId: this.groupId, error, ...fetch }, 'entries could not be read back')
      if (!compacted) await sleep(this.port.env.timers, fetchRetryMs)
      if (this.failed !== undefined) return
      this.guarded(() => this.core.fetchFailed(fetch, compacted ? 'compacted' : 'other', this.now()))
    }
    this.port.schedule(this)
  }

  /** The applier has applied these. */
  applied(entries: readonly LogEntry[], outcomes: Outcomes): void {
    if (this.failed !== undefined) return
    const { index } = this.applier.applied
    this.guarded(() => this.core.applied(index, this.now()))
    this.requests?.applied(entries, outcomes, index)
    this.updateToken()
    this.#appliedSinceTrim += outcomes.size
    if (this.#appliedSinceTrim >= 1024) this.#trimSessions()
    this.compactor.check()
    this.port.schedule(this)
  }

  applyFailed(error: unknown): void {
    this.stop(toKeelsonError(error, 'INVARIANT_VIOLATED'))
  }

  compactionFailed(error: unknown): void {
    this.stop(toKeelsonError(error))
  }

  /** Keeps the stored results of sessions within their limits in bytes, through the log. */
  #trimSessions(): void {
    this.#appliedSinceTrim = 0
    const { resultBytesPerSession, totalResultBytes } = this.port.limits
    if (this.core.role !== 'leader') return
    if (!this.applier.sessions.exceeds(resultBytesPerSession, totalResultBytes)) return
    const data = encodeSessionEntry({
      type: 'trim',
      bytesPerSession: Math.floor(resultBytesPerSession / 2),
      totalBytes: Math.floor(totalResultBytes / 2),
    })
    this.propose({ kind: entryKinds.session, data, index: 0, term: 0, settle: undefined })
  }
}
