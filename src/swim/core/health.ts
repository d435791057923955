/**
 * Local health (Lifeguard §IV-A): how far this node should distrust itself. A node that misses answers which others get
 * is probably slow itself; it then probes more slowly and waits longer before it accuses anybody.
 */
export class LocalHealth {
  readonly #maximum: number
  #score = 0

  /** The score stays in [0, maximum − 1]. */
  constructor(maximum: number) {
    this.#maximum = maximum
  }

  get score(): number {
    return this.#score
  }

  add(delta: number): void {
    this.#score = Math.min(this.#maximum - 1, Math.max(0, this.#score + delta))
  }

  /** An interval or timeout as long as the score demands. */
  scaled(ms: number): number {
    return ms * (this.#score + 1)
  }

  clone(): LocalHealth {
    const copy = new LocalHealth(this.#maximum)
    copy.#score = this.#score
    return copy
  }
}
