// npm run explore [-- --seconds N] [--world NAME] [--workers N]
// npm run explore -- --terms 2 --proposals 2 --crashes 1 --changes 1 --messages 4 … [--seconds N]
//
// Visits every state that a few Raft replicas can reach within small bounds, and judges each. Without a bound it goes
// through a list of worlds, one on each core of the machine; with any bound, through that one world. A violation is printed
// with the shortest way to it, and the command ends with code 1.

import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { closest } from '../../../src/core/options.ts'
import { mutants } from '../support/mutants.ts'
import { type Bounds, defaultBounds } from './bounds.ts'
import { type RunOptions, runWorld, type WorldReport } from './run.ts'
import { type NamedBounds, worlds } from './worlds.ts'

/** What a worker gets. */
interface Task {
  readonly world: NamedBounds
  readonly options: Omit<RunOptions, 'Core' | 'onDepth'>
  readonly mutant: string | undefined
  readonly progress: boolean
}

interface Settings {
  readonly worlds: readonly NamedBounds[]
  readonly options: Omit<RunOptions, 'Core' | 'onDepth'>
  readonly mutant: string | undefined
  readonly workers: number
}

const numbers = Object.entries(defaultBounds).filter(([, value]) => typeof value === 'number')
const flags = Object.entries(defaultBounds).filter(([, value]) => typeof value === 'boolean')
const usage = `npm run explore -- [--world NAME | bounds] [--seconds N] [--states N] [--workers N] [--bits 64|128] [--no-symmetry] [--mutant NAME]
bounds: ${numbers.map(([name, value]) => `--${dashed(name)} ${String(value)}`).join(' ')} ${flags.map(([name]) => `--${dashed(name)}`).join(' ')}
worlds: ${worlds.map(({ name }) => name).join(', ')}`

if (isMainThread) process.exitCode = await main(process.argv.slice(2))
else work(workerData as Task)

function work({ world, options, mutant, progress }: Task): void {
  const Core = mutants.find(({ name }) => name === mutant)?.Core
  const onDepth = progress ? (reached: unknown) => parentPort?.postMessage({ reached }) : undefined
  parentPort?.postMessage({ report: runWorld(world, { ...options, Core, onDepth }) })
}

async function main(argumentList: string[]): Promise<number> {
  const settings = readSettings(argumentList)
  if (typeof settings === 'string') {
    console.error(settings)
    return 2
  }
  const startedMs = Date.now()
  const queue = [...settings.worlds]
  const reports: WorldReport[] = []
  const one = async (): Promise<void> => {
    for (let world = queue.shift(); world !== undefined; world = queue.shift()) {
      const { seconds } = settings.options
      const left = seconds === undefined ? undefined : seconds - (Date.now() - startedMs) / 1000
      if (left !== undefined && left <= 0) {
        console.log(`${world.name}: not begun, the time was over`)
        continue
      }
      const report = await runInWorker(world, { ...settings.options, seconds: left }, settings)
      reports.push(report)
      print(report)
    }
  }
  await Promise.all(Array.from({ length: Math.min(settings.workers, queue.length) }, one))
  summarize(reports, settings.worlds.length, (Date.now() - startedMs) / 1000)
  return reports.some(({ violation }) => violation !== undefined) ? 1 : 0
}

function runInWorker(
  world: NamedBounds,
  options: Task['options'],
  { mutant, worlds: all }: Settings,
): Promise<WorldReport> {
  const task: Task = { world, options, mutant, progress: all.length === 1 }
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url), {
      workerData: task,
      resourceLimits: { maxOldGenerationSizeMb: 16_384 },
    })
    worker.on('error', reject)
    worker.on(
      'message',
      (message: { report?: WorldReport; reached?: { depth: number; states: number; frontier: number } }) => {
        if (message.report !== undefined) resolve(message.report)
        const { reached } = message
        if (reached !== undefined) {
          console.log(
            `depth ${reached.depth}: ${count(reached.states)} states, ${count(reached.frontier)} of them to be looked at`,
          )
        }
      },
    )
  })
}

function print(report: WorldReport): void {
  const { name, complete, violation, states, transitions, depth, seconds, frontier, members, messages } =
    report
  const what = `${count(states)} states, ${count(transitions)} transitions, depth ${depth}, ${seconds.toFixed(1)} s`
  const parts = `${count(members)} states of one replica, ${count(messages)} messages`
  if (violation !== undefined) {
    console.log(
      `${name}: BROKEN after ${violation.steps} steps: ${violation.message}\n${violation.trace.join('\n')}`,
    )
    console.log(`${name}: ${what}`)
  } else if (complete) console.log(`${name}: all ${what} (${parts})`)
  else console.log(`${name}: NOT FINISHED: ${what}, ${count(frontier)} states not looked at (${parts})`)
}

function summarize(reports: readonly WorldReport[], asked: number, seconds: number): void {
  const sum = (of: (report: WorldReport) => number): number =>
    reports.reduce((total, report) => total + of(report), 0)
  const complete = reports.filter((report) => report.complete).length
  const broken = reports.filter(({ violation }) => violation !== undefined).length
  console.log(
    `${count(sum((r) => r.states))} states, ${count(sum((r) => r.transitions))} transitions in ${seconds.toFixed(1)} s; ${complete} of ${asked} worlds to the end, ${broken} violations`,
  )
  const risk = sum((report) => report.collisionProbability)
  console.log(
    `probability that two states were taken for one, and something was missed: below ${risk.toExponential(1)}`,
  )
}

function readSettings(argumentList: string[]): Settings | string {
  const names = [
    ...Object.keys(defaultBounds).map(dashed),
    'world',
    'seconds',
    'states',
    'workers',
    'bits',
    'no-symmetry',
    'mutant',
    'help',
  ]
  const { tokens } = parseArgs({ args: argumentList, strict: false, tokens: true })
  for (const token of tokens) {
    if (token.kind !== 'option' || names.includes(token.name)) continue
    const suggestion = closest(token.name, names)
    return `there is no option --${token.name}${suggestion === undefined ? '' : `; did you mean --${suggestion}?`}`
  }
  const text = { type: 'string' } as const
  const flag = { type: 'boolean' } as const
  const { values } = parseArgs({
    args: argumentList,
    options: {
      ...Object.fromEntries(numbers.map(([name]) => [dashed(name), text])),
      ...Object.fromEntries(flags.map(([name]) => [dashed(name), flag])),
      world: text,
      seconds: text,
      states: text,
      workers: text,
      bits: text,
      'no-symmetry': flag,
      mutant: text,
      help: flag,
    },
  }) as { values: Record<string, string | boolean | undefined> }
  if (values.help === true) return usage
  for (const [name, value] of Object.entries(values)) {
    if (typeof value !== 'string' || name === 'world' || name === 'mutant') continue
    if (!/^\d{1,9}$/.test(value)) return `--${name} takes a number, not ${JSON.stringify(value)}`
  }
  const number = (name: string): number | undefined =>
    values[name] === undefined ? undefined : Number(values[name])
  if (values.bits !== undefined && values.bits !== '64' && values.bits !== '128')
    return '--bits takes 64 or 128'
  const mutant =
    typeof values.mutant === 'string'
      ? mutants.find(({ name }) => name.includes(String(values.mutant)))
      : undefined
  if (values.mutant !== undefined && mutant === undefined)
    return `there is no mutant ${String(values.mutant)}`
  const bounds = readBounds(values)
  if (typeof bounds === 'string') return bounds
  const chosen =
    values.world === undefined ? worlds : worlds.filter(({ name }) => name.includes(String(values.world)))
  if (chosen.length === 0)
    return `there is no world ${String(values.world)}; there are ${worlds.map(({ name }) => name).join(', ')}`
  return {
    worlds: bounds === undefined ? chosen : [{ name: 'the bounds given', bounds }],
    options: {
      symmetry: values['no-symmetry'] !== true,
      seconds: number('seconds'),
      maximumStates: number('states'),
      bits: values.bits === '128' ? 128 : 64,
    },
    mutant: mutant?.name,
    workers: number('workers') ?? availableParallelism(),
  }
}

/** Undefined when none is given. */
function readBounds(values: Record<string, string | boolean | undefined>): Bounds | string | undefined {
  const given: Record<string, number | boolean> = {}
  for (const [name, standard] of Object.entries(defaultBounds)) {
    const value = values[dashed(name)]
    if (value === undefined) continue
    const most = name === 'members' || name === 'learners' ? 3 : name === 'spares' || name === 'reads' ? 1 : 7
    if (typeof standard === 'number' && Number(value) > most) return `--${dashed(name)} is at most ${most}`
    given[name] = typeof standard === 'number' ? Number(value) : true
  }
  if (Object.keys(given).length === 0) return undefined
  const bounds = { ...defaultBounds, ...given }
  // Who is told to campaign does so beyond the terms, too; and who led is kept in three bits a term.
  if (bounds.terms + bounds.transfers + bounds.changes + bounds.joints > 9)
    return '--terms, --transfers, --changes and --joints are at most 9 together'
  if (bounds.members <= bounds.learners) return 'the group needs a voter: --members must be above --learners'
  return bounds
}

function dashed(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

function count(value: number): string {
  return value.toLocaleString('en-US')
}
