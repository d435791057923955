// npm run mutants -- [--seeds 300] [--only words] [--record]
// npm run mutants -- --composition ...: those of the whole composition
//
// Plants one bug after the other and lets the simulator look for it. Prints the number in the list of mistakes, what the bug
// is, the seed that caught it and the invariant that broke. A bug that survives is a hole in the simulator: the command
// ends with code 1. `--record` writes the seeds to recorded-seeds.ts, from where the test replays them.

import { availableParallelism } from 'node:os'
import { performance } from 'node:perf_hooks'
import { isMainThread, parentPort } from 'node:worker_threads'
import { commandLine, toggle, wholeNumber, word } from '../../../bench/support/command-line.ts'
import { recordSeeds } from '../../support/recorded-seeds.ts'
import { runSeeds } from '../../support/seed-workers.ts'
import { bugs } from './bugs.ts'
import { type Hunt, hunt } from './hunt.ts'
import { recordedSeeds } from './recorded-seeds.ts'
import { mistakesWithoutBug, safetyRules } from './rules.ts'

interface Task {
  readonly at: number
  readonly seeds: number
}

if (isMainThread) process.exitCode = await main()
else {
  parentPort?.on('message', ({ at, seeds }: Task) => {
    const bug = bugs[at] as (typeof bugs)[number]
    const recorded = recordedSeeds[bug.name]
    const quick = recorded === undefined ? undefined : hunt(bug, recorded, 1)
    parentPort?.postMessage(quick?.seed === undefined ? hunt(bug, 1, seeds) : quick)
  })
}

async function main(): Promise<number> {
  if (process.argv.includes('--composition')) {
    const { huntComposition } = await import('../../control-plane/simulation/list.ts')
    return huntComposition(process.argv.slice(2))
  }
  const values = commandLine({
    call: 'npm run mutants --',
    about:
      'Plants one bug after the other and lets the simulator look for it; ends with code 1 when one survives.',
    flags: {
      seeds: wholeNumber(300, 'tried for each bug at the most'),
      only: word('', 'WORDS', 'bugs whose names contain the words'),
      record: toggle('writes down which seed found which, for the tests to replay'),
      composition: toggle('those of the whole composition instead'),
    },
  })
  const { seeds } = values
  const tasks = bugs.flatMap((bug, at) => (bug.name.includes(values.only) ? [{ at, seeds }] : []))
  const startedMs = performance.now()
  console.log(`mistake  seed   time  ${'invariant'.padEnd(36)} bug`)
  const hunts = await run(tasks)
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
  if (values.record) record(hunts)
  return survived.length === 0 ? 0 : 1
}

async function run(tasks: readonly Task[]): Promise<Hunt[]> {
  const hunts: Hunt[] = []
  const work = {
    program: new URL(import.meta.url),
    first: 0,
    seeds: tasks.length,
    workers: availableParallelism(),
    runOf: (at: number): Task => tasks[at] as Task,
  }
  await runSeeds<Task, Hunt>(work, (found) => {
    hunts.push(found)
    print(found)
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

function record(hunts: readonly Hunt[]): void {
  const known = { ...recordedSeeds }
  for (const { name, seed } of hunts) if (seed !== undefined) known[name] = seed
  const planted = Object.entries(known).filter(([name]) => bugs.some((bug) => bug.name === name))
  recordSeeds(import.meta.url, Object.fromEntries(planted))
}
