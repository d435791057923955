// npm run simulate -- --composition --seeds 200 [--first N] [--workers N] [--lines N] [--agents N] [--ranges N] [--seconds N]
//
// Runs the whole composition in the simulator, one seed after the other on each core of the machine, and prints a summary.
// A seed that fails is printed with the last lines of its trace, and the command ends with code 1.

import { availableParallelism } from 'node:os'
import { performance } from 'node:perf_hooks'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { commandLine, toggle, wholeNumber } from '../../../bench/support/command-line.ts'
import { runSeeds, seedFlags, seedsOf } from '../../support/seed-workers.ts'
import { faultsOf } from './faults.ts'
import { type CompositionResult, type CompositionRun, runComposition } from './run.ts'
import { World } from './world.ts'

const printedFailures = 5
/** Seeds in which every kind of fault is to happen. */
const enoughSeeds = 20

interface Options {
  readonly seeds: number
  readonly seconds: number | undefined
  readonly first: number
  readonly workers: number
  readonly lines: number
  readonly run: Omit<CompositionRun, 'seed'>
}

if (!isMainThread && workerData === 'composition') {
  parentPort?.on('message', (run: CompositionRun) => {
    void runComposition(run).then((result) => parentPort?.postMessage(result))
  })
}

/** Runs the command with these arguments. @returns the exit code */
export async function simulateComposition(argumentList: readonly string[]): Promise<number> {
  const options = readOptions(argumentList)
  const results: CompositionResult[] = []
  const startedMs = performance.now()
  const work = {
    program: new URL(import.meta.url),
    workerData: 'composition',
    first: options.first,
    seeds: options.seeds,
    seconds: options.seconds,
    workers: options.workers,
    runOf: (seed: number): CompositionRun => ({ seed, ...options.run }),
  }
  await runSeeds<CompositionRun, CompositionResult>(work, (result) => {
    results.push(result)
    const failed = results.filter(({ failure }) => failure !== undefined)
    const { seed, failure } = result
    if (failure !== undefined && failed.length <= printedFailures) {
      console.log(`\nseed ${seed} FAILED: ${failure.message}`)
      for (const line of result.trace.slice(-options.lines)) console.log(line)
      console.log(failure.stack.split('\n').slice(0, 8).join('\n'))
      console.log(
        `again: npm run simulate -- --composition --seeds 1 --first ${seed} --lines 4000${options.run.corner === undefined ? '' : ' --lose-quorum'}`,
      )
    }
    if (results.length % 10 === 0)
      console.log(
        `${results.length}${Number.isFinite(options.seeds) ? ` of ${options.seeds}` : ''} seeds, ${failed.length} failed`,
      )
  })
  for (const line of summary(results, options, performance.now() - startedMs)) console.log(line)
  const never = neverHappened(results, options)
  if (never.length > 0)
    console.log(`FAILED: in ${results.length} seeds these faults never happened: ${never.join(', ')}`)
  if (never.length > 0) return 1
  const isComplete = options.seconds !== undefined || results.length === options.seeds
  return isComplete && results.every(({ failure }) => failure === undefined) ? 0 : 1
}

function readOptions(argumentList: readonly string[]): Options {
  const values = commandLine(
    {
      call: 'npm run simulate -- --composition',
      about:
        'Runs a whole control plane with its nodes, clients and faults in the simulator, one seed after the other.',
      flags: {
        composition: toggle('this'),
        ...seedFlags(200),
        first: wholeNumber(1, 'the first of them', 0),
        workers: wholeNumber(availableParallelism(), 'threads'),
        lines: wholeNumber(60, 'of the trace of a seed that fails'),
        agents: wholeNumber(50, 'nodes', 4),
        ranges: wholeNumber(64, 'ranges of the table at the beginning', 2),
        seconds: wholeNumber(20, 'of virtual time in which things fail'),
        'lose-quorum': toggle(
          'now and then all servers but one are lost for good, in place of schema changes',
        ),
      },
    },
    argumentList,
  )
  const { first, workers, lines, agents, ranges, seconds } = values
  return {
    ...seedsOf(values, 200),
    first,
    workers,
    lines,
    run: {
      size: { servers: 3, agents, ranges },
      faultMs: seconds * 1_000,
      ...(values['lose-quorum'] ? { corner: { losesQuorum: true } } : {}),
    },
  }
}

/** A fault that never happens in many seeds is a mistake of the simulation. */
function neverHappened(results: readonly CompositionResult[], { run }: Options): string[] {
  if (results.length < enoughSeeds) return []
  const seen = new Set(results.flatMap(({ faults }) => faults.map(([kind]) => kind)))
  return faultsOf(new World(1, run.size))
    .map(({ name }) => name)
    .filter((name) => !seen.has(name))
}

function summary(results: readonly CompositionResult[], { run }: Options, realMs: number): string[] {
  const total = (each: (result: CompositionResult) => CompositionResult['faults']): Map<string, number> => {
    const sums = new Map<string, number>()
    for (const result of results)
      for (const [name, count] of each(result)) sums.set(name, (sums.get(name) ?? 0) + count)
    return sums
  }
  const sum = (of: (result: CompositionResult) => number): number =>
    results.reduce((before, result) => before + of(result), 0)
  const healed = results
    .map(({ healedMs }) => healedMs)
    .filter((ms) => !Number.isNaN(ms))
    .sort((a, b) => a - b)
  const quantile = (q: number): number =>
    healed[Math.min(healed.length - 1, Math.floor(q * healed.length))] ?? 0
  const failed = results.filter(({ failure }) => failure !== undefined)
  const { servers, agents, ranges } = run.size
  const rows = (counts: Map<string, number>): string[] => [...counts].map(([name, count]) => row(name, count))
  return [
    '',
    `${results.length} seeds of ${servers} servers, ${agents} nodes and ${ranges} ranges, ${run.faultMs / 1_000} s of faults each, ` +
      `in ${(realMs / 1_000).toFixed(1)} s; ${(sum(({ virtualMs }) => virtualMs) / 3_600_000).toFixed(2)} hours of virtual time`,
    row(
      'events',
      sum(({ events }) => events),
    ),
    ...rows(total(({ counts }) => counts)),
    row('milliseconds to heal, median', quantile(0.5)),
    row('  of 99 in 100', quantile(0.99)),
    row('  at most', quantile(1)),
    '',
    'faults',
    ...rows(new Map([...total(({ faults }) => faults)].sort(([a], [b]) => (a < b ? -1 : 1)))),
    '',
    failed.length === 0
      ? 'no invariant was broken, and every run healed and served'
      : `FAILED: ${failed.length} of ${results.length}; seeds ${failed.map(({ seed }) => seed).join(' ')}`,
  ]
}

function row(name: string, value: number): string {
  return `${name.padEnd(62)} ${Math.round(value).toLocaleString('en-US').padStart(14)}`
}
