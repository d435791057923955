import { concatBytes } from '../../../src/core/bytes.ts'
import type { Timers } from '../../../src/core/clock.ts'
import type { NodePacket } from './wire.ts'

type Chunk = Extract<NodePacket, { type: 'chunk' }>

const timeoutMs = 1_000

/** The receiving end of a snapshot's chunks, which may be lost, doubled and come in any order. */
export class IncomingSnapshot {
  readonly #from: string
  readonly #requestId: number
  readonly #on: { complete(bytes: Uint8Array): void; failed(): void }
  readonly #chunks = new Map<number, Uint8Array>()
  readonly #timer: { cancel(): void }
  #over = false
  /** All of it is here and the state is being replaced. */
  restoring = false

  constructor(
    timers: Timers,
    from: string,
    requestId: number,
    on: { complete(bytes: Uint8Array): void; failed(): void },
  ) {
    this.#from = from
    this.#requestId = requestId
    this.#on = on
    this.#timer = timers.schedule(timeoutMs, () => {
      if (this.#over) return
      this.#over = true
      on.failed()
    })
  }

  take(from: string, chunk: Chunk): void {
    if (this.#over || from !== this.#from || chunk.requestId !== this.#requestId) return
    this.#chunks.set(chunk.number, chunk.bytes)
    if (this.#chunks.size < chunk.count) return
    this.abandon()
    this.restoring = true
    const parts = Array.from({ length: chunk.count }, (_, i) => this.#chunks.get(i) as Uint8Array)
    this.#on.complete(concatBytes(parts))
  }

  abandon(): void {
    this.#over = true
    this.#timer.cancel()
  }
}

/** The sending end: a view of the state at one point, in chunks, some milliseconds apart. */
export class OutgoingSnapshot {
  /** Where the view stands: the receiver needs what follows it. */
  readonly index: number
  readonly #ended: (restored: boolean) => void
  readonly #timer: { cancel(): void }
  #over = false

  constructor(
    timers: Timers,
    requestId: number,
    index: number,
    bytes: Uint8Array,
    chunkBytes: number,
    on: { send(packet: NodePacket): void; ended(restored: boolean): void },
  ) {
    this.index = index
    this.#ended = on.ended
    const count = Math.max(1, Math.ceil(bytes.length / chunkBytes))
    let number = 0
    const next = (): void => {
      if (this.#over) return
      const part = bytes.subarray(number * chunkBytes, (number + 1) * chunkBytes)
      on.send({ type: 'chunk', requestId, number, count, bytes: part })
      number++
      if (number < count) timers.schedule(1, next)
    }
    this.#timer = timers.schedule(timeoutMs * 2, () => this.done(false))
    next()
  }

  done(restored: boolean): void {
    if (this.#over) return
    this.#over = true
    this.#timer.cancel()
    this.#ended(restored)
  }
}
