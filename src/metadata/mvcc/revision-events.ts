import type { Revision } from '../../interfaces/metadata-store.ts'
import { damaged } from './damaged.ts'
import { StoredVersion } from './version.ts'

/** What one revision changed. Nearly all change one key, for which there is no list. */
export type Changes = StoredVersion | readonly StoredVersion[]

/** Of a revision that changed nothing. */
export const noEvents: readonly StoredVersion[] = Object.freeze([])

/** How many changes these are. */
export function countOf(changes: Changes): number {
  return changes instanceof StoredVersion ? 1 : changes.length
}

/** The changes of one revision as a list. */
export function listOf(changes: Changes): readonly StoredVersion[] {
  return changes instanceof StoredVersion ? [changes] : changes
}

/** What each revision changed, from one on, which moves forward. */
export class RevisionEvents {
  /** The first revision stands at `#head`; what is before that was taken away. */
  #changes: Changes[] = []
  #head = 0
  #from: Revision

  /** All revisions from `from` to `to` changed nothing so far. */
  constructor(from: Revision, to: Revision) {
    this.#from = from
    for (let revision = from; revision <= to; revision++) this.#changes.push(noEvents)
  }

  /** The first revision whose changes are there. */
  get from(): Revision {
    return this.#from
  }

  /** Adds the next revision. */
  push(changes: Changes): void {
    this.#changes.push(changes)
  }

  /** The changes of a revision in the order of its transaction; none where they are not there. */
  of(revision: Revision): readonly StoredVersion[] {
    return revision < this.#from ? noEvents : listOf(this.#at(revision) ?? noEvents)
  }

  /** How many changes a revision that is there has. */
  count(revision: Revision): number {
    return countOf(this.#at(revision) as Changes)
  }

  /** Takes the changes of the first revisions away. */
  shift(revisions: number): Changes[] {
    const end = this.#head + revisions
    const taken = this.#changes.slice(this.#head, end)
    this.#changes.fill(noEvents, this.#head, end)
    this.#from += revisions
    this.#head = end
    // In constant time on average: the array is copied when most of it is gone.
    if (end * 2 < this.#changes.length) return taken
    this.#changes = this.#changes.slice(end)
    this.#head = 0
    return taken
  }

  /** Forgets everything: the next revision is `from`. */
  restart(from: Revision): void {
    this.#changes = []
    this.#head = 0
    this.#from = from
  }

  /** Puts a version that was stored in its place. @throws KeelsonError `CORRUPTION` */
  load(version: StoredVersion): void {
    const { modRevision, sub } = version
    const at = this.#head + modRevision - this.#from
    if (this.#changes[at] === noEvents) this.#changes[at] = []
    const events = this.#changes[at] as StoredVersion[]
    if (events[sub] !== undefined) damaged('two changes of a revision have one place')
    events[sub] = version
  }

  /** All that was stored was loaded. @throws KeelsonError `CORRUPTION` when a change is missing */
  checkLoaded(): void {
    for (let at = this.#head; at < this.#changes.length; at++) {
      const events = listOf(this.#changes[at] as Changes)
      for (let sub = 0; sub < events.length; sub++)
        if (events[sub] === undefined) damaged('a change of a revision is missing')
      if (events.length === 1) this.#changes[at] = events[0] as StoredVersion
    }
  }

  #at(revision: Revision): Changes | undefined {
    return this.#changes[this.#head + revision - this.#from]
  }
}
