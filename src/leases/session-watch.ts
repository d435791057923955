import type { TimerHandle } from '../core/clock.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import type { SessionId } from '../interfaces/metadata-store.ts'
import type { SessionView } from './core/book.ts'
import type { LeaseSession } from './options.ts'
import { SignalGroup } from './signal-group.ts'

/** How often the session is looked at while somebody cares, at least. It is a call in memory. */
const lookMs = 250

/**
 * Tells when the session that all leases hang on goes into stasis, ends or is replaced: one timer, however many leases
 * there are, and none while nobody cares.
 */
export class SessionWatch {
  readonly #env: Environment
  readonly #stasisMs: number
  readonly #session: () => LeaseSession | undefined
  readonly #onChange: () => void
  #timer: TimerHandle | undefined
  #shown = ''
  #scope = new SignalGroup()
  #scopeOf: SessionId | undefined

  constructor(
    env: Environment,
    stasisMs: number,
    session: () => LeaseSession | undefined,
    onChange: () => void,
  ) {
    this.#env = env
    this.#stasisMs = stasisMs
    this.#session = session
    this.#onChange = onChange
  }

  /** The session now. */
  view(): SessionView | undefined {
    const session = this.#session()
    return session && { sessionId: session.sessionId, remainingMs: session.remainingMs() }
  }

  /** Ends when the session is not the one that it is now. */
  scope(): SignalGroup {
    this.#renewScope(this.#session()?.sessionId)
    return this.#scope
  }

  /** Starts looking, or goes on. */
  start(): void {
    if (this.#timer === undefined) this.#look()
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  #look(): void {
    const view = this.view()
    this.#renewScope(view?.sessionId)
    const remainingMs = view?.remainingMs ?? 0
    const stage = remainingMs <= 0 ? 'ended' : remainingMs <= this.#stasisMs ? 'stasis' : 'valid'
    const shown = `${view?.sessionId} ${stage}`
    const changed = shown !== this.#shown
    this.#shown = shown
    const nextMs =
      stage === 'valid' ? remainingMs - this.#stasisMs : stage === 'stasis' ? remainingMs : lookMs
    this.#timer = this.#env.timers.schedule(Math.min(lookMs, nextMs), () => this.#look())
    if (changed) this.#onChange()
  }

  #renewScope(sessionId: SessionId | undefined): void {
    if (sessionId === this.#scopeOf) return
    this.#scopeOf = sessionId
    this.#scope.abort(
      new KeelsonError('EPOCH_ENDED', 'the session was replaced; acquire the lease again', {
        retryable: true,
      }),
    )
    this.#scope = new SignalGroup()
  }
}
