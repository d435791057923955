import { throwIfAborted } from '../../core/async.ts'
import { copyBytes } from '../../core/bytes.ts'
import type { TimerHandle } from '../../core/clock.ts'
import type { Environment } from '../../core/environment.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { KeySelector, Revision, WatchOptions, WatchResponse } from '../../interfaces/metadata-store.ts'
import type { MvccReader } from '../mvcc/state-types.ts'
import { checkSelector } from '../mvcc/validate.ts'
import { checkWatch } from '../reads.ts'
import { SelectorIndex } from './selector-index.ts'
import { Watcher } from './watcher.ts'

/** What a {@link WatchHub} is made of. */
export interface WatchHubOptions {
  readonly env: Environment
  /** The state that is watched, as it is now. */
  readonly reader: () => MvccReader
  /** Watches at a time. */
  readonly maximumWatchers: number
  /** An idle watch is told that often how far the store has come. */
  readonly progressIntervalMs: number
}

/**
 * Delivers changes to watchers. It keeps no values: the history in the state is the buffer. A watcher that keeps up
 * remembers the few revisions that concern it and were not read yet; one that falls behind goes back to reading the
 * history, so that a slow consumer costs neither memory nor other watchers' time.
 */
export class WatchHub {
  readonly #env: Environment
  readonly #reader: () => MvccReader
  readonly #maximumWatchers: number
  readonly #progressIntervalMs: number
  readonly #watchers = new Set<Watcher>()
  readonly #index = new SelectorIndex<Watcher>()
  #seen: Revision
  #progressTimer: TimerHandle | undefined
  #closed: KeelsonError | undefined

  constructor(options: WatchHubOptions) {
    this.#env = options.env
    this.#reader = options.reader
    this.#maximumWatchers = options.maximumWatchers
    this.#progressIntervalMs = options.progressIntervalMs
    this.#seen = options.reader().revision
  }

  get size(): number {
    return this.#watchers.size
  }

  /**
   * Starts a watch; its place in the history is taken now, before the first `next`. It lasts until the consumer leaves
   * its loop or the signal is aborted.
   *
   * @throws KeelsonError `COMPACTED`, `OVERLOADED`, `CLOSED`, `ABORTED`, `INVALID_ARGUMENT`, `LIMIT_EXCEEDED`
   */
  watch(select: KeySelector, options: WatchOptions = {}): AsyncIterableIterator<WatchResponse> {
    checkSelector(select)
    throwIfAborted(options.signal)
    if (this.#closed !== undefined) throw this.#closed
    if (this.#watchers.size >= this.#maximumWatchers) {
      throw new KeelsonError(
        'OVERLOADED',
        `the store has ${this.#maximumWatchers} watches already; try again later`,
      )
    }
    checkWatch(options)
    this.notify()
    const reader = this.#reader()
    const from = options.fromRevision ?? reader.revision + 1
    const watcher = new Watcher({
      select: { ...select, key: copyBytes(select.key) },
      from,
      seen: () => this.#seen,
      previous: options.previous ?? false,
      reader: this.#reader,
      timers: this.#env.timers,
      signal: options.signal,
      onEnd: () => {
        this.#watchers.delete(watcher)
        this.#index.delete(watcher)
      },
    })
    this.#watchers.add(watcher)
    this.#index.add(watcher)
    return watcher
  }

  /** Takes in what was applied since the last call. */
  notify(): void {
    const reader = this.#reader()
    if (reader.revision <= this.#seen) return
    const from = this.#seen + 1
    if (reader.historyFrom > from) {
      // A snapshot was installed whose history starts later: everybody looks for himself.
      this.#seen = reader.revision
      for (const watcher of this.#watchers) watcher.fallBehind(from)
    } else if (this.#watchers.size === 0) this.#seen = reader.revision
    else {
      for (let revision = from; revision <= reader.revision; revision++) {
        for (const version of reader.eventsOf(revision))
          this.#index.visit(version.key, (watcher) => watcher.offer(revision))
      }
      this.#seen = reader.revision
    }
    this.#scheduleProgress()
  }

  /** Ends all watches with `error`. Idempotent. */
  close(error: KeelsonError = new KeelsonError('CLOSED', 'the store was closed; open another one')): void {
    if (this.#closed !== undefined) return
    this.#closed = error
    this.#progressTimer?.cancel()
    for (const watcher of this.#watchers) watcher.fail(error)
  }

  /** An idle store sets no timer: there is no progress to tell of. */
  #scheduleProgress(): void {
    if (this.#progressTimer !== undefined || this.#closed !== undefined || this.#watchers.size === 0) return
    this.#progressTimer = this.#env.timers.schedule(this.#progressIntervalMs, () => {
      this.#progressTimer = undefined
      for (const watcher of this.#watchers) watcher.offerProgress()
    })
  }
}
