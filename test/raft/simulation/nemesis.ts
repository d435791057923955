import { chance, pick, type SeededRandom, shuffled } from '../../../src/core/random.ts'
import type { RaftCore } from '../../../src/raft/core/raft.ts'
import type { FaultKind } from '../../../src/simulation/faults.ts'
import { drawPartition, isolate, partitionShapes } from '../../../src/simulation/partitions.ts'
import type { Node } from './node.ts'
import type { World } from './world.ts'

/** What networks, machines, disks and clocks do, to whomever it may be, and what somebody says without need. */
export function faultKinds(world: World): FaultKind[] {
  const nodes = (): Node[] => [...world.nodes.values()]
  const timeoutMs = world.settings.raft.electionTimeoutMs ?? 300
  const running = (random: SeededRandom): Node | undefined => {
    const alive = nodes().filter((node) => node.process.state === 'running')
    if (alive.length === 0) return undefined
    const leader = world.leader()
    return leader !== undefined && chance(random, 0.4) ? leader : pick(random, alive)
  }
  const members = (): string[] => world.live().map((node) => node.name)

  const partitions = partitionShapes.map(
    (shape): FaultKind => ({
      name: `partition ${shape}`,
      meanIntervalMs: 6_000,
      durationMs: [timeoutMs * 0.2, timeoutMs * 10],
      begin: (random) => {
        const names = members()
        if (names.length < 2) return undefined
        const links = drawPartition(random, shape, names)
        if (links.length === 0) return undefined
        world.simulation.note('net', 'partition', shape, links.map(([a, b]) => `${a}>${b}`).join())
        const heal = world.conditions.partition(links)
        return () => {
          world.simulation.note('net', 'healed', shape)
          heal()
        }
      },
    }),
  )

  const crash = (
    name: string,
    kind: 'kill' | 'power',
    group: (random: SeededRandom) => Node[],
  ): FaultKind => ({
    name,
    meanIntervalMs: 3_000,
    durationMs: [5, timeoutMs * 8],
    begin: (random) => {
      const chosen = group(random).filter((node) => node.process.state !== 'crashed')
      if (chosen.length === 0) return undefined
      for (const node of chosen) node.process.crash(kind)
      return () => {
        for (const node of chosen) world.restart(node)
      }
    },
  })
  const one = (random: SeededRandom): Node[] => {
    const node = running(random)
    return node === undefined ? [] : [node]
  }

  return [
    ...partitions,
    {
      name: 'swizzle-clog',
      meanIntervalMs: 6_000,
      durationMs: [timeoutMs * 0.1, timeoutMs * 3],
      begin: (random) => {
        // Clogs a random subset one by one and lets them go in another order.
        const chosen = shuffled(random, members()).slice(0, 1 + random.integer(3))
        const opens = chosen.map((name) => world.conditions.clog(isolate(name, world.names)))
        return () => {
          for (const open of shuffled(random, opens)) open()
        }
      },
    },
    {
      name: 'slow link',
      meanIntervalMs: 4_000,
      durationMs: [timeoutMs, timeoutMs * 10],
      begin: (random) => {
        const from = pick(random, world.names)
        const to = pick(random, world.names)
        world.conditions.setLinkQuality(from, to, {
          meanExtraDelayMs: timeoutMs * random.float(),
          lossProbability: random.float() * 0.3,
        })
        return () => world.conditions.setLinkQuality(from, to, undefined)
      },
    },
    crash('crash by power cut', 'power', one),
    crash('crash by kill', 'kill', one),
    crash('crash of several', 'power', (random) => shuffled(random, nodes()).slice(0, 2 + random.integer(3))),
    crash('crash of all', 'power', nodes),
    {
      name: 'pause',
      meanIntervalMs: 3_000,
      durationMs: [timeoutMs * 0.1, timeoutMs * 6],
      begin: (random) => pause(running(random)),
    },
    {
      name: 'event-loop stall',
      meanIntervalMs: 1_000,
      durationMs: [1, timeoutMs * 1.5],
      begin: (random) => pause(running(random)),
    },
    {
      name: 'machine suspended',
      meanIntervalMs: 8_000,
      durationMs: [timeoutMs * 0.1, timeoutMs * 6],
      begin: (random) => pause(running(random), { suspend: true }),
    },
    {
      name: 'disk stall',
      meanIntervalMs: 4_000,
      durationMs: [timeoutMs * 0.5, timeoutMs * 5],
      begin: (random) => running(random)?.disk.stall(),
    },
    {
      name: 'disk fails syncs',
      meanIntervalMs: 10_000,
      durationMs: [1, 50],
      begin: (random) => {
        const node = running(random)
        if (node === undefined) return undefined
        const { syncFailureProbability } = node.disk.quality
        node.disk.setQuality({ syncFailureProbability: 0.5 })
        return () => node.disk.setQuality({ syncFailureProbability })
      },
    },
    {
      name: 'clock rate changed',
      meanIntervalMs: 4_000,
      durationMs: [timeoutMs, timeoutMs * 10],
      begin: (random) => {
        const node = running(random)
        if (node === undefined || world.settings.clockDrift === 0) return undefined
        world.drawClockRate(node, random)
        return () => {}
      },
    },
    {
      name: 'wall clock jumped',
      meanIntervalMs: 2_000,
      durationMs: [0, 0],
      begin: (random) => {
        const node = running(random)
        if (node === undefined) return undefined
        node.process.jumpWallClock((random.float() - 0.5) * timeoutMs * 20)
        return () => {}
      },
    },
    {
      name: 'connection closed hint',
      meanIntervalMs: 1_500,
      durationMs: [0, 0],
      begin: (random) => {
        const node = running(random)
        if (node?.core === undefined) return undefined
        const replica = pick(random, [node.core.leader, ...node.core.voters()])
        if (replica === 0) return undefined
        if (chance(random, 0.5)) node.core.peerUnreachable(replica, node.nowMs)
        else node.connectionClosed(node.core, replica)
        node.input('connection closed to', replica)
        node.changed()
        return () => {}
      },
    },
    {
      name: 'leader forgotten',
      meanIntervalMs: 3_000,
      durationMs: [0, 0],
      begin: (random) =>
        tell(running(random), 'told that the leader is gone', (core, nowMs) => core.forgetLeader(nowMs)),
    },
    {
      name: 'campaign without need',
      meanIntervalMs: 6_000,
      durationMs: [0, 0],
      begin: (random) => tell(running(random), 'told to campaign', (core, nowMs) => core.campaign(nowMs)),
    },
  ]
}

/** A node stands still until it is over. */
function pause(
  node: Node | undefined,
  options: { readonly suspend?: boolean } = {},
): (() => void) | undefined {
  node?.process.pause(options)
  return node === undefined ? undefined : () => node.process.resume()
}

/** Somebody calls the replica of a node, once. */
function tell(
  node: Node | undefined,
  what: string,
  act: (core: RaftCore, nowMs: number) => void,
): (() => void) | undefined {
  if (node?.core === undefined) return undefined
  act(node.core, node.nowMs)
  node.input(what)
  node.changed()
  return () => {}
}
