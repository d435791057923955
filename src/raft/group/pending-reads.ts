import type { KeelsonError } from '../../core/errors.ts'
import type { ReadRequest } from '../core/types.ts'

/** A caller of `read`. */
export interface PendingRead {
  readonly request: Required<ReadRequest>
  settle: ((error: KeelsonError | undefined) => void) | undefined
}

/**
 * Read barriers of one replica. All calls of a turn that ask alike share one request to the core; its answer is an index,
 * and the calls end when that is applied. A request is never reused: a call that comes after it was made waits for the
 * next one.
 */
export class PendingReads {
  #waiting: PendingRead[] = []
  readonly #requested = new Map<number, PendingRead[]>()
  /** By ascending index. What a follower asks by lease may be answered before what it asked without one. */
  #confirmed: { readonly index: number; readonly reads: PendingRead[] }[] = []
  #lastContext: number
  #count = 0

  /** Contexts after `lastContext` are used. */
  constructor(lastContext: number) {
    this.#lastContext = lastContext
  }

  /** The last context that was used. */
  get lastContext(): number {
    return this.#lastContext
  }

  get isEmpty(): boolean {
    return this.#waiting.length + this.#requested.size + this.#confirmed.length === 0
  }

  get count(): number {
    return this.#count
  }

  get hasWaiting(): boolean {
    return this.#waiting.length > 0
  }

  add(read: PendingRead): void {
    this.#waiting.push(read)
    this.#count++
  }

  /** Makes one request for all that wait and ask for the same as the first of them. */
  request(): { readonly context: number; readonly request: Required<ReadRequest> } {
    const context = ++this.#lastContext
    const { request } = this.#waiting[0] as PendingRead
    const isAlike = ({ request: other }: PendingRead): boolean =>
      other.mode === request.mode && other.from === request.from
    const others = this.#waiting.filter((read) => !isAlike(read))
    this.#requested.set(context, others.length === 0 ? this.#waiting : this.#waiting.filter(isAlike))
    this.#waiting = others
    return { context, request }
  }

  /** The request was answered: it may be served once `index` is applied. */
  confirmed(context: number, index: number, applied: number): void {
    const reads = this.#requested.get(context)
    if (reads === undefined) return
    this.#requested.delete(context)
    let at = this.#confirmed.length
    while (at > 0 && (this.#confirmed[at - 1] as { index: number }).index > index) at--
    this.#confirmed.splice(at, 0, { index, reads })
    this.applied(applied)
  }

  failed(context: number, error: KeelsonError): void {
    const reads = this.#requested.get(context)
    if (reads === undefined) return
    this.#requested.delete(context)
    this.#settle(reads, error)
  }

  applied(index: number): void {
    while (this.#confirmed.length > 0 && (this.#confirmed[0] as { index: number }).index <= index) {
      this.#settle((this.#confirmed.shift() as { reads: PendingRead[] }).reads, undefined)
    }
  }

  failAll(error: KeelsonError): void {
    this.#settle(this.#waiting, error)
    this.#waiting = []
    for (const reads of this.#requested.values()) this.#settle(reads, error)
    this.#requested.clear()
    for (const { reads } of this.#confirmed) this.#settle(reads, error)
    this.#confirmed = []
  }

  #settle(reads: readonly PendingRead[], error: KeelsonError | undefined): void {
    for (const read of reads) {
      this.#count--
      const { settle } = read
      read.settle = undefined
      settle?.(error)
    }
  }
}
