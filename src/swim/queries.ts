import { abortable, type CallOptions, type Deferred, deferred } from '../core/async.ts'
import type { TimerHandle } from '../core/clock.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import type { NodeId } from '../model/ids.ts'

/** One member's answer to a query. */
export interface QueryAnswer {
  /** Who answered. */
  readonly nodeId: NodeId
  /** In the host's own encoding. */
  readonly payload: Uint8Array
}

/** Options of `Swim.ask`. */
export interface QueryOptions extends CallOptions {
  /** How long answers are waited for, at most a day. Default: 5,000. */
  readonly timeoutMs?: number
}

/** Queries that may be open at once. */
const maximumQueries = 256

interface OpenQuery {
  readonly answers: Map<NodeId, QueryAnswer>
  readonly wanted: number
  readonly done: Deferred<void>
  readonly timer: TimerHandle
}

/** Collects the answers to this node's queries. */
export class Queries {
  readonly #env: Environment
  readonly #open = new Map<number, OpenQuery>()

  constructor(env: Environment) {
    this.#env = env
  }

  /** @throws KeelsonError `OVERLOADED` */
  mustHaveRoom(): void {
    if (this.#open.size < maximumQueries) return
    throw new KeelsonError('OVERLOADED', `${maximumQueries} queries are open already; wait for their answers`)
  }

  /** Resolves with the answers when `wanted` have come, or the time is over. */
  async collect(
    id: number,
    wanted: number,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<readonly QueryAnswer[]> {
    const done = deferred<void>()
    const timer = this.#env.timers.schedule(timeoutMs, () => done.resolve())
    const query: OpenQuery = { answers: new Map(), wanted, done, timer }
    this.#open.set(id, query)
    try {
      await abortable(done.promise, signal, 'unknown')
      return [...query.answers.values()]
    } finally {
      timer.cancel()
      this.#open.delete(id)
    }
  }

  take(id: number, nodeId: NodeId, payload: Uint8Array): void {
    const query = this.#open.get(id)
    if (query === undefined) return
    query.answers.set(nodeId, { nodeId, payload })
    if (query.answers.size >= query.wanted) query.done.resolve()
  }

  close(error: KeelsonError): void {
    for (const { done } of this.#open.values()) {
      done.promise.catch(() => {})
      done.reject(error)
    }
  }
}
