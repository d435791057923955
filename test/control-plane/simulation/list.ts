// npm run mutants -- --composition [--seeds 30] [--only words|words] [--record] [--anew]
//
// Plants one bug after the other in the composition and lets the simulator look for it. Prints the seed that caught it, after
// how many events, and what was said. A bug that survives is a hole in the simulator: the command ends with code 1.
// `--record` writes the seeds to recorded-seeds.ts, from where the tests replay them; `--anew` looks for the quickest ones again.

import { availableParallelism } from 'node:os'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { commandLine, toggle, wholeNumber, word } from '../../../bench/support/command-line.ts'
import { record } from '../../support/record.ts'
import { runSeeds } from '../../support/seed-workers.ts'
import { type Hunt, hunt } from './hunt.ts'
import { type Mutant, mutants } from './mutants.ts'
import { recordedSeeds } from './recorded-seeds.ts'

const program = 'mutants of the composition'
/** Seeds that show a bug, of which the quickest is recorded. */
const enough = 2

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

async function huntOne({ at, seeds, anew }: Task): Promise<Hunt> {
  const mutant = mutants[at] as Mutant
  const recorded = recordedSeeds[mutant.name]
  if (recorded !== undefined && !anew) {
    const again = await hunt(mutant, recorded, 1)
    if (again.seed !== undefined) return again
  }
  return hunt(mutant, 1, seeds, enough)
}

/** Runs the command with these arguments. @returns the exit code */
export async function huntComposition(args: readonly string[]): Promise<number> {
  const values = commandLine(
    {
      call: 'npm run mutants -- --composition',
      about:
        'Plants one bug after the other in the composition and lets the simulator look for it; ends with code 1 when one survives.',
      flags: {
        composition: toggle('this'),
        seeds: wholeNumber(30, 'tried for each bug at the most'),
        only: word('', 'WORDS|WORDS', 'bugs whose names contain these words, or those'),
        record: toggle('writes down which seed found which, for the tests to replay'),
        anew: toggle('looks for the quickest seeds again, in place of those that are written down'),
      },
    },
    args,
  )
  const { seeds } = values
  const chosen = [...mutants.keys()].filter((at) =>
    values.only.split('|').some((words) => mutants[at]?.name.includes(words)),
  )
  const hunts: Hunt[] = []
  const work = {
    program: new URL(import.meta.url),
    workerData: program,
    first: 0,
    seeds: chosen.length,
    workers: availableParallelism(),
    runOf: (i: number): Task => ({ at: chosen[i] as number, seeds, anew: values.anew }),
  }
  console.log(`seed   events  bug`)
  await runSeeds<Task, Hunt>(work, (found) => {
    hunts.push(found)
    const { name, seed, events, message, problems } = found
    console.log(`${String(seed ?? '-').padStart(4)} ${String(events).padStart(8)}  ${name}: ${message}`)
    for (const problem of problems) console.log(`PROBLEM: ${name}: ${problem}`)
  })
  const survived = hunts.filter(({ seed }) => seed === undefined)
  console.log(`\n${hunts.length - survived.length} of ${hunts.length} bugs caught`)
  for (const { name, seeds: tried } of survived) console.log(`SURVIVED ${tried} seeds: ${name}`)
  if (values.record) {
    const caught = hunts.flatMap(({ name, seed }) => (seed === undefined ? [] : [[name, seed] as const]))
    const known = Object.entries(recordedSeeds).filter(([name]) => mutants.some((each) => each.name === name))
    const file = {
      program: import.meta.url,
      file: './recorded-seeds.ts',
      constant: 'recordedSeeds',
      about: 'The seed that caught each bug last: written by npm run mutants -- --record.',
    }
    record(file, Object.fromEntries([...known, ...caught]))
    console.log('recorded in recorded-seeds.ts')
  }
  return survived.length === 0 && hunts.every(({ problems }) => problems.length === 0) ? 0 : 1
}
