import { ConfigurationPool, type KnownConfiguration } from './configuration-pool.ts'
import type { Configuration } from './membership-types.ts'
import { noneOf } from './none.ts'

/** A configuration and where it comes from. */
export interface PlacedConfiguration extends KnownConfiguration {
  /** The index of its entry, or of the snapshot or applied position that it was restored with. */
  readonly index: number
}

function placed(
  index: number,
  { configuration, electorate, wantsMore }: KnownConfiguration,
): PlacedConfiguration {
  return { index, configuration, electorate, wantsMore }
}

/**
 * The configurations of a log that may still matter: the one that was in force at the compacted position and those of
 * all entries after it, by ascending index. Kept beside the log, entry for entry: appended, truncated and compacted with
 * it. That is the whole of "takes effect when appended, rolls back when truncated".
 */
export class ConfigurationHistory {
  /** Empty for a replica that knows no configuration yet. */
  places: readonly PlacedConfiguration[] = noneOf()
  readonly pool: ConfigurationPool

  constructor(pool: ConfigurationPool = new ConfigurationPool()) {
    this.pool = pool
  }

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

  /** The data of a configuration entry. @throws KeelsonError `MALFORMED`, `FORMAT_VERSION` */
  append(index: number, data: Uint8Array): void {
    // Not spread: that leaves room for more, in every replica of a host.
    this.places = this.places.concat(placed(index, this.pool.decode(data)))
  }

  /** Entries from `index` on were cut off. */
  truncateFrom(index: number): void {
    if (this.latestIndex >= index) this.places = this.places.filter((place) => place.index < index)
  }

  /** Entries up to `index` were compacted: keeps the one in force there and later ones. */
  compactTo(index: number): void {
    let gone = 0
    while ((this.places[gone + 1]?.index ?? Infinity) <= index) gone++
    if (gone > 0) this.places = this.places.slice(gone)
  }

  /** A snapshot replaced the log: its configuration is the only one. */
  reset(index: number, configuration: Configuration): void {
    this.places = [placed(index, this.pool.share(configuration))]
  }

  clone(): ConfigurationHistory {
    const copy = new ConfigurationHistory(this.pool)
    copy.places = this.places
    return copy
  }
}
