import { decodeConfiguration, encodeConfiguration } from './configuration.ts'
import { type Electorate, electorateOf } from './electorate.ts'
import type { Configuration } from './membership-types.ts'

/** A configuration, and what follows from it alone. */
export interface KnownConfiguration {
  readonly configuration: Configuration
  /** Who counts in it: asked for with every message. */
  readonly electorate: Electorate
  /** It has the leader do something without being asked: leave it, promote a learner, or yield to another voter. */
  readonly wantsMore: boolean
}

const maximumKnown = 1024
const maximumBytes = 1024

/**
 * Configurations by their encoding, so that the groups of a host that have the same members have them once. They never
 * change. Those that many groups have are soon known again after they were forgotten.
 */
export class ConfigurationPool {
  readonly #known = new Map<string, KnownConfiguration>()

  /**
   * The data of a configuration entry.
   *
   * @throws KeelsonError `MALFORMED`, `FORMAT_VERSION` for one of a later release
   */
  decode(data: Uint8Array): KnownConfiguration {
    return this.#find(data, () => decodeConfiguration(data))
  }

  /** One that was decoded elsewhere. */
  share(configuration: Configuration): KnownConfiguration {
    return this.#find(encodeConfiguration(configuration), () => configuration)
  }

  #find(data: Uint8Array, configuration: () => Configuration): KnownConfiguration {
    if (data.length > maximumBytes) return derive(configuration())
    const key = String.fromCharCode(...data)
    const found = this.#known.get(key)
    if (found !== undefined) return found
    const known = derive(configuration())
    if (this.#known.size >= maximumKnown) this.#known.clear()
    this.#known.set(key, known)
    return known
  }
}

function derive(configuration: Configuration): KnownConfiguration {
  const { replicas, joint } = configuration
  const wantsMore =
    joint?.autoLeave === true ||
    replicas.some(({ autoPromote, priority }) => autoPromote !== undefined || priority !== undefined)
  return { configuration, electorate: electorateOf(configuration), wantsMore }
}
