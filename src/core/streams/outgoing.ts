import type { CallOptions } from '../async.ts'

/** The sending end of a stream. */
export interface OutgoingStream {
  /**
   * Resolves when the next chunk is welcome. The bytes must not change afterwards.
   *
   * @throws KeelsonError `UNREACHABLE`, `LIMIT_EXCEEDED` above the channel's `maximumMessageBytes`, `ABORTED` also when
   * the receiver has left, or with whatever its handler threw
   */
  write(chunk: Uint8Array, options?: CallOptions): Promise<void>
  /** Ends the stream and resolves when the receiver's handler has returned. @throws KeelsonError when it threw */
  end(options?: CallOptions): Promise<void>
  /** Breaks the stream off: the receiver's iteration throws. Idempotent. */
  destroy(): void
}
