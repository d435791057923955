import { ByteWriter, compareBytes, copyBytes } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import { invariant } from '../../core/invariant.ts'
import type { KeySelector, Revision, SessionId } from '../../interfaces/metadata-store.ts'
import { mapKey } from './key-range.ts'
import { overheadBytes } from './limits.ts'
import { OrderedMap } from './ordered-map.ts'
import { encodeSession, type SessionRecord } from './session-record.ts'
import { StateHash } from './state-hash.ts'
import type {
  ChangeSink,
  MvccReader,
  PageLimits,
  StateNumbers,
  StateView,
  VersionPage,
} from './state-types.ts'
import { makeVersion, type StoredVersion, tombstone, type Version } from './version.ts'

interface SessionEntry {
  readonly record: SessionRecord
  /** Keys that live with the session, by {@link mapKey}. */
  readonly keys: Map<string, Uint8Array>
}

/** The versions of one key, ascending. */
interface KeyHistory {
  readonly versions: StoredVersion[]
  /** How many views there were when it was made: a later view has it, too. */
  readonly views: number
}

const noEvents: readonly StoredVersion[] = Object.freeze([])

/**
 * The whole multi-version state in memory: for each key its versions since the last compaction, for each revision what
 * it changed, and the sessions. It reads no clock and no random numbers, so that equal commands make equal states.
 *
 * Invariants: a key's versions ascend in `modRevision`, one per revision at most; every version at or above
 * `historyFrom` is an event of its revision; below it each key keeps only the version that is visible at
 * `historyFrom - 1`, and no tombstone. The digest covers them, the sessions and the numbers.
 */
export class MvccState implements MvccReader {
  readonly #keys = new OrderedMap<KeyHistory>()
  /** Views that were made. */
  #views = 0
  /** Events by revision, from `#historyFrom` on, which stands at `#historyHead`. What is before that was cleared away. */
  #history: (readonly StoredVersion[])[] = []
  #historyHead = 0
  readonly #sessions = new Map<SessionId, SessionEntry>()
  readonly #hash = new StateHash()
  #revision: Revision
  #compactRevision: Revision
  #historyFrom: Revision
  #bytes = 0
  #keyCount = 0
  #versionCount = 0
  #sink: ChangeSink | undefined
  /**
   * The last key that a command looked up: it asks for the same one, by the same array, several times. Arrays of
   * commands do not change while one is carried out, and no two commands share one.
   */
  #lastKey: Uint8Array | undefined
  #lastHistory: KeyHistory | undefined
  /** A transaction is being done, which has made these changes so far. */
  #writing = false
  #changes: StoredVersion[] | undefined

  constructor(numbers: StateNumbers = { revision: 0, compactRevision: 0, historyFrom: 1 }) {
    this.#revision = numbers.revision
    this.#compactRevision = numbers.compactRevision
    this.#historyFrom = numbers.historyFrom
    for (let revision = numbers.historyFrom; revision <= numbers.revision; revision++)
      this.#history.push(noEvents)
  }

  get revision(): Revision {
    return this.#revision
  }

  get compactRevision(): Revision {
    return this.#compactRevision
  }

  get historyFrom(): Revision {
    return this.#historyFrom
  }

  /** What counts against the database quota. */
  get bytes(): number {
    return this.#bytes
  }

  /** Keys that exist now. */
  get keyCount(): number {
    return this.#keyCount
  }

  /** Versions that are held, tombstones included. */
  get versionCount(): number {
    return this.#versionCount
  }

  /** Superseded versions wait to be cleared away. */
  get hasGarbage(): boolean {
    return this.#historyFrom < this.#compactRevision
  }

  /** A hash of all that is held: equal on all replicas that applied the same commands. */
  digest(): string {
    const numbers = new ByteWriter(32)
    return this.#hash.digest(
      numbers.varint(this.#revision).varint(this.#compactRevision).varint(this.#historyFrom).view(),
    )
  }

  /** Where changes go from now on. */
  attach(sink: ChangeSink): void {
    this.#sink = sink
  }

  get(key: Uint8Array, revision: Revision = this.#revision): Version | undefined {
    this.#checkRevision(revision)
    const history = this.#keys.get(key)
    return history === undefined ? undefined : visibleAt(history.versions, revision)
  }

  range(select: KeySelector, limits: PageLimits, revision: Revision = this.#revision): VersionPage {
    this.#checkRevision(revision)
    return this.#page(select, limits, revision)
  }

  eventsOf(revision: Revision): readonly Version[] {
    if (revision < this.#historyFrom) return noEvents
    return this.#history[this.#historyHead + revision - this.#historyFrom] ?? noEvents
  }

  previousOf(version: Version): Version | undefined {
    const versions = this.#keys.get(version.key)?.versions ?? []
    let at = versions.length - 1
    while (at >= 0 && (versions[at] as Version).modRevision > version.modRevision) at--
    const before = versions[at - 1]
    return before === undefined || before.deleted ? undefined : before
  }

  session(sessionId: SessionId): SessionRecord | undefined {
    return this.#sessions.get(sessionId)?.record
  }

  *sessions(): Iterable<SessionRecord> {
    for (const entry of this.#sessions.values()) yield entry.record
  }

  get sessionCount(): number {
    return this.#sessions.size
  }

  /** Number of keys that live with a session. */
  keysOfSession(sessionId: SessionId): number {
    return this.#sessions.get(sessionId)?.keys.size ?? 0
  }

  /** The state as it is now, in time that does not depend on the number of keys. */
  view(): StateView {
    this.#views++
    const keys = this.#keys.clone()
    const revision = this.#revision
    return {
      revision,
      compactRevision: this.#compactRevision,
      historyFrom: this.#historyFrom,
      digest: this.digest(),
      sessions: [...this.sessions()],
      *versions() {
        for (const { versions } of keys.values()) {
          // Later versions are pushed onto the same arrays.
          for (const version of versions) if (version.modRevision <= revision) yield version
        }
      },
    }
  }

  /** The latest version of a key, changes of the transaction under way included. */
  latest(key: Uint8Array): StoredVersion | undefined {
    return lastLive(this.#lookUp(key))
  }

  /** A page of the latest versions, changes of the transaction under way included. */
  latestRange(select: KeySelector, limits: PageLimits): VersionPage {
    return this.#page(select, limits, Number.MAX_SAFE_INTEGER)
  }

  /** Starts a transaction. Its revision is taken with its first write. */
  begin(): void {
    invariant(!this.#writing, 'one transaction at a time')
    this.#writing = true
  }

  put(key: Uint8Array, value: Uint8Array, sessionId: SessionId): void {
    const history = this.#lookUp(key)
    const before = lastLive(history)
    const revision = this.#revision + 1
    const version = makeVersion({
      // The arrays of a command are views into a frame of the log.
      key: before?.key ?? copyBytes(key),
      value,
      createRevision: before?.createRevision ?? revision,
      modRevision: revision,
      version: (before?.version ?? 0) + 1,
      session: sessionId,
      sub: this.#nextPlace(),
      deleted: false,
    })
    if (before !== undefined) this.#detach(before)
    else this.#keyCount++
    if (sessionId !== 0) this.#sessionEntry(sessionId).keys.set(mapKey(version.key), version.key)
    this.#write(version, history)
  }

  delete(before: Version): void {
    this.#detach(before)
    this.#keyCount--
    const end = tombstone(before, this.#revision + 1, this.#nextPlace())
    this.#write(end, this.#keys.get(before.key))
  }

  /** Ends a transaction. A `revisionTaken` one has a revision even without changes. */
  commit(revisionTaken = false): void {
    const changes = this.#changes
    invariant(this.#writing, 'a transaction ends after its beginning')
    this.#writing = false
    this.#changes = undefined
    this.#lastKey = undefined
    if (changes === undefined && !revisionTaken) return
    this.#revision++
    this.#history.push(changes ?? noEvents)
  }

  /** Stores a session, new or changed. */
  putSession(record: SessionRecord): void {
    const entry = this.#sessions.get(record.sessionId)
    if (entry !== undefined) this.#hash.remove(encodeSession(entry.record))
    else this.#bytes += overheadBytes
    const encoded = encodeSession(record)
    this.#hash.add(encoded)
    this.#sessions.set(record.sessionId, { record, keys: entry?.keys ?? new Map() })
    this.#sink?.putSession(record, encoded)
  }

  /** Removes a session and, within the transaction under way, its keys in their order. */
  dropSession(sessionId: SessionId): void {
    const entry = this.#sessionEntry(sessionId)
    for (const key of [...entry.keys.values()].sort(compareBytes)) {
      const version = lastLive(this.#keys.get(key))
      invariant(version?.session === sessionId, 'the keys of a session belong to it')
      this.delete(version)
    }
    this.#hash.remove(encodeSession(entry.record))
    this.#bytes -= overheadBytes
    this.#sessions.delete(sessionId)
    this.#sink?.dropSession(sessionId)
  }

  /** Forbids reads below `revision`. What nobody can read any more is cleared away by {@link clearGarbage}. */
  compactTo(revision: Revision): void {
    invariant(revision >= this.#compactRevision && revision <= this.#revision, 'a compaction goes forward')
    this.#compactRevision = revision
  }

  /** Makes `revision` the present one of a store without keys; what it held of the past is gone. */
  advanceTo(revision: Revision): void {
    invariant(this.#keyCount === 0 && revision > this.#revision, 'only an empty store is advanced')
    this.#lastKey = undefined
    // A list of its own: the map changes under it.
    const histories = Array.from(this.#keys.values())
    for (const { versions } of histories) {
      for (const version of versions) this.#drop(version)
      this.#keys.delete((versions[0] as StoredVersion).key)
    }
    this.#history = []
    this.#historyHead = 0
    this.#revision = revision
    this.#compactRevision = revision
    this.#historyFrom = revision + 1
  }

  /** Clears whole revisions of superseded versions until about `events` events are gone. */
  clearGarbage(events: number): void {
    let seen = 0
    let revisions = 0
    while (this.#historyFrom + revisions < this.#compactRevision && seen < events) {
      seen += (this.#history[this.#historyHead + revisions] as readonly Version[]).length + 1
      revisions++
    }
    if (revisions === 0) return
    const past = this.#history.slice(this.#historyHead, this.#historyHead + revisions)
    this.#lastKey = undefined
    this.#historyFrom += revisions
    this.#dropHistory(revisions)
    // One that was dropped went with a later one of its key.
    for (const changes of past) for (const version of changes) if (!version.dropped) this.#trim(version.key)
  }

  /** In constant time on average: the array is copied when most of it is gone. */
  #dropHistory(revisions: number): void {
    this.#history.fill(noEvents, this.#historyHead, this.#historyHead + revisions)
    this.#historyHead += revisions
    if (this.#historyHead * 2 < this.#history.length) return
    this.#history = this.#history.slice(this.#historyHead)
    this.#historyHead = 0
  }

  /** Takes in a stored session. */
  loadSession(record: SessionRecord, encoded: Uint8Array): void {
    if (this.#sessions.has(record.sessionId)) damaged('a session is there twice')
    this.#hash.add(encoded)
    this.#bytes += overheadBytes
    this.#sessions.set(record.sessionId, { record, keys: new Map() })
  }

  /** Takes in a stored version; those of one key come in the order of their revisions, after all sessions. */
  loadVersion(version: StoredVersion): void {
    const { modRevision, sub } = version
    if (modRevision < 1 || modRevision > this.#revision) damaged('a version is not of this history')
    let history = this.#keys.get(version.key)
    if (history === undefined) {
      history = { versions: [], views: this.#views }
      this.#keys.set(version.key, history)
    }
    const { versions } = history
    const last = versions[versions.length - 1]
    if (last !== undefined && last.modRevision >= modRevision) damaged('versions of a key are out of order')
    if (modRevision >= this.#historyFrom) {
      const at = this.#historyHead + modRevision - this.#historyFrom
      if (this.#history[at] === noEvents) this.#history[at] = []
      const events = this.#history[at] as StoredVersion[]
      if (events[sub] !== undefined) damaged('two changes of a revision have one place')
      events[sub] = version
    } else if (version.deleted || last !== undefined) damaged('a version was not cleared away')
    versions.push(version)
    this.#hash.addLanes(version)
    this.#bytes += version.quotaBytes
    this.#versionCount++
    if (last !== undefined && !last.deleted) this.#forget(last)
    if (!version.deleted) this.#keyCount++
    if (version.session !== 0) {
      const entry = this.#sessions.get(version.session)
      // An older version may name a session that has ended since.
      entry?.keys.set(mapKey(version.key), version.key)
    }
  }

  /** Checks a state that was loaded. @throws KeelsonError `CORRUPTION` */
  checkLoaded(digest: string): void {
    for (const events of this.#history) {
      for (let sub = 0; sub < events.length; sub++)
        if (events[sub] === undefined) damaged('a change of a revision is missing')
    }
    if (this.digest() !== digest) damaged(`its hash is ${this.digest()} and not ${digest}`)
  }

  #page(select: KeySelector, limits: PageLimits, revision: Revision): VersionPage {
    const versions: StoredVersion[] = []
    let count = 0
    let bytes = 0
    let full = false
    this.#keys.visit(select, (history) => {
      const version = visibleAt(history.versions, revision)
      if (version === undefined) return
      count++
      if (full) return
      bytes += version.quotaBytes
      full = versions.length >= limits.entries || (bytes > limits.bytes && versions.length > 0)
      if (!full) versions.push(version)
    })
    return { versions, more: count > versions.length, count }
  }

  #checkRevision(revision: Revision): void {
    if (revision > this.#revision) {
      throw new KeelsonError(
        'FUTURE_REVISION',
        `revision ${revision} does not exist yet: the store is at ${this.#revision}; read from there, or look for what this revision came from`,
        { details: { revision: this.#revision } },
      )
    }
    if (revision < this.#compactRevision) {
      throw new KeelsonError(
        'COMPACTED',
        `revision ${revision} was compacted away: the oldest one left is ${this.#compactRevision}; read again at a newer one`,
        { details: { compactRevision: this.#compactRevision } },
      )
    }
  }

  /** Where the next change of the transaction under way stands. */
  #nextPlace(): number {
    invariant(this.#writing, 'writes happen inside a transaction')
    return this.#changes?.length ?? 0
  }

  #sessionEntry(sessionId: SessionId): SessionEntry {
    const entry = this.#sessions.get(sessionId)
    invariant(entry !== undefined, 'the session exists')
    return entry
  }

  #lookUp(key: Uint8Array): KeyHistory | undefined {
    if (key === this.#lastKey) return this.#lastHistory
    this.#lastKey = key
    this.#lastHistory = this.#keys.get(key)
    return this.#lastHistory
  }

  /** `history` is that of the key so far. */
  #write(version: StoredVersion, history: KeyHistory | undefined): void {
    this.#lastKey = undefined
    if (history === undefined) this.#keys.set(version.key, { versions: [version], views: this.#views })
    else history.versions.push(version)
    if (this.#changes === undefined) this.#changes = [version]
    else this.#changes.push(version)
    this.#hash.addLanes(version)
    this.#bytes += version.quotaBytes
    this.#versionCount++
    this.#sink?.putVersion(version)
  }

  /** A live version is superseded: its key leaves its session. */
  #detach(version: Version): void {
    if (version.session !== 0) this.#sessions.get(version.session)?.keys.delete(mapKey(version.key))
  }

  /** A live version turned out not to be the last one while loading. */
  #forget(version: Version): void {
    this.#keyCount--
    this.#detach(version)
  }

  #drop(version: StoredVersion): void {
    version.dropped = true
    this.#hash.removeLanes(version)
    this.#bytes -= version.quotaBytes
    this.#versionCount--
    this.#sink?.dropVersion(version)
  }

  /** Drops the versions of a key that are not visible at `#historyFrom - 1` or later. */
  #trim(key: Uint8Array): void {
    const history = this.#keys.get(key)
    if (history === undefined) return
    const { versions, views } = history
    let keep = 0
    while (
      keep + 1 < versions.length &&
      (versions[keep + 1] as StoredVersion).modRevision < this.#historyFrom
    )
      keep++
    const first = versions[keep] as StoredVersion
    const over = first.modRevision < this.#historyFrom
    if (over && first.deleted) keep++
    else if (over) first.settle()
    for (let i = 0; i < keep; i++) this.#drop(versions[i] as StoredVersion)
    if (keep === versions.length) this.#keys.delete(key)
    else if (keep === 0) return
    else if (views === this.#views) versions.splice(0, keep)
    // A view still reads the array.
    else this.#keys.set(key, { versions: versions.slice(keep), views: this.#views })
  }
}

function lastLive(history: KeyHistory | undefined): StoredVersion | undefined {
  const last = history?.versions[history.versions.length - 1]
  return last === undefined || last.deleted ? undefined : last
}

function visibleAt(versions: readonly StoredVersion[], revision: Revision): StoredVersion | undefined {
  let at = versions.length - 1
  while (at >= 0 && (versions[at] as StoredVersion).modRevision > revision) at--
  const version = versions[at]
  return version === undefined || version.deleted ? undefined : version
}

function damaged(problem: string): never {
  throw new KeelsonError('CORRUPTION', `the metadata store is damaged: ${problem}; restore it from a backup`)
}
