import { checkBytes, checkText } from '../../core/arguments.ts'
import { abortError, type CallOptions, onAbort, throwIfAborted } from '../../core/async.ts'
import type { BytePool } from '../../core/byte-pool.ts'
import type { TimerHandle } from '../../core/clock.ts'
import { KeelsonError, type Outcome } from '../../core/errors.ts'
import { checkCall } from '../../core/options.ts'
import type { NodeId } from '../../model/ids.ts'
import { type Dated, Deadlines } from './deadlines.ts'
import type { RpcFrame } from './frames.ts'
import { checkMethodName } from './frames.ts'
import { type CheckedRpcOptions, timeoutOption } from './options.ts'
import { RpcStream, type RpcStreamOwner } from './stream.ts'

/** What a call may be given. */
export interface RpcCallOptions extends CallOptions {
  /** Default: the `callTimeoutMs` of the {@link Rpc}. */
  readonly timeoutMs?: number
}

interface PendingCall extends Dated {
  readonly id: number
  readonly peer: NodeId
  /** These three lead nowhere once it is settled, so that nothing of a call that is over is kept by what still refers to it. */
  resolve: (body: Uint8Array) => void
  reject: (error: KeelsonError) => void
  /** Takes the abort listener off. */
  release: () => void
}

const nowhere = (): void => {}

/** How frames leave. */
export type Transmit = (peer: NodeId, frame: RpcFrame) => boolean

const callOptions = ['timeoutMs'] as const

/** The asking half of an {@link Rpc}. */
export class RpcClient implements RpcStreamOwner {
  readonly options: CheckedRpcOptions
  readonly #transmit: Transmit
  readonly #pool: BytePool
  readonly #calls = new Map<number, PendingCall>()
  readonly #callsOf = new Map<NodeId, number>()
  readonly #streams = new Map<number, RpcStream>()
  readonly #streamsOf = new Map<NodeId, number>()
  readonly #deadlines: Deadlines<PendingCall>
  #probing = false
  #probeTimer: TimerHandle | undefined
  #closed = false
  /** Starts at random, so that no answer to an earlier life of this process is taken for one of this life. */
  #lastId: number

  constructor(options: CheckedRpcOptions, pool: BytePool, transmit: Transmit) {
    this.#pool = pool
    this.options = options
    this.#transmit = transmit
    this.#lastId = options.env.random.uint32()
    this.#deadlines = new Deadlines(
      options.env,
      () => this.#calls.values(),
      (call) => this.#timeOut(call),
    )
  }

  async call(peer: NodeId, method: string, body: Uint8Array, options: RpcCallOptions): Promise<Uint8Array> {
    this.checkOpen()
    checkCall('call', options, callOptions)
    throwIfAborted(options.signal)
    const timeoutMs = timeoutOption(
      options.timeoutMs === undefined ? this.options.callTimeoutMs : options.timeoutMs,
      'call: timeoutMs',
    )
    checkText(peer, 'the node that is called', 64)
    checkMethodName(method)
    this.checkBody(method, body)
    const mine = this.#callsOf.get(peer) ?? 0
    if (mine >= this.options.maximumCallsPerPeer || this.#calls.size >= this.options.maximumCalls) {
      throw new KeelsonError('OVERLOADED', `${mine} calls wait for ${peer} already; try again later`)
    }
    const id = ++this.#lastId
    if (!this.#transmit(peer, { type: 'request', id, method, body })) throw this.unreachable(peer)
    return new Promise<Uint8Array>((resolve, reject) => {
      const deadlineMs = this.options.env.clock.monotonicMs() + timeoutMs
      const call: PendingCall = { id, peer, resolve, reject, deadlineMs, release: nowhere }
      this.#calls.set(id, call)
      this.#callsOf.set(peer, mine + 1)
      const { signal } = options
      if (signal !== undefined) {
        call.release = onAbort(signal, () => {
          this.#settle(id)
          this.#transmit(peer, { type: 'cancel', id })
          reject(abortError(signal, 'unknown'))
        })
      }
      this.#deadlines.watch(call)
    })
  }

  stream(peer: NodeId, method: string, body: Uint8Array, options: CallOptions): RpcStream {
    checkCall('stream', options)
    checkText(peer, 'the node that is called', 64)
    checkMethodName(method)
    checkBytes(body, 'the body of a call')
    return new RpcStream(this, peer, method, body, options.signal)
  }

  /** Takes an answer. False when nobody waits for it. */
  receive(peer: NodeId, frame: RpcFrame): boolean {
    if (frame.type === 'state') return this.#compare(peer, frame.streams)
    if (frame.type === 'probe') return false
    const call = this.#calls.get(frame.id)
    if (call !== undefined && call.peer === peer) {
      if (frame.type === 'response') call.resolve(this.#pool.copy(frame.body))
      else if (frame.type === 'error') call.reject(frame.error)
      else return false
      this.#settle(frame.id)
      return true
    }
    const stream = this.#streams.get(frame.id)
    if (stream === undefined || stream.peer !== peer) return false
    stream.receive(frame)
    return true
  }

  /** The connection to a peer is gone. */
  lost(peer: NodeId, outcome: Outcome): void {
    const error = this.unreachable(peer, outcome)
    for (const [id, call] of this.#calls) {
      if (call.peer !== peer) continue
      const { reject } = call
      this.#settle(id)
      reject(error)
    }
    for (const stream of this.#streams.values()) if (stream.peer === peer) stream.fail(error)
  }

  close(): void {
    this.#closed = true
    this.#deadlines.cancel()
    this.#probeTimer?.cancel()
    const error = new KeelsonError('CLOSED', 'the remote calls were closed', { outcome: 'unknown' })
    for (const [id, call] of this.#calls) {
      const { reject } = call
      this.#transmit(call.peer, { type: 'cancel', id })
      this.#settle(id)
      reject(error)
    }
    for (const stream of this.#streams.values()) stream.cancel(error)
  }

  checkOpen(): void {
    if (this.#closed) throw new KeelsonError('CLOSED', 'the remote calls were closed; make another Rpc')
  }

  checkBody(method: string, body: Uint8Array): void {
    checkBytes(body, 'the body of a call')
    if (body.length <= this.options.maximumBodyBytes) return
    throw new KeelsonError(
      'LIMIT_EXCEEDED',
      `the body of a call of ${method} has at most ${this.options.maximumBodyBytes} bytes, not ${body.length}; split it`,
    )
  }

  unreachable(peer: NodeId, outcome: Outcome = 'none'): KeelsonError {
    const why =
      outcome === 'none'
        ? 'no address, no connection or a full queue'
        : 'the connection broke before it answered'
    return new KeelsonError('UNREACHABLE', `${peer} cannot be reached: ${why}`, {
      outcome,
      details: { peer },
    })
  }

  openStream(stream: RpcStream, method: string, body: Uint8Array): number {
    this.checkOpen()
    this.checkBody(method, body)
    const { peer } = stream
    const mine = this.#streamsOf.get(peer) ?? 0
    if (mine >= this.options.maximumStreamsPerPeer || this.#streams.size >= this.options.maximumStreams) {
      throw new KeelsonError('OVERLOADED', `${mine} streams of ${peer} are open already; close one first`)
    }
    const id = ++this.#lastId
    if (!this.#transmit(peer, { type: 'open', id, method, body })) throw this.unreachable(peer)
    this.#streams.set(id, stream)
    this.#streamsOf.set(peer, mine + 1)
    this.#probeLater()
    return id
  }

  closeStream(stream: RpcStream, id: number): void {
    if (!this.#streams.delete(id)) return
    decrement(this.#streamsOf, stream.peer)
  }

  send(peer: NodeId, frame: RpcFrame): boolean {
    return this.#transmit(peer, frame)
  }

  #settle(id: number): void {
    const call = this.#calls.get(id)
    if (call === undefined) return
    call.release()
    this.#calls.delete(id)
    call.resolve = nowhere
    call.reject = nowhere
    call.release = nowhere
    decrement(this.#callsOf, call.peer)
  }

  #timeOut(call: PendingCall): void {
    if (this.#calls.get(call.id) !== call) return
    const { reject } = call
    this.#settle(call.id)
    this.#transmit(call.peer, { type: 'cancel', id: call.id })
    const { peer } = call
    reject(
      new KeelsonError(
        'OUTCOME_UNKNOWN',
        `${peer} has not answered in time; see whether the call took effect before it is made again`,
        { details: { peer } },
      ),
    )
  }

  #compare(peer: NodeId, states: readonly (readonly [number, number])[]): boolean {
    for (const [id, sent] of states) {
      const stream = this.#streams.get(id)
      if (stream?.peer === peer) stream.compare(sent)
    }
    return true
  }

  /** While streams are open, asks each peer at intervals whether it still knows those that were silent. */
  #probeLater(): void {
    if (this.#probing || this.#closed) return
    this.#probing = true
    const { timers } = this.options.env
    this.#probeTimer = timers.schedule(this.options.probeIntervalMs, () =>
      // After a stop of the process the items that wait are proof of life.
      timers.defer(() => {
        this.#probing = false
        this.#probe()
        if (this.#streams.size > 0) this.#probeLater()
      }),
    )
  }

  #probe(): void {
    const silent = new Map<NodeId, (readonly [number, number])[]>()
    for (const [id, stream] of this.#streams) {
      if (!stream.silent()) continue
      const list = silent.get(stream.peer) ?? []
      list.push([id, stream.limit])
      silent.set(stream.peer, list)
    }
    for (const [peer, streams] of silent) this.#transmit(peer, { type: 'probe', streams })
  }
}

/** Counts down and forgets at zero. */
export function decrement(counts: Map<NodeId, number>, peer: NodeId): void {
  const left = (counts.get(peer) ?? 0) - 1
  if (left > 0) counts.set(peer, left)
  else counts.delete(peer)
}
