/** How a rate follows what its node can bear: additive increase, multiplicative decrease. */
export interface RateAdaptation {
  /** Share of the configured rate that a node begins with which nothing is known of. */
  readonly startFactor: number
  /** Lowest share that trouble brings a rate down to. It is never 0, or no news of better times could come. */
  readonly minimumFactor: number
  /** Highest multiple that quiet raises a rate to. */
  readonly maximumFactor: number
  /** What a rate is multiplied with for each interval with trouble in it. */
  readonly decrease: number
  /** What is added to the factor for each quiet interval in which the rate was needed. */
  readonly increase: number
  /** The rate changes once in so long at most: what was begun before has to show in the reports first. */
  readonly intervalMs: number
}

/**
 * A token bucket whose rate adapts. Tokens may go below zero: something larger than the bucket passes when that is full,
 * and what passes the limit all the same is paid back by those that come after.
 *
 * The factor on the configured rate follows TCP's congestion control (Jacobson 1988, and RFC 7661 for senders that do not
 * use what they may): it doubles from a cold start until the first trouble or the configured rate, then grows by steps; any
 * trouble halves it, once an interval. A limit that nobody ran into says nothing of what the node can bear, so it does not
 * grow beyond the configured rate.
 *
 * Invariants: minimum ≤ factor ≤ maximum; tokens ≤ burst · max(1, factor); what is taken in any time t is at most
 * burst · maximum + t · rate · maximum, and what `force` takes.
 */
export class AdaptiveRate {
  readonly #adaptation: RateAdaptation
  readonly #perMs: number
  readonly #burst: number
  #tokens: number
  #atMs: number
  #factor: number
  /** Below it the factor doubles. */
  #threshold = 1
  /** When the present interval began. */
  #intervalMs: number
  #loweredMs = Number.NEGATIVE_INFINITY
  #trouble = false
  #needed = false

  /** @param perMs the configured rate; @param burst what the bucket holds */
  constructor(perMs: number, burst: number, adaptation: RateAdaptation, nowMs: number) {
    this.#adaptation = adaptation
    this.#perMs = perMs
    this.#burst = burst
    this.#factor = adaptation.startFactor
    // Somebody else may have filled the node just before.
    this.#tokens = Math.max(1, burst * Math.min(1, this.#factor))
    this.#atMs = nowMs
    this.#intervalMs = nowMs
  }

  /** Share of the configured rate that is allowed now. */
  get factor(): number {
    return this.#factor
  }

  /** What may pass at once now; below zero what has to be paid back first. */
  get tokens(): number {
    return this.#tokens
  }

  /** Lets time pass: tokens come, and after each interval the rate adapts. */
  advance(nowMs: number): void {
    const elapsed = Math.max(0, nowMs - this.#atMs)
    this.#atMs = Math.max(this.#atMs, nowMs)
    this.#tokens = Math.min(this.capacity(), this.#tokens + elapsed * this.#perMs * this.#factor)
    if (nowMs - this.#intervalMs < this.#adaptation.intervalMs) return
    this.#intervalMs = nowMs
    if (!this.#trouble) this.raise()
    this.#trouble = false
    this.#needed = false
  }

  /** The node is in trouble: the rate falls, once an interval, and does not rise in this one. */
  troubled(nowMs: number): void {
    this.#trouble = true
    if (nowMs - this.#loweredMs < this.#adaptation.intervalMs) return
    this.#loweredMs = nowMs
    this.lower()
  }

  /** Whether something of this size may pass. What is larger than the bucket passes when that is full. */
  has(amount: number, reserved = 0): boolean {
    return this.#tokens - reserved >= Math.min(amount, this.capacity())
  }

  /** Somebody ran into the limit: it is worth raising. */
  need(): void {
    this.#needed = true
  }

  /** Takes tokens, also those that are not there. */
  take(amount: number): void {
    this.#tokens -= amount
  }

  /** Gives tokens back that were not used. */
  give(amount: number): void {
    this.#tokens = Math.min(this.capacity(), this.#tokens + amount)
  }

  /** Time until something of this size may pass at the present rate. */
  waitMs(amount: number, reserved = 0): number {
    const missing = Math.min(amount, this.capacity()) - (this.#tokens - reserved)
    return missing <= 0 ? 0 : Math.ceil(missing / (this.#perMs * this.#factor))
  }

  /** @internal */
  capacity(): number {
    return this.#burst * Math.max(1, this.#factor)
  }

  /** @internal */
  lower(): void {
    const { minimumFactor, decrease } = this.#adaptation
    this.#factor = Math.max(minimumFactor, this.#factor * decrease)
    this.#threshold = this.#factor
  }

  /** @internal */
  raise(): void {
    const { maximumFactor, increase } = this.#adaptation
    if (this.#factor >= 1 && !this.#needed) return
    this.#factor =
      this.#factor < this.#threshold
        ? Math.min(this.#threshold, this.#factor * 2)
        : Math.min(maximumFactor, this.#factor + increase)
  }
}
