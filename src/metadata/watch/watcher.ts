import { abortError, type Deferred, deferred, onAbort } from '../../core/async.ts'
import type { Timers } from '../../core/clock.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { ChangeEvent, KeySelector, Revision, WatchResponse } from '../../interfaces/metadata-store.ts'
import { selects } from '../mvcc/key-range.ts'
import type { MvccReader } from '../mvcc/state-types.ts'
import { toKeyValue, type Version } from '../mvcc/version.ts'

/** What a {@link Watcher} is made of. */
export interface WatcherOptions {
  readonly select: KeySelector
  readonly from: Revision
  /** Revision up to which the hub has offered changes. */
  readonly seen: () => Revision
  readonly previous: boolean
  readonly reader: () => MvccReader
  readonly timers: Timers
  readonly signal: AbortSignal | undefined
  readonly onEnd: () => void
}

/** Revisions that a watcher remembers before it goes back to reading the history. */
const maximumPending = 256
/** Revisions that are looked through before other work gets a turn. */
const scanSlice = 2_000

/**
 * One watch. Invariant: every revision from the start of the watch that concerns it was delivered, or is in
 * `#pending`, or is at or above `#scanFrom` while it reads the history.
 */
export class Watcher implements AsyncIterableIterator<WatchResponse> {
  readonly select: KeySelector
  readonly #from: Revision
  readonly #seen: () => Revision
  readonly #previous: boolean
  readonly #reader: () => MvccReader
  readonly #timers: Timers
  readonly #onEnd: () => void
  readonly #release: () => void
  #pending: Revision[] = []
  /** Where to read the history from; undefined while the hub's offers suffice. */
  #scanFrom: Revision | undefined
  #progressDue = true
  #reported = -1
  #error: KeelsonError | undefined
  #ended = false
  #waiter: Deferred<void> | undefined

  constructor(options: WatcherOptions) {
    this.select = options.select
    this.#seen = options.seen
    this.#from = options.from
    this.#previous = options.previous
    this.#reader = options.reader
    this.#timers = options.timers
    this.#onEnd = options.onEnd
    if (options.from <= options.seen()) this.#scanFrom = options.from
    const { compactRevision } = options.reader()
    if (options.from < compactRevision) throw compacted(options.from, compactRevision)
    const { signal } = options
    this.#release = signal === undefined ? () => {} : onAbort(signal, () => this.fail(abortError(signal)))
  }

  /** A revision changed a key of this watch. Called in order, more than once for a revision that changed several. */
  offer(revision: Revision): void {
    if (this.#scanFrom !== undefined || revision < this.#from) return
    if (this.#pending[this.#pending.length - 1] === revision) return
    if (this.#pending.length >= maximumPending) {
      this.#scanFrom = this.#pending[0] as Revision
      this.#pending = []
      return
    }
    this.#pending.push(revision)
    this.#wake()
  }

  /** The hub could not offer the revisions from `from` on. */
  fallBehind(from: Revision): void {
    this.#scanFrom ??= Math.max(this.#pending[0] ?? from, this.#from)
    this.#pending = []
    this.#wake()
  }

  /** Time to say how far the store has come, unless the consumer was told. */
  offerProgress(): void {
    if (this.#reported >= this.#seen()) return
    this.#progressDue = true
    this.#wake()
  }

  /** Ends the watch: what was not delivered is not delivered any more. */
  fail(error: KeelsonError): void {
    if (this.#ended) return
    this.#error = error
    this.#end()
    this.#wake()
  }

  async next(): Promise<IteratorResult<WatchResponse>> {
    for (;;) {
      if (this.#error !== undefined) {
        const error = this.#error
        this.#error = undefined
        throw error
      }
      if (this.#ended) return { value: undefined, done: true }
      const response = this.#take()
      if (response !== undefined) return { value: response, done: false }
      if (this.#scanFrom !== undefined) await this.#turn()
      else await this.#wait()
    }
  }

  async return(): Promise<IteratorResult<WatchResponse>> {
    this.#end()
    this.#wake()
    return { value: undefined, done: true }
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<WatchResponse> {
    return this
  }

  /** What can be delivered without waiting. */
  #take(): WatchResponse | undefined {
    try {
      if (this.#scanFrom !== undefined) {
        const found = this.#scan()
        // Caught up without a find: there may be progress to tell of.
        if (found !== undefined || this.#scanFrom !== undefined) return found
      }
      const revision = this.#pending.shift()
      if (revision !== undefined) return this.#changes(revision)
    } catch (error) {
      this.#end()
      throw error
    }
    if (!this.#progressDue) return undefined
    this.#progressDue = false
    const seen = this.#seen()
    if (seen < this.#from - 1 || seen <= this.#reported) return undefined
    this.#reported = seen
    return { type: 'progress', revision: seen }
  }

  /** Looks through a slice of the history. */
  #scan(): WatchResponse | undefined {
    let revision = this.#scanFrom as Revision
    const stop = Math.min(this.#seen(), revision + scanSlice)
    for (; revision <= stop; revision++) {
      const changes = this.#changes(revision)
      if (changes === undefined) continue
      this.#advance(revision + 1)
      return changes
    }
    this.#advance(revision)
    return undefined
  }

  #advance(next: Revision): void {
    // Behind the last one, the hub's offers are enough.
    this.#scanFrom = next <= this.#seen() ? next : undefined
  }

  /** The events of a revision, all in one response. */
  #changes(revision: Revision): WatchResponse | undefined {
    const reader = this.#reader()
    if (revision < reader.compactRevision) throw compacted(revision, reader.compactRevision)
    const versions = reader.eventsOf(revision).filter((version) => selects(this.select, version.key))
    if (versions.length === 0) return undefined
    this.#reported = revision
    return { type: 'changes', revision, events: versions.map((version) => this.#event(reader, version)) }
  }

  #event(reader: MvccReader, version: Version): ChangeEvent {
    const type = version.deleted ? 'delete' : 'put'
    const previous = this.#previous ? reader.previousOf(version) : undefined
    const entry = toKeyValue(version)
    return previous === undefined ? { type, entry } : { type, entry, previous: toKeyValue(previous) }
  }

  async #turn(): Promise<void> {
    const done = deferred<void>()
    this.#timers.defer(() => done.resolve())
    await done.promise
  }

  async #wait(): Promise<void> {
    if (this.#waiter !== undefined)
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        'one consumer at a time may wait for a watch; open another watch for another one',
      )
    this.#waiter = deferred<void>()
    await this.#waiter.promise
  }

  #wake(): void {
    this.#waiter?.resolve()
    this.#waiter = undefined
  }

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#pending = []
    this.#release()
    this.#onEnd()
  }
}

function compacted(revision: Revision, compactRevision: Revision): KeelsonError {
  return new KeelsonError(
    'COMPACTED',
    `revision ${revision} was compacted away: the oldest one left is ${compactRevision}; read again, then watch`,
    { details: { compactRevision } },
  )
}
