import type { LogRecord } from './log-format.ts'

/** A stretch of the log. */
export interface Stretch {
  readonly position: number
  readonly bytes: number
}

/** Takes in what is found on opening, in the order of the log. */
export interface LogReplay {
  /**
   * Takes in a batch.
   *
   * @param payload valid until the call returns
   * @param position of the payload
   * @param verified whether the payload was checked as a whole
   * @throws KeelsonError `MALFORMED` when it is damaged, in which case nothing of it was taken in
   */
  batch(payload: Uint8Array, position: number, verified: boolean): void
  /** Takes in a record, known from its segment's digest, that is whole in the segment. */
  record(record: LogRecord, position: number): void
  /** Takes in a record of which the disk has damaged the original: all of it but the data of entries. */
  damaged(record: LogRecord, position: number): void
}

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
   * Hands over every batch in order. What it resolves with is durable: a process that was killed may have left more in the
   * system's cache.
   *
   * @throws KeelsonError `CORRUPTION`, `IO`
   */
  recover(replay: LogReplay): Promise<LogExtent>
  /** There is no room for more than what is left of the last part. */
  readonly short: boolean
  /**
   * Refuses bytes for which there is certainly no room, before anything is done with them. A part of the room is kept back
   * for what gives room again.
   *
   * @throws KeelsonError `DISK_FULL`
   */
  admit(bytes: number, purpose: 'write' | 'cleaning'): void
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
