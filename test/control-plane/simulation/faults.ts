import { between, chance, pick, type SeededRandom, shuffled } from '../../../src/core/random.ts'
import {
  drawPartition,
  drawPartitionShape,
  type FaultKind,
  isolate,
  split,
} from '../../../src/simulation/index.ts'
import type { Machine, World } from './world.ts'

type Choose = (random: SeededRandom) => Machine | undefined

/** Every fault that comes and goes in a world. */
export function faultsOf(world: World): FaultKind[] {
  const { conditions, servers, agents } = world
  const names = (): string[] => [...servers, ...agents].map(({ name }) => name)
  const serverNames = (): string[] => servers.map(({ name }) => name)
  const aServer: Choose = (random) => pick(random, servers)
  const anAgent: Choose = (random) => pick(random, agents)
  const anybody: Choose = (random) => (chance(random, 0.4) ? aServer(random) : anAgent(random))
  const running = (choose: Choose) => (random: SeededRandom) => {
    const machine = choose(random)
    return machine?.process.state === 'running' ? machine : undefined
  }
  const isolated = (random: SeededRandom): (() => void) =>
    conditions.partition(isolate(pick(random, servers).name, names()))
  return [
    crash('server crash', 7_000, [200, 8_000], running(aServer)),
    crash('node crash', 5_000, [200, 12_000], running(anAgent)),
    pause('server pause', 8_000, [300, 6_000], running(aServer)),
    pause('node pause', 6_000, [300, 12_000], running(anAgent)),
    pause('event loop stall', 1_500, [5, 250], running(anybody)),
    pause('machine asleep', 12_000, [500, 9_000], running(anybody), true),
    {
      name: 'partition',
      meanIntervalMs: 10_000,
      durationMs: [200, 8_000],
      begin: (random) => conditions.partition(drawPartition(random, drawPartitionShape(random), names())),
    },
    {
      name: 'partition of servers',
      meanIntervalMs: 10_000,
      durationMs: [200, 6_000],
      begin: (random) =>
        conditions.partition(drawPartition(random, drawPartitionShape(random), serverNames())),
    },
    {
      name: 'server isolated for long',
      meanIntervalMs: 15_000,
      durationMs: [6_000, 15_000],
      begin: isolated,
    },
    {
      name: 'control plane away',
      meanIntervalMs: 25_000,
      durationMs: [1_000, 12_000],
      begin: () =>
        conditions.partition(
          split([...agents.map(({ name }) => name), 'observer'], ...serverNames().map((n) => [n])),
        ),
    },
    {
      name: 'node cut off for long',
      meanIntervalMs: 8_000,
      durationMs: [6_000, 15_000],
      begin: (random) => conditions.partition(split([pick(random, agents).name], serverNames())),
    },
    {
      name: 'all servers restart',
      meanIntervalMs: 25_000,
      durationMs: [100, 3_000],
      begin: (random) => {
        const down = servers.filter(({ process }) => process.state === 'running')
        for (const { process } of down) process.crash(chance(random, 0.5) ? 'power' : 'kill')
        return () => {
          for (const machine of shuffled(random, down)) machine.startAgain()
        }
      },
    },
    {
      name: 'server wiped',
      meanIntervalMs: 15_000,
      durationMs: [100, 4_000],
      begin: (random) => {
        const machine = pick(random, servers)
        // What one lost is with the others, as long as only one loses at a time.
        if (machine.process.state !== 'running' || !world.mayWipe()) return undefined
        machine.process.crash('power')
        machine.wipe()
        return () => machine.startAgain()
      },
    },
    {
      name: 'connections broken',
      meanIntervalMs: 4_000,
      durationMs: [0, 1],
      begin: (random) => {
        world.transports.breakConnections(pick(random, names()))
        return () => {}
      },
    },
    {
      name: 'slow links',
      meanIntervalMs: 6_000,
      durationMs: [500, 8_000],
      begin: (random) => {
        const quality = { meanExtraDelayMs: between(random, 20, 600) }
        const { name } = anybody(random) as Machine
        const links = names().flatMap((other) => [[name, other] as const, [other, name] as const])
        for (const [from, to] of links) conditions.setLinkQuality(from, to, quality)
        return () => {
          for (const [from, to] of links) conditions.setLinkQuality(from, to, undefined)
        }
      },
    },
    {
      name: 'slow sync',
      meanIntervalMs: 6_000,
      durationMs: [100, 4_000],
      begin: (random) => {
        const machine = pick(random, servers)
        machine.syncMs = between(random, 20, 400)
        return () => {
          machine.syncMs = 1
        }
      },
    },
    {
      name: 'clock drift',
      meanIntervalMs: 4_000,
      durationMs: [100, 10_000],
      begin: (random) => {
        const { process } = anybody(random) as Machine
        process.setClockRate(between(random, 0.995, 1.005))
        return () => process.setClockRate(1)
      },
    },
    {
      name: 'wall clock jump',
      meanIntervalMs: 6_000,
      durationMs: [0, 1],
      begin: (random) => {
        const { process } = anybody(random) as Machine
        const jumpMs = Math.round(between(random, -1, 1) * 10 ** between(random, 2, 7))
        process.jumpWallClock(jumpMs)
        return () => {}
      },
    },
    // What it has planned is carried out first when it goes on: longer than its schema lease after it was planned.
    pause('node stands still with a plan', 30_000, [7_000, 14_000], (random) => {
      const planning = agents.filter(
        ({ name, process }) => world.planning.has(name) && process.state === 'running',
      )
      return planning.length === 0 ? undefined : pick(random, planning)
    }),
  ]
}

/** One server falls behind, and then the others are lost for good. */
export function quorumLost(world: World): FaultKind {
  return {
    name: 'quorum lost',
    meanIntervalMs: 8_000,
    durationMs: [100, 6_000],
    begin: (random) => {
      const survivor = pick(random, world.servers)
      if (!world.mayWipe()) return undefined
      const reach = world.conditions.partition(
        isolate(
          survivor.name,
          [...world.servers, ...world.agents].map(({ name }) => name),
        ),
      )
      return () => {
        reach()
        world.loseQuorum(survivor).catch((error: unknown) => {
          world.judge.broken ??= error
        })
      }
    },
  }
}

/** A wall clock that is set back hides that the machine slept: one or the other, since no holder can tell. */
export function compatible(kinds: readonly FaultKind[]): FaultKind[] {
  const jumps = kinds.some(({ name }) => name === 'wall clock jump')
  return kinds.filter(({ name }) => !(jumps && name === 'machine asleep'))
}

function crash(
  name: string,
  meanIntervalMs: number,
  durationMs: readonly [number, number],
  choose: Choose,
): FaultKind {
  return {
    name,
    meanIntervalMs,
    durationMs,
    begin: (random) => {
      const machine = choose(random)
      if (machine === undefined) return undefined
      machine.process.crash(chance(random, 0.5) ? 'power' : 'kill')
      return () => machine.startAgain()
    },
  }
}

function pause(
  name: string,
  meanIntervalMs: number,
  durationMs: readonly [number, number],
  choose: Choose,
  suspend = false,
): FaultKind {
  return {
    name,
    meanIntervalMs,
    durationMs,
    begin: (random) => {
      const machine = choose(random)
      if (machine === undefined) return undefined
      const { life } = machine.process
      machine.process.pause({ suspend })
      return () => {
        if (machine.process.life === life) machine.process.resume()
      }
    },
  }
}
