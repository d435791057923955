// npm run simulate -- --seeds 1000 [--first N] [--workers N] [--lines N]
// npm run simulate -- --trace [FILE] [--first N]
// npm run simulate -- --hosts --seeds 200 [--first N] [--workers N]
// npm run simulate -- --composition --seeds 200 [--first N] ...
//
// Runs the Raft core in the simulator, one seed after the other on each core of the machine, and prints a summary. A seed
// that fails is printed with the last lines of its trace, and the command ends with code 1. `--trace` prints one seed
// (`--first`) in full; `--trace FILE` writes each event of its replicas to a file, a line of JSON each, for others to hold
// against a specification. `--hosts` runs whole hosts, with their snapshots and forwarding; `--composition` runs the whole
// control plane with its nodes.

import { closeSync, openSync, writeSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { isMainThread, parentPort } from 'node:worker_threads'
import { closest } from '../../../src/core/options.ts'
import { simulateComposition } from '../../control-plane/simulation/simulate.ts'
import { runSeeds } from '../../support/seed-workers.ts'
import { simulateHosts } from '../hosts/simulate.ts'
import { type RunReport, runSeed } from './run.ts'
import { Summary } from './summary.ts'

const names = ['seeds', 'first', 'workers', 'trace', 'lines', 'help']

if (isMainThread) process.exitCode = await main()
else parentPort?.on('message', (seed: number) => parentPort?.postMessage(runSeed({ seed })))

async function main(): Promise<number> {
  if (process.argv.includes('--composition')) return simulateComposition(process.argv.slice(2))
  if (process.argv.includes('--hosts')) return simulateHosts(process.argv.slice(2))
  const options = readOptions(process.argv.slice(2))
  if (options === undefined) return 2
  if (options.traceFile !== undefined) return writeEvents(options.first, options.traceFile)
  if (options.trace) return traceOne(options.first)
  const summary = new Summary(options.lines, (line) => console.log(line))
  const { first, seeds, workers } = options
  await runSeeds<number, RunReport>(
    { program: new URL(import.meta.url), first, seeds, workers, runOf: (seed) => seed },
    (report) => summary.add(report, seeds),
  )
  summary.print()
  return summary.failures === 0 ? 0 : 1
}

interface Options {
  readonly seeds: number
  readonly first: number
  readonly workers: number
  readonly lines: number
  readonly trace: boolean
  readonly traceFile: string | undefined
}

/** The value of `--trace` may be left out, which parseArgs does not know of. */
function takeTraceFile(argumentList: readonly string[]): { rest: string[]; traceFile: string | undefined } {
  const at = argumentList.findIndex((argument) => argument === '--trace' || argument.startsWith('--trace='))
  const [option = '', next] = argumentList.slice(at, at + 2)
  if (at === -1) return { rest: [...argumentList], traceFile: undefined }
  if (option !== '--trace') {
    return { rest: argumentList.toSpliced(at, 1, '--trace'), traceFile: option.slice('--trace='.length) }
  }
  if (next === undefined || next.startsWith('-')) return { rest: [...argumentList], traceFile: undefined }
  return { rest: argumentList.toSpliced(at + 1, 1), traceFile: next }
}

function readOptions(all: readonly string[]): Options | undefined {
  const { rest: argumentList, traceFile } = takeTraceFile(all)
  const { tokens } = parseArgs({ args: argumentList, strict: false, tokens: true })
  for (const token of tokens) {
    if (token.kind === 'option' && names.includes(token.name)) continue
    if (token.kind === 'positional') continue
    const word = token.kind === 'option' ? token.name : ''
    const suggestion = closest(word, names)
    console.error(
      `there is no option --${word}${suggestion === undefined ? '' : `; did you mean --${suggestion}?`}`,
    )
    return undefined
  }
  const { values } = parseArgs({
    args: argumentList,
    options: {
      seeds: { type: 'string', default: '100' },
      first: { type: 'string', default: '1' },
      workers: { type: 'string', default: String(availableParallelism()) },
      lines: { type: 'string', default: '80' },
      trace: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  const { seeds, first, workers, lines } = values
  for (const [name, value] of Object.entries({ seeds, first, workers, lines })) {
    if (/^\d{1,15}$/.test(value) && (Number(value) > 0 || name === 'first')) continue
    console.error(`--${name} takes a positive integer, not ${JSON.stringify(value)}`)
    return undefined
  }
  if (values.help) {
    console.log('npm run simulate -- --seeds 1000 [--first N] [--workers N] [--trace [FILE]] [--lines N]')
    return undefined
  }
  return {
    seeds: Number(seeds),
    first: Number(first),
    workers: Number(workers),
    lines: Number(lines),
    trace: values.trace,
    traceFile,
  }
}

function writeEvents(seed: number, path: string): number {
  const file = openSync(path, 'w')
  let events = -1
  const report = runSeed({
    seed,
    onEvent: (line) => {
      events++
      writeSync(file, `${line}\n`)
    },
  })
  closeSync(file)
  const summary = new Summary(80, (line) => console.log(line))
  summary.add(report, 1)
  summary.print()
  console.log(`${events} events of seed ${seed} written to ${path}`)
  return report.failure === undefined ? 0 : 1
}

function traceOne(seed: number): number {
  const report = runSeed({ seed, onLine: (line) => process.stdout.write(`${line}\n`) })
  const summary = new Summary(0, (line) => console.log(line))
  summary.add(report, 1)
  summary.print()
  return report.failure === undefined ? 0 : 1
}
