import type { CallOptions } from '../core/async.ts'
import type { Plain } from '../core/codec.ts'
import type { Transaction, TransactionResult } from '../interfaces/metadata-store.ts'
import type { JobId, JobProgress } from './core/record.ts'

/**
 * What makes an owner's writes safe: a transaction that compares the owner's epoch. A `ControllerEpoch` of
 * `keelson/metadata` fits.
 */
export interface Fence {
  /** Grows with each owner. */
  readonly number: number
  /** @throws KeelsonError `STALE_EPOCH` when there is a newer owner; nothing has changed then */
  txn(transaction: Transaction, options?: CallOptions): Promise<TransactionResult>
}

/**
 * What a running job works with. It belongs to one attempt: after the attempt has ended every method throws.
 *
 * Everything that a job does outside of `txn` must be idempotent, since after a crash it is done again from the last
 * checkpoint, perhaps by another process.
 */
export interface JobContext<State> {
  /** Number of the job that this attempt belongs to. */
  readonly jobId: JobId
  /** Why the job was created. */
  readonly reason: string
  /** Epoch of the owner. Work that leaves the store carries it, so that a deposed owner is refused where it acts. */
  readonly epoch: number
  /** The last checkpoint. */
  readonly state: State
  /** How the job will end, while it is being undone: a person cancelled it, or it failed. */
  readonly ending: 'failed' | 'cancelled' | undefined
  /** Aborted when the owner stops, and when the job is to pause or is cancelled: end soon, by throwing. */
  readonly signal: AbortSignal
  /**
   * Makes `state` durable: after a crash the job goes on from here.
   *
   * @throws KeelsonError `STALE_EPOCH` when this owner was deposed, `ABORTED` when the job is to pause or is cancelled,
   * `LIMIT_EXCEEDED` when the state is too large; nothing has changed then
   */
  checkpoint(state: State, progress?: JobProgress): Promise<void>
  /**
   * A transaction together with a checkpoint, all or nothing: the way to change anything else in the store exactly once.
   *
   * @returns false when a compare of the transaction failed: then nothing has changed, the checkpoint included
   * @throws as {@link JobContext.checkpoint}
   */
  txn(transaction: Transaction, state: State, progress?: JobProgress): Promise<boolean>
  /** Tells people how far the job is. Written from time to time, without waiting. */
  progress(message: string, fraction?: number): void
  /** Tells people whom the job waits for, by name; an empty list when it goes on. Written as progress is. */
  waitFor(names: readonly string[]): void
  /** Waits. @throws KeelsonError `ABORTED` */
  sleep(delayMs: number): Promise<void>
}

/** How jobs of a type are written down: enough to create one, wherever it will run. */
export interface JobForm<State> {
  /** Lower-case letters, digits, dots and dashes; stored, so it is never renamed. */
  readonly type: string
  /** The state in plain values, for the store. */
  encode(state: State): Plain
  /** Treats its input as hostile. @throws KeelsonError `MALFORMED` */
  decode(state: Plain): State
}

/** A kind of job: a name, the form of its checkpoint, and the work. */
export interface JobType<State> extends JobForm<State> {
  /** Jobs of this type that run at once. Default: only the runner's own limit. */
  readonly concurrency?: number
  /**
   * Does the work from `context.state` on, and says in one line what came of it. An error that is `retryable` is tried
   * again with backoff; any other one ends the job, after {@link JobType.revert}.
   */
  run(context: JobContext<State>): Promise<string>
  /**
   * Undoes what was done, after a cancellation or a failure, and says in one line how things stand now. May use
   * checkpoints as well. Left out: nothing needs to be undone.
   */
  revert?(context: JobContext<State>): Promise<string>
}
