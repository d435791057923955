// An independent judge: cost and constraints of a solution, straight from the problem definition. It shares no code with
// the engine, adds up in whole numbers of any size, and is not meant to be quick.

import type { Instance } from './instance.ts'

/** What came of checking a solution. */
export interface Verdict {
  readonly cost: bigint
  readonly parts: Readonly<Record<'load' | 'balance' | 'processMove' | 'serviceMove' | 'machineMove', bigint>>
  /** What it breaks, in words. */
  readonly broken: readonly string[]
}

/** Checks where all processes are to be against where they are. */
export function checkSolution(instance: Instance, initial: Int32Array, solution: Int32Array): Verdict {
  const { machines, processes, services, resources } = instance
  const broken: string[] = []
  const used = machines.map(() => resources.map(() => 0n))
  const duringMoves = machines.map(() => resources.map(() => 0n))
  const hosts = services.map(() => new Map<number, number>())
  processes.forEach((process, p) => {
    const [from, to] = [initial[p] as number, solution[p] as number]
    process.needs.forEach((need, r) => {
      add(used, to, r, need)
      add(duringMoves, to, r, need)
      if (from !== to && resources[r]?.transient === true) add(duringMoves, from, r, need)
    })
    const byMachine = hosts[process.service] as Map<number, number>
    const other = byMachine.get(to)
    if (other !== undefined)
      broken.push(`processes ${other} and ${p} of service ${process.service} share machine ${to}`)
    byMachine.set(to, p)
  })
  machines.forEach((machine, m) => {
    machine.capacity.forEach((capacity, r) => {
      const amount = duringMoves[m]?.[r] as bigint
      if (amount > BigInt(capacity))
        broken.push(`machine ${m} holds ${amount} of resource ${r}, it has ${capacity}`)
    })
  })
  const neighbourhoods = hosts.map(
    (hosting) => new Set([...hosting.keys()].map((m) => machines[m]?.neighbourhood)),
  )
  services.forEach((service, s) => {
    const locations = new Set([...(hosts[s] as Map<number, number>).keys()].map((m) => machines[m]?.location))
    if (locations.size < service.spread) {
      broken.push(`service ${s} is in ${locations.size} locations, it must be in ${service.spread}`)
    }
    for (const other of service.dependsOn) {
      for (const place of neighbourhoods[s] as Set<number | undefined>) {
        if (neighbourhoods[other]?.has(place) !== true) {
          broken.push(`service ${s} is in neighbourhood ${place} without service ${other}`)
        }
      }
    }
  })
  const parts = {
    load: loadCost(instance, used),
    balance: balanceCost(instance, used),
    ...moveCosts(instance, initial, solution),
  }
  const cost = Object.values(parts).reduce((sum, part) => sum + part, 0n)
  return { cost, parts, broken }
}

function add(sums: bigint[][], machine: number, resource: number, amount: number): void {
  const row = sums[machine] as bigint[]
  row[resource] = (row[resource] as bigint) + BigInt(amount)
}

function positive(amount: bigint): bigint {
  return amount > 0n ? amount : 0n
}

function loadCost(instance: Instance, used: readonly (readonly bigint[])[]): bigint {
  let cost = 0n
  instance.machines.forEach((machine, m) => {
    instance.resources.forEach(({ weight }, r) => {
      cost += BigInt(weight) * positive((used[m]?.[r] as bigint) - BigInt(machine.safety[r] as number))
    })
  })
  return cost
}

function balanceCost(instance: Instance, used: readonly (readonly bigint[])[]): bigint {
  let cost = 0n
  for (const { first, second, target, weight } of instance.balances) {
    instance.machines.forEach((machine, m) => {
      const free = (r: number): bigint => BigInt(machine.capacity[r] as number) - (used[m]?.[r] as bigint)
      cost += BigInt(weight) * positive(BigInt(target) * free(first) - free(second))
    })
  }
  return cost
}

function moveCosts(
  instance: Instance,
  initial: Int32Array,
  solution: Int32Array,
): { processMove: bigint; serviceMove: bigint; machineMove: bigint } {
  let [processMove, machineMove, mostMoved] = [0n, 0n, 0]
  const movedOf = instance.services.map(() => 0)
  instance.processes.forEach((process, p) => {
    const [from, to] = [initial[p] as number, solution[p] as number]
    if (from === to) return
    processMove += BigInt(process.moveCost)
    machineMove += BigInt(instance.machines[from]?.moveCost[to] as number)
    movedOf[process.service] = (movedOf[process.service] as number) + 1
  })
  for (const moved of movedOf) mostMoved = Math.max(mostMoved, moved)
  return {
    processMove: BigInt(instance.processMoveWeight) * processMove,
    serviceMove: BigInt(instance.serviceMoveWeight) * BigInt(mostMoved),
    machineMove: BigInt(instance.machineMoveWeight) * machineMove,
  }
}
