import { abortable, abortError, onAbort, sleep, throwIfAborted } from '../../core/async.ts'
import type { Environment } from '../../core/environment.ts'
import { KeelsonError, toKeelsonError } from '../../core/errors.ts'
import type { KeySelector, Revision, WatchOptions, WatchResponse } from '../../interfaces/metadata-store.ts'
import type { NodeId } from '../../model/ids.ts'
import { encodeWatch, methods, WatchDecoder } from '../protocol.ts'
import { isFinal, type Router } from './router.ts'

/** Opens a stream of a server. */
export type OpenStream = (
  peer: NodeId,
  method: string,
  body: Uint8Array,
  options: { readonly signal: AbortSignal },
) => AsyncIterableIterator<Uint8Array>

/** What a {@link ResumingWatch} is made of. */
export interface ResumingWatchOptions {
  readonly env: Environment
  readonly select: KeySelector
  readonly options: WatchOptions
  readonly router: Router
  readonly stream: OpenStream
  /** Watches in this process, if the store is here. */
  readonly local:
    | ((select: KeySelector, options: WatchOptions) => AsyncIterableIterator<WatchResponse>)
    | undefined
  /** The store's revision now, with everything acknowledged so far. */
  readonly present: (signal: AbortSignal) => Promise<Revision>
  readonly closed: AbortSignal
}

/**
 * A watch over servers that come and go: it knows behind which revision it stands, and goes on there with another
 * server when one fails.
 */
export class ResumingWatch implements AsyncIterableIterator<WatchResponse> {
  readonly #options: ResumingWatchOptions
  readonly #stop = new AbortController()
  readonly #releases: (() => void)[] = []
  /** The first revision that was not delivered. */
  #next: Promise<Revision> | Revision
  #source: AsyncIterator<WatchResponse> | undefined
  #reported: Revision = -1
  #failures = 0
  #ended = false
  #waiting = false

  constructor(options: ResumingWatchOptions) {
    this.#options = options
    const { signal, fromRevision } = options.options
    const { closed } = options
    throwIfAborted(closed)
    throwIfAborted(signal)
    for (const each of [closed, signal]) {
      if (each !== undefined) this.#releases.push(onAbort(each, () => this.#stop.abort(abortError(each))))
    }
    if (fromRevision !== undefined) this.#next = fromRevision
    else {
      // Asked at once: the watch starts now and not when its first response is taken.
      const present = options.present(this.#stop.signal).then((revision) => revision + 1)
      present.catch(() => {})
      this.#next = present
    }
  }

  async next(): Promise<IteratorResult<WatchResponse>> {
    if (this.#ended) return { value: undefined, done: true }
    if (this.#waiting)
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        'one consumer at a time may wait for a watch; open another watch for another one',
      )
    this.#waiting = true
    try {
      const response = await abortable(this.#pull(), this.#stop.signal)
      return response === undefined ? { value: undefined, done: true } : { value: response, done: false }
    } catch (error) {
      await this.#end()
      throw error
    } finally {
      this.#waiting = false
    }
  }

  async return(): Promise<IteratorResult<WatchResponse>> {
    await this.#end()
    return { value: undefined, done: true }
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<WatchResponse> {
    return this
  }

  async #pull(): Promise<WatchResponse | undefined> {
    while (!this.#ended) {
      const next = await this.#next
      this.#next = next
      const peer = this.#options.local === undefined ? this.#options.router.nearest() : undefined
      try {
        this.#source ??= this.#openSource(peer, next)
        const { value, done } = await this.#source.next()
        if (done !== true) {
          const response = this.#accept(value, next)
          if (response !== undefined) return response
          continue
        }
        this.#source = undefined
      } catch (thrown) {
        const error = toKeelsonError(thrown)
        this.#source = undefined
        if (this.#stop.signal.aborted || isFinal(error) || this.#options.local !== undefined) throw error
        if (peer !== undefined) this.#options.router.failed(peer, error)
      }
      await sleep(
        this.#options.env.timers,
        this.#options.router.backoffMs(this.#failures++),
        this.#stop.signal,
      )
    }
    return undefined
  }

  /** Moves the position behind a response. Undefined for what the consumer has already. */
  #accept(response: WatchResponse, next: Revision): WatchResponse | undefined {
    this.#failures = 0
    if (response.revision < next && (response.type === 'changes' || response.revision <= this.#reported))
      return undefined
    this.#next = Math.max(next, response.revision + 1)
    this.#reported = Math.max(this.#reported, response.revision)
    return response
  }

  #openSource(peer: NodeId | undefined, fromRevision: Revision): AsyncIterator<WatchResponse> {
    const { local, select, options, stream } = this.#options
    const previous = options.previous ?? false
    const { signal } = this.#stop
    if (local !== undefined) return local(select, { fromRevision, previous, signal })
    if (peer === undefined)
      throw new KeelsonError('UNREACHABLE', 'no metadata server is known; give the client the names of some')
    const body = encodeWatch({ select, fromRevision, previous })
    return decoded(stream(peer, methods.watch, body, { signal }))
  }

  async #end(): Promise<void> {
    if (this.#ended) return
    this.#ended = true
    for (const release of this.#releases) release()
    const source = this.#source
    this.#source = undefined
    this.#stop.abort(new KeelsonError('ABORTED', 'the watch was left'))
    await source?.return?.()
  }
}

async function* decoded(items: AsyncIterable<Uint8Array>): AsyncGenerator<WatchResponse> {
  const decoder = new WatchDecoder()
  for await (const item of items) {
    const response = decoder.push(item)
    if (response !== undefined) yield response
  }
}
