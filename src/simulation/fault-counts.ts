/** How often each kind of fault happened: a fault that never happens tests nothing. */
export class FaultCounts {
  readonly #counts = new Map<string, number>()

  /** Counts one more fault of this kind. */
  add(kind: string, amount = 1): void {
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + amount)
  }

  /** How often that kind of fault has happened. */
  get(kind: string): number {
    return this.#counts.get(kind) ?? 0
  }

  /** All kinds that happened, sorted by name. */
  entries(): [kind: string, count: number][] {
    return [...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1))
  }
}
