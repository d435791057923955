import { KeelsonError } from '../core/errors.ts'
import { type StreamHandler, StreamSet } from '../core/streams/stream-set.ts'
import { copyRecord, type StreamRecord, type StreamWire } from '../core/streams/stream-wire.ts'
import type { PeerIdentity } from '../interfaces/transport.ts'
import type { FoundingId } from '../model/ids.ts'
import type { NetworkConditions } from './network-conditions.ts'
import type { SimulatedProcess } from './process.ts'
import type { ScheduledEvent, Scheduler } from './scheduler.ts'

/** What travels over a connection. */
export type Frame =
  | { readonly type: 'message'; readonly protocol: string; readonly bytes: Uint8Array }
  | { readonly type: 'record'; readonly record: StreamRecord }

/** Control traffic never waits behind bulk, and messages never behind streams. */
export type Lane = 'control' | 'bulk' | 'stream'

interface Arrival {
  readonly frame: Frame
  readonly dueMs: number
  readonly size: number
}

interface LaneQueue {
  readonly arrivals: Arrival[]
  lastDueMs: number
  pump: ScheduledEvent | undefined
}

/** The world around connections. */
export interface ConnectionWorld {
  readonly scheduler: Scheduler
  readonly conditions: NetworkConditions
}

/** What an end of a connection needs of its transport. */
export interface EndHost {
  readonly self: PeerIdentity
  readonly process: SimulatedProcess
  readonly founding: FoundingId | undefined
  readonly alive: boolean
  readonly limits: {
    readonly maximumQueuedBytes: number
    readonly maximumMessageBytes: number
    readonly maximumStreams: number
    readonly streamWindowBytes: number
  }
  deliver(end: ConnectionEnd, protocol: string, bytes: Uint8Array): void
  streamHandlerOf(end: ConnectionEnd, protocol: string): StreamHandler | undefined
  /** The end is gone: forget it and tell whom it concerns. */
  lost(end: ConnectionEnd): void
}

/** One end of a connection: what has been sent to it and not arrived, and the streams over it. */
export class ConnectionEnd {
  readonly host: EndHost
  readonly connection: Connection
  readonly streams: StreamSet
  readonly #world: ConnectionWorld
  readonly #lanes: Readonly<Record<Lane, LaneQueue>> = {
    control: { arrivals: [], lastDueMs: 0, pump: undefined },
    bulk: { arrivals: [], lastDueMs: 0, pump: undefined },
    stream: { arrivals: [], lastDueMs: 0, pump: undefined },
  }
  #queuedBytes = 0
  /** False until the hello of the other side has arrived. */
  #ready = false
  /** The host knows that it is gone. */
  gone = false

  constructor(host: EndHost, connection: Connection, world: ConnectionWorld) {
    this.host = host
    this.connection = connection
    this.#world = world
    const wire: StreamWire = {
      send: (record) => this.other.arrive('stream', { type: 'record', record: copyRecord(record) }, 0),
      room: () => undefined,
    }
    const { maximumStreams, streamWindowBytes, maximumMessageBytes } = host.limits
    const limits = { maximumStreams, streamWindowBytes, maximumChunkBytes: maximumMessageBytes }
    this.streams = new StreamSet(wire, limits, host.process.environment.logger, (protocol) =>
      host.streamHandlerOf(this, protocol),
    )
  }

  get other(): ConnectionEnd {
    return this.connection.ends[0] === this ? this.connection.ends[1] : this.connection.ends[0]
  }

  get peer(): PeerIdentity {
    return this.other.host.self
  }

  /** Sends a message to the other end, if the queue has room. The bytes are this frame's own. */
  send(lane: 'control' | 'bulk', protocol: string, bytes: Uint8Array): boolean {
    if (this.connection.broken) return false
    if (this.other.#queuedBytes + bytes.length > this.host.limits.maximumQueuedBytes) return false
    this.other.arrive(lane, { type: 'message', protocol, bytes }, bytes.length)
    return true
  }

  /** The other side's hello is here. */
  ready(): void {
    this.#ready = true
    this.flow()
  }

  /** A frame leaves the other end for this one. */
  arrive(lane: Lane, frame: Frame, size: number): void {
    if (this.connection.broken) return
    const { scheduler, conditions } = this.#world
    const queue = this.#lanes[lane]
    const delayMs = conditions.drawDelayMs(this.other.host.process.name, this.host.process.name)
    queue.lastDueMs = Math.max(queue.lastDueMs, scheduler.nowMs + delayMs)
    queue.arrivals.push({ frame, dueMs: queue.lastDueMs, size })
    this.#queuedBytes += size
    this.#schedule(queue)
  }

  /** Goes on where a partition or a clog held it up. */
  flow(): void {
    for (const queue of Object.values(this.#lanes)) this.#schedule(queue)
  }

  /** True while nothing passes from the other end to this one. */
  get cut(): boolean {
    const [from, to] = [this.other.host.process.name, this.host.process.name]
    return this.#world.conditions.isBlocked(from, to) || this.#world.conditions.isClogged(from, to)
  }

  /** Latest time at which something that was sent to this end is due. */
  get lastDueMs(): number {
    return Math.max(...Object.values(this.#lanes).map((queue) => queue.lastDueMs))
  }

  /** Forgets what has not arrived. */
  discard(): void {
    for (const queue of Object.values(this.#lanes)) queue.arrivals.length = 0
    this.#queuedBytes = 0
  }

  /** Takes in what is still to be delivered, then tells the host that the connection is gone. */
  lose(): void {
    if (this.gone) return
    if (this.host.alive && this.#ready) {
      for (const queue of Object.values(this.#lanes)) {
        for (const arrival of queue.arrivals.splice(0)) this.#deliver(arrival.frame)
      }
    }
    this.discard()
    this.gone = true
    this.streams.break(
      new KeelsonError('UNREACHABLE', `the connection to ${this.peer.nodeId} is gone`, {
        outcome: 'unknown',
      }),
    )
    if (this.host.alive) this.host.lost(this)
  }

  #schedule(queue: LaneQueue): void {
    const head = queue.arrivals[0]
    if (head === undefined || queue.pump !== undefined || this.gone || !this.#ready || this.cut) return
    const delayMs = Math.max(0, head.dueMs - this.#world.scheduler.nowMs)
    queue.pump = this.#world.scheduler.schedule(
      delayMs,
      () => {
        queue.pump = undefined
        if (this.gone || !this.host.alive || this.cut) return
        const arrival = queue.arrivals.shift()
        if (arrival === undefined) return
        this.#queuedBytes -= arrival.size
        this.#deliver(arrival.frame)
        this.#schedule(queue)
      },
      this.host.process,
    )
  }

  #deliver(frame: Frame): void {
    if (frame.type === 'record') this.streams.receive(frame.record)
    else this.host.deliver(this, frame.protocol, frame.bytes)
  }
}

/** How a connection ends for one of its ends. */
export interface Ending {
  /** Time until the end notices. */
  readonly delayMs: number
  /** What was under way still arrives before it notices. */
  readonly keep: boolean
}

/** A connection between two transports. */
export class Connection {
  readonly ends: readonly [ConnectionEnd, ConnectionEnd]
  readonly #world: ConnectionWorld
  #broken = false
  /** Counts the times in which nothing passes; a check belongs to one of them. */
  #silence = 0
  #silent = false

  constructor(dialer: EndHost, acceptor: EndHost, world: ConnectionWorld) {
    this.#world = world
    this.ends = [new ConnectionEnd(dialer, this, world), new ConnectionEnd(acceptor, this, world)]
  }

  /** Nothing is sent over it any more. */
  get broken(): boolean {
    return this.#broken
  }

  /** Ends the connection; `ending` says what each end sees of it. */
  break(ending: (end: ConnectionEnd) => Ending): void {
    if (this.#broken) return
    this.#broken = true
    const { scheduler } = this.#world
    for (const end of this.ends) {
      if (!end.host.alive) {
        end.gone = true
        continue
      }
      const { delayMs, keep } = ending(end)
      if (!keep || end.cut) end.discard()
      const dueMs = Math.max(scheduler.nowMs + delayMs, keep && !end.cut ? end.lastDueMs : 0)
      scheduler.schedule(dueMs - scheduler.nowMs, () => end.lose(), end.host.process)
    }
  }

  /**
   * Looks whether pings would be answered. A connection that was silent for `timeoutMs` without a break is given up by
   * both ends.
   */
  review(timeoutMs: number, onTimeout: () => void): void {
    if (this.#broken) return
    const silent = this.ends.some((end) => end.cut || end.host.process.state !== 'running')
    for (const end of this.ends) end.flow()
    if (silent === this.#silent) return
    this.#silent = silent
    const silence = ++this.#silence
    if (!silent) return
    this.#world.scheduler.schedule(timeoutMs, () => {
      if (this.#silence === silence && !this.#broken) onTimeout()
    })
  }
}
