import type { Clock } from './clock.ts'

/** A subject is let through once in that time. */
const intervalMs = 60_000
/** So many subjects are let through in that time. */
const mostSubjects = 10

/**
 * Keeps what would be said again and again out of a log: each subject is let through once in a while, and only so many of them
 * together, however many there are.
 */
export class LogLimit {
  readonly #clock: Clock
  /** When each subject was let through, oldest first. */
  readonly #said = new Map<string, number>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Whether something is to be said of a subject now; if so, it counts as said. */
  lets(subject: string): boolean {
    const nowMs = this.#clock.monotonicMs()
    for (const [said, atMs] of this.#said) {
      if (nowMs - atMs < intervalMs) break
      this.#said.delete(said)
    }
    if (this.#said.has(subject) || this.#said.size >= mostSubjects) return false
    this.#said.set(subject, nowMs)
    return true
  }
}
