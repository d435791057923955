import { type Electorate, electorateOf } from './electorate.ts'
import type { Configuration } from './membership-types.ts'

/** A configuration and where it comes from. */
export interface PlacedConfiguration {
  /** The index of its entry, or of the snapshot or applied position that it was restored with. */
  readonly index: number
  readonly configuration: Configuration
  /** Who counts in it: asked for with every message. */
  readonly electorate: Electorate
  /** It has the leader do something without being asked: leave it, promote a learner, or yield to another voter. */
  readonly wantsMore: boolean
}

function place(index: number, configuration: Configuration): PlacedConfiguration {
  const { replicas, joint } = configuration
  const wantsMore =
    joint?.autoLeave === true ||
    replicas.some(({ autoPromote, priority }) => autoPromote !== undefined || priority !== undefined)
  return { index, configuration, electorate: electorateOf(configuration), wantsMore }
}

/**
 * The configurations of a log that may still matter: the one that was in force at the compacted position and those of
 * all entries after it, by ascending index. Kept beside the log, entry for entry: appended, truncated and compacted with
 * it. That is the whole of "takes effect when appended, rolls back when truncated".
 */
export class ConfigurationHistory {
  /** Empty for a replica that knows no configuration yet. */
  places: PlacedConfiguration[] = []

  get latest(): PlacedConfiguration | undefined {
    return this.places.at(-1)
  }

  /** Where the latest one comes from; 0 without any. */
  get latestIndex(): number {
    return this.latest?.index ?? 0
  }

  /** The one in force at `index`; undefined when that is not known any more, or not yet. */
  at(index: number): PlacedConfiguration | undefined {
    for (let i = this.places.length - 1; i >= 0; i--) {
      const found = this.places[i] as PlacedConfiguration
      if (found.index <= index) return found
    }
    return undefined
  }

  append(index: number, configuration: Configuration): void {
    this.places.push(place(index, configuration))
  }

  /** Entries from `index` on were cut off. */
  truncateFrom(index: number): void {
    while (this.places.length > 0 && this.latestIndex >= index) this.places.pop()
  }

  /** Entries up to `index` were compacted: keeps the one in force there and later ones. */
  compactTo(index: number): void {
    while (this.places.length > 1 && (this.places[1] as PlacedConfiguration).index <= index) {
      this.places.shift()
    }
  }

  /** A snapshot replaced the log: its configuration is the only one. */
  reset(index: number, configuration: Configuration): void {
    this.places = [place(index, configuration)]
  }

  clone(): ConfigurationHistory {
    const copy = new ConfigurationHistory()
    copy.places = this.places.slice()
    return copy
  }
}
