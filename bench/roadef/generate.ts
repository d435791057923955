// Instances like those of the challenge's set B, from a seed: many machines, tight capacities, services that must be
// spread, dependencies, transient resources, and an initial assignment that satisfies everything but is poorly balanced.

import { type Random, SeededRandom } from 'keelson/core'
import type { Instance, Machine, Process, Service } from './instance.ts'

export interface Shape {
  readonly processes: number
  readonly machines: number
  readonly resources: number
  readonly seed: number
}

/** Draws an instance with its initial assignment. */
export function generate(shape: Shape): { instance: Instance; initial: Int32Array } {
  const random = new SeededRandom(shape.seed)
  const { processes: processCount, machines: machineCount, resources: width } = shape
  const locations = Math.max(4, Math.round(Math.sqrt(machineCount) / 2))
  const neighbourhoods = Math.max(2, Math.round(locations / 3))
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
  while (processes.length < processCount) {
    const size = Math.min(processCount - processes.length, drawSize(random, machineCount))
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
    services.push({
      spread: Math.max(1, spread - random.integer(3)),
      dependsOn: dependencies(random, services, hosts, initial, processes, neighbourhoodOf),
    })
  }
  return {
    instance: {
      resources: scale.map((_, r) => ({ transient: r % 4 === 2, weight: 10 })),
      machines: machinesOf(random, used, scale, locationOf, neighbourhoodOf),
      services,
      processes,
      balances: width < 2 ? [] : [{ first: 0, second: 1, target: 2, weight: 10 }],
      processMoveWeight: 1,
      serviceMoveWeight: 10,
      machineMoveWeight: 100,
    },
    initial: Int32Array.from(initial),
  }
}

/** Most services are small, some have dozens of processes. */
function drawSize(random: Random, machineCount: number): number {
  if (random.integer(3) > 0) return 1
  return Math.min(Math.floor(machineCount / 2), 2 + Math.floor(48 * random.float() ** 3))
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

/** An earlier service that is already wherever this one is, if one is found quickly. */
function dependencies(
  random: Random,
  services: readonly Service[],
  hosts: ReadonlySet<number>,
  initial: readonly number[],
  processes: readonly Process[],
  neighbourhoodOf: Int32Array,
): number[] {
  if (services.length === 0 || random.integer(4) > 0) return []
  const mine = new Set([...hosts].map((m) => neighbourhoodOf[m]))
  for (let attempt = 0; attempt < 8; attempt++) {
    const at = random.integer(processes.length)
    const service = (processes[at] as Process).service
    if (service === services.length) continue
    const theirs = new Set<number | undefined>()
    for (let p = at; processes[p]?.service === service; p--) theirs.add(neighbourhoodOf[initial[p] as number])
    for (let p = at; processes[p]?.service === service; p++) theirs.add(neighbourhoodOf[initial[p] as number])
    if ([...mine].every((each) => theirs.has(each))) return [service]
  }
  return []
}

function machinesOf(
  random: Random,
  used: readonly Float64Array[],
  scale: readonly number[],
  locationOf: Int32Array,
  neighbourhoodOf: Int32Array,
): Machine[] {
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
      safety: capacity.map((each) => Math.floor(each * (0.75 + random.float() * 0.1))),
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
