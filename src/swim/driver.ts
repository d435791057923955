import { checkArray, checkBytes, checkFunction, checkInteger, checkText } from '../core/arguments.ts'
import { abortable, type CallOptions, type Deferred, deferred, throwIfAborted } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { isolate, type Listenable } from '../core/events.ts'
import { type Logger, type LogMethod, sparingly } from '../core/logger.ts'
import { checkCall } from '../core/options.ts'
import type { DatagramSocket } from '../interfaces/datagram.ts'
import type { Channel } from '../interfaces/transport.ts'
import { checkName, type NodeId } from '../model/ids.ts'
import { Alarm } from './alarm.ts'
import type { SwimPacket } from './core/output.ts'
import { maximumQueryTimeoutMs } from './core/rumours.ts'
import { defaultQueryTimeoutMs, SwimCore } from './core/swim-core.ts'
import type { SwimTuning } from './core/tuning.ts'
import type { MemberState, SwimDelivery, SwimExplanation, SwimMember } from './core/types.ts'
import type { QueryHandler, SwimEvents, SwimStatus } from './driver-types.ts'
import { HostSide } from './host-side.ts'
import { type CheckedSwimOptions, checkSwimOptions, problemWithAddress, type SwimOptions } from './options.ts'
import type { QueryAnswer, QueryOptions } from './queries.ts'
import { loadSnapshot, Snapshots } from './snapshots.ts'
import { SwimMetrics } from './swim-metrics.ts'
import { ViewStreams } from './view-streams.ts'

/** Largest packet that goes by a stream. */
const maximumStreamBytes = 60_000

/** A view of more members goes as a stream of any length; a smaller one is cheaper as a message. */
const streamedViewMembers = 256

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
  readonly #host: HostSide
  readonly #alarm: Alarm
  readonly #metrics: SwimMetrics
  readonly #channel: Channel | undefined
  readonly #views: ViewStreams | undefined
  readonly #snapshots: Snapshots | undefined
  readonly #tuning: SwimTuning
  #departure: Deferred<void> | undefined
  #closing: Promise<void> | undefined

  /**
   * Starts taking part in the cluster: answers others, and looks for `seeds` until one answers. A node without seeds waits to
   * be found.
   *
   * @throws KeelsonError `INVALID_OPTION`
   */
  static async open(options: SwimOptions): Promise<Swim> {
    const checked = checkSwimOptions(options)
    const before = await loadSnapshot(checked)
    return new Swim(checked, before)
  }

  private constructor(options: CheckedSwimOptions, before: Uint8Array | undefined) {
    const { env, socket, nodeId, incarnation, label, metadata, seeds, tuning, channel } = options
    this.#env = env
    this.#socket = socket
    this.#tuning = tuning
    this.#logger = env.logger.child({ module: 'swim', nodeId })
    this.#complain = sparingly(env.clock, this.#logger.warn.bind(this.#logger))
    this.#channel = channel
    this.#host = new HostSide({
      env,
      logger: this.#logger,
      coalesceMs: options.coalesceMs,
      nodeId,
      answer: (query, payload) => this.#answer(query, payload),
    })
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
      coordinates: options.coordinates,
      token: options.token,
      streamPacketBytes:
        channel === undefined ? 0 : Math.min(channel.maximumMessageBytes, maximumStreamBytes),
      streamedViewMembers,
      ...(options.admit === undefined ? {} : { admit: this.#heeded('admit', options.admit) }),
      ...(options.veto === undefined ? {} : { veto: this.#heeded('veto', options.veto) }),
    })
    this.#views =
      channel &&
      new ViewStreams({
        env,
        core: this.#core,
        channel,
        complain: this.#complain,
        maximumMembers: tuning.maximumMembers,
        receive: (peer, bytes) => this.#receiveByStream(peer, bytes),
        pump: () => this.#pump(),
      })
    const { probeTimeoutMs } = tuning
    this.#alarm = new Alarm({ env, core: this.#core, probeTimeoutMs, pump: () => this.#pump() })
    this.#snapshots =
      options.snapshots === undefined
        ? undefined
        : new Snapshots(env, this.#logger, options.snapshots, options.snapshotIntervalMs, () =>
            this.#core.snapshot(),
          )
    socket.onMessage((from, bytes) => this.#receive(from, bytes))
    channel?.onMessage((peer, bytes) => this.#receiveByStream(peer.nodeId, bytes))
    this.#begin(before, seeds, nowMs)
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
    const { self, localHealth, pendingUpdates, counters, expelled, silent } = this.#core
    return {
      self,
      localHealth,
      members,
      pendingUpdates,
      expelled,
      silent,
      eventsDropped: this.#host.dropped,
      counters: { ...counters },
      tuning: this.#tuning,
    }
  }

  /**
   * The round trip to be expected to a member, in milliseconds, by network coordinates; it need never have been asked. Undefined
   * while too little is known.
   */
  estimatedRoundTripMs(nodeId: NodeId): number | undefined {
    return this.#core.estimatedRoundTripMs(nodeId)
  }

  /** Members alive, the nearest first by their expected round trips, those of which too little is known last. */
  nearest(count: number): readonly SwimMember[] {
    checkInteger(count, 'the number of members')
    const distances = this.#core
      .members()
      .filter(({ nodeId, state }) => state === 'alive' && nodeId !== this.#core.self.nodeId)
      .map(
        (member) => [this.estimatedRoundTripMs(member.nodeId) ?? Number.POSITIVE_INFINITY, member] as const,
      )
    // Infinity from infinity is not a number.
    distances.sort(([a], [b]) => (a === b ? 0 : a - b))
    return distances.slice(0, count).map(([, member]) => member)
  }

  on<K extends keyof SwimEvents>(event: K, listener: SwimEvents[K]): () => void {
    return this.#host.events.on(event, listener)
  }

  /**
   * Replaces the addresses at which others may be found, and asks them, again and again while none answers: see the event
   * `unanswered`.
   *
   * @throws KeelsonError `CLOSED`, also after `leave`, `INVALID_ARGUMENT`, `SUPERSEDED` as {@link Swim.tell}
   */
  join(seeds: readonly string[]): void {
    this.#mustBeOpen()
    for (const seed of checkArray(seeds, 'the seeds', 1_000)) {
      const problem = problemWithAddress(seed)
      if (problem !== undefined) throw new KeelsonError('INVALID_ARGUMENT', `a seed: ${problem}`)
    }
    this.#core.join(seeds, this.#now())
    this.#pump()
  }

  /**
   * Replaces what this node tells the others about itself, at most `maximumMetadataBytes`.
   *
   * @throws KeelsonError `CLOSED`, also after `leave`, `INVALID_ARGUMENT`, `LIMIT_EXCEEDED`, `SUPERSEDED` as {@link Swim.tell}
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
   * Removes a member from the cluster for good, whatever state it is in: everybody holds it gone, and it stays out as long as
   * it lives on its present data directory; its process falls silent. All remember that, over a restart of all of them only with
   * `snapshots`. False if it is not known or removed already.
   *
   * @throws KeelsonError `CLOSED`, `INVALID_ARGUMENT`
   */
  remove(nodeId: NodeId): boolean {
    this.#mustBeOpen()
    checkName(nodeId, 'the member that is removed')
    const removed = this.#core.remove(nodeId, this.#now())
    this.#pump()
    return removed
  }

  /**
   * Tells all members something, this one included: each gets it once, as an event `told`, some rounds of gossip later. At most
   * 512 bytes; larger things belong into the metadata store. Members that join soon after may hear it too.
   *
   * @throws KeelsonError `CLOSED`, also after `leave`, `INVALID_ARGUMENT`, `LIMIT_EXCEEDED`, `OVERLOADED` while 512 such travel already or
   * are so young that somebody may have missed them: try again in some seconds. `SUPERSEDED` where this node was removed or has lost
   * its name
   */
  tell(name: string, payload: Uint8Array): void {
    this.#mustBeOpen()
    this.#core.tell(name, payload, this.#now())
    this.#pump()
  }

  /**
   * Asks all members something, this one included, and resolves with the answers that came: as soon as every member that is
   * alive has answered, or after `timeoutMs`. It is spread by gossip, and answers come directly; whoever hears of it later is not asked
   * (members of older releases, before protocol 5, may be).
   *
   * @throws KeelsonError `CLOSED`, `ABORTED`, `INVALID_ARGUMENT`, `LIMIT_EXCEEDED`, `OVERLOADED`, `SUPERSEDED` as {@link Swim.tell}
   */
  async ask(name: string, payload: Uint8Array, options: QueryOptions = {}): Promise<readonly QueryAnswer[]> {
    this.#mustBeOpen()
    checkCall('ask', options, ['timeoutMs'])
    const { timeoutMs = defaultQueryTimeoutMs, signal } = options
    if (checkInteger(timeoutMs, 'timeoutMs', 1) > maximumQueryTimeoutMs)
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `timeoutMs is at most ${maximumQueryTimeoutMs} (a day), not ${timeoutMs}: no question stays open for longer`,
      )
    throwIfAborted(signal)
    this.#host.queries.mustHaveRoom()
    const id = this.#core.ask(name, payload, this.#now(), timeoutMs)
    const collected = this.#host.queries.collect(id, this.#core.membership.table.live, timeoutMs, signal)
    this.#pump()
    return collected
  }

  /**
   * Answers queries of a name with what `handler` gives, at most 512 bytes, until the function that is returned is called.
   * Members without a handler do not answer.
   *
   * @throws KeelsonError `CLOSED`, `INVALID_ARGUMENT`, also for a name that has a handler already
   */
  answer(name: string, handler: QueryHandler): () => void {
    this.#mustBeOpen()
    checkText(name, 'the name of a query', 64)
    checkFunction(handler, `the handler of '${name}'`)
    return this.#host.handle(name, handler)
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
    this.#alarm.close()
    this.#departure?.reject(
      new KeelsonError(
        'CLOSED',
        'SWIM was closed before its goodbye had spread; the others take this member for dead after a while',
      ),
    )
    this.#host.close()
    this.#views?.close()
    await this.#snapshots?.close()
    await this.#socket.close()
  }

  /** A host's function whose errors are logged: the core then keeps out whom it was asked about. */
  #heeded<A extends readonly unknown[], R>(name: string, judge: (...args: A) => R): (...args: A) => R {
    return (...args) => {
      try {
        const given = judge(...args)
        isolate(given, (error) =>
          this.#complain({ error }, `'${name}' must not wait, and its promise was rejected`),
        )
        return given
      } catch (error) {
        this.#complain({ error }, `'${name}' threw: whoever it was asked about stays out for now`)
        throw error
      }
    }
  }

  /** Looks for the members that an earlier life knew, and for the seeds. */
  #begin(before: Uint8Array | undefined, seeds: readonly string[], nowMs: number): void {
    try {
      if (before !== undefined) {
        this.#core.restore(before, seeds, nowMs)
        return
      }
    } catch (error) {
      this.#logger.error(
        { error, bytes: before?.length },
        'the snapshot of SWIM is not believed and left out: who was let in, who was removed and what was told before is not remembered',
      )
    }
    this.#core.join(seeds, nowMs)
  }

  #receiveByStream(nodeId: NodeId, bytes: Uint8Array): void {
    if (this.#closing !== undefined) return
    this.#core.receive(this.#core.member(nodeId)?.address ?? '', bytes, this.#now(), nodeId)
    this.#pump()
  }

  #receive(from: string, bytes: Uint8Array): void {
    if (this.#closing !== undefined) return
    this.#core.receive(from, bytes, this.#now())
    this.#pump()
  }

  /** Carries out what the core wants. */
  #pump(): void {
    const { packets, views, events, deliveries } = this.#core.takeOutput()
    for (const packet of packets) this.#send(packet)
    for (const view of views) this.#views?.send(view)
    this.#alarm.set()
    this.#metrics.update(this.#core, this.#now())
    if (this.#core.departed) this.#departure?.resolve()
    this.#host.take(events, deliveries)
    if (events.length + deliveries.length > 0) this.#snapshots?.plan()
  }

  #send({ to, recipient, reliable, bytes }: SwimPacket): void {
    try {
      if (!reliable || recipient === undefined || this.#channel === undefined) this.#socket.send(to, bytes)
      else this.#core.noteStream(recipient, this.#channel.send(recipient, bytes))
    } catch (error) {
      this.#complain({ to, error }, 'a SWIM packet could not be sent')
    }
  }

  #answer(query: SwimDelivery & { readonly kind: 'query' }, payload: Uint8Array): void {
    if (this.#closing !== undefined) return
    this.#core.answer(query, payload, this.#now())
    this.#pump()
  }

  #now(): number {
    return this.#env.clock.monotonicMs()
  }

  #mustBeOpen(): void {
    if (this.#closing !== undefined)
      throw new KeelsonError('CLOSED', 'this SWIM instance was closed; open another one')
  }
}
