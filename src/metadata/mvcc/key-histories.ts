import type { KeySelector, Revision } from '../../interfaces/metadata-store.ts'
import { KeyCache } from './key-cache.ts'
import { OrderedMap } from './ordered-map.ts'
import type { PlainPut } from './plain-put.ts'
import type { PageLimits, VersionPage } from './state-types.ts'
import type { KeyHistory, StoredVersion } from './version.ts'

/** So many versions that outlive their history at most keep the memory of those that came with them. */
const maximumUnsettled = 4096

/**
 * For each key its versions, ascending. Views of it share with it what has not changed since.
 *
 * Invariant: every version that is held knows the history that it is in.
 */
export class KeyHistories {
  readonly #keys = new OrderedMap<KeyHistory>()
  readonly #cache = new KeyCache()
  /** Views that were made. */
  #views = 0
  /**
   * The last key that a command looked up: it asks for the same one, by the same array, several times. Arrays of
   * commands do not change while one is carried out, and no two commands share one.
   */
  #lastKey: Uint8Array | undefined
  #lastHistory: KeyHistory | undefined
  /** Versions that have outlived their history, the oldest first. Most of them are dropped soon: their keys change often. */
  #unsettled: StoredVersion[] = []

  get(key: Uint8Array): KeyHistory | undefined {
    return this.#keys.get(key)
  }

  /** As {@link get}, for the keys of the command that is being carried out. */
  lookUp(key: Uint8Array): KeyHistory | undefined {
    if (key === this.#lastKey) return this.#lastHistory
    this.#lastKey = key
    this.#lastHistory = this.#keys.get(key)
    return this.#lastHistory
  }

  /** The history of the key of a put. */
  find(put: PlainPut): KeyHistory | undefined {
    const known = this.#cache.find(put)
    if (known !== undefined) return known
    const history = this.#keys.get(put.key)
    if (history !== undefined) this.#cache.remember(history)
    return history
  }

  /** The command is done, or keys changed behind its back. */
  forgetLookUp(): void {
    this.#lastKey = undefined
    this.#lastHistory = undefined
  }

  /** Adds the latest version of a key, whose history so far is this. */
  add(version: StoredVersion, history: KeyHistory | undefined): void {
    this.forgetLookUp()
    if (history === undefined) this.#begin(version.key, [version])
    else {
      history.versions.push(version)
      version.history = history
    }
  }

  /** A copy, in constant time, of which later versions are to be left out by whoever reads it. */
  view(): OrderedMap<KeyHistory> {
    this.#views++
    return this.#keys.clone()
  }

  values(): IterableIterator<KeyHistory> {
    return this.#keys.values()
  }

  delete(key: Uint8Array): void {
    this.forgetLookUp()
    this.#cache.forget(key)
    this.#keys.delete(key)
  }

  /**
   * Takes away the versions of a key that are not visible at `from - 1` or later.
   *
   * @param dropped is told of each of them
   */
  trim(history: KeyHistory, from: Revision, dropped: (version: StoredVersion) => void): void {
    const { versions, views } = history
    let keep = 0
    while (keep + 1 < versions.length && (versions[keep + 1] as StoredVersion).modRevision < from) keep++
    const first = versions[keep] as StoredVersion
    const over = first.modRevision < from
    if (over && first.deleted) keep++
    else if (over) this.#settleLater(first)
    if (keep === 0) return
    for (let i = 0; i < keep; i++) dropped(versions[i] as StoredVersion)
    if (keep === versions.length) this.delete(first.key)
    // A view still reads the array.
    else if (views !== this.#views) this.#begin(first.key, versions.slice(keep))
    else if (keep === 1) versions.shift()
    else versions.splice(0, keep)
  }

  /** The keys of a selection as they are visible at a revision, as many as fit. */
  page(select: KeySelector, limits: PageLimits, revision: Revision): VersionPage {
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

  #settleLater(version: StoredVersion): void {
    if (this.#unsettled.push(version) < maximumUnsettled) return
    const oldest = this.#unsettled.splice(0, maximumUnsettled / 2)
    for (const each of oldest) if (!each.dropped) each.settle()
  }

  #begin(key: Uint8Array, versions: StoredVersion[]): void {
    const history = { key, versions, views: this.#views }
    for (const version of versions) version.history = history
    this.#cache.forget(key)
    this.#keys.set(key, history)
  }
}

/** The latest version, unless the key does not exist any more. */
export function lastLive(history: KeyHistory | undefined): StoredVersion | undefined {
  const last = history?.versions[history.versions.length - 1]
  return last === undefined || last.deleted ? undefined : last
}

/** What a key was at a revision. */
export function visibleAt(versions: readonly StoredVersion[], revision: Revision): StoredVersion | undefined {
  let at = versions.length - 1
  while (at >= 0 && (versions[at] as StoredVersion).modRevision > revision) at--
  const version = versions[at]
  return version === undefined || version.deleted ? undefined : version
}

/** The version before one that is held, if the key existed. */
export function previousIn(history: KeyHistory | undefined, revision: Revision): StoredVersion | undefined {
  const versions = history?.versions ?? []
  let at = versions.length - 1
  while (at >= 0 && (versions[at] as StoredVersion).modRevision > revision) at--
  const before = versions[at - 1]
  return before === undefined || before.deleted ? undefined : before
}
