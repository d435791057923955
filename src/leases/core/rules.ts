import type { Random } from '../../core/random.ts'
import type { Revision, SessionId } from '../../interfaces/metadata-store.ts'
import { numberAfter } from '../../metadata/lost-numbers.ts'
import type { LeaseHolder, LeaseRecord, LeaseWaiter } from './records.ts'

/**
 * What to do about a lease:
 * - `adopt`: it is ours already, though we did not know;
 * - `reclaim`: it is ours, but given up: take it under a new sequence;
 * - `claim`: it is free; `takeover`: its holder's session has ended: take it, lazily;
 * - `wait`: somebody else has it.
 */
export type LeaseDecision = 'adopt' | 'reclaim' | 'claim' | 'takeover' | 'wait'

/** A lease and its last record, read at one revision. */
export interface LeaseView {
  readonly lease: LeaseHolder | undefined
  readonly record: LeaseRecord | undefined
}

/** Numbers that {@link LeaseRules} work with. */
export interface TakeoverOptions {
  /** A waiter waits so long for each one that comes before it. */
  readonly takeoverStaggerMs: number
  /** After the end of a session each waiter adds up to so much, at random. */
  readonly takeoverSpreadMs: number
}

/** Waiters beyond it wait as long as the last one before. */
const maximumRank = 16

/** Who gets a lease, when, and under which sequence. Pure. */
export class LeaseRules {
  readonly #options: TakeoverOptions

  constructor(options: TakeoverOptions) {
    this.#options = options
  }

  decide(view: LeaseView, epoch: SessionId, mayAdopt: (lease: LeaseHolder) => boolean): LeaseDecision {
    const { lease, record } = view
    if (lease === undefined) return record === undefined || record.released ? 'claim' : 'takeover'
    if (!this.isOurs(lease, epoch)) return 'wait'
    return mayAdopt(lease) ? 'adopt' : 'reclaim'
  }

  /** A lease is ours if it hangs on our session; the name says nothing: an earlier life had it too. @internal */
  isOurs(lease: LeaseHolder, epoch: SessionId): boolean {
    return lease.epoch === epoch
  }

  /** The first sequence that nobody has had, by what was read at a revision. @internal */
  nextSequence(record: LeaseRecord | undefined, revision: Revision): number {
    return numberAfter(record?.sequence ?? 0, revision)
  }

  /** How many come before us: those who are preferred, then those who have waited longer. */
  rank(waiters: readonly LeaseWaiter[], epoch: SessionId): number {
    const own = waiters.find((waiter) => waiter.epoch === epoch)
    if (own === undefined) return Math.min(waiters.length, maximumRank)
    const before = waiters.filter(
      (other) =>
        other.preference > own.preference || (other.preference === own.preference && other.since < own.since),
    )
    return Math.min(before.length, maximumRank)
  }

  /** How long to let others go first. */
  delayMs(decision: LeaseDecision, rank: number, random: Random): number {
    const { takeoverStaggerMs, takeoverSpreadMs } = this.#options
    return rank * takeoverStaggerMs + (decision === 'takeover' ? random.float() * takeoverSpreadMs : 0)
  }
}

/** A bounded rate: what comes faster waits. Pure. */
export class Admission {
  readonly #perSecond: number
  #allowance: number
  #atMs = Number.NEGATIVE_INFINITY

  constructor(perSecond: number) {
    this.#perSecond = perSecond
    this.#allowance = Math.max(1, perSecond)
  }

  /** True when one more is admitted now. */
  admit(nowMs: number): boolean {
    this.#refill(nowMs)
    if (this.#allowance < 1) return false
    this.#allowance--
    return true
  }

  /** How long until the next one can be admitted. */
  waitMs(nowMs: number): number {
    this.#refill(nowMs)
    return Math.max(0, ((1 - this.#allowance) * 1000) / this.#perSecond)
  }

  #refill(nowMs: number): void {
    const passedMs = this.#atMs === Number.NEGATIVE_INFINITY ? 0 : nowMs - this.#atMs
    this.#atMs = nowMs
    this.#allowance = Math.min(
      Math.max(1, this.#perSecond),
      this.#allowance + (passedMs * this.#perSecond) / 1000,
    )
  }
}
