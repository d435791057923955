import { KeelsonError } from '../../src/core/index.ts'
import type {
  KeySelector,
  KeyValue,
  MetadataStore,
  RangeResult,
  ReadOptions,
  SessionStatus,
  Transaction,
  TransactionResult,
  WatchOptions,
  WatchResponse,
} from '../../src/interfaces/index.ts'

/**
 * What happens at a call to the store.
 *
 * - `crash`: the process dies before the call leaves. - `crashAfter`: it dies after the call took effect.
 * - `lost`: the answer says that the outcome is unknown, and the call had no effect. - `unknown`: the same, and it had.
 */
export type StoreFault = 'crash' | 'crashAfter' | 'lost' | 'unknown'

/** The store as one process sees it, with a fault at a chosen call. A process that crashed never gets another answer. */
export class FaultyStore implements MetadataStore {
  readonly #inner: MetadataStore
  readonly #faultAt: (call: number, what: string) => StoreFault | undefined
  calls = 0
  crashed = false

  readonly #watchDelay: (() => Promise<void>) | undefined
  /** Called before a call takes effect. */
  before: (what: string) => Promise<void> = async () => {}
  /** Called before an answer arrives. */
  after: (what: string) => Promise<void> = async () => {}

  /** `watchDelay` holds up every response of a watch. */
  constructor(
    inner: MetadataStore,
    faultAt: (call: number, what: string) => StoreFault | undefined,
    watchDelay?: () => Promise<void>,
  ) {
    this.#inner = inner
    this.#faultAt = faultAt
    this.#watchDelay = watchDelay
  }

  async #call<T>(what: string, run: () => Promise<T>): Promise<T> {
    const never = new Promise<never>(() => {})
    if (this.crashed) return never
    const fault = this.#faultAt(++this.calls, what)
    if (fault === 'crash') {
      this.crashed = true
      return never
    }
    if (fault === 'lost') throw new KeelsonError('OUTCOME_UNKNOWN', 'no answer')
    await this.before(what)
    const result = await run()
    await this.after(what)
    if (fault === 'crashAfter') this.crashed = true
    if (this.crashed) return never
    if (fault === 'unknown') throw new KeelsonError('OUTCOME_UNKNOWN', 'no answer')
    return result
  }

  async get(key: Uint8Array, options?: ReadOptions): Promise<KeyValue | undefined> {
    return this.#call('get', () => this.#inner.get(key, options))
  }

  async range(select: KeySelector, options?: ReadOptions): Promise<RangeResult> {
    return this.#call('range', () => this.#inner.range(select, options))
  }

  async txn(transaction: Transaction, options?: { signal?: AbortSignal }): Promise<TransactionResult> {
    return this.#call('txn', () => this.#inner.txn(transaction, options))
  }

  async *watch(select: KeySelector, options?: WatchOptions): AsyncGenerator<WatchResponse> {
    for await (const response of this.#inner.watch(select, options)) {
      await this.#watchDelay?.()
      if (this.crashed) await new Promise<never>(() => {})
      yield response
    }
  }

  async compact(revision: number): Promise<void> {
    return this.#call('compact', () => this.#inner.compact(revision))
  }

  async grantSession(holder: string, ttlMs: number): Promise<number> {
    return this.#call('grantSession', () => this.#inner.grantSession(holder, ttlMs))
  }

  async renewSession(sessionId: number): Promise<void> {
    return this.#call('renewSession', () => this.#inner.renewSession(sessionId))
  }

  async revokeSession(sessionId: number): Promise<void> {
    return this.#call('revokeSession', () => this.#inner.revokeSession(sessionId))
  }

  async sessions(): Promise<readonly SessionStatus[]> {
    return this.#call('sessions', () => this.#inner.sessions())
  }

  async close(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {}
}
