import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { SeededRandom, shuffled } from '../../../src/core/random.ts'
import { Swarm } from '../swarm/swarm.ts'
import { type Configuration, configurations } from './configurations.ts'
import { type HoldUp, holdUpOf } from './hold-up.ts'
import { quantile, table } from './report.ts'

// Lifeguard (Dadgar, Phillips, Currey, 2018), §V: 128 members, C of them held up for D, once ("threshold") or again and
// again with I in between for at least 120 s ("interval").

const members = 128

/** A point of the experiment: how many are held up, for how long, and for how long they go on in between; 0 for once only. */
type Point = readonly [concurrency: number, durationMs: number, intervalMs: number]

function product(concurrencies: number[], durationsMs: number[], intervalsMs: number[]): Point[] {
  return concurrencies.flatMap((c) => durationsMs.flatMap((d) => intervalsMs.map((i) => [c, d, i] as const)))
}

const grids = {
  /** All of the paper's. */
  full: product(
    [1, 4, 8, 12, 16, 20, 24, 28, 32],
    [128, 512, 2_048, 8_192, 32_768],
    [0, 1, 4, 16, 64, 256, 1_024, 4_096, 16_384],
  ),
  /** Where processes that are held up for long go on for a moment only. */
  edge: product([1, 4, 8, 12, 16, 20, 24, 28, 32], [8_192, 32_768], [1, 4]),
  /** Its corners, the middle of each of its faces and its centre; and two points for the latencies. */
  corners: [
    ...product([1, 32], [128, 32_768], [1, 16_384]),
    ...product([1, 16, 32], [2_048], [64]),
    ...product([16], [128, 32_768], [64]),
    ...product([16], [2_048], [1, 16_384]),
    ...product([16, 32], [32_768], [0]),
  ],
} as const satisfies Record<string, readonly Point[]>

/** Names of the grids. */
export type GridName = keyof typeof grids

const repetitions = 10
const intervalRunMs = 120_000

/** As in the tables of the documentation, unless they say otherwise. */
export const usualHoldUp: HoldUp = { hold: 'all', packetMs: 0.05, wakeMs: 1.6 }

/** One run. Interval 0 stands for the threshold experiment. */
interface Run {
  readonly configuration: string
  readonly concurrency: number
  readonly durationMs: number
  readonly intervalMs: number
  readonly repetition: number
}

interface Result extends Run {
  readonly falsePositives: number
  readonly falseAtHealthy: number
  /** Seconds until the first healthy member declared each that was held up dead, and until all had. */
  readonly first: readonly number[]
  readonly everywhere: readonly number[]
  readonly messages: number
  readonly bytes: number
  /** Absent: {@link usualHoldUp}. */
  readonly heldUp?: HoldUp
  /** No probe failed, nobody was suspected: see {@link sameForAll}. */
  readonly undisturbed?: true
}

export interface LifeguardOptions {
  readonly file: string
  /** Makes the `part`-th of `parts` slices, from 1 on. */
  readonly part: number
  readonly parts: number
  readonly minutes: number
  readonly repetitions: number
  readonly only: readonly string[]
  readonly grid: GridName
  readonly heldUp: HoldUp
}

/** All runs in an order of which every beginning is a fair sample: first one of each point of the grid. */
function runsOf(name: GridName, wanted: readonly string[], times: number): Run[] {
  const runs: Run[] = []
  for (let repetition = 0; repetition < Math.min(times, repetitions); repetition++) {
    const points = grids[name].map(([concurrency, durationMs, intervalMs]) => ({
      concurrency,
      durationMs,
      intervalMs,
      repetition,
    }))
    for (const point of shuffled(new SeededRandom(repetition + 1), points)) {
      // All configurations meet the same point one after the other, so that no table is lopsided.
      for (const configuration of wanted) runs.push({ configuration, ...point })
    }
  }
  return runs
}

function pointOf(run: Run): string {
  return keyOf({ ...run, configuration: '' })
}

function keyOf({ configuration, concurrency, durationMs, intervalMs, repetition }: Run): string {
  return [configuration, concurrency, durationMs, intervalMs, repetition].join(' ')
}

/** Runs what is not in the file yet. Each result is a line of JSON, so that it can be stopped at any time. */
export function lifeguard(options: LifeguardOptions): void {
  const { file, minutes, part, parts, heldUp } = options
  const before = readResults(file, heldUp)
  const done = new Set(before.map(keyOf))
  const undisturbed = new Map(before.filter(sameForAll).map((result) => [pointOf(result), result]))
  const wanted = configurations
    .map(({ name }) => name)
    .filter((name) => options.only.length === 0 || options.only.includes(name))
  const formed = new Map<string, Swarm>()
  const endMs = performance.now() + minutes * 60_000
  const marked = isSame(heldUp, usualHoldUp) ? {} : { heldUp }
  let ran = 0
  for (const [at, run] of runsOf(options.grid, wanted, options.repetitions).entries()) {
    if (at % parts !== part - 1 || done.has(keyOf(run))) continue
    if (performance.now() > endMs) break
    const configuration = configurations.find(({ name }) => name === run.configuration) as Configuration
    let result = configuration.heldUp === 'threads' ? undisturbed.get(pointOf(run)) : undefined
    if (result === undefined) {
      const base = formed.get(configuration.name) ?? form(configuration)
      formed.set(configuration.name, base)
      result = perform(run, configuration, base, heldUp)
      if (sameForAll(result)) undisturbed.set(pointOf(run), result)
    }
    appendFileSync(file, `${JSON.stringify({ ...result, configuration: run.configuration, ...marked })}\n`)
    ran++
  }
  console.log(`${ran} runs added to ${file}`)
}

/**
 * The paper's configurations differ in nothing but what comes of a failed probe. A run in which none failed is the same run under
 * all of them, packet for packet, and need not be made five times.
 */
function sameForAll({ configuration, undisturbed }: Result): boolean {
  return undisturbed === true && configuration !== 'keelson'
}

/** Runs one point of the experiment under one configuration. */
export function runPoint(name: string, run: Omit<Run, 'configuration'>, heldUp = usualHoldUp): Result {
  const configuration = configurations.find((each) => each.name === name) as Configuration
  return perform({ configuration: name, ...run }, configuration, form(configuration), heldUp)
}

function form({ tuning, alter, protocols }: Configuration): Swarm {
  const swarm = new Swarm({ seed: 1, tuning, alter, judged: false, core: { protocols } })
  swarm.startFormed(members)
  swarm.run(15_000)
  return swarm
}

function perform(run: Run, configuration: Configuration, base: Swarm, how: HoldUp): Result {
  const { concurrency, durationMs, intervalMs, repetition } = run
  const { tuning, alter, heldUp } = configuration
  // Every configuration holds up the same members.
  const seed = ((concurrency * 40_000 + durationMs) * 20_000 + intervalMs) * 16 + repetition
  const random = new SeededRandom(seed).child('anomaly')
  let startedMs = Number.POSITIVE_INFINITY
  const firstAt = new Map<string, number>()
  const heardBy = new Map<string, number>()
  const lastAt = new Map<string, number>()
  let falsePositives = 0
  let falseAtHealthy = 0
  const slow = new Set(shuffled(random, base.nodeIds).slice(0, concurrency))
  const swarm = base.fork({
    seed,
    tuning,
    alter,
    judged: false,
    onEvent: ({ type, member }, { nodeId }, atMs) => {
      if (type !== 'failed' || atMs < startedMs) return
      const atHealthy = !slow.has(nodeId)
      if (!slow.has(member.nodeId)) {
        falsePositives++
        if (atHealthy) falseAtHealthy++
        return
      }
      if (!atHealthy || intervalMs > 0) return
      if (!firstAt.has(member.nodeId)) firstAt.set(member.nodeId, atMs)
      heardBy.set(member.nodeId, (heardBy.get(member.nodeId) ?? 0) + 1)
      lastAt.set(member.nodeId, atMs)
    },
  })
  swarm.run(2_000 + random.float() * 3_000)
  startedMs = swarm.nowMs
  const { packetsSent, bytesSent } = swarm
  const stops = [...slow].map((nodeId) => holdUpOf(swarm, swarm.process(nodeId), heldUp, how))
  const cycleMs = durationMs + intervalMs
  const cycles = intervalMs === 0 ? 1 : Math.ceil(intervalRunMs / cycleMs)
  for (let cycle = 0; cycle < cycles; cycle++) {
    for (const stop of stops) stop(durationMs)
    swarm.run(cycleMs)
  }
  swarm.run(10_000)
  const healthy = members - concurrency
  const seconds = (at: number): number => (at - startedMs) / 1_000
  return {
    ...run,
    falsePositives,
    falseAtHealthy,
    first: [...firstAt.values()].map(seconds),
    everywhere: [...lastAt]
      .filter(([nodeId]) => heardBy.get(nodeId) === healthy)
      .map(([, at]) => seconds(at)),
    messages: swarm.packetsSent - packetsSent,
    bytes: swarm.bytesSent - bytesSent,
    ...(troublesOf(swarm) === 0 ? { undisturbed: true as const } : {}),
  }
}

/** What health and suspicions are made of, from the start of the swarm on. */
function troublesOf(swarm: Swarm): number {
  let troubles = 0
  for (const { core } of swarm.processes()) {
    const { failedProbes, refutations, stalls } = core.counters
    troubles += failedProbes + refutations + stalls + core.localHealth
  }
  return troubles
}

function readResults(file: string, wanted: HoldUp): Result[] {
  if (!existsSync(file)) return []
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Result)
    .filter(({ heldUp = usualHoldUp }) => isSame(heldUp, wanted))
}

function isSame(a: HoldUp, b: HoldUp): boolean {
  return a.hold === b.hold && a.packetMs === b.packetMs && a.wakeMs === b.wakeMs
}

/** Prints the paper's tables from a file of results: only points that every configuration has run count. */
export function reportLifeguard(file: string, heldUp: HoldUp): void {
  const results = readResults(file, heldUp)
  const names = configurations
    .map(({ name }) => name)
    .filter((name) => results.some((r) => r.configuration === name))
  const counts = new Map<string, number>()
  for (const result of results) {
    const point = pointOf(result)
    counts.set(point, (counts.get(point) ?? 0) + 1)
  }
  const fair = results.filter((result) => counts.get(pointOf(result)) === names.length)
  const sorted = fair.slice().sort((a, b) => (pointOf(a) < pointOf(b) ? -1 : 1))
  const of = (name: string): Result[] => sorted.filter(({ configuration }) => configuration === name)
  const sum = (rows: readonly Result[], value: (row: Result) => number): number =>
    rows.reduce((total, row) => total + value(row), 0)
  const intervalRows = (name: string): Result[] => of(name).filter(({ intervalMs }) => intervalMs > 0)
  reportPoints(fair, names)
  const base = names[0] ?? ''
  const baseFalse = sum(intervalRows(base), (row) => row.falsePositives)
  const baseAtHealthy = sum(intervalRows(base), (row) => row.falseAtHealthy)
  console.log(coverage(of(base)))
  const bounds = (name: string, value: (row: Result) => number): string =>
    shareBounds(intervalRows(name).map(value), intervalRows(base).map(value))
  const rows = names.map((name) => {
    const interval = intervalRows(name)
    const threshold = of(name).filter(({ intervalMs }) => intervalMs === 0)
    const first = threshold.flatMap((row) => row.first)
    const everywhere = threshold.flatMap((row) => row.everywhere)
    const wrong = sum(interval, (row) => row.falsePositives)
    const wrongAtHealthy = sum(interval, (row) => row.falseAtHealthy)
    const spread = (values: readonly number[]): string =>
      [0.5, 0.99, 0.999].map((q) => quantile(values, q).toFixed(2)).join(' / ')
    return [
      name,
      String(wrong),
      String(wrongAtHealthy),
      `${((100 * wrong) / baseFalse).toFixed(2)} ${bounds(name, (row) => row.falsePositives)}`,
      `${((100 * wrongAtHealthy) / baseAtHealthy).toFixed(2)} ${bounds(name, (row) => row.falseAtHealthy)}`,
      spread(first),
      spread(everywhere),
      (sum(interval, (row) => row.messages) / 1e6).toFixed(2),
      (sum(interval, (row) => row.bytes) / 2 ** 30).toFixed(3),
    ]
  })
  const head = [
    'configuration',
    'FP',
    'FP−',
    '% FP',
    '% FP−',
    'first detection, s',
    'everywhere, s',
    'messages, M',
    'GiB',
  ]
  console.log(table(head, rows))
}

/** How much of the grid was run by every configuration. */
function coverage(rows: readonly Result[]): string {
  const points = (of: readonly Run[]): number =>
    new Set(of.map((run) => pointOf({ ...run, repetition: 0, configuration: '' }))).size
  const all: readonly Point[] = grids.full
  const once = (run: Run): boolean => run.intervalMs === 0
  const again = (run: Run): boolean => !once(run)
  const intervals = all.filter(([, , intervalMs]) => intervalMs > 0).length
  return (
    `${rows.filter(again).length} interval runs of each at ${points(rows.filter(again))} of ${intervals} points, ` +
    `${rows.filter(once).length} threshold runs of each at ${points(rows.filter(once))} of ${all.length - intervals} points; ` +
    'in brackets: 95 % confidence, by resampling of the runs'
  )
}

const resamples = 2_000

/** Between which shares of the base 95 % of the resampled sums lie (Efron’s bootstrap): rows of one place belong together. */
function shareBounds(values: readonly number[], base: readonly number[]): string {
  const random = new SeededRandom(1)
  const shares: number[] = []
  for (let i = 0; i < resamples; i++) {
    let [sum, whole] = [0, 0]
    for (let j = 0; j < values.length; j++) {
      const at = random.integer(values.length)
      sum += values[at] ?? 0
      whole += base[at] ?? 0
    }
    if (whole > 0) shares.push((100 * sum) / whole)
  }
  return `(${quantile(shares, 0.025).toFixed(2)}–${quantile(shares, 0.975).toFixed(2)})`
}

/** Where the false positives come from: one line for each point that has any. */
function reportPoints(results: readonly Result[], names: readonly string[]): void {
  const points = new Map<string, Map<string, number>>()
  for (const { configuration, concurrency, durationMs, intervalMs, falsePositives } of results) {
    const point = `C ${concurrency}, D ${durationMs} ms, I ${intervalMs} ms`
    const counts = points.get(point) ?? new Map<string, number>()
    counts.set(configuration, (counts.get(configuration) ?? 0) + falsePositives)
    points.set(point, counts)
  }
  const rows = [...points]
    .filter(([, counts]) => [...counts.values()].some((count) => count > 0))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([point, counts]) => [point, ...names.map((name) => String(counts.get(name) ?? 0))])
  console.log(table(['false positives at', ...names], rows))
}
