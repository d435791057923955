import { checkFunction, checkText } from '../core/arguments.ts'
import { type CallOptions, deadline, sleep, throwIfAborted } from '../core/async.ts'
import { KeelsonError, toKeelsonError } from '../core/errors.ts'
import { Events, type Listenable } from '../core/events.ts'
import type { Counter, Gauge } from '../core/metrics.ts'
import { checkCall, showValue } from '../core/options.ts'
import { listKeys } from '../metadata/follow.ts'
import { type AttemptOptions, Claims, type Refusal } from './claims.ts'
import { LeaseBook, type LeaseStatus, type SessionLeaseToken } from './core/book.ts'
import {
  allHolders,
  checkLeaseName,
  decodeHistory,
  decodeHolder,
  historyOf,
  type LeaseHistoryEntry,
  type LeaseHolder,
} from './core/records.ts'
import { Admission, type LeaseDecision, LeaseRules } from './core/rules.ts'
import { LeaseStore } from './lease-store.ts'
import { checkLeasesOptions, type LeasesOptions } from './options.ts'
import { SessionWatch } from './session-watch.ts'
import { SignalGroup } from './signal-group.ts'
import { watchLease } from './watch.ts'

/** Options of {@link Leases.acquire}. */
export interface AcquireOptions extends CallOptions {
  /** Of several who wait the one with the highest preference goes first; an integer from 0. Default: 0. */
  readonly preference?: number
}

/** Options of {@link Leases.release} and {@link Leases.transfer}. */
export interface GiveUpOptions extends CallOptions {
  /**
   * Ends the work that is under way under the lease. It is called when nothing new begins any more, and nobody else gets
   * the lease before it has resolved.
   */
  readonly drain?: () => Promise<void>
}

/** Events of {@link Leases}. */
export type LeasesEvents = {
  /** What a lease allows has changed. After `expired` it can only come back as `valid` while nobody else had it. */
  status: (name: string, status: LeaseStatus, token: SessionLeaseToken) => void
}

/** Pause while there is no session, or after an error that a retry may heal. */
const retryMs = 100
const maximumRetryMs = 2_000
/** Leases that are given back at a time when all are. */
const releasesAtOnce = 16
/** How long giving them back may take. */
const closingMs = 5_000

/**
 * Session leases: exclusive rights to resources that have no quorum of their own. All leases of a process hang on one
 * session: one renewal keeps them all, one committed entry ends them all.
 *
 * A lease tells its holder by its own clock when to stop. That alone is safe as long as the clocks' rates are within the
 * session's bound and the holder is not stopped between its last look and its effect; against the latter only the
 * resource can help, which checks the sequence with a `Fence`.
 */
export class Leases implements AsyncDisposable, Listenable<LeasesEvents> {
  readonly #options: Required<LeasesOptions>
  readonly #store: LeaseStore
  readonly #book: LeaseBook
  readonly #rules: LeaseRules
  readonly #admission: Admission
  readonly #session: SessionWatch
  readonly #events: Events<LeasesEvents>
  readonly #claims: Claims
  /** The calls that are under way. */
  readonly #calls = new SignalGroup()
  /** Sequence and status of each lease, as last told. */
  readonly #shown = new Map<string, string>()
  /** Calls that wait, by name. */
  readonly #waiting = new Map<string, number>()
  readonly #taken: Counter
  readonly #held: Gauge
  #waitingInAll = 0
  #closing: Promise<void> | undefined

  /** Makes a manager of leases. It does nothing until it is asked. @throws KeelsonError `INVALID_OPTION` */
  static open(options: LeasesOptions): Leases {
    return new Leases(checkLeasesOptions(options))
  }

  private constructor(options: Required<LeasesOptions>) {
    this.#options = options
    const { env } = options
    this.#store = new LeaseStore(options.store)
    this.#book = new LeaseBook(options.stasisMs)
    this.#rules = new LeaseRules(options)
    this.#admission = new Admission(options.takeoversPerSecond)
    this.#session = new SessionWatch(env, options.stasisMs, options.session, () => this.#showAll())
    this.#claims = new Claims({
      env,
      holder: options.holder,
      stasisMs: options.stasisMs,
      store: this.#store,
      book: this.#book,
      rules: this.#rules,
      session: this.#session,
      onTaken: (how) => this.#taken.add(1, { how }),
      onChange: (name) => this.#show(name),
    })
    this.#events = new Events(env.logger, ['status'])
    this.#taken = env.metrics.counter('keelson_leases_taken_total', 'Leases taken, by how')
    this.#held = env.metrics.gauge('keelson_leases_held', 'Leases that this process has')
  }

  /** The lease, if new work may begin under it now. Synchronous, no I/O: ask before every effect. */
  current(name: string): SessionLeaseToken | undefined {
    return this.status(name) === 'valid' ? this.#book.token(name) : undefined
  }

  /** What a lease allows this process now. Synchronous, no I/O. */
  status(name: string): LeaseStatus {
    return this.#book.status(name, this.#session.view())
  }

  /**
   * What a token allows now: work that began under it goes on while it is `valid` or in `stasis`, and stops otherwise.
   * Synchronous, no I/O.
   */
  statusOf(token: SessionLeaseToken): LeaseStatus {
    return this.#book.statusOf(token, this.#session.view())
  }

  on<K extends keyof LeasesEvents>(event: K, listener: LeasesEvents[K]): () => void {
    return this.#events.on(event, listener)
  }

  /**
   * Waits until this process has the lease. Whoever waits is also where a lease can be transferred to. The first effect
   * under a new token is to install its sequence at the resource.
   *
   * An aborted call gives back what it may have got.
   *
   * @throws KeelsonError `ABORTED`, `CLOSED`, `INVALID_ARGUMENT`, `OVERLOADED` when too many calls wait
   */
  async acquire(name: string, options: AcquireOptions = {}): Promise<SessionLeaseToken> {
    checkLeaseName(name)
    checkCall('acquire', options, ['preference'])
    const { preference = 0 } = options
    if (!Number.isSafeInteger(preference) || preference < 0)
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `a preference is an integer of at least 0, not ${showValue(preference)}`,
      )
    const { maximumWaiting } = this.#options
    if (this.#waitingInAll >= maximumWaiting)
      throw new KeelsonError('OVERLOADED', `${maximumWaiting} calls wait for leases already; try again later`)
    this.#countWaiting(name, 1)
    const { signal, release } = this.#calls.join(options.signal)
    try {
      throwIfAborted(signal)
      return await this.#acquire(name, preference, signal)
    } finally {
      release()
      this.#countWaiting(name, -1)
      this.#cleanUp(name)
    }
  }

  /**
   * Takes the lease if nobody else has it, whoever waits for it.
   *
   * @returns undefined when somebody else has it
   * @throws KeelsonError `EPOCH_ENDED` without a session, `OVERLOADED` when leases of ended sessions are taken over
   *   faster than allowed, otherwise as `MetadataStore.txn`
   */
  async tryAcquire(name: string, options: CallOptions = {}): Promise<SessionLeaseToken | undefined> {
    checkLeaseName(name)
    checkCall('tryAcquire', options)
    const { signal, release } = this.#calls.join(options.signal)
    try {
      throwIfAborted(signal)
      const { clock } = this.#options.env
      const mayTake = (decision: LeaseDecision): boolean => {
        if (decision !== 'takeover' || this.#admission.admit(clock.monotonicMs())) return true
        throw new KeelsonError('OVERLOADED', 'too many leases are taken over at once; try again later')
      }
      const attempt = await this.#claims.attempt(name, { mayTake, signal })
      if ('token' in attempt) return attempt.token
      if (attempt.decision !== 'no session') return undefined
      throw new KeelsonError(
        'EPOCH_ENDED',
        'there is no live session for leases to hang on; open one, and return it from the option session',
        {
          retryable: true,
        },
      )
    } finally {
      release()
      this.#cleanUp(name)
    }
  }

  /**
   * Gives a lease back: stops acting under it at once, lets `drain` end what is under way, then frees it. Also clears
   * away a lease that this process got without knowing, or gave up without reaching the store. Idempotent.
   *
   * @throws KeelsonError as `MetadataStore.txn`; the lease stays proscribed
   */
  async release(name: string, options: GiveUpOptions = {}): Promise<void> {
    checkLeaseName(name)
    checkGivingUp('release', options)
    this.#proscribe(name)
    await this.#claims.alone(name, async () => {
      this.#proscribe(name)
      await options.drain?.()
      await this.#claims.free(name, callOf(options.signal))
    })
  }

  /**
   * Hands a lease to another process that waits for it in {@link Leases.acquire}, in one transaction: first this process
   * stops acting and lets `drain` end what is under way. When that fails, the lease stays proscribed here: acquire it
   * again, which gives it a new sequence, or release it.
   *
   * @throws KeelsonError `NOT_FOUND` when nobody of that name waits for it or it is not ours: nothing has changed;
   *   `CONFLICT` when the other one went away meanwhile; otherwise as `MetadataStore.txn`
   */
  async transfer(name: string, to: string, options: GiveUpOptions = {}): Promise<void> {
    checkLeaseName(name)
    checkText(to, 'the process that gets the lease', 256)
    checkGivingUp('transfer', options)
    await this.#claims.alone(name, async () => {
      const call = callOf(options.signal)
      const token = this.current(name)
      const seen = await this.#store.read(name, call)
      const waiter = seen.waiters.find(({ holder, epoch }) => holder === to && epoch !== token?.epoch)
      const { epoch, sequence } = seen.lease ?? {}
      if (token === undefined || epoch !== token.epoch || sequence !== token.sequence || !this.current(name))
        throw new KeelsonError(
          'NOT_FOUND',
          `this process has no lease '${name}' to hand over; acquire it first`,
        )
      if (waiter === undefined)
        throw new KeelsonError(
          'NOT_FOUND',
          `${to} does not wait for '${name}'; it has to call acquire first`,
          {
            retryable: true,
          },
        )
      this.#proscribe(name)
      await options.drain?.()
      const next = {
        holder: to,
        epoch: waiter.epoch,
        sequence: this.#rules.nextSequence(seen.record, seen.revision),
        change: 'transfer',
        atMs: this.#options.env.clock.wallMs(),
      } as const
      if (!(await this.#store.give(seen, next, call, waiter)))
        throw new KeelsonError(
          'CONFLICT',
          `${to} waits no longer for '${name}'; acquire the lease again, or release it`,
        )
      this.#book.drop(name)
      this.#show(name)
    })
  }

  /**
   * Who has the lease, now and after every change; undefined while nobody has it.
   *
   * @throws KeelsonError as `MetadataStore.watch`
   */
  watch(name: string, options: CallOptions = {}): AsyncIterable<LeaseHolder | undefined> {
    checkLeaseName(name)
    checkCall('watch', options)
    return watchLease(this.#options.store, name, options)
  }

  /** Everybody's leases. */
  async list(options: CallOptions = {}): Promise<readonly LeaseHolder[]> {
    checkCall('list', options)
    const { entries } = await listKeys(this.#options.store, allHolders, options)
    return entries.map(decodeHolder)
  }

  /** The last changes of a lease's holder, oldest first. */
  async history(name: string, options: CallOptions = {}): Promise<readonly LeaseHistoryEntry[]> {
    checkLeaseName(name)
    checkCall('history', options)
    const { entries } = await listKeys(this.#options.store, historyOf(name), options)
    return entries.map(decodeHistory)
  }

  /** Stops acting, ends all waiting, and gives the leases back as far as the store can be reached. Idempotent. */
  async close(options: CallOptions = {}): Promise<void> {
    this.#closing ??= this.#close(options)
    await this.#closing
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(options: CallOptions): Promise<void> {
    for (const name of this.#book.names()) this.#proscribe(name)
    this.#calls.abort(new KeelsonError('CLOSED', 'the leases were closed; open them again'))
    const names = this.#book.names()
    const next = async (): Promise<void> => {
      for (let name = names.pop(); name !== undefined; name = names.pop())
        await this.#giveBack(name, options.signal)
    }
    await Promise.all(Array.from({ length: releasesAtOnce }, next))
    await this.#claims.idle()
    this.#session.stop()
    this.#events.removeAll()
  }

  async #acquire(name: string, preference: number, signal: AbortSignal): Promise<SessionLeaseToken> {
    const { env } = this.#options
    let turn = false
    let failures = 0
    for (;;) {
      throwIfAborted(signal)
      try {
        const mayTake: AttemptOptions['mayTake'] = (decision, rank) =>
          turn || decision === 'reclaim' || (decision === 'claim' && rank === 0)
        const attempt = await this.#claims.attempt(name, { mayTake, signal, preference })
        turn = false
        failures = 0
        if ('token' in attempt) return attempt.token
        turn = await this.#waitForTurn(attempt, signal)
      } catch (thrown) {
        throwIfAborted(signal)
        const error = toKeelsonError(thrown)
        // A session that ended is followed by another one.
        if (!error.retryable && !KeelsonError.hasCode(error, 'EPOCH_ENDED', 'COMPACTED')) throw error
        env.logger.debug({ error, name }, 'a lease could not be acquired yet')
        await sleep(env.timers, backoffMs(failures++) * (0.5 + env.random.float() / 2), signal)
      }
    }
  }

  /** @returns true when it is our turn to take the lease */
  async #waitForTurn(attempt: Refusal, signal: AbortSignal): Promise<boolean> {
    const { env } = this.#options
    if (attempt.decision === 'no session') {
      await sleep(env.timers, retryMs, signal)
      return false
    }
    if (attempt.decision === 'wait') {
      const scope = attempt.scope.join(signal)
      try {
        await this.#store.change(attempt.seen, attempt.epoch, { signal: scope.signal })
      } finally {
        scope.release()
      }
      return false
    }
    const delayMs = this.#rules.delayMs(attempt.decision, attempt.rank, env.random)
    if (delayMs > 0) await sleep(env.timers, delayMs, signal)
    if (attempt.decision === 'takeover')
      while (!this.#admission.admit(env.clock.monotonicMs()))
        await sleep(env.timers, Math.max(1, this.#admission.waitMs(env.clock.monotonicMs())), signal)
    return true
  }

  async #giveBack(name: string, signal?: AbortSignal): Promise<void> {
    const { timers, logger } = this.#options.env
    const timeout = (): KeelsonError =>
      new KeelsonError(
        'TIMEOUT',
        'the store was not reached in time; see that its servers run and can be reached',
      )
    const limit = deadline(timers, closingMs, timeout, signal)
    try {
      await this.release(name, { signal: limit.signal })
    } catch (error) {
      logger.info({ error, name }, 'a lease was not given back; it ends with its session')
    } finally {
      limit.release()
    }
  }

  #proscribe(name: string): void {
    this.#book.proscribe(name)
    this.#show(name)
  }

  #countWaiting(name: string, by: 1 | -1): void {
    const count = (this.#waiting.get(name) ?? 0) + by
    if (count === 0) this.#waiting.delete(name)
    else this.#waiting.set(name, count)
    this.#waitingInAll += by
    this.#lookOrRest()
  }

  #cleanUp(name: string): void {
    this.#claims.cleanUp(name, () => this.#waiting.has(name))
  }

  /** Tells what has changed about one lease. */
  #show(name: string): void {
    this.#lookOrRest()
    const token = this.#book.token(name)
    if (token === undefined) {
      this.#shown.delete(name)
      return
    }
    const status = this.status(name)
    const shown = `${token.sequence} ${status}`
    if (shown === this.#shown.get(name)) return
    this.#shown.set(name, shown)
    this.#events.emit('status', name, status, token)
  }

  /** The session has changed, and with it all leases. */
  #showAll(): void {
    for (const name of this.#book.names()) this.#show(name)
    const session = this.#session.view()
    if (session !== undefined) for (const name of this.#book.dropOthers(session.sessionId)) this.#show(name)
  }

  /** The session is looked at only while there is a reason to. */
  #lookOrRest(): void {
    this.#held.set(this.#book.size)
    if (this.#book.size + this.#waitingInAll > 0 && !this.#calls.aborted) this.#session.start()
    else this.#session.stop()
  }
}

function checkGivingUp(method: string, options: GiveUpOptions): void {
  checkCall(method, options, ['drain'])
  if (options.drain !== undefined) checkFunction(options.drain, 'drain')
}

function callOf(signal: AbortSignal | undefined): CallOptions {
  return signal === undefined ? {} : { signal }
}

function backoffMs(failures: number): number {
  return Math.min(retryMs * 2 ** Math.min(failures, 10), maximumRetryMs)
}
