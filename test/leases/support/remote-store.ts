import { AsyncQueue, abortError, deferred, throwIfAborted } from '../../../src/core/async.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { SeededRandom } from '../../../src/core/random.ts'
import type {
  KeySelector,
  KeyValue,
  MetadataStore,
  RangeResult,
  ReadOptions,
  SessionId,
  SessionStatus,
  Transaction,
  TransactionResult,
  WatchOptions,
  WatchResponse,
} from '../../../src/interfaces/metadata-store.ts'
import type { SimulatedProcess, Simulation } from '../../../src/simulation/index.ts'

/** How a process is connected to the store. */
export interface Link {
  /** Nothing passes, in either direction. */
  cut: boolean
}

const timeoutMs = 300

/**
 * A store at the other end of a bad network: requests and answers are late, very late, or lost. A request that was lost
 * for its caller may still take effect.
 */
export class RemoteStore implements MetadataStore {
  readonly #store: MetadataStore
  readonly #simulation: Simulation
  readonly #process: SimulatedProcess
  readonly #life: number
  readonly #link: Link
  readonly #random: SeededRandom

  constructor(store: MetadataStore, simulation: Simulation, process: SimulatedProcess, link: Link) {
    this.#store = store
    this.#simulation = simulation
    this.#process = process
    this.#life = process.life
    this.#link = link
    this.#random = simulation.random(`link ${process.name} ${process.life}`)
  }

  get(key: Uint8Array, options: ReadOptions = {}): Promise<KeyValue | undefined> {
    return this.#call(() => this.#store.get(key), 'TIMEOUT', options.signal)
  }

  range(select: KeySelector, options: ReadOptions = {}): Promise<RangeResult> {
    const { signal, ...rest } = options
    return this.#call(() => this.#store.range(select, rest), 'TIMEOUT', signal)
  }

  txn(transaction: Transaction, options: { signal?: AbortSignal } = {}): Promise<TransactionResult> {
    return this.#call(() => this.#store.txn(transaction), 'OUTCOME_UNKNOWN', options.signal)
  }

  async *watch(select: KeySelector, options: WatchOptions = {}): AsyncIterable<WatchResponse> {
    const { signal, ...rest } = options
    throwIfAborted(signal)
    const queue = new AsyncQueue<WatchResponse>(1_000_000)
    const stop = new AbortController()
    const onAbort = (): void => queue.fail(abortError(signal as AbortSignal))
    signal?.addEventListener('abort', onAbort, { once: true })
    void this.#pump(queue, select, { ...rest, signal: stop.signal })
    try {
      for await (const response of queue) yield response
    } finally {
      signal?.removeEventListener('abort', onAbort)
      stop.abort()
    }
  }

  compact(): Promise<void> {
    throw new KeelsonError('UNSUPPORTED', 'nobody compacts here')
  }

  grantSession(holder: string, ttlMs: number, options: { signal?: AbortSignal } = {}): Promise<SessionId> {
    return this.#call(() => this.#store.grantSession(holder, ttlMs), 'OUTCOME_UNKNOWN', options.signal)
  }

  renewSession(sessionId: SessionId, options: { signal?: AbortSignal } = {}): Promise<void> {
    return this.#call(() => this.#store.renewSession(sessionId), 'OUTCOME_UNKNOWN', options.signal)
  }

  revokeSession(sessionId: SessionId, options: { signal?: AbortSignal } = {}): Promise<void> {
    return this.#call(() => this.#store.revokeSession(sessionId), 'OUTCOME_UNKNOWN', options.signal)
  }

  sessions(): Promise<readonly SessionStatus[]> {
    return this.#call(() => this.#store.sessions(), 'TIMEOUT', undefined)
  }

  async close(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {}

  #delayMs(): number {
    const kind = this.#random.float()
    // Now and then so late that the caller has long given up.
    if (kind < 0.02) return 200 + this.#random.float() * 2_000
    return kind < 0.1 ? 20 + this.#random.float() * 100 : 1 + this.#random.float() * 10
  }

  #call<T>(work: () => Promise<T>, lost: 'TIMEOUT' | 'OUTCOME_UNKNOWN', signal?: AbortSignal): Promise<T> {
    const answer = deferred<T>()
    if (signal?.aborted) return Promise.reject(abortError(signal))
    const { scheduler } = this.#simulation
    const { timers } = this.#process.environment
    const timer = timers.schedule(timeoutMs, () =>
      answer.reject(new KeelsonError(lost, 'no answer from the store in time')),
    )
    const onAbort = (): void => answer.reject(abortError(signal as AbortSignal, 'unknown'))
    signal?.addEventListener('abort', onAbort, { once: true })
    const respond = (settle: () => void): void => {
      const deliver = (): void => {
        if (this.#link.cut) return
        timer.cancel()
        signal?.removeEventListener('abort', onAbort)
        settle()
      }
      scheduler.schedule(this.#delayMs(), deliver, this.#process, this.#life)
    }
    scheduler.schedule(this.#delayMs(), () => {
      if (this.#link.cut) return
      work().then(
        (value) => respond(() => answer.resolve(value)),
        (error: unknown) => respond(() => answer.reject(error)),
      )
    })
    return answer.promise
  }

  async #pump(queue: AsyncQueue<WatchResponse>, select: KeySelector, options: WatchOptions): Promise<void> {
    const { scheduler } = this.#simulation
    let arrivesAtMs = 0
    const deliver = (response: WatchResponse): void => {
      if (!this.#link.cut) {
        queue.push(response)
        return
      }
      scheduler.schedule(50, () => deliver(response), this.#process, this.#life)
    }
    try {
      for await (const response of this.#store.watch(select, options)) {
        arrivesAtMs = Math.max(scheduler.nowMs + this.#delayMs(), arrivesAtMs + 0.001)
        scheduler.schedule(arrivesAtMs - scheduler.nowMs, () => deliver(response), this.#process, this.#life)
      }
    } catch (error) {
      queue.fail(error as Error)
    }
  }
}
