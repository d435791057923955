/**
 * The lease sequence of a group, checked where effects happen. It is the term of the last no-op that was applied: each
 * new leader's first entry installs a higher one, and from then on what older holders proposed is refused, on every
 * replica alike, because the check is made at the same log index everywhere.
 *
 * Invariant: the sequence never goes back.
 */
export class LeaseFence {
  #sequence: number

  constructor(sequence = 0) {
    this.#sequence = sequence
  }

  /** The sequence installed last; 0 before the first. */
  get sequence(): number {
    return this.#sequence
  }

  /** Whether a leader of `term` may refuse a command at once, since its sequence can never be in force again. @internal */
  static isOver(tokenSequence: number, term: number): boolean {
    return tokenSequence < term
  }

  /** Whether a command made under this sequence may take effect now. @internal */
  admits(tokenSequence: number): boolean {
    return tokenSequence === this.#sequence
  }

  /** Installs the sequence of a new leader's term. @internal */
  install(term: number): void {
    if (term > this.#sequence) this.#sequence = term
  }
}
