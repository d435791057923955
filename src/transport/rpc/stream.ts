import { abortError, onAbort, throwIfAborted } from '../../core/async.ts'
import { KeelsonError, toKeelsonError } from '../../core/errors.ts'
import { IncomingStream } from '../../core/streams/incoming-stream.ts'
import type { NodeId } from '../../model/ids.ts'
import type { RpcFrame } from './frames.ts'
import type { CheckedRpcOptions } from './options.ts'

/** What a stream asks of its {@link RpcClient}. */
export interface RpcStreamOwner {
  readonly options: CheckedRpcOptions
  openStream(stream: RpcStream, method: string, body: Uint8Array): number
  closeStream(stream: RpcStream, id: number): void
  send(peer: NodeId, frame: RpcFrame): boolean
  unreachable(peer: NodeId, outcome?: 'none' | 'unknown'): KeelsonError
}

const maximumSilences = 4

/** The receiving end of a remote stream: opened by the first `next`, closed by leaving the loop. */
export class RpcStream implements AsyncIterableIterator<Uint8Array> {
  readonly peer: NodeId
  readonly #owner: RpcStreamOwner
  readonly #method: string
  readonly #body: Uint8Array
  readonly #signal: AbortSignal | undefined
  #release: () => void = () => {}
  #id = 0
  #limit = 0
  #items: IncomingStream | undefined
  #received = 0
  #silences = 0
  #finished = false
  #aborted: KeelsonError | undefined

  constructor(
    owner: RpcStreamOwner,
    peer: NodeId,
    method: string,
    body: Uint8Array,
    signal: AbortSignal | undefined,
  ) {
    this.#owner = owner
    this.peer = peer
    this.#method = method
    this.#body = body
    this.#signal = signal
  }

  /** Credit granted so far. */
  get limit(): number {
    return this.#limit
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    if (this.#aborted !== undefined) throw this.#aborted
    if (this.#items === undefined) {
      if (this.#finished) return { value: undefined, done: true }
      throwIfAborted(this.#signal)
      this.#items = this.#open()
    }
    const result = await this.#items.next()
    // An abort is news at once: what waits behind it is not wanted any more.
    if (this.#aborted !== undefined) throw this.#aborted
    return result
  }

  async return(): Promise<IteratorResult<Uint8Array>> {
    this.#leave()
    this.#items?.discard()
    return { value: undefined, done: true }
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<Uint8Array> {
    return this
  }

  /** Takes a frame of the peer. */
  receive(frame: RpcFrame): void {
    if (this.#items === undefined) return
    this.#silences = 0
    if (frame.type === 'item') {
      if (frame.sequence !== this.#received + 1) this.#gap()
      else this.#take(this.#items, frame.body)
    } else if (frame.type === 'end') {
      if (frame.sequence !== this.#received) this.#gap()
      else {
        this.#finish()
        this.#items.end()
      }
    } else if (frame.type === 'error') {
      this.#finish()
      this.#items.fail(frame.error)
    }
  }

  /** Compares what the peer says it has sent (+ 1; 0: it knows no such stream) with what came. */
  compare(sent: number): void {
    this.#silences = 0
    if (sent !== this.#received + 1) this.#gap()
  }

  /** True when nothing came since the last question; the stream breaks when that goes on. */
  silent(): boolean {
    this.#silences++
    if (this.#silences > maximumSilences) this.fail(this.#owner.unreachable(this.peer, 'unknown'))
    return this.#silences > 1 && !this.#finished
  }

  /** Ends the iteration with an error, after the items that are here. */
  fail(error: KeelsonError): void {
    this.#finish()
    this.#items?.fail(error)
  }

  /** Ends the iteration with an error now, and tells the peer. */
  cancel(error: KeelsonError): void {
    this.#aborted = error
    this.#leave()
    this.#items?.fail(error)
  }

  #open(): IncomingStream {
    this.#id = this.#owner.openStream(this, this.#method, this.#body)
    const signal = this.#signal
    if (signal !== undefined) this.#release = onAbort(signal, () => this.cancel(abortError(signal)))
    const wire = {
      send: (record: { type: string; limit?: number }) => {
        if (record.type !== 'credit' || this.#finished) return
        this.#limit = record.limit as number
        this.#owner.send(this.peer, { type: 'credit', id: this.#id, limit: this.#limit })
      },
      room: () => undefined,
    }
    return new IncomingStream(this.#id, wire, this.#owner.options.streamWindowBytes)
  }

  #take(items: IncomingStream, body: Uint8Array): void {
    this.#received++
    try {
      items.push(body)
    } catch (error) {
      this.#leave()
      items.fail(toKeelsonError(error))
    }
  }

  #gap(): void {
    this.#leave()
    const lost = 'items of the stream were lost on their way; open it again where it broke'
    this.#items?.fail(
      new KeelsonError('UNREACHABLE', lost, { outcome: 'unknown', details: { peer: this.peer } }),
    )
  }

  #leave(): void {
    if (this.#items !== undefined && !this.#finished) {
      this.#owner.send(this.peer, { type: 'cancel', id: this.#id })
    }
    this.#finish()
  }

  #finish(): void {
    if (this.#finished) return
    this.#finished = true
    this.#release()
    this.#owner.closeStream(this, this.#id)
  }
}
