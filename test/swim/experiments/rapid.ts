import { performance } from 'node:perf_hooks'
import { Swarm } from '../swarm/swarm.ts'
import { table } from './report.ts'

// Rapid (Suresh, Malkhi, Gopalan, Carreiro, Lokhandwala, 2018), §7, with members of this library.

const watchMs = 300_000

/** Prints one line for each case. */
export function rapid(cases: readonly string[], members: number): void {
  const wanted = (name: string): boolean => cases.length === 0 || cases.includes(name)
  const rows: string[][] = []
  if (wanted('bootstrap')) rows.push(bootstrap(members * 2))
  if (wanted('crashes')) rows.push(crashes(members))
  if (wanted('loss')) rows.push(...(['incoming', 'outgoing'] as const).map((way) => lossy(members, way)))
  if (wanted('flip-flop')) rows.push(flipFlop(members))
  const head = [
    'case',
    'done after, s',
    'sick held dead',
    'came back',
    'healthy held dead',
    'view sizes',
    'CPU, s',
  ]
  console.log(table(head, rows))
}

function bootstrap(members: number): string[] {
  const startedMs = performance.now()
  const swarm = new Swarm({ seed: 1, judged: false })
  const sizes = new Set<number>()
  swarm.startMany(members)
  const tookMs = swarm.runUntil(
    () => {
      let complete = swarm.nodeIds.length === members
      for (const { core } of swarm.processes()) {
        sizes.add(core.membership.table.live)
        complete &&= core.membership.table.live === members
      }
      return complete
    },
    600_000,
    1_000,
  )
  return [
    `bootstrap of ${members} by one seed`,
    seconds(tookMs),
    '',
    '',
    '',
    String(sizes.size),
    spent(startedMs),
  ]
}

function crashes(members: number): string[] {
  const { swarm, sick, watch } = begin(members, 10)
  for (const nodeId of sick) swarm.crash(nodeId)
  const tookMs = watch.until(120_000)
  swarm.run(60_000)
  return watch.row(`10 crashes among ${members}`, tookMs)
}

function lossy(members: number, way: 'incoming' | 'outgoing'): string[] {
  const { swarm, sick, watch } = begin(members, members / 100)
  const loss = way === 'incoming' ? swarm.network.incomingLoss : swarm.network.outgoingLoss
  for (const nodeId of sick) loss.set(swarm.process(nodeId).index, 0.8)
  const tookMs = watch.until(watchMs)
  swarm.run(watchMs)
  return watch.row(`1 % of ${members} lose 80 % of what is ${way}`, tookMs)
}

function flipFlop(members: number): string[] {
  const { swarm, sick, watch } = begin(members, members / 100)
  let blocked = false
  const flip = (): void => {
    blocked = !blocked
    for (const nodeId of sick) {
      const { index } = swarm.process(nodeId)
      if (blocked) swarm.network.incomingLoss.set(index, 1)
      else swarm.network.incomingLoss.delete(index)
    }
    swarm.at(20_000, flip)
  }
  flip()
  const tookMs = watch.until(watchMs)
  swarm.run(watchMs)
  return watch.row(`1 % of ${members} hear nothing every other 20 s`, tookMs)
}

/** What the healthy think of the sick and of each other. */
class Watch {
  readonly #swarm: Swarm
  readonly #sick: ReadonlySet<string>
  readonly #startedMs = performance.now()
  readonly #sizes = new Set<number>()
  #doneMs: number | undefined
  readonly #returned = new Set<string>()
  readonly #wronged = new Set<string>()

  constructor(swarm: Swarm, sick: ReadonlySet<string>) {
    this.#swarm = swarm
    this.#sick = sick
  }

  heard(type: string, about: string, observer: string): void {
    if (this.#sick.has(observer)) return
    if (type === 'failed' && !this.#sick.has(about)) this.#wronged.add(about)
    if (type === 'joined' && this.#sick.has(about) && this.#doneMs !== undefined) this.#returned.add(about)
  }

  /** Runs until every healthy member holds every sick one dead. */
  until(limitMs: number): number | undefined {
    const tookMs = this.#swarm.runUntil(() => this.#look() === 0, limitMs, 250)
    this.#doneMs = tookMs === undefined ? undefined : this.#swarm.nowMs
    return tookMs
  }

  row(name: string, tookMs: number | undefined): string[] {
    const open = this.#look()
    const dead = open === 0 ? `${this.#sick.size} of ${this.#sick.size}` : `${open} views differ`
    return [
      name,
      seconds(tookMs),
      dead,
      String(this.#returned.size),
      String(this.#wronged.size),
      String(this.#sizes.size),
      spent(this.#startedMs),
    ]
  }

  /** How many healthy members hold a sick one alive. */
  #look(): number {
    let differing = 0
    for (const { nodeId, core } of this.#swarm.processes()) {
      if (this.#sick.has(nodeId)) continue
      this.#sizes.add(core.membership.table.live)
      for (const other of this.#sick) {
        if (core.member(other)?.state === 'dead') continue
        differing++
        break
      }
    }
    return differing
  }
}

function begin(members: number, count: number): { swarm: Swarm; sick: string[]; watch: Watch } {
  const watches: Watch[] = []
  const swarm = new Swarm({
    seed: 1,
    judged: false,
    onEvent: ({ type, member }, { nodeId }) => watches[0]?.heard(type, member.nodeId, nodeId),
  })
  swarm.startFormed(members)
  const sick = Array.from({ length: count }, (_, i) => `n${Math.floor(((i + 0.5) * members) / count)}`)
  swarm.run(30_000)
  const watch = new Watch(swarm, new Set(sick))
  watches.push(watch)
  return { swarm, sick, watch }
}

function seconds(ms: number | undefined): string {
  return ms === undefined ? 'never' : (ms / 1_000).toFixed(1)
}

function spent(startedMs: number): string {
  return ((performance.now() - startedMs) / 1_000).toFixed(0)
}
