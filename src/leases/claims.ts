import { abortable, type CallOptions, deadline, throwIfAborted } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import type { SessionId } from '../interfaces/metadata-store.ts'
import type { LeaseBook, SessionLeaseToken } from './core/book.ts'
import type { LeaseChange, LeaseHolder } from './core/records.ts'
import type { LeaseDecision, LeaseRules } from './core/rules.ts'
import type { LeaseStore, StoredLease } from './lease-store.ts'
import { SerialByName } from './serial.ts'
import type { SessionWatch } from './session-watch.ts'
import type { SignalGroup } from './signal-group.ts'

/** A lease that was not taken, and why. */
export type Refusal =
  | { readonly decision: 'no session' }
  | {
      readonly decision: LeaseDecision
      readonly seen: StoredLease
      readonly rank: number
      readonly epoch: SessionId
      /** Ends when the session is replaced. */
      readonly scope: SignalGroup
    }

/** What an attempt came to. */
export type Attempt = { readonly token: SessionLeaseToken } | Refusal

/** What an attempt may do. */
export interface AttemptOptions {
  readonly signal: AbortSignal
  /** Asked before a lease is taken that is not ours. */
  readonly mayTake: (decision: LeaseDecision, rank: number) => boolean
  /** Stands in the queue when it is not taken. */
  readonly preference?: number
}

/** What {@link Claims} work with. */
export interface ClaimsContext {
  readonly env: Environment
  readonly holder: string
  readonly stasisMs: number
  readonly store: LeaseStore
  readonly book: LeaseBook
  readonly rules: LeaseRules
  readonly session: SessionWatch
  readonly onTaken: (how: LeaseDecision) => void
  /** Something about a lease has changed. */
  readonly onChange: (name: string) => void
}

/** How long clearing away in the background may take. */
const cleanupMs = 5_000

/**
 * Takes leases and gives them back: the one place that changes them for this process, one change of a lease at a time.
 *
 * A change whose answer was lost may still take effect later. Each one compares revisions, so a later change of ours
 * makes it void; and a lease under which we gave up once is only ever taken again with a new sequence.
 */
export class Claims {
  readonly #context: ClaimsContext
  readonly #serial = new SerialByName()
  /** Where we may stand in the queue, by the session that we stand there under. */
  readonly #registered = new Map<string, SessionId>()
  /** Leases that we tried to take without having had the answer, or after the caller had left. */
  readonly #uncertain = new Set<string>()
  readonly #cleanups = new Set<Promise<void>>()

  constructor(context: ClaimsContext) {
    this.#context = context
  }

  /** Runs a task that changes a lease, after those that were given before it. */
  async alone<T>(name: string, task: () => Promise<T>): Promise<T> {
    return this.#serial.run(name, task)
  }

  /** Looks at the lease and takes it if it may be taken. */
  async attempt(name: string, options: AttemptOptions): Promise<Attempt> {
    const { signal, mayTake, preference } = options
    const { book, rules, session, store, stasisMs, holder } = this.#context
    const task = async (): Promise<Attempt> => {
      for (;;) {
        throwIfAborted(signal)
        const scope = session.scope()
        const view = session.view()
        const token = book.token(name)
        if (token !== undefined && book.status(name, view) === 'valid') return { token }
        if (view === undefined || view.remainingMs <= stasisMs) return { decision: 'no session' }
        const epoch = view.sessionId
        const seen = await store.read(name, { signal })
        throwIfAborted(signal)
        book.saw(name, seen.lease, holder, epoch)
        const decision = rules.decide(seen, epoch, (lease) => book.mayAdopt(lease))
        const rank = rules.rank(seen.waiters, epoch)
        if (decision === 'adopt') {
          this.#take(name, (seen.lease as LeaseHolder).sequence, epoch, decision)
        } else if (decision !== 'wait' && mayTake(decision, rank)) {
          await this.#give(seen, epoch, decision, signal)
        } else {
          if (preference !== undefined) await this.#register(name, epoch, preference, signal)
          return { decision, seen, rank, epoch, scope }
        }
      }
    }
    return abortable(this.#serial.run(name, task), signal, 'unknown')
  }

  /** Frees the lease if it stands in our session's name. Only in a task of {@link Claims.alone}. */
  async free(name: string, call: CallOptions): Promise<void> {
    const { book, store, session } = this.#context
    for (;;) {
      const seen = await store.read(name, call)
      if (seen.lease === undefined || seen.lease.epoch !== session.view()?.sessionId) break
      book.surrender(seen.lease)
      if (await store.free(seen, call)) break
    }
    this.#uncertain.delete(name)
    book.drop(name)
    this.#context.onChange(name)
  }

  /**
   * Takes back, in the background, what a call that has ended left behind in the store: its place in the queue, and a
   * lease that came too late.
   */
  cleanUp(name: string, isWaitedFor: () => boolean): void {
    if (!this.#registered.has(name) && !this.#uncertain.has(name)) return
    const { env, store, book, session } = this.#context
    const work = this.#serial.run(name, async () => {
      if (isWaitedFor()) return
      const timeout = (): KeelsonError =>
        new KeelsonError(
          'TIMEOUT',
          'the store was not reached in time; see that its servers run and can be reached',
        )
      const { signal, release } = deadline(env.timers, cleanupMs, timeout)
      try {
        const epoch = session.view()?.sessionId
        if (this.#registered.delete(name) && epoch !== undefined)
          await store.stopWaiting(name, epoch, { signal })
        if (this.#uncertain.has(name) || book.token(name) === undefined) await this.free(name, { signal })
      } catch (error) {
        env.logger.info(
          { error, name },
          'a call for a lease left something in the store, until its session ends',
        )
      } finally {
        release()
      }
    })
    this.#cleanups.add(work)
    void work.finally(() => this.#cleanups.delete(work))
  }

  /** Resolves when nothing is cleared away any more. */
  async idle(): Promise<void> {
    while (this.#cleanups.size > 0) await Promise.all(this.#cleanups)
  }

  async #give(
    seen: StoredLease,
    epoch: SessionId,
    change: Exclude<LeaseChange, 'transfer'>,
    signal: AbortSignal,
  ): Promise<void> {
    const { holder, env, rules, store } = this.#context
    const sequence = rules.nextSequence(seen.record, seen.revision)
    const next = { holder, epoch, sequence, change, atMs: env.clock.wallMs() }
    this.#uncertain.add(seen.name)
    const given = await store.give(seen, next, { signal })
    // The caller has left: what it got is cleared away.
    throwIfAborted(signal)
    this.#uncertain.delete(seen.name)
    if (given) this.#take(seen.name, sequence, epoch, change)
  }

  async #register(name: string, epoch: SessionId, preference: number, signal: AbortSignal): Promise<void> {
    if (this.#registered.get(name) === epoch) return
    const { store, holder } = this.#context
    // An answer that is lost leaves a place in the queue that has to be cleared away; the next attempt asks again.
    this.#registered.set(name, 0)
    await store.wait(name, { holder, epoch, preference }, { signal })
    this.#registered.set(name, epoch)
  }

  #take(name: string, sequence: number, epoch: SessionId, how: LeaseDecision): void {
    this.#registered.delete(name)
    this.#uncertain.delete(name)
    this.#context.book.take(name, sequence, epoch)
    this.#context.onTaken(how)
    this.#context.onChange(name)
  }
}
