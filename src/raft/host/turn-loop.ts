import type { TimerHandle } from '../../core/clock.ts'
import type { Environment } from '../../core/environment.ts'
import type { GroupWrite, LogStore } from '../../interfaces/log-store.ts'
import type { Replica, TurnSink } from '../group/replica.ts'
import { Deadlines } from './deadlines.ts'
import type { Outbox } from './outbox.ts'

interface Mark {
  readonly replica: Replica
  readonly writeId: number
}

export interface TurnLoopOptions {
  readonly env: Environment
  readonly log: LogStore
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
  readonly #log: LogStore
  readonly #outbox: Outbox
  readonly #onFailure: (error: unknown) => void
  readonly #deadlines = new Deadlines<Replica>()
  #dirty = new Set<Replica>()
  #planned = false
  #stopped = false
  #timer: TimerHandle | undefined
  #timerAtMs = Number.POSITIVE_INFINITY
  #batch: GroupWrite[] = []
  #marks: Mark[] = []
  readonly #sink: TurnSink

  constructor(options: TurnLoopOptions) {
    this.#env = options.env
    this.#log = options.log
    this.#outbox = options.outbox
    this.#onFailure = options.onFailure
    this.#sink = {
      write: (replica, write, writeId) => {
        this.#batch.push(write)
        this.#marks.push({ replica, writeId })
      },
      send: (replica, peer, message) => this.#outbox.add(replica.groupId, peer, message),
    }
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

  remove(replica: Replica): void {
    this.#dirty.delete(replica)
    this.#deadlines.remove(replica)
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
    this.#timer = undefined
    this.#dirty.clear()
  }

  #turn(): void {
    this.#planned = false
    if (this.#stopped) return
    const replicas = this.#dirty
    this.#dirty = new Set()
    const nowMs = this.#env.clock.monotonicMs()
    for (const replica of replicas) {
      replica.turn(nowMs, this.#sink)
      this.#deadlines.update(replica)
    }
    this.#finish()
  }

  #finish(): void {
    // First the messages: the followers write while this node does.
    this.#outbox.flush()
    if (this.#batch.length > 0) {
      const batch = this.#batch
      const marks = this.#marks
      this.#batch = []
      this.#marks = []
      void this.#write(batch, marks)
    }
    this.#armTimer()
  }

  async #write(batch: readonly GroupWrite[], marks: readonly Mark[]): Promise<void> {
    try {
      await this.#log.write(batch)
    } catch (error) {
      if (!this.#stopped) this.#onFailure(error)
      return
    }
    if (this.#stopped) return
    const nowMs = this.#env.clock.monotonicMs()
    for (const { replica, writeId } of marks) {
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
    this.#timer = this.#env.timers.schedule(delayMs, () => {
      this.#env.timers.defer(() => this.#deadlineCame())
    })
  }

  #deadlineCame(): void {
    if (this.#stopped) return
    this.#timer = undefined
    this.#timerAtMs = Number.POSITIVE_INFINITY
    const nowMs = this.#env.clock.monotonicMs()
    for (const replica of this.#deadlines.takeDue(nowMs)) {
      replica.advance(nowMs)
      this.#dirty.add(replica)
    }
    this.#turn()
  }
}
