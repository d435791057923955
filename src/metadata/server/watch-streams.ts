import { joinSignals } from '../../core/async.ts'
import type { TimerHandle } from '../../core/clock.ts'
import type { Environment } from '../../core/environment.ts'
import { KeelsonError } from '../../core/errors.ts'
import { decodeWatch, encodeWatchResponse } from '../protocol.ts'
import type { WatchHub } from '../watch/watch-hub.ts'
import type { MetadataGroup } from './group.ts'

/** What {@link WatchStreams} are made of. */
export interface WatchStreamOptions {
  readonly env: Environment
  readonly group: MetadataGroup
  readonly hub: WatchHub
  readonly staleAfterMs: number
  /** Largest item of a stream. */
  readonly maximumItemBytes: number
}

/**
 * Watches of other nodes. While this server knows no leader, what it shows stands still; after a while it sends its
 * remote watches away, so that they go on where the store does.
 */
export class WatchStreams {
  readonly #options: WatchStreamOptions
  readonly #stopListening: () => void
  #timer: TimerHandle | undefined
  #generation = new AbortController()

  constructor(options: WatchStreamOptions) {
    this.#options = options
    this.#stopListening = options.group.on('leadership', () => this.#look())
    this.#look()
  }

  /** The items of one remote watch. @throws KeelsonError as a watch does; `UNREACHABLE` when it is to go elsewhere */
  async *serve(body: Uint8Array, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const { select, fromRevision, previous } = decodeWatch(body)
    const either = joinSignals(signal, this.#generation.signal)
    try {
      const options = { fromRevision, previous, signal: either.signal }
      for await (const response of this.#options.hub.watch(select, options))
        yield* encodeWatchResponse(response, this.#options.maximumItemBytes)
    } finally {
      either.release()
    }
  }

  /** Idempotent. */
  close(): void {
    this.#stopListening()
    this.#timer?.cancel()
    this.#generation.abort(
      new KeelsonError('UNREACHABLE', 'this metadata server was closed: ask another one'),
    )
  }

  #look(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    if (this.#options.group.status().leader !== undefined) return
    this.#timer = this.#options.env.timers.schedule(this.#options.staleAfterMs, () => {
      const away = this.#generation
      this.#generation = new AbortController()
      away.abort(
        new KeelsonError(
          'UNREACHABLE',
          'this metadata server knows no leader, and stands still: ask another one',
        ),
      )
      this.#look()
    })
  }
}
