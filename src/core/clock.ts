/** The two clocks of a process. Only `monotonicMs` may decide anything; wall time is for people and for vetoes. */
export interface Clock {
  /** Milliseconds, fractional, that never go back, from an arbitrary origin. */
  monotonicMs(): number
  /** Milliseconds since the Unix epoch. May jump in both directions. */
  wallMs(): number
}

/** A scheduled callback. */
export interface TimerHandle {
  /** Idempotent. After it returns the callback will not be called. */
  cancel(): void
}

/** Deferred execution. */
export interface Timers {
  /** Calls `callback` once, no earlier than `delayMs` from now. */
  schedule(delayMs: number, callback: () => void): TimerHandle
  /**
   * Calls `callback` once, after the input that is waiting now was handled: the end of an event-loop turn. Work of one
   * turn is batched with it, and a late timer uses it to let waiting input in first.
   */
  defer(callback: () => void): void
}
