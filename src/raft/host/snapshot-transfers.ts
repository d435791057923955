import { abortable, type CallOptions, deadline, deferred, onAbort } from '../../core/async.ts'
import type { TimerHandle, Timers } from '../../core/clock.ts'
import type { Environment } from '../../core/environment.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { Channel, PeerIdentity } from '../../interfaces/transport.ts'
import type { GroupId, Incarnation } from '../../model/ids.ts'
import type { OfferedSnapshot } from '../core/types.ts'
import type { PositionedSnapshot } from '../group/applier.ts'
import type { Peer } from '../group/peers.ts'
import type { Replica } from '../group/replica.ts'
import type { SnapshotRequest } from './frame.ts'
import {
  decodeSnapshotHeader,
  encodeSnapshot,
  encodeSnapshotHeader,
  SnapshotReader,
} from './snapshot-wire.ts'

export interface SnapshotTransferOptions {
  readonly env: Environment
  readonly channel: Channel
  readonly incarnation: Incarnation
  /** Snapshots that are sent, and snapshots that are received, at a time. */
  readonly maximumTransfers: number
  /** A transfer that stands still for so long is given up. */
  readonly timeoutMs: number
  readonly replica: (groupId: GroupId) => Replica | undefined
  readonly sendRequest: (replica: Replica, peer: Peer, request: SnapshotRequest) => void
}

interface Incoming {
  readonly requestId: number
  readonly from: Peer
  readonly controller: AbortController
  /** Until the stream comes. */
  timer: TimerHandle | undefined
}

interface Outgoing {
  readonly replica: Replica
  readonly peer: PeerIdentity
  readonly request: SnapshotRequest
  readonly expiresMs: number
}

interface View extends PositionedSnapshot {
  readonly replica: Replica
  readonly peer: PeerIdentity
  readonly request: SnapshotRequest
}

const maximumQueued = 1_000
const maximumPieceBytes = 256 << 10

/**
 * Moves snapshots between hosts. The receiver asks, when its core says so, and so decides how many it takes at a time;
 * the sender opens a stream. Whatever goes wrong, the core is told, and the leader offers again in its time.
 */
export class SnapshotTransfers {
  readonly #options: SnapshotTransferOptions
  readonly #incoming = new Map<GroupId, Incoming>()
  readonly #queue: Outgoing[] = []
  readonly #sending = new Set<string>()
  readonly #controller = new AbortController()
  #lastRequestId = 0

  constructor(options: SnapshotTransferOptions) {
    this.#options = options
    options.channel.onStream(async (peer, header, chunks) => this.#receive(peer, header, chunks))
  }

  /** A leader offered a snapshot to this replica. */
  offered(replica: Replica, offered: OfferedSnapshot): void {
    const { maximumTransfers, env, timeoutMs } = this.#options
    const from = replica.peerOf(offered.from)
    if (
      from === undefined ||
      this.#incoming.size >= maximumTransfers ||
      this.#incoming.has(replica.groupId)
    ) {
      replica.offerDeclined()
      return
    }
    const requestId = ++this.#lastRequestId
    const incoming: Incoming = {
      requestId,
      from,
      controller: new AbortController(),
      timer: env.timers.schedule(timeoutMs, () => {
        this.#incoming.delete(replica.groupId)
        replica.restoreFailed()
      }),
    }
    this.#incoming.set(replica.groupId, incoming)
    const { term, position } = offered
    const header = { from: replica.replicaId, to: offered.from, term }
    this.#options.sendRequest(replica, from, { kind: 'snapshotRequest', ...header, position, requestId })
  }

  /** Another host asks for a snapshot. */
  requested(replica: Replica, peer: PeerIdentity, request: SnapshotRequest): void {
    const { maximumTransfers, env, timeoutMs } = this.#options
    if (this.#queue.length >= maximumQueued) return
    const expiresMs = env.clock.monotonicMs() + timeoutMs
    this.#queue.push({ replica, peer, request, expiresMs })
    if (this.#sending.size < maximumTransfers) void this.#sendQueued()
  }

  /** Whether a snapshot was asked for here, or is being received. */
  isReceiving(groupId: GroupId): boolean {
    return this.#incoming.has(groupId)
  }

  /** Breaks off what a group is receiving. */
  cancel(groupId: GroupId, error: KeelsonError): void {
    const incoming = this.#incoming.get(groupId)
    if (incoming === undefined) return
    this.#incoming.delete(groupId)
    incoming.timer?.cancel()
    incoming.controller.abort(error)
  }

  /** Breaks off everything. */
  close(): void {
    const error = new KeelsonError('CLOSED', 'the Raft host was closed; open it again')
    this.#controller.abort(error)
    this.#queue.length = 0
    for (const groupId of this.#incoming.keys()) this.cancel(groupId, error)
  }

  async #sendQueued(): Promise<void> {
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      if (next.expiresMs <= this.#options.env.clock.monotonicMs() || next.replica.stopped) continue
      const key = `${next.replica.groupId}/${next.request.from}`
      if (this.#sending.has(key)) continue
      this.#sending.add(key)
      let outcome: 'sent' | 'failed' = 'failed'
      try {
        await this.#send(next)
        outcome = 'sent'
      } catch (error) {
        this.#options.env.logger.warn(
          { groupId: next.replica.groupId, peer: next.peer.nodeId, error },
          'a snapshot could not be sent',
        )
      } finally {
        this.#sending.delete(key)
      }
      next.replica.snapshotSent(next.request.from, outcome)
    }
  }

  async #send({ replica, peer, request }: Outgoing): Promise<void> {
    const { position, snapshot } = await replica.takeSnapshot()
    await using _view = snapshot
    const release = replica.holdLog(position.index)
    try {
      await this.#stream({ replica, peer, request, position, snapshot })
    } finally {
      release()
    }
  }

  async #stream({ replica, peer, request, position, snapshot }: View): Promise<void> {
    const { channel, env, timeoutMs } = this.#options
    const { signal } = this.#controller
    const header = encodeSnapshotHeader({
      groupId: replica.groupId,
      from: replica.replicaId,
      to: request.from,
      incarnation: peer.incarnation,
      requestId: request.requestId,
      position,
    })
    const stream = await channel.openStream(peer.nodeId, header, { signal })
    try {
      const size = Math.min(maximumPieceBytes, channel.maximumMessageBytes)
      const chunks = encodeSnapshot(snapshot, size)
      for await (const chunk of withIdleLimit(env.timers, chunks, timeoutMs, signal)) {
        await this.#limited(async (limit) => stream.write(chunk, limit))
      }
      await this.#limited(async (limit) => stream.end(limit))
    } catch (error) {
      stream.destroy()
      throw error
    }
  }

  /** Waits for an act of the other side, but not for longer than the limit. */
  async #limited(act: (options: Required<CallOptions>) => Promise<void>): Promise<void> {
    const { env, timeoutMs } = this.#options
    const limit = deadline(env.timers, timeoutMs, () => stoodStill(timeoutMs), this.#controller.signal)
    try {
      await abortable(act({ signal: limit.signal }), limit.signal)
    } finally {
      limit.release()
    }
  }

  async #receive(peer: PeerIdentity, header: Uint8Array, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const { groupId, requestId, from, to, incarnation } = decodeSnapshotHeader(header)
    const incoming = this.#incoming.get(groupId)
    const replica = this.#options.replica(groupId)
    if (
      incoming?.requestId !== requestId ||
      incoming.timer === undefined ||
      replica?.replicaId !== to ||
      incarnation !== this.#options.incarnation ||
      peer.nodeId !== incoming.from.nodeId ||
      !replica.isBound(from, peer)
    ) {
      throw new KeelsonError('CONFLICT', `nobody here waits for this snapshot of group ${groupId}`)
    }
    incoming.timer.cancel()
    incoming.timer = undefined
    const { env, timeoutMs } = this.#options
    const reader = new SnapshotReader(
      withIdleLimit(env.timers, chunks, timeoutMs, incoming.controller.signal),
    )
    try {
      const bookkeeping = await reader.bookkeeping()
      await replica.beginRestore()
      await replica.restore(bookkeeping, reader.chunks())
    } catch (error) {
      env.logger.warn({ groupId, peer: peer.nodeId, error }, 'a snapshot could not be restored')
      replica.restoreFailed()
      throw error
    } finally {
      if (this.#incoming.get(groupId) === incoming) this.#incoming.delete(groupId)
      await reader.close()
    }
  }
}

/** The same chunks, or an error when the next one is not there after `idleMs`, or when the signal is aborted. */
async function* withIdleLimit(
  timers: Timers,
  chunks: AsyncIterable<Uint8Array>,
  idleMs: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const input = chunks[Symbol.asyncIterator]()
  try {
    for (;;) {
      const late = deferred<never>()
      late.promise.catch(() => {})
      const timer = timers.schedule(idleMs, () => late.reject(stoodStill(idleMs)))
      const release = onAbort(signal, () => late.reject(signal.reason))
      let next: IteratorResult<Uint8Array>
      try {
        if (signal.aborted) late.reject(signal.reason)
        next = await Promise.race([input.next(), late.promise])
      } finally {
        timer.cancel()
        release()
      }
      if (next.done === true) return
      yield next.value
    }
  } finally {
    // Not awaited: what stood still may never answer.
    input.return?.().catch(() => {})
  }
}

function stoodStill(forMs: number): KeelsonError {
  return new KeelsonError('TIMEOUT', `a snapshot stood still for ${forMs} ms; it is sent again`)
}
