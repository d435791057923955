import type { Random } from '../../../core/random.ts'

/** Numbers that a holder works with. */
export interface HolderOptions {
  readonly ttlMs: number
  /** How far a clock may run fast or slow, as a fraction; the granter's bound. */
  readonly clockDriftBound: number
  /** Before its end a session is in stasis that long: nothing new is begun under it. */
  readonly stasisMs: number
  /** Part of the TTL after which a renewal is sent. */
  readonly renewAfter: number
  /** Renewals are spread by this part of their interval, in both directions. */
  readonly jitter: number
  /** Wall time that outruns monotonic time by more shows that the machine slept: the session is taken as over. */
  readonly sleepToleranceMs: number
}

/** Both clocks at one moment. */
export interface Moment {
  readonly monotonicMs: number
  readonly wallMs: number
}

/**
 * Where a holder stands: `valid`: act; `stasis`: finish what is begun, start nothing; `ended`: stop, for good.
 */
export type HolderStatus = 'valid' | 'stasis' | 'ended'

/** Attempts whose answers are waited for. */
const maximumAttempts = 16

/**
 * The holder's side of a session: until when it may act. Pure: time and randomness come in.
 *
 * It counts from when an attempt was *sent*, each with a nonce of its own, so that the answer to an early attempt never
 * counts from a later one. What has ended stays ended, whatever answers come after.
 */
export class HolderCore {
  readonly #options: HolderOptions
  readonly #attempts = new Map<number, Moment>()
  #nonce = 0
  #deadlineMs = Number.NEGATIVE_INFINITY
  /** When the attempt that the deadline counts from was sent. */
  #from: Moment | undefined
  #ended = false

  constructor(options: HolderOptions) {
    this.#options = options
  }

  /** When the holder stops, in monotonic milliseconds, unless a renewal is confirmed before. */
  get deadlineMs(): number {
    return this.#deadlineMs
  }

  /** An attempt to be granted or renewed is sent now. @returns its nonce */
  attempt(now: Moment): number {
    const nonce = ++this.#nonce
    this.#attempts.set(nonce, now)
    const [oldest] = this.#attempts.keys()
    if (this.#attempts.size > maximumAttempts && oldest !== undefined) this.#attempts.delete(oldest)
    return nonce
  }

  /** An attempt was confirmed. @returns whether it counts */
  confirmed(now: Moment, nonce: number): boolean {
    const sent = this.#attempts.get(nonce)
    this.#attempts.delete(nonce)
    // An answer that comes after the end must not undo it: the holder has stopped by then.
    if (sent === undefined || (this.#from !== undefined && this.status(now) === 'ended')) return false
    const deadlineMs = sent.monotonicMs + this.holderMs()
    if (this.#ended || deadlineMs <= this.#deadlineMs) return false
    this.#deadlineMs = deadlineMs
    this.#from = sent
    return this.status(now) !== 'ended'
  }

  /** An attempt failed: nothing is known about the session that was not known before. */
  failed(nonce: number): void {
    this.#attempts.delete(nonce)
  }

  /** The store says that the session is over, or the holder gives it up. */
  end(): void {
    this.#ended = true
  }

  status(now: Moment): HolderStatus {
    if (this.#ended || this.#from === undefined) return 'ended'
    if (now.monotonicMs >= this.#deadlineMs || this.slept(this.#from, now)) {
      this.#ended = true
      return 'ended'
    }
    return now.monotonicMs >= this.#deadlineMs - this.#options.stasisMs ? 'stasis' : 'valid'
  }

  /** When to send the next attempt, in monotonic milliseconds. Jitter keeps thousands of holders apart. */
  nextAttemptMs(now: Moment, random: Random): number {
    const { ttlMs, renewAfter, jitter } = this.#options
    const spread = 1 + (random.float() * 2 - 1) * jitter
    return Math.max(now.monotonicMs, (this.#from ?? now).monotonicMs + ttlMs * renewAfter * spread)
  }

  /** How long a holder counts on what it was granted. @internal */
  holderMs(): number {
    return this.#options.ttlMs * (1 - this.#options.clockDriftBound)
  }

  /** Wall time ran ahead of monotonic time. It may end a session, never prolong it. @internal */
  slept(from: Moment, now: Moment): boolean {
    const wallMs = now.wallMs - from.wallMs
    return wallMs - (now.monotonicMs - from.monotonicMs) > this.#options.sleepToleranceMs
  }
}
