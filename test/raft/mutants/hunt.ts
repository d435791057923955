import { performance } from 'node:perf_hooks'
import { type RunReport, runSeed } from '../simulation/run.ts'
import type { WorldOptions } from '../simulation/world.ts'
import type { RecordedRun } from './recorded-run.ts'
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

/** Runs a seed, or what is left of one, with the bug in every replica. */
export function runWith(
  bug: PlantedBug | undefined,
  { seed, schedule }: Pick<WorldOptions, 'seed' | 'schedule'>,
  { adjust = bug?.adjust, onFault }: Pick<PlantedBug, 'adjust'> & Pick<WorldOptions, 'onFault'> = {},
): RunReport {
  const { Core, Node } = bug ?? {}
  const options: WorldOptions = {
    seed,
    schedule,
    onFault,
    ...(Core === undefined ? {} : { createCore: (setup) => new Core(setup) }),
    ...(Node === undefined
      ? {}
      : { createNode: (world, name, incarnation) => new Node(world, name, incarnation) }),
    ...(adjust === undefined ? {} : { adjust }),
  }
  return runSeed(options)
}

/** Runs again what showed the bug. Undefined when it does not break the same invariant any more, or fails without the bug too. */
export function repeat(bug: PlantedBug, recorded: RecordedRun): Hunt | undefined {
  const startedMs = performance.now()
  const { failure } = runWith(bug, recorded)
  if (failure === undefined || failure.invariant !== recorded.invariant) return undefined
  if (runWith(undefined, recorded, { adjust: bug.adjust }).failure !== undefined) return undefined
  const { name, mistake } = bug
  const { invariant, message, trace } = failure
  const seconds = (performance.now() - startedMs) / 1000
  return { name, mistake, seed: recorded.seed, invariant, message, trace, seeds: 1, seconds }
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
    const report = runWith(bug, { seed })
    if (report.failure === undefined) continue
    if (runWith(undefined, { seed }, { adjust: bug.adjust }).failure !== undefined) continue
    return found(seed, report, i + 1)
  }
  return found(undefined, undefined, maximumSeeds)
}
