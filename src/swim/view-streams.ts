import { abortable, deadline, deferred, sleep } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import type { LogMethod } from '../core/logger.ts'
import type { Channel, OutgoingStream, PeerIdentity } from '../interfaces/transport.ts'
import type { NodeId } from '../model/ids.ts'
import type { SwimCore } from './core/swim-core.ts'
import type { ViewTransfer } from './core/view-transfer.ts'

/** Views that go out, and that come in, at once. */
const maximumOutgoing = 4
const maximumIncoming = 8

/** A view that makes no progress for so long is given up. */
const patienceMs = 15_000

/** While the budget for answers is spent. */
const pauseMs = 20

/** No record of a member is longer. */
const longestRecordBytes = 1_024

/** What the streams work with. */
export interface ViewStreamsParts {
  readonly env: Environment
  readonly core: SwimCore
  readonly channel: Channel
  readonly complain: LogMethod
  /** Members of a view at most. */
  readonly maximumMembers: number
  /** Takes a packet in that came by a stream. */
  readonly receive: (peer: NodeId, bytes: Uint8Array) => void
  /** Carries out what the core wants. */
  readonly pump: () => void
}

/**
 * Carries views of any length as streams of small pieces, at the pace of whoever takes them in, a turn of the event loop for
 * each piece at both ends.
 */
export class ViewStreams {
  readonly #parts: ViewStreamsParts
  readonly #closing = new AbortController()
  readonly #outgoing = new Set<NodeId>()
  #incoming = 0

  constructor(parts: ViewStreamsParts) {
    this.#parts = parts
    parts.channel.onStream((peer, _, pieces) => this.#receive(peer, pieces))
  }

  /** Sends a view, unless one is on its way to that member already, or too many are to others. */
  send(view: ViewTransfer): void {
    const { core } = this.#parts
    if (this.#closing.signal.aborted) return
    if (this.#outgoing.size >= maximumOutgoing || this.#outgoing.has(view.recipient)) {
      core.counters.requestsRefused++
      return
    }
    this.#outgoing.add(view.recipient)
    this.#send(view)
      .catch((error: unknown) => this.#onFailure(view, error))
      .finally(() => this.#outgoing.delete(view.recipient))
  }

  close(): void {
    this.#closing.abort()
  }

  async #send(view: ViewTransfer): Promise<void> {
    const { env, core, channel } = this.#parts
    let stream: OutgoingStream | undefined
    try {
      const opened = await this.#patiently((signal) =>
        channel.openStream(view.recipient, new Uint8Array(0), { signal }),
      )
      stream = opened
      for (;;) {
        const piece = core.nextOfView(view, env.clock.monotonicMs())
        if (piece === undefined) break
        if (piece === 'later') {
          await sleep(env.timers, pauseMs, this.#closing.signal)
          continue
        }
        await this.#patiently((signal) => opened.write(piece, { signal }))
        await this.#turn()
      }
      await this.#patiently((signal) => opened.end({ signal }))
      core.noteStream(view.recipient, true)
    } catch (error) {
      stream?.destroy()
      throw error
    }
  }

  #onFailure(view: ViewTransfer, error: unknown): void {
    if (this.#closing.signal.aborted) return
    const { env, core, complain, pump } = this.#parts
    complain({ peer: view.recipient, error }, 'a view could not be sent by a stream: it goes by datagrams')
    core.viewFailed(view, env.clock.monotonicMs())
    pump()
  }

  async #receive({ nodeId }: PeerIdentity, pieces: AsyncIterable<Uint8Array>): Promise<void> {
    const { maximumMembers, receive } = this.#parts
    if (this.#incoming >= maximumIncoming)
      throw new KeelsonError('OVERLOADED', `${maximumIncoming} views come in already; send yours later`)
    this.#incoming++
    const iterator = pieces[Symbol.asyncIterator]()
    let left = maximumMembers * longestRecordBytes
    try {
      for (;;) {
        const { done, value } = await this.#patiently((signal) => abortable(iterator.next(), signal))
        if (done === true) return
        left -= value.length
        if (left < 0)
          throw new KeelsonError('LIMIT_EXCEEDED', `a view has no more than ${maximumMembers} members`)
        receive(nodeId, value)
        await this.#turn()
      }
    } finally {
      this.#incoming--
      await iterator.return?.()
    }
  }

  /** Others get their turn: packets and timers do not wait for a whole view. */
  async #turn(): Promise<void> {
    const turned = deferred<void>()
    this.#parts.env.timers.defer(() => turned.resolve())
    await abortable(turned.promise, this.#closing.signal)
  }

  async #patiently<T>(step: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const slow = (): KeelsonError =>
      new KeelsonError('TIMEOUT', `a view made no progress for ${patienceMs} ms`)
    const { signal, release } = deadline(this.#parts.env.timers, patienceMs, slow, this.#closing.signal)
    try {
      return await step(signal)
    } finally {
      release()
    }
  }
}
