import { abortable, onAbort } from '../../core/async.ts'
import type { TimerHandle } from '../../core/clock.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { LogPosition } from '../../interfaces/log-store.ts'
import type { StateSnapshot } from '../../interfaces/state-machine.ts'
import type { PeerIdentity } from '../../interfaces/transport.ts'
import type { GroupId, ReplicaId } from '../../model/ids.ts'
import type { PositionedSnapshot } from '../group/applier.ts'
import type { Replica } from '../group/replica.ts'
import type { SnapshotRequest } from './host-messages.ts'
import { withIdleLimit, within } from './idle-limit.ts'
import { RateLimiter } from './rate-limiter.ts'
import type { SnapshotTransferOptions } from './snapshot-options.ts'
import { encodeSnapshot, encodeSnapshotHeader, isEncodedEnd } from './snapshot-wire.ts'

/** Somebody who asked and was not served yet. */
interface Asked {
  readonly key: string
  readonly replica: Replica
  readonly peer: PeerIdentity
  readonly request: SnapshotRequest
  readonly expiresMs: number
}

const maximumQueued = 1_000
const maximumPieceBytes = 256 << 10
const minimumPieceBytes = 256

/**
 * Sends snapshots to those who ask, some at a time and at a bounded rate. A view of the state stays open from the first
 * piece to the last, with the pieces that the receiver may ask for again, or until nothing is asked for any more. Nothing
 * of it is in the way of what the replica applies meanwhile.
 */
export class SnapshotSender {
  readonly #options: SnapshotTransferOptions
  readonly #rate: RateLimiter
  /** By group and receiver: one at a time. */
  readonly #views = new Map<string, View>()
  /** Views that are being made, each with what was asked for last. */
  readonly #starting = new Map<string, Asked>()
  #queue: Asked[] = []
  #lastId: number
  readonly #closing = new AbortController()

  constructor(options: SnapshotTransferOptions) {
    this.#options = options
    this.#rate = new RateLimiter(options.env, options.bytesPerSecond)
    // A view of an earlier life of this process is none of this one.
    this.#lastId = options.env.random.integer(2 ** 40)
  }

  /** Another host asks for a snapshot, or for the rest of one. */
  requested(replica: Replica, peer: PeerIdentity, request: SnapshotRequest): void {
    if (this.#closing.signal.aborted) return
    const key = keyOf(replica.groupId, request.from)
    const expiresMs = this.#options.env.clock.monotonicMs() + this.#options.timeoutMs
    const asked = { key, replica, peer, request, expiresMs }
    const view = this.#views.get(key)
    if (view?.serves(asked) === true) {
      void this.#serve(view, request)
      return
    }
    // Whoever asks anew needs nothing of what was there, and takes the place of the earlier request.
    if (view !== undefined) this.#end(view, undefined)
    if (this.#starting.has(key)) {
      this.#starting.set(key, asked)
      return
    }
    this.#queue = this.#queue.filter((other) => other.key !== key)
    if (this.#queue.length >= maximumQueued) return
    this.#queue.push(asked)
    this.#startQueued()
  }

  /** Nothing is sent of a group any more. */
  cancel(groupId: GroupId): void {
    this.#queue = this.#queue.filter(({ replica }) => replica.groupId !== groupId)
    for (const view of this.#views.values()) if (view.replica.groupId === groupId) this.#end(view, undefined)
  }

  close(): void {
    this.#closing.abort(new KeelsonError('CLOSED', 'the Raft host was closed; open it again'))
    this.#queue = []
    for (const view of this.#views.values()) this.#end(view, undefined)
  }

  #startQueued(): void {
    const { maximumTransfers } = this.#options
    while (this.#queue.length > 0 && this.#views.size + this.#starting.size < maximumTransfers) {
      void this.#start(this.#queue.shift() as Asked)
    }
  }

  async #start(asked: Asked): Promise<void> {
    const { key, replica, peer, expiresMs } = asked
    if (expiresMs <= this.#options.env.clock.monotonicMs() || replica.stopped) return
    this.#starting.set(key, asked)
    let view: View | undefined
    let latest = asked
    try {
      const { position, snapshot } = await this.#take(replica)
      latest = this.#starting.get(key) ?? asked
      view = this.#open(latest, position, snapshot)
    } catch (error) {
      if (!replica.stopped) this.#warn(replica.groupId, peer, error)
    } finally {
      this.#starting.delete(key)
    }
    if (view === undefined) {
      replica.snapshotSent(latest.request.from, 'failed')
      this.#startQueued()
    } else await this.#serve(view, latest.request)
  }

  /** A view of the state, unless that takes too long. */
  async #take(replica: Replica): Promise<PositionedSnapshot> {
    const { env, timeoutMs } = this.#options
    const taken = replica.takeSnapshot()
    let late = true
    try {
      const result = await within(env.timers, timeoutMs, this.#closing.signal, async () => taken)
      late = false
      return result
    } finally {
      if (late) taken.then(async ({ snapshot }) => snapshot[Symbol.asyncDispose]()).catch(() => {})
    }
  }

  #open(asked: Asked, position: LogPosition, snapshot: StateSnapshot): View {
    const { key, replica } = asked
    const { env, timeoutMs } = this.#options
    const controller = new AbortController()
    const encoded = encodeSnapshot(snapshot, this.#pieceBytes())
    const pieces = withIdleLimit(env.timers, encoded, timeoutMs, controller.signal)
    const release = replica.holdLog(position.index)
    const view = new View({ asked, id: ++this.#lastId, position, snapshot, pieces, release, controller })
    if (this.#closing.signal.aborted || !view.serves(asked)) {
      view.close()
      throw new KeelsonError('ABORTED', 'the view is not the one that was asked for; it is asked for again')
    }
    this.#views.set(key, view)
    return view
  }

  /** So small that each stream moves well within the time after which it is given up, when all of them share the rate. */
  #pieceBytes(): number {
    const { channel, timeoutMs, bytesPerSecond, maximumTransfers } = this.#options
    const share = Math.floor((bytesPerSecond * timeoutMs) / 1_000 / 4 / maximumTransfers)
    return Math.min(maximumPieceBytes, channel.maximumMessageBytes, Math.max(minimumPieceBytes, share))
  }

  /** Sends one segment, from the piece that was asked for. */
  async #serve(view: View, request: SnapshotRequest): Promise<void> {
    const { env, timeoutMs } = this.#options
    view.attempt?.abort(new KeelsonError('ABORTED', 'the receiver asked again'))
    view.expiry?.cancel()
    const attempt = new AbortController()
    view.attempt = attempt
    const release = onAbort(view.controller.signal, () => attempt.abort(view.controller.signal.reason))
    let whole = false
    try {
      whole = await this.#sendSegment(view, request, attempt.signal)
    } catch (error) {
      if (view.attempt === attempt && !view.over) this.#warn(view.replica.groupId, view.peer, error)
    } finally {
      release()
    }
    if (view.attempt !== attempt || view.over) return
    view.attempt = undefined
    if (whole) this.#end(view, 'sent')
    else if (view.failed) this.#end(view, 'failed')
    else view.expiry = env.timers.schedule(timeoutMs, () => this.#end(view, 'failed'))
  }

  /** @returns whether the receiver has all of it now */
  async #sendSegment(view: View, request: SnapshotRequest, signal: AbortSignal): Promise<boolean> {
    const { channel, env, timeoutMs, windowBytes } = this.#options
    const { replica, peer, position, id } = view
    view.forgetBefore(request.nextPiece)
    const header = encodeSnapshotHeader({
      groupId: replica.groupId,
      recoveryGeneration: replica.recoveryGeneration,
      from: replica.replicaId,
      to: request.from,
      incarnation: peer.incarnation,
      requestId: request.requestId,
      position,
      snapshotId: id,
      firstPiece: request.nextPiece,
    })
    const stream = await within(env.timers, timeoutMs, signal, async (limit) =>
      channel.openStream(peer.nodeId, header, limit),
    )
    try {
      let number = request.nextPiece
      let bytes = 0
      for (;;) {
        const piece = bytes >= windowBytes ? undefined : await view.piece(number, signal)
        if (piece === undefined) break
        await this.#rate.take(piece.length, signal)
        await within(env.timers, timeoutMs, signal, async (limit) => stream.write(piece, limit))
        this.#options.onBytes('sent', piece.length)
        bytes += piece.length
        number++
      }
      await within(env.timers, timeoutMs, signal, async (limit) => stream.end(limit))
      return view.isEnd(number)
    } catch (error) {
      stream.destroy()
      throw error
    }
  }

  #end(view: View, outcome: 'sent' | 'failed' | undefined): void {
    if (view.over) return
    view.close()
    this.#views.delete(view.key)
    if (outcome !== undefined) {
      this.#options.onEnd('sent', outcome === 'sent')
      view.replica.snapshotSent(view.to, outcome)
    }
    this.#startQueued()
  }

  #warn(groupId: GroupId, peer: PeerIdentity, error: unknown): void {
    this.#options.env.logger.warn(
      { groupId, peer: peer.nodeId, error },
      'a snapshot, or a part of it, could not be sent',
    )
  }
}

interface ViewSetup {
  readonly asked: Asked
  readonly id: number
  readonly position: LogPosition
  readonly snapshot: StateSnapshot
  readonly pieces: AsyncIterator<Uint8Array>
  readonly release: () => void
  readonly controller: AbortController
}

/**
 * A view of a state that is being sent, with the pieces that may be asked for again: those of one segment at most.
 *
 * @internal
 */
export class View {
  readonly key: string
  readonly id: number
  readonly replica: Replica
  readonly peer: PeerIdentity
  readonly to: ReplicaId
  readonly position: LogPosition
  readonly controller: AbortController
  /** The segment under way. */
  attempt: AbortController | undefined
  /** While nothing is asked for. */
  expiry: TimerHandle | undefined
  over = false
  /** The state could not be read on. */
  failed = false
  readonly #setup: ViewSetup
  /** Number of the first piece that is kept. */
  #first = 0
  #kept: Uint8Array[] = []
  #ended = false
  #producing: Promise<void> | undefined

  constructor(setup: ViewSetup) {
    this.#setup = setup
    this.key = setup.asked.key
    this.id = setup.id
    this.replica = setup.asked.replica
    this.peer = setup.asked.peer
    this.to = setup.asked.request.from
    this.position = setup.position
    this.controller = setup.controller
  }

  /** Whether a request goes on with this view, or has had nothing yet and may as well begin with it. */
  serves({ replica, peer, request }: Asked): boolean {
    return (
      (request.snapshotId === this.id || request.snapshotId === 0) &&
      this.holds(request.nextPiece) &&
      request.position.index <= this.position.index &&
      replica === this.replica &&
      !replica.stopped &&
      peer.incarnation === this.peer.incarnation
    )
  }

  /** Whether this piece is there still, or comes next. */
  holds(number: number): boolean {
    return number >= this.#first && number <= this.#first + this.#kept.length
  }

  /** The receiver has everything before this one. */
  forgetBefore(number: number): void {
    this.#kept.splice(0, number - this.#first)
    this.#first = number
  }

  /** Whether there is no such piece any more. */
  isEnd(number: number): boolean {
    return this.#ended && number === this.#first + this.#kept.length
  }

  /** A piece that is kept, or the next one of the state; undefined after the last. */
  async piece(number: number, signal: AbortSignal): Promise<Uint8Array | undefined> {
    while (number >= this.#first + this.#kept.length && !this.#ended) {
      // One at a time, whoever waits: an earlier attempt may still do so.
      this.#producing ??= this.#produce()
      await abortable(this.#producing, signal)
    }
    return this.#kept[number - this.#first]
  }

  close(): void {
    this.over = true
    this.expiry?.cancel()
    this.controller.abort(new KeelsonError('ABORTED', 'the snapshot is not needed any more'))
    const { pieces, snapshot, release } = this.#setup
    release()
    // Not awaited: a state machine that stood still may never answer.
    pieces.return?.().catch(() => {})
    snapshot[Symbol.asyncDispose]().then(undefined, () => {})
  }

  async #produce(): Promise<void> {
    try {
      const next = await this.#setup.pieces.next()
      if (next.done === true) throw new KeelsonError('ABORTED', 'the state could not be read on before')
      this.#kept.push(next.value)
      this.#ended = isEncodedEnd(next.value)
    } catch (error) {
      this.failed = true
      throw error
    } finally {
      this.#producing = undefined
    }
  }
}

function keyOf(groupId: GroupId, to: ReplicaId): string {
  return `${groupId}/${to}`
}
