import {
  abortable,
  type CallOptions,
  deadline,
  type Environment,
  KeelsonError,
  type NodeId,
  type RangeDescriptor,
  RangeMap,
  sleep,
} from 'keelson'
import type { Rpc } from 'keelson/transport'
import {
  type CommandNumber,
  factsResponse,
  incrementRequest,
  pageRequest,
  pageResponse,
  type RangeFacts,
  rangeRequest,
  readRequest,
  readResponse,
  sessionResponse,
  writeRequest,
} from './protocol.ts'
import type { Row } from './schema.ts'

/** What a client of the database needs. */
export interface CityClientOptions {
  readonly env: Environment
  readonly rpc: Rpc
  /** Time for one attempt of one call. */
  readonly attemptMs?: number
}

const defaultAttemptMs = 1500
/** How long a node that did not answer is asked only after the others: it may stand still, and others may still point at it. */
const silenceMs = 2_000
const minimumBackoffMs = 10
const maximumBackoffMs = 150

/**
 * Finds the lease holder of a key's range and retries until it answers. A retried command keeps its number, so it takes
 * effect once whatever was lost on the way.
 */
export class CityClient {
  readonly ranges: RangeMap = new RangeMap()
  readonly #env: Environment
  readonly #rpc: Rpc
  readonly #attemptMs: number
  /** Whom the last answer named as lease holder. */
  readonly #holders = new Map<number, NodeId>()
  /** Nodes that did not answer, and until when the others come first. */
  readonly #silent = new Map<NodeId, number>()

  constructor(options: CityClientOptions) {
    this.#env = options.env
    this.#rpc = options.rpc
    this.#attemptMs = options.attemptMs ?? defaultAttemptMs
  }

  /** Takes in what the directory says; older descriptors are ignored. */
  learn(ranges: Iterable<RangeDescriptor>): void {
    for (const range of ranges) this.ranges.update(range)
  }

  /** How many leases each node holds, as far as calls have shown. */
  leaseCounts(): ReadonlyMap<NodeId, number> {
    const counts = new Map<NodeId, number>()
    for (const holder of this.#holders.values()) counts.set(holder, (counts.get(holder) ?? 0) + 1)
    return counts
  }

  /** The range that holds a key. @throws KeelsonError `NOT_FOUND` */
  rangeOf(key: Uint8Array): number {
    const range = this.ranges.lookup(key)
    if (range === undefined)
      throw new KeelsonError('NOT_FOUND', 'no range is known for this key yet', { retryable: true })
    return range.rangeId
  }

  async openSession(rangeId: number, options: CallOptions = {}): Promise<number> {
    return sessionResponse.decode(await this.#ask(rangeId, 'session', rangeRequest.encode(rangeId), options))
  }

  async write(
    rangeId: number,
    command: CommandNumber,
    rows: readonly { key: Uint8Array; columns: Row }[],
    options: CallOptions = {},
  ): Promise<void> {
    await this.#ask(rangeId, 'write', writeRequest.encode({ rangeId, command, rows }), options)
  }

  async increment(
    rangeId: number,
    command: CommandNumber,
    key: Uint8Array,
    column: string,
    amount: number,
    options: CallOptions = {},
  ): Promise<void> {
    await this.#ask(
      rangeId,
      'increment',
      incrementRequest.encode({ rangeId, command, key, column, amount }),
      options,
    )
  }

  async read(key: Uint8Array, options: CallOptions = {}): Promise<Row | undefined> {
    const rangeId = this.rangeOf(key)
    return readResponse.decode(await this.#ask(rangeId, 'read', readRequest.encode(rangeId, key), options))
  }

  /** All rows of a range, or all entries of an index in it, in order. */
  async *scan(
    rangeId: number,
    index = '',
    options: CallOptions = {},
  ): AsyncIterable<{ readonly key: Uint8Array; readonly value: Uint8Array }> {
    let resumeAt: Uint8Array | undefined
    do {
      const body = pageRequest.encode({ rangeId, index, resumeAt, limit: 1000 })
      const page = pageResponse.decode(await this.#ask(rangeId, 'page', body, options))
      yield* page.items
      resumeAt = page.resumeAt
    } while (resumeAt !== undefined)
  }

  async facts(rangeId: number, options: CallOptions = {}): Promise<RangeFacts> {
    return factsResponse.decode(await this.#ask(rangeId, 'facts', rangeRequest.encode(rangeId), options))
  }

  /** Asks the lease holder, wherever it is by now, until the caller's signal ends it. */
  async #ask(rangeId: number, method: string, body: Uint8Array, options: CallOptions): Promise<Uint8Array> {
    let backoffMs = minimumBackoffMs
    for (let attempt = 0; ; attempt++) {
      const holder = this.#holderOf(rangeId, attempt)
      if (holder === undefined) {
        throw new KeelsonError('NOT_FOUND', `no replica of range ${rangeId} is known`, { retryable: true })
      }
      const limit = deadline(
        this.#env.timers,
        this.#attemptMs,
        () => new KeelsonError('OUTCOME_UNKNOWN', `${holder} did not answer in time`),
        options.signal,
      )
      try {
        const call = this.#rpc.call(holder, method, body, {
          signal: limit.signal,
          timeoutMs: this.#attemptMs * 2,
        })
        const answer = await abortable(call, limit.signal, 'unknown')
        this.#holders.set(rangeId, holder)
        this.#silent.delete(holder)
        return answer
      } catch (error) {
        if (options.signal?.aborted === true || !KeelsonError.is(error)) throw error
        if (!error.retryable && error.code !== 'ABORTED' && error.code !== 'EPOCH_ENDED') throw error
        const hint = error.details['leaderNodeId']
        if (limit.signal.aborted || error.code === 'UNREACHABLE')
          this.#silent.set(holder, this.#env.clock.monotonicMs() + silenceMs)
        if (error.code === 'NOT_LEADER' && typeof hint === 'string' && hint !== holder && this.#answers(hint))
          this.#holders.set(rangeId, hint)
        else this.#holders.delete(rangeId)
      } finally {
        limit.release()
      }
      await sleep(this.#env.timers, backoffMs * (0.5 + this.#env.random.float() / 2), options.signal)
      backoffMs = Math.min(backoffMs * 2, maximumBackoffMs)
    }
  }

  #holderOf(rangeId: number, attempt: number): NodeId | undefined {
    const known = this.#holders.get(rangeId)
    if (known !== undefined && this.#answers(known)) return known
    const voters = (this.ranges.byId(rangeId)?.replicas ?? []).filter(({ role }) => role === 'voter')
    const answering = voters.filter(({ nodeId }) => this.#answers(nodeId))
    const asked = answering.length > 0 ? answering : voters
    return asked[attempt % Math.max(1, asked.length)]?.nodeId
  }

  #answers(nodeId: NodeId): boolean {
    return (this.#silent.get(nodeId) ?? Number.NEGATIVE_INFINITY) <= this.#env.clock.monotonicMs()
  }
}
