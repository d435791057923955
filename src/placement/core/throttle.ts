import type { NodeId } from '../../model/ids.ts'
import { AdaptiveRate } from './adaptive-rate.ts'
import { type MoveRates, moveRates } from './throttle-options.ts'

/** What a move wants to begin. */
export interface MoveRequest {
  /** Names the move; a move has one request at a time. */
  readonly id: number
  /** `copy`: a replica is brought to a node. `remove`: a replica is deleted from one. */
  readonly kind: 'copy' | 'remove'
  /** Node that sends a copy, when it is known. */
  readonly from?: NodeId
  /** Node that is sent a copy, or deletes a replica. */
  readonly to: NodeId
  /** What has to be copied; 0 when nobody knows. */
  readonly bytes: number
  /** The higher, the sooner. */
  readonly priority: number
  /** A repair of a range that has no vote to spare: no rate holds it up, only what is under way at once. */
  readonly urgent: boolean
}

/** Whether a move may begin. */
export type MoveVerdict =
  | {
      /** It may, and has taken what it needs. */
      readonly type: 'go'
    }
  | {
      /** It has to wait; ask again. */
      readonly type: 'wait'
      /** What for, in one line. */
      readonly why: string
      /** Nodes that cannot take more now; empty when it is the cluster as a whole. */
      readonly nodes: readonly NodeId[]
      /** When it is worth asking again. */
      readonly retryMs: number
    }

/** What a node reports of how it does. */
export interface NodePressure {
  /** Share of what its disk can do that is in use: 1 is all, more is a queue. */
  readonly ioOverload?: number
  /** Time that a write to its disk takes. */
  readonly diskLatencyMs?: number
}

/** The limits of one node as they stand, for people. */
export interface NodeRates {
  /** The node. */
  readonly nodeId: NodeId
  /** Share of the configured rates that it is given now. */
  readonly factor: number
  /** Copies on their way to it. */
  readonly incoming: number
  /** Copies on their way from it. */
  readonly outgoing: number
}

/** One limit that a request runs into or passes. */
interface Gate {
  readonly name: string
  readonly node?: NodeId
  readonly rate: AdaptiveRate
  readonly amount: number
}

interface NodeLimits {
  readonly incoming: AdaptiveRate
  readonly outgoing: AdaptiveRate
  readonly removals: AdaptiveRate
  readonly incomingBytes: AdaptiveRate
  readonly outgoingBytes: AdaptiveRate
  copiesIn: number
  copiesOut: number
  usedMs: number
}

interface Waiting {
  request: MoveRequest
  readonly order: number
  seenMs: number
}

interface Running {
  readonly request: MoveRequest
  readonly sinceMs: number
}

/** Who waits and does not ask again for so long has gone. */
const forgottenMs = 30_000
/** Limits of nodes that had nothing to do for so long are made anew when they are needed. */
const idleMs = 3_600_000
const maximumNodes = 20_000
const minute = 60_000

/**
 * Lets moves begin: how many and how fast, by node, by direction, by bytes and in the cluster. Pure: time goes in.
 *
 * Who waits is served by urgency, then by priority, then in order; somebody further back passes only where nobody before
 * him could use the same room, so that a stream of small moves starves no large one. What has begun is never stopped:
 * only waiting gives way ({@link MoveThrottle.mustGiveWay}).
 *
 * Rates adapt to each node (`RateAdaptation`); what is under way at once is a bound that nothing passes, not even the
 * repair of a range that has no vote to spare, which passes all rates.
 */
export class MoveThrottle {
  readonly #rates: MoveRates
  readonly #nodes = new Map<NodeId, NodeLimits>()
  readonly #waiting = new Map<number, Waiting>()
  readonly #running = new Map<number, Running>()
  #cluster: { readonly copies: AdaptiveRate; readonly bytes: AdaptiveRate } | undefined
  #copies = 0
  #order = 0
  #prunedMs = 0

  /** @throws KeelsonError `INVALID_OPTION` */
  constructor(rates: Partial<MoveRates> = {}) {
    this.#rates = moveRates(rates)
  }

  /** Whether a move may begin now; if so it has begun, and says when it ends by {@link MoveThrottle.ended}. */
  ask(request: MoveRequest, nowMs: number): MoveVerdict {
    if (this.#running.has(request.id)) return { type: 'go' }
    this.#prune(nowMs)
    const known = this.#waiting.get(request.id)
    if (known === undefined) this.#waiting.set(request.id, { request, order: this.#order++, seenMs: nowMs })
    else {
      known.request = request
      known.seenMs = nowMs
    }
    const verdict = this.judge(request, nowMs)
    if (verdict.type === 'wait') return verdict
    this.#waiting.delete(request.id)
    this.#begin(request, nowMs)
    for (const { rate, amount } of this.gates(request, nowMs)) rate.take(amount)
    return verdict
  }

  /** A copy that was under way before this leader began. It counts, and has paid to the one before. */
  adopt(request: MoveRequest, nowMs: number): void {
    if (!this.#running.has(request.id)) this.#begin(request, nowMs)
  }

  /**
   * What a move began has ended, or it waits no longer. A copy that failed or was slow tells that its nodes are in trouble.
   */
  ended(id: number, outcome: 'done' | 'failed' | 'given up', nowMs: number): void {
    this.#waiting.delete(id)
    const running = this.#running.get(id)
    if (running === undefined) return
    this.#running.delete(id)
    const { kind, from, to, bytes } = running.request
    if (kind !== 'copy') return
    this.#copies--
    const target = this.#node(to, nowMs)
    target.copiesIn--
    if (from !== undefined) this.#node(from, nowMs).copiesOut--
    const slow = nowMs - running.sinceMs > this.slowAfterMs(bytes)
    if (outcome === 'given up' || (outcome === 'done' && !slow)) return
    this.trouble(to, nowMs)
    if (from !== undefined) this.trouble(from, nowMs)
  }

  /** What a node reports of how it does. */
  pressure(nodeId: NodeId, pressure: NodePressure, nowMs: number): void {
    const { ioOverload = 0, diskLatencyMs = 0 } = pressure
    const bad = ioOverload >= this.#rates.ioOverload || diskLatencyMs >= this.#rates.diskLatencyMs
    if (!bad) return
    // A node that nothing is asked of has nothing to slow down.
    if (this.#nodes.has(nodeId)) this.trouble(nodeId, nowMs)
  }

  /**
   * True for a move that waits and only makes something better, while a repair waits as well: it is to end, since it
   * occupies what the planner lets be under way at once.
   */
  mustGiveWay(id: number, repairPriority: number): boolean {
    const own = this.#waiting.get(id)
    if (own === undefined || own.request.priority >= repairPriority) return false
    for (const { request } of this.#waiting.values()) if (request.priority >= repairPriority) return true
    return false
  }

  /** Whether a move has begun something and not ended it. */
  isRunning(id: number): boolean {
    return this.#running.has(id)
  }

  /** Moves that wait. */
  get waiting(): number {
    return this.#waiting.size
  }

  /** Copies on their way in the cluster. */
  get copies(): number {
    return this.#copies
  }

  /** The limits as they stand, by node. */
  nodes(): readonly NodeRates[] {
    return [...this.#nodes]
      .map(([nodeId, { incoming, copiesIn, copiesOut }]) => ({
        nodeId,
        factor: incoming.factor,
        incoming: copiesIn,
        outgoing: copiesOut,
      }))
      .sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1))
  }

  /** @internal */
  judge(request: MoveRequest, nowMs: number): MoveVerdict {
    const hard = this.bounds(request, nowMs)
    if (hard !== undefined) return hard
    if (request.urgent) return { type: 'go' }
    // What those before would take now is theirs, and where they wait nobody passes.
    const reserved = new Map<AdaptiveRate, number>()
    const claimed = new Set<AdaptiveRate>()
    for (const other of this.before(request)) {
      if (this.bounds(other, nowMs) !== undefined) continue
      const gates = this.gates(other, nowMs)
      const closed = gates.filter(({ rate, amount }) => !rate.has(amount, reserved.get(rate) ?? 0))
      for (const { rate } of closed) claimed.add(rate)
      if (closed.length > 0) continue
      for (const { rate, amount } of gates) reserved.set(rate, (reserved.get(rate) ?? 0) + amount)
    }
    const gates = this.gates(request, nowMs)
    const closed = gates.filter(
      ({ rate, amount }) => claimed.has(rate) || !rate.has(amount, reserved.get(rate) ?? 0),
    )
    if (closed.length === 0) return { type: 'go' }
    for (const { rate } of closed) rate.need()
    const nodes = closed.flatMap(({ node }) => (node === undefined ? [] : [node]))
    return {
      type: 'wait',
      why: `waits for room: ${closed.map(({ name }) => name).join(', ')}`,
      nodes: [...new Set(nodes)],
      retryMs: Math.max(...closed.map(({ rate, amount }) => rate.waitMs(amount, reserved.get(rate) ?? 0)), 1),
    }
  }

  /** Those that are served before a request, in their order. @internal */
  before(request: MoveRequest): readonly MoveRequest[] {
    const order = this.#waiting.get(request.id)?.order ?? this.#order
    return [...this.#waiting.values()]
      .filter((other) => other.request.id !== request.id && this.isBefore(other, { request, order }))
      .sort((a, b) => (this.isBefore(a, b) ? -1 : 1))
      .map((other) => other.request)
  }

  /** @internal */
  isBefore(a: Pick<Waiting, 'request' | 'order'>, b: Pick<Waiting, 'request' | 'order'>): boolean {
    if (a.request.urgent !== b.request.urgent) return a.request.urgent
    if (a.request.priority !== b.request.priority) return a.request.priority > b.request.priority
    return a.order < b.order
  }

  /** What nothing passes: too much is under way at once. @internal */
  bounds(request: MoveRequest, nowMs: number): MoveVerdict | undefined {
    if (request.kind !== 'copy') return undefined
    const { maximumCopies, maximumIncoming, maximumOutgoing, intervalMs } = this.#rates
    const { from, to } = request
    const wait = (what: string, nodes: readonly NodeId[]): MoveVerdict => ({
      type: 'wait',
      why: `waits for room: ${what}`,
      nodes,
      retryMs: Math.min(1000, intervalMs),
    })
    if (this.#copies >= maximumCopies) return wait(`${maximumCopies} copies are under way in the cluster`, [])
    if (this.#node(to, nowMs).copiesIn >= maximumIncoming)
      return wait(`${maximumIncoming} copies are on their way to ${to}`, [to])
    if (from !== undefined && this.#node(from, nowMs).copiesOut >= maximumOutgoing)
      return wait(`${maximumOutgoing} copies are on their way from ${from}`, [from])
    return undefined
  }

  /** The rates that a request is held to, at the present time. @internal */
  gates(request: MoveRequest, nowMs: number): readonly Gate[] {
    const { kind, from, to, bytes } = request
    const target = this.#node(to, nowMs)
    if (kind === 'remove')
      return [{ name: `removals from ${to}`, node: to, rate: target.removals, amount: 1 }]
    const cluster = this.#ofCluster(nowMs)
    const gates: Gate[] = [
      { name: `copies to ${to}`, node: to, rate: target.incoming, amount: 1 },
      { name: `bytes to ${to}`, node: to, rate: target.incomingBytes, amount: bytes },
      { name: 'copies in the cluster', rate: cluster.copies, amount: 1 },
      { name: 'bytes in the cluster', rate: cluster.bytes, amount: bytes },
    ]
    if (from === undefined) return gates
    const source = this.#node(from, nowMs)
    gates.push(
      { name: `copies from ${from}`, node: from, rate: source.outgoing, amount: 1 },
      { name: `bytes from ${from}`, node: from, rate: source.outgoingBytes, amount: bytes },
    )
    return gates
  }

  /** @internal */
  trouble(nodeId: NodeId, nowMs: number): void {
    const { incoming, outgoing, removals, incomingBytes, outgoingBytes } = this.#node(nodeId, nowMs)
    for (const rate of [incoming, outgoing, removals, incomingBytes, outgoingBytes]) rate.troubled(nowMs)
  }

  /** A copy is slow from then on. Small ones have at least an interval. @internal */
  slowAfterMs(bytes: number): number {
    return this.#rates.intervalMs + (bytes / this.#rates.slowBytesPerSecond) * 1000
  }

  #begin(request: MoveRequest, nowMs: number): void {
    this.#running.set(request.id, { request, sinceMs: nowMs })
    if (request.kind !== 'copy') return
    this.#copies++
    this.#node(request.to, nowMs).copiesIn++
    if (request.from !== undefined) this.#node(request.from, nowMs).copiesOut++
  }

  #node(nodeId: NodeId, nowMs: number): NodeLimits {
    const rates = this.#rates
    let node = this.#nodes.get(nodeId)
    if (node === undefined) {
      node = {
        incoming: this.#rate(rates.incomingPerMinute / minute, nowMs),
        outgoing: this.#rate(rates.outgoingPerMinute / minute, nowMs),
        removals: this.#rate(rates.removalsPerMinute / minute, nowMs),
        incomingBytes: this.#rate(rates.incomingBytesPerSecond / 1000, nowMs),
        outgoingBytes: this.#rate(rates.outgoingBytesPerSecond / 1000, nowMs),
        copiesIn: 0,
        copiesOut: 0,
        usedMs: nowMs,
      }
      this.#nodes.set(nodeId, node)
    }
    node.usedMs = nowMs
    for (const rate of [node.incoming, node.outgoing, node.removals]) rate.advance(nowMs)
    for (const rate of [node.incomingBytes, node.outgoingBytes]) rate.advance(nowMs)
    return node
  }

  #ofCluster(nowMs: number): { readonly copies: AdaptiveRate; readonly bytes: AdaptiveRate } {
    const { clusterPerMinute, clusterBytesPerSecond } = this.#rates
    this.#cluster ??= {
      copies: this.#rate(clusterPerMinute / minute, nowMs),
      bytes: this.#rate(clusterBytesPerSecond / 1000, nowMs),
    }
    this.#cluster.copies.advance(nowMs)
    this.#cluster.bytes.advance(nowMs)
    return this.#cluster
  }

  #rate(perMs: number, nowMs: number): AdaptiveRate {
    return new AdaptiveRate(perMs, perMs * this.#rates.burstSeconds * 1000, this.#rates, nowMs)
  }

  #prune(nowMs: number): void {
    if (nowMs - this.#prunedMs < 1000) return
    this.#prunedMs = nowMs
    for (const [id, { seenMs }] of this.#waiting) if (nowMs - seenMs > forgottenMs) this.#waiting.delete(id)
    if (this.#nodes.size <= maximumNodes) return
    for (const [nodeId, { copiesIn, copiesOut, usedMs }] of this.#nodes)
      if (copiesIn === 0 && copiesOut === 0 && nowMs - usedMs > idleMs) this.#nodes.delete(nodeId)
  }
}
