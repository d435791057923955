import type { CallOptions } from '../core/async.ts'
import { BytePool } from '../core/byte-pool.ts'
import { type LogMethod, sparingly } from '../core/logger.ts'
import type { Counter } from '../core/metrics.ts'
import type { PeerIdentity } from '../interfaces/transport.ts'
import type { NodeId } from '../model/ids.ts'
import { type RpcCallOptions, RpcClient } from './rpc/client.ts'
import { decodeRpc, RpcEncoder, type RpcFrame } from './rpc/frames.ts'
import { type CheckedRpcOptions, checkRpcOptions, type RpcOptions } from './rpc/options.ts'
import { type RpcHandler, RpcServer, type RpcStreamHandler } from './rpc/server.ts'

export type { RpcCallOptions } from './rpc/client.ts'
export { type RpcLimits, type RpcOptions, rpcDefaults } from './rpc/options.ts'
export type { RpcHandler, RpcStreamHandler } from './rpc/server.ts'

/**
 * Remote calls over a `Channel`, of both kinds: one answer, or a stream of items with flow control. Both ends may
 * ask and answer. A node's calls of itself go the same way, without a network.
 *
 * What a caller learns when a call fails: `outcome: 'none'` means that the handler has not seen it; `'unknown'` that it
 * may have. Errors that a handler throws reach the caller with code, message, `retryable`, `outcome` and details.
 */
export class Rpc implements AsyncDisposable {
  readonly #options: CheckedRpcOptions
  readonly #encoder: RpcEncoder
  readonly #client: RpcClient
  readonly #server: RpcServer
  readonly #dropped: Counter
  readonly #unsubscribe: () => void
  #loop: Uint8Array[] = []
  readonly #complain: LogMethod
  #closed = false

  /** @throws KeelsonError `INVALID_OPTION` */
  constructor(options: RpcOptions) {
    this.#options = checkRpcOptions(options)
    const { channel, env } = this.#options
    const transmit = (peer: NodeId, frame: RpcFrame): boolean => this.#transmit(peer, frame)
    const pool = new BytePool()
    this.#encoder = new RpcEncoder(pool)
    this.#client = new RpcClient(this.#options, pool, transmit)
    this.#server = new RpcServer(this.#options, pool, transmit)
    this.#dropped = env.metrics.counter(
      'keelson_rpc_dropped_frames_total',
      'Frames of remote calls that were dropped: malformed, or answers that nobody waits for',
    )
    this.#complain = sparingly(env.clock, env.logger.warn.bind(env.logger))
    channel.onMessage((peer, bytes) => this.#receive(peer, bytes))
    this.#unsubscribe = channel.onLost(({ peer, outcome }) => {
      this.#client.lost(peer, outcome)
      this.#server.lost(peer)
    })
  }

  /** Sets the one handler of a method. @throws KeelsonError `INVALID_ARGUMENT` for a bad or taken name */
  handle(method: string, handler: RpcHandler): void {
    this.#server.handle(method, handler)
  }

  /** Sets the one handler of a method that answers with a stream. @throws KeelsonError `INVALID_ARGUMENT` */
  handleStream(method: string, handler: RpcStreamHandler): void {
    this.#server.handleStream(method, handler)
  }

  /**
   * Asks a peer and waits for its answer. The body is copied. An abort or a timeout also ends the handler's signal over
   * there.
   *
   * @throws KeelsonError `UNREACHABLE` (outcome none: it was not sent; unknown: the connection broke under way),
   * `OUTCOME_UNKNOWN` after `timeoutMs`, `ABORTED`, `OVERLOADED`, `LIMIT_EXCEEDED`, `UNSUPPORTED`, `UNAUTHORIZED`,
   * `CLOSED`, and what the handler threw
   */
  async call(
    peer: NodeId,
    method: string,
    body: Uint8Array,
    options: RpcCallOptions = {},
  ): Promise<Uint8Array> {
    return this.#client.call(peer, method, body, options)
  }

  /**
   * The items of a remote stream, in order and without gap, until it ends, the loop is left or the signal is aborted. It is
   * opened by the first step of the iteration and can be iterated once.
   *
   * The iteration throws KeelsonError `UNREACHABLE` when the connection breaks, an item is lost or the peer stays silent,
   * otherwise the same as {@link Rpc.call}.
   */
  stream(
    peer: NodeId,
    method: string,
    body: Uint8Array,
    options: CallOptions = {},
  ): AsyncIterableIterator<Uint8Array> {
    return this.#client.stream(peer, method, body, options)
  }

  /** Fails what waits with `CLOSED` and aborts the handlers that run. The channel stays open. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#unsubscribe()
    this.#client.close()
    this.#server.close()
    this.#closed = true
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #transmit(peer: NodeId, frame: RpcFrame): boolean {
    if (this.#closed) return false
    const bytes = this.#encoder.encode(frame)
    if (peer !== this.#options.channel.self.nodeId) return this.#options.channel.send(peer, bytes)
    this.#loop.push(bytes)
    if (this.#loop.length === 1) this.#options.env.timers.defer(() => this.#drainLoop())
    return true
  }

  #drainLoop(): void {
    const frames = this.#loop
    this.#loop = []
    for (const bytes of frames) this.#receive(this.#options.channel.self, bytes)
  }

  #receive(peer: PeerIdentity, bytes: Uint8Array): void {
    if (this.#closed) return
    try {
      const frame = decodeRpc(bytes)
      const answer = this.#isAnswer(frame)
      const used = answer ? this.#client.receive(peer.nodeId, frame) : this.#server.receive(peer, frame)
      if (!used) this.#dropped.add(1, { reason: answer ? 'late' : 'unexpected' })
    } catch (error) {
      this.#dropped.add(1, { reason: 'malformed' })
      this.#complain({ error, peer: peer.nodeId }, 'a malformed remote call was dropped')
    }
  }

  #isAnswer(frame: RpcFrame): boolean {
    switch (frame.type) {
      case 'request':
      case 'open':
      case 'cancel':
      case 'credit':
      case 'probe':
        return false
      default:
        return true
    }
  }
}
