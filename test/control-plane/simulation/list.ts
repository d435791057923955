// npm run mutants -- --composition [--seeds 30] [--only words|words] [--record] [--anew]
//
// Plants one bug after the other in the composition and lets the simulator look for it.

import type { BugList } from '../../support/bugs/hunt.ts'
import { type BugProgram, huntAll, huntHere } from '../../support/bugs/list.ts'
import { type Mutant, mutants, runMutant } from './mutants.ts'
import { recordedSeeds } from './recorded-seeds.ts'

/** The bugs of the composition; a run takes so many events. */
export const compositionBugs: BugList<Mutant> = {
  bugs: mutants,
  recorded: recordedSeeds,
  run: async (mutant, seed, sound) => {
    const { failure, events } = await runMutant(mutant, seed, sound)
    return { failure, took: events }
  },
  command: 'npm run mutants -- --composition',
}

const program: BugProgram<Mutant> = {
  ...compositionBugs,
  url: import.meta.url,
  flag: 'composition',
  about: 'Plants one bug after the other in the composition; ends with code 1 when one survives.',
  seeds: 30,
  enough: 2,
  unit: 'events',
}

huntHere(program)

/** Runs the command with these arguments. @returns the exit code */
export async function huntComposition(args: readonly string[]): Promise<number> {
  return huntAll(program, args)
}
