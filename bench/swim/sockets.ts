import { type ChildProcess, fork } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { FromHost, HostReport, ToHost } from './socket-protocol.ts'

const formationLimitMs = 120_000
const steadyMs = 20_000
const detectionLimitMs = 60_000

/** One process of the cluster. */
class Host {
  readonly nodeIds: readonly string[]
  readonly #child: ChildProcess
  #waiting: ((message: FromHost) => void) | undefined
  /** What it saw, by member that failed: when the first and the last of its members declared it dead. */
  readonly failures = new Map<string, number[]>()

  constructor(nodeIds: readonly string[]) {
    this.nodeIds = nodeIds
    this.#child = fork(fileURLToPath(new URL('./socket-host.js', import.meta.url)), { execArgv: [] })
    this.#child.on('message', (message: FromHost) => {
      if (message.type === 'failed') {
        const seen = this.failures.get(message.about) ?? []
        seen.push(message.atMs)
        this.failures.set(message.about, seen)
      } else this.#waiting?.(message)
    })
  }

  async ask(message: ToHost): Promise<FromHost> {
    return new Promise((resolve) => {
      this.#waiting = resolve
      this.#child.send(message)
    })
  }

  async report(): Promise<HostReport> {
    const answer = await this.ask({ type: 'report' })
    if (answer.type !== 'report') throw new Error(`unexpected answer '${answer.type}'`)
    return answer.report
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }
}

/**
 * Members in processes on the loopback interface; one process is killed with all of its members. Before processor time is measured
 * they run for `settleSeconds`: with some dozens of packets a second it takes V8 minutes to compile what handles them.
 */
export async function sockets(members: number, processes: number, settleSeconds: number): Promise<void> {
  const each = Math.ceil(members / processes)
  const hosts = Array.from(
    { length: processes },
    (_, i) =>
      new Host(
        Array.from({ length: Math.min(each, members - i * each) }, (_unused, j) => `n${i * each + j}`),
      ),
  )
  try {
    const [first, ...others] = hosts as [Host, ...Host[]]
    const opened = await first.ask({ type: 'open', nodeIds: first.nodeIds, seeds: [] })
    if (opened.type !== 'opened') throw new Error(`unexpected answer '${opened.type}'`)
    const seeds = opened.addresses.slice(0, 1)
    await Promise.all(others.map(async (host) => host.ask({ type: 'open', nodeIds: host.nodeIds, seeds })))
    const formedMs = await formation(hosts, members)
    await sleep(settleSeconds * 1_000)
    const before = await Promise.all(hosts.map(async (host) => host.report()))
    await sleep(steadyMs)
    const after = await Promise.all(hosts.map(async (host) => host.report()))
    const victim = hosts.at(-1) as Host
    const rest = hosts.slice(0, -1)
    const killedMs = Date.now()
    victim.kill()
    const survivors = members - victim.nodeIds.length
    const complete = (): boolean =>
      victim.nodeIds.every(
        (nodeId) =>
          rest.reduce((sum, { failures }) => sum + (failures.get(nodeId)?.length ?? 0), 0) === survivors,
      )
    for (let waited = 0; waited < detectionLimitMs && !complete(); waited += 100) await sleep(100)
    const times = victim.nodeIds.map((nodeId) => rest.flatMap(({ failures }) => failures.get(nodeId) ?? []))
    const seconds = (at: number): number => (at - killedMs) / 1_000
    const grown = (value: (report: HostReport) => number): number =>
      after.reduce((sum, report, i) => sum + value(report) - value(before[i] as HostReport), 0)
    const perMember = (value: (report: HostReport) => number): number =>
      grown(value) / members / (steadyMs / 1_000)
    const unkilled = rest
      .flatMap(({ failures }) => [...failures.keys()])
      .filter((about) => !victim.nodeIds.includes(about))
    const lines: readonly (readonly [string, string])[] = [
      ['members, processes', `${members}, ${processes}`],
      ['all views complete after the last start, s', (formedMs / 1_000).toFixed(1)],
      ['packets a member and second', perMember(({ packets }) => packets).toFixed(2)],
      ['bytes a member and second', perMember(({ bytes }) => bytes).toFixed(0)],
      ['CPU a member and second, ms', perMember(({ cpuMs }) => cpuMs).toFixed(3)],
      ['killed', String(victim.nodeIds.length)],
      ['first detection, median and last, s', medianAndLast(times.map((at) => seconds(Math.min(...at))))],
      ['detected everywhere, median and last, s', medianAndLast(times.map((at) => seconds(Math.max(...at))))],
      ['detected by all', complete() ? 'yes' : 'no'],
      ['declared dead though not killed', String(new Set(unkilled).size)],
    ]
    for (const [what, value] of lines) console.log(`| ${what} | ${value} |`)
  } finally {
    for (const host of hosts) host.kill()
  }
}

async function formation(hosts: readonly Host[], members: number): Promise<number> {
  const startedMs = Date.now()
  for (;;) {
    const reports = await Promise.all(hosts.map(async (host) => host.report()))
    if (reports.every(({ smallestView }) => smallestView === members)) return Date.now() - startedMs
    if (Date.now() - startedMs > formationLimitMs) throw new Error('the members did not find each other')
    await sleep(200)
  }
}

function medianAndLast(values: readonly number[]): string {
  const median = values.slice().sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN
  return `${median.toFixed(1)}, ${Math.max(...values).toFixed(1)}`
}
