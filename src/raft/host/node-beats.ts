import type { TimerHandle } from '../../core/clock.ts'
import type { Environment } from '../../core/environment.ts'
import type { NodeId } from '../../model/ids.ts'
import type { Peer } from '../group/peers.ts'
import type { Replica } from '../group/replica.ts'
import type { NodeWatch } from '../group/replica-port.ts'
import type { Beat, BeatReply } from './host-messages.ts'
import type { NodeLiveness, NodeSupport } from './node-liveness.ts'
import { type NodeEvent, NodeNews } from './node-news.ts'

export interface NodeBeatsOptions {
  readonly env: Environment
  readonly liveness: NodeLiveness
  readonly replicas: () => Iterable<Replica>
  /** Those of them that wait for something. */
  readonly waiting: () => Iterable<Replica>
  readonly electionTimeoutMs: number
  /** Adds a sign of life, or the answer to one, to what goes to a node. */
  readonly add: (to: Peer, beat: Beat | BeatReply) => void
  /** What was added is complete. */
  readonly send: () => void
}

/** An election after the longest wait, and the first commits, take less, in election timeouts. */
const patience = 4

/** Drives the {@link NodeLiveness} of a host: gives it the time, sends what it says, and has the replicas told. */
export class NodeBeats implements NodeWatch {
  readonly #options: NodeBeatsOptions
  readonly #liveness: NodeLiveness
  readonly #news: NodeNews<Replica>
  /** Nodes that fell silent and are so still, and whether something was kept from them. */
  readonly #silent = new Map<NodeId, boolean>()
  #timer: TimerHandle | undefined
  #timerAtMs = Number.POSITIVE_INFINITY
  #closed = false

  constructor(options: NodeBeatsOptions) {
    this.#options = options
    this.#liveness = options.liveness
    const { env, replicas, waiting, electionTimeoutMs } = options
    this.#news = new NodeNews({ env, replicas, waiting, patienceMs: electionTimeoutMs * patience })
  }

  close(): void {
    this.#closed = true
    this.#news.close()
    this.#timer?.cancel()
    this.#timer = undefined
  }

  received(from: Peer, beat: Beat | BeatReply, nowMs: number): void {
    if (beat.kind === 'beatReply') {
      this.#news.publish(this.#liveness.replyReceived(from, beat, nowMs))
    } else {
      const wallMs = this.#options.env.clock.wallMs()
      const { beats, events } = this.#liveness.beatReceived(from, beat, nowMs, wallMs)
      this.#news.publish(events)
      for (const each of beats) this.#options.add(from, each)
      if (beats.length > 0) this.#options.send()
    }
    this.#arm()
  }

  /** Something came from the node. */
  heard(nodeId: NodeId): void {
    if (this.#silent.size === 0) return
    const wasKept = this.#silent.get(nodeId)
    this.#silent.delete(nodeId)
    if (wasKept === true) this.lost(nodeId, false)
  }

  /**
   * Whether a message to the node is kept from it, and lost. A node that gives no sign of life is sent nothing else: when it
   * goes on after it stood still, nobody speaks to all of its groups at once, about elections that are long over. It is told
   * what it missed as the news of its return goes round. Signs of life go on, so its return is noticed.
   */
  withholds(peer: Peer): boolean {
    if (this.#silent.size === 0 || !this.#silent.has(peer.nodeId)) return false
    this.#silent.set(peer.nodeId, true)
    this.epochFor(peer)
    return true
  }

  /** Messages from or to the node may be lost; `broken`: and so are its connections. */
  lost(nodeId: NodeId, broken: boolean): void {
    const events: NodeEvent[] = this.#liveness.lost(nodeId)
    if (broken) events.push({ type: 'peerLost', nodeId })
    this.#news.publish(events)
    this.#arm()
  }

  /** The pledges of this node hold for none of its replicas any more that rest until now. */
  endEpochs(): void {
    this.#news.publish(this.#liveness.endEpochs())
  }

  // What replicas ask

  get newsNumber(): number {
    return this.#news.lastNumber
  }

  newsSince(number: number): Iterable<NodeEvent> {
    return this.#news.since(number)
  }

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

  pledgeFor(peer: Peer): NodeSupport | undefined {
    const support = this.#liveness.pledgeFor(peer, this.#now())
    this.#arm()
    return support
  }

  count(peer: Peer, change: 1 | -1): void {
    this.#liveness.count(peer, change, this.#now())
    this.#arm()
  }

  uncover(nodeId: NodeId, nowMs: number): void {
    if (this.#liveness.mayEndEpoch(nodeId, nowMs)) this.#news.publish(this.#liveness.endEpoch(nodeId))
  }

  // Inside

  #now(): number {
    return this.#options.env.clock.monotonicMs()
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
    const { beats, events, silent } = this.#liveness.advance(nowMs, clock.wallMs())
    for (const nodeId of silent) this.#silent.set(nodeId, false)
    for (const { to, beat } of beats) this.#options.add(to, beat)
    if (beats.length > 0) this.#options.send()
    this.#news.publish(events)
    this.#arm()
  }
}
