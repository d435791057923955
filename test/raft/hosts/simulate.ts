import { availableParallelism } from 'node:os'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { commandLine, toggle, wholeNumber } from '../../../bench/support/command-line.ts'
import { runSeeds, seedFlags, seedsOf } from '../../support/seed-workers.ts'
import { type HostReport, runHosts } from './run.ts'

const printedFailures = 5

if (!isMainThread && workerData === 'hosts') {
  parentPort?.on('message', (seed: number) => {
    void runHosts({ seed }).then((report) => parentPort?.postMessage(report))
  })
}

/** `npm run simulate -- --hosts`: whole hosts under faults, one seed after the other. @returns the exit code */
export async function simulateHosts(argumentList: string[]): Promise<number> {
  const values = commandLine(
    {
      call: 'npm run simulate -- --hosts',
      about: 'Runs whole hosts with their groups, snapshots and forwarding in the simulator.',
      flags: {
        hosts: toggle('these'),
        ...seedFlags(100),
        first: wholeNumber(1, 'the first of them', 0),
        workers: wholeNumber(availableParallelism(), 'threads'),
      },
    },
    argumentList,
  )
  const { first, workers } = values
  const { seeds, seconds } = seedsOf(values, 100)
  const reports: HostReport[] = []
  await runSeeds<number, HostReport>(
    {
      program: new URL(import.meta.url),
      workerData: 'hosts',
      first,
      seeds,
      seconds,
      workers,
      runOf: (seed) => seed,
    },
    (report) => {
      reports.push(report)
      const failed = reports.filter(({ failure }) => failure !== undefined)
      if (report.failure !== undefined && failed.length <= printedFailures) {
        console.log(`\nseed ${report.seed} FAILED: ${report.failure.message}\n${report.failure.stack}`)
        console.log(`again: npm run simulate -- --hosts --seeds 1 --first ${report.seed}`)
      }
      if (reports.length % 20 === 0)
        console.log(
          `${reports.length}${Number.isFinite(seeds) ? ` of ${seeds}` : ''} seeds, ${failed.length} failed`,
        )
    },
  )
  return summary(reports)
}

function summary(reports: readonly HostReport[]): number {
  const counts = new Map<string, number>()
  for (const report of reports) {
    for (const [what, count] of report.counts) counts.set(what, (counts.get(what) ?? 0) + count)
  }
  const commands = reports.reduce((sum, report) => sum + report.commands, 0)
  const hours = reports.reduce((sum, { virtualMs }) => sum + virtualMs, 0) / 3_600_000
  console.log(`\n${reports.length} seeds, ${hours.toFixed(2)} hours of virtual time, ${commands} commands`)
  for (const [what, count] of [...counts].sort(([a], [b]) => (a < b ? -1 : 1))) {
    console.log(`  ${what.padEnd(60)} ${count.toLocaleString('en-US').padStart(12)}`)
  }
  const failed = reports.filter(({ failure }) => failure !== undefined).map(({ seed }) => seed)
  console.log(failed.length === 0 ? 'everything held' : `FAILED: seeds ${failed.slice(0, 50).join(' ')}`)
  return failed.length === 0 ? 0 : 1
}
