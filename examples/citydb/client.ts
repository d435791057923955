import {
  abortable,
  type CallOptions,
  deadline,
  type Environment,
  KeelsonError,
  type NodeId,
  type RangeDescriptor,
  type RangeId,
  RangeMap,
  type ReplicaDescriptor,
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
  readonly rpc: Pick<Rpc, 'call'>
  /** Time for one attempt of one call. */
  readonly attemptMs?: number
}

/** To which range a call goes. */
interface Route {
  /** @throws KeelsonError `NOT_FOUND`, `STALE_GENERATION` */
  readonly rangeId: () => number
  /** When the range refuses because it lies elsewhere, the call goes on to where the key is by then. */
  readonly follows: boolean
}

/** A range as a call sees it: where the directory does not know it yet, by what another range has said of it. */
type KnownRange = Pick<RangeDescriptor, 'rangeId' | 'replicas'>

const defaultAttemptMs = 1500
/** How long a node that did not answer is asked only after the others: it may stand still, and others may still point at it. */
const silenceMs = 2_000
const minimumBackoffMs = 10
const maximumBackoffMs = 150

/**
 * Finds the lease holder of a key's range and retries until it answers. A retried command keeps its number, so it takes
 * effect once whatever was lost on the way. Ranges are split and merged in their logs, and the directory hears of it when it is
 * there to hear: until then the range that had the key says which one has it now.
 */
export class CityClient {
  readonly ranges: RangeMap = new RangeMap()
  readonly #env: Environment
  readonly #rpc: CityClientOptions['rpc']
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
    for (const { rangeId } of this.ranges.ranges()) {
      const holder = this.#holders.get(rangeId)
      if (holder !== undefined) counts.set(holder, (counts.get(holder) ?? 0) + 1)
    }
    return counts
  }

  /** The range that holds a key. @throws KeelsonError `NOT_FOUND` */
  rangeOf(key: Uint8Array): number {
    const range = this.ranges.lookup(key)
    if (range === undefined)
      throw new KeelsonError('NOT_FOUND', 'no range is known for this key yet', { retryable: true })
    return range.rangeId
  }

  /** Opens a client session in the range that holds a key. */
  async openSession(key: Uint8Array, options: CallOptions = {}): Promise<Omit<CommandNumber, 'sequence'>> {
    let asked = 0
    const answer = await this.#ask(
      this.#holding(key),
      'session',
      (rangeId) => {
        asked = rangeId
        return readRequest.encode(rangeId, key)
      },
      options,
    )
    return { rangeId: asked, session: sessionResponse.decode(answer) }
  }

  /**
   * Sets columns of rows of one range.
   *
   * @throws KeelsonError `STALE_GENERATION` when they do not lie in one range any more, or their range was merged away before
   *   they were written: nothing was done, and nothing will be under this number
   */
  async write(
    command: CommandNumber,
    rows: readonly { key: Uint8Array; columns: Row }[],
    options: CallOptions = {},
  ): Promise<void> {
    const [first] = rows
    if (first === undefined) return
    await this.#ask(
      this.#holding(first.key),
      'write',
      (rangeId) => writeRequest.encode({ rangeId, command, rows }),
      options,
    )
  }

  /** Adds to a column. @throws KeelsonError `STALE_GENERATION` as `write` */
  async increment(
    command: CommandNumber,
    key: Uint8Array,
    column: string,
    amount: number,
    options: CallOptions = {},
  ): Promise<void> {
    await this.#ask(
      this.#holding(key),
      'increment',
      (rangeId) => incrementRequest.encode({ rangeId, command, key, column, amount }),
      options,
    )
  }

  async read(key: Uint8Array, options: CallOptions = {}): Promise<Row | undefined> {
    const answer = await this.#ask(
      this.#holding(key),
      'read',
      (rangeId) => readRequest.encode(rangeId, key),
      options,
    )
    return readResponse.decode(answer)
  }

  /**
   * All rows of a range, or all entries of an index in it, in order.
   *
   * @throws KeelsonError `STALE_GENERATION` when the range has another generation, or gets one meanwhile
   */
  async *scan(
    rangeId: number,
    generation: number,
    index = '',
    options: CallOptions = {},
  ): AsyncIterable<{ readonly key: Uint8Array; readonly value: Uint8Array }> {
    let resumeAt: Uint8Array | undefined
    do {
      const body = pageRequest.encode({ rangeId, index, resumeAt, limit: 1000, generation })
      const page = pageResponse.decode(await this.#ask(this.#present(rangeId), 'page', () => body, options))
      yield* page.items
      resumeAt = page.resumeAt
    } while (resumeAt !== undefined)
  }

  /** @throws KeelsonError `STALE_GENERATION` when the range is no more, or is about to be merged */
  async facts(rangeId: number, options: CallOptions = {}): Promise<RangeFacts> {
    const answer = await this.#ask(
      this.#present(rangeId),
      'facts',
      () => rangeRequest.encode(rangeId),
      options,
    )
    return factsResponse.decode(answer)
  }

  /** Whatever range holds the key at each attempt: one that was split or merged is asked where its rows are now. */
  #holding(key: Uint8Array): Route {
    return { rangeId: () => this.rangeOf(key), follows: true }
  }

  #present(rangeId: number): Route {
    const present = (): number => {
      if (this.ranges.byId(rangeId) !== undefined) return rangeId
      throw new KeelsonError('STALE_GENERATION', `range ${rangeId} is no more`)
    }
    return { rangeId: present, follows: false }
  }

  /** Asks the lease holder, wherever it is by now, until the caller's signal ends it. */
  async #ask(
    route: Route,
    method: string,
    body: (rangeId: number) => Uint8Array,
    options: CallOptions,
  ): Promise<Uint8Array> {
    let backoffMs = minimumBackoffMs
    let heir: KnownRange | undefined
    let heirsLeft = 0
    let followed = false
    for (let attempt = 0; ; attempt++) {
      const limit = deadline(
        this.#env.timers,
        this.#attemptMs,
        () => new KeelsonError('OUTCOME_UNKNOWN', 'the lease holder did not answer in time'),
        options.signal,
      )
      let rangeId = 0
      let holder: NodeId | undefined
      try {
        rangeId = heir?.rangeId ?? route.rangeId()
        const { replicas } = heir ?? this.ranges.byId(rangeId) ?? { replicas: [] }
        holder = this.#holderOf(rangeId, replicas, attempt)
        if (holder === undefined)
          throw new KeelsonError('NOT_FOUND', `no replica of range ${rangeId} is known`, { retryable: true })
        const call = this.#rpc.call(holder, method, body(rangeId), {
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
        if (error.code === 'STALE_GENERATION') {
          // Its holder answers; what it holds is soon known.
          if (!route.follows) throw error
          heir = this.#heirOf(error, rangeId, heir)
          heirsLeft = 2 * (heir?.replicas.length ?? 0)
          // At once, but once only: two ranges may name each other while the one takes the other in.
          if (heir !== undefined && !followed) {
            followed = true
            continue
          }
        } else {
          this.#learnFrom(error, rangeId, holder, limit.signal.aborted)
          // Nobody serves it where it is said to be: the range that had the rows may know better by now.
          if (heir !== undefined && --heirsLeft <= 0) heir = undefined
        }
      } finally {
        limit.release()
      }
      await sleep(this.#env.timers, backoffMs * (0.5 + this.#env.random.float() / 2), options.signal)
      backoffMs = Math.min(backoffMs * 2, maximumBackoffMs)
    }
  }

  /** The range that has the rows now, as far as the one that was asked has said. One that was split off began on the same nodes. */
  #heirOf({ details }: KeelsonError, asked: RangeId, before: KnownRange | undefined): KnownRange | undefined {
    const { heldBy } = details
    if (typeof heldBy !== 'number') return undefined
    const replicas: readonly ReplicaDescriptor[] =
      (this.ranges.byId(heldBy) ?? this.ranges.byId(asked) ?? before)?.replicas ?? []
    return { rangeId: heldBy, replicas }
  }

  #learnFrom(error: KeelsonError, rangeId: number, holder: NodeId | undefined, inVain: boolean): void {
    if (holder === undefined) return
    const hint = error.details['leaderNodeId']
    if (inVain || error.code === 'UNREACHABLE')
      this.#silent.set(holder, this.#env.clock.monotonicMs() + silenceMs)
    if (error.code === 'NOT_LEADER' && typeof hint === 'string' && hint !== holder && this.#answers(hint))
      this.#holders.set(rangeId, hint)
    else this.#holders.delete(rangeId)
  }

  #holderOf(rangeId: RangeId, replicas: readonly ReplicaDescriptor[], attempt: number): NodeId | undefined {
    const known = this.#holders.get(rangeId)
    if (known !== undefined && this.#answers(known)) return known
    const voters = replicas.filter(({ role }) => role === 'voter')
    const answering = voters.filter(({ nodeId }) => this.#answers(nodeId))
    const asked = answering.length > 0 ? answering : voters
    return asked[attempt % Math.max(1, asked.length)]?.nodeId
  }

  #answers(nodeId: NodeId): boolean {
    return (this.#silent.get(nodeId) ?? Number.NEGATIVE_INFINITY) <= this.#env.clock.monotonicMs()
  }
}
