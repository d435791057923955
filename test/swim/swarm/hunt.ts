import { KeelsonError } from '../../../src/core/errors.ts'
import { runScenario } from './scenario.ts'
import type { Alteration } from './swarm.ts'

/** How a run went wrong; undefined when it did not. */
export interface Breach {
  readonly invariant: string
  readonly message: string
}

/** Runs a seed and tells which invariant broke. Anything else that is thrown is a mistake of ours, and is thrown on. */
export function breachOf(seed: number, alter?: Alteration): Breach | undefined {
  try {
    runScenario({ seed, alter })
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
export function hunt(alter: Alteration, first: number, seeds: number): Catch | undefined {
  for (let seed = first; seed < first + seeds; seed++) {
    const breach = breachOf(seed, alter)
    if (breach !== undefined && breachOf(seed) === undefined) return { seed, ...breach }
  }
  return undefined
}
