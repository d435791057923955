import { performance } from 'node:perf_hooks'
import { type RunReport, runSeed } from '../simulation/run.ts'
import type { WorldOptions } from '../simulation/world.ts'
import type { PlantedBug } from './types.ts'

/** How a bug was found, or not. */
export interface Hunt {
  readonly name: string
  readonly mistake: number | undefined
  /** Undefined when it survived. */
  readonly seed: number | undefined
  /** Name of the invariant that broke. */
  readonly invariant: string
  readonly message: string
  /** The last lines of the trace. */
  readonly trace: readonly string[]
  readonly seeds: number
  readonly seconds: number
}

/** Runs one seed with the bug in every replica. */
export function runWith(bug: PlantedBug | undefined, seed: number, adjust = bug?.adjust): RunReport {
  const { Core, Node } = bug ?? {}
  const options: WorldOptions = {
    seed,
    ...(Core === undefined ? {} : { createCore: (setup) => new Core(setup) }),
    ...(Node === undefined
      ? {}
      : { createNode: (world, name, incarnation) => new Node(world, name, incarnation) }),
    ...(adjust === undefined ? {} : { adjust }),
  }
  return runSeed(options)
}

/**
 * Looks for a seed that shows the bug, from `first` on. A seed that fails without the bug, under the same settings, shows
 * nothing and is passed over.
 */
export function hunt(bug: PlantedBug, first: number, maximumSeeds: number): Hunt {
  const startedMs = performance.now()
  const found = (seed: number | undefined, report: RunReport | undefined, seeds: number): Hunt => ({
    name: bug.name,
    mistake: bug.mistake,
    seed,
    invariant: report?.failure?.invariant ?? '',
    message: report?.failure?.message ?? '',
    trace: report?.failure?.trace ?? [],
    seeds,
    seconds: (performance.now() - startedMs) / 1000,
  })
  for (let i = 0; i < maximumSeeds; i++) {
    const seed = first + i
    const report = runWith(bug, seed)
    if (report.failure === undefined) continue
    if (runWith(undefined, seed, bug.adjust).failure !== undefined) continue
    return found(seed, report, i + 1)
  }
  return found(undefined, undefined, maximumSeeds)
}
