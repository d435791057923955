import type { SeededRandom } from '../../../src/core/random.ts'
import type { Node } from '../simulation/node.ts'
import type { Settings } from '../simulation/settings.ts'
import type { World } from '../simulation/world.ts'
import type { CoreClass } from '../support/cluster.ts'

/** A host of a replica with one bug. */
export type NodeClass = new (world: World, name: string, incarnation: number) => Node

/** One bug, planted in the core or in what surrounds it. */
export interface PlantedBug {
  readonly name: string
  /** Its number in the list of mistakes that others made; undefined for one that is not on the list. */
  readonly mistake: number | undefined
  readonly Core?: CoreClass
  readonly Node?: NodeClass
  /** Looks at a corner where the bug would show more often. */
  readonly adjust?: ((settings: Settings, random: SeededRandom) => Settings) | undefined
}
