import { AsyncQueue, throwIfAborted } from '../../src/core/async.ts'
import { compareBytes, emptyBytes, equalBytes } from '../../src/core/bytes.ts'
import { type Environment, KeelsonError } from '../../src/core/index.ts'
import type {
  ChangeEvent,
  Compare,
  KeySelector,
  KeyValue,
  MetadataStore,
  Operation,
  OperationResult,
  RangeResult,
  ReadOptions,
  SessionStatus,
  Transaction,
  TransactionResult,
  WatchOptions,
  WatchResponse,
} from '../../src/interfaces/index.ts'

function selected(select: KeySelector, key: Uint8Array): boolean {
  if (select.end === undefined) return equalBytes(select.key, key)
  return compareBytes(select.key, key) <= 0 && (select.end === null || compareBytes(key, select.end) < 0)
}

/**
 * The plainest metadata store that can be: a sorted array and a list of what happened. What the controllers' tests run
 * on, so that they judge controllers alone.
 */
export class SimpleStore implements MetadataStore {
  readonly #env: Environment
  readonly #sessions = new Map<number, { holder: string; ttlMs: number; untilMs: number }>()
  readonly #watches = new Set<() => void>()
  readonly #log: { revision: number; events: ChangeEvent[] }[] = []
  #entries: KeyValue[] = []
  #revision = 1
  closed = false

  constructor(env: Environment) {
    this.#env = env
  }

  get revision(): number {
    return this.#revision
  }

  /** Everything under a prefix of keys, at once. */
  dump(prefix: string): { key: string; value: Uint8Array }[] {
    return this.#entries
      .map((entry) => ({ key: Buffer.from(entry.key).toString(), value: entry.value }))
      .filter(({ key }) => key.startsWith(prefix))
  }

  async get(key: Uint8Array, options: ReadOptions = {}): Promise<KeyValue | undefined> {
    return (await this.range({ key }, options)).entries[0]
  }

  async range(select: KeySelector, options: ReadOptions = {}): Promise<RangeResult> {
    throwIfAborted(options.signal)
    await Promise.resolve()
    const entries = this.#entries.filter((entry) => selected(select, entry.key))
    const limit = options.limit ?? entries.length
    return {
      entries: entries.slice(0, limit),
      more: entries.length > limit,
      count: entries.length,
      revision: this.#revision,
    }
  }

  async txn(transaction: Transaction, options: { signal?: AbortSignal } = {}): Promise<TransactionResult> {
    throwIfAborted(options.signal)
    await Promise.resolve()
    this.#expire()
    const succeeded = (transaction.if ?? []).every((compare) => this.#holds(compare))
    const operations = (succeeded ? transaction.then : transaction.else) ?? []
    const events: ChangeEvent[] = []
    const revision = this.#revision + 1
    const results = operations.map((operation) => this.#apply(operation, revision, events))
    if (events.length > 0) {
      this.#revision = revision
      this.#log.push({ revision, events })
      for (const wake of this.#watches) wake()
    }
    return { succeeded, revision: this.#revision, results }
  }

  async *watch(select: KeySelector, options: WatchOptions = {}): AsyncGenerator<WatchResponse> {
    let from = options.fromRevision ?? this.#revision + 1
    const wakes = new AsyncQueue<true>(1)
    const wake = (): void => void wakes.push(true)
    const abort = (): void => wakes.end()
    this.#watches.add(wake)
    options.signal?.addEventListener('abort', abort, { once: true })
    if (options.signal?.aborted === true) abort()
    try {
      for (;;) {
        for (const { revision, events } of this.#log) {
          if (revision < from) continue
          from = revision + 1
          const wanted = events.filter((event) => selected(select, event.entry.key))
          if (wanted.length > 0) yield { type: 'changes', revision, events: wanted }
        }
        if ((await wakes.next()).done === true) return
      }
    } finally {
      this.#watches.delete(wake)
      options.signal?.removeEventListener('abort', abort)
    }
  }

  async compact(): Promise<void> {}

  async grantSession(holder: string, ttlMs: number): Promise<number> {
    await Promise.resolve()
    const sessionId = ++this.#revision
    this.#sessions.set(sessionId, { holder, ttlMs, untilMs: this.#env.clock.monotonicMs() + ttlMs })
    this.#env.timers.schedule(ttlMs + 1, () => this.#expire())
    return sessionId
  }

  async renewSession(sessionId: number): Promise<void> {
    await Promise.resolve()
    this.#expire()
    const session = this.#sessions.get(sessionId)
    if (session === undefined) throw new KeelsonError('EPOCH_ENDED', `session ${sessionId} has ended`)
    session.untilMs = this.#env.clock.monotonicMs() + session.ttlMs
    this.#env.timers.schedule(session.ttlMs + 1, () => this.#expire())
  }

  async revokeSession(sessionId: number): Promise<void> {
    await Promise.resolve()
    this.#revoke(sessionId)
  }

  async sessions(): Promise<readonly SessionStatus[]> {
    return [...this.#sessions].map(([sessionId, { holder, ttlMs }]) => ({ sessionId, holder, ttlMs }))
  }

  async close(): Promise<void> {
    this.closed = true
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #expire(): void {
    const nowMs = this.#env.clock.monotonicMs()
    for (const [sessionId, { untilMs }] of this.#sessions) if (untilMs < nowMs) this.#revoke(sessionId)
  }

  #revoke(sessionId: number): void {
    if (!this.#sessions.delete(sessionId)) return
    const gone = this.#entries.filter((entry) => entry.session === sessionId)
    if (gone.length === 0) return
    const revision = ++this.#revision
    this.#entries = this.#entries.filter((entry) => entry.session !== sessionId)
    this.#log.push({ revision, events: gone.map((entry) => deletion(entry, revision)) })
    for (const wake of this.#watches) wake()
  }

  #holds(compare: Compare): boolean {
    const entry = this.#entries.find((each) => equalBytes(each.key, compare.key))
    if (compare.target === 'value') {
      const same = entry !== undefined && equalBytes(entry.value, compare.operand)
      return compare.is === '=' ? same : !same
    }
    const actual = entry?.[compare.target] ?? 0
    if (compare.is === '=') return actual === compare.operand
    if (compare.is === '!=') return actual !== compare.operand
    return compare.is === '<' ? actual < compare.operand : actual > compare.operand
  }

  #apply(operation: Operation, revision: number, events: ChangeEvent[]): OperationResult {
    if (operation.type === 'range') {
      const entries = this.#entries.filter((entry) => selected(operation.select, entry.key))
      return { type: 'range', entries, more: false, count: entries.length }
    }
    if (operation.type === 'delete') {
      const deleted = this.#entries.filter((entry) => selected(operation.select, entry.key))
      this.#entries = this.#entries.filter((entry) => !deleted.includes(entry))
      events.push(...deleted.map((entry) => deletion(entry, revision)))
      return { type: 'delete', deleted }
    }
    const session = operation.session ?? 0
    if (session !== 0 && !this.#sessions.has(session)) {
      throw new KeelsonError('EPOCH_ENDED', `session ${session} has ended`)
    }
    const previous = this.#entries.find((each) => equalBytes(each.key, operation.key))
    const entry: KeyValue = {
      key: operation.key.slice(),
      value: operation.value.slice(),
      createRevision: previous?.createRevision ?? revision,
      modRevision: revision,
      version: (previous?.version ?? 0) + 1,
      session,
    }
    if (previous === undefined) {
      this.#entries.push(entry)
      this.#entries.sort((a, b) => compareBytes(a.key, b.key))
    } else {
      this.#entries[this.#entries.indexOf(previous)] = entry
    }
    events.push({ type: 'put', entry })
    return { type: 'put', previous }
  }
}

function deletion(entry: KeyValue, revision: number): ChangeEvent {
  return {
    type: 'delete',
    entry: {
      key: entry.key,
      value: emptyBytes,
      createRevision: 0,
      modRevision: revision,
      version: 0,
      session: 0,
    },
  }
}
