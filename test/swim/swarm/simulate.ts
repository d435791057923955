// npm run simulate:swim -- --seeds 1000 [--first N] [--workers N] [--trace]
// npm run simulate:swim -- --mutants [--record]
//
// Runs swarms of SWIM cores in virtual time, one seed after the other on each core of the machine, and the corners of every tenth. A seed that breaks an
// invariant is printed, and the command ends with code 1. `--trace` prints one seed (`--first`) in full. `--mutants` plants
// one mistake after the other and lets the seeds look for it; `--record` writes which seed found which.

import { writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { isMainThread, parentPort } from 'node:worker_threads'
import { commandLine, toggle, wholeNumber } from '../../../bench/support/command-line.ts'
import { runSeeds, seedFlags, seedsOf } from '../../support/seed-workers.ts'
import { type Breach, breachOf, type Catch, cornersBreach, hunt, mistakes } from './hunt.ts'
import { recordedSeeds } from './recorded-seeds.ts'
import { runScenario } from './scenario.ts'

interface Task {
  readonly seed: number
  /** Looks for this mistake instead, from the seed on. */
  readonly mutant?: string
}

interface Report extends Task {
  readonly breach: Breach | Catch | undefined
}

const seedsEach = 60

if (isMainThread) process.exitCode = await main()
else parentPort?.on('message', (task: Task) => parentPort?.postMessage(perform(task)))

function perform(task: Task): Report {
  const { seed, mutant } = task
  if (mutant === undefined)
    return { ...task, breach: breachOf(seed) ?? (seed % 10 === 0 ? cornersBreach(seed) : undefined) }
  const recorded = recordedSeeds[mutant]
  const again = recorded === undefined ? undefined : hunt(mutant, recorded, 1)
  return { ...task, breach: again ?? hunt(mutant, 1, seedsEach) }
}

async function main(): Promise<number> {
  const values = commandLine({
    call: 'npm run simulate:swim --',
    about: 'Runs swarms of SWIM cores in virtual time, one seed after the other, and checks every invariant.',
    flags: {
      ...seedFlags(100),
      first: wholeNumber(1, 'the first of them'),
      workers: wholeNumber(availableParallelism(), 'that share them'),
      trace: toggle('prints the first seed in full'),
      mutants: toggle('plants one mistake after the other and lets the seeds look for it'),
      record: toggle('with --mutants: writes down which seed found which'),
    },
  })
  const { first, workers } = values
  const { seeds, seconds } = seedsOf(values, 100)
  const program = new URL(import.meta.url)
  if (values.trace) {
    runScenario({ seed: first, onLine: (line) => console.log(line) })
    return 0
  }
  if (values.mutants) return huntAll(program, workers, values.record)
  let broken = 0
  let done = 0
  await runSeeds<Task, Report>(
    { program, first, seeds, seconds, workers, runOf: (seed) => ({ seed }) },
    ({ seed, breach }) => {
      done++
      if (breach === undefined) return
      broken++
      console.log(`seed ${seed}: ${breach.message}`)
    },
  )
  console.log(`${done - broken} of ${done} seeds kept every invariant`)
  return broken === 0 ? 0 : 1
}

async function huntAll(program: URL, workers: number, record: boolean): Promise<number> {
  const names = mistakes
  const found = new Map<string, number>()
  await runSeeds<Task, Report>(
    {
      program,
      first: 0,
      seeds: names.length,
      workers,
      runOf: (at) => ({ seed: 1, mutant: names[at] as string }),
    },
    ({ mutant = '', breach }) => {
      const seed = breach !== undefined && 'seed' in breach ? breach.seed : undefined
      if (seed !== undefined) found.set(mutant, seed)
      console.log(
        seed === undefined
          ? `SURVIVED ${seedsEach} seeds: ${mutant}`
          : `seed ${seed}: ${mutant}: ${breach?.message}`,
      )
    },
  )
  console.log(`${found.size} of ${names.length} mistakes caught`)
  if (record) {
    const lines = names.filter((name) => found.has(name)).map((name) => `  '${name}': ${found.get(name)},`)
    const path = fileURLToPath(new URL('../../../../test/swim/swarm/recorded-seeds.ts', import.meta.url))
    writeFileSync(
      path,
      `/** A seed that catches each planted mistake: \`npm run simulate:swim -- --mutants --record\` finds them. */\nexport const recordedSeeds: Readonly<Record<string, number>> = {\n${lines.join('\n')}\n}\n`,
    )
  }
  return found.size === names.length ? 0 : 1
}
