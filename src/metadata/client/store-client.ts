import { checkInteger } from '../../core/arguments.ts'
import { type CallOptions, sleep, throwIfAborted } from '../../core/async.ts'
import type { Environment } from '../../core/environment.ts'
import { KeelsonError } from '../../core/errors.ts'
import { checkCall } from '../../core/options.ts'
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
} from '../../interfaces/metadata-store.ts'
import type { NodeId } from '../../model/ids.ts'
import { checkSelector, checkTransaction } from '../mvcc/validate.ts'
import { readOutcome, readTransactionResult } from '../mvcc/wire.ts'
import {
  decodeRangeResult,
  decodeSessions,
  emptyMessage,
  encodeGrant,
  encodeNumber,
  encodeRead,
  encodeTransaction,
  methods,
  type ReadRequest,
} from '../protocol.ts'
import { checkRead, checkWatch, readOptions, watchOptions } from '../reads.ts'
import { checkHolder, checkSession, checkTtl } from '../sessions/limits.ts'
import { LeaderFinder } from './leader-finder.ts'
import type { AskServer, ClientTuning } from './options.ts'
import { Pipeline } from './pipeline.ts'
import { type OpenStream, ResumingWatch } from './resuming-watch.ts'
import { Router } from './router.ts'

/** What a replica in the same process answers without a network. */
export interface LocalReplica {
  readonly read: (read: ReadRequest) => RangeResult
  readonly watch: (select: KeySelector, options: WatchOptions) => AsyncIterableIterator<WatchResponse>
}

/** What a {@link StoreClient} is made of. */
export interface StoreClientOptions {
  readonly env: Environment
  readonly tuning: ClientTuning
  readonly servers: () => readonly NodeId[]
  /** The server for what any server can answer. */
  readonly sticky: NodeId | undefined
  readonly ask: AskServer
  readonly stream: OpenStream
  readonly local: LocalReplica | undefined
  /** What else ends with the store. */
  readonly onClose?: () => Promise<void>
}

/** The store as its users see it, wherever the servers are: behind a network, or one of them in this process. */
export class StoreClient implements MetadataStore {
  readonly #options: StoreClientOptions
  readonly #router: Router
  readonly #pipeline: Pipeline
  readonly #stop = new AbortController()
  #closing: Promise<void> | undefined

  constructor(options: StoreClientOptions) {
    const { env, tuning, servers, sticky, ask } = options
    const closed = this.#stop.signal
    this.#options = options
    const finder = new LeaderFinder({ env, servers, ask, closed })
    this.#router = new Router({ env, tuning, servers, sticky, ask, finder, closed })
    this.#pipeline = new Pipeline({ env, tuning, router: this.#router, ask, finder, closed })
  }

  // Reads and transactions are no async functions: each is one promise, from the call to the answer.
  get(key: Uint8Array, options: ReadOptions = {}): Promise<KeyValue | undefined> {
    return this.#read({ key }, options, firstEntry)
  }

  range(select: KeySelector, options: ReadOptions = {}): Promise<RangeResult> {
    return this.#read(select, options, wholeRange)
  }

  txn(transaction: Transaction, options: CallOptions = {}): Promise<TransactionResult> {
    try {
      this.#check('txn', options)
      checkTransaction(transaction)
      return this.#pipeline.run('txn', encodeTransaction(transaction), decodeTransactionResult, options)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  watch(select: KeySelector, options: WatchOptions = {}): AsyncIterable<WatchResponse> {
    this.#check('watch', options, watchOptions)
    checkSelector(select)
    checkWatch(options)
    return new ResumingWatch({
      env: this.#options.env,
      select,
      options,
      router: this.#router,
      stream: this.#options.stream,
      local: this.#options.local?.watch,
      present: async (signal) => this.#present(signal),
      closed: this.#stop.signal,
    })
  }

  async compact(revision: Revision, options: CallOptions = {}): Promise<void> {
    this.#check('compact', options)
    checkInteger(revision, 'the revision of a compaction')
    await this.#write(methods.compact, revision, options)
  }

  async grantSession(holder: string, ttlMs: number, options: CallOptions = {}): Promise<SessionId> {
    this.#check('grantSession', options)
    checkHolder(holder)
    checkTtl(ttlMs)
    return this.#pipeline.run('grant', encodeGrant(holder, ttlMs), decodeGranted, options)
  }

  async renewSession(sessionId: SessionId, options: CallOptions = {}): Promise<void> {
    this.#check('renewSession', options)
    await this.#write(methods.renew, checkSession(sessionId), options)
  }

  async revokeSession(sessionId: SessionId, options: CallOptions = {}): Promise<void> {
    this.#check('revokeSession', options)
    await this.#write(methods.revoke, checkSession(sessionId), options)
  }

  async sessions(options: CallOptions = {}): Promise<readonly SessionStatus[]> {
    this.#check('sessions', options)
    const call = { ...signalOf(options), to: 'leader', write: false } as const
    return decodeSessions(await this.#router.call(methods.sessions, emptyMessage, call))
  }

  async close(): Promise<void> {
    this.#closing ??= this.#close()
    await this.#closing
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    this.#stop.abort(new KeelsonError('CLOSED', 'the store was closed; open another one'))
    await this.#options.onClose?.()
  }

  #check(method: string, options: CallOptions, known: readonly string[] = []): void {
    checkCall(method, options, known)
    throwIfAborted(this.#stop.signal)
    throwIfAborted(options.signal)
  }

  async #write(method: string, value: number, options: CallOptions): Promise<void> {
    await this.#router.call(method, encodeNumber(value), { ...signalOf(options), to: 'leader', write: true })
  }

  #read<T>(select: KeySelector, options: ReadOptions, of: Part<T>): Promise<T> {
    try {
      this.#check('a read', options, readOptions)
      checkRead(select, options)
      const read = readOf(select, options)
      if (options.consistency === 'local') return this.#readNearby(read, options, of)
      return this.#pipeline.run('read', encodeRead(read), of.decode, options)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  async #readNearby<T>(read: ReadRequest, options: CallOptions, of: Part<T>): Promise<T> {
    const result = await this.#readLocal(read, options)
    if (result !== undefined) return of.take(result)
    return this.#pipeline.run('read', encodeRead(read), of.decode, options)
  }

  /** Undefined when the replica asked is behind the revision: the leader has it. */
  async #readLocal(read: ReadRequest, options: CallOptions): Promise<RangeResult | undefined> {
    try {
      if (this.#options.local !== undefined) return this.#options.local.read(read)
      const call = { ...signalOf(options), to: 'nearest', write: false } as const
      return decodeRangeResult(await this.#router.call(methods.local, encodeRead(read), call))
    } catch (error) {
      if (KeelsonError.hasCode(error, 'FUTURE_REVISION')) return undefined
      throw error
    }
  }

  async #present(signal: AbortSignal): Promise<Revision> {
    const read = encodeRead({ select: { key: Uint8Array.of(0) }, limit: 0 })
    for (;;) {
      try {
        return (await this.#pipeline.run('read', read, decodeRangeResult, { signal })).revision
      } catch (error) {
        // A watch has no deadline: it starts when there is a leader again.
        if (!KeelsonError.hasCode(error, 'TIMEOUT', 'OVERLOADED')) throw error
        await sleep(this.#options.env.timers, this.#options.tuning.retryLimitMs, signal)
      }
    }
  }
}

/** What a caller wants of the result of a read. */
interface Part<T> {
  readonly take: (result: RangeResult) => T
  readonly decode: (answer: Uint8Array) => T
}

const wholeRange: Part<RangeResult> = { take: (result) => result, decode: decodeRangeResult }
const firstEntry: Part<KeyValue | undefined> = {
  take: ({ entries }) => entries[0],
  decode: (answer) => decodeRangeResult(answer).entries[0],
}

/** The answer is an array of the caller's own, so nothing is copied out of it. */
function decodeTransactionResult(answer: Uint8Array): TransactionResult {
  return readOutcome(answer, (reader) => readTransactionResult(reader, asItIs))
}

function asItIs(bytes: Uint8Array): Uint8Array {
  return bytes
}

function decodeGranted(answer: Uint8Array): SessionId {
  return readOutcome(answer, (reader) => reader.varint())
}

function signalOf(options: CallOptions): CallOptions {
  return options.signal === undefined ? {} : { signal: options.signal }
}

function readOf(select: KeySelector, options: ReadOptions): ReadRequest {
  const { revision, limit } = options
  return {
    select,
    ...(revision === undefined ? {} : { revision }),
    ...(limit === undefined ? {} : { limit }),
  }
}
