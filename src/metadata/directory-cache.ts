import { abortable, type CallOptions, type Deferred, deferred } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError, toKeelsonError } from '../core/errors.ts'
import { Events, type Listenable } from '../core/events.ts'
import { checkCall, checkOptions, objectOption } from '../core/options.ts'
import type { RangeDescriptor } from '../model/descriptors.ts'
import type { NodeId, RangeId } from '../model/ids.ts'
import { RangeMap } from '../model/range-map.ts'
import type { RangeDirectory } from './directory.ts'
import { RangesOnNodes } from './ranges-on-nodes.ts'

/** Events of a {@link DirectoryCache}. */
export type DirectoryCacheEvents = {
  /** Ranges became known or changed. */
  change: (updated: readonly RangeDescriptor[]) => void
  /** The directory cannot be followed any more; what is known stays. */
  lost: (error: KeelsonError) => void
}

/** What a {@link DirectoryCache} is made of. */
export interface DirectoryCacheOptions {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** Where the copy is read from and kept up to date by. */
  readonly directory: RangeDirectory
}

/**
 * A copy of the directory for routing: it answers at once, and goes on answering from what it last knew while the
 * control plane is away. It only moves forward: whatever comes, from the directory or with an answer of a range, a lower
 * generation never replaces a higher one.
 */
export class DirectoryCache implements Listenable<DirectoryCacheEvents>, AsyncDisposable {
  readonly #map = new RangeMap()
  readonly #byId = new Map<RangeId, RangeDescriptor>()
  readonly #onNodes = new RangesOnNodes()
  readonly #events: Events<DirectoryCacheEvents>
  readonly #stop = new AbortController()
  readonly #ready: Deferred<void> = deferred()
  readonly #running: Promise<void>

  /** Begins to follow the directory at once; {@link DirectoryCache.ready} tells when it was read. @throws KeelsonError `INVALID_OPTION` */
  constructor(options: DirectoryCacheOptions) {
    const { env, directory } = checkOptions<DirectoryCacheOptions>('DirectoryCache', options, {
      env: objectOption<Environment>(['logger']),
      directory: objectOption<RangeDirectory>(['watch']),
    })
    this.#events = new Events(env.logger, ['change', 'lost'])
    this.#ready.promise.catch(() => {})
    this.#running = this.#run(directory)
  }

  /** Resolves when the directory was read once. @throws KeelsonError `CLOSED`, `ABORTED`, or why it cannot be followed */
  async ready(options: CallOptions = {}): Promise<void> {
    checkCall('ready', options)
    await abortable(this.#ready.promise, options.signal)
  }

  /** The range that holds `key`, as far as is known. */
  lookup(key: Uint8Array): RangeDescriptor | undefined {
    return this.#map.lookup(key)
  }

  /** The range of that id, as far as this copy knows it. */
  byId(rangeId: RangeId): RangeDescriptor | undefined {
    return this.#byId.get(rangeId)
  }

  /** All known ranges by start key. */
  ranges(): readonly RangeDescriptor[] {
    return this.#map.ranges()
  }

  /**
   * The ranges with a replica on any of some nodes, each once. The first time that a node is asked for costs a look at all
   * ranges, one look for all such nodes; from then on only what changes does.
   */
  rangesOn(nodeIds: Iterable<NodeId>): readonly RangeDescriptor[] {
    const found = this.#onNodes.read(nodeIds, () => this.#byId.values())
    return [...found].map((rangeId) => this.#byId.get(rangeId) as RangeDescriptor)
  }

  /** Takes in a descriptor from elsewhere, such as the answer of a range that has moved. @returns whether it was news */
  update(range: RangeDescriptor): boolean {
    const news = this.#map.update(range)
    if (!news) return false
    this.#set(range)
    this.#events.emit('change', [range])
    return true
  }

  on<K extends keyof DirectoryCacheEvents>(event: K, listener: DirectoryCacheEvents[K]): () => void {
    return this.#events.on(event, listener)
  }

  /** Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort(new KeelsonError('CLOSED', 'the directory cache was closed; open another one'))
    await this.#running
    this.#events.removeAll()
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #run(directory: RangeDirectory): Promise<void> {
    try {
      for await (const event of directory.watch({ signal: this.#stop.signal })) {
        const arrived = event.type === 'snapshot' ? event.ranges : event.updated
        const removed = event.type === 'snapshot' ? this.#missing(event.ranges) : event.removed
        for (const rangeId of removed) {
          this.#map.forget(rangeId)
          this.#onNodes.changed(this.#byId.get(rangeId), undefined)
          this.#byId.delete(rangeId)
        }
        const news = arrived.filter((range) => this.#map.update(range))
        for (const range of news) this.#set(range)
        this.#ready.resolve()
        if (news.length > 0) this.#events.emit('change', news)
      }
    } catch (thrown) {
      const error = toKeelsonError(thrown)
      this.#ready.reject(error)
      if (error.code !== 'CLOSED') this.#events.emit('lost', error)
    }
  }

  #set(range: RangeDescriptor): void {
    this.#onNodes.changed(this.#byId.get(range.rangeId), range)
    this.#byId.set(range.rangeId, range)
  }

  /** Ranges that went away while the history was compacted. */
  #missing(ranges: readonly RangeDescriptor[]): RangeId[] {
    const present = new Set(ranges.map((range) => range.rangeId))
    return [...this.#byId.keys()].filter((rangeId) => !present.has(rangeId))
  }
}
