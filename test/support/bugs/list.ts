import { availableParallelism } from 'node:os'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { commandLine, toggle, wholeNumber, word } from '../../../bench/support/command-line.ts'
import { record } from '../record.ts'
import { runSeeds } from '../seed-workers.ts'
import { type BugList, type Hunt, hunt, type PlantedBug } from './hunt.ts'

/** A list of bugs, and what its program says of itself. */
export interface BugProgram<Bug extends PlantedBug> extends BugList<Bug> {
  /** The program that its workers run: it calls {@link huntHere} with the same list. */
  readonly url: string
  /** The word that chooses this list: `--hosts`. */
  readonly flag: string
  readonly about: string
  /** Seeds that are tried for each bug, when nothing is said. */
  readonly seeds: number
  /** Seeds that show a bug, of which the quickest is recorded. */
  readonly enough: number
  /** What a run takes: `events`. */
  readonly unit: string
}

interface Task {
  readonly at: number
  readonly seeds: number
  readonly anew: boolean
}

/** In a worker of the program, hunts for the bugs it is asked to; elsewhere does nothing. */
export function huntHere<Bug extends PlantedBug>(program: BugProgram<Bug>): void {
  if (isMainThread || workerData !== program.command) return
  parentPort?.on('message', (task: Task) => {
    void huntOne(program, task).then((found) => parentPort?.postMessage(found))
  })
}

async function huntOne<Bug extends PlantedBug>(program: BugProgram<Bug>, task: Task): Promise<Hunt> {
  const bug = program.bugs[task.at] as Bug
  const recorded = program.recorded[bug.name]
  if (recorded !== undefined && !task.anew) {
    const again = await hunt(program, bug, recorded, 1)
    if (again.seed !== undefined) return again
  }
  return hunt(program, bug, 1, task.seeds, program.enough)
}

/**
 * Plants one bug after the other and lets the simulator look for it, on all cores. Prints the seed that caught it, how long that took,
 * and what was said. A bug that survives is a hole in the simulator: the program ends with code 1. `--record` writes the seeds to
 * recorded-seeds.ts beside it, from where the tests replay them; `--anew` looks for quicker ones again.
 *
 * @returns the exit code
 */
export async function huntAll<Bug extends PlantedBug>(
  program: BugProgram<Bug>,
  args: readonly string[],
): Promise<number> {
  const { bugs, command, unit } = program
  const values = commandLine(
    {
      call: command,
      about: program.about,
      flags: {
        [program.flag]: toggle('these'),
        seeds: wholeNumber(program.seeds, 'tried for each bug at the most'),
        only: word('', 'WORDS|WORDS', 'bugs whose names contain these words, or those'),
        record: toggle('writes down which seed found which, for the tests to replay'),
        anew: toggle('looks for the quickest seeds again, in place of those that are written down'),
      },
    },
    args,
  )
  const { seeds, anew, only } = values
  const chosen = [...bugs.keys()].filter((at) =>
    only.split('|').some((words) => bugs[at]?.name.includes(words)),
  )
  if (chosen.length === 0) {
    console.error(`no bug's name contains '${only}'`)
    return 2
  }
  const hunts: Hunt[] = []
  const work = {
    program: new URL(program.url),
    workerData: command,
    first: 0,
    seeds: chosen.length,
    workers: availableParallelism(),
    runOf: (i: number): Task => ({ at: chosen[i] as number, seeds, anew }),
  }
  console.log(`seed  tried ${unit.padStart(10)}  bug`)
  await runSeeds<Task, Hunt>(work, (found) => {
    hunts.push(found)
    const { name, seed, tried, took, message, problems } = found
    const columns = [String(seed ?? '-').padStart(4), String(tried).padStart(6), String(took).padStart(10)]
    console.log(`${columns.join(' ')}  ${name}: ${message}`)
    for (const problem of problems) console.log(`PROBLEM: ${name}: ${problem}`)
  })
  const survived = hunts.filter(({ seed }) => seed === undefined)
  console.log(`\n${hunts.length - survived.length} of ${hunts.length} bugs caught`)
  for (const { name, tried } of survived) console.log(`SURVIVED ${tried} seeds: ${name}`)
  if (values.record) writeDown(program, hunts)
  return survived.length === 0 && hunts.every(({ problems }) => problems.length === 0) ? 0 : 1
}

function writeDown<Bug extends PlantedBug>(program: BugProgram<Bug>, hunts: readonly Hunt[]): void {
  const { bugs, recorded, url, command } = program
  const known = Object.entries(recorded).filter(([name]) => bugs.some((each) => each.name === name))
  const caught = hunts.flatMap(({ name, seed }) => (seed === undefined ? [] : [[name, seed] as const]))
  const file = {
    program: url,
    file: './recorded-seeds.ts',
    constant: 'recordedSeeds',
    about: `The seed that caught each bug last: written by ${command} --record.`,
  }
  record(file, Object.fromEntries([...known, ...caught]))
  console.log('recorded in recorded-seeds.ts')
}
