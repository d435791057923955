import type { KeySelector, Revision, SessionId } from '../../interfaces/metadata-store.ts'
import type { SessionRecord } from './session-record.ts'
import type { StoredVersion, Version } from './version.ts'

/** Takes in what a command changes, so that it can be stored. */
export interface ChangeSink {
  putVersion(version: StoredVersion): void
  dropVersion(version: StoredVersion): void
  putSession(session: SessionRecord, record: Uint8Array): void
  dropSession(sessionId: SessionId): void
}

/** The numbers that stand beside versions and sessions. */
export interface StateNumbers {
  /** The latest transaction that was applied. */
  readonly revision: Revision
  /** Reads and watches below it fail. */
  readonly compactRevision: Revision
  /** First revision whose events are still there. It follows `compactRevision` in slices. */
  readonly historyFrom: Revision
}

/** One page of a range. */
export interface VersionPage {
  /** What was found, in the order of the keys. */
  readonly versions: readonly Version[]
  /** More keys follow beyond the limits. */
  readonly more: boolean
  /** Keys in the whole selection, whatever the limits. */
  readonly count: number
}

/** What readers of the state see: reads at a revision, and what each revision changed. */
export interface MvccReader extends StateNumbers {
  /** @throws KeelsonError `COMPACTED`, `FUTURE_REVISION` */
  get(key: Uint8Array, revision?: Revision): Version | undefined
  /**
   * The keys of a selection in order, as many as fit.
   *
   * @throws KeelsonError `COMPACTED`, `FUTURE_REVISION`
   */
  range(select: KeySelector, limits: PageLimits, revision?: Revision): VersionPage
  /** What a revision changed, in the order of its transaction; `revision` is in [historyFrom, revision]. */
  eventsOf(revision: Revision): readonly Version[]
  /** The version before this one, if the key existed. */
  previousOf(version: Version): Version | undefined
  /** The session of that id, or undefined when it has ended. */
  session(sessionId: SessionId): SessionRecord | undefined
  /** All sessions that have not ended. */
  sessions(): Iterable<SessionRecord>
}

/** How much one page may hold; the first entry always fits. */
export interface PageLimits {
  /** Most entries in the page. */
  readonly entries: number
  /** Most bytes of keys and values in the page. */
  readonly bytes: number
}

/** A state at one moment: stays as it is while the state goes on. */
export interface StateView extends StateNumbers {
  readonly digest: string
  readonly sessions: readonly SessionRecord[]
  /** All versions, key by key, each key's in the order of their revisions. */
  versions(): Iterable<StoredVersion>
}
