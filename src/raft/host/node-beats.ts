import type { TimerHandle } from '../../core/clock.ts'
import type { Environment } from '../../core/environment.ts'
import type { NodeId } from '../../model/ids.ts'
import type { Peer } from '../group/peers.ts'
import type { Replica } from '../group/replica.ts'
import type { NodeWatch } from '../group/replica-port.ts'
import type { Beat, BeatReply } from './frame.ts'
import type { LivenessEvent, NodeLiveness, NodeSupport } from './node-liveness.ts'

export interface NodeBeatsOptions {
  readonly env: Environment
  readonly liveness: NodeLiveness
  readonly replicas: () => Iterable<Replica>
  /** Puts a sign of life, or the answer to one, on its way. */
  readonly send: (to: Peer, beat: Beat | BeatReply) => void
}

/** Drives the {@link NodeLiveness} of a host: gives it the time, sends what it says, and tells the replicas. */
export class NodeBeats implements NodeWatch {
  readonly #options: NodeBeatsOptions
  readonly #liveness: NodeLiveness
  #timer: TimerHandle | undefined
  #timerAtMs = Number.POSITIVE_INFINITY
  #closed = false

  constructor(options: NodeBeatsOptions) {
    this.#options = options
    this.#liveness = options.liveness
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
    this.#timer = undefined
  }

  received(from: Peer, beat: Beat | BeatReply, nowMs: number): void {
    if (beat.kind === 'beatReply') {
      this.#tell(this.#liveness.replyReceived(from, beat, nowMs), nowMs)
    } else {
      const { reply, events } = this.#liveness.beatReceived(from, beat, nowMs)
      this.#tell(events, nowMs)
      this.#options.send(from, reply)
    }
    this.#arm()
  }

  lost(nodeId: NodeId, nowMs: number): void {
    this.#tell(this.#liveness.lost(nodeId), nowMs)
    this.#arm()
  }

  // What replicas ask

  epochFor(peer: Peer): number {
    const epoch = this.#liveness.epochOf(peer, this.#now())
    this.#arm()
    return epoch
  }

  supports(peer: Peer, epoch: number): boolean {
    return this.#liveness.supports(peer, epoch)
  }

  watches(peer: Peer): boolean {
    return this.#liveness.watches(peer)
  }

  isGone(peer: Peer): boolean {
    return this.#liveness.isGone(peer, this.#now())
  }

  supportOf(peer: Peer): NodeSupport | undefined {
    return this.#liveness.supportOf(peer)
  }

  count(peer: Peer, change: 1 | -1): void {
    this.#liveness.count(peer, change, this.#now())
    this.#arm()
  }

  uncover(nodeId: NodeId, nowMs: number): void {
    if (this.#liveness.mayEndEpoch(nodeId, nowMs)) this.#tell(this.#liveness.endEpoch(nodeId), nowMs)
  }

  // Inside

  #now(): number {
    return this.#options.env.clock.monotonicMs()
  }

  #tell(events: readonly LivenessEvent[], nowMs: number): void {
    for (const event of events) {
      for (const replica of this.#options.replicas()) {
        if (event.type === 'coverEnded') replica.coverEnded(event, nowMs)
        else if (event.type === 'supported') replica.nodeSupports(event.peer, event.epoch, nowMs)
        else replica.supportLost(event.peer, nowMs)
      }
    }
  }

  #arm(): void {
    const atMs = this.#liveness.nextDeadlineMs
    if (this.#closed || (this.#timer !== undefined && atMs >= this.#timerAtMs)) return
    this.#timer?.cancel()
    this.#timer = undefined
    this.#timerAtMs = atMs
    if (atMs === Number.POSITIVE_INFINITY) return
    const { timers } = this.#options.env
    this.#timer = timers.schedule(atMs - this.#now(), () => {
      // Signs of life that wait in the sockets of a process that stood still come first.
      timers.defer(() => this.#advance())
    })
  }

  #advance(): void {
    this.#timer = undefined
    this.#timerAtMs = Number.POSITIVE_INFINITY
    if (this.#closed) return
    const { clock } = this.#options.env
    const nowMs = clock.monotonicMs()
    const { beats, events } = this.#liveness.advance(nowMs, clock.wallMs())
    for (const { to, beat } of beats) this.#options.send(to, beat)
    this.#tell(events, nowMs)
    this.#arm()
  }
}
