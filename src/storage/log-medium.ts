/** A stretch of the log. */
export interface Stretch {
  readonly position: number
  readonly bytes: number
}

/**
 * Takes in a batch that was found.
 *
 * @throws KeelsonError `MALFORMED` when it is damaged, in which case nothing of it was taken in
 */
export type Replay = (payload: Uint8Array, position: number, verified: boolean) => void

/** Where a log that was recovered ends, and what its last batch said of where it begins. */
export interface LogExtent {
  readonly end: number
  readonly first: number
}

/**
 * Where batches are kept: the part of a log store that differs between adapters. {@link LogEngine} is its only caller
 * and appends one batch at a time.
 */
export interface LogMedium {
  /** Largest batch, header included. */
  readonly maximumBatchBytes: number
  /** Bytes that the log takes, dead ones included. */
  readonly storedBytes: number
  /**
   * Calls `replay` with every batch in order: its payload, valid until `replay` returns, the position of that payload, and
   * whether it was checked as a whole. What it resolves with is durable: a process that was killed may have left more in
   * the system's cache.
   *
   * @throws KeelsonError `CORRUPTION`, `IO`
   */
  recover(replay: Replay): Promise<LogExtent>
  /**
   * Refuses bytes for which there is certainly no room, before anything is done with them. A little is kept back for
   * what gives room again.
   *
   * @throws KeelsonError `DISK_FULL`
   */
  admit(bytes: number): void
  /** Makes a batch durable. `bytes` do not change until it settles. What lies before `first` may go afterwards. */
  append(bytes: Uint8Array, position: number, first: number): Promise<void>
  /** Reads stretches that were appended and are not given up, each within one batch. */
  read(stretches: readonly Stretch[]): Promise<Uint8Array[]>
  /** A position, the higher the more can be given up at once, before the last batch; undefined when there is none. */
  boundary(): number | undefined
  /** Where a position is, for messages. */
  locate(position: number): string
  /** Waits for work under way and lets go. Idempotent. */
  close(): Promise<void>
}
