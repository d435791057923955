import type { TimerHandle } from '../../core/clock.ts'
import type { Environment } from '../../core/environment.ts'
import type { NodeId } from '../../model/ids.ts'
import type { LivenessEvent } from './node-liveness.ts'

/** What became of another node. */
export type NodeEvent =
  | LivenessEvent
  /** Connections to the node broke. */
  | { readonly type: 'peerLost'; readonly nodeId: NodeId }

/** What {@link NodeNews} sees of a replica. */
export interface Informed {
  /** Number of the last news that it has heard. */
  readonly newsHeard: number
  /** Whether it has nothing to do until somebody tells it something. */
  readonly rests: boolean
  /** Hears all that it has not heard yet. @returns whether any of it concerned it */
  hearNews(nowMs: number): boolean
}

export interface NodeNewsOptions<R> {
  readonly env: Environment
  readonly replicas: () => Iterable<R>
  /** Those who wait for something, which are told first: more often than not they are the ones that are used. */
  readonly waiting: () => Iterable<R>
  /** For so long it is waited at first until one that was woken rests again. */
  readonly patienceMs: number
  /** Replicas that are told something in a turn: most of it does not concern them. */
  readonly tellsPerTurn?: number
  /** Those of them that it concerns, which have something to do then. */
  readonly concernedPerTurn?: number
  /** Replicas that were woken and do not rest again yet. */
  readonly maximumWoken?: number
}

interface Numbered {
  readonly number: number
  readonly event: NodeEvent
}

/** Between two looks whether those who were woken rest again. */
const lookAgainMs = 10

/** So much that not all replicas have heard: whoever is that far behind hears it at once. */
const maximumUnheard = 1024

/** Who cannot rest is waited for up to so many times as long, so that a node that cannot keep up is given time. */
const maximumPatience = 8

/**
 * Tells the replicas of a host what became of other nodes: a lost node concerns all groups that it leads, which may be a
 * hundred thousand. They are told a few in a turn of the event loop, and those who rested and were woken by it come to rest
 * again before more of them are woken. All at once would keep the node busy with heartbeats and elections for longer than
 * others wait for its sign of life, who would then wake all that it leads in turn, without an end.
 *
 * It is safe to tell a replica late. What counts for others is settled for the whole node before anybody is told: its
 * {@link NodeLiveness} pledges nothing under an epoch that has ended, and counts no pledge of a node that it does not hear.
 * A replica that rests, and has not heard that its epoch has ended, votes for nobody, which is less than it may do. A leader that has
 * not heard that a follower's epoch is another one does not count what that node pledges, since the epochs differ. And whoever
 * does anything at all, asked or by itself, hears the news first (`Replica.hearNews`), so nobody acts on what is known to be
 * wrong.
 *
 * What is heard late may be heard in short: of a node that was lost and is back only the last is told.
 */
export class NodeNews<R extends Informed> {
  readonly #options: NodeNewsOptions<R>
  readonly #tellsPerTurn: number
  readonly #concernedPerTurn: number
  readonly #maximumWoken: number
  /** What not everybody has heard, by subject, oldest first. */
  readonly #unheard = new Map<string, Numbered>()
  #lastNumber = 0
  /** Those who wait for something, before all. */
  #first: R[] = []
  /** Where the round through all replicas is; undefined when everybody knows everything. */
  #round: Iterator<R> | undefined
  /** When all of this round is told everybody has heard the news up to here. */
  #roundNumber = 0
  /** Those who rested until they were told something, and do not rest again; and when that was. */
  readonly #woken = new Map<R, number>()
  #patienceMs: number
  #timer: TimerHandle | undefined
  #isPlanned = false
  #closed = false

  constructor(options: NodeNewsOptions<R>) {
    this.#options = options
    this.#tellsPerTurn = options.tellsPerTurn ?? 2048
    this.#concernedPerTurn = options.concernedPerTurn ?? 128
    this.#maximumWoken = options.maximumWoken ?? 1024
    this.#patienceMs = options.patienceMs
  }

  /** Number of the latest news. */
  get lastNumber(): number {
    return this.#lastNumber
  }

  /** Whether there are replicas that have not heard everything. */
  get isTelling(): boolean {
    return this.#round !== undefined
  }

  /** What came after the news of this number, oldest first. */
  *since(number: number): Iterable<NodeEvent> {
    for (const each of this.#unheard.values()) if (each.number > number) yield each.event
  }

  publish(events: readonly NodeEvent[]): void {
    if (this.#closed || events.length === 0) return
    for (const event of events) {
      const subject = subjectOf(event)
      this.#unheard.delete(subject)
      this.#unheard.set(subject, { number: ++this.#lastNumber, event })
    }
    this.#first = []
    for (const replica of this.#options.waiting()) if (!replica.rests) this.#first.push(replica)
    if (this.#round === undefined) this.#startRound()
    if (this.#unheard.size > maximumUnheard) this.#tellAll()
    // A small host is through at once.
    else if (!this.#isPlanned && this.#timer === undefined) this.tell()
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
    this.#timer = undefined
    this.#endRound()
    this.#unheard.clear()
  }

  #startRound(): void {
    this.#round = this.#options.replicas()[Symbol.iterator]()
    this.#roundNumber = this.#lastNumber
  }

  #endRound(): void {
    this.#round = undefined
    this.#first = []
    this.#woken.clear()
  }

  #tellAll(): void {
    const nowMs = this.#options.env.clock.monotonicMs()
    for (const replica of this.#options.replicas()) replica.hearNews(nowMs)
    this.#unheard.clear()
    this.#endRound()
  }

  /** As much as may be done in a turn. @internal */
  tell(): void {
    const nowMs = this.#options.env.clock.monotonicMs()
    this.#lookAtWoken(nowMs)
    let concerned = 0
    for (let told = 0; told < this.#tellsPerTurn && concerned < this.#concernedPerTurn; told++) {
      if (this.#round === undefined || (this.#isFull && this.#first.length === 0)) break
      const replica = this.#next()
      if (replica !== undefined && this.#tellOne(replica, nowMs)) concerned++
    }
    if (this.#round !== undefined) this.#plan()
  }

  get #isFull(): boolean {
    return this.#woken.size >= this.#maximumWoken
  }

  #next(): R | undefined {
    const first = this.#first.pop()
    if (first !== undefined) return first
    const next = this.#round?.next()
    if (next?.done !== true) return next?.value
    for (const [subject, { number }] of this.#unheard) {
      if (number <= this.#roundNumber) this.#unheard.delete(subject)
    }
    if (this.#roundNumber < this.#lastNumber) this.#startRound()
    else this.#endRound()
    return undefined
  }

  #tellOne(replica: R, nowMs: number): boolean {
    const { rests } = replica
    const isConcerned = replica.hearNews(nowMs)
    if (rests && !replica.rests) this.#woken.set(replica, nowMs)
    return isConcerned
  }

  /** Those whose group cannot come to rest are not waited for for ever. */
  #lookAtWoken(nowMs: number): void {
    let isOverdue = false
    for (const [replica, wokenAtMs] of this.#woken) {
      const isLate = nowMs >= wokenAtMs + this.#patienceMs
      if (!isLate && !replica.rests) continue
      if (!replica.rests) isOverdue = true
      this.#woken.delete(replica)
    }
    const { patienceMs } = this.#options
    if (isOverdue) this.#patienceMs = Math.min(this.#patienceMs * 2, patienceMs * maximumPatience)
    else if (this.#woken.size === 0) this.#patienceMs = patienceMs
  }

  #plan(): void {
    if (this.#closed) return
    const { timers } = this.#options.env
    if (!this.#isFull || this.#first.length > 0) {
      this.#isPlanned = true
      timers.defer(() => {
        this.#isPlanned = false
        if (!this.#closed) this.tell()
      })
      return
    }
    this.#timer = timers.schedule(lookAgainMs, () => {
      this.#timer = undefined
      if (!this.#closed) this.tell()
    })
  }
}

/** Later news of the same subject takes the place of earlier news. */
function subjectOf(event: NodeEvent): string {
  switch (event.type) {
    // A replica rests under one epoch, and must hear how it ended whatever comes after.
    case 'coverEnded':
      return `cover ${event.epoch}`
    case 'supportLost':
    case 'supported':
      return `support ${event.peer.incarnation} ${event.peer.nodeId}`
    case 'peerLost':
      return `lost ${event.nodeId}`
  }
}
