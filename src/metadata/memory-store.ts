import { checkInteger } from '../core/arguments.ts'
import { type CallOptions, deferred, throwIfAborted } from '../core/async.ts'
import type { TimerHandle } from '../core/clock.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { checkCall, checkOptions, integerOption, objectOption } from '../core/options.ts'
import type {
  KeySelector,
  KeyValue,
  MetadataStore,
  RangeResult,
  ReadOptions,
  Revision,
  SessionId,
  SessionStatus,
  Transaction,
  TransactionResult,
  WatchOptions,
  WatchResponse,
} from '../interfaces/metadata-store.ts'
import type { MetadataCommand } from './mvcc/commands.ts'
import { decodeCommand, encodeCommand } from './mvcc/commands.ts'
import { execute } from './mvcc/execute.ts'
import { MvccState } from './mvcc/mvcc-state.ts'
import { checkTransaction } from './mvcc/validate.ts'
import { openOutcome, readTransactionResult } from './mvcc/wire.ts'
import { checkRead, readKey, readOptions, readRange, watchOptions } from './reads.ts'
import { checkHolder, checkSession, checkTtl } from './sessions/limits.ts'
import { WatchHub } from './watch/watch-hub.ts'

/** Options of {@link memoryStore}. */
export interface MemoryStoreOptions {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** Revisions whose history is kept; older ones are compacted away by itself. */
  readonly historyRevisions?: number
  /** Largest size of keys, values and history, in bytes. */
  readonly quotaBytes?: number
  /** Watches at a time. */
  readonly maximumWatchers?: number
  /** An idle watch is told that often how far the store has come. */
  readonly progressIntervalMs?: number
}

/** Defaults of {@link memoryStore}. */
export const memoryStoreDefaults: Required<Omit<MemoryStoreOptions, 'env'>> = Object.freeze({
  historyRevisions: 100_000,
  quotaBytes: 256 * 1024 * 1024,
  maximumWatchers: 10_000,
  progressIntervalMs: 10_000,
})

/**
 * A metadata store in the memory of one process: the engine of the replicated store without Raft, for tests, examples
 * and programs that need no second node. It forgets everything when it is closed.
 *
 * @throws KeelsonError `INVALID_OPTION`
 */
export function memoryStore(options: MemoryStoreOptions): MetadataStore {
  const defaults = memoryStoreDefaults
  return new MemoryStore(
    checkOptions<Required<MemoryStoreOptions>>('memoryStore', options, {
      env: objectOption<Environment>(['clock', 'timers', 'random', 'logger', 'metrics']),
      historyRevisions: integerOption({ min: 1, fallback: defaults.historyRevisions }),
      quotaBytes: integerOption({ min: 1, fallback: defaults.quotaBytes }),
      maximumWatchers: integerOption({ min: 1, fallback: defaults.maximumWatchers }),
      progressIntervalMs: integerOption({ min: 1, fallback: defaults.progressIntervalMs }),
    }),
  )
}

class MemoryStore implements MetadataStore {
  readonly #env: Environment
  readonly #historyRevisions: number
  readonly #quotaBytes: number
  readonly #state = new MvccState()
  readonly #hub: WatchHub
  readonly #expiry = new Map<SessionId, TimerHandle>()
  #clearing = false
  #closed = false

  constructor(options: Required<MemoryStoreOptions>) {
    this.#env = options.env
    this.#historyRevisions = options.historyRevisions
    this.#quotaBytes = options.quotaBytes
    this.#hub = new WatchHub({
      env: options.env,
      reader: () => this.#state,
      maximumWatchers: options.maximumWatchers,
      progressIntervalMs: options.progressIntervalMs,
    })
  }

  async get(key: Uint8Array, options: ReadOptions = {}): Promise<KeyValue | undefined> {
    this.#check('get', options, readOptions)
    checkRead({ key }, options)
    return readKey(this.#state, key, options)
  }

  async range(select: KeySelector, options: ReadOptions = {}): Promise<RangeResult> {
    this.#check('range', options, readOptions)
    checkRead(select, options)
    return readRange(this.#state, select, options)
  }

  async txn(transaction: Transaction, options: CallOptions = {}): Promise<TransactionResult> {
    this.#check('txn', options)
    checkTransaction(transaction)
    const reader = openOutcome(this.#do({ type: 'txn', quotaBytes: this.#quotaBytes, transaction }))
    return readTransactionResult(reader)
  }

  watch(select: KeySelector, options: WatchOptions = {}): AsyncIterable<WatchResponse> {
    checkCall('watch', options, watchOptions)
    return this.#hub.watch(select, options)
  }

  async compact(revision: Revision, options: CallOptions = {}): Promise<void> {
    this.#check('compact', options)
    checkInteger(revision, 'the revision of a compaction')
    openOutcome(this.#do({ type: 'compact', revision }))
  }

  async grantSession(holder: string, ttlMs: number, options: CallOptions = {}): Promise<SessionId> {
    this.#check('grantSession', options)
    checkHolder(holder)
    checkTtl(ttlMs)
    const sessionId = openOutcome(this.#do({ type: 'grant', holder, ttlMs })).varint()
    this.#expire(sessionId, ttlMs)
    return sessionId
  }

  async renewSession(sessionId: SessionId, options: CallOptions = {}): Promise<void> {
    this.#check('renewSession', options)
    checkSession(sessionId)
    const session = this.#state.session(sessionId)
    if (session === undefined)
      throw new KeelsonError('EPOCH_ENDED', `session ${sessionId} was revoked or ran out: grant a new one`)
    this.#expire(sessionId, session.ttlMs)
  }

  async revokeSession(sessionId: SessionId, options: CallOptions = {}): Promise<void> {
    this.#check('revokeSession', options)
    checkSession(sessionId)
    this.#revoke(sessionId)
  }

  async sessions(options: CallOptions = {}): Promise<readonly SessionStatus[]> {
    this.#check('sessions', options)
    return [...this.#state.sessions()].map(({ sessionId, ttlMs, holder }) => ({ sessionId, ttlMs, holder }))
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const timer of this.#expiry.values()) timer.cancel()
    this.#expiry.clear()
    this.#hub.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #check(method: string, options: CallOptions, known: readonly string[] = []): void {
    checkCall(method, options, known)
    throwIfAborted(options.signal)
    if (this.#closed) throw new KeelsonError('CLOSED', 'the store was closed; open another one')
  }

  /** Every command goes through its bytes, as in the replicated store: what is legal here is legal there. */
  #do(command: MetadataCommand): Uint8Array {
    const answer = execute(this.#state, decodeCommand(encodeCommand(command)))
    this.#hub.notify()
    const overdue = this.#state.revision - this.#state.compactRevision
    if (overdue > this.#historyRevisions * 1.25)
      this.#state.compactTo(this.#state.revision - this.#historyRevisions)
    if (this.#state.hasGarbage && !this.#clearing) void this.#clear()
    return answer
  }

  async #clear(): Promise<void> {
    this.#clearing = true
    while (this.#state.hasGarbage && !this.#closed) {
      const turn = deferred<void>()
      this.#env.timers.defer(() => turn.resolve())
      await turn.promise
      execute(this.#state, { type: 'clear' })
    }
    this.#clearing = false
  }

  #expire(sessionId: SessionId, ttlMs: number): void {
    this.#expiry.get(sessionId)?.cancel()
    this.#expiry.set(
      sessionId,
      this.#env.timers.schedule(ttlMs, () => this.#revoke(sessionId)),
    )
  }

  #revoke(sessionId: SessionId): void {
    this.#expiry.get(sessionId)?.cancel()
    this.#expiry.delete(sessionId)
    openOutcome(this.#do({ type: 'revoke', sessionIds: [sessionId] }))
  }
}
