import { type CallOptions, sleep } from '../core/async.ts'
import { text } from '../core/bytes.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError, toKeelsonError } from '../core/errors.ts'
import { Events, type Listenable } from '../core/events.ts'
import { Lifetime } from '../core/lifetime.ts'
import { LogLimit } from '../core/log-limit.ts'
import type { Counter } from '../core/metrics.ts'
import {
  checkOptions,
  functionOption,
  integerOption,
  objectOption,
  optional,
  signalOption,
} from '../core/options.ts'
import type { KeyValue, MetadataStore } from '../interfaces/metadata-store.ts'
import { follow } from '../jobs/follow.ts'
import type { Fence } from '../jobs/job-type.ts'
import type { NodeDescriptor, NodeLiveness, NodeState } from '../model/descriptors.ts'
import type { Incarnation, NodeId } from '../model/ids.ts'
import { nodeKey, nodesAndSessions } from './core/keys.ts'
import { checkSuccession, nextState, withState } from './core/life.ts'
import { LivenessView } from './core/liveness.ts'
import { decodeLiveNode, decodeNodeRecord, encodeNodeRecord, type NodeRecord } from './core/record.ts'
import { decodeNodeReport, type NodeReport } from './core/report.ts'
import { ReportBook } from './core/report-book.ts'

/** A node as the leader sees it now. */
export interface NodeView {
  /** What it said of itself when it joined last. */
  readonly descriptor: NodeDescriptor
  /** Where it is in its life. */
  readonly state: NodeState
  /** Why it is in that state. */
  readonly reason: string
  /** Whether it holds its session, and whether gossip doubts it. */
  readonly liveness: NodeLiveness
  /** Epoch of its session; 0 without one. */
  readonly epoch: number
  /** For how long the liveness has been what it is, as far as this leader knows. */
  readonly forMs: number
  /** Wall time at which its present life joined, for people. */
  readonly joinedAtMs: number
}

/** Events of a {@link NodeController}. */
export type NodeControllerEvents = {
  /** A node joined, changed its state or its liveness. */
  changed: (nodeId: NodeId) => void
}

/** Options of {@link NodeController.start}. */
export interface NodeControllerOptions {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** Where nodes are kept. */
  readonly store: MetadataStore
  /** The epoch of this leader: every write compares it. */
  readonly epoch: Fence
  /** Replicas of ranges that a node holds by the directory: a draining node that holds none is drained. */
  readonly replicasOf: (nodeId: NodeId, options: CallOptions) => Promise<number>
  /** Stops the controller, as `close` does. */
  readonly signal?: AbortSignal
  /** How often draining nodes are looked at. Default: 1,000. */
  readonly intervalMs?: number
}

interface Known {
  readonly record: NodeRecord
  readonly modRevision: number
}

/**
 * The nodes by the leader: who is there and alive, what each reports, and which draining nodes are done. Sessions decide
 * who is alive; the gossip's hints make a node suspect at most.
 */
export class NodeController implements AsyncDisposable, Listenable<NodeControllerEvents> {
  readonly #env: Environment
  readonly #store: MetadataStore
  readonly #epoch: Fence
  readonly #replicasOf: NodeControllerOptions['replicasOf']
  readonly #intervalMs: number
  readonly #events: Events<NodeControllerEvents>
  readonly #records = new Map<NodeId, Known>()
  readonly #liveness = new LivenessView()
  readonly #refused: Counter
  readonly #logLimit: LogLimit
  readonly #life: Lifetime
  readonly #ready: Promise<void>
  #markReady: () => void = () => {}
  /** What the nodes report. */
  readonly reports: ReportBook = new ReportBook()
  /** The reason why it stopped by itself; undefined when it was asked to. */
  readonly stopped: Promise<KeelsonError | undefined>

  /** @throws KeelsonError `INVALID_OPTION` */
  static start(options: NodeControllerOptions): NodeController {
    return new NodeController(options)
  }

  private constructor(input: NodeControllerOptions) {
    const options = checkOptions<
      Required<Omit<NodeControllerOptions, 'signal'>> & { signal: AbortSignal | undefined }
    >('NodeController.start', input, {
      env: objectOption<Environment>(['clock', 'timers', 'logger', 'metrics']),
      store: objectOption<MetadataStore>(['txn', 'range', 'watch']),
      epoch: objectOption<Fence>(['number', 'txn']),
      replicasOf: functionOption<NodeControllerOptions['replicasOf']>(),
      signal: optional(signalOption),
      intervalMs: integerOption({ min: 1, fallback: 1000 }),
    })
    this.#env = options.env
    this.#store = options.store
    this.#epoch = options.epoch
    this.#replicasOf = options.replicasOf
    this.#intervalMs = options.intervalMs
    this.#events = new Events(options.env.logger, ['changed'])
    this.#refused = options.env.metrics.counter(
      'keelson_nodes_refused_total',
      'Reports of nodes that say what cannot be, and records of nodes that cannot be read.',
    )
    this.#logLimit = new LogLimit(options.env.clock)
    this.#ready = new Promise((resolve) => {
      this.#markReady = resolve
    })
    this.#life = new Lifetime(options.env.logger, 'the node controller', options.signal)
    this.stopped = this.#run()
  }

  /** Resolves when the nodes have been read for the first time, or when it stopped. */
  async ready(): Promise<void> {
    await Promise.race([this.#ready, this.stopped])
  }

  /** All nodes that ever joined, by id. */
  nodes(): readonly NodeView[] {
    return [...this.#records.keys()].sort().map((nodeId) => this.node(nodeId) as NodeView)
  }

  /** A node as this leader sees it now, or undefined when it never joined. */
  node(nodeId: NodeId): NodeView | undefined {
    const known = this.#records.get(nodeId)
    const status = this.#liveness.get(nodeId)
    if (known === undefined || status === undefined) return undefined
    const { descriptor, state, reason, joinedAtMs } = known.record
    const forMs = this.#env.clock.monotonicMs() - status.sinceMs
    return { descriptor, state, reason, joinedAtMs, liveness: status.liveness, epoch: status.epoch, forMs }
  }

  /** What the gossip says of a node. It never makes one dead. */
  hint(nodeId: NodeId, incarnation: Incarnation, suspected: boolean): void {
    if (this.#liveness.hint(nodeId, incarnation, suspected, this.#env.clock.monotonicMs())) {
      this.#events.emit('changed', nodeId)
    }
  }

  /**
   * Takes the bytes of a node's report: the handler of the heartbeat call. One that says what cannot be is counted, logged once in
   * a while and refused as a whole: what the node said before stays, and it is told why.
   *
   * @throws KeelsonError `MALFORMED`, `UNAUTHORIZED`, `EPOCH_ENDED`
   */
  takeReport(bytes: Uint8Array): NodeReport {
    const report = this.#decode(bytes)
    const record = this.#records.get(report.nodeId)?.record
    if (record?.descriptor.incarnation !== report.incarnation || record.state === 'decommissioned') {
      throw new KeelsonError(
        'UNAUTHORIZED',
        `node ${report.nodeId} with incarnation ${report.incarnation} is no member of this cluster; join it first`,
      )
    }
    this.reports.take(report, this.#env.clock.monotonicMs())
    return report
  }

  #decode(bytes: Uint8Array): NodeReport {
    try {
      return decodeNodeReport(bytes)
    } catch (thrown) {
      const error = toKeelsonError(thrown)
      this.#refused.add(1, { what: 'report' })
      const nodeId = String(error.details['nodeId'] ?? '')
      if (this.#logLimit.lets(`report ${nodeId}`))
        this.#env.logger.warn({ nodeId, error: error.toJSON() }, 'a report of a node is refused')
      throw error
    }
  }

  on<K extends keyof NodeControllerEvents>(event: K, listener: NodeControllerEvents[K]): () => void {
    return this.#events.on(event, listener)
  }

  /** Stops following the nodes. Idempotent. */
  async close(): Promise<void> {
    this.#life.stop()
    await this.stopped
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #run(): Promise<KeelsonError | undefined> {
    const error = await this.#life.run(
      () => this.#tick(),
      () => this.#follow(),
    )
    this.#events.removeAll()
    return error
  }

  async #follow(): Promise<void> {
    const { signal } = this.#life
    for await (const change of follow(this.#store, this.#env, nodesAndSessions, { signal })) {
      if (signal.aborted) return
      if (change.type === 'snapshot') {
        const live = new Set(change.entries.filter(isLiveKey).map(nodeIdOf))
        for (const nodeId of this.#liveness.nodeIds()) if (!live.has(nodeId)) this.#ended(nodeId)
        for (const entry of change.entries) this.#put(entry, false)
        this.#markReady()
        continue
      }
      for (const event of change.events) {
        if (event.type === 'put') this.#put(event.entry, true)
        else if (isLiveKey(event.entry)) this.#ended(nodeIdOf(event.entry))
      }
    }
  }

  /** `next`: nothing lies between the entry and what was known before. */
  #put(entry: KeyValue, next: boolean): void {
    const nodeId = nodeIdOf(entry)
    const nowMs = this.#env.clock.monotonicMs()
    if (isLiveKey(entry)) {
      const before = this.#liveness.get(nodeId)?.epoch ?? 0
      const { incarnation } = decodeLiveNode(entry.value)
      if (!this.#liveness.sessionBegan(nodeId, entry.session, incarnation, nowMs)) return
      if (before > 0) this.reports.ended(nodeId, before)
    } else {
      const record = this.#readRecord(nodeId, entry)
      if (record === undefined) return
      if (next) checkSuccession(this.#records.get(nodeId)?.record, record)
      this.#records.set(nodeId, { record, modRevision: entry.modRevision })
      this.#liveness.add(nodeId, nowMs)
    }
    this.#events.emit('changed', nodeId)
  }

  /** One record that cannot be read stops nobody from following the other nodes: what was known of the node stays. */
  #readRecord(nodeId: NodeId, entry: KeyValue): NodeRecord | undefined {
    try {
      return decodeNodeRecord(entry.value)
    } catch (error) {
      if (!KeelsonError.hasCode(error, 'MALFORMED')) throw error
      this.#refused.add(1, { what: 'record' })
      if (this.#logLimit.lets(`record ${nodeId}`))
        this.#env.logger.error({ nodeId, error: error.toJSON() }, 'the record of a node cannot be read')
      return undefined
    }
  }

  #ended(nodeId: NodeId): void {
    const epoch = this.#liveness.get(nodeId)?.epoch ?? 0
    if (!this.#liveness.sessionEnded(nodeId, this.#env.clock.monotonicMs())) return
    this.reports.ended(nodeId, epoch)
    this.#env.logger.info({ nodeId, epoch }, 'a node is dead: its session has ended')
    this.#events.emit('changed', nodeId)
  }

  async #tick(): Promise<void> {
    const { signal } = this.#life
    while (!signal.aborted) {
      await sleep(this.#env.timers, this.#intervalMs, signal).catch(() => {})
      for (const [nodeId, known] of this.#records) {
        if (signal.aborted) return
        try {
          if (known.record.state === 'draining') await this.#settleDrain(nodeId, known)
          if (known.record.state === 'decommissioned') await this.#expel(nodeId)
        } catch (thrown) {
          const error = toKeelsonError(thrown)
          if (error.code === 'STALE_EPOCH') this.#life.stop(error)
          if (!signal.aborted)
            this.#env.logger.warn({ nodeId, error: error.toJSON() }, 'a node could not be settled')
        }
      }
    }
  }

  /** A draining node that holds nothing any more is drained. */
  async #settleDrain(nodeId: NodeId, known: Known): Promise<void> {
    const { signal } = this.#life
    const replicas = await this.#replicasOf(nodeId, { signal })
    const live = this.#liveness.get(nodeId)?.liveness !== 'dead'
    const state = nextState(nodeId, known.record.state, 'drained', { replicas, live })
    if (state === undefined) return
    const record = withState(known.record, state, known.record.reason, this.#env.clock.wallMs())
    checkSuccession(known.record, record)
    const key = nodeKey(nodeId)
    // When somebody was faster the compare fails, and the watch brings what is there now.
    await this.#epoch.txn(
      {
        if: [{ key, target: 'modRevision', is: '=', operand: known.modRevision }],
        then: [{ type: 'put', key, value: encodeNodeRecord(record) }],
      },
      { signal },
    )
  }

  /** A decommissioned node holds no session. */
  async #expel(nodeId: NodeId): Promise<void> {
    const epoch = this.#liveness.get(nodeId)?.epoch ?? 0
    if (epoch > 0) await this.#store.revokeSession(epoch, { signal: this.#life.signal })
  }
}

function isLiveKey(entry: KeyValue): boolean {
  return text(entry.key).startsWith('/nodes/live/')
}

function nodeIdOf(entry: KeyValue): NodeId {
  const name = text(entry.key)
  return name.slice(name.lastIndexOf('/') + 1)
}
