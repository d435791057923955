// npm run mutants -- --hosts [--seeds 100] [--only words] [--record] [--anew]
//
// Plants one bug after the other in what surrounds the core of a host and lets the simulator look for it. Prints the seed that
// caught it, how much virtual time it takes to see it, and what was said. A bug that survives is a hole in the simulator: the command
// ends with code 1. `--record` writes the seeds to recorded-seeds.ts, from where the tests replay them; `--anew` looks for
// quicker ones again.

import { availableParallelism } from 'node:os'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { commandLine, toggle, wholeNumber, word } from '../../../bench/support/command-line.ts'
import { record } from '../../support/record.ts'
import { runSeeds } from '../../support/seed-workers.ts'
import { type HostBug, hostBugs } from './bugs.ts'
import { type HostHunt, hunt } from './hunt.ts'
import { recordedSeeds } from './recorded-seeds.ts'

const program = 'mutants of hosts'
/** Seeds that show a bug, of which the quickest is recorded. */
const enough = 3

interface Task {
  readonly at: number
  readonly seeds: number
  readonly anew: boolean
}

if (!isMainThread && workerData === program) {
  parentPort?.on('message', (task: Task) => {
    void huntOne(task).then((found) => parentPort?.postMessage(found))
  })
}

async function huntOne({ at, seeds, anew }: Task): Promise<HostHunt> {
  const bug = hostBugs[at] as HostBug
  const recorded = recordedSeeds[bug.name]
  if (recorded !== undefined && !anew) {
    const again = await hunt(bug, recorded, 1)
    if (again.seed !== undefined) return again
  }
  return hunt(bug, 1, seeds, enough)
}

/** Runs the command with these arguments. @returns the exit code */
export async function huntHosts(args: readonly string[]): Promise<number> {
  const values = commandLine(
    {
      call: 'npm run mutants -- --hosts',
      about: 'Plants one bug after the other in what surrounds the core; ends with code 1 when one survives.',
      flags: {
        hosts: toggle('these'),
        seeds: wholeNumber(100, 'tried for each bug at the most'),
        only: word('', 'WORDS', 'bugs whose names contain the words'),
        record: toggle('writes down which seed found which, for the tests to replay'),
        anew: toggle('looks for the quickest seeds again, in place of those that are written down'),
      },
    },
    args,
  )
  const { seeds, anew } = values
  const chosen = [...hostBugs.keys()].filter((at) => hostBugs[at]?.name.includes(values.only))
  if (chosen.length === 0) {
    console.error(`no bug's name contains '${values.only}'`)
    return 2
  }
  const hunts: HostHunt[] = []
  const work = {
    program: new URL(import.meta.url),
    workerData: program,
    first: 0,
    seeds: chosen.length,
    workers: availableParallelism(),
    runOf: (i: number): Task => ({ at: chosen[i] as number, seeds, anew }),
  }
  console.log('seed  tried  virtual s  bug')
  await runSeeds<Task, HostHunt>(work, (found) => {
    hunts.push(found)
    const { name, seed, tried, virtualMs, message, problems } = found
    const columns = [String(seed ?? '-').padStart(4), String(tried).padStart(6)]
    console.log(`${columns.join(' ')} ${(virtualMs / 1000).toFixed(1).padStart(10)}  ${name}: ${message}`)
    for (const problem of problems) console.log(`PROBLEM: ${name}: ${problem}`)
  })
  const survived = hunts.filter(({ seed }) => seed === undefined)
  console.log(`\n${hunts.length - survived.length} of ${hunts.length} bugs caught`)
  for (const { name, tried } of survived) console.log(`SURVIVED ${tried} seeds: ${name}`)
  if (values.record) {
    const caught = hunts.flatMap(({ name, seed }) => (seed === undefined ? [] : [[name, seed] as const]))
    const known = Object.entries(recordedSeeds).filter(([name]) =>
      hostBugs.some((each) => each.name === name),
    )
    const file = {
      program: import.meta.url,
      file: './recorded-seeds.ts',
      constant: 'recordedSeeds',
      about: 'The seed that caught each bug last: written by npm run mutants -- --hosts --record.',
    }
    record(file, Object.fromEntries([...known, ...caught]))
    console.log('recorded in recorded-seeds.ts')
  }
  return survived.length === 0 && hunts.every(({ problems }) => problems.length === 0) ? 0 : 1
}
