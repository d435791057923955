import { KeelsonError } from '../../../src/core/errors.ts'
import { runCorner, runCorners } from './corners.ts'
import { cornerMutants, mutants, nameMutants } from './mutants.ts'
import { runScenario, runTwins, type ScenarioOptions } from './scenario.ts'

/** How a run went wrong; undefined when it did not. */
export interface Breach {
  readonly invariant: string
  readonly message: string
}

/** Names of all planted mistakes. */
export const mistakes: readonly string[] = [
  ...Object.keys(mutants),
  ...Object.keys(nameMutants),
  ...Object.keys(cornerMutants),
]

/**
 * Runs a seed, with a planted mistake if one is named, and tells which invariant broke. Anything else that is thrown is a mistake
 * of ours, and is thrown on.
 */
export function breachOf(seed: number, mistake?: string): Breach | undefined {
  return breachIn(runOf(mistake), seed, mistake)
}

/** What shows a mistake. */
function runOf(mistake: string | undefined): (options: ScenarioOptions) => unknown {
  if (mistake === undefined) return runScenario
  const corner = cornerMutants[mistake]?.corner
  if (corner !== undefined) return runCorner(corner)
  return mistake in nameMutants ? runTwins : runScenario
}

/** Runs the corners of a seed. */
export function cornersBreach(seed: number): Breach | undefined {
  return breachIn(runCorners, seed)
}

/** As {@link breachOf}, of one kind of run. */
export function breachIn(
  run: (options: ScenarioOptions) => unknown,
  seed: number,
  mistake?: string,
): Breach | undefined {
  const alter =
    mistake === undefined
      ? undefined
      : (mutants[mistake] ?? nameMutants[mistake] ?? cornerMutants[mistake]?.alter)
  try {
    run({ seed, alter })
    return undefined
  } catch (error) {
    if (!KeelsonError.hasCode(error, 'INVARIANT_VIOLATED')) throw error
    return { invariant: String(error.details['invariant'] ?? ''), message: error.message }
  }
}

export interface Catch extends Breach {
  readonly seed: number
}

/** The first seed that shows a mistake; one that breaks without it shows nothing. */
export function hunt(mistake: string, first: number, seeds: number): Catch | undefined {
  const run = runOf(mistake)
  for (let seed = first; seed < first + seeds; seed++) {
    const breach = breachIn(run, seed, mistake)
    if (breach !== undefined && breachIn(run, seed) === undefined) return { seed, ...breach }
  }
  return undefined
}
