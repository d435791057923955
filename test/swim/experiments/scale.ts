import { Swarm, type SwarmProcess } from '../swarm/swarm.ts'
import { quantile, tableHead, tableRow } from './report.ts'

const steadyMs = 30_000
const killed = 10

/** Prints one line for each size and case, as soon as it is known: the largest take an hour. */
export function scale(cases: readonly string[], sizes: readonly number[]): void {
  const wanted = (name: string): boolean => cases.length === 0 || cases.includes(name)
  const head = [
    'members',
    'case',
    'first detection, s',
    'views equal after, s',
    'packets a member and s',
    'B a member and s',
    'CPU a member and s, ms',
    'times real time',
  ]
  console.log(tableHead(head))
  const print = (...rows: readonly string[][]): void => {
    for (const row of rows) console.log(tableRow(row))
  }
  for (const members of sizes) {
    if (wanted('steady') || wanted('crashes')) print(...steady(members))
    if (wanted('joins')) print(joins(members, Math.min(500, members)))
    if (wanted('massacre')) print(massacre(members))
    if (wanted('split')) print(split(members))
  }
}

/** Measures what a part of a run costs. */
class Meter {
  readonly #swarm: Swarm
  readonly #members: number
  readonly #packets: number
  readonly #bytes: number
  readonly #fromMs: number
  readonly #cpu = process.cpuUsage()

  constructor(swarm: Swarm, members: number) {
    this.#swarm = swarm
    this.#members = members
    this.#packets = swarm.packetsSent
    this.#bytes = swarm.bytesSent
    this.#fromMs = swarm.nowMs
  }

  cells(): string[] {
    const { user, system } = process.cpuUsage(this.#cpu)
    const virtualMs = this.#swarm.nowMs - this.#fromMs
    const each = (this.#members * virtualMs) / 1_000
    const cpuMs = (user + system) / 1_000
    return [
      ((this.#swarm.packetsSent - this.#packets) / each).toFixed(2),
      ((this.#swarm.bytesSent - this.#bytes) / each).toFixed(0),
      (cpuMs / each).toFixed(4),
      (virtualMs / cpuMs).toFixed(1),
    ]
  }
}

function formed(
  members: number,
  onFailed?: (about: string, observer: SwarmProcess, atMs: number) => void,
): Swarm {
  const swarm = new Swarm({
    seed: members,
    judged: false,
    tuning: { maximumMembers: 50_000 },
    onEvent: ({ type, member }, observer, atMs) => {
      if (type === 'failed') onFailed?.(member.nodeId, observer, atMs)
    },
  })
  swarm.startFormed(members)
  swarm.run(5_000)
  return swarm
}

function steady(members: number): string[][] {
  const first = new Map<string, number>()
  const swarm = formed(members, (about, _, atMs) => {
    if (!first.has(about)) first.set(about, atMs)
  })
  const idle = new Meter(swarm, members)
  swarm.run(steadyMs)
  const rows = [[String(members), 'quiet', '', '', ...idle.cells()]]
  const dead = Array.from({ length: killed }, (_, i) => `n${Math.floor(((i + 0.5) * members) / killed)}`)
  const atMs = swarm.nowMs
  const meter = new Meter(swarm, members)
  for (const nodeId of dead) swarm.crash(nodeId)
  const tookMs = untilAlive(swarm, members - killed, 240_000)
  const delays = dead.map((nodeId) => ((first.get(nodeId) ?? Number.NaN) - atMs) / 1_000)
  rows.push([
    String(members),
    `${killed} crash`,
    `${quantile(delays, 0.5).toFixed(1)} (${Math.max(...delays).toFixed(1)})`,
    seconds(tookMs),
    ...meter.cells(),
  ])
  return rows
}

function joins(members: number, joining: number): string[] {
  const swarm = formed(members)
  const meter = new Meter(swarm, members + joining)
  const seeds = [swarm.process('n0').address, swarm.process('n1').address]
  for (let i = 0; i < joining; i++) swarm.at(swarm.random.float() * 1_000, () => swarm.start(`j${i}`, seeds))
  swarm.run(1_000)
  const tookMs = untilAlive(swarm, members + joining, 600_000)
  return [String(members), `${joining} join within 1 s`, '', seconds(tookMs), ...meter.cells()]
}

function massacre(members: number): string[] {
  const first: number[] = []
  const seen = new Set<string>()
  const swarm = formed(members, (about, _, atMs) => {
    if (seen.has(about)) return
    seen.add(about)
    first.push(atMs)
  })
  const count = Math.floor(members * 0.3)
  const atMs = swarm.nowMs
  const meter = new Meter(swarm, members - count)
  for (let i = 0; i < count; i++) swarm.crash(`n${i * 3 + 1}`)
  const tookMs = untilAlive(swarm, members - count, 900_000)
  const delays = first.map((at) => (at - atMs) / 1_000)
  return [
    String(members),
    `${count} crash at once`,
    `${quantile(delays, 0.5).toFixed(1)} (${quantile(delays, 1).toFixed(1)})`,
    seconds(tookMs),
    ...meter.cells(),
  ]
}

function split(members: number): string[] {
  const swarm = formed(members)
  const indexes = [...swarm.processes()].map(({ index }) => index)
  swarm.network.partition(indexes.slice(0, members / 2), indexes.slice(members / 2))
  swarm.run(600_000)
  const alone = [...swarm.processes()].filter(({ core }) => core.membership.table.live === members / 2).length
  swarm.network.heal()
  const meter = new Meter(swarm, members)
  const tookMs = untilAlive(swarm, members, 900_000)
  const whole = `${alone} of ${members} knew their half only`
  return [String(members), `healed after 10 min in halves; ${whole}`, '', seconds(tookMs), ...meter.cells()]
}

/** Runs until all that run hold just so many alive. */
function untilAlive(swarm: Swarm, alive: number, limitMs: number): number | undefined {
  return swarm.runUntil(
    () => {
      for (const process of swarm.processes()) {
        if (process.alive && process.core.membership.table.live !== alive) return false
      }
      return true
    },
    limitMs,
    250,
  )
}

function seconds(ms: number | undefined): string {
  return ms === undefined ? 'never' : (ms / 1_000).toFixed(1)
}
