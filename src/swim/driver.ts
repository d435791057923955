import { checkArray, checkBytes } from '../core/arguments.ts'
import { abortable, type CallOptions, type Deferred, deferred, throwIfAborted } from '../core/async.ts'
import type { TimerHandle } from '../core/clock.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { Events, type Listenable } from '../core/events.ts'
import { type Logger, type LogMethod, sparingly } from '../core/logger.ts'
import { checkCall, showValue } from '../core/options.ts'
import type { DatagramSocket } from '../interfaces/datagram.ts'
import { checkName, type NodeId } from '../model/ids.ts'
import { isAddress } from './core/codec.ts'
import { SwimCore } from './core/swim-core.ts'
import type { SwimTuning } from './core/tuning.ts'
import type { MemberState, SwimCounters, SwimEvent, SwimExplanation, SwimMember } from './core/types.ts'
import { type CheckedSwimOptions, checkSwimOptions, type SwimOptions } from './options.ts'
import { SwimMetrics } from './swim-metrics.ts'

/** Events of {@link Swim}. A type, not an interface, so that it is a map from names. */
export type SwimEvents = {
  /** A change of this node's view, after it took effect. */
  change: (event: SwimEvent) => void
}

/** How a node's SWIM is doing. */
export interface SwimStatus {
  /** This node, as it tells others. */
  readonly self: SwimMember
  /** Lifeguard's local health score: 0 is healthy; the higher, the less this node trusts its own failed probes. */
  readonly localHealth: number
  /** Members by state, this node included. */
  readonly members: Readonly<Record<MemberState, number>>
  /** Updates that this node still spreads. */
  readonly pendingUpdates: number
  /** What it has done since it was opened. */
  readonly counters: Readonly<SwimCounters>
  /** What it runs with: the profile and what was overridden. */
  readonly tuning: SwimTuning
}

/** A timer that fires later than this was held up, and so was the input that waits beside it. */
const lateAfterMs = 10

/** Rounds of waiting input that are let in before a late timer counts. */
const maximumDrainRounds = 64

/**
 * Membership of a cluster by gossip: who is there, what each tells about itself, who seems to have failed.
 *
 * What it says is a hint, for finding peers and for reacting early; a decision belongs to the metadata store.
 *
 * ```ts
 * const open = datagram({ listen: { host: '10.0.0.7', port: 7946 }, keyRing })
 * await using swim = await Swim.open({
 *   env,
 *   socket: await open({ env, clusterId: 'city', nodeId: 'db7' }),
 *   nodeId: 'db7',
 *   incarnation: 812_331,
 *   label: 'city',
 *   seeds: ['10.0.0.1:7946'],
 * })
 * swim.on('change', ({ type, member }) => console.log(type, member.nodeId))
 * console.log(swim.explain('db3')?.text)
 * ```
 */
export class Swim implements Listenable<SwimEvents>, AsyncDisposable {
  readonly #env: Environment
  readonly #socket: DatagramSocket
  readonly #logger: Logger
  readonly #complain: LogMethod
  readonly #core: SwimCore
  readonly #events: Events<SwimEvents>
  readonly #metrics: SwimMetrics
  readonly #tuning: SwimTuning
  #timer: TimerHandle | undefined
  #armedForMs = Number.POSITIVE_INFINITY
  #draining = false
  #departure: Deferred<void> | undefined
  #closing: Promise<void> | undefined

  /**
   * Starts taking part in the cluster: answers others, and looks for `seeds` until one answers. A node without seeds waits to
   * be found.
   *
   * @throws KeelsonError `INVALID_OPTION`
   */
  static async open(options: SwimOptions): Promise<Swim> {
    return new Swim(checkSwimOptions(options))
  }

  private constructor(options: CheckedSwimOptions) {
    const { env, socket, nodeId, incarnation, label, metadata, seeds, tuning } = options
    if (!isAddress(socket.address)) {
      throw new KeelsonError(
        'INVALID_OPTION',
        `Swim.open: the socket's address '${socket.address}' is not host:port`,
      )
    }
    this.#env = env
    this.#socket = socket
    this.#tuning = tuning
    this.#logger = env.logger.child({ module: 'swim', nodeId })
    this.#complain = sparingly(env.clock, this.#logger.warn.bind(this.#logger))
    this.#events = new Events(this.#logger, ['change'])
    this.#metrics = new SwimMetrics(env.metrics, nodeId)
    const nowMs = env.clock.monotonicMs()
    const { address } = socket
    this.#core = new SwimCore({
      nodeId,
      incarnation,
      address,
      metadata,
      label,
      tuning,
      random: env.random,
      nowMs,
    })
    socket.onMessage((from, bytes) => this.#receive(from, bytes))
    this.#core.join(seeds, nowMs)
    this.#pump()
  }

  /** What this node tells about itself. */
  get self(): SwimMember {
    return this.#core.self
  }

  /** Every member that is known, this node first, the remembered dead and those who left included. */
  members(): readonly SwimMember[] {
    return this.#core.members()
  }

  /** One member; undefined if it is not known. */
  member(nodeId: NodeId): SwimMember | undefined {
    return this.#core.member(nodeId)
  }

  /** Why this node holds a member to be what it is; undefined if it does not know it. */
  explain(nodeId: NodeId): SwimExplanation | undefined {
    return this.#core.explain(nodeId, this.#now())
  }

  /** How this node and its view are doing now. Synchronous. */
  status(): SwimStatus {
    const members: Record<MemberState, number> = { alive: 0, suspect: 0, dead: 0, left: 0 }
    for (const { state } of this.#core.members()) members[state]++
    const { self, localHealth, pendingUpdates, counters } = this.#core
    return { self, localHealth, members, pendingUpdates, counters: { ...counters }, tuning: this.#tuning }
  }

  on<K extends keyof SwimEvents>(event: K, listener: SwimEvents[K]): () => void {
    return this.#events.on(event, listener)
  }

  /**
   * Replaces the addresses at which others may be found, and asks them.
   *
   * @throws KeelsonError `CLOSED`, `INVALID_ARGUMENT`
   */
  join(seeds: readonly string[]): void {
    this.#mustBeOpen()
    const wrong = checkArray(seeds, 'the seeds', 1_000).find(
      (seed) => typeof seed !== 'string' || !isAddress(seed),
    )
    if (wrong !== undefined) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `a seed is an address like 'host:port', not ${showValue(wrong)}`,
      )
    }
    this.#core.join(seeds, this.#now())
    this.#pump()
  }

  /**
   * Replaces what this node tells the others about itself, at most 512 bytes.
   *
   * @throws KeelsonError `CLOSED`, `INVALID_ARGUMENT`, `LIMIT_EXCEEDED`
   */
  setMetadata(metadata: Uint8Array): void {
    this.#mustBeOpen()
    checkBytes(metadata, 'the metadata of a member')
    this.#core.setMetadata(metadata, this.#now())
    this.#pump()
  }

  /**
   * Passes on a hint that a member may be gone, such as a connection that closed. The member is asked at once and refutes
   * within a round trip if it is well.
   *
   * @throws KeelsonError `CLOSED`
   */
  suspect(nodeId: NodeId): void {
    this.#mustBeOpen()
    checkName(nodeId, 'the member that is suspected')
    this.#core.suspectLocally(nodeId, this.#now())
    this.#pump()
  }

  /**
   * Says goodbye, so that the others need not find out. Resolves when it was told often enough to spread, which takes some
   * rounds of gossip; `close` should follow. Idempotent.
   *
   * @throws KeelsonError `CLOSED`, `ABORTED`
   */
  async leave(options: CallOptions = {}): Promise<void> {
    this.#mustBeOpen()
    checkCall('leave', options)
    throwIfAborted(options.signal)
    this.#departure ??= deferred()
    this.#departure.promise.catch(() => {})
    this.#core.leave(this.#now())
    this.#pump()
    await abortable(this.#departure.promise, options.signal, 'unknown')
  }

  /** Stops without a goodbye, and closes the socket. The others will take this node for dead. Idempotent. */
  async close(): Promise<void> {
    this.#closing ??= this.#close()
    await this.#closing
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    this.#timer?.cancel()
    this.#departure?.reject(
      new KeelsonError(
        'CLOSED',
        'SWIM was closed before its goodbye had spread; the others take this member for dead after a while',
      ),
    )
    this.#events.removeAll()
    await this.#socket.close()
  }

  #receive(from: string, bytes: Uint8Array): void {
    if (this.#closing !== undefined) return
    this.#core.receive(from, bytes, this.#now())
    this.#pump()
  }

  #onTimer(): void {
    const lateMs = this.#now() - this.#armedForMs
    this.#timer = undefined
    this.#armedForMs = Number.POSITIVE_INFINITY
    if (lateMs <= lateAfterMs) this.#advance()
    else this.#drain(0)
  }

  /**
   * Lets the answers that waited while this process was stopped in before their absence is held against anybody. One round
   * takes what one turn of the event loop reads, so it goes on while there is more.
   */
  #drain(round: number): void {
    this.#draining = true
    const received = this.#core.counters.packetsReceived
    this.#env.timers.defer(() => {
      if (this.#closing !== undefined) return
      if (this.#core.counters.packetsReceived > received && round < maximumDrainRounds) {
        this.#drain(round + 1)
        return
      }
      this.#draining = false
      this.#advance()
    })
  }

  #advance(): void {
    if (this.#closing !== undefined) return
    this.#core.advanceTo(this.#now())
    this.#pump()
  }

  /** Carries out what the core wants. */
  #pump(): void {
    const { packets, events } = this.#core.takeOutput()
    for (const { to, bytes } of packets) {
      try {
        this.#socket.send(to, bytes)
      } catch (error) {
        this.#complain({ to, error }, 'a SWIM packet could not be sent')
      }
    }
    this.#arm()
    this.#metrics.update(this.#core)
    if (this.#core.departed) this.#departure?.resolve()
    for (const event of events) {
      this.#log(event)
      this.#events.emit('change', event)
    }
  }

  #arm(): void {
    if (this.#draining) return
    const deadlineMs = this.#core.nextDeadlineMs()
    if (deadlineMs === this.#armedForMs) return
    this.#timer?.cancel()
    this.#timer = undefined
    this.#armedForMs = deadlineMs
    if (deadlineMs === Number.POSITIVE_INFINITY) return
    this.#timer = this.#env.timers.schedule(Math.max(0, deadlineMs - this.#now()), () => this.#onTimer())
  }

  #log({ type, member, accusedBy }: SwimEvent): void {
    const { nodeId, incarnation, version, address } = member
    const fields = { member: nodeId, incarnation, version, address, accusedBy }
    if (type === 'conflict') this.#logger.error(fields, 'another living process uses the node id of this one')
    else this.#logger.info(fields, `member ${type}`)
  }

  #now(): number {
    return this.#env.clock.monotonicMs()
  }

  #mustBeOpen(): void {
    if (this.#closing !== undefined)
      throw new KeelsonError('CLOSED', 'this SWIM instance was closed; open another one')
  }
}
