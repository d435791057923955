// npm run mutants -- [--seeds 300] [--only words] [--record [--shrink 40] [--anew]]
// npm run mutants -- --composition ...: those of the whole composition; -- --hosts ...: those of whole hosts
//
// Plants one bug after the other and lets the simulator look for it. Prints the number in the list of mistakes, what the bug
// is, the seed that caught it and the invariant that broke. A bug that survives is a hole in the simulator: the command
// ends with code 1. `--record` leaves out as much of a seed's faults as it can, and writes what is left, which still shows the
// bug, to recorded-runs.ts, from where the test repeats it.

import { availableParallelism } from 'node:os'
import { performance } from 'node:perf_hooks'
import { isMainThread, parentPort } from 'node:worker_threads'
import { commandLine, toggle, wholeNumber, word } from '../../../bench/support/command-line.ts'
import { record } from '../../support/record.ts'
import { runSeeds } from '../../support/seed-workers.ts'
import { bugs } from './bugs.ts'
import { type Hunt, hunt, repeat } from './hunt.ts'
import { decodeRun, encodeRun } from './recorded-run.ts'
import { recordedRuns } from './recorded-runs.ts'
import { mistakesWithoutBug, safetyRules } from './rules.ts'
import { shrink } from './shrink.ts'

interface Task {
  readonly at: number
  readonly seeds: number
  /** How many runs may be spent on leaving out faults; 0 for no record. */
  readonly shrinking: number
  /** What is recorded already is recorded again. */
  readonly anew: boolean
}

/** What a bug was found by, and what is to be recorded of it. */
interface Found extends Hunt {
  readonly run: string | undefined
}

if (isMainThread) process.exitCode = await main()
else {
  parentPort?.on('message', (task: Task) => parentPort?.postMessage(perform(task)))
}

function perform({ at, seeds, shrinking, anew }: Task): Found {
  const bug = bugs[at] as (typeof bugs)[number]
  const text = recordedRuns[bug.name]
  const recorded = text === undefined ? undefined : decodeRun(text)
  const again = recorded === undefined ? undefined : repeat(bug, recorded)
  if (again !== undefined && (shrinking === 0 || !anew)) return { ...again, run: text }
  const found = again ?? hunt(bug, 1, seeds)
  const { seed, invariant } = found
  if (seed === undefined || shrinking === 0) return { ...found, run: undefined }
  return { ...found, run: encodeRun(shrink(bug, seed, invariant, shrinking)) }
}

async function main(): Promise<number> {
  if (process.argv.includes('--composition')) {
    const { huntComposition } = await import('../../control-plane/simulation/list.ts')
    return huntComposition(process.argv.slice(2))
  }
  if (process.argv.includes('--hosts')) {
    const { huntHosts } = await import('../hosts/list.ts')
    return huntHosts(process.argv.slice(2))
  }
  const values = commandLine({
    call: 'npm run mutants --',
    about:
      'Plants one bug after the other and lets the simulator look for it; ends with code 1 when one survives.',
    flags: {
      seeds: wholeNumber(300, 'tried for each bug at the most'),
      only: word('', 'WORDS', 'bugs whose names contain the words'),
      record: toggle('writes down what shows which, for the tests to repeat'),
      shrink: wholeNumber(
        40,
        'runs for each bug to leave out faults that it does not take, with --record',
        0,
      ),
      anew: toggle('with --record: also of bugs of which the record still holds'),
      composition: toggle('those of the whole composition instead'),
      hosts: toggle('those of whole hosts instead'),
    },
  })
  const { seeds, anew } = values
  const shrinking = values.record ? Math.max(1, values.shrink) : 0
  const tasks = bugs.flatMap((bug, at) =>
    bug.name.includes(values.only) ? [{ at, seeds, shrinking, anew }] : [],
  )
  if (tasks.length === 0) {
    console.error(`no bug's name contains '${values.only}'`)
    return 2
  }
  const startedMs = performance.now()
  console.log(`mistake  seed   time  ${'invariant'.padEnd(36)} bug`)
  const hunts = await run(tasks, values.record)
  const survived = hunts.filter(({ seed }) => seed === undefined)
  const mistakes = new Set(
    hunts.flatMap(({ seed, mistake }) => (seed === undefined || mistake === undefined ? [] : [mistake])),
  )
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1)
  console.log(
    `\n${hunts.length - survived.length} of ${hunts.length} bugs caught, of ${mistakes.size} mistakes of the list, in ${seconds} s`,
  )
  if (values.only === '') {
    const missing = mistakesWithoutBug()
    if (missing.length > 0) console.log(`NO BUG for the mistakes ${missing.join(', ')}`)
    const caught = new Set(hunts.flatMap(({ name, seed }) => (seed === undefined ? [] : [name])))
    const held = safetyRules.filter(({ bugs: broken }) => broken.every((name) => caught.has(name)))
    console.log(`${held.length} of ${safetyRules.length} safety rules are missed when they are broken`)
  }
  for (const { name, seeds: tried } of survived) console.log(`SURVIVED ${tried} seeds: ${name}`)
  return survived.length === 0 ? 0 : 1
}

/** What is recorded is there after each bug: this may be stopped at any time. */
async function run(tasks: readonly Task[], records: boolean): Promise<Found[]> {
  const hunts: Found[] = []
  const work = {
    program: new URL(import.meta.url),
    first: 0,
    seeds: tasks.length,
    workers: availableParallelism(),
    runOf: (at: number): Task => tasks[at] as Task,
  }
  await runSeeds<Task, Found>(work, (found) => {
    hunts.push(found)
    print(found)
    if (records) recordAll(hunts)
  })
  return hunts
}

function print({ mistake, name, seed, invariant, seconds }: Hunt): void {
  const number = String(mistake ?? '-').padStart(7)
  const found = String(seed ?? '-').padStart(5)
  console.log(
    `${number} ${found} ${seconds.toFixed(1).padStart(5)}s  ${(invariant || 'SURVIVED').padEnd(36)} ${name}`,
  )
}

function recordAll(found: readonly Found[]): void {
  const known: Record<string, string> = { ...recordedRuns }
  for (const { name, run: shown } of found) if (shown !== undefined) known[name] = shown
  const planted = Object.entries(known).filter(([name]) => bugs.some((bug) => bug.name === name))
  const file = {
    program: import.meta.url,
    file: './recorded-runs.ts',
    constant: 'recordedRuns',
    about: 'The run that showed each bug last: written by npm run mutants -- --record.',
  }
  record(file, Object.fromEntries(planted))
}
