import { type Deferred, deferred } from '../../core/async.ts'
import type { TimerHandle } from '../../core/clock.ts'
import type { Environment } from '../../core/environment.ts'
import { KeelsonError } from '../../core/errors.ts'
import { type GroupWrite, groupWriteBytes } from '../../interfaces/log-store.ts'
import type { Replica } from '../group/replica.ts'
import type { TurnSink } from '../group/replica-port.ts'
import { Campaigns } from './campaigns.ts'
import { Deadlines } from './deadlines.ts'
import type { LogGate } from './log-gate.ts'
import type { Outbox } from './outbox.ts'

/** A write with whoever waits for it. */
interface Item {
  readonly write: GroupWrite
  readonly replica: Replica | undefined
  /** What the replica calls it; 0 when it does not need to know. */
  readonly writeId: number
  readonly done: Deferred<void> | undefined
}

/** One call of the store's `write`. */
interface Batch {
  items: Item[]
  bytes: number
}

/** A batch that has grown to this size is closed: what comes next may wait where it is in nobody's way. */
const closedFromBytes = 4 << 20

/**
 * Replicas that have their turn together; the others have theirs after the input that has come in meanwhile. When a node is
 * lost everything that it led has something to do.
 */
const maximumReplicasPerTurn = 1024

/** Bytes that may be on their way to the disk. What goes beyond waits here, where it is in nobody's way. */
const maximumBytesUnderWay = 24 << 20

export interface TurnLoopOptions {
  readonly env: Environment
  readonly log: LogGate
  readonly outbox: Outbox
  /** A write failed. Nothing more is written or sent. */
  readonly onFailure: (error: unknown) => void
}

/**
 * The heartbeat of a host. Replicas to which something happened have their turn together, at the end of the event-loop
 * turn: their messages leave in one frame per node, then their writes go to the store as one batch. When a batch is
 * durable the messages that waited for it leave. Batches may be under way at the same time.
 *
 * One timer serves all deadlines. When it fires, the input that is waiting goes first: a process that was stopped would
 * else start elections against a leader whose heartbeats are in its sockets.
 */
export class TurnLoop {
  readonly #env: Environment
  readonly #log: LogGate
  readonly #outbox: Outbox
  readonly #onFailure: (error: unknown) => void
  readonly #deadlines = new Deadlines<Replica>()
  readonly #campaigns = new Campaigns<Replica>()
  #dirty = new Set<Replica>()
  #planned = false
  #stopped = false
  #timer: TimerHandle | undefined
  #timerAtMs = Number.POSITIVE_INFINITY
  /** Batches that were not given to the store yet, in order. */
  #batches: Batch[] = []
  /** The last of them while its turn goes on: a replica writes once in a turn, so no batch has two writes of a group. */
  #openBatch: Batch | undefined
  #bytesUnderWay = 0
  readonly #sink: TurnSink<Replica>

  constructor(options: TurnLoopOptions) {
    this.#env = options.env
    this.#log = options.log
    this.#outbox = options.outbox
    this.#onFailure = options.onFailure
    this.#sink = {
      write: (replica, write, writeId) => {
        const bytes = groupWriteBytes(write)
        const refusal = bytes > this.#log.limits.writeBytes ? this.#log.refusal(write) : undefined
        // It is the replica that stops, not its host.
        if (refusal !== undefined) throw refusal
        this.#collect({ write, replica, writeId, done: undefined }, bytes)
      },
      send: (replica, peer, message) =>
        this.#outbox.add(replica.groupId, replica.recoveryGeneration, peer, message),
    }
  }

  /** Those that wait for a time to come: all that do not rest. */
  waiting(): Iterable<Replica> {
    return this.#deadlines.items()
  }

  /** Something happened to this replica. */
  schedule(replica: Replica): void {
    if (this.#stopped) return
    this.#dirty.add(replica)
    this.plan()
  }

  /** Makes sure that a turn comes, and with it whatever waits in the outbox. */
  plan(): void {
    if (this.#planned || this.#stopped) return
    this.#planned = true
    this.#env.timers.defer(() => this.#turn())
  }

  /** Sends what is in the outbox: at once, if no turn is about to do so. For what must not cost a turn each time. */
  sendNow(): void {
    if (!this.#planned && !this.#stopped) this.#outbox.flush()
  }

  /**
   * Writes something beside the turns, after everything that was written before. For a replica it is forgotten with it.
   *
   * @throws KeelsonError `CLOSED`, and whatever the store throws
   */
  async write(write: GroupWrite, replica?: Replica): Promise<void> {
    if (this.#stopped) throw hasStopped()
    const done = deferred<void>()
    this.#batches.push({ items: [{ write, replica, writeId: 0, done }], bytes: groupWriteBytes(write) })
    this.#writeOut()
    return done.promise
  }

  /** Forgets a replica that has stopped, and what it had to write and the store has not been given yet. */
  remove(replica: Replica): void {
    this.#dirty.delete(replica)
    this.#deadlines.remove(replica)
    this.#campaigns.remove(replica)
    for (const batch of this.#batches) {
      for (const item of batch.items) if (item.replica === replica) item.done?.reject(hasStopped())
      batch.items = batch.items.filter((item) => item.replica !== replica)
    }
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
    this.#timer = undefined
    this.#dirty.clear()
    this.#campaigns.clear()
    for (const { items } of this.#batches.splice(0)) {
      for (const { done } of items) done?.reject(hasStopped())
    }
  }

  #turn(): void {
    this.#planned = false
    if (this.#stopped) return
    const replicas = this.#takeDirty()
    const nowMs = this.#env.clock.monotonicMs()
    for (const replica of replicas) {
      replica.turn(nowMs, this.#sink)
      this.#deadlines.update(replica)
    }
    this.#finish()
    this.#advance(this.#campaigns.next(nowMs), nowMs)
    if (this.#dirty.size > 0) this.plan()
  }

  #advance(replicas: Iterable<Replica>, nowMs: number): void {
    for (const replica of replicas) {
      replica.advance(nowMs)
      this.#dirty.add(replica)
    }
  }

  #takeDirty(): Iterable<Replica> {
    const dirty = this.#dirty
    if (dirty.size <= maximumReplicasPerTurn) {
      this.#dirty = new Set()
      return dirty
    }
    const first: Replica[] = []
    for (const replica of dirty) {
      dirty.delete(replica)
      if (first.push(replica) === maximumReplicasPerTurn) break
    }
    return first
  }

  #finish(): void {
    // First the messages: the followers write while this node does.
    this.#outbox.flush()
    this.#openBatch = undefined
    this.#writeOut()
    this.#armTimer()
  }

  #collect(item: Item, bytes: number): void {
    let batch = this.#openBatch
    if (batch === undefined || batch.bytes >= closedFromBytes) {
      batch = { items: [], bytes: 0 }
      this.#openBatch = batch
      this.#batches.push(batch)
    }
    batch.items.push(item)
    batch.bytes += bytes
  }

  /** Gives batches to the store, in order, one at a time at the least. */
  #writeOut(): void {
    while (this.#batches.length > 0) {
      const { bytes } = this.#batches[0] as Batch
      if (this.#bytesUnderWay > 0 && this.#bytesUnderWay + bytes > maximumBytesUnderWay) return
      void this.#write(this.#batches.shift() as Batch)
    }
  }

  async #write({ items, bytes }: Batch): Promise<void> {
    if (items.length === 0) return
    this.#bytesUnderWay += bytes
    try {
      await this.#log.write(items.map(({ write }) => write))
    } catch (error) {
      // Refused or failed: later writes may be on the disk, so nothing that follows can be built on.
      if (!this.#stopped) this.#onFailure(error)
      for (const { done } of items) done?.reject(error)
      return
    }
    this.#bytesUnderWay -= bytes
    if (this.#stopped) {
      for (const { done } of items) done?.resolve()
      return
    }
    const nowMs = this.#env.clock.monotonicMs()
    for (const { replica, writeId, done } of items) {
      done?.resolve()
      if (replica === undefined) continue
      replica.persisted(writeId, nowMs, this.#sink)
      this.#dirty.add(replica)
    }
    this.#turnSoon()
  }

  /** A turn before anything else comes in, and after the other writes that became durable with the same sync. */
  #turnSoon(): void {
    if (this.#planned) return
    this.#planned = true
    void Promise.resolve().then(() => this.#turn())
  }

  #armTimer(): void {
    const atMs = this.#deadlines.earliestMs
    if (atMs >= this.#timerAtMs && this.#timer !== undefined) return
    this.#timer?.cancel()
    this.#timer = undefined
    this.#timerAtMs = atMs
    if (atMs === Number.POSITIVE_INFINITY) return
    const delayMs = atMs - this.#env.clock.monotonicMs()
    this.#timer = this.#env.timers.schedule(delayMs, () => this.#timerCame())
  }

  /**
   * Under load most deadlines have moved by the time that they come: nobody has to be told of a commit of which the next
   * append has told. Then there is nothing to do, and no turn.
   */
  #timerCame(): void {
    if (this.#campaigns.areWaiting || this.#deadlines.isDue(this.#env.clock.monotonicMs())) {
      this.#env.timers.defer(() => this.#deadlineCame())
      return
    }
    this.#timer = undefined
    this.#timerAtMs = Number.POSITIVE_INFINITY
    this.#armTimer()
  }

  #deadlineCame(): void {
    if (this.#stopped) return
    this.#timer = undefined
    this.#timerAtMs = Number.POSITIVE_INFINITY
    const nowMs = this.#env.clock.monotonicMs()
    const due = this.#deadlines.takeDue(nowMs)
    this.#advance(
      due.filter((replica) => this.#campaigns.admit(replica, nowMs)),
      nowMs,
    )
    this.#advance(this.#campaigns.next(nowMs), nowMs)
    this.#turn()
  }
}

function hasStopped(): KeelsonError {
  return new KeelsonError('CLOSED', 'the write was given up: its group or the Raft host has stopped')
}
