import { performance } from 'node:perf_hooks'
import type { RunReport } from './run.ts'

const progressEveryMs = 2_000
const printedFailures = 5

/** Counts the seeds that were run twice. */
export const repeatedRun = 'run twice and compared'

/** Adds up the reports of many seeds, and tells of failures as they come. */
export class Summary {
  failures = 0
  readonly #lines: number
  readonly #print: (line: string) => void
  readonly #startedMs = performance.now()
  #progressMs = performance.now()
  #seeds = 0
  #events = 0
  #virtualMs = 0
  #elections = 0
  #commits = 0
  #calls = 0
  #unknown = 0
  readonly #faults = new Map<string, number>()
  readonly #counts = new Map<string, number>()
  readonly #failed: string[] = []

  /** `lines` of the trace are printed with a failure. */
  constructor(lines: number, print: (line: string) => void) {
    this.#lines = lines
    this.#print = print
  }

  add(report: RunReport, expected: number): void {
    this.#seeds++
    this.#events += report.events
    this.#virtualMs += report.virtualMs
    this.#elections += report.elections
    this.#commits += report.commits
    this.#calls += report.calls
    this.#unknown += report.unknown
    for (const [kind, count] of report.faults) this.#faults.set(kind, (this.#faults.get(kind) ?? 0) + count)
    for (const [what, count] of report.counts) this.#counts.set(what, (this.#counts.get(what) ?? 0) + count)
    if (report.failure !== undefined) this.#fail(report)
    const nowMs = performance.now()
    if (nowMs - this.#progressMs < progressEveryMs) return
    this.#progressMs = nowMs
    const of = Number.isFinite(expected) ? ` of ${expected}` : ''
    this.#print(`${this.#seeds}${of} seeds, ${this.#rate()} a second, ${this.failures} failed`)
  }

  print(): void {
    const seconds = ((performance.now() - this.#startedMs) / 1000).toFixed(1)
    const count = (what: string): number =>
      [...this.#counts].filter(([name]) => name.startsWith(what)).reduce((sum, [, n]) => sum + n, 0)
    const accepted = [...this.#counts].filter(([name]) => /^change .* accepted$/.test(name))
    const lines = [
      '',
      `${this.#seeds} seeds in ${seconds} s (${this.#rate()} a second), ${(this.#virtualMs / 3_600_000).toFixed(2)} hours of virtual time`,
      row('events', this.#events),
      row('elections won', this.#elections),
      row('entries committed', this.#commits),
      row('calls of clients', this.#calls),
      row('  of unknown outcome', this.#unknown),
      row('reads served', count('read served')),
      row(
        'membership changes',
        accepted.reduce((sum, [, n]) => sum + n, 0),
      ),
      row('hand-overs asked for', count('transfer asked')),
      row('compactions', count('compaction')),
      row('snapshots restored', count('snapshot restored')),
      row('fetches from the log store', count('fetch')),
      row('histories not decided', count('linearizability undecided')),
      row('seeds run twice and compared', count(repeatedRun)),
      '',
      'faults',
      ...[...this.#faults].sort(([a], [b]) => (a < b ? -1 : 1)).map(([kind, n]) => row(`  ${kind}`, n)),
      '',
      this.failures === 0
        ? 'no invariant was broken, and every run healed and served'
        : `FAILED: ${this.failures} of ${this.#seeds}; seeds ${this.#failed.slice(0, 50).join(' ')}`,
    ]
    for (const line of lines) this.#print(line)
  }

  #rate(): string {
    return (this.#seeds / ((performance.now() - this.#startedMs) / 1000)).toFixed(1)
  }

  #fail(report: RunReport): void {
    this.failures++
    this.#failed.push(String(report.seed))
    if (this.failures > printedFailures) return
    const { failure } = report
    if (failure === undefined) return
    this.#print('')
    this.#print(`seed ${report.seed} FAILED: ${failure.message}`)
    if (this.#lines > 0) for (const line of failure.trace.slice(-this.#lines)) this.#print(line)
    this.#print(failure.stack.split('\n').slice(0, 8).join('\n'))
    this.#print(`again: npm run simulate -- --first ${report.seed} --trace`)
  }
}

function row(name: string, value: number): string {
  return `${name.padEnd(62)} ${value.toLocaleString('en-US').padStart(14)}`
}
