import { ByteWriter, compareBytes, copyBytes, emptyBytes } from '../../core/bytes.ts'
import { invariant } from '../../core/invariant.ts'
import type { KeySelector, Revision, SessionId } from '../../interfaces/metadata-store.ts'
import { damaged } from './damaged.ts'
import { KeyHistories, lastLive, previousIn, visibleAt } from './key-histories.ts'
import { mapKey } from './key-range.ts'
import { overheadBytes } from './limits.ts'
import type { PlainPut } from './plain-put.ts'
import { checkReadable } from './readable.ts'
import { countOf, noEvents, RevisionEvents } from './revision-events.ts'
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
import {
  type KeyHistory,
  makeVersion,
  makeVersionOf,
  StoredVersion,
  tombstone,
  type Version,
} from './version.ts'

interface SessionEntry {
  readonly record: SessionRecord
  /** Keys that live with the session, by {@link mapKey}. */
  readonly keys: Map<string, Uint8Array>
}

/**
 * The whole multi-version state in memory: for each key its versions since the last compaction, for each revision what
 * it changed, and the sessions. It reads no clock and no random numbers, so that equal commands make equal states.
 *
 * Invariants: a key's versions ascend in `modRevision`, one per revision at most; every version at or above
 * `historyFrom` is an event of its revision; below it each key keeps only the version that is visible at
 * `historyFrom - 1`, and no tombstone. The digest covers them, the sessions and the numbers.
 */
export class MvccState implements MvccReader {
  readonly #keys = new KeyHistories()
  readonly #events: RevisionEvents
  readonly #sessions = new Map<SessionId, SessionEntry>()
  readonly #hash = new StateHash()
  #revision: Revision
  #compactRevision: Revision
  #bytes = 0
  #keyCount = 0
  #versionCount = 0
  #sink: ChangeSink | undefined
  /** A transaction is being done, which has made these changes so far. */
  #writing = false
  #changes: StoredVersion | StoredVersion[] | undefined
  /** What a put alone makes a version of, one after the other. */
  readonly #alone = {
    key: emptyBytes,
    createRevision: 0,
    modRevision: 0,
    version: 0,
    session: 0,
    sub: 0,
    deleted: false,
  }

  constructor(numbers: StateNumbers = { revision: 0, compactRevision: 0, historyFrom: 1 }) {
    this.#revision = numbers.revision
    this.#compactRevision = numbers.compactRevision
    this.#events = new RevisionEvents(numbers.historyFrom, numbers.revision)
  }

  get revision(): Revision {
    return this.#revision
  }

  get compactRevision(): Revision {
    return this.#compactRevision
  }

  get historyFrom(): Revision {
    return this.#events.from
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
    return this.historyFrom < this.#compactRevision
  }

  /** A hash of all that is held: equal on all replicas that applied the same commands. */
  digest(): string {
    const numbers = new ByteWriter(32)
    return this.#hash.digest(
      numbers.varint(this.#revision).varint(this.#compactRevision).varint(this.historyFrom).view(),
    )
  }

  /** Where changes go from now on. */
  attach(sink: ChangeSink): void {
    this.#sink = sink
  }

  get(key: Uint8Array, revision: Revision = this.#revision): Version | undefined {
    checkReadable(this, revision)
    const history = this.#keys.get(key)
    return history === undefined ? undefined : visibleAt(history.versions, revision)
  }

  range(select: KeySelector, limits: PageLimits, revision: Revision = this.#revision): VersionPage {
    checkReadable(this, revision)
    return this.#keys.page(select, limits, revision)
  }

  eventsOf(revision: Revision): readonly Version[] {
    return this.#events.of(revision)
  }

  previousOf(version: Version): Version | undefined {
    return previousIn(this.#keys.get(version.key), version.modRevision)
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
    const keys = this.#keys.view()
    const revision = this.#revision
    return {
      revision,
      compactRevision: this.#compactRevision,
      historyFrom: this.historyFrom,
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
    return lastLive(this.#keys.lookUp(key))
  }

  /** A page of the latest versions, changes of the transaction under way included. */
  latestRange(select: KeySelector, limits: PageLimits): VersionPage {
    return this.#keys.page(select, limits, Number.MAX_SAFE_INTEGER)
  }

  /** Starts a transaction. Its revision is taken with its first write. */
  begin(): void {
    invariant(!this.#writing, 'one transaction at a time')
    this.#writing = true
  }

  put(key: Uint8Array, value: Uint8Array, sessionId: SessionId): void {
    const history = this.#keys.lookUp(key)
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

  /** The history of the key of a put, for {@link MvccState.putAlone}. */
  historyOf(put: PlainPut): KeyHistory | undefined {
    return this.#keys.find(put)
  }

  /** A whole transaction, of one put without a session: what begin, put and commit do, in one step. */
  putAlone(put: PlainPut, history: KeyHistory | undefined): void {
    invariant(!this.#writing, 'one transaction at a time')
    const before = lastLive(history)
    const revision = this.#revision + 1
    const alone = this.#alone
    alone.key = before?.key ?? copyBytes(put.key)
    alone.createRevision = before?.createRevision ?? revision
    alone.modRevision = revision
    alone.version = (before?.version ?? 0) + 1
    const version = makeVersionOf(alone, put.data, put.valueAt, put.valueBytes)
    if (before !== undefined) this.#detach(before)
    else this.#keyCount++
    this.#hold(version, history)
    this.#revision = revision
    this.#events.push(version)
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
    this.#keys.forgetLookUp()
    if (changes === undefined && !revisionTaken) return
    this.#revision++
    this.#events.push(changes ?? noEvents)
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
    // A list of its own: the map changes under it.
    const histories = Array.from(this.#keys.values())
    for (const { versions } of histories) {
      for (const version of versions) this.#drop(version)
      this.#keys.delete((versions[0] as StoredVersion).key)
    }
    this.#revision = revision
    this.#compactRevision = revision
    this.#events.restart(revision + 1)
  }

  /**
   * Makes `revision` the present one, with all keys as they are, and forbids reads of anything older: whoever has seen
   * revisions in between has seen what is not here, and must read anew.
   */
  raiseTo(revision: Revision): void {
    invariant(revision > this.#revision, 'a revision grows')
    // All at once, since what has no place in the history must not be there when the state is loaded again.
    this.#clear(this.#revision + 1 - this.#events.from)
    this.#revision = revision
    this.#compactRevision = revision
    this.#events.restart(revision + 1)
  }

  /** Clears whole revisions of superseded versions until about `events` events are gone. */
  clearGarbage(events: number): void {
    const { from } = this.#events
    let seen = 0
    let revisions = 0
    while (from + revisions < this.#compactRevision && seen < events) {
      seen += this.#events.count(from + revisions) + 1
      revisions++
    }
    if (revisions > 0) this.#clear(revisions)
  }

  /** Clears the oldest revisions of the history. */
  #clear(revisions: number): void {
    this.#keys.forgetLookUp()
    for (const changes of this.#events.shift(revisions)) {
      if (changes instanceof StoredVersion) this.#trim(changes)
      else for (const version of changes) this.#trim(version)
    }
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
    const { modRevision } = version
    if (modRevision < 1 || modRevision > this.#revision) damaged('a version is not of this history')
    const history = this.#keys.get(version.key)
    const last = history?.versions.at(-1)
    if (last !== undefined && last.modRevision >= modRevision) damaged('versions of a key are out of order')
    if (modRevision >= this.historyFrom) this.#events.load(version)
    else if (version.deleted || last !== undefined) damaged('a version was not cleared away')
    this.#keys.add(version, history)
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
    this.#events.checkLoaded()
    if (this.digest() !== digest) damaged(`its hash is ${this.digest()} and not ${digest}`)
  }

  /** Where the next change of the transaction under way stands. */
  #nextPlace(): number {
    invariant(this.#writing, 'writes happen inside a transaction')
    return this.#changes === undefined ? 0 : countOf(this.#changes)
  }

  #sessionEntry(sessionId: SessionId): SessionEntry {
    const entry = this.#sessions.get(sessionId)
    invariant(entry !== undefined, 'the session exists')
    return entry
  }

  /** `history` is that of the key so far. */
  #write(version: StoredVersion, history: KeyHistory | undefined): void {
    this.#hold(version, history)
    const changes = this.#changes
    if (changes === undefined) this.#changes = version
    else if (changes instanceof StoredVersion) this.#changes = [changes, version]
    else changes.push(version)
  }

  #hold(version: StoredVersion, history: KeyHistory | undefined): void {
    this.#keys.add(version, history)
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

  /** A version left the history: drops what nobody can read any more of its key. */
  #trim(version: StoredVersion): void {
    // One that was dropped went with a later one of its key.
    if (version.dropped) return
    const { history } = version
    invariant(history !== undefined, 'a version that is held has its place')
    this.#keys.trim(history, this.historyFrom, this.#drop)
  }

  readonly #drop = (version: StoredVersion): void => {
    version.dropped = true
    version.history = undefined
    this.#hash.removeLanes(version)
    this.#bytes -= version.quotaBytes
    this.#versionCount--
    this.#sink?.dropVersion(version)
  }
}
