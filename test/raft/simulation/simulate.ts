// npm run simulate -- --seeds 1000 [--for SECONDS] [--first N] [--workers N] [--lines N]
// npm run simulate -- --trace [FILE] [--first N]
// npm run simulate -- --hosts --seeds 200 [--first N] [--workers N]
// npm run simulate -- --composition --seeds 200 [--first N] ...
//
// Runs the Raft core in the simulator, one seed after the other on each core of the machine, and prints a summary. A seed
// that fails is printed with the last lines of its trace, and the command ends with code 1. `--trace` prints one seed
// (`--first`) in full; `--trace FILE` writes each event of its replicas to a file, a line of JSON each, for others to hold
// against a specification. Every twentieth seed is run twice, and has to be the same run.
//
// `--hosts` runs whole hosts, with their snapshots and forwarding; `--composition` runs the whole control plane with its nodes.

import { closeSync, openSync, writeSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { isDeepStrictEqual } from 'node:util'
import { isMainThread, parentPort } from 'node:worker_threads'
import { commandLine, toggle, wholeNumber } from '../../../bench/support/command-line.ts'
import { simulateComposition } from '../../control-plane/simulation/simulate.ts'
import { runSeeds, seedFlags, seedsOf } from '../../support/seed-workers.ts'
import { simulateHosts } from '../hosts/simulate.ts'
import { type RunReport, runSeed } from './run.ts'
import { repeatedRun, Summary } from './summary.ts'

const repeatedEvery = 20

if (isMainThread) process.exitCode = await main()
else parentPort?.on('message', (seed: number) => parentPort?.postMessage(runTwice(seed)))

async function main(): Promise<number> {
  if (process.argv.includes('--composition')) return simulateComposition(process.argv.slice(2))
  if (process.argv.includes('--hosts')) return simulateHosts(process.argv.slice(2))
  const options = readOptions(process.argv.slice(2))
  if (options.traceFile !== undefined) return writeEvents(options.first, options.traceFile)
  if (options.trace) return traceOne(options.first)
  const summary = new Summary(options.lines, (line) => console.log(line))
  const { first, seeds, seconds, workers } = options
  await runSeeds<number, RunReport>(
    { program: new URL(import.meta.url), first, seeds, seconds, workers, runOf: (seed) => seed },
    (report) => summary.add(report, seeds),
  )
  summary.print()
  return summary.failures === 0 ? 0 : 1
}

/** One run, and for a twentieth of the seeds another one that must not differ from it in anything. */
function runTwice(seed: number): RunReport {
  const report = runSeed({ seed })
  if (seed % repeatedEvery !== 0 || report.failure !== undefined) return report
  const again = runSeed({ seed })
  const counts: RunReport['counts'] = [...report.counts, [repeatedRun, 1]]
  if (isDeepStrictEqual(again, report)) return { ...report, counts }
  const message = `two runs of the seed differ: ${report.events} events with hash ${report.hash}, then ${again.events} with ${again.hash}`
  return { ...report, counts, failure: { invariant: 'determinism', message, stack: '', trace: [] } }
}

interface Options {
  readonly seeds: number
  readonly seconds: number | undefined
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

function readOptions(all: readonly string[]): Options {
  const { rest, traceFile } = takeTraceFile(all)
  const values = commandLine(
    {
      call: 'npm run simulate --',
      about: `Runs the Raft core in the simulator, one seed after the other, and judges it after every event.
With --hosts it is whole hosts, with --composition the whole control plane; each has a --help of its own.`,
      flags: {
        ...seedFlags(100),
        first: wholeNumber(1, 'the first of them', 0),
        workers: wholeNumber(availableParallelism(), 'threads'),
        lines: wholeNumber(80, 'of the trace of a seed that fails'),
        trace: toggle(
          'prints the first seed in full; with a FILE behind it, its events go there as lines of JSON',
        ),
      },
    },
    rest,
  )
  return { ...values, ...seedsOf(values, 100), traceFile }
}

function writeEvents(seed: number, path: string): number {
  const file = openedFor(path)
  if (typeof file === 'string') {
    console.error(file)
    return 2
  }
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

/** The file, or what is wrong with it. */
function openedFor(path: string): number | string {
  if (path === '') return '--trace= names no file; without the equals sign the trace is printed'
  try {
    return openSync(path, 'w')
  } catch (error) {
    return `--trace: ${path} cannot be written: ${error instanceof Error ? error.message : String(error)}`
  }
}

function traceOne(seed: number): number {
  const report = runSeed({ seed, onLine: (line) => process.stdout.write(`${line}\n`) })
  const summary = new Summary(0, (line) => console.log(line))
  summary.add(report, 1)
  summary.print()
  return report.failure === undefined ? 0 : 1
}
