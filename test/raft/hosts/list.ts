// npm run mutants -- --hosts [--seeds 100] [--only words|words] [--record] [--anew]
//
// Plants one bug after the other in what surrounds the core of a host and lets the simulator look for it.

import type { BugList, BugRun } from '../../support/bugs/hunt.ts'
import { type BugProgram, huntAll, huntHere } from '../../support/bugs/list.ts'
import { type HostBug, hostBugs } from './bugs.ts'
import { recordedSeeds } from './recorded-seeds.ts'
import { runHosts } from './run.ts'

/** The bugs of hosts; a run takes virtual seconds. */
export const hostBugList: BugList<HostBug> = {
  bugs: hostBugs,
  recorded: recordedSeeds,
  run: runWith,
  command: 'npm run mutants -- --hosts',
}

const program: BugProgram<HostBug> = {
  ...hostBugList,
  url: import.meta.url,
  flag: 'hosts',
  about: 'Plants one bug after the other in what surrounds the core; ends with code 1 when one survives.',
  seeds: 100,
  enough: 3,
  unit: 'virtual s',
}

huntHere(program)

async function runWith(bug: HostBug, seed: number, sound: boolean): Promise<BugRun> {
  const takeOut = sound ? undefined : bug.plant()
  try {
    const { failure, virtualMs } = await runHosts({ seed, adjust: bug.adjust })
    return { failure, took: Math.round(virtualMs / 100) / 10 }
  } finally {
    takeOut?.()
  }
}

/** Runs the command with these arguments. @returns the exit code */
export async function huntHosts(args: readonly string[]): Promise<number> {
  return huntAll(program, args)
}
