import {
  type CallOptions,
  type Deferred,
  deadline,
  deferred,
  sleep,
  throwIfAborted,
} from '../../core/async.ts'
import type { TimerHandle } from '../../core/clock.ts'
import type { Environment } from '../../core/environment.ts'
import { KeelsonError, toKeelsonError } from '../../core/errors.ts'
import { Events, type Listenable } from '../../core/events.ts'
import { checkOptions, integerOption, numberOption, objectOption, stringOption } from '../../core/options.ts'
import { between } from '../../core/random.ts'
import type { MetadataStore, SessionId } from '../../interfaces/metadata-store.ts'
import { HolderCore, type HolderStatus, type Moment } from './core/holder.ts'
import { defaultClockDriftBound, sessionTtlBounds } from './limits.ts'

/** Options of {@link SessionHolder.open}. */
export interface SessionHolderOptions {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** The store that grants the session. */
  readonly store: MetadataStore
  /** Name that the store shows for the session. */
  readonly holder: string
  /** Time after which the store ends the session unless it is renewed; within `sessionTtlBounds`. */
  readonly ttlMs: number
  /** How far a clock may run fast or slow, as a fraction; the store's bound. */
  readonly clockDriftBound?: number
  /** Before its end a session is in stasis that long: nothing new is begun under it. Default: a twentieth of the TTL. */
  readonly stasisMs?: number
  /** Part of the TTL after which a renewal is sent. */
  readonly renewAfter?: number
  /** Renewals are spread by this part of their interval, in both directions. */
  readonly jitter?: number
  /** Wall time that outruns monotonic time by more shows that the machine slept: the session is taken as over. */
  readonly sleepToleranceMs?: number
}

/** Defaults of {@link SessionHolderOptions}. */
export const sessionHolderDefaults: {
  /** See {@link SessionHolderOptions.clockDriftBound}. */
  readonly clockDriftBound: number
  /** See {@link SessionHolderOptions.renewAfter}. */
  readonly renewAfter: number
  /** See {@link SessionHolderOptions.jitter}. */
  readonly jitter: number
  /** See {@link SessionHolderOptions.sleepToleranceMs}. */
  readonly sleepToleranceMs: number
} = Object.freeze({
  clockDriftBound: defaultClockDriftBound,
  renewAfter: 1 / 3,
  jitter: 0.1,
  sleepToleranceMs: 1_000,
})

/** Events of a {@link SessionHolder}. */
export type SessionHolderEvents = {
  /** The status changed. After `ended` nothing comes any more. */
  status: (status: HolderStatus) => void
}

type Checked = Required<SessionHolderOptions>

/**
 * Holds a session: renews it in good time, and knows at every moment whether its holder may still act. It stops by its
 * own clock, before the store ends the session, whatever the network does; what has ended never comes back: open another
 * one.
 */
export class SessionHolder implements Listenable<SessionHolderEvents>, AsyncDisposable {
  /** Its number: the epoch of everything that is held under it. */
  readonly sessionId: SessionId
  readonly #options: Checked
  readonly #core: HolderCore
  readonly #events: Events<SessionHolderEvents>
  readonly #stop = new AbortController()
  readonly #over: Deferred<void> = deferred()
  readonly #renewing: Promise<void>
  #shown: HolderStatus = 'valid'
  #timer: TimerHandle | undefined
  #closing: Promise<void> | undefined

  private constructor(options: Checked, core: HolderCore, sessionId: SessionId) {
    this.sessionId = sessionId
    this.#options = options
    this.#core = core
    this.#events = new Events(options.env.logger, ['status'])
    this.#watchClock()
    this.#renewing = this.#renew()
  }

  /**
   * Is granted a session.
   *
   * @throws KeelsonError `INVALID_OPTION`; `TIMEOUT` when the answer took longer than the TTL; otherwise as
   *   {@link MetadataStore.grantSession}
   */
  static async open(options: SessionHolderOptions, call: CallOptions = {}): Promise<SessionHolder> {
    const checked = check(options)
    throwIfAborted(call.signal)
    const core = new HolderCore(checked)
    const nonce = core.attempt(momentOf(checked.env))
    const sessionId = await checked.store.grantSession(checked.holder, checked.ttlMs, call)
    if (core.confirmed(momentOf(checked.env), nonce)) return new SessionHolder(checked, core, sessionId)
    throw new KeelsonError(
      'TIMEOUT',
      `session ${sessionId} was over before the answer came: give it a longer TTL`,
    )
  }

  /** Whether the holder may act now. Synchronous, without I/O: ask before every act. */
  status(): HolderStatus {
    return this.#core.status(momentOf(this.#options.env))
  }

  /** True until the holder's own deadline, which comes before the store's. */
  isLive(): boolean {
    return this.status() !== 'ended'
  }

  /** Time until the session ends, unless it is renewed; 0 when it has ended. */
  remainingMs(): number {
    if (this.status() === 'ended') return 0
    return Math.max(0, this.#core.deadlineMs - this.#options.env.clock.monotonicMs())
  }

  /** Resolves when the session has ended, for whatever reason. */
  async ended(): Promise<void> {
    await this.#over.promise
  }

  on<K extends keyof SessionHolderEvents>(event: K, listener: SessionHolderEvents[K]): () => void {
    return this.#events.on(event, listener)
  }

  /** Stops acting, then revokes the session, so that others need not wait for its end. Idempotent. */
  async close(options: CallOptions = {}): Promise<void> {
    this.#closing ??= this.#close(options)
    await this.#closing
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(options: CallOptions): Promise<void> {
    const held = this.status() !== 'ended'
    this.#end()
    await this.#renewing
    if (!held) return
    try {
      await this.#options.store.revokeSession(this.sessionId, options)
    } catch (error) {
      // It runs out by itself.
      this.#options.env.logger.warn({ error, sessionId: this.sessionId }, 'a session could not be revoked')
    }
  }

  #end(): void {
    this.#core.end()
    this.#timer?.cancel()
    this.#stop.abort(new KeelsonError('EPOCH_ENDED', `session ${this.sessionId} has ended; open another one`))
    this.#show('ended')
    this.#over.resolve()
  }

  #show(status: HolderStatus): void {
    if (this.#shown === status) return
    this.#shown = status
    this.#events.emit('status', status)
    if (status === 'ended') this.#events.removeAll()
  }

  /** Tells of stasis and of the end when they come, without being asked. */
  #watchClock(): void {
    this.#timer?.cancel()
    const status = this.status()
    this.#show(status)
    if (status === 'ended') {
      this.#end()
      return
    }
    const { env, stasisMs } = this.#options
    const untilEndMs = this.#core.deadlineMs - env.clock.monotonicMs()
    const waitMs = status === 'valid' ? untilEndMs - stasisMs : untilEndMs
    this.#timer = env.timers.schedule(Math.max(0, waitMs), () => this.#watchClock())
  }

  async #renew(): Promise<void> {
    const { env, ttlMs } = this.#options
    const { signal } = this.#stop
    let failures = 0
    while (!signal.aborted) {
      const now = momentOf(env)
      const wait = this.#core.nextAttemptMs(now, env.random) - now.monotonicMs
      // After a failure: soon again, and less and less so, up to a twelfth of the TTL.
      const backoffMs = Math.min((ttlMs / 100) * 2 ** Math.min(failures, 10), ttlMs / 12)
      try {
        await sleep(env.timers, failures === 0 ? wait : between(env.random, backoffMs / 2, backoffMs), signal)
        failures = (await this.#attempt()) ? 0 : failures + 1
      } catch {
        // The session has ended.
        return
      }
    }
  }

  async #attempt(): Promise<boolean> {
    const { env, store, ttlMs } = this.#options
    const nonce = this.#core.attempt(momentOf(env))
    const timeout = (): KeelsonError =>
      new KeelsonError(
        'TIMEOUT',
        'a renewal was not answered in time; it is tried again until the TTL is over',
      )
    const limit = deadline(env.timers, ttlMs / 3, timeout, this.#stop.signal)
    try {
      await store.renewSession(this.sessionId, { signal: limit.signal })
      const counts = this.#core.confirmed(momentOf(env), nonce)
      this.#watchClock()
      return counts
    } catch (thrown) {
      const error = toKeelsonError(thrown)
      this.#core.failed(nonce)
      if (error.code === 'EPOCH_ENDED' || error.code === 'CLOSED') this.#end()
      env.logger.debug({ error, sessionId: this.sessionId }, 'a renewal failed')
      return false
    } finally {
      limit.release()
    }
  }
}

function momentOf(env: Environment): Moment {
  return { monotonicMs: env.clock.monotonicMs(), wallMs: env.clock.wallMs() }
}

function check(options: SessionHolderOptions): Checked {
  const defaults = sessionHolderDefaults
  const { minimumMs, maximumMs } = sessionTtlBounds
  return checkOptions<Checked>(
    'SessionHolder',
    options,
    {
      env: objectOption<Environment>(['clock', 'timers', 'random', 'logger', 'metrics']),
      store: objectOption<MetadataStore>(['grantSession', 'renewSession', 'revokeSession']),
      holder: stringOption({ maxLength: 256 }),
      ttlMs: integerOption({ min: minimumMs, max: maximumMs }),
      clockDriftBound: numberOption({ min: 0, max: 0.2, fallback: defaults.clockDriftBound }),
      stasisMs: numberOption({
        min: 0,
        fallback: typeof options?.ttlMs === 'number' ? options.ttlMs / 20 : 0,
      }),
      renewAfter: numberOption({ min: 0.01, max: 0.9, fallback: defaults.renewAfter }),
      jitter: numberOption({ min: 0, max: 0.5, fallback: defaults.jitter }),
      sleepToleranceMs: numberOption({ min: 0, fallback: defaults.sleepToleranceMs }),
    },
    (checked, refuse) => {
      if (checked.stasisMs >= checked.ttlMs / 2) refuse("'stasisMs' must be less than half of 'ttlMs'")
    },
  )
}
