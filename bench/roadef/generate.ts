// Instances like those of the challenge's set B, from a seed: many machines, tight capacities, services that must be
// spread, dependencies, transient resources, and an initial assignment that satisfies everything but is poorly balanced.

import { type Random, SeededRandom } from 'keelson/core'
import type { Instance, Machine, Process, Service } from './instance.ts'

export interface Shape {
  readonly processes: number
  readonly machines: number
  readonly resources: number
  readonly seed: number
  /** Default: a fifth of the processes. */
  readonly services?: number
  /** Resources that a process goes on holding while it moves. Default: every third. */
  readonly transient?: number
  readonly locations?: number
  readonly neighbourhoods?: number
  /** Pairs of services of which one depends on the other, at most. Default: as many as services. */
  readonly dependencies?: number
  /** Default: 1. */
  readonly balances?: number
}

type Size = readonly [
  processes: number,
  machines: number,
  resources: number,
  transient: number,
  services: number,
  locations: number,
  neighbourhoods: number,
  dependencies: number,
  balances: number,
]

/** The published sizes of the challenge's set B. */
const sizes: Readonly<Record<string, Size>> = {
  b_1: [5000, 100, 12, 4, 2512, 10, 5, 4412, 0],
  b_2: [5000, 100, 12, 0, 2462, 10, 5, 3617, 1],
  b_3: [20_000, 100, 6, 2, 15_025, 10, 5, 16_560, 0],
  b_4: [20_000, 500, 6, 0, 1732, 50, 5, 40_485, 1],
  b_5: [40_000, 100, 6, 2, 35_082, 10, 5, 14_515, 0],
  b_6: [40_000, 200, 6, 0, 14_680, 50, 5, 42_081, 1],
  b_7: [40_000, 4000, 6, 0, 15_050, 50, 5, 43_873, 1],
  b_8: [50_000, 100, 3, 1, 45_030, 10, 5, 15_145, 0],
  b_9: [50_000, 1000, 3, 0, 4609, 100, 5, 43_437, 1],
  b_10: [50_000, 5000, 3, 0, 4896, 100, 5, 47_260, 1],
}

/** The shape of an instance as large as one of set B. */
export function shapeLike(name: string, seed: number): Shape | undefined {
  const size = Object.hasOwn(sizes, name) ? sizes[name] : undefined
  if (size === undefined) return undefined
  const [processes, machines, resources, transient, services, locations, neighbourhoods] = size
  const [dependencies, balances] = [size[7], size[8]]
  const kinds = { services, transient, locations, neighbourhoods, dependencies, balances }
  return { ...kinds, processes, machines, resources, seed }
}

const balance: Instance['balances'][number] = { first: 0, second: 1, target: 2, weight: 10 }

/** Draws an instance with its initial assignment. */
export function generate(shape: Shape): { instance: Instance; initial: Int32Array } {
  const random = new SeededRandom(shape.seed)
  const { processes: processCount, machines: machineCount, resources: width } = shape
  const locations = shape.locations ?? Math.max(4, Math.round(Math.sqrt(machineCount) / 2))
  const neighbourhoods = shape.neighbourhoods ?? Math.max(2, Math.round(locations / 3))
  const transient = shape.transient ?? Math.floor(width / 3)
  const serviceCount = shape.services ?? Math.ceil(processCount / 5)
  const meanSize = processCount / serviceCount
  const needed = (shape.dependencies ?? serviceCount) / serviceCount
  const scale = Array.from({ length: width }, () => 10 ** (3 + random.float() * 3))
  const services: Service[] = []
  const processes: Process[] = []
  const initial: number[] = []
  const used = Array.from({ length: machineCount }, () => new Float64Array(width))
  const locationOf = Int32Array.from({ length: machineCount }, () => random.integer(locations))
  const neighbourhoodOf = Int32Array.from(locationOf, (location) => location % neighbourhoods)
  const weightOf = Float64Array.from(
    { length: machineCount },
    () => 0.3 + random.float() * random.float() * 2,
  )
  const places: Set<number>[] = []
  while (processes.length < processCount) {
    const size = Math.min(processCount - processes.length, drawSize(random, meanSize, machineCount))
    const like = scale.map((each) => each * random.float() ** 3)
    const hosts = new Set<number>()
    const host = hosting(random, weightOf, hosts)
    for (let i = 0; i < size; i++) {
      const machine = host()
      hosts.add(machine)
      const needs = like.map((amount) => Math.ceil(amount * (0.8 + random.float() * 0.4)))
      const moveCost = 1 + random.integer(1000)
      processes.push({ service: services.length, needs, moveCost })
      initial.push(machine)
      needs.forEach((need, r) => {
        const sums = used[machine] as Float64Array
        sums[r] = (sums[r] as number) + need
      })
    }
    const spread = new Set([...hosts].map((m) => locationOf[m])).size
    const mine = new Set([...hosts].map((m) => neighbourhoodOf[m] as number))
    services.push({
      spread: Math.max(1, spread - random.integer(3)),
      dependsOn: dependencies(random, mine, places, needed),
    })
    places.push(mine)
  }
  return {
    instance: {
      resources: scale.map((_, r) => ({ transient: r >= width - transient, weight: 10 })),
      machines: machinesOf(random, used, scale, locationOf, neighbourhoodOf),
      services,
      processes,
      balances: Array.from({ length: width < 2 ? 0 : (shape.balances ?? 1) }, () => balance),
      processMoveWeight: 1,
      serviceMoveWeight: 10,
      machineMoveWeight: 100,
    },
    initial: Int32Array.from(initial),
  }
}

/** Most services are small, some have dozens of processes. */
function drawSize(random: Random, mean: number, machineCount: number): number {
  const rest = Math.max(0, mean - 1)
  // The mean of the fourth power is a fifth.
  return Math.min(Math.max(1, Math.floor(machineCount / 2)), 1 + Math.round(5 * rest * random.float() ** 4))
}

/** Draws machines that are not taken yet, those of a greater weight more often. */
function hosting(random: Random, weight: Float64Array, taken: ReadonlySet<number>): () => number {
  return () => {
    for (;;) {
      const machine = random.integer(weight.length)
      if (!taken.has(machine) && random.float() * 2.3 < (weight[machine] as number)) return machine
    }
  }
}

/** Earlier services that are already wherever this one is, as many on average as are asked for, if they are found quickly. */
function dependencies(
  random: Random,
  mine: ReadonlySet<number>,
  places: readonly ReadonlySet<number>[],
  mean: number,
): number[] {
  const wanted = Math.floor(2 * mean * random.float() + random.float())
  const found = new Set<number>()
  for (let attempt = 0; attempt < 8 * wanted && found.size < wanted && places.length > 0; attempt++) {
    const other = random.integer(places.length)
    if ([...mine].every((each) => places[other]?.has(each))) found.add(other)
  }
  return [...found]
}

function machinesOf(
  random: Random,
  used: readonly Float64Array[],
  scale: readonly number[],
  locationOf: Int32Array,
  neighbourhoodOf: Int32Array,
): Machine[] {
  // Of some resources there is less than is safe, wherever processes are.
  const safe = scale.map(() => 0.6 + random.float() * 0.25)
  const mean = scale.map((_, r) => used.reduce((sum, each) => sum + (each[r] as number), 0) / used.length)
  return used.map((amounts, m) => {
    // At least what is on it; the fuller ones have next to no room to spare.
    const capacity = mean.map((each, r) =>
      Math.ceil(Math.max(each * (1 + random.float() * 0.3), (amounts[r] as number) * 1.02)),
    )
    return {
      location: locationOf[m] as number,
      neighbourhood: neighbourhoodOf[m] as number,
      capacity,
      safety: capacity.map((each, r) => Math.floor(each * ((safe[r] as number) + random.float() * 0.1))),
      moveCost: Float64Array.from(used, (_, to) => (to === m ? 0 : 1 + random.integer(10))),
    }
  })
}

/** The instance as a file. */
export function formatModel(instance: Instance): string {
  const lines: string[] = [`${instance.resources.length}`]
  for (const { transient, weight } of instance.resources) lines.push(`${transient ? 1 : 0} ${weight}`)
  lines.push(`${instance.machines.length}`)
  for (const each of instance.machines) {
    lines.push(
      [each.neighbourhood, each.location, ...each.capacity, ...each.safety, ...each.moveCost].join(' '),
    )
  }
  lines.push(`${instance.services.length}`)
  for (const { spread, dependsOn } of instance.services)
    lines.push([spread, dependsOn.length, ...dependsOn].join(' '))
  lines.push(`${instance.processes.length}`)
  for (const { service, needs, moveCost } of instance.processes)
    lines.push([service, ...needs, moveCost].join(' '))
  lines.push(`${instance.balances.length}`)
  for (const { first, second, target, weight } of instance.balances)
    lines.push(`${first} ${second} ${target}`, `${weight}`)
  lines.push(`${instance.processMoveWeight} ${instance.serviceMoveWeight} ${instance.machineMoveWeight}`)
  return `${lines.join('\n')}\n`
}
