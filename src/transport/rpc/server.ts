import { checkFunction } from '../../core/arguments.ts'
import type { CallOptions } from '../../core/async.ts'
import type { BytePool } from '../../core/byte-pool.ts'
import type { TimerHandle } from '../../core/clock.ts'
import { KeelsonError } from '../../core/errors.ts'
import { showValue } from '../../core/options.ts'
import { errorForPeer } from '../../core/wire-error.ts'
import type { PeerIdentity } from '../../interfaces/transport.ts'
import type { NodeId } from '../../model/ids.ts'
import { checkMethodName, type RpcFrame } from './frames.ts'
import type { CheckedRpcOptions } from './options.ts'
import { RpcStreamSource } from './stream-source.ts'

/**
 * Answers a call. `signal` is aborted when the caller gives up or its connection breaks: nobody waits for the answer any
 * more. A KeelsonError that it throws reaches the caller as it is, anything else as `IO` without its message.
 */
export type RpcHandler = (
  peer: PeerIdentity,
  body: Uint8Array,
  call: Required<CallOptions>,
) => Promise<Uint8Array>

/** Answers with a stream; it is asked for the next item only while the caller has room for it. */
export type RpcStreamHandler = (
  peer: PeerIdentity,
  body: Uint8Array,
  call: Required<CallOptions>,
) => AsyncIterable<Uint8Array>

/** How frames leave; false when one could not. */
export type TransmitTo = (peer: NodeId, frame: RpcFrame) => boolean

/** What a handler is given; its signal is made when it is asked for, which most handlers never do. */
class RunningRequest implements Required<CallOptions> {
  #controller: AbortController | undefined
  #reason: KeelsonError | undefined

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#reason !== undefined) this.#controller.abort(this.#reason)
    }
    return this.#controller.signal
  }

  abort(reason: KeelsonError): void {
    this.#reason = reason
    this.#controller?.abort(reason)
  }
}

interface PeerWork {
  readonly requests: Map<number, RunningRequest>
  readonly streams: Map<number, RpcStreamSource>
  /** Answers that a full queue refused. */
  readonly waiting: RpcFrame[]
}

const retryMs = 5

/** The answering half of an {@link Rpc}. */
export class RpcServer {
  readonly #options: CheckedRpcOptions
  readonly #transmit: TransmitTo
  readonly #pool: BytePool
  readonly #handlers = new Map<string, RpcHandler>()
  readonly #streamHandlers = new Map<string, RpcStreamHandler>()
  readonly #work = new Map<NodeId, PeerWork>()
  #requests = 0
  #streams = 0
  #watching = false
  #watchTimer: TimerHandle | undefined
  #closed = false

  constructor(options: CheckedRpcOptions, pool: BytePool, transmit: TransmitTo) {
    this.#pool = pool
    this.#options = options
    this.#transmit = transmit
  }

  handle(method: string, handler: RpcHandler): void {
    this.#checkMethod(method)
    this.#handlers.set(method, checkFunction(handler, `the handler of ${method}`))
  }

  handleStream(method: string, handler: RpcStreamHandler): void {
    this.#checkMethod(method)
    this.#streamHandlers.set(method, checkFunction(handler, `the handler of ${method}`))
  }

  /** Takes a question. False when it makes no sense. */
  receive(peer: PeerIdentity, frame: RpcFrame): boolean {
    switch (frame.type) {
      case 'request':
        return this.#request(peer, frame.id, frame.method, frame.body)
      case 'open':
        return this.#open(peer, frame.id, frame.method, frame.body)
      case 'cancel':
        this.#cancel(peer.nodeId, frame.id)
        return true
      case 'credit':
        this.#work.get(peer.nodeId)?.streams.get(frame.id)?.credit(frame.limit)
        return true
      case 'probe':
        this.#answerProbe(peer.nodeId, frame.streams)
        return true
      default:
        return false
    }
  }

  /** The connection to a peer is gone: nobody there waits any more. */
  lost(peer: NodeId): void {
    const work = this.#work.get(peer)
    if (work === undefined) return
    this.#work.delete(peer)
    this.#requests -= work.requests.size
    this.#streams -= work.streams.size
    const error = new KeelsonError('UNREACHABLE', `the connection to ${peer} is gone`)
    for (const request of work.requests.values()) request.abort(error)
    for (const source of work.streams.values()) source.stop(error)
    work.waiting.length = 0
  }

  /** Tells everybody who waits that no answer will come. */
  close(): void {
    this.#closed = true
    this.#watchTimer?.cancel()
    const error = new KeelsonError('UNREACHABLE', 'the node has closed', { outcome: 'unknown' })
    for (const [peer, work] of this.#work) {
      for (const id of work.requests.keys()) this.#transmit(peer, { type: 'error', id, error })
      for (const id of work.streams.keys()) this.#transmit(peer, { type: 'error', id, error })
      this.lost(peer)
    }
  }

  #request(peer: PeerIdentity, id: number, method: string, body: Uint8Array): boolean {
    const work = this.#workOf(peer.nodeId)
    if (work.requests.has(id) || work.streams.has(id)) return false
    const refusal = this.#refusal(peer, method, body, this.#handlers.has(method), work)
    if (refusal !== undefined) {
      this.#answer(peer.nodeId, work, { type: 'error', id, error: refusal })
      return true
    }
    const request = new RunningRequest()
    work.requests.set(id, request)
    this.#requests++
    void this.#run(peer, work, id, method, request, this.#pool.copy(body))
    return true
  }

  /** Never rejects. */
  async #run(
    peer: PeerIdentity,
    work: PeerWork,
    id: number,
    method: string,
    request: RunningRequest,
    question: Uint8Array,
  ): Promise<void> {
    let answer: RpcFrame
    try {
      const handler = this.#handlers.get(method) as RpcHandler
      const body = await handler(peer, question, request)
      this.#checkResult(method, body)
      answer = { type: 'response', id, body }
    } catch (thrown) {
      answer = { type: 'error', id, error: this.#failure(method, thrown) }
    }
    // Given up, or of a connection that is gone: the answer has no addressee.
    if (work.requests.get(id) !== request || this.#work.get(peer.nodeId) !== work) return
    work.requests.delete(id)
    this.#requests--
    this.#answer(peer.nodeId, work, answer)
    this.#tidy(peer.nodeId, work)
  }

  #open(peer: PeerIdentity, id: number, method: string, body: Uint8Array): boolean {
    const work = this.#workOf(peer.nodeId)
    if (work.requests.has(id) || work.streams.has(id)) return false
    const refusal = this.#refusal(peer, method, body, this.#streamHandlers.has(method), work)
    if (refusal !== undefined) {
      this.#answer(peer.nodeId, work, { type: 'error', id, error: refusal })
      return true
    }
    const handler = this.#streamHandlers.get(method) as RpcStreamHandler
    const source: RpcStreamSource = new RpcStreamSource({
      id,
      timers: this.#options.env.timers,
      start: (signal) => handler(peer, this.#pool.copy(body), { signal }),
      send: (frame) => this.#transmit(peer.nodeId, frame),
      checkItem: (item) => this.#checkResult(method, item),
      failure: (thrown) => this.#failure(method, thrown),
      finished: (last) => {
        if (work.streams.get(id) !== source || this.#work.get(peer.nodeId) !== work) return
        work.streams.delete(id)
        this.#streams--
        if (last !== undefined) this.#answer(peer.nodeId, work, last)
        this.#tidy(peer.nodeId, work)
      },
    })
    work.streams.set(id, source)
    this.#streams++
    source.run()
    this.#watchSources()
    return true
  }

  #cancel(peer: NodeId, id: number): void {
    const work = this.#work.get(peer)
    if (work === undefined) return
    const error = new KeelsonError('ABORTED', 'the caller has given up')
    const request = work.requests.get(id)
    if (request !== undefined) {
      work.requests.delete(id)
      this.#requests--
      request.abort(error)
    }
    const source = work.streams.get(id)
    if (source !== undefined) {
      work.streams.delete(id)
      this.#streams--
      source.stop(error)
    }
    this.#tidy(peer, work)
  }

  #answerProbe(peer: NodeId, asked: readonly (readonly [number, number])[]): void {
    const work = this.#workOf(peer)
    const streams = asked.map(([id, limit]): [number, number] => {
      const source = work.streams.get(id)
      source?.credit(limit)
      return [id, source === undefined ? 0 : source.sent + 1]
    })
    this.#answer(peer, work, { type: 'state', streams })
    this.#tidy(peer, work)
  }

  #refusal(
    peer: PeerIdentity,
    method: string,
    body: Uint8Array,
    known: boolean,
    work: PeerWork,
  ): KeelsonError | undefined {
    const { maximumRequestsPerPeer, maximumRequests, maximumStreamsPerPeer, maximumStreams } = this.#options
    if (this.#closed) return new KeelsonError('UNREACHABLE', 'the node is closing')
    if (!known) {
      return new KeelsonError(
        'UNSUPPORTED',
        `this node answers no calls of ${showValue(method)}; its release may be an older one`,
      )
    }
    if (!this.#authorized(peer, method)) {
      return new KeelsonError(
        'UNAUTHORIZED',
        `${peer.nodeId} (${peer.role}) may not call ${method}; ask with a peer that may`,
      )
    }
    if (body.length > this.#options.maximumBodyBytes) {
      return new KeelsonError(
        'LIMIT_EXCEEDED',
        `the body of a call of ${method} has ${body.length} bytes, more than the ${this.#options.maximumBodyBytes} that are taken; split it`,
      )
    }
    const full =
      work.requests.size >= maximumRequestsPerPeer ||
      this.#requests >= maximumRequests ||
      work.streams.size >= maximumStreamsPerPeer ||
      this.#streams >= maximumStreams ||
      work.waiting.length >= maximumRequestsPerPeer
    return full ? new KeelsonError('OVERLOADED', 'this node has its hands full; try again later') : undefined
  }

  #authorized(peer: PeerIdentity, method: string): boolean {
    try {
      return this.#options.authorize(peer, method)
    } catch (error) {
      this.#options.env.logger.error({ error, method }, 'the authorization of a remote call threw')
      return false
    }
  }

  #failure(method: string, thrown: unknown): KeelsonError {
    if (!KeelsonError.is(thrown)) {
      this.#options.env.logger.error({ error: thrown, method }, 'the handler of a remote call threw')
    }
    return errorForPeer(thrown, `the handler of ${method}`)
  }

  #checkResult(method: string, body: unknown): asserts body is Uint8Array {
    if (!(body instanceof Uint8Array)) throw new TypeError(`the handler of ${method} gave no bytes`)
    const { maximumBodyBytes } = this.#options
    if (body.length <= maximumBodyBytes) return
    const message = `the answer of ${method} has ${body.length} bytes, more than the ${maximumBodyBytes} allowed`
    throw new KeelsonError('LIMIT_EXCEEDED', message, { outcome: 'unknown' })
  }

  /** Sends an answer now, or as soon as the peer's queue has room, in order. */
  #answer(peer: NodeId, work: PeerWork, frame: RpcFrame): void {
    if (work.waiting.length === 0 && this.#transmit(peer, frame)) return
    // A peer that asks faster than it takes answers loses some of them, not our memory.
    if (work.waiting.length >= this.#options.maximumRequestsPerPeer) return
    work.waiting.push(frame)
    if (work.waiting.length === 1) this.#retryLater(peer, work)
  }

  #retryLater(peer: NodeId, work: PeerWork): void {
    this.#options.env.timers.schedule(retryMs, () => {
      if (this.#work.get(peer) !== work) return
      while (work.waiting.length > 0 && this.#transmit(peer, work.waiting[0] as RpcFrame))
        work.waiting.shift()
      if (work.waiting.length > 0) this.#retryLater(peer, work)
      else this.#tidy(peer, work)
    })
  }

  /** Ends streams whose caller shows no sign of life: its cancellation may have been lost. */
  #watchSources(): void {
    if (this.#watching || this.#closed) return
    this.#watching = true
    const { timers } = this.#options.env
    this.#watchTimer = timers.schedule(this.#options.probeIntervalMs * 2, () =>
      timers.defer(() => {
        this.#watching = false
        for (const [peer, work] of this.#work) {
          for (const [id, source] of work.streams) if (source.deserted()) this.#cancel(peer, id)
        }
        if (this.#streams > 0) this.#watchSources()
      }),
    )
  }

  #workOf(peer: NodeId): PeerWork {
    let work = this.#work.get(peer)
    if (work === undefined) {
      work = { requests: new Map(), streams: new Map(), waiting: [] }
      this.#work.set(peer, work)
    }
    return work
  }

  #tidy(peer: NodeId, work: PeerWork): void {
    const busy = work.requests.size + work.streams.size + work.waiting.length
    if (busy === 0 && this.#work.get(peer) === work) this.#work.delete(peer)
  }

  #checkMethod(method: string): void {
    checkMethodName(method)
    if (this.#closed) throw new KeelsonError('CLOSED', 'the remote calls were closed; make another Rpc')
    if (this.#handlers.has(method) || this.#streamHandlers.has(method)) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `the method ${method} has a handler already; handle it in one place`,
      )
    }
  }
}
