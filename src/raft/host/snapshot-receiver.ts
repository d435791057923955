import { abortable } from '../../core/async.ts'
import type { TimerHandle } from '../../core/clock.ts'
import { KeelsonError, toKeelsonError } from '../../core/errors.ts'
import type { LogPosition } from '../../interfaces/log-store.ts'
import type { PeerIdentity } from '../../interfaces/transport.ts'
import type { GroupId, ReplicaId } from '../../model/ids.ts'
import type { OfferedSnapshot } from '../core/types.ts'
import type { Peer } from '../group/peers.ts'
import type { Replica } from '../group/replica.ts'
import { Handover } from './handover.ts'
import { stoodStill, withIdleLimit } from './idle-limit.ts'
import { RateLimiter } from './rate-limiter.ts'
import type { SnapshotTransferOptions } from './snapshot-options.ts'
import {
  decodeSnapshotHeader,
  isEnd,
  PieceChecker,
  type SnapshotHeader,
  type SnapshotPiece,
  SnapshotReader,
} from './snapshot-wire.ts'

/** A part of the time after which a transfer is given up: how long an answer to a request is waited for. */
const patience = 4
/** Pause before the rest is asked for after a broken connection, at first. It doubles with each failure. */
const firstPauseMs = 20

/**
 * Receives snapshots, some at a time and at a bounded rate. The receiver asks for each segment, and after whatever broke
 * for what comes after the last piece that its state machine took: the restore waits meanwhile. It begins again only
 * when the sender does not hold that view any more.
 */
export class SnapshotReceiver {
  readonly #options: SnapshotTransferOptions
  readonly #rate: RateLimiter
  readonly #transfers = new Map<GroupId, Transfer>()
  #lastRequestId = 0

  constructor(options: SnapshotTransferOptions) {
    this.#options = options
    this.#rate = new RateLimiter(options.env, options.bytesPerSecond)
  }

  /** Whether a snapshot was asked for here, or is being received. */
  isReceiving(groupId: GroupId): boolean {
    return this.#transfers.has(groupId)
  }

  /** A leader offered a snapshot to this replica. */
  offered(replica: Replica, offered: OfferedSnapshot): void {
    const from = replica.peerOf(offered.from)
    const pending = this.#transfers.get(replica.groupId)
    if (pending !== undefined) {
      // What is under way is as good, or better; unless nothing comes from there any more.
      if (this.#hasStalled(pending) && offered.position.index >= pending.least.index) {
        this.#giveUp(pending, new KeelsonError('ABORTED', 'another replica offers a snapshot'))
      }
      replica.offerDeclined()
    } else if (from === undefined || this.#transfers.size >= this.#options.maximumTransfers) {
      replica.offerDeclined()
    } else {
      const transfer = new Transfer(replica, from, offered, this.#nowMs())
      this.#transfers.set(replica.groupId, transfer)
      this.#ask(transfer)
    }
  }

  /** A stream that another host opened. Its end tells the sender that all of it arrived. */
  async receive(
    peer: PeerIdentity,
    headerBytes: Uint8Array,
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    const header = decodeSnapshotHeader(headerBytes)
    const transfer = this.#transfers.get(header.groupId)
    if (transfer === undefined || !this.#isWaitedFor(transfer, header, peer)) {
      throw new KeelsonError('CONFLICT', `nobody here waits for this snapshot of group ${header.groupId}`)
    }
    if (header.position.index < transfer.least.index) {
      throw new KeelsonError(
        'CONFLICT',
        `a snapshot of group ${header.groupId} at ${header.position.index} is older than the pending one, at ${transfer.least.index}`,
      )
    }
    transfer.timer?.cancel()
    transfer.streaming = true
    let failed = true
    try {
      await this.#takeSegment(transfer, header, chunks)
      failed = false
    } catch (error) {
      this.#warn(transfer, peer, error)
      throw toKeelsonError(error)
    } finally {
      transfer.streaming = false
      if (!transfer.over) {
        if (failed) this.#askLater(transfer)
        else this.#ask(transfer)
      }
    }
  }

  /** Breaks off what a group is receiving. */
  cancel(groupId: GroupId, error: KeelsonError): void {
    const transfer = this.#transfers.get(groupId)
    if (transfer === undefined) return
    this.#transfers.delete(groupId)
    if (!transfer.over) this.#options.onEnd('received', false)
    transfer.end(error)
    transfer.restored.catch(() => transfer.replica.restoreFailed())
  }

  close(error: KeelsonError): void {
    for (const groupId of this.#transfers.keys()) this.cancel(groupId, error)
  }

  #nowMs(): number {
    return this.#options.env.clock.monotonicMs()
  }

  /** Nothing arrived for longer than a request is waited for. */
  #hasStalled(transfer: Transfer): boolean {
    return !transfer.busy && this.#nowMs() - transfer.movedMs >= this.#options.timeoutMs / patience
  }

  /** Asks for the next segment, and for it again when nothing comes. */
  #ask(transfer: Transfer): void {
    const { env, timeoutMs, sendRequest } = this.#options
    const { replica, from, leader, term, least, snapshotId, checker } = transfer
    transfer.timer?.cancel()
    transfer.requestId = ++this.#lastRequestId
    const { requestId } = transfer
    const nextPiece = checker.count
    const header = { from: replica.replicaId, to: leader, term }
    sendRequest(replica, from, {
      kind: 'snapshotRequest',
      ...header,
      position: least,
      requestId,
      snapshotId,
      nextPiece,
    })
    transfer.timer = env.timers.schedule(timeoutMs / patience, () => this.#askAgain(transfer))
  }

  #askAgain(transfer: Transfer): void {
    const { timeoutMs } = this.#options
    if (this.#nowMs() - transfer.movedMs >= timeoutMs) this.#giveUp(transfer, stoodStill(timeoutMs))
    else this.#ask(transfer)
  }

  /** After something broke: whoever broke it may need a moment. */
  #askLater(transfer: Transfer): void {
    const { env, timeoutMs } = this.#options
    const pauseMs = Math.min(firstPauseMs * 2 ** transfer.failures++, timeoutMs / patience)
    transfer.timer?.cancel()
    transfer.timer = env.timers.schedule(pauseMs, () => this.#askAgain(transfer))
  }

  #isWaitedFor(transfer: Transfer, header: SnapshotHeader, peer: PeerIdentity): boolean {
    const { replica, from, requestId, streaming, over } = transfer
    return (
      !over &&
      !streaming &&
      header.requestId === requestId &&
      header.to === replica.replicaId &&
      header.incarnation === this.#options.incarnation &&
      header.recoveryGeneration === replica.recoveryGeneration &&
      peer.nodeId === from.nodeId &&
      replica.isBound(header.from, peer)
    )
  }

  async #takeSegment(
    transfer: Transfer,
    header: SnapshotHeader,
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    const { env, timeoutMs } = this.#options
    if (transfer.isAnother(header)) await transfer.begin(header)
    else if (transfer.checker.count > 0) this.#options.onResume()
    if (!transfer.continues(header)) {
      throw new KeelsonError('CONFLICT', `piece ${transfer.checker.count} of the snapshot was asked for`)
    }
    const { signal } = transfer.controller
    for await (const chunk of withIdleLimit(env.timers, chunks, timeoutMs, signal)) {
      if (transfer.over) throw new KeelsonError('MALFORMED', 'a snapshot goes on after its end')
      const piece = await this.#atOwnPace(transfer, async () => {
        await this.#rate.take(chunk.length, signal)
        return transfer.checker.check(chunk)
      })
      transfer.failures = 0
      this.#options.onBytes('received', chunk.length)
      const wanted = await this.#atOwnPace(transfer, async () => transfer.hand(piece))
      // A restore that is over without wanting all of it found its own state as new.
      if (!wanted) return this.#finish(transfer)
      transfer.movedMs = this.#nowMs()
      if (!isEnd(piece)) continue
      transfer.input?.end()
      await this.#finish(transfer)
    }
    if (transfer.checker.count === header.firstPiece) {
      throw new KeelsonError('MALFORMED', 'a segment of a snapshot came without a piece')
    }
  }

  /** What takes its time here is not held against the sender. */
  async #atOwnPace<T>(transfer: Transfer, act: () => Promise<T>): Promise<T> {
    const fromMs = this.#nowMs()
    transfer.busy = true
    try {
      return await act()
    } finally {
      transfer.busy = false
      transfer.movedMs += this.#nowMs() - fromMs
    }
  }

  /** Nothing more is to be handed over: waits for what the restore comes to. */
  async #finish(transfer: Transfer): Promise<void> {
    try {
      await abortable(transfer.restored, transfer.controller.signal)
    } catch (error) {
      this.#giveUp(transfer, toKeelsonError(error))
      throw error
    }
    transfer.over = true
    this.#transfers.delete(transfer.replica.groupId)
    this.#options.onEnd('received', true)
  }

  /** The leader offers again, in its time. */
  #giveUp(transfer: Transfer, error: KeelsonError): void {
    if (transfer.over) return
    const { replica } = transfer
    transfer.end(error)
    this.#options.onEnd('received', false)
    // Not before the state machine is out of it: it may be switching just now.
    const over = (): void => {
      if (this.#transfers.get(replica.groupId) === transfer) this.#transfers.delete(replica.groupId)
    }
    transfer.restored.then(over, () => {
      over()
      replica.restoreFailed()
    })
  }

  #warn({ replica }: Transfer, peer: PeerIdentity, error: unknown): void {
    const { groupId } = replica
    this.#options.env.logger.warn(
      { groupId, peer: peer.nodeId, error },
      'a snapshot, or a part of it, was not received',
    )
  }
}

/**
 * One snapshot that is being received: from the offer to the end of the restore, over any number of streams.
 *
 * @internal
 */
export class Transfer {
  readonly replica: Replica
  readonly from: Peer
  readonly leader: ReplicaId
  readonly term: number
  readonly controller: AbortController = new AbortController()
  /** What is taken is at least as new. */
  least: LogPosition
  /** Of the request that is open. */
  requestId = 0
  /** The sender's view, once a stream has named it. */
  snapshotId = 0
  checker: PieceChecker = new PieceChecker()
  input: Handover<SnapshotPiece> | undefined
  /** What the restore comes to; fails until one has begun. */
  restored: Promise<void> = nothingBegun()
  /** When the last piece came, later by what this host took for it. */
  movedMs: number
  /** This host is at work on a piece. */
  busy = false
  /** Since the last piece that was right. */
  failures = 0
  timer: TimerHandle | undefined
  streaming = false
  over = false

  constructor(replica: Replica, from: Peer, offered: OfferedSnapshot, nowMs: number) {
    this.replica = replica
    this.from = from
    this.leader = offered.from
    this.term = offered.term
    this.least = offered.position
    this.movedMs = nowMs
  }

  /** Not the snapshot of which some was taken. */
  isAnother(header: SnapshotHeader): boolean {
    return header.snapshotId !== this.snapshotId
  }

  /** The stream begins where the last one ended. */
  continues(header: SnapshotHeader): boolean {
    return header.firstPiece === this.checker.count
  }

  /** Another snapshot than before, or the first: what was taken of the one before is of no use. */
  async begin(header: SnapshotHeader): Promise<void> {
    this.input?.fail(new KeelsonError('ABORTED', 'the sender began with another snapshot'))
    await this.restored.catch(() => {})
    if (this.over) throw this.controller.signal.reason
    this.snapshotId = header.snapshotId
    this.least = header.position
    this.checker = new PieceChecker()
    const input = new Handover<SnapshotPiece>()
    this.input = input
    this.restored = this.#restore(input)
    this.restored.catch(() => {})
  }

  async #restore(input: Handover<SnapshotPiece>): Promise<void> {
    const reader = new SnapshotReader(input)
    try {
      const bookkeeping = await reader.bookkeeping()
      await this.replica.beginRestore()
      await this.replica.restore(bookkeeping, reader.chunks())
    } finally {
      // Whatever it came to, nothing more is taken.
      await input.return()
    }
  }

  /** @returns whether the restore wants more */
  async hand(piece: SnapshotPiece): Promise<boolean> {
    return (await this.input?.push(piece)) ?? false
  }

  end(error: KeelsonError): void {
    this.over = true
    this.timer?.cancel()
    this.controller.abort(error)
    this.input?.fail(error)
  }
}

function nothingBegun(): Promise<void> {
  const nothing = Promise.reject(new KeelsonError('ABORTED', 'no snapshot arrived'))
  nothing.catch(() => {})
  return nothing
}
