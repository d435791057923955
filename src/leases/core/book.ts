import type { SessionId } from '../../interfaces/metadata-store.ts'
import type { LeaseHolder } from './records.ts'

/**
 * What a lease allows its holder, judged in this order:
 * - `expired`: the session that it hangs on has ended, or its deadline has passed; the lease may be somebody else's;
 * - `proscribed`: it is still ours in the store, but we gave it up (a release or a transfer is under way), or an earlier
 *   life of this process took it: never act under it again;
 * - `stasis`: the deadline is near: finish what is begun, start nothing;
 * - `valid`: act.
 *
 * `none`: this process never had it.
 */
export type LeaseStatus = 'none' | 'expired' | 'proscribed' | 'stasis' | 'valid'

/** A session at one moment. */
export interface SessionView {
  /** The session that is meant. */
  readonly sessionId: SessionId
  /** Until the holder's own deadline. */
  readonly remainingMs: number
}

/** A right to act, until its status says otherwise. */
export interface SessionLeaseToken {
  /** Name of the lease: the resource that it is a right to. */
  readonly name: string
  /** Grows by one with every change of holder and never repeats: what a {@link Fence} checks. */
  readonly sequence: number
  /** Session of the holder. */
  readonly epoch: SessionId
}

interface Entry {
  readonly token: SessionLeaseToken
  proscribed: boolean
  /** Taken by an earlier life: only the store knows when its session ends. */
  readonly earlierLife: boolean
}

/**
 * The leases of one process: what it may do under each. Pure: the session, with the time that it has left, comes in.
 *
 * A lease has no deadline of its own. It lives in the store exactly as long as its session's key, so the session's
 * deadline, which is counted from when a renewal was sent, is the deadline of all leases at once.
 */
export class LeaseBook {
  readonly #stasisMs: number
  readonly #entries = new Map<string, Entry>()

  /** A lease is in stasis for the last `stasisMs` of its session. */
  constructor(stasisMs: number) {
    this.#stasisMs = stasisMs
  }

  /** Leases in the book, whatever their status. */
  get size(): number {
    return this.#entries.size
  }

  /** Names of the leases that were taken and not given back. */
  names(): string[] {
    return [...this.#entries.keys()]
  }

  /**
   * The token under which a lease is held, or undefined when there is none. Holding it is not enough: ask for
   * the status too.
   */
  token(name: string): SessionLeaseToken | undefined {
    return this.#entries.get(name)?.token
  }

  /** Whether this process may act under a lease while its session stands as given. */
  status(name: string, session: SessionView | undefined): LeaseStatus {
    const entry = this.#entries.get(name)
    if (entry === undefined) return 'none'
    if (!entry.earlierLife && this.hasExpired(entry.token, session)) return 'expired'
    if (this.isProscribed(entry)) return 'proscribed'
    return (session as SessionView).remainingMs <= this.#stasisMs ? 'stasis' : 'valid'
  }

  /** The status of work that began under a token. A newer lease of the same name does not carry it on. */
  statusOf(token: SessionLeaseToken, session: SessionView | undefined): LeaseStatus {
    const current = this.#entries.get(token.name)?.token
    if (current === undefined || current.sequence !== token.sequence || current.epoch !== token.epoch)
      return 'expired'
    return this.status(token.name, session)
  }

  /** The store says that the lease is ours under this session. */
  take(name: string, sequence: number, epoch: SessionId): SessionLeaseToken {
    const token = Object.freeze({ name, sequence, epoch })
    this.#entries.set(name, { token, proscribed: false, earlierLife: false })
    return token
  }

  /** The store was read: a lease in our name, but of another session, was taken by an earlier life of this process. */
  saw(name: string, lease: LeaseHolder | undefined, holder: string, epoch: SessionId): void {
    if (lease !== undefined && lease.holder === holder && lease.epoch !== epoch) {
      const token = Object.freeze({ name, sequence: lease.sequence, epoch: lease.epoch })
      this.#entries.set(name, { token, proscribed: true, earlierLife: true })
    } else if (this.#entries.get(name)?.earlierLife === true) this.#entries.delete(name)
  }

  /** Stops acting under a lease, before anybody is told. There is no way back but a new sequence. */
  proscribe(name: string): void {
    const entry = this.#entries.get(name)
    if (entry !== undefined) this.giveUp(entry)
  }

  /** A lease that stands in the store under our session is about to be given back. */
  surrender(lease: LeaseHolder): void {
    this.take(lease.name, lease.sequence, lease.epoch)
    this.proscribe(lease.name)
  }

  /** Forgets the leases of other sessions than `epoch`: they will never be valid again. @returns their names */
  dropOthers(epoch: SessionId): string[] {
    const names: string[] = []
    for (const [name, { token, earlierLife }] of this.#entries)
      if (!earlierLife && token.epoch !== epoch) names.push(name)
    for (const name of names) this.#entries.delete(name)
    return names
  }

  /** The lease is not ours any more. */
  drop(name: string): void {
    this.#entries.delete(name)
  }

  /**
   * Whether a lease that stands in the store under our session may be used as it is: it was handed to us, or an answer
   * was lost. Not after it was given up: a release that is still on its way could end it at any time.
   */
  mayAdopt(lease: LeaseHolder): boolean {
    const entry = this.#entries.get(lease.name)
    return entry === undefined || entry.token.sequence !== lease.sequence || !this.isProscribed(entry)
  }

  /** @internal */
  hasExpired(token: SessionLeaseToken, session: SessionView | undefined): boolean {
    return session === undefined || session.sessionId !== token.epoch || session.remainingMs <= 0
  }

  /** @internal */
  isProscribed(entry: { readonly proscribed: boolean }): boolean {
    return entry.proscribed
  }

  /** @internal */
  giveUp(entry: { proscribed: boolean }): void {
    entry.proscribed = true
  }
}
