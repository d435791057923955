import { abortError, type CallOptions, sleep } from '../core/async.ts'
import type { TimerHandle } from '../core/clock.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError, toKeelsonError } from '../core/errors.ts'
import { Events, type Listenable } from '../core/events.ts'
import {
  checkCall,
  checkOptions,
  integerOption,
  numberOption,
  type OptionCheck,
  objectOption,
} from '../core/options.ts'
import type { MetadataStore } from '../interfaces/metadata-store.ts'
import { sessionTtlBounds } from '../metadata/sessions/limits.ts'
import { type Incarnation, idOption, type NodeId, nameOption } from '../model/ids.ts'
import { liveKey, nodeKey } from './core/keys.ts'
import { checkMayAct } from './core/life.ts'
import { decodeNodeRecord, encodeLiveNode } from './core/record.ts'

/** Tuning of a {@link NodeSession}. */
export interface NodeSessionTuning {
  /** A node that is not heard of for so long is dead. */
  readonly ttlMs: number
  /** How often the session is renewed. */
  readonly renewIntervalMs: number
  /**
   * How much faster the store's clock may run than this one: 0.02 is 2 %. The holder counts that much less than the TTL,
   * so it always stops before the store lets go.
   */
  readonly maximumDrift: number
}

/** Used when nothing else is given. */
export const defaultNodeSessionTuning: NodeSessionTuning = Object.freeze({
  ttlMs: 6000,
  renewIntervalMs: 1500,
  maximumDrift: 0.02,
})

const sessionTuningChecks: { readonly [K in keyof NodeSessionTuning]: OptionCheck<number> } = {
  ttlMs: integerOption({
    min: sessionTtlBounds.minimumMs,
    max: sessionTtlBounds.maximumMs,
    fallback: defaultNodeSessionTuning.ttlMs,
  }),
  renewIntervalMs: integerOption({ min: 1, fallback: defaultNodeSessionTuning.renewIntervalMs }),
  maximumDrift: numberOption({ min: 0, max: 0.5, fallback: defaultNodeSessionTuning.maximumDrift }),
}

function checkTuning(
  { renewIntervalMs, ttlMs }: NodeSessionTuning,
  refuse: (problem: string) => never,
): void {
  if (renewIntervalMs * 2 > ttlMs) {
    refuse(`renewIntervalMs (${renewIntervalMs}) must be at most half of ttlMs (${ttlMs})`)
  }
}

/** Completes and checks the tuning of a session. @throws KeelsonError `INVALID_OPTION` */
export function checkNodeSessionTuning(tuning: Partial<NodeSessionTuning> = {}): NodeSessionTuning {
  return checkOptions<NodeSessionTuning>('the session of a node', tuning, sessionTuningChecks, checkTuning)
}

/** Options of {@link NodeSession.open}. */
export interface NodeSessionOptions extends Partial<NodeSessionTuning> {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** Where the session is kept. */
  readonly store: MetadataStore
  /** The node that holds the session. */
  readonly nodeId: NodeId
  /** The life of the node's data, which others see with the session. */
  readonly incarnation: Incarnation
}

interface Moment {
  readonly monotonicMs: number
  readonly wallMs: number
}

/** Events of a {@link NodeSession}. */
export type NodeSessionEvents = {
  /** The deadline has passed without a renewal: the node must not act under its epoch, for now. */
  suspended: () => void
  /** A renewal came through after all; the epoch is the same. */
  resumed: () => void
  /** The epoch has ended for good. The node may open another session. */
  lost: (error: KeelsonError) => void
}

/**
 * A node's session, by the node: it has an epoch and is live until a deadline that each renewal moves on. The deadline is
 * counted from when a renewal was *sent*, so the holder stops before anybody else may believe that it is dead.
 */
export class NodeSession implements AsyncDisposable, Listenable<NodeSessionEvents> {
  /** The node that holds the session. */
  readonly nodeId: NodeId
  /** The life of the node's data, which others see with the session. */
  readonly incarnation: Incarnation
  /** Id of the session. It grows with each session of the cluster and never comes back. */
  readonly epoch: number
  readonly #env: Environment
  readonly #store: MetadataStore
  readonly #tuning: NodeSessionTuning
  /** How long this clock may run after a renewal was sent. */
  readonly #budgetMs: number
  readonly #events: Events<NodeSessionEvents>
  readonly #stop = new AbortController()
  readonly #renewing: Promise<void>
  #sentAtMs: number
  #sentAtWallMs: number
  #suspension: TimerHandle | undefined
  #state: 'live' | 'suspended' | 'lost' | 'closed' = 'live'
  #wake: AbortController | undefined

  /**
   * Opens a session for a node that has joined. A session that an earlier process of the same incarnation left behind is
   * ended first.
   *
   * @throws KeelsonError `NOT_FOUND` when the node has not joined, `UNAUTHORIZED` when it was decommissioned or another
   * incarnation of it has joined since
   */
  static async open(options: NodeSessionOptions, call: CallOptions = {}): Promise<NodeSession> {
    const checked = checkOptions<Required<NodeSessionOptions>>(
      'NodeSession.open',
      options,
      {
        env: objectOption<Environment>(['clock', 'timers', 'logger']),
        store: objectOption<MetadataStore>(['txn', 'grantSession']),
        nodeId: nameOption,
        incarnation: idOption,
        ...sessionTuningChecks,
      },
      checkTuning,
    )
    checkCall('NodeSession.open', call)
    const { store, env, nodeId, incarnation, ttlMs } = checked
    for (;;) {
      const joined = await readJoined(store, nodeId, incarnation, call)
      const left = await store.get(liveKey(nodeId), call)
      if (left !== undefined) await store.revokeSession(left.session, call)
      const sentAtMs = env.clock.monotonicMs()
      const sentAtWallMs = env.clock.wallMs()
      const sessionId = await store.grantSession(nodeId, ttlMs, call)
      try {
        const result = await store.txn(
          {
            if: [
              { key: nodeKey(nodeId), target: 'modRevision', is: '=', operand: joined },
              { key: liveKey(nodeId), target: 'version', is: '=', operand: 0 },
            ],
            then: [
              {
                type: 'put',
                key: liveKey(nodeId),
                value: encodeLiveNode(incarnation),
                session: sessionId,
              },
            ],
          },
          call,
        )
        if (result.succeeded) return new NodeSession(checked, sessionId, sentAtMs, sentAtWallMs)
      } catch (error) {
        // Also when the outcome is unknown: without its session the key cannot stay.
        await store.revokeSession(sessionId).catch(() => {})
        throw error
      }
      await store.revokeSession(sessionId, call)
    }
  }

  private constructor(
    options: Required<NodeSessionOptions>,
    sessionId: number,
    sentAtMs: number,
    sentAtWallMs: number,
  ) {
    this.nodeId = options.nodeId
    this.incarnation = options.incarnation
    this.epoch = sessionId
    this.#env = options.env
    this.#store = options.store
    this.#tuning = options
    this.#budgetMs = options.ttlMs * (1 - options.maximumDrift)
    this.#events = new Events(options.env.logger, ['suspended', 'resumed', 'lost'])
    this.#sentAtMs = sentAtMs
    this.#sentAtWallMs = sentAtWallMs
    this.#armSuspension()
    this.#renewing = this.#renew()
  }

  /** Monotonic time until which the session is live, unless it is renewed. */
  get deadlineMs(): number {
    return this.#sentAtMs + this.#budgetMs
  }

  /** True while the node may act under its epoch. No I/O: it is asked before each effect. */
  isLive(): boolean {
    if (this.#state !== 'live') return false
    const { clock } = this.#env
    // Wall time that ran further than monotonic time betrays a machine that was suspended: it can only shorten.
    const elapsedMs = Math.max(clock.monotonicMs() - this.#sentAtMs, clock.wallMs() - this.#sentAtWallMs)
    return elapsedMs < this.#budgetMs
  }

  /** The session in the store: the epoch. */
  get sessionId(): number {
    return this.epoch
  }

  /** Time until the deadline; 0 when the node may not act under its epoch. No I/O. */
  remainingMs(): number {
    return this.isLive() ? Math.max(0, this.deadlineMs - this.#env.clock.monotonicMs()) : 0
  }

  /** True when the epoch has ended for good. */
  get isLost(): boolean {
    return this.#state === 'lost'
  }

  on<K extends keyof NodeSessionEvents>(event: K, listener: NodeSessionEvents[K]): () => void {
    return this.#events.on(event, listener)
  }

  /** Asks the store now rather than at the next interval: for when somebody said that the epoch has ended. */
  verify(): void {
    this.#wake?.abort()
  }

  /** Ends the session, in the store too if it can be reached. */
  async close(options: CallOptions = {}): Promise<void> {
    if (this.#stop.signal.aborted) {
      await this.#renewing
      return
    }
    const wasLost = this.#state === 'lost'
    this.#state = wasLost ? 'lost' : 'closed'
    this.#suspension?.cancel()
    this.#stop.abort(new KeelsonError('CLOSED', 'the node session was closed'))
    await this.#renewing
    this.#events.removeAll()
    if (!wasLost) {
      await this.#store.revokeSession(this.epoch, options).catch((error: unknown) => {
        this.#env.logger.info({ error }, 'the session was not ended in the store; it runs out by itself')
      })
    }
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #renew(): Promise<void> {
    const { signal } = this.#stop
    let delayMs = this.#tuning.renewIntervalMs
    while (!signal.aborted && this.#state !== 'lost') {
      await this.#pause(delayMs)
      if (signal.aborted) return
      const sentAtMs = this.#env.clock.monotonicMs()
      const sentAtWallMs = this.#env.clock.wallMs()
      try {
        await this.#store.renewSession(this.epoch, { signal })
        const { clock } = this.#env
        const answered = { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() }
        const from = this.countFrom({ monotonicMs: sentAtMs, wallMs: sentAtWallMs }, answered)
        this.#renewed(from.monotonicMs, from.wallMs)
        delayMs = this.#tuning.renewIntervalMs
      } catch (thrown) {
        if (signal.aborted) return
        const error = toKeelsonError(thrown)
        if (error.code === 'EPOCH_ENDED' || error.code === 'CLOSED') this.#lose(error)
        delayMs = Math.max(1, this.#tuning.renewIntervalMs / 4)
      }
    }
  }

  async #pause(delayMs: number): Promise<void> {
    const wake = new AbortController()
    const stop = (): void => wake.abort()
    this.#wake = wake
    this.#stop.signal.addEventListener('abort', stop, { once: true })
    try {
      await sleep(this.#env.timers, delayMs, wake.signal)
    } catch {
      // Woken early.
    } finally {
      this.#stop.signal.removeEventListener('abort', stop)
    }
  }

  /** @internal The moment that the deadline counts from: the store may have let go soon after it had the renewal. */
  countFrom(sent: Moment, _answered: Moment): Moment {
    return sent
  }

  #renewed(sentAtMs: number, sentAtWallMs: number): void {
    if (this.#state === 'lost' || this.#state === 'closed') return
    this.#sentAtMs = sentAtMs
    this.#sentAtWallMs = sentAtWallMs
    this.#armSuspension()
    // The answer may have come so late that the deadline has passed already.
    if (this.#state !== 'suspended' || this.#env.clock.monotonicMs() >= this.deadlineMs) return
    this.#state = 'live'
    this.#events.emit('resumed')
  }

  #armSuspension(): void {
    this.#suspension?.cancel()
    const delayMs = this.deadlineMs - this.#env.clock.monotonicMs()
    this.#suspension = this.#env.timers.schedule(Math.max(0, delayMs), () => this.#suspend())
  }

  #suspend(): void {
    if (this.#state !== 'live') return
    this.#state = 'suspended'
    this.#env.logger.warn(
      { nodeId: this.nodeId, epoch: this.epoch },
      'the node session was not renewed in time',
    )
    this.#events.emit('suspended')
  }

  #lose(error: KeelsonError): void {
    if (this.#state === 'lost' || this.#state === 'closed') return
    this.#state = 'lost'
    this.#suspension?.cancel()
    this.#env.logger.warn(
      { nodeId: this.nodeId, epoch: this.epoch, error: error.toJSON() },
      'the epoch has ended',
    )
    this.#events.emit('lost', error)
  }
}

/** Mod revision of the node's record. */
async function readJoined(
  store: MetadataStore,
  nodeId: NodeId,
  incarnation: Incarnation,
  call: CallOptions,
): Promise<number> {
  if (call.signal?.aborted === true) throw abortError(call.signal)
  const entry = await store.get(nodeKey(nodeId), call)
  if (entry === undefined) {
    throw new KeelsonError('NOT_FOUND', `node ${nodeId} has not joined; join it with a token first`)
  }
  const record = decodeNodeRecord(entry.value)
  checkMayAct(record)
  if (record.descriptor.incarnation !== incarnation) {
    throw new KeelsonError(
      'UNAUTHORIZED',
      `another incarnation of node ${nodeId} has joined since (${record.descriptor.incarnation}); this directory is out of date`,
    )
  }
  return entry.modRevision
}
